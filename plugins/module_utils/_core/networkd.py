# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that keeps systemd-networkd away from our interfaces.

It configures whatever one of its files matches, and a host's `[Match] Name=*` matches our bridges and guests' ports:
it takes their addresses away and the ports out of their bridges. The first file that matches wins (systemd.network(5)),
so ours comes first and names our interfaces alone.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import fnmatch
import typing as t

from .links import Plan

#: Sorted before what an administrator, netplan or an image has there.
FILE = "/etc/systemd/network/00-tenantnet.network"

#: The guests' ports as nova names them: "tap" and the first eleven characters of a UUID.
PORTS = "tap????????-??"

_HEAD = "# Written by tenantnet.nova, which keeps these interfaces itself. Whatever is changed here is lost.\n[Match]\n"


def ours(want: Plan) -> list[str]:
    """Names of the interfaces that the plan has a say in.

    Without those whose addresses move to a bridge: should that be taken back, they have to be somebody's again.
    """
    enslaved = [name for bridge in want.bridges for name in bridge.interfaces if name != bridge.moved]
    own = [bridge.name for bridge in want.bridges] + [vlan.name for vlan in want.vlans]
    return own + enslaved + [port.name for port in want.ports]


def text(names: t.Iterable[str]) -> str | None:
    """The file for interfaces of these names and guests' ports; None where there are none."""
    given = set(names)
    # Sorted, so that the order of a plan makes no difference.
    lines = [f"Name={name}\n" for name in sorted(given) if not fnmatch.fnmatchcase(name, PORTS)]
    return f"{_HEAD}Name={PORTS}\n{''.join(lines)}\n[Link]\nUnmanaged=yes\n" if given else None


def names(text: str | None) -> list[str]:
    """The interfaces that such a file names, without the ports."""
    lines = (text or "").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith("Name=") and line != f"Name={PORTS}"]


def actions(before: str | None, after: str | None) -> list[str]:
    """What the change from one text to the other means."""
    old, new = names(before), names(after)
    said = []
    if coming := [name for name in new if name not in set(old)]:
        said.append(f"keep systemd-networkd away from {', '.join(coming)}")
    if going := [name for name in old if name not in set(new)]:
        said.append(f"no longer keep systemd-networkd away from {', '.join(going)}")
    return said or ["write the file that keeps systemd-networkd away anew"]
