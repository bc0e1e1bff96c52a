# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan compared with what the kernel has.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..naming import OWNER_ALIAS
from . import heard, moves, operations, sysctl
from .addresses import readdress, settled
from .difference import Difference, Risk, bridge_lines, picture
from .kernel import SCOPE_GLOBAL, Address, Link, State
from .mark import ALIAS_MAX, Mark, is_ours, parse_mark, render_mark
from .plan import Bridge, Plan
from .ports import compare_ports, ports_of_others, unfit
from .vlans import Outlook, compare_vlans, lost_with
from .ways import Way


def compare(want: Plan, have: State) -> Difference:
    """What must be done so that the kernel is as planned, in order; and what stands in the way."""
    difference = Difference()
    outlook = compare_vlans(want, have, difference)
    hearing = heard.joining(want, have)
    _compare_sysctl(want, have, outlook, hearing, difference)
    ports = ports_of_others(want, have)
    home = {interface: bridge.name for bridge in want.bridges for interface in bridge.interfaces}
    for bridge in want.bridges:
        _BridgeComparison(bridge, outlook, ports.get(bridge.name, []), home, have.ways, difference).run()
    planned = {bridge.name for bridge in want.bridges}
    going = [
        link for link in have.links.values() if link.kind == "bridge" and link.name not in planned and is_ours(link)
    ]
    if going:
        standing = have.standing()
        for link in going:
            _remove(link, ports.get(link.name, []), home, lost_with(link, standing, outlook.going), have, difference)
    compare_ports(want, have, ports, home, difference)
    return difference


def wants_ways(want: Plan, have: State) -> bool:
    """Whether routes, rules and neighbours have to be known."""
    return moves.wanted(want, have) or bool(heard.joining(want, have))


def _compare_sysctl(
    want: Plan, have: State, outlook: Outlook, hearing: t.Sequence[str], difference: Difference
) -> None:
    names = [bridge.name for bridge in want.bridges] + [vlan.name for vlan in want.vlans]
    born = {name for name in names if name not in have.links or name in outlook.going}
    wanted = dict(want.sysctl)
    _keep_advertised(wanted, have, difference)
    deaf = {sysctl.ipv6_key(name, "accept_ra") for name in hearing}
    for key, value in want.sysctl:
        newborn = sysctl.interface_of(key) in born
        before = have.sysctl.get(key)
        default = sysctl.default_key(key)
        if newborn and default is not None:
            before = wanted.get(default, have.sysctl.get(default))
        if before is None:
            difference.problems.append(
                f"sysctl {key}: this kernel does not know it; correct the key, or load the module that brings it"
            )
        elif before != value:
            phase = "settle" if newborn else "forget" if key in deaf else "sysctl"
            difference.phases[phase].append(operations.SetSysctl(key, value, None if newborn else before))
            difference.sysctl_before[key] = None if newborn else before
            difference.sysctl_after[key] = value


def _keep_advertised(wanted: t.Mapping[str, str], have: State, difference: Difference) -> None:
    """Forwarding IPv6 must not cost the host its own way out, where it has that from router advertisements."""
    if wanted.get(sysctl.FORWARDING_V6) != "1" or have.sysctl.get(sysctl.FORWARDING_V6) == "1":
        return
    for name in have.advertised:
        key = sysctl.ipv6_key(name, "accept_ra")
        if key not in wanted:
            difference.phases["sysctl"].append(operations.SetSysctl(key, sysctl.ACCEPT_RA_ALWAYS, "1"))
            difference.sysctl_before[key] = "1"
            difference.sysctl_after[key] = sysctl.ACCEPT_RA_ALWAYS


