# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leads to guests: floating IPs and single ports of them, and the networks in which the guests are.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import functools
import re
import typing as t

from .. import addressing, guest_rules
from ..errors import InputError
from ..fields import Fields, items
from . import alike, readers
from .readers import PATH

#: Interfaces beside the public one by which floating IPs may leave: the number stands in names of chains.
MANY_INTERFACES = 99


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


class Homes:
    """The networks in which guests have addresses on this host; `used` gathers them in order."""

    def __init__(self, networks: t.Iterable[tuple[str, str]]) -> None:
        """`networks`: ranges, none of which overlaps another one, and their bridges."""
        known = sorted((addressing.known_network(cidr), bridge) for cidr, bridge in networks)
        self._spans = {version: [one for one in known if one[0].version == version] for version in (4, 6)}
        self.firsts = {version: [span.first for span, _bridge in spans] for version, spans in self._spans.items()}
        self._named: dict[tuple[object, object], addressing.Range] = {}
        self.used: dict[Hairpin, None] = {}

    def home(self, fixed: str, fields: Fields) -> addressing.Range:
        """The network of a fixed address, by the entry's own words or among the networks of the section."""
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
        return known

    def _find(self, value: int, fixed: str, fields: Fields) -> addressing.Range:
        cidr, bridge = fields.raw("fixed_cidr"), fields.raw("bridge")
        version = addressing.version(fixed)
        if cidr is None or bridge is None:
            place = bisect.bisect_right(self.firsts[version], value) - 1
            if place < 0 or value not in self._spans[version][place][0]:
                raise InputError(
                    f"{fields.where('fixed_address')}: {fixed!r} is in no network of this host; correct it, or give "
                    "fixed_cidr and bridge of its network"
                )
            listed, its_bridge = self._spans[version][place]
            span, bridge = listed, its_bridge if bridge is None else bridge
        if cidr is not None:
            span = addressing.known_network(readers.cidr(cidr, fields.where("fixed_cidr"), version))
        self.used[Hairpin(span.cidr, readers.interface(bridge, fields.where("bridge")))] = None
        return span


#: The IPv4 address of a host in its one spelling.
_HOST = re.compile(
    r"(?!127\.)(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])){3}\Z", re.ASCII
)


def host_address(fields: Fields, key: str) -> str:
    given = fields.required(key)
    if isinstance(given, str) and _HOST.match(given):
        return given
    value = fields.any_address(key)
    if not addressing.of_a_host(value):
        raise InputError(f"{fields.where(key)}: {value!r} is not the address of a host; give one such as '192.0.2.1'")
    return value


def _way(fields: Fields) -> tuple[str, str]:
    """An address, and where it leads."""
    address, fixed = host_address(fields, "address"), host_address(fields, "fixed_address")
    if addressing.version(address) != addressing.version(fixed):
        raise InputError(
            f"{fields.where('fixed_address')}: {address} cannot lead to {fixed}: IPv4 goes to IPv4 and IPv6 to IPv6; "
            "choose addresses of one version"
        )
    return address, fixed


def floating_ips(entries: object, path: str, homes: Homes, public: str | None) -> tuple[FloatingIp, ...]:
    """The list `entries`, which stands at `path`; who names no interface leaves by the `public` one."""
    found = _together(entries, path, homes, public)
    if found is None:
        found = one_by_one(entries, path, homes, public)
    named = {entry.interface for entry in found} - {public}
    if len(named) > MANY_INTERFACES:
        raise InputError(
            f"{path}: {len(named)} interfaces are named beside the public one; at most {MANY_INTERFACES} can be"
        )
    return found


def _together(entries: object, path: str, homes: Homes, public: str | None) -> tuple[FloatingIp, ...] | None:
    """All in one look; None where each has to be read."""
    many = alike.look(entries, homes.firsts[4])
    if many is None or not isinstance(entries, list):
        return None
    try:
        read = [_floating_ip(entries[index], f"{path}[{index}]", homes, public) for index in many.samples]
    except InputError:
        return None
    if not many.all_within([home for _way, home in read]):
        return None
    rows = many.rows([way.interface for way, _home in read])
    return tuple(map(functools.partial(tuple.__new__, FloatingIp), rows))


def one_by_one(entries: object, path: str, homes: Homes, public: str | None) -> tuple[FloatingIp, ...]:
    """What is wrong in an entry is named."""
    found: dict[str, FloatingIp] = {}
    for place, value in items(entries, path):
        entry, _home = _floating_ip(value, place, homes, public)
        if entry.address in found:
            raise InputError(
                f"{place}.address: {entry.address!r} already leads to {found[entry.address].fixed_address}; a floating "
                "IP leads to one fixed address"
            )
        found[entry.address] = entry
    return tuple(found.values())


def _floating_ip(value: object, path: str, homes: Homes, public: str | None) -> tuple[FloatingIp, addressing.Range]:
    """One entry, and the network of its guest."""
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
    elif interface != public:
        interface = readers.interface(interface, f"{path}.interface")
    home = homes.home(fixed, fields)
    fields.done()
    return FloatingIp(address, fixed, interface), home


def port_forwards(entries: list[tuple[str, t.Any]], homes: Homes) -> tuple[PortForward, ...]:
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
