# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `links` of a host plan against what the kernel has: checks, difference, order, undoing.

Plain values in, plain values out; reading the kernel and writing to it is the driver's.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import socket
import typing as t

from .errors import HostError, InputError
from .naming import OWNER_ALIAS, interface_name

#: IFALIASZ of the kernel, less the closing zero byte.
ALIAS_MAX = 255
MTU_MIN, MTU_MAX, MTU_MIN_IPV6 = 68, 65535, 1280
#: Seconds; the kernel's bounds while STP is on. Without STP it takes less, and more would mean nothing.
DELAY_MIN_STP, DELAY_MAX = 2, 30

SCOPE_GLOBAL = 0
SECONDARY, PERMANENT = 0x01, 0x80
FOREVER = 0xFFFFFFFF

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_SYSCTL_PART = re.compile(r"[A-Za-z0-9_@+/-]+\Z")
_PER_INTERFACE = re.compile(r"net\.(?:ipv4|ipv6)\.(?:conf|neigh)\.([^.]+)\.[^.]+\Z")
_NO_INTERFACE = ("all", "default")


# ---------------------------------------------------------------------------------------------------------------
# Values


@dataclasses.dataclass
class Address:
    """An address of an interface. (Not frozen: a host has thousands, and a frozen one costs three times as much.)"""

    local: str
    prefix: int
    broadcast: str | None = None
    peer: str | None = None
    scope: int = SCOPE_GLOBAL
    flags: int = PERMANENT
    label: str | None = None
    preferred: int = FOREVER
    valid: int = FOREVER
    metric: int = 0

    @property
    def text(self) -> str:
        if self.peer is not None:
            return f"{self.local} peer {self.peer}/{self.prefix}"
        return f"{self.local}/{self.prefix}"

    @property
    def is_ipv4(self) -> bool:
        return ":" not in self.local

    @property
    def permanent(self) -> bool:
        return bool(self.flags & PERMANENT)


@dataclasses.dataclass(frozen=True)
class Bridge:
    """A bridge as planned."""

    name: str
    interfaces: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    mtu: int | None = None
    mac: str | None = None
    stp: bool = False
    #: In the kernel's unit, 1/100 s.
    forward_delay: int = 0

    @functools.cached_property
    def mark(self) -> str:
        """The alias of the bridge once all is as planned."""
        return render_mark(Mark(self.interfaces, tuple(address.text for address in self.addresses)))


@dataclasses.dataclass(frozen=True)
class Plan:
    bridges: tuple[Bridge, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass
class Link:
    """An interface as the kernel has it."""

    name: str
    index: int
    kind: str = ""
    ethernet: bool = True
    loopback: bool = False
    up: bool = True
    mtu: int = 1500
    mac: str = ""
    master: str | None = None
    alias: str = ""
    stp: bool = False
    #: 1/100 s; None while another bridge is its root, whose delay the kernel then shows (and keeps when STP ends).
    forward_delay: int | None = 0
    addresses: list[Address] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class State:
    """What the kernel has. A sysctl that it does not know is None."""

    links: dict[str, Link] = dataclasses.field(default_factory=dict)
    sysctl: dict[str, str | None] = dataclasses.field(default_factory=dict)

    def ports(self) -> dict[str, list[Link]]:
        """The ports of every link that has some."""
        found: dict[str, list[Link]] = {}
        for link in self.links.values():
            if link.master is not None:
                found.setdefault(link.master, []).append(link)
        return found


@dataclasses.dataclass(frozen=True)
class Duties:
    """What the host itself needs of its interfaces."""

    #: Interface -> what it carries, in words ("the default route via 192.0.2.1").
    carried: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Addresses by which the host is reached now.
    reached_by: frozenset[str] = frozenset()
    #: (interface, address): routes other than the kernel's own that name the address as their source.
    route_sources: frozenset[tuple[str, str]] = frozenset()


# ---------------------------------------------------------------------------------------------------------------
# The plan, checked


def parse(plan: object) -> Plan:
    """Check the whole plan and return it as values; InputError names the path, the rule and what would be right."""
    section = _mapping(plan, "links", {"bridges", "sysctl"})
    if "bridges" not in section:
        # Not a default: an empty list removes every bridge of ours, which must be said, not forgotten.
        raise InputError("links: 'bridges' is missing; give a list, which may be empty")
    items = _list(section["bridges"], "links.bridges")
    bridges = tuple(_bridge(item, f"links.bridges[{number}]") for number, item in enumerate(items))
    _check_together(bridges)
    return Plan(bridges, _sysctl(section.get("sysctl", {})))


def parse_address(value: object, what: str) -> str:
    """Return the plain IP address in its one spelling, or raise InputError."""
    if isinstance(value, str):
        host, _percent, _zone = value.partition("%")
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                return socket.inet_ntop(family, socket.inet_pton(family, host))
            except (OSError, ValueError):
                continue
    raise InputError(f"{what}: {value!r} is not an IP address; give one such as '192.0.2.10'")


#: A name that may stand where an address could; with a last label of digits it is a mistyped address.
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[0-9_-]*[A-Za-z][A-Za-z0-9_-]*\.?\Z")


def parse_connection(value: object, what: str) -> str | None:
    """The plain address; None for a host name, since the controller alone knows what it stands for."""
    if isinstance(value, str) and _HOST_NAME.match(value):
        return None
    return parse_address(value, what)


def _mapping(value: object, path: str, known: set[str]) -> t.Mapping[str, object]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {value!r} is not a dictionary; give the keys {', '.join(sorted(known))}")
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown[0]}'; known are {', '.join(sorted(known))}")
    return value


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{path}: {value!r} is not a list; give a list, which may be empty")
    return list(value)


_BRIDGE_KEYS = {"name", "interfaces", "addresses", "mtu", "mac", "stp", "forward_delay"}


