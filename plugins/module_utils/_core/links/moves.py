# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What moves from an interface to the bridge that takes it as a port, and back: addresses, routes, rules, neighbours.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..naming import INTERFACE_NAME_MAX
from . import ways
from .kernel import SCOPE_GLOBAL, Address, Link, State
from .mark import is_ours, parse_mark
from .operations import Enslave, Item, Move
from .plan import Plan
from .ways import Way

#: linux/rtnetlink.h
_SCOPE_SITE, _SCOPE_HOST = 200, 254

#: All of a move goes in one datagram; what a host has more of belongs to a routing daemon, which follows by itself.
MOST = 1000


def movable(link: Link) -> list[Address]:
    """Addresses that stand for the host. The kernel makes those of a link by itself."""
    return [
        address
        for address in link.addresses
        if (address.scope < _SCOPE_HOST if address.is_ipv4 else address.scope in (SCOPE_GLOBAL, _SCOPE_SITE))
    ]


def forth(link: Link, bridge: str, known: t.Sequence[Way], join: Enslave | None) -> Move:
    """Everything of the interface to the bridge."""
    addresses = movable(link)
    going = [way for way in known if way.interface == link.name and not _made_by_kernel(way, link.addresses)]
    rules = [way for way in going if way.kind == ways.RULE]
    twins = [way for way in known if way.kind == ways.RULE and way.interface == bridge]
    # The rule of the port stays, where it says nothing: by it the one of the bridge is known as its copy.
    copied = [Item(True, bridge, rule) for rule in rules if not any(ways.same(rule, twin) for twin in twins)]
    others = [way for way in going if way.kind != ways.RULE]
    subnets = _subnets_v6(link, addresses, known)
    return _move(link.name, bridge, addresses, others, [*copied, *subnets], join, None)


def back(
    bridge: Link,
    port: str,
    owned: t.Container[str],
    known: t.Sequence[Way],
    leave: Enslave | None,
    join: Enslave | None = None,
) -> Move:
    """What is not ours of the bridge to its port, or to the next bridge, which the port joins.

    `owned` are the addresses that are ours, with their prefix length.
    """
    target = port if join is None or join.bridge is None else join.bridge
    addresses = [address for address in movable(bridge) if address.text not in owned]
    ours = [address for address in bridge.addresses if address.text in owned]
    going = []
    for way in known:
        if way.interface != bridge.name or way.kind == ways.RULE or _made_by_kernel(way, bridge.addresses):
            continue
        if way.source is not None and any(way.source == address.local for address in ours):
            continue
        # Guests, and what lies behind them.
        if way.gateways and all(_among(each, ours) and not _among(each, addresses) for each in way.gateways):
            continue
        going.append(way)
    rules = [way for way in known if way.kind == ways.RULE and way.interface == bridge.name]
    twins = [way for way in known if way.kind == ways.RULE and way.interface == port]
    copies = [rule for rule in rules if any(ways.same(rule, twin) for twin in twins)]
    items = [Item(False, bridge.name, rule) for rule in copies]
    if target != port:
        items += [Item(True, target, rule) for rule in copies]
    items += _subnets_v6(bridge, addresses, known)
    return _move(bridge.name, target, addresses, going, items, join, leave)


def routes_of(link: Link, known: t.Iterable[Way]) -> tuple[Way, ...]:
    """The routes over the link that somebody entered."""
    return tuple(
        way
        for way in known
        if way.kind == ways.ROUTE and way.interface == link.name and not _made_by_kernel(way, link.addresses)
    )


def wanted(plan: Plan, have: State) -> bool:
    """Whether routes, rules and neighbours have to be known."""
    if any(bridge.moved is not None for bridge in plan.bridges):
        return True
    marks = (parse_mark(link.alias) for link in have.links.values() if link.kind == "bridge" and is_ours(link))
    return any(mark is not None and mark.moved is not None for mark in marks)


def refusals(move: Move) -> list[str]:
    """Why it cannot be done, in words."""
    problems = [
        f"the route {item.what.text} of {move.source} leads over a nexthop object, which cannot be moved; "
        f"replace it by a route that names its gateway"
        for item in move.items
        if item.add and isinstance(item.what, Way) and item.what.by_object
    ]
    count = sum(item.add for item in move.items)
    if count > MOST:
        problems.append(
            f"{count} addresses, routes and neighbours of {move.source} would move, and {MOST} are the most; "
            "stop the routing daemon that made them, which can make them anew afterwards"
        )
    return problems


def _move(
    source: str,
    target: str,
    addresses: list[Address],
    others: list[Way],
    apart: list[Item],
    join: Enslave | None,
    leave: Enslave | None,
) -> Move:
    come, go, texts = [], [], []
    # The kernel lists the IPv4 addresses in the order in which they came, the IPv6 ones the other way round.
    ordered = [address for address in addresses if address.is_ipv4]
    ordered += [address for address in reversed(addresses) if not address.is_ipv4]
    for address in ordered:
        come.append(Item(True, target, dataclasses.replace(address, label=_label(address.label, source, target))))
        go.append(Item(False, source, address))
        texts.append(f"move address {address.text} from {source} to {target}")
    # What others lead through comes before them.
    for way in sorted(others, key=lambda way: (way.kind != ways.ROUTE, bool(way.gateways))):
        if way.several and not way.is_ipv4:
            # An IPv6 route of several ways is one thing that cannot stand there twice.
            come.append(Item(False, source, way))
        else:
            go.append(Item(False, source, way))
        come.append(Item(True, target, way))
        texts.append(f"move {way.kind} {way.text} from {source} to {target}")
    for item in apart:
        (come if item.add else go).append(item)
        if isinstance(item.what, Address) or item.what.kind != ways.RULE:
            continue
        words = ("copy", f"from {source} to {target}") if item.add else ("remove", f"of {source}")
        texts.append(f"{words[0]} rule {item.what.text} {words[1]}")
    return Move(source, target, (*come, *reversed(go)), join, leave, tuple(texts))


def _subnets_v6(link: Link, going: list[Address], known: t.Iterable[Way]) -> list[Item]:
    """Routes to the subnets of IPv6 addresses that leave: with one of limited life the kernel lets them stand."""
    staying = [address for address in link.addresses if address not in going]
    return [
        Item(False, link.name, way)
        for way in known
        if way.interface == link.name and not way.is_ipv4 and _made_by_kernel(way, going)
        if not _made_by_kernel(way, staying)
    ]


def _label(label: str | None, source: str, target: str) -> str | None:
    if label is None:
        return None
    name, colon, rest = label.partition(":")
    if name == source and len(f"{target}{colon}{rest}".encode()) <= INTERFACE_NAME_MAX:
        return f"{target}{colon}{rest}"
    return target


def _made_by_kernel(way: Way, addresses: t.Iterable[Address]) -> bool:
    return way.kind == ways.ROUTE and any(
        ways.made_for(way, address.local, address.prefix, address.peer, address.flags, address.metric)
        for address in addresses
    )


def _among(address: str, subnets: t.Iterable[Address]) -> bool:
    return any(ways.inside(address, subnet.peer or subnet.local, subnet.prefix) for subnet in subnets)
