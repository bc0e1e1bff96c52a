# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `port_filter` of a host plan: what each guest may send, and which DHCP servers it may hear.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .. import addressing
from ..errors import InputError
from ..fields import Fields
from ..naming import interface_name

#: An IPv6 address that every NIC gives itself.
_LINK_LOCAL = addressing.known_network("fe80::/64")
# A star at the end stands for any name, the others quote.
_NOT_FOR_RULES = re.compile(r'[*"\\]')


class Pair(t.NamedTuple):
    """What a port may send beside its own: addresses (CIDR, of one address in plain) from a MAC address."""

    mac: str
    cidr: str


class Port(t.NamedTuple):
    """An instance's port as the host sees it. `addresses` are of either version."""

    name: str
    mac: str
    addresses: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    dhcp_servers: tuple[str, ...] = ()

    @property
    def macs(self) -> set[str]:
        return {self.mac, *(pair.mac for pair in self.pairs)}

    @property
    def own(self) -> list[str]:
        """Its addresses, with those that its MAC addresses make link-local ones of."""
        return [*self.addresses, addressing.eui64(_LINK_LOCAL, self.mac)]


class Plan(t.NamedTuple):
    """Filtered ports, and uplinks over which neither DHCP nor router advertisements pass, each by name."""

    ports: tuple[Port, ...] = ()
    uplinks: tuple[str, ...] = ()


def parse(plan: object) -> Plan:
    """Check the whole section and return it as values; InputError names the path, the rule and what would be right."""
    section = Fields(plan, "port_filter")
    # No default: an empty list takes every filter of ours away, which must be said, not forgotten.
    section.required("ports")
    ports = [_port(Fields(value, path)) for path, value in section.items("ports")]
    uplinks = [_name(value, path) for path, value in section.items("uplinks")]
    section.done()
    first: dict[str, str] = {}
    names = [(f"port_filter.ports[{n}].name", port.name) for n, port in enumerate(ports)]
    names += [(f"port_filter.uplinks[{n}]", name) for n, name in enumerate(uplinks)]
    for path, name in names:
        if name in first:
            raise InputError(f"{path}: {name!r} is that of {first[name]} already; an interface stands here once")
        first[name] = path
    return Plan(tuple(ports), tuple(uplinks))


def _port(fields: Fields) -> Port:
    port = Port(
        name=_name(fields.required("name"), fields.where("name")),
        mac=addressing.mac(fields.required("mac"), fields.where("mac")),
        addresses=tuple(addressing.any_address(value, path) for path, value in fields.items("addresses")),
        dhcp_servers=tuple(addressing.address(value, path) for path, value in fields.items("dhcp_servers")),
    )
    pairs = [pair(Fields(value, path), port.mac) for path, value in fields.items("allowed_address_pairs")]
    fields.done()
    return port._replace(pairs=tuple(_collapse(pairs)))


def pair(fields: Fields, own_mac: str) -> Pair:
    """One of `allowed_address_pairs`; without a MAC address it is for the port's own."""
    given = fields.required("ip_address")
    where = fields.where("ip_address")
    try:
        network = ipaddress.ip_network(given if isinstance(given, str) else "")
    except ValueError:
        raise InputError(
            f"{where}: {given!r} is neither an address nor a range; give one such as '10.0.0.50' or '10.0.0.64/28'"
        ) from None
    if network.prefixlen == 0:
        raise InputError(f"{where}: {given!r} is every address, with which nothing would be filtered; name the range")
    mac = fields.raw("mac_address")
    found = Pair(own_mac if mac is None else addressing.mac(mac, fields.where("mac_address")), _text(network))
    fields.done()
    return found


def _collapse(pairs: list[Pair]) -> list[Pair]:
    """The same permission without overlaps, which a set of ranges does not take."""
    found = []
    for mac in dict.fromkeys(each.mac for each in pairs):
        for version in (4, 6):
            networks = [ipaddress.ip_network(each.cidr) for each in pairs if each.mac == mac]
            same = [network for network in networks if network.version == version]
            found += [Pair(mac, _text(network)) for network in ipaddress.collapse_addresses(t.cast(t.Any, same))]
    return found


def _text(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _name(value: object, path: str) -> str:
    name = interface_name(value, path)
    if _NOT_FOR_RULES.search(name) or not name.isprintable():
        raise InputError(f'{path}: {value!r} cannot stand in a rule; use none of * " \\ in the name')
    return name
