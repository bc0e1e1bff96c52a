# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups: which guests of a host let in what, and what they may send.

A guest lets in what a rule of one of its groups allows, and answers; all else it does not get. It may send anything,
unless a group of it has egress rules: then only what one of these allows. What the operator's provider rules name it
never gets.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re
import typing as t

from . import addressing
from .errors import InputError
from .fields import Fields

DIRECTIONS = ("ingress", "egress")
PROTOCOLS = ("tcp", "udp", "icmp")

#: What iptables takes for any type.
_ICMP_ANY = 255
_PORTS = re.compile(r"(\d{1,5})(?::(\d{1,5}))?\Z")


class Traffic(t.NamedTuple):
    """A sort of traffic, and whom it comes from or goes to; None sets no limit."""

    protocol: str | None = None
    ports: tuple[int, int] | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    cidr: str | None = None
    #: Whoever has an address that is a member of this group.
    group: str | None = None


class Group(t.NamedTuple):
    """A group with the addresses of its members, here and on other hosts."""

    name: str
    members: frozenset[str]
    ingress: tuple[Traffic, ...]
    egress: tuple[Traffic, ...]


class Guest(t.NamedTuple):
    """An address of a guest of this host."""

    address: str
    groups: tuple[str, ...]
    #: Who gives the guest its address; None where nobody does.
    dhcp_server: str | None
    #: Range whose other guests are let in without a rule.
    open_to: str | None


class Section(t.NamedTuple):
    groups: tuple[Group, ...] = ()
    guests: tuple[Guest, ...] = ()
    #: What no guest gets.
    provider: tuple[Traffic, ...] = ()


NONE = Section()


def ports(value: object, path: str) -> tuple[int, int]:
    """First and last port of "80" or "8000:8010"."""
    match = _PORTS.match(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise InputError(f"{path}: {value!r} is neither a port such as '80' nor a range such as '8000:8010'")
    return first, last


def parse(fields: Fields) -> Section:
    """Read `security_groups`, `instances`, `allow_same_net_traffic` and `provider_rules` of a section."""
    groups: dict[str, Group] = {}
    named: list[tuple[str, str]] = []
    for path, value in fields.items("security_groups"):
        group = _group(Fields(value, path), named)
        if group.name in groups:
            raise InputError(f"{path}.name: there are two security groups {group.name!r}; give each a name of its own")
        groups[group.name] = group
    same_net = fields.flag("allow_same_net_traffic", False)
    guests: dict[str, Guest] = {}
    for path, value in fields.items("instances"):
        guest = _guest(Fields(value, path), same_net)
        if guest.address in guests:
            raise InputError(f"{path}.address: two instances have {guest.address!r}; an address belongs to one")
        named += [(f"{path}.security_groups[{index}]", name) for index, name in enumerate(guest.groups)]
        guests[guest.address] = guest
    for path, name in named:
        if name not in groups:
            raise InputError(f"{path}: there is no security group {name!r}; add it to security_groups, or correct it")
    provider = []
    for path, value in fields.items("provider_rules"):
        entry = Fields(value, path)
        provider.append(_traffic(entry))
        entry.done()
        if provider[-1] == Traffic():
            raise InputError(f"{path}: it names nothing, and would cut every guest off; give protocol or cidr")
    return Section(tuple(groups.values()), tuple(guests.values()), tuple(dict.fromkeys(provider)))


def _group(fields: Fields, named: list[tuple[str, str]]) -> Group:
    name = fields.text("name")
    rules: dict[str, dict[Traffic, None]] = {direction: {} for direction in DIRECTIONS}
    for path, value in fields.items("rules"):
        entry = Fields(value, path)
        direction = entry.text("direction", "ingress")
        if direction not in DIRECTIONS:
            raise InputError(f"{path}.direction: {direction!r} is neither 'ingress' nor 'egress'")
        group = entry.optional_text("group")
        traffic = _traffic(entry)._replace(group=group)
        entry.done()
        if group is not None:
            if traffic.cidr is not None:
                raise InputError(f"{path}: it has both cidr and group; make two rules, or take one away")
            named.append((f"{path}.group", group))
        rules[direction][traffic] = None
    members = frozenset(fields.addresses("members"))
    fields.done()
    return Group(name, members, tuple(rules["ingress"]), tuple(rules["egress"]))


def _traffic(fields: Fields) -> Traffic:
    protocol = fields.optional_text("protocol")
    if protocol is not None and protocol not in PROTOCOLS:
        raise InputError(
            f"{fields.where('protocol')}: {protocol!r} is not one of {', '.join(PROTOCOLS)}, or null for any"
        )
    between = fields.raw("ports")
    if between is not None:
        if protocol not in ("tcp", "udp"):
            raise InputError(f"{fields.where('ports')}: only tcp and udp have ports; name the protocol")
        between = ports(between, fields.where("ports"))
    kind = fields.optional_integer("icmp_type", 0, _ICMP_ANY - 1)
    code = fields.optional_integer("icmp_code", 0, 255)
    if (kind is not None or code is not None) and protocol != "icmp":
        raise InputError(f"{fields.where('icmp_type')}: only icmp has types and codes; set protocol to 'icmp'")
    if code is not None and kind is None:
        raise InputError(f"{fields.where('icmp_code')}: a code belongs to a type; give icmp_type as well")
    cidr = fields.network("cidr").cidr if fields.raw("cidr") is not None else None
    return Traffic(protocol, between, kind, code, None if cidr == "0.0.0.0/0" else cidr)


def _guest(fields: Fields, same_net: bool) -> Guest:
    address = fields.address("address")
    groups = [str(_name(value, path)) for path, value in fields.items("security_groups")]
    server = fields.optional_address("dhcp_server")
    cidr = fields.network("cidr")
    if addressing.number(address) not in cidr:
        raise InputError(f"{fields.where('address')}: {address!r} is not in cidr {cidr.cidr} of its network")
    fields.done()
    return Guest(address, tuple(dict.fromkeys(groups)), server, cidr.cidr if same_net else None)


def _name(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not the name of a security group")
    return value
