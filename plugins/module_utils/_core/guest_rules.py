# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups: which guests of a host let in what, and what they may send.

A guest lets in what a rule of one of its groups allows, and answers; all else it does not get. It may send anything,
unless a group of it has egress rules: then only what one of these allows. What the operator's provider rules name it
never gets. All of it holds for IPv4 and IPv6; `of_version` is what of it concerns one of them.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re
import typing as t

from . import addressing
from .errors import InputError
from .fields import Fields

DIRECTIONS = ("ingress", "egress")
PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6")
#: Protocols that the kernel's tools call otherwise.
KERNEL_NAMES = {"icmpv6": "ipv6-icmp"}

#: What iptables takes for any type.
_ICMP_ANY = 255
_EVERYBODY = ("0.0.0.0/0", "::/0")
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
    #: 4 or 6 where the rule speaks of one version alone.
    version: int | None = None


class Group(t.NamedTuple):
    """A group with the addresses of its members, here and on other hosts."""

    name: str
    members: frozenset[str]
    ingress: tuple[Traffic, ...]
    egress: tuple[Traffic, ...]
    #: Whether its members may send only what egress rules allow; these may all be of the other version.
    limited: bool = False


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

    @property
    def named(self) -> list[Group]:
        """The groups whose members some rule speaks of."""
        rules = (rule for group in self.groups for rule in (*group.ingress, *group.egress))
        names = {rule.group for rule in rules if rule.group is not None}
        return [group for group in self.groups if group.name in names]

    @property
    def used(self) -> list[Group]:
        """The groups of the guests, in their order."""
        by_name = {group.name: group for group in self.groups}
        return [by_name[name] for name in dict.fromkeys(name for guest in self.guests for name in guest.groups)]

    def limits(self) -> dict[tuple[str, ...], list[Traffic]]:
        """What guests of these groups may send; without an entry, anything."""
        by_name = {group.name: group for group in self.groups}
        return {
            names: list(dict.fromkeys(rule for name in names for rule in by_name[name].egress))
            for names in dict.fromkeys(guest.groups for guest in self.guests)
            if any(by_name[name].limited for name in names)
        }


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
        provider.append(provider_rule(Fields(value, path)))
    return Section(tuple(groups.values()), tuple(guests.values()), tuple(dict.fromkeys(provider)))


def of_version(section: Section, version: int) -> Section:
    """What concerns guests, members and traffic of IPv4 or IPv6, in which ICMP is that of the version."""
    guests = tuple(guest for guest in section.guests if addressing.version(guest.address) == version)
    if not guests:
        return NONE
    groups = [
        group._replace(
            members=frozenset(address for address in group.members if addressing.version(address) == version),
            ingress=_traffic_of(group.ingress, version),
            egress=_traffic_of(group.egress, version),
        )
        for group in section.groups
    ]
    return Section(tuple(groups), guests, _traffic_of(section.provider, version))


def _traffic_of(rules: tuple[Traffic, ...], version: int) -> tuple[Traffic, ...]:
    icmp = "icmp" if version == 4 else "icmpv6"
    fitting = (rule._replace(version=None) for rule in rules if rule.version in (None, version))
    return tuple(dict.fromkeys(rule._replace(protocol=icmp) if rule.protocol == "icmp" else rule for rule in fitting))


def _group(fields: Fields, named: list[tuple[str, str]]) -> Group:
    name = fields.text("name")
    rules: dict[str, dict[Traffic, None]] = {direction: {} for direction in DIRECTIONS}
    for path, value in fields.items("rules"):
        direction, traffic = group_rule(Fields(value, path))
        if traffic.group is not None:
            named.append((f"{path}.group", traffic.group))
        rules[direction][traffic] = None
    members = frozenset(addressing.any_address(value, path) for path, value in fields.items("members"))
    fields.done()
    egress = tuple(rules["egress"])
    return Group(name, members, tuple(rules["ingress"]), egress, bool(egress))


def group_rule(fields: Fields) -> tuple[str, Traffic]:
    """Direction and traffic of a group's rule."""
    direction = fields.text("direction", "ingress")
    if direction not in DIRECTIONS:
        raise InputError(f"{fields.where('direction')}: {direction!r} is neither 'ingress' nor 'egress'")
    group = fields.optional_text("group")
    if group is not None and fields.raw("cidr") is not None:
        raise InputError(f"{fields.path}: it has both cidr and group; make two rules, or take one away")
    traffic = _traffic(fields)._replace(group=group)
    fields.done()
    return direction, traffic


def provider_rule(fields: Fields) -> Traffic:
    """What no guest gets."""
    traffic = _traffic(fields)
    fields.done()
    if traffic._replace(version=None) == Traffic():
        raise InputError(f"{fields.path}: it names nothing, and would cut every guest off; give protocol or cidr")
    return traffic


def written(traffic: Traffic) -> dict[str, t.Any]:
    """The traffic as a plan has it, and as it is read again."""
    cidr = traffic.cidr
    if cidr is None and traffic.group is None and traffic.version is not None:
        cidr = _EVERYBODY[traffic.version == 6]
    first, last = traffic.ports or (None, None)
    return {
        "protocol": traffic.protocol,
        "ports": None if first is None else str(first) if first == last else f"{first}:{last}",
        "icmp_type": traffic.icmp_type,
        "icmp_code": traffic.icmp_code,
        "cidr": cidr,
    }


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
    kind, code = _icmp(fields, "icmp_type", _ICMP_ANY - 1), _icmp(fields, "icmp_code", 255)
    if (kind is not None or code is not None) and protocol not in ("icmp", "icmpv6"):
        raise InputError(f"{fields.where('icmp_type')}: only icmp has types and codes; set protocol to 'icmp'")
    if code is not None and kind is None:
        raise InputError(f"{fields.where('icmp_code')}: a code belongs to a type; give icmp_type as well")
    given = fields.raw("cidr")
    span = None if given is None else addressing.any_network(given, fields.where("cidr"))
    version = None if span is None else span.version
    if protocol == "icmp" and version == 6:
        protocol = "icmpv6"  # nova's one word for both
    if protocol == "icmpv6" and version == 4:
        raise InputError(f"{fields.where('protocol')}: 'icmpv6' is no protocol of an IPv4 range; give 'icmp'")
    if protocol == "icmpv6" or kind is not None:
        version = 6 if protocol == "icmpv6" else 4
    cidr = None if span is None or span.cidr in _EVERYBODY else span.cidr
    return Traffic(protocol, between, kind, code, cidr, None, version)


def _icmp(fields: Fields, key: str, greatest: int) -> int | None:
    """A type or code; nova wrote -1 for any."""
    value = fields.optional_integer(key, -1, greatest)
    return None if value == -1 else value


def _guest(fields: Fields, same_net: bool) -> Guest:
    address = addressing.any_address(fields.required("address"), fields.where("address"))
    groups = [str(_name(value, path)) for path, value in fields.items("security_groups")]
    server = fields.optional_address("dhcp_server")
    cidr = addressing.any_network(fields.required("cidr"), fields.where("cidr"))
    if addressing.version(address) != cidr.version or addressing.number(address) not in cidr:
        raise InputError(f"{fields.where('address')}: {address!r} is not in cidr {cidr.cidr} of its network")
    fields.done()
    return Guest(address, tuple(dict.fromkeys(groups)), server, cidr.cidr if same_net else None)


def _name(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not the name of a security group")
    return value
