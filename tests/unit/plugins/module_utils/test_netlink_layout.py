# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages that look alike are read by what one of them showed, and only those."""

from __future__ import annotations

import random
import struct
import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.netlink.layout import BYTE, RAW, TEXT, U32, Reader

WANTED = {1: ("address", RAW), 3: ("name", TEXT), 4: ("mtu", U32), 18: {1: ("kind", TEXT), 2: {5: ("stp", BYTE)}}}
START = 16


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(*attributes: bytes) -> bytes:
    return b"\xff" * START + b"".join(attributes)


def test_a_message_of_the_same_length_that_is_laid_out_otherwise() -> None:
    read = Reader(START, WANTED)
    name, mtu, address = attribute(3, b"br0\0"), attribute(4, struct.pack("=I", 1500)), attribute(1, b"\1\2\3\4")
    assert read(message(name, mtu, address)) == {"name": "br0", "mtu": 1500, "address": b"\1\2\3\4"}
    assert read(message(name, address, mtu)) == {"name": "br0", "mtu": 1500, "address": b"\1\2\3\4"}
    assert read(message(attribute(3, b"br1\0"), mtu, attribute(1, b"\1\2\3"))) == {
        "name": "br1",
        "mtu": 1500,
        "address": b"\1\2\3",
    }
    assert read(message(name, attribute(9, b"\0\0\0\0"), address)) == {"name": "br0", "address": b"\1\2\3\4"}


def test_a_value_that_looks_like_a_header_is_none() -> None:
    read = Reader(START, WANTED)
    assert read(message(attribute(9, b"\0\0\0\0"), attribute(4, b"\1\0\0\0"))) == {"mtu": 1}
    assert read(message(attribute(9, b"\0\0\0\0" + attribute(4, b"\1\0\0\0")))) == {}
    assert read(message(attribute(18, attribute(2, attribute(5, b"\1"))))) == {"stp": 1}
    assert read(message(attribute(17, attribute(2, attribute(5, b"\1"))))) == {}


def test_nothing_follows_from_a_header_without_length() -> None:
    assert Reader(START, WANTED)(message(attribute(3, b"br0\0"), b"\0" * 8)) == {"name": "br0"}


def test_any_messages_are_read_as_by_walking_each() -> None:
    draw = random.Random(1)
    read = Reader(START, WANTED)
    met = 0
    for _number in range(3000):
        parts = []
        for _part in range(draw.randrange(4)):
            kind = draw.choice((1, 3, 4, 9, 18))
            value = draw.choice((b"\4\0\4\0", b"\5\0\3\0", b"ab\0\0", b"\x0a\0\0\0"))
            if kind == 18:
                value = attribute(draw.choice((1, 3)), b"tun\0") + attribute(2, attribute(draw.choice((5, 6)), b"\1"))
            if kind not in (struct.unpack_from("=HH", part)[1] for part in parts):
                parts.append(attribute(kind, value))
        drawn = message(*parts)
        assert read(drawn) == walked(drawn)
        met += bool(parts)
    assert met


def walked(drawn: bytes) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for kind, value in attributes(drawn[START:]):
        if kind == 1:
            found["address"] = value
        elif kind == 3:
            found["name"] = value.rstrip(b"\0").decode()
        elif kind == 4:
            found["mtu"] = struct.unpack("=I", value)[0]
        elif kind == 18:
            for inner, within in attributes(value):
                if inner == 1:
                    found["kind"] = within.rstrip(b"\0").decode()
                elif inner == 2:
                    found.update(("stp", each[0]) for number, each in attributes(within) if number == 5)
    return found


def attributes(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        yield kind, data[position + 4 : position + length]
        position += (length + 3) & -4
