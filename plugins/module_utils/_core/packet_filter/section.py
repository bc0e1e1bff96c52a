# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's section, checked: whatever is wrong in it is named by its path.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import dataclasses
import ipaddress
import re
import typing as t

from .. import addressing, guest_rules, naming
from ..errors import InputError
from ..fields import Fields, items

PATH = "packet_filter"

#: Where guests ask for their metadata, and the port.
METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80

#: Interfaces beside the public one by which floating IPs may leave: the number stands in names of chains.
MANY_INTERFACES = 99

#: The kernel allows more in an interface name, but these are read back from rule text unchanged: no quote, no
#: leading '-' or '!' (an option, a negation), no '+' at the end (a wildcard of iptables).
_PLAIN_INTERFACE = re.compile(r"[A-Za-z0-9_.](?:[A-Za-z0-9_.@+-]*[A-Za-z0-9_.@-])?\Z")


@dataclasses.dataclass(frozen=True)
class Network:
    """One network that this host carries, with a range of IPv4, of IPv6, or of both."""

    label: str
    bridge: str
    cidr: str | None
    gateway: bool
    dhcp: bool
    snat: bool
    cidr_v6: str | None = None

    @property
    def cidrs(self) -> tuple[str, ...]:
        return tuple(cidr for cidr in (self.cidr, self.cidr_v6) if cidr is not None)


class FloatingIp(t.NamedTuple):
    """Whoever asks for `address` is answered by `fixed_address`, which leaves by `interface` as `address`."""

    address: str
    fixed_address: str
    interface: str


