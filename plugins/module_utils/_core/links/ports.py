# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planned ports of instances compared with what the kernel has.

A device that is not there yet is no difference: it is plugged by the udev rules when it comes, or by the next run. A
device that leaves the plan is unplugged and loses our mark; it goes itself only if it is a tap that we made.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import operations
from .difference import Difference, Risk, port_lines, port_picture
from .kernel import SCOPE_GLOBAL, Link, State
from .mark import PortMark, is_ours, parse_port_mark, render_port_mark
from .operations import PortState
from .plan import Plan, Port
from .rules import render_rules

#: MTU of a new tap.
_TAP_MTU = 1500


def ports_of_others(want: Plan, have: State) -> dict[str, list[Link]]:
    """The ports of every link that has some, without those that the plan or our mark makes ports of instances."""
    planned = {port.name for port in want.ports}
    found = {}
    for master, ports in have.ports().items():
        found[master] = [
            port for port in ports if port.name not in planned and not (port.alias and parse_port_mark(port))
        ]
    return found


def unfit(link: Link) -> str:
    """Why no link of this kind can be a port of a bridge; empty where it can."""
    if link.loopback:
        return "is the loopback interface, which cannot be enslaved; correct the plan"
    if link.kind == "bridge":
        return "is itself a bridge, which cannot be a port of a bridge; correct the plan"
    if not link.ethernet:
        return "is not an Ethernet interface, which cannot be a port of a bridge; correct the plan"
    return ""


def own_address(link: Link) -> str:
    """Why the link cannot be enslaved as it has an address of the host's; empty where it has none."""
    own = [address.text for address in link.addresses if address.scope == SCOPE_GLOBAL]
    if not own:
        return ""
    return (
        f"carries the host's own address {own[0]}, and enslaving it would cut the host off there; "
        "move the address first, or correct the plan"
    )


def compare_ports(
    want: Plan, have: State, others: t.Mapping[str, list[Link]], home: t.Container[str], difference: Difference
) -> None:
    """What plugs the planned ports and unplugs the others.

    `others`: what ports_of_others() has found; `home`: the interfaces that bridges are planned with.
    """
    comparison = _Comparison(want, have, others, home, difference)
    comparison.leave({port.name for port in want.ports})
    ports = [comparison.plug(port) for port in want.ports]
    comparison.finish()
    rules = "" if difference.problems else render_rules(ports)
    if have.rules is not None and rules != have.rules:
        difference.phases["rules"].append(operations.WriteRules(rules, have.rules))
        difference.rules_before, difference.rules_after = have.rules, rules


