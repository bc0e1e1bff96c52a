# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's interfaces by the names that the kernel has for them now, known by what was kept at the last apply.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import typing as t

from .._core import naming, renamed
from .._core.errors import HostError
from .._core.links import Link
from . import files, netlink

FILE = f"{naming.STATE_DIR}/interfaces.json"

_SIOCGIFHWADDR = 0x8927

Part = t.TypeVar("Part")


def present(part: Part) -> tuple[Part, list[str]]:
    """The plan, or a section of it, in present names; and what the operator is to be told of those that changed."""
    found = renames(renamed.named(part))
    return renamed.replace(part, found), [renamed.told(name, now) for name, now in found.items()]


def renames(names: t.Sequence[str], links: t.Mapping[str, Link] | None = None) -> dict[str, str]:
    """Present name by planned name, where they differ. HostError where that cannot be told."""
    if not names:
        return {}
    macs = known()
    if links is None:
        there = {name for _index, name in socket.if_nameindex()}
        # Nearly always all is as it was, which is seen without reading every link.
        if all(name in there and (name not in macs or _mac(name) == macs[name]) for name in names):
            return {}
        links = netlink.read().links
    return renamed.find(names, links, macs)


def of_host(links: t.Mapping[str, Link]) -> dict[str, str]:
    """Present name by the name that the recorded plan has, for what was renamed and can be told."""
    found = {}
    for name in known():
        # Whoever plans with it is told then that it is not unique.
        with contextlib.suppress(HostError):
            found.update(renames([name], links))
    return found


def known() -> dict[str, str]:
    """The MAC address that each interface of the recorded plan had, by its planned name."""
    text = files.read(FILE)
    if text is None:
        return {}
    try:
        return {str(name): str(mac) for name, mac in json.loads(text).items()}
    except (ValueError, AttributeError):
        return {}  # it can only help to find what was renamed, and the next run writes it anew


def text_of(part: t.Any) -> str:
    """What is to be kept of the interfaces that the plan names, as the file has it."""
    macs = known()
    names = renamed.named(part)
    found = {name: macs[name] for name in names if name in macs}
    if any(name not in macs or _mac(name) != macs[name] for name in names):
        links = netlink.read().links
        now = renamed.find(names, links, macs)
        for name in names:
            link = links.get(now.get(name, name))
            if link is not None and renamed.mac(link):
                found[name] = renamed.mac(link)
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _mac(name: str) -> str:
    """The interface's MAC address, empty where it cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFHWADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return ""
    return answer[18:24].hex(":")
