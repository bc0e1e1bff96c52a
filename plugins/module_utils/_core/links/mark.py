# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mark by which a link is ours: its alias, which on a bridge names what on it is ours as well.

The device of an instance's port is marked too: it was plugged into its bridge by us, and perhaps made by us.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ..naming import OWNER_ALIAS
from .kernel import Link

#: What we make; the mark on anything else says nothing.
KINDS = ("bridge", "vlan")

#: A VLAN interface is ours as a whole, so its mark names nothing more.
VLAN_MARK = OWNER_ALIAS

#: IFALIASZ of the kernel, less the closing zero byte.
ALIAS_MAX = 255


class Mark(t.NamedTuple):
    """What the alias of a bridge of ours names as ours.

    `complete` is False for the bare word, by which an operator hands a bridge over.
    """

    interfaces: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    complete: bool = True
    #: The interface whose addresses and routes were moved to the bridge.
    moved: str | None = None


def render_mark(mark: Mark) -> str:
    text = f"{OWNER_ALIAS} interfaces={','.join(mark.interfaces)} addresses={','.join(mark.addresses)}"
    return text if mark.moved is None else f"{text} moved={mark.moved}"


def parse_mark(alias: str) -> Mark | None:
    """What the alias says, None where the link is not ours."""
    owner, *words = alias.split(" ")
    if owner != OWNER_ALIAS:
        return None
    named = {key: tuple(filter(None, names.split(","))) for key, _equals, names in (w.partition("=") for w in words)}
    complete = {"interfaces", "addresses"} <= named.keys()
    moved = named.get("moved", ())
    return Mark(named.get("interfaces", ()), named.get("addresses", ()), complete, moved[0] if moved else None)


class PortMark(t.NamedTuple):
    """What the alias of an instance's port says: the bridge that we plugged it into (empty: none any more)."""

    bridge: str
    #: Whether it is a tap that we made.
    made: bool = False


def render_port_mark(mark: PortMark) -> str:
    return f"{OWNER_ALIAS} {'tap' if mark.made else 'port'}={mark.bridge}"


def parse_port_mark(link: Link) -> PortMark | None:
    """What the alias of the link says of a port, None where it is none of ours."""
    for word, made in (("port", False), ("tap", True)):
        owner, found, bridge = link.alias.partition(f" {word}=")
        if found and owner == OWNER_ALIAS and link.kind not in KINDS:
            return PortMark(bridge, made)
    return None


def is_ours(link: Link) -> bool:
    return link.kind in KINDS and parse_mark(link.alias) is not None
