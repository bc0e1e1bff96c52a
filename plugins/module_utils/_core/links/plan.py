# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `links` of a host plan: checked as a whole, and as values.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
import socket
import typing as t

from ..errors import InputError
from ..fields import Fields, items
from ..naming import interface_name
from . import sysctl
from .kernel import Address
from .mark import ALIAS_MAX, Mark, render_mark

MTU_MIN, MTU_MAX, MTU_MIN_IPV6 = 68, 65535, 1280
#: 0 stands for "no VLAN, a priority alone", 4095 is reserved (IEEE 802.1Q).
VLAN_MIN, VLAN_MAX = 1, 4094
#: Seconds; the kernel's bounds while STP is on. Without STP it takes less, and more would mean nothing.
DELAY_MIN_STP, DELAY_MAX = 2, 30

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._@-]+\Z")
_SYSCTL_PART = re.compile(r"[A-Za-z0-9_@+/-]+\Z")


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
    #: IPv6 ranges advertised on it: what an interface took of them by itself is not the host's own.
    advertised: tuple[str, ...] = ()
    #: The one among its interfaces whose addresses and routes may be moved to it.
    moved: str | None = None

    @property
    def named(self) -> Mark:
        """What the alias of the bridge names once all is as planned."""
        return Mark(self.interfaces, tuple(address.text for address in self.addresses), moved=self.moved)

    @functools.cached_property
    def mark(self) -> str:
        """The alias of the bridge once all is as planned."""
        return render_mark(self.named)


@dataclasses.dataclass(frozen=True)
class Vlan:
    """A VLAN interface as planned."""

    name: str
    link: str
    id: int
    mtu: int | None = None
    mac: str | None = None


