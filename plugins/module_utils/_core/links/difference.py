# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between the plan and the kernel: the operations in their order, the risks, and the diff's text.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .kernel import SCOPE_GLOBAL, Address, Link, State
from .operations import ORDER, Enslave, Forget, Item, Move, Operation, PortState, RemoveBridge, SetSysctl, seconds
from .ways import same

#: Links as lines, by name.
Pictures = t.Mapping[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Risk:
    """A step that would cut the host off if it needs this interface, or one of these addresses on it."""

    interface: str
    what: str
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass
class Difference:
    """All that follows from the plan and the kernel's state: `changed`, the diff and the actions are read off here."""

    phases: dict[str, list[Operation]] = dataclasses.field(default_factory=lambda: {phase: [] for phase in ORDER})
    problems: list[str] = dataclasses.field(default_factory=list)
    risks: list[Risk] = dataclasses.field(default_factory=list)
    #: Bridges as lines, by name.
    before: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    after: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    #: VLAN interfaces as lines, by name.
    vlans_before: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    vlans_after: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    #: Devices of instances' ports as lines, by name.
    ports_before: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ports_after: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    #: The udev rules, where they change.
    rules_before: str = ""
    rules_after: str = ""
    #: Links of others that are set up.
    raised: list[str] = dataclasses.field(default_factory=list)
    sysctl_before: dict[str, str | None] = dataclasses.field(default_factory=dict)
    sysctl_after: dict[str, str] = dataclasses.field(default_factory=dict)

    def batches(self) -> list[list[Operation]]:
        """The operations phase by phase; a phase starts after the one before has been accepted."""
        return [self.phases[phase] for phase in ORDER if self.phases[phase]]

    @property
    def operations(self) -> list[Operation]:
        return [operation for batch in self.batches() for operation in batch]

    @property
    def moves(self) -> list[Move]:
        return [operation for operation in self.operations if isinstance(operation, Move)]

    @property
    def forgets(self) -> list[Forget]:
        return [operation for operation in self.phases["forget"] if isinstance(operation, Forget)]

    @property
    def touched(self) -> set[str]:
        """Names of what changes, links and the bridges of ports among them."""
        parts = ("name", "bridge", "interface", "before", "source", "target")
        return {
            name
            for name in (getattr(o, part, None) for o in self.operations for part in parts)
            if isinstance(name, str)
        }

    @property
    def rebridged(self) -> set[str]:
        """Interfaces that come to a bridge, leave it or change it; of guests' ports those alone whose bridge goes."""
        steps = self.operations + [step for move in self.moves for step in (move.join, move.leave) if step is not None]
        steps += [step for one in self.phases["remove"] if isinstance(one, RemoveBridge) for step in one.restore]
        return {step.interface for step in steps if isinstance(step, Enslave) and step.bridge != step.before}

    @property
    def changed(self) -> bool:
        return any(self.phases.values())

    def actions(self) -> list[str]:
        return [text for operation in self.operations for text in operation.describe()]

    def diff(self) -> dict[str, str]:
        """Before and after of what changes, for --diff."""
        return {
            "before": self._side(0, self.before, self.vlans_before, self.ports_before)
            + _settings(self.sysctl_before)
            + _file(self.rules_before),
            "after": self._side(1, self.after, self.vlans_after, self.ports_after)
            + _settings(self.sysctl_after)
            + _file(self.rules_after),
        }

    def _side(self, after: int, bridges: Pictures, vlans: Pictures, ports: Pictures) -> str:
        interfaces = self._raised(("false", "true")[after])
        links = {"interfaces": interfaces, "vlans": vlans, "bridges": bridges, "ports": ports}
        return _render(links, self._held(after))

    def _held(self, after: int) -> dict[str, list[str]]:
        """What moves, under the name that it has then."""
        held = {
            (move.source, move.target)[after]: [move.item_text(item) for item in move.items if item.add]
            for move in self.moves
        }
        if not after:
            held.update((one.interface, [Move.item_text(item) for item in one.items]) for one in self.forgets)
        return held

    def _raised(self, up: str) -> dict[str, list[str]]:
        return {name: [f"up: {up}"] for name in self.raised}


def picture(link: Link, ports: t.Sequence[Link]) -> list[str]:
    """What we know and manage of a bridge, as lines."""
    return bridge_lines(
        mark=link.alias,
        up=link.up,
        ports={port.name: port.up for port in ports},
        addresses=link.addresses,
        mtu=link.mtu,
        mac=link.mac,
        stp=link.stp,
        forward_delay=link.forward_delay,
    )


def bridge_lines(
    mark: str,
    up: bool,
    ports: t.Mapping[str, bool],
    addresses: t.Iterable[Address],
    mtu: int | None,
    mac: str | None,
    stp: bool,
    forward_delay: int | None,
) -> list[str]:
    shown = [
        address.text
        + (f" brd {address.broadcast}" if address.broadcast else "")
        + ("" if address.permanent else " dynamic")
        for address in addresses
        if address.scope == SCOPE_GLOBAL
    ]
    names = [name + ("" if is_up else " (down)") for name, is_up in sorted(ports.items())]
    return [
        f"mark: {mark}",
        f"up: {'true' if up else 'false'}",
        f"interfaces: [{', '.join(names)}]",
        f"addresses: [{', '.join(shown)}]",
        f"mtu: {mtu if mtu is not None else 'left to the kernel'}",
        f"mac: {mac or 'left to the kernel'}",
        f"stp: {'true' if stp else 'false'}",
        f"forward_delay: {seconds(forward_delay) if forward_delay is not None else 'that of the root bridge'}",
    ]


def vlan_picture(link: Link) -> list[str]:
    """What we know and manage of a VLAN interface, as lines."""
    return vlan_lines(link.alias, link.up, link.parent, link.vlan_id, link.mtu, link.mac)


def vlan_lines(mark: str, up: bool, link: str | None, number: int | None, mtu: int, mac: str) -> list[str]:
    return [
        f"mark: {mark}",
        f"up: {'true' if up else 'false'}",
        f"link: {link if link is not None else 'out of sight'}",
        f"id: {number if number is not None else 'of another kind'}",
        f"mtu: {mtu}",
        f"mac: {mac}",
    ]


def port_picture(link: Link) -> list[str]:
    """What we know and manage of an instance's port, as lines."""
    state = PortState(link.alias, link.master, link.up, link.mtu, link.mac, link.hairpin)
    return port_lines(state)


def port_lines(state: PortState) -> list[str]:
    return [
        f"mark: {state.alias}",
        f"bridge: {state.bridge or 'none'}",
        f"up: {'true' if state.up else 'false'}",
        f"mtu: {state.mtu}",
        f"mac: {state.mac or 'left to the kernel'}",
        f"hairpin: {'true' if state.hairpin else 'false'}",
    ]


def _file(text: str) -> str:
    return "".join(f"{line}\n" for line in ["udev rules:", *(f"  {line}" for line in text.splitlines())] if text)


def _settings(sysctl: t.Mapping[str, str | None]) -> str:
    lines = [f'  {key}: "{value}"\n' for key, value in sorted(sysctl.items()) if value is not None]
    return "".join(["sysctl:\n", *lines]) if sysctl else ""


def _render(links: t.Mapping[str, Pictures], held: Pictures) -> str:
    lines = []
    for name, texts in held.items():
        lines.append(f"reached over {name}:")
        lines.extend(f"- {text}" for text in texts)
    for title, pictures in links.items():
        if pictures:
            lines.append(f"{title}:")
        for name in sorted(pictures):
            lines.append(f"- name: {name}")
            lines.extend(f"  {line}" for line in pictures[name])
    return "".join(f"{line}\n" for line in lines)


def snapshot(state: State, difference: Difference) -> list[str]:
    """What the operations of `difference` may touch, as lines that are equal if nothing is different."""
    ports = state.ports()
    lines = []
    names = {**difference.before, **difference.after}
    for name in sorted(names):
        link = state.links.get(name)
        shown = ", ".join(picture(link, ports.get(name, []))) if link is not None else "absent"
        lines.append(f"bridge {name}: {shown}")
    for name in sorted({**difference.vlans_before, **difference.vlans_after}):
        link = state.links.get(name)
        # Its bridge too: what is made anew has to find back.
        shown = ", ".join([*vlan_picture(link), f"port of {link.master}"]) if link is not None else "absent"
        lines.append(f"VLAN interface {name}: {shown}")
    for name in sorted({**difference.ports_before, **difference.ports_after}):
        link = state.links.get(name)
        lines.append(f"port {name}: {', '.join(port_picture(link)) if link is not None else 'absent'}")
    if difference.rules_before != difference.rules_after:
        lines.append(f"udev rules: {state.rules!r}")
    for name in difference.raised:
        link = state.links.get(name)
        lines.append(f"interface {name}: {'absent' if link is None else 'up' if link.up else 'down'}")
    for operation in difference.operations:
        if isinstance(operation, Enslave):
            link = state.links.get(operation.interface)
            shown = "absent" if link is None else f"port of {link.master}, {'up' if link.up else 'down'}"
            lines.append(f"interface {operation.interface}: {shown}")
        elif isinstance(operation, Move):
            lines += _reached(state, operation)
        elif isinstance(operation, SetSysctl) and operation.before is not None:
            lines.append(f"sysctl {operation.key}: {state.sysctl.get(operation.key)}")
    return lines


def _reached(state: State, move: Move) -> list[str]:
    """What of the move's is where, in an order that it does not change."""
    found = []
    for name in sorted((move.source, move.target)):
        link = state.links.get(name)
        texts = [] if link is None else [address.text for address in link.addresses if address.scope == SCOPE_GLOBAL]
        texts += sorted(way.text for way in state.ways if way.interface == name)
        found.append(f"interface {name}: reached by {', '.join(texts) or 'nothing'}")
    port = (move.join or move.leave or Enslave(move.source, None)).interface
    link = state.links.get(port)
    return [*found, f"interface {port}: " + ("absent" if link is None else f"port of {link.master}")]


def lost(before: State, now: State, names: t.Iterable[str]) -> list[Operation]:
    """What puts back the addresses, routes, rules and neighbours of these links that are not there any more."""
    found: list[Operation] = []
    for name in sorted(names):
        old, new = before.links.get(name), now.links.get(name)
        if old is None or new is None:
            continue
        there = {address.text for address in new.addresses}
        gone = [a for a in old.addresses if a.scope == SCOPE_GLOBAL and a.text not in there]
        # Each family in the order in which they came.
        items = [Item(True, name, address) for address in gone if address.is_ipv4]
        items += [Item(True, name, address) for address in reversed(gone) if not address.is_ipv4]
        present = [way for way in now.ways if way.interface == name]
        ways = [way for way in before.ways if way.interface == name and not any(same(way, one) for one in present)]
        for way in sorted(ways, key=lambda way: bool(way.gateways)):
            # Of a route of several ways the others may have stayed, and it stands there once.
            items += [Item(add, name, way) for add in ((False, True) if way.several else (True,))]
        if items:
            found.append(Move(name, name, tuple(items)))
    return found