def _bridge(value: object, path: str) -> Bridge:
    item = _mapping(value, path, _BRIDGE_KEYS)
    if "name" not in item:
        raise InputError(f"{path}: 'name' is missing; every bridge has one, such as 'br100'")
    stp = item.get("stp", False)
    if not isinstance(stp, bool):
        raise InputError(f"{path}.stp: {stp!r} is neither true nor false")
    bridge = Bridge(
        name=interface_name(item["name"], f"{path}.name"),
        interfaces=_interfaces(item.get("interfaces", ()), f"{path}.interfaces"),
        addresses=tuple(
            _address(address, f"{path}.addresses[{number}]")
            for number, address in enumerate(_list(item.get("addresses", ()), f"{path}.addresses"))
        ),
        mtu=_mtu(item.get("mtu"), f"{path}.mtu"),
        mac=_mac(item.get("mac"), f"{path}.mac"),
        stp=stp,
        forward_delay=_delay(item.get("forward_delay", 0), stp, f"{path}.forward_delay"),
    )
    _check_bridge(bridge, path)
    return bridge


def _interfaces(value: object, path: str) -> tuple[str, ...]:
    names = []
    for number, item in enumerate(_list(value, path)):
        name = interface_name(item, f"{path}[{number}]")
        if "," in name:
            raise InputError(f"{path}[{number}]: {name!r} has a comma, which the bridge's mark cannot carry; rename it")
        if name in names:
            raise InputError(f"{path}[{number}]: interface {name!r} is given twice; name it once")
        names.append(name)
    return tuple(names)


def _address(value: object, path: str) -> Address:
    """An address with its prefix. (socket and integers: `ipaddress` takes eight times as long over a large plan.)"""
    host, slash, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    width = 128 if family == socket.AF_INET6 else 32
    try:
        packed = socket.inet_pton(family, host)
    except (OSError, ValueError):
        slash = ""
    if not slash or not length.isascii() or not length.isdigit() or not 1 <= int(length) <= width:
        raise InputError(
            f"{path}: {value!r} is not an address with its prefix length; "
            "give one such as '10.0.0.1/24' or 'fd00::1/64'"
        )
    prefix = int(length)
    number = int.from_bytes(packed, "big")
    local = socket.inet_ntop(family, packed)
    if family == socket.AF_INET6:
        if packed[0] == 0xFF or number in (0, 1):
            raise InputError(f"{path}: {value!r} is not an address that an interface can have; give a unicast address")
        return Address(local, prefix)
    if packed[0] in (0, 127) or packed[0] >= 224:
        raise InputError(f"{path}: {value!r} is not an address that an interface can have; give a unicast address")
    if prefix > 30:
        return Address(local, prefix)
    hosts = (1 << (32 - prefix)) - 1
    if number & hosts in (0, hosts):
        which = "broadcast" if number & hosts else "network"
        raise InputError(f"{path}: {value!r} is the {which} address of its own subnet; give a host's address within it")
    return Address(local, prefix, broadcast=socket.inet_ntop(family, (number | hosts).to_bytes(4, "big")))


