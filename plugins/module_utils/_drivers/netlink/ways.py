# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes, rules and neighbours of the kernel that name an interface.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import socket

from ..._core.links import State, ways
from .wire import ROUTE, Socket

_RTM_GETROUTE, _RTM_GETNEIGH, _RTM_GETRULE = 26, 30, 34
_NTF_PROXY = 0x08
#: struct ndmsg
_NEIGHBOUR_SIZE, _FLAGS = 12, 10


def read_ways(state: State) -> list[ways.Way]:
    """Of each route one for each interface that it names; what the kernel makes by itself is partly among them."""
    names = {link.index: link.name for link in state.links.values()}
    found: list[ways.Way] = []
    with Socket() as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in kernel.dump(_RTM_GETROUTE, ROUTE.pack(family, *[0] * 8), bytes):
                found += ways.read_route(route, names)
            for rule in kernel.dump(_RTM_GETRULE, ROUTE.pack(family, *[0] * 8), bytes):
                found += ways.read_rule(rule)
        for flags in (0, _NTF_PROXY):
            question = bytearray(_NEIGHBOUR_SIZE)
            question[_FLAGS] = flags
            for neighbour in kernel.dump(_RTM_GETNEIGH, bytes(question), bytes):
                way = ways.read_neighbour(neighbour, names)
                if way is not None:
                    found.append(way)
    return found
