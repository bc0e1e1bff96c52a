# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planned VLAN interfaces compared with what the kernel has.

What stands on a link goes with it, so a VLAN interface that is made anew takes along those on it; the order of all
steps follows from that: down from the top when taking away, up from the bottom when making.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..naming import OWNER_ALIAS
from . import operations
from .difference import Difference, Risk, vlan_lines, vlan_picture
from .kernel import SCOPE_GLOBAL, Link, State
from .mark import VLAN_MARK, is_ours, parse_mark
from .plan import MTU_MAX, Plan, Vlan

#: What takes its ports' traffic for itself, so that nothing may stand on a port.
_BUNDLES = ("bond", "team")


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What the bridges will find."""

    #: The links as they will be.
    links: t.Mapping[str, Link]
    #: VLAN interfaces of ours that go, some of them to be made anew.
    going: t.Container[str] = ()
    #: Those among them that go before the bridges change.
    cleared: t.Container[str] = ()


def compare_vlans(want: Plan, have: State, difference: Difference) -> Outlook:
    """What makes the VLAN interfaces those of the plan; and the links as they are then."""
    ours = [link for link in have.links.values() if link.kind == "vlan" and is_ours(link)]
    if not want.vlans and not ours:
        return Outlook(have.links)
    comparison = _Comparison(want, have, difference)
    comparison.take_away(ours)
    for vlan in want.vlans:
        comparison.make(vlan)
    comparison.finish()
    return Outlook(comparison.links, comparison.going, comparison.cleared)


def lost_with(link: Link, standing: t.Mapping[str, list[Link]], going: t.Container[str]) -> str:
    """What of others would be lost with the link, in words; empty if nothing."""
    foreign = [other.name for other in standing.get(link.name, ()) if other.name not in going]
    return f"{foreign[0]} stands on it, which is not ours and would be lost" if foreign else ""


class _Comparison:
    def __init__(self, want: Plan, have: State, difference: Difference) -> None:
        self.have = have.links
        self.links = dict(have.links)
        self.difference = difference
        self.planned = {vlan.name: vlan for vlan in want.vlans}
        self.bridges = {bridge.name for bridge in want.bridges}
        self.standing = have.standing()
        self.going: dict[str, Link] = {}
        self.cleared: set[str] = set()
        self.tags: dict[tuple[str, int], str] = {}
        #: Changes that make an MTU smaller, from the bottom up, and all others.
        self.lowered: list[operations.Operation] = []
        self.others: list[operations.Operation] = []

    # Taking away

    def take_away(self, ours: t.Iterable[Link]) -> None:
        """What is not planned goes, and what has another tag or link, and all of ours that stands on these."""
        going: list[Link] = [link for link in ours if not self._fits(link)]
        for link in going:  # grows meanwhile
            if link.name not in self.going:
                self.going[link.name] = link
                going += [above for above in self.standing.get(link.name, ()) if is_ours(above)]
        self.links = {name: link for name, link in self.have.items() if name not in self.going}
        for link in self.links.values():
            if link.parent is not None and link.vlan_id is not None:
                self.tags[link.parent, link.vlan_id] = link.name
        wanted = {(vlan.link, vlan.id) for vlan in self.planned.values()}
        last: list[operations.Operation] = []
        first: list[operations.Operation] = []
        for link in sorted(self.going.values(), key=self._depth):
            in_the_way = (link.parent, link.vlan_id) in wanted
            replaced = link.name in self.planned or link.name in self.bridges
            # A bridge of ours below it may go itself, and what a VLAN interface below it becomes would change it first.
            below_changes = link.parent in self.planned or link.parent in self.cleared
            if in_the_way or replaced or below_changes or self._is_our_bridge(link.parent):
                self.cleared.add(link.name)
            (first if link.name in self.cleared else last).append(self._remove(link))
        self.difference.phases["clear"] += reversed(first)
        self.difference.phases["untag"] += reversed(last)

    def _fits(self, link: Link) -> bool:
        vlan = self.planned.get(link.name)
        return vlan is not None and (vlan.link, vlan.id) == (link.parent, link.vlan_id)

    def _is_our_bridge(self, name: str | None) -> bool:
        link = self.have.get(name) if name is not None else None
        return link is not None and link.kind == "bridge" and is_ours(link)

    def _depth(self, link: Link) -> int:
        depth = 0
        below = link.parent
        while below in self.going:
            depth += 1
            below = self.going[below].parent
        return depth

    def _remove(self, link: Link) -> operations.Operation:
        again = link.name in self.planned
        what = f"making VLAN interface {link.name} anew" if again else f"removing VLAN interface {link.name}"
        foreign = [address.text for address in link.addresses if address.scope == SCOPE_GLOBAL and address.permanent]
        if foreign:
            self._problem(
                f"{what}: it carries {foreign[0]}, which is not ours and would be lost; remove the address first "
                f"(ip address del {foreign[0]} dev {link.name}){_keeping(link)}"
            )
        lost = lost_with(link, self.standing, self.going)
        if lost:
            self._problem(f"{what}: {lost}; remove it first{_keeping(link)}")
        self.difference.risks.append(Risk(link.name, what, tuple(address.local for address in link.addresses)))
        if link.master is not None and (link.name in self.cleared or not self._is_our_bridge(link.master)):
            self.difference.risks.append(Risk(link.master, f"{what}: taking it away from {link.master}"))
        self.difference.vlans_before[link.name] = vlan_picture(link)
        return operations.RemoveVlan(link.name, self._restoring(link))

    def _restoring(self, link: Link) -> tuple[operations.Operation, ...]:
        if link.parent is None or link.vlan_id is None:
            return ()  # what we do not make; the message after a failure names it
        below = self.have.get(link.parent)
        # Without a MAC address of its own it follows the link below.
        mac = None if below is not None and below.mac == link.mac else link.mac
        create = operations.CreateVlan(link.name, link.parent, link.vlan_id, link.alias, mac, link.mtu, link.up)
        return (create,) if link.master is None else (create, operations.Enslave(link.name, link.master))

    # Making

    def make(self, vlan: Vlan) -> None:
        link = self.links.get(vlan.name)
        below = self._below(vlan)
        mtu = self._mtu(vlan, link, below)
        mac = vlan.mac or self._mac(link, below)
        if link is not None and self._may_take(link):
            pinned = vlan.mac is not None and self._would_follow(link, below)
            if (mtu, mac, True) != (link.mtu, link.mac, link.up) or pinned:
                self.links[vlan.name] = now = dataclasses.replace(link, mtu=mtu, mac=mac, up=True)
                self._change(link, now, pinned)
            return
        now = Link(vlan.name, 0, "vlan", mtu=mtu, mac=mac, alias=VLAN_MARK, parent=vlan.link, vlan_id=vlan.id)
        if link is None:
            self._create(vlan, now)
        # After a problem too, so that none follows from it.
        self.links[vlan.name] = now

    def _below(self, vlan: Vlan) -> Link | None:
        """The link that it stands on, which is set up; None if it cannot stand there."""
        link = self.links.get(vlan.link)
        obstacle = ""
        if vlan.link in self.planned:
            return link
        if vlan.link in self.going or (link is not None and link.kind == "bridge" and is_ours(link)):
            obstacle = "is ours and not planned any more, so it goes"
        elif link is None:
            obstacle = "does not exist on this host; create it"
        elif link.loopback:
            obstacle = "is the loopback interface, which has no VLANs"
        elif not link.ethernet:
            obstacle = "is not an Ethernet interface, which has no VLANs"
        elif link.master is not None and self._kind(link.master) in _BUNDLES:
            obstacle = f"is a port of the {self._kind(link.master)} {link.master}; name that"
        if obstacle or link is None:
            self._problem(f"VLAN interface {vlan.name}: its link {vlan.link} {obstacle}, or correct the plan")
            return None
        if not link.up:
            up, down = operations.Settings(up=True), operations.Settings(up=False)
            self.difference.phases["prepare"].append(operations.ChangeLink(link.name, up, down))
            self.difference.raised.append(link.name)
            self.links[link.name] = link = dataclasses.replace(link, up=True)
        return link

    def _mac(self, link: Link | None, below: Link | None) -> str:
        """The MAC address that it will have where none is planned: it follows the link below until it has its own."""
        if below is None:
            return link.mac if link is not None else ""
        before = self.have.get(below.name)
        follows = link is None or (before is not None and before.mac == link.mac)
        return below.mac if follows or link is None else link.mac

    def _would_follow(self, link: Link, below: Link | None) -> bool:
        """Whether its MAC address may be that of the link below, which gets another one now and takes it along."""
        before = self.have.get(below.name) if below is not None else None
        return before is not None and below is not None and before.mac == link.mac != below.mac

    def _kind(self, name: str) -> str:
        return self.have[name].kind if name in self.have else ""

    def _mtu(self, vlan: Vlan, link: Link | None, below: Link | None) -> int:
        """The MTU that it will have. (The kernel allows none above that of the link below, and lowers both alike.)"""
        if below is None:
            return vlan.mtu or MTU_MAX
        if vlan.mtu is not None and vlan.mtu > below.mtu:
            self._problem(
                f"VLAN interface {vlan.name}: its planned MTU {vlan.mtu} is larger than the MTU {below.mtu} of "
                f"its link {below.name}; raise the link's, or plan a smaller one"
            )
        return vlan.mtu or (min(link.mtu, below.mtu) if link is not None else below.mtu)

    def _create(self, vlan: Vlan, now: Link) -> None:
        other = self.tags.get((vlan.link, vlan.id))
        if other is not None:
            self._problem(
                f"VLAN interface {vlan.name}: tag {vlan.id} on {vlan.link} is that of {other}, which is not ours; "
                "remove it, or correct the plan"
            )
        create = operations.CreateVlan(vlan.name, vlan.link, vlan.id, VLAN_MARK, vlan.mac, vlan.mtu)
        self.difference.phases["create"].append(create)
        mtu = now.mtu if vlan.mtu is None else vlan.mtu
        self.difference.vlans_after[vlan.name] = vlan_lines(VLAN_MARK, True, vlan.link, vlan.id, mtu, now.mac)

    def _may_take(self, link: Link) -> bool:
        if link.kind != "vlan":
            self._problem(
                f"VLAN interface {link.name}: an interface of that name exists that is not a VLAN interface; "
                "rename one of the two"
            )
            return False
        if parse_mark(link.alias) is None:
            vlan = self.planned[link.name]
            text = f"tag {link.vlan_id} on {link.parent}"
            if (link.parent, link.vlan_id) == (vlan.link, vlan.id):
                remedy = "to hand it over"
            else:
                text += f" instead of {vlan.id} on {vlan.link}"
                remedy = "rename one of the two, or to hand it over, to be made anew"
            self._problem(
                f"VLAN interface {link.name}: exists ({text}), but does not carry our mark, so it is left alone; "
                f"{remedy}: ip link set {link.name} alias {OWNER_ALIAS}"
            )
            return False
        return True

    def _change(self, link: Link, now: Link, pinned: bool) -> None:
        """`pinned`: the MAC address is set though it is the right one, so that it stays so."""
        mtu = now.mtu if now.mtu != link.mtu else None
        mac = now.mac if pinned or now.mac != link.mac else None
        up = None if link.up else True
        if mtu is not None and mtu < link.mtu:
            before = operations.Settings(mtu=link.mtu)
            self.lowered.append(operations.ChangeLink(link.name, operations.Settings(mtu=mtu), before))
            mtu = None
        to = operations.Settings(mac=mac, mtu=mtu, up=up)
        if to != operations.Settings():
            before = operations.Settings(
                mac=None if mac is None else link.mac,
                mtu=None if mtu is None else link.mtu,
                up=None if up is None else link.up,
            )
            self.others.append(operations.ChangeLink(link.name, to, before))
        self.difference.vlans_before[link.name] = vlan_picture(link)
        self.difference.vlans_after[link.name] = vlan_picture(now)

    def finish(self) -> None:
        self.difference.phases["prepare"] += [*reversed(self.lowered), *self.others]

    def _problem(self, text: str) -> None:
        self.difference.problems.append(text)


def _keeping(link: Link) -> str:
    return f", or keep the interface by taking our mark away (ip link set {link.name} alias '')"
