# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an interface took from router advertisements of networks that its bridge carries: nobody gave it to the host.

A card on the wire of an IPv6 network heeds that network's advertisements until its host's first run. What it took so
goes before the card is enslaved.

The flags tell an address that the kernel made from one that a program gave, on kernels too that do not name the maker:
the kernel lets temporary addresses be made of it, and as one of limited life it leaves no route to the kernel.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import ways
from .kernel import SCOPE_GLOBAL, SECONDARY, Address, Link, State
from .operations import Forget, Item
from .plan import Bridge, Plan

#: linux/if_addr.h, linux/rtnetlink.h
_MANAGES_TEMPORARY, _NO_PREFIX_ROUTE = 0x100, 0x200
_RTPROT_KERNEL, _RTPROT_RA = 2, 9
#: Of an address that is made of an advertised range.
_PREFIX = 64


def addresses(link: Link, bridge: Bridge) -> list[Address]:
    """Those of the interface that the kernel made of a range of the bridge's."""
    return [address for address in link.addresses if _made(address) and _within(address.local, bridge.advertised)]


def own(link: Link, bridge: Bridge) -> list[Address]:
    """The others, which stand for the host."""
    heard = addresses(link, bridge)
    return [address for address in link.addresses if address.scope == SCOPE_GLOBAL and address not in heard]


def forget(link: Link, bridge: Bridge, known: t.Iterable[ways.Way]) -> Forget | None:
    """Takes them from the interface with the routes that came with them; None where it has none."""
    heard = addresses(link, bridge)
    if not heard:
        return None
    routes = [
        way
        for way in known
        if way.kind == ways.ROUTE and way.interface == link.name and not way.is_ipv4 and not way.several
        if way.protocol == _RTPROT_RA
        or (way.protocol == _RTPROT_KERNEL and not way.gateways and _within(way.destination[0], bridge.advertised))
    ]
    texts = [
        f"forget address {address.text} of {link.name}, which bridge {bridge.name} advertises" for address in heard
    ]
    texts += [f"forget route {way.text} of {link.name}" for way in routes]
    # Routes first: that of a subnet may go with the last address in it.
    going = [Item(False, link.name, way) for way in routes] + [Item(False, link.name, address) for address in heard]
    followers = [item for item in going if isinstance(item.what, Address) and item.what.flags & SECONDARY]
    return Forget(link.name, tuple(going), tuple(texts), tuple(followers))


def joining(plan: Plan, have: State) -> list[str]:
    """Interfaces that have such an address and are to be enslaved; where addresses move, these move along."""
    found = []
    for bridge in plan.bridges:
        for name in bridge.interfaces if bridge.advertised else ():
            link = have.links.get(name)
            if link is not None and bridge.moved != name and link.master != bridge.name and addresses(link, bridge):
                found.append(name)
    return found


def _made(address: Address) -> bool:
    if address.is_ipv4 or address.permanent or address.prefix != _PREFIX or address.scope != SCOPE_GLOBAL:
        return False
    return bool(address.flags & (_MANAGES_TEMPORARY | SECONDARY)) and not address.flags & _NO_PREFIX_ROUTE


def _within(address: str, ranges: t.Iterable[str]) -> bool:
    parts = (each.partition("/") for each in ranges)
    return any(ways.inside(address, base, int(length)) for base, _slash, length in parts)
