# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan asks of a host, as tables of nftables.

Whatever there may be many of (floating IPs, ports, guests, members of groups, networks) is an element of a set or a
map, so that a packet finds its own in one look and one more is one element more. Rules are few, and name these.

Chains of other tables see a packet as well: an `accept` here says only that nothing here refuses it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import itertools
import typing as t

from .. import addressing
from ..guest_rules import KERNEL_NAMES, Guest, Section, Traffic
from ..packet_filter import METADATA_ADDRESS, METADATA_PORT, Hairpin, Intent
from .table import Set, Table

#: Before the chains of iptables and most others: the first to translate a connection decides.
_HOOKS = {
    "prerouting": "type nat hook prerouting priority -105; policy accept;",
    "nat-output": "type nat hook output priority -105; policy accept;",
    "postrouting": "type nat hook postrouting priority 95; policy accept;",
    "forward": "type filter hook forward priority -5; policy accept;",
    "output": "type filter hook output priority -5; policy accept;",
}

_ANYWHERE = "0.0.0.0/0"
#: For each version the type of an address, and the tool's word for a packet of it.
_KIND = {4: "ipv4_addr", 6: "ipv6_addr"}
_IP = {4: "ip", 6: "ip6"}
#: Keeps the source as it is, and lets no chain that comes later change it.
_AS_IT_IS = "snat to ip saddr"


def group_name(name: str) -> str:
    """The chain of a group's rules, and the set of its members: its name may be anything."""
    return f"sg-{_digest(name)}"


def labels(meaning: Intent) -> dict[str, str]:
    """The words for what chains and sets serve: the networks', and those of security groups by their chains."""
    every = (*meaning.security.groups, *meaning.security_v6.groups)
    groups = {group_name(group.name): f"security group {group.name}" for group in every}
    return {**{key: f"network {label}" for key, label in meaning.labels.items()}, **groups}


def render(meaning: Intent, family: str) -> Table:
    """The family's table as it should be; without a network it is empty."""
    if meaning.empty:
        return Table()
    version = 4 if family == "ipv4" else 6
    meaning = meaning.of_version(version)
    sets: dict[str, Set] = {}
    chains: dict[str, list[str]] = {}
    redirection, to_guests = _metadata_redirection(meaning, sets), _towards_guests(meaning, version, sets)
    chains["prerouting"] = [*redirection, *to_guests]
    chains["nat-output"] = to_guests
    chains["postrouting"] = _postrouting(meaning, version, sets)
    guests = _guests(meaning.security, version, sets, chains)
    chains["forward"] = [*guests, *_metadata_forwarding(meaning), *_forwarding(meaning, sets)]
    chains["output"] = guests
    chains = {name: rules for name, rules in chains.items() if rules or name not in _HOOKS}
    return Table(sets, chains, {name: hook for name, hook in _HOOKS.items() if name in chains})


def _digest(*words: object) -> str:
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()[:12]


def _plain(cidr: str) -> str:
    """A range as the tool writes it."""
    return cidr.partition("/")[0] if cidr.endswith("/128" if ":" in cidr else "/32") else cidr


# -- translation ------------------------------------------------------------------------------------------------


def _metadata_redirection(meaning: Intent, sets: dict[str, Set]) -> list[str]:
    if meaning.metadata is None:
        return []
    host, port, elsewhere = meaning.metadata
    to = f"redirect to :{port}" if host is None else f"dnat to {host}:{port}"
    inside = ""
    if elsewhere:
        sets["metadata-elsewhere"] = _interfaces(elsewhere)
        inside = "iifname != @metadata-elsewhere "
    return [f"ip daddr {METADATA_ADDRESS} {inside}tcp dport {METADATA_PORT} {to}"]


def _towards_guests(meaning: Intent, version: int, sets: dict[str, Set]) -> list[str]:
    """First the single ports of an address, then all the rest of it."""
    kind, to = _KIND[version], f"dnat to {_IP[version]} daddr"
    of_port = f"{kind} . inet_proto . inet_service"
    kept: dict[str, str] = {}
    moved: dict[str, str] = {}
    for entry in meaning.port_forwards:
        key = f"{entry.address} . {entry.protocol} . "
        if entry.first == entry.to_first:
            kept[key + _ports((entry.first, entry.last))] = entry.fixed_address
        else:
            shift = entry.to_first - entry.first
            moved.update(
                (f"{key}{port}", f"{entry.fixed_address} . {port + shift}")
                for port in range(entry.first, entry.last + 1)
            )
    rules = []
    if kept:
        sets["ports-to"] = Set(of_port, kept, kind, interval=True)
        rules.append(f"{to} . meta l4proto . th dport map @ports-to")
    if moved:
        sets["port-to"] = Set(of_port, moved, f"{kind} . inet_service")
        rules.append(f"{to} . meta l4proto . th dport map @port-to")
    if meaning.floating_ips:
        sets["float-to"] = Set(kind, {address: fixed for address, fixed, _out in meaning.floating_ips}, kind)
        rules.append(f"{to} map @float-to")
    return rules