class _BridgeComparison:
    """One planned bridge against what the kernel has."""

    def __init__(
        self,
        want: Bridge,
        outlook: Outlook,
        ports: list[Link],
        home: t.Mapping[str, str],
        ways: t.Sequence[Way],
        difference: Difference,
    ) -> None:
        self.want = want
        self.ways = ways
        #: The interface whose addresses may be moved now.
        self.allowed = want.moved
        self.links = outlook.links
        self.outlook = outlook
        self.link = outlook.links.get(want.name)
        self.ports = ports
        self.home = home
        self.difference = difference
        self.mark = None
        if self.link is not None:
            self.mark = want.named if self.link.alias == want.mark else parse_mark(self.link.alias)
        if want.moved is None and self.mark is not None and self.mark.moved in want.interfaces:
            # What an earlier plan has moved stays known, so that it finds its way back.
            self.want = dataclasses.replace(want, moved=self.mark.moved)
        self.operation_count = 0
        self.moves: list[operations.Move] = []

    def run(self) -> None:
        if self.link is not None and not self._may_take(self.link):
            return
        for joining in self._joining():
            self._add("enslave", joining)
        # Neighbours know the host by the MAC address of the interface whose addresses move.
        first = self.links.get(self.want.moved or self.want.interfaces[0]) if self.want.interfaces else None
        mac = self.want.mac or (first.mac if first is not None else None)
        if self.link is None or self.mark is None:
            self._add("create", self._create(mac))
            addresses = self._readdress([], frozenset())
        else:
            leaving = self._leaving()
            addresses = self._readdress(self.link.addresses, frozenset(self.mark.addresses))
            for port in leaving:
                release = operations.Enslave(port.name, None, port.master)
                if port.name == self.mark.moved:
                    owned = {*self.mark.addresses, *(address.text for address in self.want.addresses)}
                    self._move("release", moves.back(self.link, port.name, owned, self.ways, release))
                else:
                    self._add("release", release)
            self._change(self.link, self.mark, mac)
            self._marks(self.link, self.mark)
        if self.operation_count:
            self._picture(mac, addresses)

    def _add(self, phase: str, operation: operations.Operation) -> None:
        self.difference.phases[phase].append(operation)
        self.operation_count += 1

    def _problem(self, text: str) -> None:
        self.difference.problems.append(f"bridge {self.want.name}: {text}")

    def _may_take(self, link: Link) -> bool:
        if link.kind != "bridge":
            self._problem("an interface of that name exists that is not a bridge; rename one of the two")
            return False
        if self.mark is None:
            self._problem(
                "exists, but does not carry our mark, so it is left alone; to hand it over: "
                f"ip link set {link.name} alias {OWNER_ALIAS}"
            )
            return False
        return True

    # Ports

    def _joining(self) -> list[operations.Enslave]:
        found = []
        for name in self.want.interfaces:
            link = self.links.get(name)
            if link is None and name in self.outlook.going:
                self._problem(
                    f"interface {name} is a VLAN interface of ours that is not planned any more, so it goes; "
                    "plan it in links.vlans, or correct the plan"
                )
                continue
            if link is None:
                self._problem(f"interface {name} does not exist on this host; create it, or correct the plan")
                continue
            if self.want.mtu is not None and link.mtu < self.want.mtu:
                self._problem(
                    f"its planned MTU {self.want.mtu} is larger than the MTU {link.mtu} of its interface {name}; "
                    "raise the interface's, or plan a smaller one"
                )
            if link.master == self.want.name:
                if not link.up:
                    found.append(operations.Enslave(name, self.want.name, self.want.name, True))
                if name == self.allowed and moves.movable(link):
                    self._move("move", moves.forth(link, self.want.name, self.ways, None))
            elif self._can_join(link):
                join = operations.Enslave(name, self.want.name, link.master, None if link.up else True)
                if name == self.allowed:
                    self._move("move", self._moving(link, join))
                    continue
                found.append(join)
                forgotten = heard.forget(link, self.want, self.ways)
                if forgotten is not None:
                    self._add("forget", forgotten)
                self.difference.risks.append(Risk(name, f"bridge {self.want.name}: enslaving {name}"))
                if link.master is not None:
                    self._risk_of_leaving(name, link.master)
        return found

    def _can_join(self, link: Link) -> bool:
        obstacle = self._obstacle(link)
        if obstacle:
            self._problem(f"interface {link.name} {obstacle}")
        return not obstacle

    def _obstacle(self, link: Link) -> str:
        obstacle = unfit(link)
        if obstacle:
            return obstacle
        master = self.links.get(link.master) if link.master is not None else None
        if link.master is not None and (master is None or not is_ours(master)):
            kind = (master.kind if master is not None else "") or "link"
            return (
                f"is already a port of the {kind} {link.master}, which is not ours; release it first "
                f"(ip link set {link.name} nomaster), or correct the plan"
            )
        if link.name == self.allowed:
            return ""
        own = [address.text for address in heard.own(link, self.want)]
        if own:
            others = [other.name for other in self.links.values() if other.ethernet and not other.kind]
            only = ", the only one of this host," if others == [link.name] else ""
            return (
                f"carries the host's own address {own[0]}, and enslaving it{only} would cut the host off there; "
                f"name it in nova_allow_move_addresses, and its addresses and routes move to {self.want.name}, "
                "or correct the plan"
            )
        if master is not None and (parse_mark(master.alias) or Mark()).moved == link.name:
            return (
                f"is the port of {master.name} that its own addresses were moved to; name it in "
                f"nova_allow_move_addresses, and they move on to {self.want.name}, or correct the plan"
            )
        return ""

    def _moving(self, link: Link, join: operations.Enslave) -> operations.Move:
        """From the interface itself, or from the bridge that an earlier plan has moved its addresses to."""
        master = self.links.get(link.master) if link.master is not None else None
        mark = parse_mark(master.alias) if master is not None else None
        if master is not None and mark is not None and mark.moved == link.name:
            return moves.back(master, link.name, frozenset(mark.addresses), self.ways, None, join)
        return moves.forth(link, self.want.name, self.ways, join)

    def _move(self, phase: str, move: operations.Move) -> None:
        for problem in moves.refusals(move):
            self._problem(problem)
        self._add(phase, move)
        self.moves.append(move)

    def _leaving(self) -> list[Link]:
        """Ports that are ours and no longer planned here; those planned for another bridge move there by themselves."""
        marked = self.mark.interfaces if self.mark is not None else ()
        found = [
            port
            for port in self.ports
            if port.name in marked and port.name not in self.home and port.name not in self.outlook.cleared
        ]
        for port in found:
            if self.mark is None or port.name != self.mark.moved:
                self._risk_of_leaving(port.name, self.want.name)
        return found

    def _risk_of_leaving(self, port: str, bridge: str) -> None:
        self.difference.risks.append(Risk(bridge, f"bridge {bridge}: taking away its interface {port}"))

    # Addresses

    def _readdress(self, have: list[Address], owned: frozenset[str]) -> list[Address]:
        if settled(have, self.want.addresses, owned):
            return have
        change = readdress(have, self.want.addresses, owned)
        if change.steps:
            texts = change.describe(self.want.name)
            routes = moves.routes_of(self.link, self.ways) if self.link is not None and change.away else ()
            self._add("address", operations.Readdress(self.want.name, change.steps, change.undo, texts, routes))
            if change.away and self.want.moved is None:
                gone = tuple(address.local for address in change.away)
                self.difference.risks.append(
                    Risk(self.want.name, f"bridge {self.want.name}: taking away {change.away[0].text}", gone)
                )
        return change.result

    # The bridge itself

    def _create(self, mac: str | None) -> operations.CreateBridge:
        want = self.want
        return operations.CreateBridge(want.name, want.mark, mac, want.mtu, want.stp, want.forward_delay)

    def _change(self, link: Link, mark: Mark, mac: str | None) -> None:
        want = self.want
        ports_change = self.operation_count > 0  # or addresses do, then the MTU is set once too often
        # A MAC address or an MTU that was never set follows the ports, and nothing tells it from one that was set. A
        # bridge that is handed over is therefore set once, even to what it has; the same after a change of ports.
        pin_mac = mac is not None and (mac != link.mac or not mark.complete)
        change_mtu = want.mtu is not None and want.mtu != link.mtu
        change_stp = want.stp != link.stp
        # Its own delay cannot be read while another bridge is its root; so it is set with STP, and not looked at then.
        hidden = link.forward_delay is None
        change_delay = change_stp if hidden else want.forward_delay != link.forward_delay
        if change_stp or change_delay or pin_mac or change_mtu or not link.up:
            to = operations.Settings(
                stp=want.stp if change_stp else None,
                forward_delay=want.forward_delay if change_delay else None,
                mac=mac if pin_mac else None,
                mtu=want.mtu if change_mtu else None,
                up=None if link.up else True,
            )
            self._add("shape", operations.ChangeLink(want.name, to, _settings_of(link, to)))
        if want.mtu is not None and ports_change and not change_mtu:
            again = operations.Settings(mtu=want.mtu)
            self._add("settle", operations.ChangeLink(want.name, again, _settings_of(link, again), quiet=True))

    def _marks(self, link: Link, mark: Mark) -> None:
        """Widen before anything comes, narrow after everything has gone."""
        want, planned = self.want, self.want.mark
        if link.alias == planned:
            return  # it names just what is planned, so nothing that it names leaves
        planned_addresses = tuple(address.text for address in want.addresses)
        going = tuple(port.name for port in self.ports if port.name in mark.interfaces)
        moved = want.moved or mark.moved
        staying = tuple(address.text for address in link.addresses if address.text in mark.addresses)
        wide = render_mark(Mark(_union(want.interfaces, going), _union(planned_addresses, staying), moved=moved))
        if len(wide.encode()) > ALIAS_MAX:
            self._problem(
                f"its mark cannot name both what comes and what goes ({len(wide.encode())} bytes, the kernel keeps "
                f"{ALIAS_MAX}); apply a plan without the new interfaces and addresses first"
            )
            return
        text = ""
        if not mark.complete:
            text = f"take over bridge {self.want.name}"
        elif not self.operation_count and all(self.home.get(port, want.name) == want.name for port in going):
            text = f"update the mark of bridge {self.want.name}"
        named = set(mark.interfaces) | set(mark.addresses)
        if mark.complete and named >= {*want.interfaces, *planned_addresses} and moved == mark.moved:
            wide = link.alias  # wide enough as it is
        if wide != link.alias:
            self._add("widen", operations.SetAlias(self.want.name, wide, link.alias, text))
            text = ""
        if planned != wide:
            self._add("narrow", operations.SetAlias(self.want.name, planned, wide, text))

    def _picture(self, mac: str | None, addresses: list[Address]) -> None:
        """Before and after of this bridge, as --diff shows them."""
        link, want = self.link, self.want
        mine = dict.fromkeys(want.interfaces, True)
        leaving = set(self.mark.interfaces) if self.mark is not None else set()
        for port in self.ports:
            elsewhere = self.home.get(port.name, want.name) != want.name
            if not elsewhere and port.name not in leaving and port.name not in self.outlook.going:
                mine.setdefault(port.name, port.up)
        if link is not None:
            self.difference.before[want.name] = picture(link, self.ports)
        came = [i.what for m in self.moves for i in m.items if i.add and i.interface == want.name]
        gone = [i.what for m in self.moves for i in m.items if not i.add and i.interface == want.name]
        self.difference.after[want.name] = bridge_lines(
            mark=want.mark,
            up=True,
            ports=mine,
            addresses=[*(a for a in addresses if a not in gone), *(a for a in came if isinstance(a, Address))],
            mtu=want.mtu if want.mtu is not None else (link.mtu if link is not None else None),
            mac=mac or (link.mac if link is not None else None),
            stp=want.stp,
            forward_delay=want.forward_delay if link is None or link.forward_delay is not None else None,
        )


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return first + tuple(item for item in second if item not in first)