@dataclasses.dataclass(frozen=True)
class Port:
    """The device of an instance's port as planned; it may come at any time."""

    name: str
    #: Of this plan, or the operator's own.
    bridge: str
    #: Whether it is a tap that is there before its guest.
    tap: bool = False
    hairpin: bool = True
    mtu: int | None = None
    mac: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    bridges: tuple[Bridge, ...] = ()
    #: What stands on another one comes after it.
    vlans: tuple[Vlan, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()


def parse(plan: object) -> Plan:
    """Check the whole plan and return it as values; InputError names the path, the rule and what would be right."""
    section = Fields(plan, "links")
    # No default: an empty list removes every bridge of ours, which must be said, not forgotten.
    listed = items(section.required("bridges"), "links.bridges")
    tagged = items(section.raw("vlans", ()), "links.vlans")
    movable = _interfaces(section.raw("move_addresses", ()), "links.move_addresses")
    plugged = items(section.raw("ports", ()), "links.ports")
    settings = section.raw("sysctl", {})
    section.done()
    bridges = tuple(_bridge(value, path, movable) for path, value in listed)
    vlans = tuple(_vlan(value, path) for path, value in tagged)
    _check_together(bridges)
    _check_vlans(vlans, {bridge.name: f"links.bridges[{number}]" for number, bridge in enumerate(bridges)})
    ports = tuple(_port(value, path) for path, value in plugged)
    _check_ports(ports, bridges, vlans)
    return Plan(bridges, _parents_first(vlans), _sysctl(settings), ports)


def _bridge(value: object, path: str, movable: tuple[str, ...]) -> Bridge:
    fields = Fields(value, path)
    stp = fields.flag("stp", False)
    # A null list is refused: what it would take away must be said.
    bridge = Bridge(
        name=interface_name(fields.required("name"), fields.where("name")),
        interfaces=_interfaces(fields.raw("interfaces", ()), fields.where("interfaces")),
        addresses=tuple(
            _address(address, place) for place, address in items(fields.raw("addresses", ()), fields.where("addresses"))
        ),
        mtu=_mtu(fields.raw("mtu"), fields.where("mtu")),
        mac=fields.optional_mac("mac"),
        stp=stp,
        forward_delay=_delay(fields.raw("forward_delay", 0), stp, fields.where("forward_delay")),
        advertised=tuple(
            _range_v6(value, place) for place, value in items(fields.raw("advertised", ()), fields.where("advertised"))
        ),
    )
    fields.done()
    allowed = [name for name in bridge.interfaces if name in movable]
    if len(allowed) > 1:
        raise InputError(
            f"{path}.interfaces: {allowed[0]} and {allowed[1]} are both named in links.move_addresses "
            "(nova_allow_move_addresses), but a bridge takes the addresses of one interface; leave one of them out"
        )
    if allowed:
        bridge = dataclasses.replace(bridge, moved=allowed[0])
    _check_bridge(bridge, path)
    return bridge


def _vlan(value: object, path: str) -> Vlan:
    fields = Fields(value, path)
    number = fields.required("id")
    if not isinstance(number, int) or isinstance(number, bool) or not VLAN_MIN <= number <= VLAN_MAX:
        raise InputError(
            f"{fields.where('id')}: {number!r} is not a VLAN number; give a whole number from {VLAN_MIN} to {VLAN_MAX}"
        )
    vlan = Vlan(
        name=interface_name(fields.required("name"), fields.where("name")),
        link=interface_name(fields.required("link"), fields.where("link")),
        id=number,
        mtu=_mtu(fields.raw("mtu"), fields.where("mtu")),
        mac=fields.optional_mac("mac"),
    )
    fields.done()
    return vlan


def _port(value: object, path: str) -> Port:
    fields = Fields(value, path)
    port = Port(
        name=_plain_name(fields.required("name"), fields.where("name")),
        bridge=_plain_name(fields.required("bridge"), fields.where("bridge")),
        tap=fields.flag("tap", False),
        hairpin=fields.flag("hairpin", True),
        mtu=_mtu(fields.raw("mtu"), fields.where("mtu")),
        mac=fields.optional_mac("mac"),
    )
    fields.done()
    return port


def _plain_name(value: object, path: str) -> str:
    name = interface_name(value, path)
    if not _PLAIN_NAME.match(name):
        raise InputError(
            f"{path}: {name!r} has a character that a udev rule cannot carry; use letters, digits and any of . _ @ -"
        )
    return name


def _interfaces(value: object, path: str) -> tuple[str, ...]:
    names: list[str] = []
    for place, item in items(value, path):
        name = interface_name(item, place)
        if "," in name:
            raise InputError(f"{place}: {name!r} has a comma, which the bridge's mark cannot carry; rename it")
        if name in names:
            raise InputError(f"{place}: interface {name!r} is given twice; name it once")
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


def _range_v6(value: object, path: str) -> str:
    try:
        return str(ipaddress.IPv6Network(value if isinstance(value, str) and "/" in value else ""))
    except ValueError:
        raise InputError(f"{path}: {value!r} is not a range of IPv6; give one such as 'fd00::/64'") from None


def _mtu(value: object, path: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not MTU_MIN <= value <= MTU_MAX:
        raise InputError(f"{path}: {value!r} is not an MTU; give a whole number from {MTU_MIN} to {MTU_MAX}, or null")
    return value


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


def _check_vlans(vlans: t.Sequence[Vlan], bridges: t.Mapping[str, str]) -> None:
    """What only shows when the VLAN interfaces are seen side by side, and with the bridges (name -> path)."""
    names = dict(bridges)
    tags: dict[tuple[str, int], str] = {}
    for number, vlan in enumerate(vlans):
        path = f"links.vlans[{number}]"
        if vlan.name in names:
            raise InputError(f"{path}.name: {vlan.name!r} is already the name of {names[vlan.name]}; plan it once")
        names[vlan.name] = path
        if vlan.link in bridges:
            raise InputError(
                f"{path}.link: {vlan.link!r} is a bridge of this plan ({bridges[vlan.link]}); "
                "name a network card, a bond or another VLAN interface"
            )
        other = tags.setdefault((vlan.link, vlan.id), vlan.name)
        if other != vlan.name:
            raise InputError(
                f"{path}.id: tag {vlan.id} on {vlan.link} is already that of {other}; a link has each tag once"
            )


def _check_ports(ports: t.Sequence[Port], bridges: t.Sequence[Bridge], vlans: t.Sequence[Vlan]) -> None:
    """What only shows when the ports are seen side by side, and with all else that has a name."""
    names = {bridge.name: f"links.bridges[{number}]" for number, bridge in enumerate(bridges)}
    names.update((vlan.name, f"VLAN interface {vlan.name}") for vlan in vlans)
    for bridge in bridges:
        names.update((name, f"an interface of bridge {bridge.name}") for name in bridge.interfaces)
    places: dict[str, str] = {}
    for number, port in enumerate(ports):
        path = f"links.ports[{number}]"
        other = names.get(port.name) or places.get(port.name)
        if other is not None:
            raise InputError(f"{path}.name: {port.name!r} is already {other}; plan it once")
        places[port.name] = path
    tagged = {vlan.name for vlan in vlans}
    for number, port in enumerate(ports):
        if port.bridge in places or port.bridge in tagged:
            raise InputError(f"links.ports[{number}].bridge: {port.bridge!r} is not planned as a bridge; name a bridge")


def _parents_first(vlans: t.Sequence[Vlan]) -> tuple[Vlan, ...]:
    planned = {vlan.name: vlan for vlan in vlans}
    places = {vlan.name: f"links.vlans[{number}]" for number, vlan in enumerate(vlans)}
    depths: dict[str, int] = {}
    for vlan in vlans:
        way: list[str] = []
        at: Vlan | None = vlan
        while at is not None and at.name not in depths:
            if at.name in way:
                ring = " on ".join([*way[way.index(at.name) :], at.name])
                raise InputError(f"{places[at.name]}.link: {ring} stands on itself; name a network card at the end")
            way.append(at.name)
            at = planned.get(at.link)
        depth = 0 if at is None else depths[at.name] + 1
        for above, name in enumerate(reversed(way)):
            depths[name] = depth + above
    return tuple(sorted(vlans, key=lambda vlan: depths[vlan.name]))


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
        settings.append((key, sysctl.canonical(setting)))
    # Forwarding first: writing it makes the kernel reset other settings of every interface.
    settings.sort(key=lambda pair: pair[0] != "net.ipv4.ip_forward")
    return tuple(settings)
