# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's table of connections, by netlink (linux/netfilter/nfnetlink_conntrack.h): one look, and only what has to
end is taken out. The program conntrack would look through the whole table once for each address.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from .._core.connections import Connection
from .._core.errors import HostError, first_line
from .netlink.wire import ATTRIBUTE, MESSAGE, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x0101, 0x0102
_GENERIC = struct.Struct("!BBH")
_PORT = struct.Struct("!H")
#: Nested attributes, and those in network order, say so in their type.
_KIND = 0x3FFF
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_STATUS, _CTA_ID, _CTA_ZONE = 1, 2, 3, 12, 18
_STATUS = struct.Struct("!I")
_EXPECTED = 1
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
#: Of source and destination.
_CTA_IP: dict[int, tuple[int, int]] = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}
_LENGTH: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_FAMILIES: dict[int, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_ENOENT = 2
#: Deletions a datagram.
_BATCH = 200


#: How many connections of either version the network namespace has.
_COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"


def none() -> bool:
    """Whether there is no connection at all: to list none, the kernel walks through its whole table."""
    try:
        with open(_COUNT, encoding="ascii") as handle:
            return int(handle.read()) == 0
    except (OSError, ValueError):
        return False


def cut(ends: t.Callable[[Connection], bool], version: int = 4) -> int:
    """End every connection of IPv4 or IPv6 for which `ends` says so; how many there were."""
    family = _FAMILIES[version]
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
            kernel.bind((0, 0))
            doomed = [key for connection, key in _read(kernel, family) if ends(connection)]
            for start in range(0, len(doomed), _BATCH):
                _delete(kernel, family, doomed[start : start + _BATCH])
    except OSError as error:
        raise HostError(f"cannot end connections: {first_line(error)}") from error
    return len(doomed)


def _read(kernel: socket.socket, family: int) -> t.Iterator[tuple[Connection, bytes]]:
    """All connections of the family, each with the attributes by which the kernel finds it again."""
    body = _GENERIC.pack(family, 0, 0)
    kernel.send(MESSAGE.pack(MESSAGE.size + len(body), _GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    while True:
        buffer = kernel.recv(1 << 18)
        position = 0
        while position < len(buffer):
            length, kind = MESSAGE.unpack_from(buffer, position)[:2]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", buffer, position + MESSAGE.size)[0]
                raise OSError(code, "the kernel does not show its connections")
            at = _attributes(buffer, position + MESSAGE.size + _GENERIC.size, position + length)
            if _CTA_TUPLE_ORIG in at and _CTA_TUPLE_REPLY in at:
                protocol, source, destination, _from, port = _tuple(buffer, at[_CTA_TUPLE_ORIG], family)
                _same, answers, answered, answer_port, _to = _tuple(buffer, at[_CTA_TUPLE_REPLY], family)
                key = b"".join(_whole(buffer, at[kind]) for kind in (_CTA_TUPLE_ORIG, _CTA_ID, _CTA_ZONE) if kind in at)
                related = _CTA_STATUS in at and _STATUS.unpack_from(buffer, at[_CTA_STATUS] + 4)[0] & _EXPECTED
                yield (
                    Connection(protocol, source, destination, port, answers, answer_port, answered, bool(related)),
                    key,
                )
            position += (length + 3) & ~3


def _delete(kernel: socket.socket, family: int, keys: list[bytes]) -> None:
    messages = []
    for number, key in enumerate(keys, 2):
        body = _GENERIC.pack(family, 0, 0) + key
        messages.append(MESSAGE.pack(MESSAGE.size + len(body), _DELETE, NLM_F_REQUEST | NLM_F_ACK, number, 0) + body)
    kernel.send(b"".join(messages))
    answers = 0
    while answers < len(keys):
        buffer = kernel.recv(1 << 18)
        position = 0
        while position < len(buffer):
            length = MESSAGE.unpack_from(buffer, position)[0]
            code = -struct.unpack_from("=i", buffer, position + MESSAGE.size)[0]
            if code not in (0, _ENOENT):  # one that has ended by itself is as good
                raise OSError(code, "the kernel refused to end one")
            answers += 1
            position += (length + 3) & ~3


def _attributes(buffer: bytes, position: int, end: int) -> dict[int, int]:
    found = {}
    while position < end:
        length, kind = ATTRIBUTE.unpack_from(buffer, position)
        found[kind & _KIND] = position
        position += (length + 3) & ~3
    return found


def _nested(buffer: bytes, position: int) -> dict[int, int]:
    return _attributes(buffer, position + ATTRIBUTE.size, position + ATTRIBUTE.unpack_from(buffer, position)[0])


def _whole(buffer: bytes, position: int) -> bytes:
    length = ATTRIBUTE.unpack_from(buffer, position)[0]
    return buffer[position : position + ((length + 3) & ~3)]


def _tuple(buffer: bytes, position: int, family: int) -> tuple[str, str, str, int, int]:
    """Protocol, source, destination, source port and destination port of one direction."""
    at = _nested(buffer, position)
    addresses, protocol = _nested(buffer, at[_CTA_TUPLE_IP]), _nested(buffer, at[_CTA_TUPLE_PROTO])
    source, destination = (
        socket.inet_ntop(family, buffer[addresses[kind] + 4 : addresses[kind] + 4 + _LENGTH[family]])
        for kind in _CTA_IP[family]
    )
    number = buffer[protocol[_CTA_PROTO_NUM] + 4]
    ports = [
        _PORT.unpack_from(buffer, protocol[kind] + 4)[0] if kind in protocol else 0
        for kind in (_CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT)
    ]
    return _PROTOCOLS.get(number, str(number)), source, destination, ports[0], ports[1]
