# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our tables of nftables as the kernel holds them, by netlink (linux/netfilter/nf_tables.h).

The program nft reads all sets of a host whatever it is asked for, which with ten thousand addresses takes it some
tenths of a second. Here an element is read off by the shape of the first of its kind.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re
import socket
import struct
import typing as t

from ..._core import addressing
from ..._core.errors import HostError, first_line
from ..._core.nftables import NAME, HeldChain, HeldSet, HeldTable
from ..netlink.wire import (
    ATTRIBUTE,
    MESSAGE,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
)

#: Numbers of the families: each but the bridge's own also sees what is in `inet`.
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_INET = 1
#: Families in which others' chains meet packets of these versions.
_MEETING = (
    (socket.AF_INET, "ip", frozenset({4})),
    (socket.AF_INET6, "ip6", frozenset({6})),
    (_INET, "inet", frozenset({4, 6})),
)

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENTS = (_SUBSYSTEM | number for number in (1, 4, 7, 10, 13))
_GET_GENERATION = _SUBSYSTEM | 16
_GENERIC = struct.Struct("!BBH")
_U32 = struct.Struct("!I")
_KIND = 0x3FFF
_ENOENT = 2
#: How often a dump is begun anew when the tables change meanwhile.
_ATTEMPTS = 20

# NFTA_GEN_*, NFTA_TABLE_*, NFTA_CHAIN_*, NFTA_RULE_*, NFTA_SET_*, NFTA_SET_ELEM_*, NFTA_DATA_*, NFTA_VERDICT_*
_GENERATION_ID = 1
_TABLE_NAME = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER = 1
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LEN, _SET_DATA_TYPE, _SET_DATA_LEN = range(1, 8)
_SET_DECLARATION = (_SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LEN, _SET_DATA_TYPE, _SET_DATA_LEN)
_IS_INTERVAL, _IS_MAP = 4, 8
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_INTERVAL_END = 1

_VERDICTS = {0: "drop", 1: "accept", 0xFFFFFFFD: "jump", 0xFFFFFFFC: "goto", 0xFFFFFFFB: "return"}
_PROTOCOLS = {6: "tcp", 17: "udp"}
_HOOK_NAMES = {1: "input", 2: "forward"}
#: The numbers that nft gives to the types of keys: six bits each, the last field lowest.
_IPV4_ADDR, _IPV6_ADDR, _INET_PROTO, _INET_SERVICE, _IFNAME = 7, 8, 12, 13, 41


class _Interrupted(Exception):
    """The tables changed while they were read."""


class Closed(t.NamedTuple):
    """A chain of another table that lets nothing pass but what its rules name."""

    table: str
    chain: str
    hook: str
    #: Of the packets that come to it.
    versions: frozenset[int]


