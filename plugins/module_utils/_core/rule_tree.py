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

import typing as t

from . import addressing

#: Rules that a chain holds before it is divided.
LEAF = 32

#: Rules for which a chain of their own gains nothing.
_FEW = 2

_DIGIT = 4


class Branch(t.NamedTuple):
    """The rules that concern one range; the ranges of a tree do not overlap."""

    first: int
    prefix: int
    rules: t.Sequence[str]


def grow(root: str, stem: str, option: str, branches: t.Iterable[Branch]) -> dict[str, list[str]]:
    """The chains of a tree: `root`, and below it chains named `stem` and the digits that lead there.

    `option` is -s or -d, whichever of a packet's addresses the branches speak of.
    """
    chains: dict[str, list[str]] = {root: []}
    _fill(chains, root, stem, option, sorted(branches))
    return chains


def _fill(chains: dict[str, list[str]], chain: str, stem: str, option: str, branches: list[Branch]) -> None:
    rules = chains.setdefault(chain, [])
    if sum(len(branch.rules) for branch in branches) <= LEAF or len(branches) == 1:
        for branch in branches:
            rules.extend(branch.rules)
        return
    common = _common(branches)
    for group in _groups(branches, common + _DIGIT):
        spans_digits = group[0].prefix < common + _DIGIT
        if spans_digits or sum(len(branch.rules) for branch in group) <= _FEW:
            for branch in group:
                rules.extend(branch.rules)
            continue
        below = _common(group)
        digits = group[0].first >> 32 - below
        first = digits << 32 - below
        name = f"{stem}{digits:0{below // _DIGIT}x}"
        rules.append(f"{option} {addressing.text(first)}/{below} -g {name}")
        _fill(chains, name, stem, option, group)


def _common(branches: list[Branch]) -> int:
    """Bits, a multiple of a digit's, that all have in common, the sorted ones' ends being furthest apart."""
    differing = (branches[0].first ^ branches[-1].first).bit_length()
    shortest = min(branch.prefix for branch in branches)
    return min(32 - differing, shortest) // _DIGIT * _DIGIT


def _groups(branches: list[Branch], length: int) -> t.Iterator[list[Branch]]:
    """Those that agree in their first `length` bits; a range shorter than that stands alone."""
    group: list[Branch] = []
    for branch in branches:
        alone = branch.prefix < length
        if group and (alone or group[0].prefix < length or (group[0].first ^ branch.first) >> 32 - length):
            yield group
            group = []
        group.append(branch)
    if group:
        yield group
