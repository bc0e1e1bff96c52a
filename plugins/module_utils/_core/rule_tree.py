# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tree of chains in place of one long chain, for rules that each concern one address or one range.

A packet walks a chain rule by rule. Spread over chains by the digits of the address (hexadecimal, four bits each), ten
thousand rules cost it a few dozen looks. A chain with few rules is not divided, and digits that all addresses below a
chain have in common are skipped; so there is about one chain for every LEAF rules, and one address more or less
touches the chain that it is in and, where that one grows too long or too short, its neighbours.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import typing as t

from . import addressing

#: Rules that a chain holds before it is divided.
LEAF = 32

#: Rules for which a chain of their own gains nothing.
_FEW = 2

_DIGIT = 4

#: Characters that the name of a chain has room for.
_NAME = 28


class Branch(t.NamedTuple):
    """The rules that concern one range; the ranges of a tree do not overlap."""

    first: int
    prefix: int
    rules: t.Sequence[str]


class Leaves(t.NamedTuple):
    """Ranges in the order of their addresses, with rules that are only made for chains that hold them."""

    firsts: t.Sequence[int]
    #: The rules from one of the ranges to before another one, by their places.
    rules: t.Callable[[int, int], list[str]]
    #: How many rules each has, None for one each; and their prefix lengths, None for those of addresses.
    counts: t.Sequence[int] | None = None
    prefixes: t.Sequence[int] | None = None


def leaves(branches: t.Iterable[Branch]) -> Leaves:
    ordered = sorted(branches)
    rules = [branch.rules for branch in ordered]
    return Leaves(
        [branch.first for branch in ordered],
        lambda low, high: list(itertools.chain.from_iterable(rules[low:high])),
        list(map(len, rules)),
        [branch.prefix for branch in ordered],
    )


def grow(
    root: str,
    stem: str,
    option: str,
    wanted: Leaves,
    bits: int = 32,
    around: t.Iterable[int] | None = None,
) -> dict[str, list[str]]:
    """The chains of a tree: `root`, and below it chains named `stem` and the digits that lead there.

    `option` is -s or -d, whichever of a packet's addresses the ranges speak of; `bits` is the length of an address.
    The digits of an IPv6 address are too many for a name, which has as much of a hash of them as it has room for.

    With `around`, only the chains that packets of these addresses are led through, which need not be in any range: all
    that one address more or less changes, but for what its neighbours have where a chain is divided or is one again.
    """
    tree = _Tree(stem, option, wanted, bits, None if around is None else sorted(around))
    tree.fill(root, 0, len(wanted.firsts), 0, 1 << bits)
    return tree.chains


class _Tree:
    """Ranges in order of their addresses, and the chains that are made of them; a stretch is [low, high)."""

    def __init__(self, stem: str, option: str, wanted: Leaves, bits: int, around: list[int] | None) -> None:
        self._bits = bits
        self._stem = stem
        self._option = option
        self._firsts, self._rules, counts, prefixes = wanted
        #: Rules of all ranges before each, so that those of a stretch need no counting.
        self._before = range(len(self._firsts) + 1) if counts is None else [0, *itertools.accumulate(counts)]
        self._prefixes = None if prefixes is None or set(prefixes) <= {bits} else prefixes
        self._around = around
        #: Names that are taken, those of chains that are not asked for as well.
        self._names: set[str] = set()
        self.chains: dict[str, list[str]] = {}

    def fill(self, chain: str, low: int, high: int, first: int, end: int) -> None:
        """Make a chain of a stretch, which has all that is wanted of the addresses [first, end), and those below it."""
        asked = self._asked(first, end)
        if not asked and self._bits == 32:
            return
        rules: list[str] = []
        if asked:
            self.chains[chain] = rules
        if self._before[high] - self._before[low] <= LEAF or high - low == 1:
            if asked:
                rules += self._rules(low, high)
            return
        length = self._common(low, high) + _DIGIT
        plain = low
        while low < high:
            after = self._group(low, high, length)
            if self._is_short(low, length) or self._before[after] - self._before[low] <= _FEW:
                # A range that spans several digits, or too few to be worth a chain.
                low = after
                continue
            if asked and plain < low:
                rules += self._rules(plain, low)
            below = self._common(low, after)
            rest = self._bits - below
            digits = self._firsts[low] >> rest
            name = self._named(f"{digits:0{below // _DIGIT}x}")
            if asked:
                rules.append(f"{self._option} {self._text(digits << rest)}/{below} -g {name}")
            self.fill(name, low, after, digits << rest, digits + 1 << rest)
            low = plain = after
        if asked and plain < high:
            rules += self._rules(plain, high)

    def _asked(self, first: int, end: int) -> bool:
        """Whether the chain of these addresses is asked for."""
        if self._around is None:
            return True
        place = bisect.bisect_left(self._around, first)
        return place < len(self._around) and self._around[place] < end

    def _named(self, digits: str) -> str:
        if self._bits == 32:
            return self._stem + digits
        # A name may depend on all before it: so these are found whether their chains are asked for or not.
        attempt, name = 0, ""
        while not name or name in self._names:
            text = digits if attempt == 0 else f"{digits}#{attempt}"
            name = self._stem + hashlib.sha256(text.encode()).hexdigest()[: _NAME - len(self._stem)]
            attempt += 1
        self._names.add(name)
        return name

    def _text(self, value: int) -> str:
        return addressing.text(value) if self._bits == 32 else addressing.text_v6(value)

    def _common(self, low: int, high: int) -> int:
        """Bits, a multiple of a digit's, that all have in common: as many as the two ends have."""
        bits = self._bits - (self._firsts[low] ^ self._firsts[high - 1]).bit_length()
        if self._prefixes is not None:
            bits = min(bits, *self._prefixes[low:high])
        return bits // _DIGIT * _DIGIT

    def _is_short(self, low: int, length: int) -> bool:
        return self._prefixes is not None and self._prefixes[low] < length

    def _group(self, low: int, high: int, length: int) -> int:
        """Where those end that agree with the first in `length` bits; a range shorter than that stands alone."""
        if self._is_short(low, length):
            return low + 1
        rest = self._bits - length
        return bisect.bisect_left(self._firsts, (self._firsts[low] >> rest) + 1 << rest, low, high)
