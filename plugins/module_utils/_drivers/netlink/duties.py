# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host itself needs of its links: its routes, and the connection that this run came over.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import socket

from ..._core.links import Duties, State
from .wire import HALF, ROUTE, Socket, attribute, attributes, u32, value

_RTM_GETROUTE = 26
_RTN_UNICAST, _RTPROT_KERNEL, _RTPROT_RA, _RTNH_SIZE = 1, 2, 9, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 7, 9


def read_duties(state: State, connection_address: str | None = None) -> Duties:
    """Which interfaces carry the default route or the connection that this run came over."""
    names = {link.index: link.name for link in state.links.values()}
    holders = {address.local: link.name for link in state.links.values() for address in link.addresses}
    carried: dict[str, str] = {}
    heard: dict[str, str] = {}
    sources: set[tuple[str, str]] = set()
    with Socket() as kernel:
        for route in kernel.dump(_RTM_GETROUTE, ROUTE.pack(*[0] * 9), bytes):
            _route(route, names, carried, heard, sources)
    carried = {**heard, **carried}
    reached_by = {connection_address} if connection_address is not None else set()
    ssh = _ssh_connection()
    if ssh is not None:
        client, server = ssh
        address, _percent, zone = server.partition("%")
        reached_by.add(address)
        if zone in state.links:
            carried[zone] = f"the Ansible connection (to {server})"
        towards = names.get(_route_to(client.partition("%")[0]))
        if towards is not None and not state.links[towards].loopback:
            carried[towards] = f"the Ansible connection (from {client})"
    for address in reached_by:
        # An IPv6 link-local address may stand on several interfaces; the zone above says which one counts.
        if address in holders and not address.startswith("fe80:"):
            carried[holders[address]] = f"the Ansible connection (to {address})"
    advertised = frozenset(name for name, what in heard.items() if carried[name] is what)
    return Duties(carried, frozenset(reached_by), frozenset(sources), advertised)


def _route(
    buffer: bytes,
    names: dict[int, str],
    carried: dict[str, str],
    heard: dict[str, str],
    sources: set[tuple[str, str]],
) -> None:
    family, length, _from, _tos, _table, protocol, _scope, kind, _flags = ROUTE.unpack_from(buffer)
    if kind != _RTN_UNICAST or (length and protocol == _RTPROT_KERNEL):
        return
    at = attributes(buffer, 12, len(buffer))
    ways = [at]
    if _RTA_MULTIPATH in at:
        ways = _hops(buffer, at[_RTA_MULTIPATH])
    for way in ways:
        out = way.get(_RTA_OIF, at.get(_RTA_OIF))
        name = names.get(u32(buffer, out)) if out is not None else None
        if name is None:
            continue
        if _RTA_PREFSRC in at and protocol != _RTPROT_KERNEL:
            sources.add((name, socket.inet_ntop(family, value(buffer, at[_RTA_PREFSRC]))))
        if not length and family in (socket.AF_INET, socket.AF_INET6):
            via = way.get(_RTA_GATEWAY)
            towards = f" via {socket.inet_ntop(family, value(buffer, via))}" if via is not None else ""
            (heard if protocol == _RTPROT_RA else carried).setdefault(name, f"the default route{towards}")


def _hops(buffer: bytes, position: int) -> list[dict[int, int]]:
    """The ways of a route with several; each with its interface in place of RTA_OIF."""
    found = []
    end = position + HALF.unpack_from(buffer, position)[0]
    position += 4
    while position + _RTNH_SIZE <= end:
        length = HALF.unpack_from(buffer, position)[0]
        if length < _RTNH_SIZE:
            break
        way = attributes(buffer, position + _RTNH_SIZE, position + length)
        way[_RTA_OIF] = position  # the index stands in the second word, as in an attribute
        found.append(way)
        position += (length + 3) & ~3
    return found


def _route_to(address: str) -> int:
    """Index of the interface by which this host answers an address; 0 if none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except OSError:
        return 0
    body = ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, packed)
    with Socket() as kernel:
        answer = kernel.ask(_RTM_GETROUTE, body)
    if answer is None:
        return 0
    out = attributes(answer, 12, len(answer)).get(_RTA_OIF)
    return u32(answer, out) if out is not None else 0


def _ssh_connection() -> tuple[str, str] | None:
    """Client and server address of the SSH session that this process runs in.

    Asked of the ancestors too: sudo drops the variable.
    """
    text = os.environ.get("SSH_CONNECTION")
    process = os.getpid()
    while not text and process > 1:
        parent = _parent(process)
        if parent == process:
            break
        process = parent
        text = _variable(process, b"SSH_CONNECTION")
    words = (text or "").split()
    return (words[0], words[2]) if len(words) == 4 else None


def _parent(process: int) -> int:
    try:
        with open(f"/proc/{process}/stat", "rb") as handle:
            # The command stands in parentheses and may hold any character, a parenthesis too.
            return int(handle.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _variable(process: int, name: bytes) -> str | None:
    try:
        with open(f"/proc/{process}/environ", "rb") as handle:
            settings = handle.read().split(b"\0")
    except OSError:
        return None
    for setting in settings:
        key, _equals, value = setting.partition(b"=")
        if key == name:
            return value.decode("utf-8", "replace")
    return None
