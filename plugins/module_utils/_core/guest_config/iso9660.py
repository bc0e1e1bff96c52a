# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small ISO 9660 image: a few files in one folder, under their own names for Linux, the BSDs and Windows.

Written here because an image must not depend on the moment: the libraries for it put the clock into each record, and
then no second run would find the image as it is. The names stand there three times, once in each way of reading them:
plain ISO 9660, Rock Ridge and Joliet.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re
import struct
import typing as t

SECTOR = 2048

# Both volume descriptors, their end, and each one's path table in both byte orders follow the unused system area.
_PRIMARY, _JOLIET, _END, _TABLES, _ROOTS = 16, 17, 18, 19, 23
_FIRST_FILE = _ROOTS + 2

_FOLDER, _FILE = 2, 0
_FOLDER_MODE, _FILE_MODE = 0o040555, 0o100444
_SELF, _PARENT = b"\x00", b"\x01"
_DATE = bytes([80, 1, 1, 0, 0, 0, 0])  # 1 January 1980, midnight, UTC
_NO_DATE = b"0" * 16 + b"\x00"
_UCS2_LEVEL_3 = b"%/E"


class _Entry(t.NamedTuple):
    name: str
    sector: int
    size: int


def image(label: str, files: t.Mapping[str, bytes]) -> bytes:
    """The image. The label has at most 16 characters; the folder must fit one sector, which ten short names do."""
    entries = []
    sector = _FIRST_FILE
    for name in sorted(files):
        entries.append(_Entry(name, sector, len(files[name])))
        sector += _sectors(len(files[name]))
    sectors = [
        bytes(SECTOR * _PRIMARY),
        _descriptor(1, label.encode("ascii"), b"", sector, _TABLES, _ROOTS),
        _descriptor(2, label.encode("utf-16-be"), _UCS2_LEVEL_3, sector, _TABLES + 2, _ROOTS + 1),
        b"\xffCD001\x01",
        *(_path_table(order, root) for root in (_ROOTS, _ROOTS + 1) for order in "<>"),
        _folder(_ROOTS, [(_plain(entry.name), entry, _rock_ridge_file(entry.name)) for entry in entries], True),
        _folder(_ROOTS + 1, [(_joliet(entry.name), entry, b"") for entry in entries], False),
        *(files[entry.name] for entry in entries),
    ]
    return b"".join(_padded(part) for part in sectors)


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _padded(part: bytes) -> bytes:
    return part.ljust(_sectors(len(part)) * SECTOR, b"\x00")


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both32(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _descriptor(kind: int, label: bytes, escapes: bytes, sectors: int, tables: int, root: int) -> bytes:
    def blank(size: int) -> bytes:
        return (b"\x00 " * (size // 2)).ljust(size, b"\x00") if escapes else b" " * size

    return b"".join(
        [
            bytes([kind]) + b"CD001" + b"\x01" + b"\x00",
            blank(32) + label + blank(32 - len(label)),  # system, volume
            bytes(8) + _both32(sectors) + escapes.ljust(32, b"\x00"),
            _both16(1) + _both16(1) + _both16(SECTOR),  # volumes in the set, which one, size of a block
            _both32(len(_path_table("<", root))),
            struct.pack("<II", tables, 0) + struct.pack(">II", tables + 1, 0),
            _record(_SELF, root, SECTOR, _FOLDER, b""),
            blank(128) * 4 + blank(37) * 3,  # set, publisher, preparer, application; copyright, abstract, bibliography
            _NO_DATE * 4 + b"\x01\x00",
        ]
    )


def _path_table(order: str, root: int) -> bytes:
    return struct.pack(f"{order}BBIH2s", 1, 0, root, 1, b"\x00\x00")


def _folder(sector: int, entries: list[tuple[bytes, _Entry, bytes]], rock_ridge: bool) -> bytes:
    own = _attributes(_FOLDER_MODE, 2) if rock_ridge else b""
    records = [
        _record(_SELF, sector, SECTOR, _FOLDER, _ROCK_RIDGE_BEGIN + own + _ROCK_RIDGE_NAME if rock_ridge else b""),
        _record(_PARENT, sector, SECTOR, _FOLDER, own),
    ]
    for name, entry, more in sorted(entries):
        records.append(_record(name, entry.sector, entry.size, _FILE, more))
    folder = b"".join(records)
    if len(folder) > SECTOR:
        raise ValueError("too many files for a folder of one sector")
    return folder


def _record(name: bytes, sector: int, size: int, flags: int, more: bytes) -> bytes:
    """A directory record; its length and that of its name, with the padding, are even."""
    body = _both32(sector) + _both32(size) + _DATE + bytes([flags, 0, 0]) + _both16(1) + bytes([len(name)]) + name
    body += b"\x00" * (len(body) % 2) + more
    body += b"\x00" * (len(body) % 2)
    return bytes([len(body) + 2, 0]) + body


def _plain(name: str) -> bytes:
    return re.sub(r"[^A-Z0-9]", "_", name.upper()).encode("ascii") + b".;1"


def _joliet(name: str) -> bytes:
    return name.encode("utf-16-be")


def _rock_ridge(signature: bytes, content: bytes) -> bytes:
    return signature + bytes([len(content) + 4, 1]) + content


def _attributes(mode: int, names: int) -> bytes:
    """Mode, number of names, and root as owner and group."""
    return _rock_ridge(b"PX", _both32(mode) + _both32(names) + _both32(0) + _both32(0))


def _rock_ridge_file(name: str) -> bytes:
    return _attributes(_FILE_MODE, 1) + _rock_ridge(b"NM", b"\x00" + name.encode())


_ROCK_RIDGE_BEGIN = _rock_ridge(b"SP", b"\xbe\xef\x00")
_ROCK_RIDGE_NAME = _rock_ridge(b"ER", bytes([10, 0, 0, 1]) + b"RRIP_1991A")
