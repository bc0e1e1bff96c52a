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


def grow(root: str, stem: str, option: str, branches: t.Iterable[Branch], bits: int = 32) -> dict[str, list[str]]:
    """The chains of a tree: `root`, and below it chains named `stem` and the digits that lead there.

    `option` is -s or -d, whichever of a packet's addresses the branches speak of; `bits` is the length of an address.
    The digits of an IPv6 address are too many for a name, which has as much of a hash of them as it has room for.
    """
    ordered = sorted(branches)
    tree = _Tree(stem, option, ordered, bits)
    tree.fill(root, 0, len(ordered))
    return tree.chains


class _Tree:
    """Branches in order of their addresses, and the chains that are made of them; a stretch is [low, high)."""

    def __init__(self, stem: str, option: str, branches: list[Branch], bits: int) -> None:
        self._bits = bits
        self._stem = stem
        self._option = option
        self._firsts = [branch.first for branch in branches]
        self._prefixes = [branch.prefix for branch in branches]
        self._rules = [branch.rules for branch in branches]
        #: Rules of all branches before each, so that those of a stretch need no counting.
        self._before = [0, *itertools.accumulate(map(len, self._rules))]
        self._single = all(prefix == bits for prefix in self._prefixes)
        self.chains: dict[str, list[str]] = {}

    def fill(self, chain: str, low: int, high: int) -> None:
        rules = self.chains[chain] = []
        if self._before[high] - self._before[low] <= LEAF or high - low == 1:
            self._put(rules, low, high)
            return
        length = self._common(low, high) + _DIGIT
        while low < high:
            end = self._group(low, high, length)
            if self._prefixes[low] < length or self._before[end] - self._before[low] <= _FEW:
                # A range that spans several digits, or too few to be worth a chain.
                self._put(rules, low, end)
            else:
                below = self._common(low, end)
                digits = self._firsts[low] >> self._bits - below
                name = self._named(f"{digits:0{below // _DIGIT}x}")
                rules.append(f"{self._option} {self._text(digits << self._bits - below)}/{below} -g {name}")
                self.fill(name, low, end)
            low = end

    def _named(self, digits: str) -> str:
        if self._bits == 32:
            return self._stem + digits
        attempt, name = 0, ""
        while not name or name in self.chains:
            text = digits if attempt == 0 else f"{digits}#{attempt}"
            name = self._stem + hashlib.sha256(text.encode()).hexdigest()[: _NAME - len(self._stem)]
            attempt += 1
        return name

    def _text(self, value: int) -> str:
        return addressing.text(value) if self._bits == 32 else addressing.text_v6(value)

    def _put(self, rules: list[str], low: int, high: int) -> None:
        for of_one in self._rules[low:high]:
            rules.extend(of_one)

    def _common(self, low: int, high: int) -> int:
        """Bits, a multiple of a digit's, that all have in common: as many as the two ends have."""
        bits = self._bits - (self._firsts[low] ^ self._firsts[high - 1]).bit_length()
        if not self._single:
            bits = min(bits, *self._prefixes[low:high])
        return bits // _DIGIT * _DIGIT

    def _group(self, low: int, high: int, length: int) -> int:
        """Where those end that agree with the first in `length` bits; a range shorter than that stands alone."""
        if self._prefixes[low] < length:
            return low + 1
        rest = self._bits - length
        return bisect.bisect_left(self._firsts, (self._firsts[low] >> rest) + 1 << rest, low, high)