class Kernel:
    """The packet filter of the network namespace in which this is made."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            self._socket.bind((0, 0))
        except OSError as error:
            raise HostError(f"cannot open a netlink socket: {first_line(error)}") from error

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._socket.close()

    def generation(self) -> int:
        """A number that grows by one with each transaction, whoever makes it, those of iptables-nft too."""
        body = _GENERIC.pack(0, 0, 0)
        try:
            self._socket.send(MESSAGE.pack(MESSAGE.size + len(body), _GET_GENERATION, NLM_F_REQUEST, 1, 0) + body)
            answer = self._socket.recv(1 << 16)
        except OSError as error:
            raise HostError(f"cannot read the packet filter: {first_line(error)}") from error
        length, kind = MESSAGE.unpack_from(answer)[:2]
        if kind == NLMSG_ERROR:
            raise HostError("cannot read the packet filter: the kernel does not tell its generation")
        return int(_U32.unpack(_attributes(answer[MESSAGE.size + _GENERIC.size : length])[_GENERATION_ID])[0])

    def tables(self) -> dict[str, HeldTable]:
        """Our table of each family that has one."""
        return self._again(
            lambda: {name: self._table(number) for name, number in FAMILIES.items() if self._has(number)}
        )

    def has_any(self) -> bool:
        """Whether any family has a table of ours."""
        return self._again(lambda: any(map(self._has, FAMILIES.values())))

    def closed(self) -> list[Closed]:
        """Chains of others through which packets come to the host or pass it, and that drop by their policy."""
        return self._again(self._closed)

    def table_names(self) -> list[tuple[str, str]]:
        """Family, as nft has it, and name of each table whose chains IP packets may meet."""
        return self._again(
            lambda: [
                (word, _word(at[_TABLE_NAME]))
                for family, word, _versions in _MEETING
                for at in self._dump(_GET_TABLE, family)
            ]
        )

    def bridge_tables(self) -> list[str]:
        """Names of the tables whose chains frames in bridges may meet; none where the kernel knows no such tables."""
        return self._again(lambda: [_word(at[_TABLE_NAME]) for at in self._dump(_GET_TABLE, socket.AF_BRIDGE)])

    # -- what is read

    def _has(self, family: int) -> bool:
        return any(at[_TABLE_NAME] == _text(NAME) for at in self._dump(_GET_TABLE, family))

    def _table(self, family: int) -> HeldTable:
        ours = _text(NAME)
        held = HeldTable()
        for at in self._dump(_GET_SET, family, {_SET_TABLE: ours}):
            flags = _U32.unpack(at.get(_SET_FLAGS, b"\0\0\0\0"))[0]
            declaration = tuple(at.get(kind, b"") for kind in _SET_DECLARATION)
            held.sets[_word(at[_SET_NAME])] = HeldSet(
                declaration,
                "map" if flags & _IS_MAP else "set",
                self._elements(
                    family, at[_SET_NAME], _fields(at[_SET_KEY_TYPE]), _fields(at.get(_SET_DATA_TYPE, b"")), flags
                ),
            )
        for at in self._dump(_GET_CHAIN, family):
            if at[_CHAIN_TABLE] == ours:
                kinds = (_CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE)
                held.chains[_word(at[_CHAIN_NAME])] = HeldChain(tuple(at.get(kind, b"") for kind in kinds))
        for at in self._dump(_GET_RULE, family, {_RULE_TABLE: ours}):
            chain = held.chains.get(_word(at[_RULE_CHAIN]))
            if at[_RULE_TABLE] == ours and chain is not None:
                chain.rules.append(at.get(_RULE_EXPRESSIONS, b""))
        return held

    def _closed(self) -> list[Closed]:
        found = []
        for family, word, versions in _MEETING:
            for at in self._dump(_GET_CHAIN, family):
                if _CHAIN_HOOK not in at or at.get(_CHAIN_POLICY) != _U32.pack(0) or at[_CHAIN_TABLE] == _text(NAME):
                    continue
                hook = _HOOK_NAMES.get(_U32.unpack(_attributes(at[_CHAIN_HOOK])[_HOOK_NUMBER])[0])
                if hook:
                    table, chain = f"{word} {_word(at[_CHAIN_TABLE])}", _word(at[_CHAIN_NAME])
                    found.append(Closed(table, chain, hook, versions))
        return found

    def _elements(
        self, family: int, name: bytes, key: tuple[int, ...], data: tuple[int, ...], flags: int
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        borders: list[tuple[bytes, bool]] = []
        told, answer = _teller(key), _teller(data)
        body = {_LIST_TABLE: _text(NAME), _LIST_SET: name}
        for at in self._dump(_GET_ELEMENTS, family, body):
            listed = at.get(_LIST_ELEMENTS)
            if not listed:
                continue
            quick = None if flags & _IS_INTERVAL else _alike(listed)
            if quick is not None:
                for words in quick:
                    found[told(words[0])] = answer(words[1]) if len(words) > 1 else ""
                continue
            for element in _each(listed):
                parts = _attributes(element)
                start = _attributes(parts[_KEY])[_VALUE]
                end = _attributes(parts[_KEY_END])[_VALUE] if _KEY_END in parts else start
                if flags & _IS_INTERVAL and len(key) == 1:
                    borders.append((start, _U32.unpack(parts.get(_FLAGS, b"\0\0\0\0"))[0] & _INTERVAL_END == 0))
                    continue
                found[_between(key, start, end)] = _answer(parts, answer)
        found.update((between, "") for between in _stretches(borders))
        return found

    # -- how it is read

    _T = t.TypeVar("_T")

    def _again(self, read: t.Callable[[], _T]) -> _T:
        for _attempt in range(_ATTEMPTS):
            try:
                return read()
            except _Interrupted:
                continue
            except OSError as error:
                raise HostError(f"cannot read the packet filter: {first_line(error)}") from error
        raise HostError("cannot read the packet filter: it changes faster than it can be read; run again")

    def _dump(self, kind: int, family: int, words: t.Mapping[int, bytes] | None = None) -> list[dict[int, bytes]]:
        """The attributes of all answers."""
        body = _GENERIC.pack(family, 0, 0) + b"".join(
            attribute(number, value) for number, value in (words or {}).items()
        )
        self._socket.send(MESSAGE.pack(MESSAGE.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
        found: list[dict[int, bytes]] = []
        interrupted = False
        while True:
            buffer = self._socket.recv(1 << 18)
            position = 0
            while position < len(buffer):
                length, answer, flags = MESSAGE.unpack_from(buffer, position)[:3]
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if answer == NLMSG_DONE:
                    if interrupted:
                        raise _Interrupted
                    return found
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", buffer, position + MESSAGE.size)[0]
                    if code == _ENOENT:  # gone since it was listed
                        raise _Interrupted
                    raise OSError(code, "the kernel does not show its tables")
                found.append(_attributes(buffer[position + MESSAGE.size + _GENERIC.size : position + length]))
                position += (length + 3) & ~3


def _attributes(buffer: bytes) -> dict[int, bytes]:
    found = {}
    position = 0
    while position < len(buffer):
        length, kind = ATTRIBUTE.unpack_from(buffer, position)
        found[kind & _KIND] = buffer[position + ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    return found


def _each(listed: bytes) -> t.Iterator[bytes]:
    position = 0
    while position < len(listed):
        length = ATTRIBUTE.unpack_from(listed, position)[0]
        yield listed[position + ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3


def _alike(listed: bytes) -> list[tuple[bytes, ...]] | None:
    """The values of all elements, where all have the form of the first; None where they have not."""
    length = (ATTRIBUTE.unpack_from(listed, 0)[0] + 3) & ~3
    pattern, done, position, values = b"", 0, ATTRIBUTE.size, 0
    while position < length:
        size, kind = ATTRIBUTE.unpack_from(listed, position)
        inner, inner_kind = ATTRIBUTE.unpack_from(listed, position + ATTRIBUTE.size)
        # A key or an answer with nothing in it but a value.
        if kind & _KIND not in (_KEY, _DATA) or inner_kind & _KIND != _VALUE or inner + ATTRIBUTE.size != size:
            return None
        start = position + 2 * ATTRIBUTE.size
        pattern += re.escape(listed[done:start]) + b"(.{%d})" % (inner - ATTRIBUTE.size)
        done = position + size
        position += (size + 3) & ~3
        values += 1
    found = re.findall(pattern + re.escape(listed[done:length]), listed, re.DOTALL)
    if len(found) * length != len(listed):
        return None
    return [(one,) for one in found] if values == 1 else found


def _text(word: str) -> bytes:
    return word.encode("ascii") + b"\0"


def _word(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


# -- elements ---------------------------------------------------------------------------------------------------


def _fields(kind: bytes) -> tuple[int, ...]:
    number = _U32.unpack(kind)[0] if kind else 0
    if number >> 24:  # a verdict
        return ()
    found: list[int] = []
    while number:
        found.insert(0, number & 63)
        number >>= 6
    return tuple(found)


def _teller(fields: tuple[int, ...]) -> t.Callable[[bytes], str]:
    if fields == (_IPV4_ADDR,):
        return socket.inet_ntoa
    if fields == (_IPV6_ADDR,):
        return lambda value: socket.inet_ntop(socket.AF_INET6, value)
    return lambda value: _between(fields, value, value)


def _between(fields: tuple[int, ...], start: bytes, end: bytes) -> str:
    words = []
    position = 0
    for field in fields:
        size = 16 if field in (_IFNAME, _IPV6_ADDR) else 4
        one, two = start[position : position + size], end[position : position + size]
        position += size
        if field in (_IPV4_ADDR, _IPV6_ADDR):
            words.append(_range(int.from_bytes(one, "big"), int.from_bytes(two, "big"), size * 8))
        elif field == _INET_PROTO:
            words.append(_PROTOCOLS.get(one[0], str(one[0])))
        elif field == _INET_SERVICE:
            first, last = int.from_bytes(one[:2], "big"), int.from_bytes(two[:2], "big")
            words.append(str(first) if first == last else f"{first}-{last}")
        elif field == _IFNAME:
            words.append(f'"{_word(one)}"')
        else:
            words.append(one.hex())
    return " . ".join(words)


def _range(first: int, last: int, bits: int) -> str:
    """Of addresses that have so many bits."""
    text = addressing.text if bits == 32 else addressing.text_v6
    size = last - first + 1
    if size == 1:
        return text(first)
    if size & (size - 1) == 0 and first & (size - 1) == 0:
        return f"{text(first)}/{bits + 1 - size.bit_length()}"
    return f"{text(first)}-{text(last)}"


def _stretches(borders: list[tuple[bytes, bool]]) -> t.Iterator[str]:
    """Ranges of which the kernel keeps the beginnings and what comes after the ends."""
    start: int | None = None
    bits = 32
    for value, begins in sorted(borders):  # at the same address an end comes before a beginning
        number, bits = int.from_bytes(value, "big"), len(value) * 8
        if start is not None:
            yield _range(start, number - 1, bits)
        start = number if begins else None
    if start is not None:
        yield _range(start, (1 << bits) - 1, bits)


def _answer(parts: dict[int, bytes], answer: t.Callable[[bytes], str]) -> str:
    if _DATA not in parts:
        return ""
    data = _attributes(parts[_DATA])
    if _VERDICT not in data:
        return answer(data[_VALUE])
    verdict = _attributes(data[_VERDICT])
    code = _U32.unpack(verdict[_CODE])[0]
    word = _VERDICTS.get(code, str(code))
    return f"{word} {_word(verdict[_CHAIN])}" if _CHAIN in verdict else word
