# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table of nftables as it should be, in the tool's language, and one as the kernel holds it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..naming import CHAIN_PREFIX

#: Our table in every family. All that is in it is ours.
NAME = CHAIN_PREFIX

#: The tool's names of the families.
FAMILIES = {"ipv4": "ip", "ipv6": "ip6"}


@dataclasses.dataclass(frozen=True)
class Set:
    """A set, or a map where `data` is not None; elements as the tool writes them, with nothing as value in a set."""

    key: str
    elements: t.Mapping[str, str]
    data: str | None = None
    interval: bool = False

    @property
    def word(self) -> str:
        return "set" if self.data is None else "map"

    @property
    def declaration(self) -> str:
        kind = self.key if self.data is None else f"{self.key} : {self.data}"
        return f"{{ type {kind}; {'flags interval; ' if self.interval else ''}}}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Sets, and chains with their rules; `hooks` says of base chains where the kernel calls them."""

    sets: dict[str, Set] = dataclasses.field(default_factory=dict)
    chains: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    hooks: dict[str, str] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.hooks)


@dataclasses.dataclass
class HeldSet:
    """A set in the kernel: its declaration in the kernel's own bytes, its elements in the tool's words."""

    declaration: tuple[bytes, ...]
    word: str
    elements: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class HeldChain:
    """A chain in the kernel: where it is called and its rules, in the kernel's own bytes."""

    declaration: tuple[bytes, ...]
    rules: list[bytes] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class HeldTable:
    sets: dict[str, HeldSet] = dataclasses.field(default_factory=dict)
    chains: dict[str, HeldChain] = dataclasses.field(default_factory=dict)


def skeleton(family: str, table: Table) -> list[str]:
    """Commands that make the table with all but the elements of its sets."""
    return [*declare(family, table.sets, table.chains, table.hooks), *fill(family, table.chains)]


def declare(family: str, sets: t.Mapping[str, Set], chains: t.Iterable[str], hooks: t.Mapping[str, str]) -> list[str]:
    """Commands for the table, the sets and the chains: all have to be there before one names another."""
    place = f"{FAMILIES[family]} {NAME}"
    return [
        f"add table {place}",
        *(f"add {wanted.word} {place} {name} {wanted.declaration}" for name, wanted in sets.items()),
        *(f"add chain {place} {name}" + (f" {{ {hooks[name]} }}" if name in hooks else "") for name in chains),
    ]


def fill(family: str, chains: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Commands that put rules at the end of chains."""
    place = f"{FAMILIES[family]} {NAME}"
    return [f"add rule {place} {name} {rule}" for name, rules in chains.items() for rule in rules]
