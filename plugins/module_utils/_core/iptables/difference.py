# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What turns the tables of a host into the wanted ones: compared as text, composed into one restore.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..connections import Ways
from .table import SHARED, Table, Wanted, is_ours, jump, target, wrapped


@dataclasses.dataclass
class Change:
    """What turns one table into the wanted one; `before` and `after` hold the chains of ours that differ."""

    table: str
    before: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)
    after: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)
    #: Rules outside our chains, as (chain, rule), and jumps as (chain, position, rule).
    deletions: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    insertions: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    #: Our jumps in every hook that differs, with their positions, before and after.
    jumps_before: dict[str, list[tuple[int, str]]] = dataclasses.field(default_factory=dict)
    jumps_after: dict[str, list[tuple[int, str]]] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.jumps_before or self.jumps_after)


def compare(have: t.Mapping[str, Table], want: t.Mapping[str, Wanted]) -> list[Change]:
    """The tables that differ; an absent table counts as an empty one."""
    changes = (_compare_table(name, have.get(name, Table()), wanted) for name, wanted in want.items())
    return [change for change in changes if change]


def _compare_table(name: str, have: Table, want: Wanted) -> Change:
    want = _with_neighbours(have, want)
    change = Change(name)
    for chain, rules in want.chains.items():
        if have.chains.get(chain) != rules:
            change.before[chain] = have.chains.get(chain)
            change.after[chain] = rules
    for chain, rules in have.chains.items():
        if is_ours(chain) and chain not in want.chains:
            change.before[chain] = rules
            change.after[chain] = None
    hooks = [*want.hooks, *(chain for chain in have.chains if chain not in want.hooks and not is_ours(chain))]
    for hook in hooks:
        _compare_hook(change, hook, have, want)
    return change


def _with_neighbours(have: Table, want: Wanted) -> Wanted:
    """The wanted table with what nova's other programs keep in the shared chains, and their way into these."""
    chains, hooks = dict(want.chains), dict(want.hooks)
    for shared in SHARED & have.chains.keys():
        kept = [rule for rule in have.chains[shared] if _is_neighbour(target(rule))]
        if not kept:
            continue
        if shared not in chains:
            for hook, rules in have.chains.items():
                if hook in have.builtin and jump(shared) in rules:
                    hooks[hook] = [shared]
        chains[shared] = [*chains.get(shared, ()), *kept]
    return Wanted(chains, hooks)


def _is_neighbour(chain: str | None) -> bool:
    return chain is not None and chain.startswith("nova-") and not is_ours(chain)


def _compare_hook(change: Change, hook: str, have: Table, want: Wanted) -> None:
    """Our jumps first and in order, nothing else of ours below; a jump to a chain that goes, goes with it."""
    wanted = [jump(chain) for chain in want.hooks.get(hook, ())]
    present: list[tuple[int, str]] = []
    for position, rule in enumerate(have.chains.get(hook, ()), 1):
        if "nova-" not in rule:
            continue
        chain = target(rule)
        if chain is None or not is_ours(chain):
            continue
        # A bare jump in a built-in chain is ours. Anything else is somebody's own rule, and stays as long as
        # there is a chain to jump to.
        if chain not in want.chains or (rule == jump(chain) and hook in have.builtin):
            present.append((position, rule))
    if present == list(enumerate(wanted, 1)):
        return
    change.deletions.extend((hook, rule) for _position, rule in present)
    change.insertions.extend((hook, position, rule) for position, rule in enumerate(wanted, 1))
    change.jumps_before[hook] = present
    change.jumps_after[hook] = list(enumerate(wanted, 1))


def compose(changes: t.Iterable[Change]) -> str:
    """The text for `iptables-restore --noflush` that makes the changes and touches nothing else."""
    return "".join(map(compose_one, changes))


def compose_one(change: Change) -> str:
    lines = [f"-D {chain} {rule}" for chain, rule in change.deletions]
    lines += [f"-I {chain} {position} {rule}" for chain, position, rule in change.insertions]
    return table_text(change.table, change.after, lines)


def table_text(table: str, chains: t.Mapping[str, t.Sequence[str] | None], others: t.Sequence[str]) -> str:
    """The commit of one table: the whole content of chains, None for those that go, and what else is done."""
    lines = [f"*{table}"]
    # To declare a chain makes it, or flushes it; a chain that goes has to be empty.
    lines.extend(f":{chain} - [0:0]" for chain in chains)
    for chain, rules in chains.items():
        if rules:
            lines.append(f"-A {chain} " + f"\n-A {chain} ".join(rules))
    lines.extend(others)
    lines.extend(f"-X {chain}" for chain, rules in chains.items() if rules is None)
    lines.append("COMMIT")
    return "\n".join((*lines, ""))


#: Chains with ways to guests and from guests begin so, and these are the ways: ten thousand may change at once, so
#: they are read at once. Beside ports an IPv6 address has brackets.
_TO_GUESTS = (
    tuple(map(wrapped, ("float-to", "to-"))),
    re.compile(r"\n-d ([^\s/]+)\S* (?:-j DNAT|.+) --to-destination \[?([0-9]+\.[0-9.]+|[0-9a-f:]+)"),
)
_FROM_GUESTS = (
    tuple(map(wrapped, ("float-from", "from"))),
    re.compile(r"\n-s ([^\s/]+)\S* (?:-j SNAT|.+) --to-source (\S+)"),
)
#: Chains of either.
WAYS = (*_TO_GUESTS[0], *_FROM_GUESTS[0])


def ways(changes: t.Sequence[Change]) -> tuple[Ways, Ways]:
    """The ways between addresses and guests that go with the changes, and those that come."""
    gone_to, come_to = _ways(changes, *_TO_GUESTS)
    gone_from, come_from = _ways(changes, *_FROM_GUESTS)
    return (
        Ways(frozenset(gone_to), frozenset((address, guest) for guest, address in gone_from)),
        Ways(frozenset(come_to), frozenset((address, guest) for guest, address in come_from)),
    )


def _ways(
    changes: t.Sequence[Change], beginnings: tuple[str, ...], pattern: re.Pattern[str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    before: set[str] = set()
    after: set[str] = set()
    for change in changes:
        if change.table == "nat":
            for rules, chains in ((before, change.before), (after, change.after)):
                for chain, of_it in chains.items():
                    if of_it and chain.startswith(beginnings):
                        rules.update(of_it)
    gone, come = ("\n".join(("", *rules)) for rules in (before - after, after - before))
    return pattern.findall(gone), pattern.findall(come)


def guards_differ(changes: t.Iterable[Change]) -> bool:
    """Whether anything differs that says what guests let in and out."""
    guards = tuple(map(wrapped, ("inst-", "egress", "sg-", "provider")))
    return any(chain.startswith(guards) for change in changes if change.table == "filter" for chain in change.after)
