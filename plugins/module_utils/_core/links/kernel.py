# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel has of interfaces, addresses and settings, as values.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .ways import Way

#: Scope and flags of an address, and the lifetime of one that stays (linux/rtnetlink.h, if_addr.h).
SCOPE_GLOBAL = 0
SECONDARY, PERMANENT = 0x01, 0x80
FOREVER = 0xFFFFFFFF


@dataclasses.dataclass
class Address:
    """An address of an interface. (Not frozen: a host has thousands, and a frozen one costs three times as much.)"""

    local: str
    prefix: int
    broadcast: str | None = None
    peer: str | None = None
    scope: int = SCOPE_GLOBAL
    flags: int = PERMANENT
    label: str | None = None
    preferred: int = FOREVER
    valid: int = FOREVER
    metric: int = 0

    @property
    def text(self) -> str:
        if self.peer is not None:
            return f"{self.local} peer {self.peer}/{self.prefix}"
        return f"{self.local}/{self.prefix}"

    @property
    def is_ipv4(self) -> bool:
        return ":" not in self.local

    @property
    def permanent(self) -> bool:
        return bool(self.flags & PERMANENT)


@dataclasses.dataclass
class Link:
    """An interface as the kernel has it."""

    name: str
    index: int
    kind: str = ""
    ethernet: bool = True
    loopback: bool = False
    up: bool = True
    mtu: int = 1500
    mac: str = ""
    #: The one that its maker gave it; empty where the kernel does not tell.
    permanent_mac: str = ""
    #: Further names by which it can be asked for.
    alternatives: t.Sequence[str] = ()
    master: str | None = None
    alias: str = ""
    stp: bool = False
    #: What it stands on, for the kinds that are gone when that goes, VLAN interfaces among them.
    parent: str | None = None
    #: The 802.1Q number of a VLAN interface; None for another kind of tag.
    vlan_id: int | None = None
    #: Of a bridge's port: whether a frame may go back out of it.
    hairpin: bool = False
    #: Of a tap: whether a process has it open.
    carrier: bool = False
    #: 1/100 s; None while another bridge is its root, whose delay the kernel then shows (and keeps when STP ends).
    forward_delay: int | None = 0
    addresses: list[Address] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class State:
    """What the kernel has. A sysctl that it does not know is None."""

    links: dict[str, Link] = dataclasses.field(default_factory=dict)
    sysctl: dict[str, str | None] = dataclasses.field(default_factory=dict)
    #: Links whose default route is from router advertisements, which a host that forwards IPv6 heeds no more.
    advertised: tuple[str, ...] = ()
    #: Routes, rules and neighbours; read only where addresses are to move.
    ways: list[Way] = dataclasses.field(default_factory=list)
    #: Our file of udev rules, empty where it is not there; None on a host without udev.
    rules: str | None = None

    def ports(self) -> dict[str, list[Link]]:
        """The ports of every link that has some."""
        found: dict[str, list[Link]] = {}
        for link in self.links.values():
            if link.master is not None:
                found.setdefault(link.master, []).append(link)
        return found

    def standing(self) -> dict[str, list[Link]]:
        """What stands on every link that carries some: it goes when that goes."""
        found: dict[str, list[Link]] = {}
        for link in self.links.values():
            if link.parent is not None:
                found.setdefault(link.parent, []).append(link)
        return found