class PortForward(t.NamedTuple):
    """The ports from `first` to `last` of `address` lead to those from `to_first` on of `fixed_address`."""

    address: str
    protocol: str
    first: int
    last: int
    fixed_address: str
    to_first: int

    @property
    def ports(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"


class Hairpin(t.NamedTuple):
    """A network with guests that have addresses on this host: they may be asked for from the network itself."""

    cidr: str
    bridge: str


class Metadata(t.NamedTuple):
    """Where the metadata service is; `host` None is this host itself. Who is on the bridges `elsewhere` asks others."""

    host: str | None
    port: int
    elsewhere: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """The section, checked and in canonical spelling; `routing_source_ip` None is the host's own address."""

    public_interface: str | None
    routing_source_ip: str | None
    dmz_cidr: tuple[str, ...]
    force_snat_range: tuple[str, ...]
    networks: tuple[Network, ...]
    floating_ips: tuple[FloatingIp, ...] = ()
    port_forwards: tuple[PortForward, ...] = ()
    hairpins: tuple[Hairpin, ...] = ()
    metadata: Metadata | None = None
    security: guest_rules.Section = guest_rules.NONE


def parse(section: object) -> Section:
    """Check the whole section; InputError names the first value that breaks a rule by its path."""
    fields = Fields(section, PATH)
    public = fields.raw("public_interface")
    if public is not None:
        public = _interface(public, fields.where("public_interface"))
    source = fields.raw("routing_source_ip")
    if source is not None:
        source = _source(source, fields.where("routing_source_ip"))
    networks = tuple(
        _network(entry, path) for path, entry in items(fields.required("networks"), fields.where("networks"))
    )
    dmz, forced = _ranges(fields, "dmz_cidr"), _ranges(fields, "force_snat_range")
    _refuse_overlaps(networks)
    homes = _Homes(networks)
    floating = _floating_ips(fields.items("floating_ips"), homes, public)
    forwards = _port_forwards(fields.items("port_forwards"), homes)
    metadata = fields.raw("metadata")
    if metadata is not None:
        metadata = _metadata(metadata, fields.where("metadata"))
    security = guest_rules.parse(fields)
    fields.done()
    _refuse_divided_bridges(networks)
    if public is None and source != "":
        _refuse_missing_public_interface(networks)
    return Section(
        public_interface=public,
        routing_source_ip=source,
        dmz_cidr=dmz,
        force_snat_range=forced,
        networks=networks,
        floating_ips=floating,
        port_forwards=forwards,
        hairpins=tuple(homes.used),
        metadata=metadata,
        security=security,
    )


_T = t.TypeVar("_T")


def unique(facts: t.Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(facts))


def _interface(value: object, path: str) -> str:
    name = naming.interface_name(value, path)
    if not _PLAIN_INTERFACE.match(name):
        raise InputError(
            f"{path}: {name!r} cannot stand in a packet filter rule; use letters, digits and any of '_.@+-', "
            "beginning with a letter, a digit, '_' or '.', and not ending with '+'"
        )
    return name


def _source(value: object, path: str) -> str:
    if value == "":
        return ""
    try:
        address = ipaddress.IPv4Address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise InputError(
            f"{path}: {value!r} is not the IPv4 address of a host; give one such as '192.0.2.1', "
            "null for the host's own address, or '' for no SNAT"
        )
    return str(address)


_SORTS: dict[int, tuple[type[ipaddress.IPv4Network | ipaddress.IPv6Network], str]] = {
    4: (ipaddress.IPv4Network, "10.0.0.0/24"),
    6: (ipaddress.IPv6Network, "fd00::/64"),
}


def _range(value: object, path: str, version: int = 4) -> str:
    sort, example = _SORTS[version]
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not an IPv{version} range; give a string such as '{example}'")
    try:
        return str(sort(value))
    except ValueError:
        pass
    try:
        meant = sort(value, strict=False)
    except ValueError:
        raise InputError(f"{path}: {value!r} is not an IPv{version} range; give one such as '{example}'") from None
    raise InputError(f"{path}: {value!r} is not the beginning of its range; did you mean '{meant}'?")


def _ranges(fields: Fields, key: str) -> tuple[str, ...]:
    return unique(_range(entry, path) for path, entry in fields.items(key))


def _own_range(fields: Fields, key: str, version: int) -> str | None:
    value = fields.raw(key)
    if value is None:
        return None
    cidr = _range(value, fields.where(key), version)
    if cidr.endswith("/0"):
        raise InputError(f"{fields.where(key)}: '{cidr}' is every address there is; give the network's own range")
    return cidr


def _network(value: object, path: str) -> Network:
    fields = Fields(value, path)
    network = Network(
        label=fields.text("label"),
        bridge=_interface(fields.required("bridge"), fields.where("bridge")),
        cidr=_own_range(fields, "cidr", 4),
        gateway=fields.flag("gateway"),
        dhcp=fields.flag("dhcp"),
        snat=fields.flag("snat"),
        cidr_v6=_own_range(fields, "cidr_v6", 6),
    )
    fields.done()
    if not network.cidrs:
        raise InputError(f"{path}.cidr is required, or cidr_v6 where the network has IPv6 alone")
    if network.cidr is None and network.snat:
        raise InputError(f"{path}.snat: only IPv4 is source-translated, and the network has IPv6 alone; give false")
    return network


class _Homes:
    """The networks in which guests have addresses on this host; `used` gathers them in order."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._spans = {
            version: sorted(
                (span, network.bridge)
                for network in networks
                for span in map(addressing.known_network, network.cidrs)
                if span.version == version
            )
            for version in (4, 6)
        }
        self._firsts = {version: [span.first for span, _bridge in spans] for version, spans in self._spans.items()}
        self._named: dict[tuple[object, object], addressing.Range] = {}
        self.used: dict[Hairpin, None] = {}

    def home(self, fixed: str, fields: Fields) -> None:
        """Find the network of a fixed address, by the entry's own words or among the networks of the section."""
        cidr, bridge = fields.raw("fixed_cidr"), fields.raw("bridge")
        value = addressing.number(fixed)
        if isinstance(cidr, str) and isinstance(bridge, str):
            # Ten thousand entries name few networks: each is checked once.
            known = self._named.get((cidr, bridge))
            if known is None:
                known = self._named[cidr, bridge] = self._find(value, fixed, fields)
        else:
            known = self._find(value, fixed, fields)
        if value not in known or addressing.version(fixed) != known.version:
            raise InputError(f"{fields.where('fixed_address')}: {fixed!r} is not in fixed_cidr {known.cidr}")

    def _find(self, value: int, fixed: str, fields: Fields) -> addressing.Range:
        cidr, bridge = fields.raw("fixed_cidr"), fields.raw("bridge")
        version = addressing.version(fixed)
        if cidr is None or bridge is None:
            place = bisect.bisect_right(self._firsts[version], value) - 1
            if place < 0 or value not in self._spans[version][place][0]:
                raise InputError(
                    f"{fields.where('fixed_address')}: {fixed!r} is in no network of this host; correct it, or give "
                    "fixed_cidr and bridge of its network"
                )
            listed, its_bridge = self._spans[version][place]
            span, bridge = listed, its_bridge if bridge is None else bridge
        if cidr is not None:
            span = addressing.known_network(_range(cidr, fields.where("fixed_cidr"), version))
        self.used[Hairpin(span.cidr, _interface(bridge, fields.where("bridge")))] = None
        return span


#: The IPv4 address of a host in its one spelling.
_HOST = re.compile(
    r"(?!127\.)(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])){3}\Z", re.ASCII
)


def _host_address(fields: Fields, key: str) -> str:
    given = fields.required(key)
    if isinstance(given, str) and _HOST.match(given):
        return given
    value = fields.any_address(key)
    if not addressing.of_a_host(value):
        raise InputError(f"{fields.where(key)}: {value!r} is not the address of a host; give one such as '192.0.2.1'")
    return value


def _way(fields: Fields) -> tuple[str, str]:
    """An address, and where it leads."""
    address, fixed = _host_address(fields, "address"), _host_address(fields, "fixed_address")
    if addressing.version(address) != addressing.version(fixed):
        raise InputError(
            f"{fields.where('fixed_address')}: {address} cannot lead to {fixed}: IPv4 goes to IPv4 and IPv6 to IPv6; "
            "choose addresses of one version"
        )
    return address, fixed


def _floating_ips(entries: list[tuple[str, t.Any]], homes: _Homes, public: str | None) -> tuple[FloatingIp, ...]:
    found: dict[str, FloatingIp] = {}
    interfaces: dict[object, str] = {}
    for path, value in entries:
        fields = Fields(value, path)
        address, fixed = _way(fields)
        interface = fields.raw("interface")
        if interface is None:
            if public is None:
                raise InputError(
                    f"{path}.interface: floating IP {address} needs the interface that leads outwards; name it, or set "
                    "nova_public_interface"
                )
            interface = public
        elif not isinstance(interface, str) or interface not in interfaces:
            interfaces[interface] = _interface(interface, f"{path}.interface")
        homes.home(fixed, fields)
        fields.done()
        if address in found:
            raise InputError(
                f"{path}.address: {address!r} already leads to {found[address].fixed_address}; a floating IP leads "
                "to one fixed address"
            )
        found[address] = FloatingIp(address, fixed, interface)
    if len(interfaces) > MANY_INTERFACES:
        raise InputError(
            f"{PATH}.floating_ips: {len(interfaces)} interfaces are named; at most {MANY_INTERFACES} can be"
        )
    return tuple(found.values())


def _port_forwards(entries: list[tuple[str, t.Any]], homes: _Homes) -> tuple[PortForward, ...]:
    found: list[PortForward] = []
    for path, value in entries:
        fields = Fields(value, path)
        address, fixed = _way(fields)
        protocol = fields.text("protocol")
        if protocol not in ("tcp", "udp"):
            raise InputError(f"{path}.protocol: {protocol!r} has no ports to forward; give 'tcp' or 'udp'")
        first, last = guest_rules.ports(fields.required("ports"), f"{path}.ports")
        to_first = fields.integer("fixed_port", first, 1, 65535)
        if to_first + last - first > 65535:
            raise InputError(
                f"{path}.fixed_port: from {to_first} on, {last - first + 1} ports go past 65535; begin with at most "
                f"{65535 - (last - first)}"
            )
        homes.home(fixed, fields)
        fields.done()
        found.append(PortForward(address, protocol, first, last, fixed, to_first))
    _refuse_shared_ports(found)
    return tuple(found)


def _refuse_shared_ports(forwards: list[PortForward]) -> None:
    order = sorted(range(len(forwards)), key=lambda index: forwards[index][:4])
    for one, two in zip(order, order[1:]):
        earlier, later = forwards[one], forwards[two]
        if earlier[:2] == later[:2] and later.first <= earlier.last:
            raise InputError(
                f"{PATH}.port_forwards[{max(one, two)}].ports: {earlier.protocol} {later.ports} of {earlier.address} "
                f"overlaps {earlier.ports} of {PATH}.port_forwards[{min(one, two)}]; a port leads to one guest"
            )


def _metadata(value: object, path: str) -> Metadata:
    fields = Fields(value, path)
    host = fields.optional_address("host")
    port = fields.integer("port", 8775, 1, 65535)
    elsewhere = tuple(
        naming.interface_name(name, place)
        for place, name in items(fields.raw("elsewhere", ()), fields.where("elsewhere"))
    )
    fields.done()
    if host is not None:
        if host.startswith("127."):
            host = None
        else:
            _host_address(fields, "host")
            if host == METADATA_ADDRESS:
                raise InputError(f"{path}.host: {host!r} is what guests ask; give the address of the service itself")
    return Metadata(host, port, tuple(sorted(set(elsewhere))))


def _refuse_overlaps(networks: tuple[Network, ...]) -> None:
    """Sorted by first address, two ranges can only overlap where a neighbour does."""
    spans = sorted(
        (span.version, span.first, span.last, index, span.cidr)
        for index, network in enumerate(networks)
        for span in map(addressing.known_network, network.cidrs)
    )
    for one, two in zip(spans, spans[1:]):
        if one[0] == two[0] and two[1] <= one[2]:
            (earlier, other), (later, cidr) = sorted((one[3:], two[3:]))
            key = "cidr" if one[0] == 4 else "cidr_v6"
            raise InputError(
                f"{PATH}.networks[{later}].{key}: network {networks[later].label!r} {cidr} overlaps network "
                f"{networks[earlier].label!r} {other}; give each network a range of its own"
            )


def _refuse_divided_bridges(networks: tuple[Network, ...]) -> None:
    """Forwarding is decided for a bridge as a whole: its networks have to agree."""
    first: dict[str, Network] = {}
    for index, network in enumerate(networks):
        known = first.setdefault(network.bridge, network)
        if known.gateway != network.gateway:
            raise InputError(
                f"{PATH}.networks[{index}].gateway: networks {known.label!r} and {network.label!r} share bridge "
                f"{network.bridge!r}, so either both have a gateway or neither has"
            )


def _refuse_missing_public_interface(networks: tuple[Network, ...]) -> None:
    for index, network in enumerate(networks):
        if network.snat:
            raise InputError(
                f"{PATH}.public_interface: network {network.label!r} ({PATH}.networks[{index}]) asks for SNAT, which "
                "needs the interface that leads outwards; set nova_public_interface, or set nova_routing_source_ip "
                "to '' for no SNAT"
            )
