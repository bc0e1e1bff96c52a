# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trees of chains in which floating IPs are: by destination what leads to guests, by source what they leave as.

A tree is made whole, or only as far as it differs where few of its addresses do.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import re
import typing as t

from .. import addressing, rule_tree
from ..rule_tree import Leaves
from .table import wrapped

Chains = dict[str, list[str]]
#: From the address that a tree goes by to the other one of a floating IP.
Ways = t.Mapping[str, str]
#: Rules of an address that come before that of its floating IP.
First = t.Mapping[str, t.Sequence[str]]

_OF_ONE = re.compile(rf"{wrapped('')}(?:float-to|float-from[0-9]*|to-[0-9a-f]+|from[0-9]*-[0-9a-f]+)\Z")
_LEADS = re.compile(r"-[sd] (\S+) -g (\S+)\Z")


class Tree(t.NamedTuple):
    """The name of its first chain, how those of others begin, which address of a packet it goes by, and its target."""

    root: str
    stem: str
    option: str
    target: str
    bits: int

    def whole(self, ways: Ways, first: First | None = None) -> Chains:
        """All chains of the tree."""
        if first:
            return self._grow(self._leaves(self._numbers(ways, first), ways.get, first))
        numbers, rows = addressing.numbers(list(ways), self.bits), list(ways.items())
        order = sorted(range(len(rows)), key=numbers.__getitem__)
        ordered = list(map(rows.__getitem__, order))
        start, between = f"{self.option} ", f"/{self.bits} -j {self.target} "
        return self._grow(
            Leaves(
                list(map(numbers.__getitem__, order)),
                lambda low, high: [f"{start}{one}{between}{other}" for one, other in ordered[low:high]],
            )
        )

    def _rule(self, address: str, other: str) -> str:
        return f"{self.option} {address}/{self.bits} -j {self.target} {other}"

    def _grow(self, wanted: Leaves, around: t.Iterable[int] | None = None) -> Chains:
        return rule_tree.grow(self.root, self.stem, self.option, wanted, self.bits, around)

    def differ(self, ways: Ways, were: t.Mapping[str, str | None], first: First | None = None) -> tuple[Chains, Chains]:
        """The chains that may differ, as they were and as they are with `ways`.

        `were` has for each address that differs what it led to before, None for nothing.
        """
        first = first or {}
        after = self._leaves(self._numbers(ways, first), ways.get, first)
        numbers = list(after.firsts)
        for address, was in were.items():
            number = addressing.number(address)
            place = bisect.bisect_left(numbers, number)
            there = place < len(numbers) and numbers[place] == number
            if there and was is None and address not in first:
                del numbers[place]
            elif not there and was is not None:
                numbers.insert(place, number)
        before = self._leaves(numbers, lambda address: were[address] if address in were else ways.get(address), first)
        around = set(map(addressing.number, were))
        while True:
            old, new = self._grow(before, around), self._grow(after, around)
            # Where a chain is divided or is one again, all that are below it come or go.
            wider = self._below(old, new, before) | self._below(new, old, after)
            if wider <= around:
                return old, new
            around |= wider

    def _numbers(self, ways: Ways, first: First) -> list[int]:
        """The addresses of the tree, in order."""
        return sorted(addressing.numbers([*ways, *(one for one in first if one not in ways)], self.bits))

    def _leaves(self, numbers: list[int], other: t.Callable[[str], str | None], first: First) -> Leaves:
        text = addressing.text if self.bits == 32 else addressing.text_v6

        def rules(low: int, high: int) -> list[str]:
            found: list[str] = []
            for address in map(text, numbers[low:high]):
                found += first.get(address, ())
                way = other(address)
                if way is not None:
                    found.append(self._rule(address, way))
            return found

        if not first:
            return Leaves(numbers, rules)
        counts = [1] * len(numbers)
        for address, of_it in first.items():
            counts[bisect.bisect_left(numbers, addressing.number(address))] = len(of_it) + (other(address) is not None)
        return Leaves(numbers, rules, counts)

    @staticmethod
    def _below(mine: Chains, others: Chains, leaves: Leaves) -> set[int]:
        """The addresses below chains that only one of both has."""
        named = {found[2] for rules in others.values() for found in map(_LEADS.match, rules) if found}
        wider: set[int] = set()
        for found in (found for rules in mine.values() for found in map(_LEADS.match, rules) if found):
            if found[2] not in named:
                span = addressing.known_network(found[1])
                low, high = (bisect.bisect_left(leaves.firsts, edge) for edge in (span.first, span.last + 1))
                wider.update(leaves.firsts[low:high])
        return wider


def to_guests(bits: int) -> Tree:
    """Of what is led to guests, by the floating IP."""
    return Tree(wrapped("float-to"), wrapped("to-"), "-d", "DNAT --to-destination", bits)


def from_guests(interfaces: t.Iterable[str], bits: int) -> dict[str, Tree]:
    """Of what leaves with a floating IP, by the guest's address: a tree for each interface outwards, in their order."""
    return {
        interface: Tree(wrapped(f"float-from{mark}"), wrapped(f"from{mark}-"), "-s", "SNAT --to-source", bits)
        for number, interface in enumerate(interfaces, 1)
        for mark in ("" if number == 1 else str(number),)
    }


def is_of_one(chain: str) -> bool:
    """Whether the chain is one of a tree's."""
    return bool(_OF_ONE.match(chain))
