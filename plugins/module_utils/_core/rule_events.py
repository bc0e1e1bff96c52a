# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel tells of commits to nf_tables: whether rules of ours are concerned, and by which program.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import struct
import typing as t

#: The kernel's group of those who want to know of each commit, 7, as its bit.
GROUP = 1 << 6

#: Our tables, chains and sets have it in their names, and so has a jump to them. What only names others is none of our
#: affair, and most of what a busy host tells.
_OURS = b"nova-"

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
#: Ends each commit, and says who made it.
_NEWGEN, _PROC_NAME = (10 << 8) | 15, 3
_FAMILY_LENGTH = 4


class Seen(t.NamedTuple):
    """Whether something of ours was added, changed or taken away, and the programs that did it."""

    ours: bool
    programs: list[str]


def read(datagrams: t.Iterable[bytes]) -> Seen:
    """What these datagrams tell, in their order."""
    programs: dict[str, None] = {}
    ours = within = False
    for datagram in datagrams:
        for kind, body in _messages(datagram):
            if kind == _NEWGEN:
                if within:
                    programs.update(dict.fromkeys(_programs(body)))
                within = False
            elif _OURS in body:
                ours = within = True
    return Seen(ours, list(programs))


def _messages(datagram: bytes) -> t.Iterator[tuple[int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(datagram):
        length, kind, _flags, _sequence, _port = _MESSAGE.unpack_from(datagram, at)
        if length < _MESSAGE.size:
            return
        yield kind, datagram[at + _MESSAGE.size : at + length]
        at += length + -length % 4


def _programs(body: bytes) -> t.Iterator[str]:
    at = _FAMILY_LENGTH
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        if kind == _PROC_NAME:
            yield body[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode("ascii", "replace")
        at += length + -length % 4
