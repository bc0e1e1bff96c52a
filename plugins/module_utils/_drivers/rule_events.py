# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The socket by which the kernel tells of commits to nf_tables.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
import typing as t

from .._core import rule_events as core

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NO_ENOBUFS = 270, 5
_SO_MEMINFO, _MEMINFO = 55, struct.Struct("=9I")
_DATAGRAM = 1 << 16


class Events:
    """What waits in the socket of that descriptor, which somebody else goes on listening to."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        # It holds for whoever listens: systemd gives a socket up that has an error, as one that ran full has.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)

    def gather(self, quiet: float, limit: float) -> core.Seen:
        """What was told, until nothing comes for `quiet` seconds, or after `limit`. What got lost may be ours."""
        told: list[bytes] = []
        end = time.monotonic() + limit
        try:
            lost = self._read(told)
            while (left := end - time.monotonic()) > 0 and select.select([self._socket], [], [], min(quiet, left))[0]:
                lost = self._read(told) or lost
        except OSError:
            lost = True  # it tells nothing any more, whatever happened meanwhile
        seen = core.read(told)
        # Nothing to be read: it was somebody's error or call that woke us.
        return core.Seen(seen.ours or lost or not told, seen.programs)

    def _read(self, told: list[bytes]) -> bool:
        """Add what waits now; whether something got lost."""
        dropped, lost = self._memory()
        while True:
            try:
                told.append(self._socket.recv(_DATAGRAM))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
        return lost or self._memory()[0] != dropped

    def _memory(self) -> tuple[int, bool]:
        """How much was dropped so far, and whether so much waits that more may have been before it was read."""
        try:
            answer = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            used, size, *_rest, dropped = _MEMINFO.unpack(answer)
        except (OSError, struct.error):
            return 0, True
        return dropped, used > size // 2


def are_told() -> bool:
    """Whether this kernel tells of commits at all."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as trial:
            trial.bind((0, core.GROUP))
    except OSError:
        return False
    return True


def given(environment: t.Mapping[str, str]) -> int | None:
    """The descriptor of the socket that systemd hands over."""
    return 3 if environment.get("LISTEN_FDS", "0") != "0" else None