def _mtu(value: object, path: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not MTU_MIN <= value <= MTU_MAX:
        raise InputError(f"{path}: {value!r} is not an MTU; give a whole number from {MTU_MIN} to {MTU_MAX}, or null")
    return value


def _mac(value: object, path: str) -> str | None:
    if value is None:
        return None
    mac = value.lower() if isinstance(value, str) else ""
    if not _MAC.match(mac):
        raise InputError(f"{path}: {value!r} is not a MAC address; give one such as '02:00:00:12:34:56', or null")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InputError(
            f"{path}: {value!r} cannot be an interface's MAC address; the first byte must be even, and not all zero"
        )
    return mac


def _delay(value: object, stp: bool, path: str) -> int:
    """Hundredths of a second."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= DELAY_MAX:
        raise InputError(f"{path}: {value!r} is not a forward delay; give seconds from 0 to {DELAY_MAX}")
    if stp and value < DELAY_MIN_STP:
        raise InputError(
            f"{path}: {value!r} is too short while STP is on; the kernel wants {DELAY_MIN_STP} to {DELAY_MAX} seconds, "
            "or set stp to false"
        )
    return round(value * 100)


def _check_bridge(bridge: Bridge, path: str) -> None:
    if bridge.mtu is not None and bridge.mtu < MTU_MIN_IPV6:
        for address in bridge.addresses:
            if not address.is_ipv4:
                raise InputError(
                    f"{path}.mtu: {bridge.mtu} is too small for the IPv6 address {address.text}; "
                    f"IPv6 needs at least {MTU_MIN_IPV6}"
                )
    size = len(bridge.mark.encode())
    if size > ALIAS_MAX:
        raise InputError(
            f"{path}: the mark that names the interfaces and addresses of {bridge.name} takes {size} bytes, "
            f"but the kernel keeps {ALIAS_MAX}; give the bridge fewer of them"
        )


def _check_together(bridges: t.Sequence[Bridge]) -> None:
    """What only shows when the bridges are seen side by side."""
    names: dict[str, str] = {}
    for number, bridge in enumerate(bridges):
        path = f"links.bridges[{number}]"
        if bridge.name in names:
            raise InputError(f"{path}.name: bridge {bridge.name!r} is already {names[bridge.name]}; plan it once")
        names[bridge.name] = path
    interfaces: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for number, bridge in enumerate(bridges):
        path = f"links.bridges[{number}]"
        for place, name in enumerate(bridge.interfaces):
            if name in names:
                raise InputError(
                    f"{path}.interfaces[{place}]: {name!r} is itself a bridge of this plan ({names[name]}); "
                    "a bridge cannot be a port of a bridge"
                )
            if name in interfaces:
                raise InputError(
                    f"{path}.interfaces[{place}]: {name!r} is already an interface of bridge {interfaces[name]}; "
                    "an interface is a port of one bridge at most"
                )
            interfaces[name] = bridge.name
        for place, address in enumerate(bridge.addresses):
            if address.local in addresses:
                raise InputError(
                    f"{path}.addresses[{place}]: {address.local} is already an address of bridge "
                    f"{addresses[address.local]}; give each address once"
                )
            addresses[address.local] = bridge.name


def _sysctl(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise InputError(f"links.sysctl: {value!r} is not a dictionary of keys such as net.ipv4.ip_forward to strings")
    settings = []
    for key, setting in value.items():
        if not isinstance(key, str) or not all(_SYSCTL_PART.match(part) for part in key.split(".")):
            raise InputError(f"links.sysctl: {key!r} is not a dotted key; give one such as net.ipv4.ip_forward")
        if any(part.replace("/", ".").strip(".") == "" for part in key.split(".")):
            raise InputError(f"links.sysctl: {key!r} is not a dotted key; give one such as net.ipv4.ip_forward")
        if not isinstance(setting, str):
            raise InputError(f"links.sysctl.{key}: {setting!r} is not a string; put the value in quotes")
        if not setting.strip() or "\n" in setting.strip():
            raise InputError(f"links.sysctl.{key}: {setting!r} is not a value; give one line of text such as '1'")
        settings.append((key, sysctl_value(setting)))
    # Forwarding first: writing it makes the kernel reset other settings of every interface.
    settings.sort(key=lambda pair: pair[0] != "net.ipv4.ip_forward")
    return tuple(settings)


def sysctl_value(text: str) -> str:
    """The one spelling of a setting: the kernel shows tabs between the numbers that it reads between blanks."""
    return " ".join(text.split())


def sysctl_default_key(key: str) -> str | None:
    """The key that a new interface's setting is copied from, None where the key is not one of an interface."""
    match = _PER_INTERFACE.match(key)
    if match is None or match.group(1) in _NO_INTERFACE:
        return None
    return key[: match.start(1)] + "default" + key[match.end(1) :]


# ---------------------------------------------------------------------------------------------------------------
# The mark


@dataclasses.dataclass(frozen=True)
class Mark:
    """What the alias of a bridge of ours names as ours.

    `complete` is False for the bare word, by which an operator hands a bridge over.
    """

    interfaces: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    complete: bool = True


def render_mark(mark: Mark) -> str:
    return f"{OWNER_ALIAS} interfaces={','.join(mark.interfaces)} addresses={','.join(mark.addresses)}"


def parse_mark(alias: str) -> Mark | None:
    """What the alias says, None where the link is not ours."""
    owner, *words = alias.split(" ")
    if owner != OWNER_ALIAS:
        return None
    named = {key: tuple(filter(None, names.split(","))) for key, _equals, names in (w.partition("=") for w in words)}
    return Mark(named.get("interfaces", ()), named.get("addresses", ()), {"interfaces", "addresses"} <= named.keys())


def is_ours(link: Link) -> bool:
    return link.kind == "bridge" and parse_mark(link.alias) is not None


# ---------------------------------------------------------------------------------------------------------------
# Operations


@dataclasses.dataclass(frozen=True)
class Operation:
    """One step. `describe` says it in terms of the network, `inverse` is what takes it back."""

    def describe(self) -> list[str]:
        return []

    def inverse(self) -> list[Operation]:
        return []

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        """What takes back the part that may have been done when the messages numbered in `failed` were refused."""
        return []


@dataclasses.dataclass(frozen=True)
class SetSysctl(Operation):
    key: str
    value: str
    #: None: the key belongs to an interface that does not exist yet, and goes with it.
    before: str | None = None

    def describe(self) -> list[str]:
        return [f"set {self.key} to {self.value}"]

    def inverse(self) -> list[Operation]:
        return [] if self.before is None else [SetSysctl(self.key, self.before, self.value)]


@dataclasses.dataclass(frozen=True)
class CreateBridge(Operation):
    """Born with its mark and its settings, and up. The driver sends it as one datagram."""

    name: str
    alias: str
    mac: str | None
    mtu: int | None
    stp: bool
    forward_delay: int
    up: bool = True

    def describe(self) -> list[str]:
        return [f"create bridge {self.name}"]

    def inverse(self) -> list[Operation]:
        return [RemoveBridge(self.name)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        if 0 in failed:
            # Somebody else made a link of that name meanwhile, and our mark may stand on it now: it is theirs.
            return [SetAlias(self.name, "")]
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class RemoveBridge(Operation):
    name: str
    releases: tuple[str, ...] = ()
    restore: tuple[Operation, ...] = ()

    def describe(self) -> list[str]:
        released = f" (releases {', '.join(self.releases)})" if self.releases else ""
        return [f"remove bridge {self.name}{released}"]

    def inverse(self) -> list[Operation]:
        return list(self.restore)


@dataclasses.dataclass(frozen=True)
class SetAlias(Operation):
    """The mark. `text` is empty where the mark only goes with another step."""

    name: str
    alias: str
    before: str = ""
    text: str = ""

    def describe(self) -> list[str]:
        return [self.text] if self.text else []

    def inverse(self) -> list[Operation]:
        return [SetAlias(self.name, self.before, self.alias)]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a bridge; None: not touched."""

    stp: bool | None = None
    forward_delay: int | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool | None = None


@dataclasses.dataclass(frozen=True)
class ChangeBridge(Operation):
    name: str
    to: Settings
    before: Settings
    quiet: bool = False

    def describe(self) -> list[str]:
        if self.quiet:
            return []
        texts = []
        if self.to.stp is not None:
            texts.append(f"turn STP {'on' if self.to.stp else 'off'} on {self.name}")
        if self.to.forward_delay is not None:
            texts.append(f"set forward delay of {self.name} to {_seconds(self.to.forward_delay)} s")
        if self.to.mac is not None:
            texts.append(f"set MAC address of {self.name} to {self.to.mac}")
        if self.to.mtu is not None:
            texts.append(f"set MTU of {self.name} to {self.to.mtu}")
        if self.to.up is not None:
            texts.append(f"set {self.name} {'up' if self.to.up else 'down'}")
        return texts

    def inverse(self) -> list[Operation]:
        return [ChangeBridge(self.name, self.before, self.to)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class Enslave(Operation):
    """Make the interface a port of `bridge` (None: of none) and set it up; a move from bridge to bridge is one step."""

    interface: str
    bridge: str | None
    before: str | None = None
    #: None: left as it is.
    up: bool | None = None

    def describe(self) -> list[str]:
        raised = [f"set {self.interface} up"] if self.up else []
        if self.bridge == self.before:
            return raised
        if self.bridge is None:
            return [f"release {self.interface} from {self.before}"]
        if self.before is not None:
            return [f"move {self.interface} from {self.before} to {self.bridge}", *raised]
        return [f"enslave {self.interface} to {self.bridge}", *raised]

    def inverse(self) -> list[Operation]:
        return [Enslave(self.interface, self.before, self.bridge, None if self.up is None else not self.up)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        # The kernel sets the bridge first and the interface up then: refusing the second leaves the first done.
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class Step:
    add: bool
    address: Address


@dataclasses.dataclass(frozen=True)
class Readdress(Operation):
    """Everything that changes among the addresses of one bridge; the driver sends it as one datagram.

    So an address that has to leave for a moment (a secondary one goes with its primary, and the first one cannot
    be put before others) is never lost, whatever happens to this process.
    """

    bridge: str
    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    texts: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        return list(self.texts)

    def inverse(self) -> list[Operation]:
        return [Readdress(self.bridge, self.undo, self.steps)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


#: The order of the actions over the whole list, and why.
ORDER = (
    "sysctl",  # settings of the whole kernel first: new links are born with the defaults that stand then
    "create",  # bridges with their marks, before anything that refers to them
    "widen",  # a mark names what will come before it comes: a killed run leaves nothing unmarked
    "shape",  # a bridge's own settings, before ports bring traffic
    "enslave",  # ports join, or move in one step, before others leave: what is right is not interrupted
    "address",  # after the ports: duplicate detection and announcements find a wire
    "settle",  # what the kernel may have changed when ports joined (the MTU), and sysctls of new links
    "release",  # what is no longer planned leaves after its replacement has come
    "narrow",  # a mark forgets what has left after it has left
    "remove",  # whole bridges last: the dearest step, and the hardest one to put back
)


# ---------------------------------------------------------------------------------------------------------------
# The difference


@dataclasses.dataclass(frozen=True)
class Risk:
    """A step that would cut the host off if it needs this interface, or one of these addresses on it."""

    interface: str
    what: str
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass
class Difference:
    """All that follows from the plan and the kernel's state: `changed`, the diff and the actions are read off here."""

    phases: dict[str, list[Operation]] = dataclasses.field(default_factory=lambda: {phase: [] for phase in ORDER})
    problems: list[str] = dataclasses.field(default_factory=list)
    risks: list[Risk] = dataclasses.field(default_factory=list)
    before: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    after: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    sysctl_before: dict[str, str | None] = dataclasses.field(default_factory=dict)
    sysctl_after: dict[str, str] = dataclasses.field(default_factory=dict)

    def batches(self) -> list[list[Operation]]:
        """The operations phase by phase; a phase starts after the one before has been accepted."""
        return [self.phases[phase] for phase in ORDER if self.phases[phase]]

    @property
    def operations(self) -> list[Operation]:
        return [operation for batch in self.batches() for operation in batch]

    @property
    def changed(self) -> bool:
        return any(self.phases.values())

    def actions(self) -> list[str]:
        return [text for operation in self.operations for text in operation.describe()]

    def diff(self) -> dict[str, str]:
        """Before and after of what changes, for --diff."""
        return {
            "before": _render(self.before, self.sysctl_before),
            "after": _render(self.after, self.sysctl_after),
        }


def compare(want: Plan, have: State) -> Difference:
    """What must be done so that the kernel is as planned, in order; and what stands in the way."""
    difference = Difference()
    _compare_sysctl(want, have, difference)
    ports = have.ports()
    home = {interface: bridge.name for bridge in want.bridges for interface in bridge.interfaces}
    for bridge in want.bridges:
        _BridgeComparison(bridge, have, ports.get(bridge.name, []), home, difference).run()
    planned = {bridge.name for bridge in want.bridges}
    for link in have.links.values():
        if link.name not in planned and is_ours(link):
            _remove(link, ports.get(link.name, []), home, difference)
    return difference


def guard(difference: Difference, duties: Duties) -> None:
    """Refuse, in one message, what stands in the way and what would cut the host off. Nothing is written yet."""
    problems = list(difference.problems)
    for risk in difference.risks:
        reached = sorted(duties.reached_by.intersection(risk.addresses))
        sources = sorted(a for a in risk.addresses if (risk.interface, a) in duties.route_sources)
        if risk.interface in duties.carried:
            carries = duties.carried[risk.interface]
        elif reached:
            carries = f"the address {reached[0]}, by which this host is reached"
        elif sources:
            carries = f"routes with the source address {sources[0]}"
        else:
            continue
        problems.append(
            f"{risk.what}: {risk.interface} carries {carries}, and that would cut the host off; "
            "give the host another way in first, or correct the plan"
        )
    if problems:
        raise HostError("\n".join(problems))


def _compare_sysctl(want: Plan, have: State, difference: Difference) -> None:
    born = {bridge.name for bridge in want.bridges if bridge.name not in have.links}
    wanted = dict(want.sysctl)
    for key, value in want.sysctl:
        match = _PER_INTERFACE.match(key)
        newborn = match is not None and match.group(1).replace("/", ".") in born
        before = have.sysctl.get(key)
        default = sysctl_default_key(key)
        if newborn and default is not None:
            before = wanted.get(default, have.sysctl.get(default))
        if before is None:
            difference.problems.append(
                f"sysctl {key}: this kernel does not know it; correct the key, or load the module that brings it"
            )
        elif before != value:
            phase = "settle" if newborn else "sysctl"
            difference.phases[phase].append(SetSysctl(key, value, None if newborn else before))
            difference.sysctl_before[key] = None if newborn else before
            difference.sysctl_after[key] = value


class _BridgeComparison:
    """One planned bridge against what the kernel has."""

    def __init__(
        self, want: Bridge, have: State, ports: list[Link], home: t.Mapping[str, str], difference: Difference
    ) -> None:
        self.want = want
        self.links = have.links
        self.link = have.links.get(want.name)
        self.ports = ports
        self.home = home
        self.difference = difference
        self.mark = parse_mark(self.link.alias) if self.link is not None else None
        self.operations = 0

    def run(self) -> None:
        if self.link is not None and not self._may_take(self.link):
            return
        for joining in self._joining():
            self._add("enslave", joining)
        first = self.links.get(self.want.interfaces[0]) if self.want.interfaces else None
        mac = self.want.mac or (first.mac if first is not None else None)
        if self.link is None or self.mark is None:
            self._add("create", self._create(mac))
            addresses = self._readdress([], frozenset())
        else:
            leaving = self._leaving()
            addresses = self._readdress(self.link.addresses, frozenset(self.mark.addresses))
            for port in leaving:
                self._add("release", Enslave(port.name, None, port.master))
            self._change(self.link, self.mark, mac)
            self._marks(self.link, self.mark)
        if self.operations:
            self._picture(mac, addresses)

    def _add(self, phase: str, operation: Operation) -> None:
        self.difference.phases[phase].append(operation)
        self.operations += 1

    def _problem(self, text: str) -> None:
        self.difference.problems.append(f"bridge {self.want.name}: {text}")

    def _may_take(self, link: Link) -> bool:
        if link.kind != "bridge":
            self._problem("an interface of that name exists that is not a bridge; rename one of the two")
            return False
        if self.mark is None:
            self._problem(
                "exists, but does not carry our mark, so it is left alone; to hand it over: "
                f"ip link set {link.name} alias {OWNER_ALIAS}"
            )
            return False
        return True

    # Ports

    def _joining(self) -> list[Enslave]:
        found = []
        for name in self.want.interfaces:
            link = self.links.get(name)
            if link is None:
                self._problem(f"interface {name} does not exist on this host; create it, or correct the plan")
                continue
            if self.want.mtu is not None and link.mtu < self.want.mtu:
                self._problem(
                    f"its planned MTU {self.want.mtu} is larger than the MTU {link.mtu} of its interface {name}; "
                    "raise the interface's, or plan a smaller one"
                )
            if link.master == self.want.name:
                if not link.up:
                    found.append(Enslave(name, self.want.name, self.want.name, True))
            elif self._can_join(link):
                found.append(Enslave(name, self.want.name, link.master, None if link.up else True))
                self.difference.risks.append(Risk(name, f"bridge {self.want.name}: enslaving {name}"))
                if link.master is not None:
                    self._risk_of_leaving(name, link.master)
        return found

    def _can_join(self, link: Link) -> bool:
        obstacle = self._obstacle(link)
        if obstacle:
            self._problem(f"interface {link.name} {obstacle}")
        return not obstacle

    def _obstacle(self, link: Link) -> str:
        if link.loopback:
            return "is the loopback interface, which cannot be enslaved; correct the plan"
        if link.kind == "bridge":
            return "is itself a bridge, which cannot be a port of a bridge; correct the plan"
        if not link.ethernet:
            return "is not an Ethernet interface, which cannot be a port of a bridge; correct the plan"
        master = self.links.get(link.master) if link.master is not None else None
        if link.master is not None and (master is None or not is_ours(master)):
            kind = (master.kind if master is not None else "") or "link"
            return (
                f"is already a port of the {kind} {link.master}, which is not ours; release it first "
                f"(ip link set {link.name} nomaster), or correct the plan"
            )
        own = [address.text for address in link.addresses if address.scope == SCOPE_GLOBAL]
        if own:
            return (
                f"carries the host's own address {own[0]}, and enslaving it would cut the host off there; "
                "move the address first, or correct the plan"
            )
        return ""

    def _leaving(self) -> list[Link]:
        """Ports that are ours and no longer planned here; those planned for another bridge move there by themselves."""
        marked = self.mark.interfaces if self.mark is not None else ()
        found = [port for port in self.ports if port.name in marked and port.name not in self.home]
        for port in found:
            self._risk_of_leaving(port.name, self.want.name)
        return found

    def _risk_of_leaving(self, port: str, bridge: str) -> None:
        self.difference.risks.append(Risk(bridge, f"bridge {bridge}: taking away its interface {port}"))

    # Addresses

    def _readdress(self, have: list[Address], owned: frozenset[str]) -> list[Address]:
        if _addresses_settled(have, self.want.addresses, owned):
            return have
        change = readdress(have, self.want.addresses, owned)
        if change.steps:
            self._add(
                "address", Readdress(self.want.name, change.steps, change.undo, _address_texts(self.want.name, change))
            )
            if change.away:
                gone = tuple(address.local for address in change.away)
                self.difference.risks.append(
                    Risk(self.want.name, f"bridge {self.want.name}: taking away {change.away[0].text}", gone)
                )
        return change.result

    # The bridge itself

    def _create(self, mac: str | None) -> CreateBridge:
        want = self.want
        return CreateBridge(want.name, want.mark, mac, want.mtu, want.stp, want.forward_delay)

    def _change(self, link: Link, mark: Mark, mac: str | None) -> None:
        want = self.want
        ports_change = self.operations > 0  # or addresses do, then the MTU is set once too often
        # A MAC address or an MTU that was never set follows the ports, and nothing tells it from one that was set. A
        # bridge that is handed over is therefore set once, even to what it has; the same after a change of ports.
        pin_mac = mac is not None and (mac != link.mac or not mark.complete)
        change_mtu = want.mtu is not None and want.mtu != link.mtu
        change_stp = want.stp != link.stp
        # Its own delay cannot be read while another bridge is its root; so it is set with STP, and not looked at then.
        hidden = link.forward_delay is None
        change_delay = change_stp if hidden else want.forward_delay != link.forward_delay
        to = Settings(
            stp=want.stp if change_stp else None,
            forward_delay=want.forward_delay if change_delay else None,
            mac=mac if pin_mac else None,
            mtu=want.mtu if change_mtu else None,
            up=None if link.up else True,
        )
        if to != Settings():
            self._add("shape", ChangeBridge(want.name, to, _settings_of(link, to)))
        if want.mtu is not None and ports_change and not change_mtu:
            again = Settings(mtu=want.mtu)
            self._add("settle", ChangeBridge(want.name, again, _settings_of(link, again), quiet=True))

    def _marks(self, link: Link, mark: Mark) -> None:
        """Widen before anything comes, narrow after everything has gone."""
        want, planned = self.want, self.want.mark
        if link.alias == planned:
            return  # it names just what is planned, so nothing that it names leaves
        planned_addresses = tuple(address.text for address in want.addresses)
        going = tuple(port.name for port in self.ports if port.name in mark.interfaces)
        staying = tuple(address.text for address in link.addresses if address.text in mark.addresses)
        wide = render_mark(Mark(_union(want.interfaces, going), _union(planned_addresses, staying)))
        if len(wide.encode()) > ALIAS_MAX:
            self._problem(
                f"its mark cannot name both what comes and what goes ({len(wide.encode())} bytes, the kernel keeps "
                f"{ALIAS_MAX}); apply a plan without the new interfaces and addresses first"
            )
            return
        text = ""
        if not mark.complete:
            text = f"take over bridge {self.want.name}"
        elif not self.operations and all(self.home.get(port, want.name) == want.name for port in going):
            text = f"update the mark of bridge {self.want.name}"
        named = set(mark.interfaces) | set(mark.addresses)
        if mark.complete and named >= {*want.interfaces, *planned_addresses}:
            wide = link.alias  # wide enough as it is
        if wide != link.alias:
            self._add("widen", SetAlias(self.want.name, wide, link.alias, text))
            text = ""
        if planned != wide:
            self._add("narrow", SetAlias(self.want.name, planned, wide, text))

    def _picture(self, mac: str | None, addresses: list[Address]) -> None:
        """Before and after of this bridge, as --diff shows them."""
        link, want = self.link, self.want
        mine = dict.fromkeys(want.interfaces, True)
        leaving = set(self.mark.interfaces) if self.mark is not None else set()
        for port in self.ports:
            elsewhere = self.home.get(port.name, want.name) != want.name
            if not elsewhere and port.name not in leaving:
                mine.setdefault(port.name, port.up)
        if link is not None:
            self.difference.before[want.name] = picture(link, self.ports)
        self.difference.after[want.name] = _lines(
            mark=want.mark,
            up=True,
            ports=mine,
            addresses=addresses,
            mtu=want.mtu if want.mtu is not None else (link.mtu if link is not None else None),
            mac=mac or (link.mac if link is not None else None),
            stp=want.stp,
            forward_delay=want.forward_delay if link is None or link.forward_delay is not None else None,
        )


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return first + tuple(item for item in second if item not in first)


def _settings_of(link: Link, like: Settings) -> Settings:
    """The present values of just those settings that `like` touches."""
    return Settings(
        stp=None if like.stp is None else link.stp,
        forward_delay=None if like.forward_delay is None else link.forward_delay,
        mac=None if like.mac is None else link.mac,
        mtu=None if like.mtu is None else link.mtu,
        up=None if like.up is None else link.up,
    )


def _remove(link: Link, ports: list[Link], home: t.Mapping[str, str], difference: Difference) -> None:
    """A bridge of ours that is no longer planned."""
    mark = parse_mark(link.alias) or Mark()
    what = f"removing bridge {link.name}"
    foreign = [
        address.text
        for address in link.addresses
        # An IPv6 address with a lifetime was made by the kernel from an advertisement: nobody gave it.
        if address.scope == SCOPE_GLOBAL
        and address.text not in mark.addresses
        and (address.is_ipv4 or address.permanent)
    ]
    if foreign:
        difference.problems.append(
            f"{what}: it carries {foreign[0]}, which is not ours and would be lost; remove the address first "
            f"(ip address del {foreign[0]} dev {link.name}), or keep the bridge by taking our mark away "
            f"(ip link set {link.name} alias '')"
        )
    difference.risks.append(Risk(link.name, what, tuple(address.local for address in link.addresses)))
    staying = [port for port in ports if port.name not in home]
    guests = tuple(port.name for port in staying if port.name not in mark.interfaces)
    settings = (link.mac or None, link.mtu, link.stp, link.forward_delay or 0, link.up)
    restore: list[Operation] = [CreateBridge(link.name, link.alias, *settings)]
    restore.extend(Enslave(port.name, link.name) for port in staying)
    if link.addresses:
        # The kernel makes link-local addresses itself.
        again = tuple(Step(True, address) for address in link.addresses if address.scope == SCOPE_GLOBAL)
        restore.append(Readdress(link.name, again, ()))
    difference.phases["remove"].append(RemoveBridge(link.name, guests, tuple(restore)))
    difference.before[link.name] = picture(link, ports)


# ---------------------------------------------------------------------------------------------------------------
# Addresses of one bridge


@dataclasses.dataclass
class AddressChange:
    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    #: The addresses afterwards, in the kernel's order.
    result: list[Address]
    #: Those that leave, be it for a moment.
    away: list[Address]
    added: list[Address]
    removed: list[Address]
    mended: list[Address]
    first: Address | None


class _Kernel4:
    """The kernel's list of a link's IPv4 addresses, so that the effect of each step is known before it is sent.

    A primary address goes behind the last primary one, a further one of the same subnet is secondary and goes to the
    end; and with a primary its secondaries go (or one is promoted: a setting). Therefore secondaries are taken away
    before their primary and put back after it, which ends the same with either setting.
    """

    def __init__(self, addresses: t.Iterable[Address]) -> None:
        self.entries = [(address, bool(address.flags & SECONDARY)) for address in addresses]
        self.steps: list[Step] = []

    @property
    def addresses(self) -> list[Address]:
        return [address for address, _secondary in self.entries]

    def first_global(self) -> Address | None:
        return next((address for address in self.addresses if address.scope == SCOPE_GLOBAL), None)

    def add(self, address: Address) -> None:
        self.steps.append(Step(True, address))
        for number, (present, secondary) in enumerate(self.entries):
            if present.text == address.text:  # only its lifetime is set
                self.entries[number] = (address, secondary)
                return
        place = 0
        for number, (present, secondary) in enumerate(self.entries):
            if not secondary and address.scope <= present.scope:
                place = number + 1
        if any(_same_subnet(present, address) for present in self.addresses):
            self.entries.append((address, True))
        else:
            self.entries.insert(place, (address, False))

    def remove(self, address: Address) -> list[Address]:
        """Take it away, with the secondaries that would go with it; these are returned."""
        entry = next(entry for entry in self.entries if entry[0] is address)
        with_it = []
        if not entry[1]:
            with_it = [a for a, secondary in self.entries if secondary and _same_subnet(a, address)]
        for victim in [*reversed(with_it), address]:
            self.steps.append(Step(False, victim))
            self.entries = [kept for kept in self.entries if kept[0] is not victim]
        return with_it


def _same_subnet(one: Address, other: Address) -> bool:
    if one.prefix != other.prefix:
        return False
    shift = 32 - one.prefix
    return _number(one) >> shift == _number(other) >> shift


def _number(address: Address) -> int:
    return int.from_bytes(socket.inet_aton(address.peer or address.local), "big")


def _addresses_settled(have: list[Address], want: t.Sequence[Address], owned: frozenset[str]) -> bool:
    """Whether `readdress` has nothing to do: what it would find out too, in a tenth of the time."""
    present = {address.text: address for address in have}
    for planned in want:
        found = present.get(planned.text)
        if found is None or _visible(found) != _visible(planned):
            return False
    if any(text in present for text in owned.difference(address.text for address in want)):
        return False
    first = next((address.text for address in want if address.is_ipv4), None)
    top = next((address.text for address in have if address.is_ipv4 and address.scope == SCOPE_GLOBAL), None)
    return first is None or first == top


def readdress(have: list[Address], want: t.Sequence[Address], owned: t.Container[str]) -> AddressChange:
    """The steps from the present addresses of a bridge to the planned ones; foreign ones stay.

    Only where the first planned IPv4 address is not the bridge's first one are those before it taken away and put
    back, with all they had, in the same datagram.
    """
    have4 = [address for address in have if address.is_ipv4]
    have6 = [address for address in have if not address.is_ipv4]
    want4 = [address for address in want if address.is_ipv4]
    want6 = [address for address in want if not address.is_ipv4]
    kernel = _readdress4(have4, want4, owned)
    steps6, undo6, result6 = _readdress6(have6, want6, owned)
    steps = (*kernel.steps, *steps6)
    if any(not step.add for step in kernel.steps):
        undo4 = [Step(False, address) for address in reversed(kernel.addresses)]
        undo4 += [Step(True, address) for address in have4]
    else:
        present = {address.text: address for address in have4}
        undo4 = [
            Step(True, present[step.address.text]) if step.address.text in present else Step(False, step.address)
            for step in reversed(kernel.steps)
        ]
    result = kernel.addresses + result6
    return _summary(have, result, steps, (*undo4, *undo6), want4)


def _readdress4(have: list[Address], want: list[Address], owned: t.Container[str]) -> _Kernel4:
    kernel = _Kernel4(have)
    wanted = {address.text: address for address in want}
    stale, wrong = [], []
    for address in have:
        planned = wanted.get(address.text)
        if planned is None:
            if address.text in owned:
                stale.append(address)
        elif (address.broadcast, address.scope) != (planned.broadcast, planned.scope):
            wrong.append(address)
        elif not address.permanent:
            kernel.add(planned)
    present = {address.text for address in have}
    for address in want:
        if address.text not in present:
            kernel.add(address)
    back: list[Address] = []
    for address in reversed(stale + wrong):
        _take_away(kernel, address, back)
    first = wanted[want[0].text] if want else None
    _put_back(kernel, want, [address for address in back if address not in stale])
    top = kernel.first_global()
    if first is not None and top is not None and top.text != first.text:
        back = []
        before = []
        for address in kernel.addresses:
            if address.text == first.text:
                break
            if address.scope == SCOPE_GLOBAL:
                before.append(address)
        for address in reversed(before):
            _take_away(kernel, address, back)
        _put_back(kernel, [first], [*before, *back])
    return kernel


def _take_away(kernel: _Kernel4, address: Address, back: list[Address]) -> None:
    if any(present is address for present in kernel.addresses):
        back.extend(kernel.remove(address))


def _put_back(kernel: _Kernel4, want: list[Address], others: list[Address]) -> None:
    """The planned ones that are missing first, as planned; then the others as they were."""
    planned = {address.text: address for address in want}
    for address in [*want, *others]:
        address = planned.get(address.text, address)
        if all(present.text != address.text for present in kernel.addresses):
            kernel.add(address)


def _readdress6(
    have: list[Address], want: list[Address], owned: t.Container[str]
) -> tuple[list[Step], list[Step], list[Address]]:
    """IPv6 addresses have no order that matters, but one address cannot stand there twice with two prefixes."""
    steps, undo = [], []
    result = list(have)
    present = {address.local: address for address in have}
    wanted = {address.local for address in want}
    for address in want:
        old = present.get(address.local)
        if old is not None and old.prefix == address.prefix and old.permanent:
            continue
        if old is not None:
            result.remove(old)
            if old.prefix != address.prefix:
                steps.append(Step(False, old))
            undo.append(Step(True, old))
        if old is None or old.prefix != address.prefix:
            undo.append(Step(False, address))
        steps.append(Step(True, address))
        result.append(address)
    for address in have:
        if address.text in owned and address.local not in wanted:
            steps.append(Step(False, address))
            undo.append(Step(True, address))
            result.remove(address)
    return steps, undo[::-1], result


def _summary(
    have: list[Address],
    result: list[Address],
    steps: tuple[Step, ...],
    undo: tuple[Step, ...],
    want4: list[Address],
) -> AddressChange:
    before = {address.text for address in have}
    after = {address.text for address in result}
    seen: dict[str, Address] = {step.address.text: step.address for step in steps if not step.add}
    top_before = next((a for a in have if a.is_ipv4 and a.scope == SCOPE_GLOBAL), None)
    reordered = bool(steps and want4 and top_before is not None and top_before.text != want4[0].text)
    old = {address.text: address for address in have}
    return AddressChange(
        steps=steps,
        undo=undo,
        result=result,
        away=[address for text, address in seen.items() if text in before],
        added=[address for address in result if address.text not in before],
        removed=[address for address in have if address.text not in after],
        mended=[a for a in result if a.text in old and _visible(a) != _visible(old[a.text])],
        first=want4[0] if reordered and want4[0].text in before else None,
    )


def _visible(address: Address) -> tuple[t.Any, ...]:
    return (address.broadcast, address.scope, address.permanent)


def _address_texts(bridge: str, change: AddressChange) -> tuple[str, ...]:
    texts = [f"add address {address.text} to {bridge}" for address in change.added]
    texts += [f"mend address {address.text} of {bridge}" for address in change.mended]
    texts += [f"remove address {address.text} from {bridge}" for address in change.removed]
    if change.first is not None:
        texts.append(f"make {change.first.text} the first address of {bridge}")
    return tuple(texts)


# ---------------------------------------------------------------------------------------------------------------
# Before and after, for readers and for the check that an undone change left nothing behind


def picture(link: Link, ports: t.Sequence[Link]) -> list[str]:
    """What we know and manage of a bridge, as lines."""
    return _lines(
        mark=link.alias,
        up=link.up,
        ports={port.name: port.up for port in ports},
        addresses=link.addresses,
        mtu=link.mtu,
        mac=link.mac,
        stp=link.stp,
        forward_delay=link.forward_delay,
    )


def snapshot(state: State, difference: Difference) -> list[str]:
    """What the operations of `difference` may touch, as lines that are equal if nothing is different."""
    ports = state.ports()
    lines = []
    names = {**difference.before, **difference.after}
    for name in sorted(names):
        link = state.links.get(name)
        shown = ", ".join(picture(link, ports.get(name, []))) if link is not None else "absent"
        lines.append(f"bridge {name}: {shown}")
    for operation in difference.operations:
        if isinstance(operation, Enslave):
            link = state.links.get(operation.interface)
            shown = "absent" if link is None else f"port of {link.master}, {'up' if link.up else 'down'}"
            lines.append(f"interface {operation.interface}: {shown}")
        elif isinstance(operation, SetSysctl) and operation.before is not None:
            lines.append(f"sysctl {operation.key}: {state.sysctl.get(operation.key)}")
    return lines


def _lines(
    mark: str,
    up: bool,
    ports: t.Mapping[str, bool],
    addresses: t.Iterable[Address],
    mtu: int | None,
    mac: str | None,
    stp: bool,
    forward_delay: int | None,
) -> list[str]:
    shown = [
        address.text
        + (f" brd {address.broadcast}" if address.broadcast else "")
        + ("" if address.permanent else " dynamic")
        for address in addresses
        if address.scope == SCOPE_GLOBAL
    ]
    names = [name + ("" if is_up else " (down)") for name, is_up in sorted(ports.items())]
    return [
        f"mark: {mark}",
        f"up: {'true' if up else 'false'}",
        f"interfaces: [{', '.join(names)}]",
        f"addresses: [{', '.join(shown)}]",
        f"mtu: {mtu if mtu is not None else 'left to the kernel'}",
        f"mac: {mac or 'left to the kernel'}",
        f"stp: {'true' if stp else 'false'}",
        f"forward_delay: {_seconds(forward_delay) if forward_delay is not None else 'that of the root bridge'}",
    ]


def _render(bridges: t.Mapping[str, list[str]], sysctl: t.Mapping[str, str | None]) -> str:
    lines = ["bridges:"] if bridges else []
    for name in sorted(bridges):
        lines.append(f"- name: {name}")
        lines.extend(f"  {line}" for line in bridges[name])
    if sysctl:
        lines.append("sysctl:")
        lines.extend(f'  {key}: "{value}"' for key, value in sorted(sysctl.items()) if value is not None)
    return "".join(f"{line}\n" for line in lines)


def _seconds(hundredths: int) -> str:
    return f"{hundredths / 100:g}"
