# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guards of guests as chains of iptables, and the sets that these name.

Security groups are chains that all their members' chains go through, and sets of their members' addresses: neither an
instance nor a member more makes more rules of a group.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import typing as t

from .. import addressing, guest_rules, rule_tree
from ..guest_rules import Guest, Traffic
from ..rule_tree import Branch
from .table import jump, wrapped


def group_chain(name: str) -> str:
    """The chain of a group's rules, and the set of its members: its name may be longer than theirs can be."""
    return wrapped(f"sg-{hashlib.sha256(name.encode()).hexdigest()[:12]}")


def members_set(name: str, version: int = 4) -> str:
    """The set of a group's members, which is of one version."""
    return group_chain(name) if version == 4 else group_chain(name).replace("-sg-", "-sg6-")


def member_sets(security: guest_rules.Section, version: int) -> dict[str, frozenset[str]]:
    """The sets of addresses that the rules refer to, by the names of their first generation."""
    return {members_set(group.name, version): group.members for group in security.named}


def security_groups(security: guest_rules.Section, version: int) -> dict[str, list[str]]:
    """Trees of the guests by their addresses, and the chains of guests and groups."""
    if not security.guests:
        return {}
    chains = {wrapped("sg-fallback"): ["-j DROP"]}
    if security.provider:
        chains[wrapped("provider")] = [_traffic(rule, "s", "DROP", version) for rule in security.provider]
    bits = 32 if version == 4 else 128
    marked = marks(security.guests, version)
    limits = security.limits()
    into, out = [], []
    for guest in security.guests:
        number = addressing.number(guest.address)
        chain = wrapped(f"inst-{marked[guest.address]}")
        chains[chain] = _into(guest, bool(security.provider), version)
        into.append(Branch(number, bits, (f"-d {guest.address}/{bits} -g {chain}",)))
        if guest.groups in limits:
            chain = wrapped(f"egress-{marked[guest.address]}")
            # Whoever the traffic is for may still refuse it: so it only returns.
            chains[chain] = [
                "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
                *(_OF_A_LINK_OUT if version == 6 else ()),
                *(_traffic(rule, "d", "RETURN", version) for rule in limits[guest.groups]),
                jump(wrapped("sg-fallback")),
            ]
            out.append(Branch(number, bits, (f"-s {guest.address}/{bits} -g {chain}",)))
    for group in security.used:
        chains[group_chain(group.name)] = [_traffic(rule, "s", "ACCEPT", version) for rule in group.ingress]
    chains.update(rule_tree.grow(wrapped("ingress"), wrapped("in-"), "-d", rule_tree.leaves(into), bits))
    if out:
        # A hash in a name leaves room for no longer a stem.
        stem = wrapped("out-" if version == 4 else "ou-")
        chains.update(rule_tree.grow(wrapped("egress"), stem, "-s", rule_tree.leaves(out), bits))
    return chains


#: What IPv6 cannot do without on a link: neighbours, routers, addresses by DHCP. The kernel tracks no connection of it.
_OF_A_LINK = (
    "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
    "-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j ACCEPT",
    "-s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT",
)
_OF_A_LINK_OUT = (
    *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in (133, 135, 136, 131, 132, 143)),
    "-d ff02::1:2/128 -p udp -m udp --sport 546 --dport 547 -j RETURN",
)


def marks(guests: t.Iterable[Guest], version: int) -> dict[str, str]:
    """What the chains of each address are called by: its digits; IPv6 has too many for a name, so a `v` and a hash."""
    if version == 4:
        return {guest.address: f"{addressing.number(guest.address):08x}" for guest in guests}
    found: dict[str, str] = {}
    taken: set[str] = set()
    for address in sorted(guest.address for guest in guests):
        attempt, mark = 0, ""
        while not mark or mark in taken:
            mark = "v" + hashlib.sha256(f"{address}#{attempt}".encode()).hexdigest()[:7]
            attempt += 1
        taken.add(mark)
        found[address] = mark
    return found


def _into(guest: Guest, provider: bool, version: int) -> list[str]:
    """All that a guest is sent, in nova's order but for the provider's rules, which nothing goes before."""
    rules = [jump(wrapped("provider"))] if provider else []
    rules += ["-m conntrack --ctstate INVALID -j DROP", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]
    if version == 6:
        rules += _OF_A_LINK
    if guest.dhcp_server is not None:
        rules.append(f"-s {guest.dhcp_server}/32 -p udp -m udp --sport 67 --dport 68 -j ACCEPT")
    if guest.open_to is not None:
        rules.append(f"-s {guest.open_to} -j ACCEPT")
    return [*rules, *(jump(group_chain(name)) for name in guest.groups), jump(wrapped("sg-fallback"))]


def _traffic(rule: Traffic, side: str, verdict: str, version: int) -> str:
    """`side` is s or d: where the others are."""
    words = []
    if rule.cidr is not None:
        words.append(f"-{side} {rule.cidr}")
    if rule.protocol is not None:
        words.append(f"-p {guest_rules.KERNEL_NAMES.get(rule.protocol, rule.protocol)}")
    if rule.ports is not None:
        first, last = rule.ports
        words.append(f"-m {rule.protocol} --dport {first if first == last else f'{first}:{last}'}")
    if rule.icmp_type is not None:
        option = "-m icmp --icmp-type" if version == 4 else "-m icmp6 --icmpv6-type"
        words.append(f"{option} {rule.icmp_type}" + ("" if rule.icmp_code is None else f"/{rule.icmp_code}"))
    if rule.group is not None:
        words.append(f"-m set --match-set {members_set(rule.group, version)} {'src' if side == 's' else 'dst'}")
    return " ".join([*words, f"-j {verdict}"])