class _Comparison:
    def __init__(
        self,
        want: Plan,
        have: State,
        others: t.Mapping[str, list[Link]],
        home: t.Container[str],
        difference: Difference,
    ) -> None:
        self.have = have
        self.others = others
        self.home = home
        self.difference = difference
        self.bridges = {bridge.name for bridge in want.bridges}
        #: Bridges that ports cannot be plugged into: the reason, and the ports.
        self.obstacles: dict[str, str] = {}
        self.homeless: dict[str, list[str]] = {}

    # Planned ones

    def plug(self, port: Port) -> Port:
        """Plug the port if it is there; returned is the port with the MTU that it gets."""
        obstacle = self._bridge_obstacle(port.bridge)
        if obstacle:
            self.homeless.setdefault(port.bridge, []).append(port.name)
            return port
        port = self._with_mtu(port)
        link = self.have.links.get(port.name)
        mark = parse_port_mark(link) if link is not None else None
        if link is not None and mark is not None and not port.tap and _unused_tap(link, mark):
            # It was made for a guest that is to bring its own now.
            self._remove_tap(link)
            link = None
        if link is None:
            if port.tap:
                self._make_tap(port)
            return port
        obstacle = self._obstacle(link, mark, port)
        if obstacle:
            self.difference.problems.append(f"port {port.name}: the interface {obstacle}")
            return port
        before = _state(link)
        to = PortState(
            alias=render_port_mark(PortMark(port.bridge, mark is not None and mark.made)),
            bridge=port.bridge,
            up=True,
            mtu=port.mtu or link.mtu,
            mac=port.mac or link.mac,
            hairpin=port.hairpin,
        )
        if to != before:
            if link.master != port.bridge:
                self.difference.risks.append(Risk(port.name, f"port {port.name}: enslaving it to {port.bridge}"))
            self._change("enslave", link, before, to)
        return port

    def _with_mtu(self, port: Port) -> Port:
        """A bridge that is not ours may follow the smallest MTU of its ports, and no port of ours may hold it down."""
        bridge = self.have.links.get(port.bridge)
        if port.bridge in self.bridges or bridge is None:
            return port
        others = [other.mtu for other in self.others.get(port.bridge, ())]
        return dataclasses.replace(port, mtu=max(port.mtu or 0, min(others, default=bridge.mtu)))

    def _bridge_obstacle(self, name: str) -> str:
        if name not in self.obstacles:
            link = self.have.links.get(name)
            obstacle = ""
            if name in self.bridges:
                pass
            elif link is None:
                obstacle = "is neither planned nor on this host; create it"
            elif link.kind != "bridge":
                obstacle = "is no bridge; name one"
            elif is_ours(link):
                obstacle = "is ours and not planned any more, so it goes; plan it in links.bridges"
            self.obstacles[name] = obstacle
        return self.obstacles[name]

    def _obstacle(self, link: Link, mark: PortMark | None, port: Port) -> str:
        obstacle = unfit(link)
        if obstacle or link.kind == "vlan":
            return obstacle or "is a VLAN interface, which is no instance's; rename it, or correct the plan"
        if link.master == port.bridge:
            return ""
        if link.master is not None and (mark is None or mark.bridge != link.master):
            master = self.have.links.get(link.master)
            if master is None or master.kind != "bridge" or not is_ours(master):
                kind = (master.kind if master is not None else "") or "link"
                return (
                    f"is a port of the {kind} {link.master} instead of {port.bridge}, and we did not plug it in "
                    f"there; release it first (ip link set {link.name} nomaster), or correct the plan"
                )
        return own_address(link)

    def _make_tap(self, port: Port) -> None:
        alias = render_port_mark(PortMark(port.bridge, made=True))
        born = _born(alias, port.mac or "")
        to = PortState(alias, port.bridge, True, port.mtu or _TAP_MTU, port.mac or "", port.hairpin)
        self.difference.phases["tap"].append(operations.CreateTap(port.name, born))
        self.difference.phases["enslave"].append(operations.ChangePort(port.name, to, born))
        self.difference.ports_after[port.name] = port_lines(to)

    def finish(self) -> None:
        for bridge, ports in self.homeless.items():
            more = f" (and {len(ports) - 1} more)" if len(ports) > 1 else ""
            self.difference.problems.append(
                f"port {ports[0]}{more}: its bridge {bridge} {self.obstacles[bridge]}, or correct the plan"
            )

    # The others

    def leave(self, planned: t.Container[str]) -> None:
        for link in self.have.links.values():
            mark = parse_port_mark(link) if link.alias and link.name not in planned else None
            if mark is None:
                continue
            if _unused_tap(link, mark) and link.name not in self.home:
                self._remove_tap(link)
                continue
            before = _state(link)
            # Where somebody else has plugged it in since, or a bridge is planned with it, it stays plugged.
            stays = link.master != mark.bridge or link.name in self.home
            # A tap that a guest has open goes after that guest.
            alias = render_port_mark(PortMark("", made=True)) if mark.made and link.kind == "tun" else ""
            to = dataclasses.replace(before, alias=alias)
            if not stays:
                to = dataclasses.replace(to, bridge=None, hairpin=False)
            if to != before:
                self._change("release", link, before, to)

    def _remove_tap(self, link: Link) -> None:
        before = _state(link)
        born = _born(link.alias, link.mac)
        restore = (operations.CreateTap(link.name, born), operations.ChangePort(link.name, before, born))
        self.difference.phases["release"].append(operations.RemoveTap(link.name, restore))
        self.difference.ports_before[link.name] = port_picture(link)

    def _change(self, phase: str, link: Link, before: PortState, to: PortState) -> None:
        self.difference.phases[phase].append(operations.ChangePort(link.name, to, before))
        self.difference.ports_before[link.name] = port_picture(link)
        self.difference.ports_after[link.name] = port_lines(to)


def _born(alias: str, mac: str) -> PortState:
    return PortState(alias, None, False, _TAP_MTU, mac, False)


def _unused_tap(link: Link, mark: PortMark) -> bool:
    return mark.made and link.kind == "tun" and not link.carrier


def _state(link: Link) -> PortState:
    return PortState(link.alias, link.master, link.up, link.mtu, link.mac, link.hairpin)