def _ports(ports: tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _postrouting(meaning: Intent, version: int, sets: dict[str, Set]) -> list[str]:
    ip = _IP[version]
    rules = []
    apart = [kept for kept in meaning.untranslated if not kept.inside]
    if apart:
        # Every network keeps its addresses towards all of these.
        sets["networks"] = _ranges(kept.source for kept in apart)
        rules += [
            f"ip saddr @networks {_towards(destination)}{_AS_IT_IS}"
            for destination in dict.fromkeys(kept.destination for kept in apart)
        ]
    inside = [kept for kept in meaning.untranslated if kept.inside]
    if inside:
        sets["inside"] = _pairs((kept.source for kept in inside), version)
        rules.append(f"ip saddr . ip daddr @inside ct status ! dnat {_AS_IT_IS}")
    # Whoever asks for a floating IP from within is seen by his own one, if he has one. Then the rest of what was led
    # back to where it came from.
    outwards = _from_guests(meaning, version, sets)
    rules += [f"ct status dnat snat to {ip} saddr map @{name}" for name in outwards.values()]
    if meaning.hairpins:
        sets["floating-networks"] = _pairs(_outermost(meaning.hairpins), version)
        sets["floating-bridges"] = _interfaces(hairpin.bridge for hairpin in meaning.hairpins)
        inside_one = f"{ip} saddr . {ip} daddr @floating-networks oifname @floating-bridges"
        rules.append(f"{inside_one} ct status dnat masquerade")
    rules += [f'oifname "{interface}" snat to {ip} saddr map @{name}' for interface, name in outwards.items()]
    outside = [entry for entry in meaning.translations if entry.out is not None]
    if outside:
        sets["snat-networks"] = _ranges(entry.source for entry in outside)
        rules += [
            f'oifname "{out}" ip saddr @snat-networks snat to {to}'
            for out, to in dict.fromkeys((entry.out, entry.to) for entry in outside)
        ]
    forced = [entry for entry in meaning.translations if entry.out is None]
    if forced:
        sets["forced-networks"] = _ranges(entry.source for entry in forced)
        rules += [
            f"ip saddr @forced-networks {_towards(destination)}snat to {to}"
            for destination, to in dict.fromkeys((entry.destination, entry.to) for entry in forced)
        ]
    return rules


def _towards(destination: str | None) -> str:
    return "" if destination in (None, _ANYWHERE) else f"ip daddr {_plain(str(destination))} "


def _from_guests(meaning: Intent, version: int, sets: dict[str, Set]) -> dict[str, str]:
    """For each interface outwards the map of what leaves with a floating IP."""
    found = {}
    for number, (interface, addresses) in enumerate(meaning.sources().items(), 1):
        found[interface] = f"float-from{'' if number == 1 else number}"
        sets[found[interface]] = Set(_KIND[version], addresses, _KIND[version])
    return found


def _outermost(hairpins: t.Iterable[Hairpin]) -> t.Iterator[str]:
    """Ranges without those that are part of another one: both ends of what is inside such are inside that one, too."""
    last = -1
    spans = {addressing.known_network(hairpin.cidr) for hairpin in hairpins}
    for span in sorted(spans, key=lambda one: (one.first, one.prefix)):
        if span.last > last:
            last = span.last
            yield span.cidr


def _ranges(cidrs: t.Iterable[str]) -> Set:
    return Set("ipv4_addr", dict.fromkeys(map(_plain, cidrs), ""), interval=True)


def _pairs(cidrs: t.Iterable[str], version: int) -> Set:
    """Source and destination in one and the same range."""
    kind = _KIND[version]
    return Set(f"{kind} . {kind}", {f"{_plain(cidr)} . {_plain(cidr)}": "" for cidr in cidrs}, interval=True)


def _interfaces(names: t.Iterable[str]) -> Set:
    return Set("ifname", dict.fromkeys((f'"{name}"' for name in names), ""))


# -- forwarding -------------------------------------------------------------------------------------------------


def _metadata_forwarding(meaning: Intent) -> list[str]:
    """The way to a service on another host and back, for guests of bridges that forward nothing else as well."""
    if meaning.metadata is None or meaning.metadata.host is None:
        return []
    host, port, _elsewhere = meaning.metadata
    inwards = f'iifname != "{meaning.public_interface}" ' if meaning.public_interface else ""
    asked = f"ct status dnat ct original ip daddr {METADATA_ADDRESS} "
    return [
        f"ip daddr {host} {inwards}tcp dport {port} {asked}accept",
        f"ip saddr {host} tcp sport {port} {asked}ct direction reply accept",
    ]


def _forwarding(meaning: Intent, sets: dict[str, Set]) -> list[str]:
    """The first bridge of the plan that a packet comes from or goes to decides: so neighbours that agree are a set."""
    rules = []
    runs = itertools.groupby(meaning.forwarding, key=lambda entry: entry.allowed)
    for number, (allowed, bridges) in enumerate(runs):
        name = f"{'open' if allowed else 'closed'}-bridges{number // 2 + 1 if number > 1 else ''}"
        sets[name] = _interfaces(entry.bridge for entry in bridges)
        rules += [f"{side} @{name} {'accept' if allowed else 'drop'}" for side in ("iifname", "oifname")]
    return rules


# -- security groups --------------------------------------------------------------------------------------------


#: What IPv6 cannot do without on a link: neighbours, routers, addresses by DHCP. The kernel tracks no connection of it.
_OF_A_LINK = (
    "icmpv6 type nd-neighbor-solicit accept",
    "icmpv6 type nd-neighbor-advert accept",
    "ip6 saddr fe80::/10 icmpv6 type nd-router-advert accept",
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
)
_OF_A_LINK_OUT = (
    *(
        f"icmpv6 type {kind} return"
        for kind in (
            "nd-router-solicit",
            "nd-neighbor-solicit",
            "nd-neighbor-advert",
            "mld-listener-report",
            "mld-listener-done",
            "mld2-listener-report",
        )
    ),
    "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 return",
)


def _guests(security: Section, version: int, sets: dict[str, Set], chains: dict[str, list[str]]) -> list[str]:
    """The ways into the chains of guests. Guests for whom the same holds share a chain."""
    if not security.guests:
        return []
    kind, ip = _KIND[version], _IP[version]
    for group in sorted(security.named, key=lambda group: group.name):
        sets[group_name(group.name)] = Set(kind, dict.fromkeys(sorted(group.members), ""))
    if security.provider:
        chains["provider"] = [_traffic(rule, f"{ip} saddr", "drop") for rule in security.provider]
    limits = security.limits()
    into: dict[str, str] = {}
    out: dict[str, str] = {}
    for guest in security.guests:
        chain = f"in-{_digest(guest.groups, guest.dhcp_server, guest.open_to)}"
        if chain not in chains:
            chains[chain] = _into(guest, bool(security.provider), version)
        into[guest.address] = f"goto {chain}"
        if guest.groups in limits:
            chain = f"out-{_digest(guest.groups)}"
            # Whoever the traffic is for may still refuse it: so it only returns.
            chains[chain] = [
                "ct state established,related return",
                *(_OF_A_LINK_OUT if version == 6 else ()),
                *(_traffic(rule, f"{ip} daddr", "return") for rule in limits[guest.groups]),
                "drop",
            ]
            out[guest.address] = f"jump {chain}"
    for group in security.used:
        chains[group_name(group.name)] = [_traffic(rule, f"{ip} saddr", "accept") for rule in group.ingress]
    rules = []
    if out:
        sets["guests-out"] = Set(kind, out, "verdict")
        rules.append(f"{ip} saddr vmap @guests-out")
    sets["guests-in"] = Set(kind, into, "verdict")
    return [*rules, f"{ip} daddr vmap @guests-in"]


def _into(guest: Guest, provider: bool, version: int) -> list[str]:
    """All that a guest is sent, in nova's order but for the provider's rules, which nothing goes before."""
    rules = ["jump provider"] if provider else []
    rules += ["ct state invalid drop", "ct state established,related accept"]
    if version == 6:
        rules += _OF_A_LINK
    if guest.dhcp_server is not None:
        rules.append(f"ip saddr {guest.dhcp_server} udp sport 67 udp dport 68 accept")
    if guest.open_to is not None:
        rules.append(f"{'ip' if version == 4 else 'ip6'} saddr {_plain(guest.open_to)} accept")
    return [*rules, *(f"jump {group_name(name)}" for name in guest.groups), "drop"]


def _traffic(rule: Traffic, side: str, verdict: str) -> str:
    """`side` is the address of the others."""
    words = []
    if rule.cidr is not None:
        words.append(f"{side} {_plain(rule.cidr)}")
    if rule.group is not None:
        words.append(f"{side} @{group_name(rule.group)}")
    if rule.ports is not None:
        words.append(f"{rule.protocol} dport {_ports(rule.ports)}")
    elif rule.icmp_type is not None:
        words.append(f"{rule.protocol} type {rule.icmp_type}")
        if rule.icmp_code is not None:
            words.append(f"{rule.protocol} code {rule.icmp_code}")
    elif rule.protocol is not None:
        words.append(f"meta l4proto {KERNEL_NAMES.get(rule.protocol, rule.protocol)}")
    return " ".join([*words, verdict])
