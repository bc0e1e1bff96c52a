# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of attributes off many messages that look alike.

A thousand links have a hundred thousand attributes, and walking along them is most of what reading costs. But the links
of a host have a few layouts: where the headers of all attributes stand and what they say. So a message is walked once,
and of each further one a single look at all the headers shows that walking it would lead to the same places.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import struct
import typing as t

from .wire import ATTRIBUTE

#: How the value of an attribute is read: bytes as they are, a text that ends with a zero byte, a number.
RAW, TEXT, BYTE, U32 = "s", "text", "B", "I"

#: Name and form of the value by the attribute's kind, or what is wanted of the attributes that are nested in it.
Wanted = t.Mapping[int, t.Union[tuple[str, str], "Wanted"]]


class _Layout:
    """One way in which a message can be laid out."""

    def __init__(self, message: bytes, start: int, wanted: Wanted) -> None:
        headers: list[int] = []
        values: list[tuple[int, int, str, str]] = []
        _walk(message, start, len(message), wanted, headers, values)
        self._headers = _compile([(position, "HH") for position in headers])
        self._expected = self._headers.unpack_from(message)
        values.sort()
        self._values = _compile(
            [(position, f"{size}s" if form in (RAW, TEXT) else form) for position, size, _name, form in values]
        )
        self._names = [name for _position, _size, name, _form in values]
        self._texts = [name for _position, _size, name, form in values if form == TEXT]

    def fits(self, message: bytes) -> bool:
        """Whether walking this message, of the same length, would find the same."""
        return self._headers.unpack_from(message) == self._expected

    def read(self, message: bytes) -> dict[str, t.Any]:
        found = dict(zip(self._names, self._values.unpack_from(message)))
        for name in self._texts:
            found[name] = found[name].rstrip(b"\0").decode("utf-8", "replace")
        return found


class Reader:
    """Reads the wanted values off messages whose attributes begin at `start`; what a message lacks is left out."""

    def __init__(self, start: int, wanted: Wanted) -> None:
        self._start = start
        self._wanted = wanted
        #: By the length of the message; the one met last stands first, since links that look alike come together.
        self._layouts: dict[int, list[_Layout]] = {}

    def __call__(self, message: bytes) -> dict[str, t.Any]:
        known = self._layouts.setdefault(len(message), [])
        for number, layout in enumerate(known):
            if layout.fits(message):
                if number:
                    known.insert(0, known.pop(number))
                return layout.read(message)
        known.insert(0, _Layout(message, self._start, self._wanted))
        return known[0].read(message)


def _walk(
    message: bytes,
    position: int,
    end: int,
    wanted: Wanted,
    headers: list[int],
    values: list[tuple[int, int, str, str]],
) -> None:
    """Note the headers on the way and the places of the wanted values; no further than the last that can be there."""
    missing = len(wanted)
    while missing and position + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(message, position)
        if length < ATTRIBUTE.size:
            return
        headers.append(position)
        what = wanted.get(kind)
        inside = position + ATTRIBUTE.size
        if isinstance(what, tuple):
            values.append((inside, length - ATTRIBUTE.size, *what))
            missing -= 1
        elif what is not None:
            _walk(message, inside, position + length, what, headers, values)
            missing -= 1
        position += (length + 3) & -4


def _compile(parts: t.Iterable[tuple[int, str]]) -> struct.Struct:
    """What reads all parts, each at its place, at once."""
    text, position = "=", 0
    for place, form in parts:
        text += f"{place - position}x{form}"
        position = place + struct.calcsize(f"={form}")
    return struct.Struct(text)
