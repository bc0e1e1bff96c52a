# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for those who look after the addresses of an interface.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import keepers as core
from .._core.links import State
from . import programs

#: Where systemd-networkd and NetworkManager write what they know of a link, by its number.
NETWORKD_LINKS = "/run/systemd/netif/links"
MANAGER_DEVICES = "/run/NetworkManager/devices"


def read(state: State, names: t.Iterable[str]) -> dict[str, str]:
    """Interface -> who looks after it, in words; of these interfaces alone."""
    wanted = [state.links[name] for name in names if name in state.links]
    if not wanted:
        return {}
    processes = list(_processes())
    found = {}
    for link in wanted:
        networkd, manager = (_keys(f"{folder}/{link.index}") for folder in (NETWORKD_LINKS, MANAGER_DEVICES))
        if manager:
            manager[core.STATE] = _asked(link.name)
        keeper = core.keeper(link.name, state.links, processes, networkd, manager)
        if keeper is not None:
            found[link.name] = keeper
    return found


def _processes() -> t.Iterator[core.Process]:
    """Those of this network alone: a container's are its own."""
    network = os.stat("/proc/self/ns/net")
    for number in filter(str.isdigit, os.listdir("/proc")):
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as handle:
                name = handle.read().rstrip("\n")
            if name not in core.PROCESSES or not os.path.samestat(network, os.stat(f"/proc/{number}/ns/net")):
                continue
            with open(f"/proc/{number}/cmdline", encoding="utf-8", errors="replace") as handle:
                yield core.Process(int(number), name, tuple(handle.read().split("\0")))


def _asked(name: str) -> str:
    """NetworkManager's own word; empty where it gives none."""
    program = programs.find("nmcli")
    return programs.run([program, "-g", core.STATE, "device", "show", name], wait=5).output if program else ""


def _keys(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return core.parse_keys(handle.read())
    except OSError:
        return {}
