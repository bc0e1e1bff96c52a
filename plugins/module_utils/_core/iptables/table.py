# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables of iptables: ours as they should be, and what iptables-save printed of a host's.

A *hook* is a built-in chain in which jumps to our chains stand at the top. A *shared* chain belongs to all
programs of nova: what jumps to another one of them stays in it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import typing as t

from ..naming import CHAIN_PREFIX

FILTER_TOP = "nova-filter-top"
POSTROUTING_BOTTOM = "nova-postrouting-bottom"
SHARED = frozenset((FILTER_TOP, POSTROUTING_BOTTOM))

FAMILIES = ("ipv4", "ipv6")
TABLES = ("filter", "nat", "mangle")

_INCOMPATIBLE = re.compile(r"# Table `(\w+)' is incompatible")


def wrapped(name: str) -> str:
    """The chain that nova made of `name` for this component."""
    return f"{CHAIN_PREFIX}-{name}"


def is_ours(chain: str) -> bool:
    """Whether the chain carries our mark; a name that merely contains it does not."""
    return chain in SHARED or chain.startswith(CHAIN_PREFIX + "-")


@dataclasses.dataclass
class Wanted:
    """One table: our chains with their rules, and for each hook the chains it jumps to first."""

    chains: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    hooks: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def jump(chain: str) -> str:
    return f"-j {chain}"


@dataclasses.dataclass
class Table:
    """One table as iptables-save printed it: the rules of every chain, in order."""

    chains: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    builtin: set[str] = dataclasses.field(default_factory=set)


class Unreadable(ValueError):
    """A table that the tool cannot show: not to be taken for an empty one."""


def parse_save(text: str) -> dict[str, Table]:
    """Read the output of iptables-save without counters; Unreadable names a table that it could not print."""
    tables: dict[str, Table] = {}
    table = Table()
    # Not splitlines: a comment may hold characters that Python takes for the end of a line.
    for line in text.split("\n"):
        if line.startswith("-A "):
            chain, _blank, rule = line[3:].partition(" ")
            table.chains.setdefault(chain, []).append(rule)
        elif line.startswith(":"):
            chain, policy = line[1:].split(" ")[:2]
            table.chains[chain] = []
            if policy != "-":
                table.builtin.add(chain)
        elif line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), Table())
        elif line.startswith("# Table"):
            found = _INCOMPATIBLE.match(line)
            if found and found.group(1) in TABLES:
                raise Unreadable(found.group(1))
    return tables


def target(rule: str) -> str | None:
    """The chain or target that the rule leads to."""
    words = rule.split()
    if '"' in rule or "'" in rule or "\\" in rule:
        with contextlib.suppress(ValueError):
            words = shlex.split(rule)
    # From the end: a match's own value may look like an option.
    for index in range(len(words) - 2, -1, -1):
        if words[index] in ("-j", "-g"):
            return words[index + 1]
    return None


def our_chains(tables: t.Mapping[str, Table]) -> list[str]:
    """Our chains in what was read, as `table chain`."""
    return [f"{name} {chain}" for name, table in tables.items() for chain in table.chains if is_ours(chain)]


def has_target(tables: t.Mapping[str, Table], table: str, name: str) -> bool:
    """Whether any rule of the table uses the target, which proves that the kernel has it."""
    needle = f"-j {name}"
    chains = tables[table].chains.values() if table in tables else ()
    return any(needle in rule and target(rule) == name for rules in chains for rule in rules)