def _settings_of(link: Link, like: operations.Settings) -> operations.Settings:
    """The present values of just those settings that `like` touches."""
    return operations.Settings(
        stp=None if like.stp is None else link.stp,
        forward_delay=None if like.forward_delay is None else link.forward_delay,
        mac=None if like.mac is None else link.mac,
        mtu=None if like.mtu is None else link.mtu,
        up=None if like.up is None else link.up,
    )


def _remove(
    link: Link, ports: list[Link], home: t.Mapping[str, str], lost: str, have: State, difference: Difference
) -> None:
    """A bridge of ours that is no longer planned; `lost` says what of others would be lost with it."""
    mark = parse_mark(link.alias) or Mark()
    what = f"removing bridge {link.name}"
    port = have.links.get(mark.moved) if mark.moved is not None else None
    if port is not None:
        if port.name not in home:
            release = operations.Enslave(port.name, None, link.name) if port.master == link.name else None
            move = moves.back(link, port.name, frozenset(mark.addresses), have.ways, release)
            difference.problems.extend(f"{what}: {problem}" for problem in moves.refusals(move))
            difference.phases["release"].append(move)
        ports = [other for other in ports if other is not port]
        # It has none but ours by then.
        ours = [address for address in link.addresses if address.text in mark.addresses]
        link = dataclasses.replace(link, addresses=ours)
    foreign = [
        address.text
        for address in link.addresses
        # An IPv6 address with a lifetime was made by the kernel from an advertisement: nobody gave it.
        if address.scope == SCOPE_GLOBAL
        and address.text not in mark.addresses
        and (address.is_ipv4 or address.permanent)
    ]
    if foreign:
        difference.problems.append(
            f"{what}: it carries {foreign[0]}, which is not ours and would be lost; remove the address first "
            f"(ip address del {foreign[0]} dev {link.name}), or keep the bridge by taking our mark away "
            f"(ip link set {link.name} alias '')"
        )
    if lost:
        difference.problems.append(
            f"{what}: {lost}; remove it first, or keep the bridge by taking our mark away "
            f"(ip link set {link.name} alias '')"
        )
    if port is None:
        difference.risks.append(Risk(link.name, what, tuple(address.local for address in link.addresses)))
    staying = [port for port in ports if port.name not in home]
    guests = tuple(port.name for port in staying if port.name not in mark.interfaces)
    settings = (link.mac or None, link.mtu, link.stp, link.forward_delay or 0, link.up)
    restore: list[operations.Operation] = [operations.CreateBridge(link.name, link.alias, *settings)]
    restore.extend(operations.Enslave(port.name, link.name) for port in staying)
    if link.addresses:
        # The kernel makes link-local addresses itself.
        again = tuple(operations.Step(True, address) for address in link.addresses if address.scope == SCOPE_GLOBAL)
        restore.append(operations.Readdress(link.name, again, ()))
    difference.phases["remove"].append(operations.RemoveBridge(link.name, guests, tuple(restore)))
    difference.before[link.name] = picture(link, ports)
