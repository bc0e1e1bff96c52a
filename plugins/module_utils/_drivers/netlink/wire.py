# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A route netlink socket, and the messages' outer form (linux/netlink.h): headers and attributes.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
import typing as t

from ..._core.errors import HostError, first_line

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
#: Of an acknowledgement: the kernel's own words.
_NLMSGERR_ATTR_MSG = 1

#: Seconds within which a table has to stand still for once: that of addresses changes while IPv6 looks for duplicates
#: of those of hundreds of new interfaces.
_STANDSTILL = 15

#: linux/if.h and if_addr.h: what both reading and writing name.
IFF_UP = 0x1
IFA_METRIC = 9

#: struct nlmsghdr, ifinfomsg, ifaddrmsg, rtmsg, nlattr.
MESSAGE = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
ATTRIBUTE = struct.Struct("=HH")
HALF = struct.Struct("=H")
U32 = struct.Struct("=I")


Taken = t.TypeVar("Taken")


class _Interrupted(Exception):
    """The kernel's table changed while it was being dumped."""


class Socket:
    """A route netlink socket of this process's network namespace.

    `strict`: a dump is of what its request names alone, where the kernel is not too old for that.
    """

    def __init__(self, strict: bool = False) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._socket.bind((0, 0))
        except OSError as error:
            raise HostError(f"cannot open a netlink socket: {first_line(error)}") from error
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, *([_NETLINK_GET_STRICT_CHK] if strict else [])):
            with contextlib.suppress(OSError):  # an old kernel: its refusals come without words
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes, take: t.Callable[[bytes], Taken]) -> list[Taken]:
        """What `take` makes of the body of each answer, as they come: all of them are megabytes."""
        end, pause = time.monotonic() + _STANDSTILL, 0.01
        while True:
            try:
                return self._dump(kind, body, take)
            except _Interrupted:
                if time.monotonic() > end:
                    raise HostError(
                        "cannot read the kernel's network tables: they change faster than they can be read; try again"
                    ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _dump(self, kind: int, body: bytes, take: t.Callable[[bytes], Taken]) -> list[Taken]:
        self._sequence += 1
        request = MESSAGE.pack(MESSAGE.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + body
        found: list[Taken] = []
        interrupted = False
        try:
            self._socket.send(request)
            while True:
                buffer = self._socket.recv(1 << 18)
                position, end = 0, len(buffer)
                while position < end:
                    length, answer, flags, sequence, _port = MESSAGE.unpack_from(buffer, position)
                    if sequence == self._sequence:
                        interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                        if answer == NLMSG_DONE:
                            if interrupted:
                                raise _Interrupted
                            return found
                        if answer == NLMSG_ERROR:
                            code = -struct.unpack_from("=i", buffer, position + 16)[0]
                            raise OSError(code, os.strerror(code))
                        found.append(take(buffer[position + 16 : position + length]))
                    position += (length + 3) & ~3
        except OSError as error:
            raise HostError(f"cannot read the kernel's network tables: {first_line(error)}") from error

    def ask(self, kind: int, body: bytes) -> bytes | None:
        """The body of the one answer to a question, None where the kernel has none."""
        self._sequence += 1
        request = MESSAGE.pack(MESSAGE.size + len(body), kind, NLM_F_REQUEST, self._sequence, 0) + body
        try:
            self._socket.send(request)
            buffer = self._socket.recv(1 << 16)
        except OSError as error:
            raise HostError(f"cannot ask the kernel: {first_line(error)}") from error
        length, answer = MESSAGE.unpack_from(buffer)[:2]
        return None if answer == NLMSG_ERROR else buffer[16:length]

    def request(self, messages: t.Sequence[bytearray]) -> dict[int, str]:
        """Send all in one datagram; return the reason for each that was refused, by its number.

        Only the last one asks for an acknowledgement: the kernel answers in order, refusals are always answered,
        and so silence before the last answer means that all others were accepted.
        """
        first = self._sequence + 1
        for number, message in enumerate(messages):
            _length, kind, flags, _sequence, _port = MESSAGE.unpack_from(message)
            if number == len(messages) - 1:
                flags |= NLM_F_ACK
            MESSAGE.pack_into(message, 0, len(message), kind, flags, first + number, 0)
        last = self._sequence = first + len(messages) - 1
        refused: dict[int, str] = {}
        try:
            self._socket.send(b"".join(messages))
            while True:
                buffer = self._socket.recv(1 << 18)
                position = 0
                while position < len(buffer):
                    length, kind, flags, sequence, _port = MESSAGE.unpack_from(buffer, position)
                    if kind == NLMSG_ERROR and first <= sequence <= last:
                        code = -struct.unpack_from("=i", buffer, position + 16)[0]
                        if code:
                            refused[sequence - first] = _reason(code, flags, buffer, position, position + length)
                        if sequence == last:
                            return refused
                    position += (length + 3) & ~3
        except OSError as error:
            # Too large a datagram, or no memory for the answers: take all as refused, so that all are put back.
            return {number: first_line(error) for number in range(len(messages))}


def _reason(code: int, flags: int, buffer: bytes, start: int, end: int) -> str:
    """The kernel's refusal, in its own words where it has some."""
    text = os.strerror(code)
    if flags & NLM_F_ACK_TLVS:
        offset = start + 36
        if not flags & NLM_F_CAPPED:
            offset = start + 20 + MESSAGE.unpack_from(buffer, start + 20)[0]
        said = attributes(buffer, offset, end).get(_NLMSGERR_ATTR_MSG)
        if said is not None:
            text += f": {string(buffer, said)}"
    return text


def attributes(buffer: bytes, position: int, end: int) -> dict[int, int]:
    """Where each attribute begins. (Of no flag bits: the kernel promises that these old attributes never get any.)"""
    found = {}
    unpack = ATTRIBUTE.unpack_from
    while position < end:
        length, kind = unpack(buffer, position)
        found[kind] = position
        position += (length + 3) & -4
    return found


def message(kind: int, flags: int, body: bytes) -> bytearray:
    """For `Socket.request`, which gives it its number."""
    return bytearray(MESSAGE.pack(MESSAGE.size + len(body), kind, flags, 0, 0) + body)


def attribute(kind: int, content: bytes) -> bytes:
    length = ATTRIBUTE.size + len(content)
    return ATTRIBUTE.pack(length, kind) + content + b"\0" * (-length % 4)


def value(buffer: bytes, position: int) -> bytes:
    return buffer[position + 4 : position + HALF.unpack_from(buffer, position)[0]]


def nested(buffer: bytes, position: int) -> dict[int, int]:
    return attributes(buffer, position + 4, position + HALF.unpack_from(buffer, position)[0])


def string(buffer: bytes, position: int) -> str:
    return buffer[position + 4 : buffer.index(0, position + 4)].decode("utf-8", "replace")


def u32(buffer: bytes, position: int) -> int:
    value: int = U32.unpack_from(buffer, position + 4)[0]
    return value
