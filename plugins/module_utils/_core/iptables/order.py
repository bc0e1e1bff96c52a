# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which the tables of a family are committed, each by itself.

In between, packets meet the new rules of one table and the old ones of another. What may go wrong there: a way leads to
a guest (nat) whose guard is gone or not there yet (filter), or a bridge forwards (filter) what nobody translates (nat).
So of what comes, guards go before ways, and translations before forwarding; of what goes, it is the other way round.

Where there is both, the ways that only go are taken away at first. A floating IP that leads elsewhere does so in the
last commit: it never leads nowhere, which would be to the host itself, but for a moment its old guest is judged by
his new guard. Where only one of the tables differs, it is one commit.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .difference import Change
from .table import target, wrapped

#: Chains of nat through which packets are led to guests; all others change sources.
_INWARDS = tuple(map(wrapped, ("PREROUTING", "OUTPUT", "float-to", "to-")))
_SNAT = wrapped("snat")


def in_order(changes: t.Sequence[Change]) -> list[Change]:
    """What the changes of a family come to, one commit after the other."""
    by_table = {change.table: change for change in changes}
    rules, nat = by_table.pop("filter", None), by_table.pop("nat", None)
    if rules is None or nat is None:
        return list(changes)
    to_guests, outwards = _part(nat, inwards=True), _part(nat, inwards=False)
    gone, come = _ways(nat.before) - _ways(nat.after), _ways(nat.after) - _ways(nat.before)
    early, late = ([to_guests], []) if gone and not come else ([_without(nat, gone, come)], [to_guests])
    before, after = (set(chains.get(_SNAT) or ()) for chains in (nat.before, nat.after))
    first = bool(after - before) if before != after else to_guests in early
    (early if first else late).append(outwards)
    return [change for change in (_joined(early), rules, _joined(late), *by_table.values()) if _writes(change)]


def _part(nat: Change, inwards: bool) -> Change:
    """What of a change concerns chains that lead to guests, or all the others; neither kind jumps to the other."""

    def is_part(chain: str | None) -> bool:
        return (chain or "").startswith(_INWARDS) == inwards

    return Change(
        nat.table,
        after={chain: rules for chain, rules in nat.after.items() if is_part(chain)},
        deletions=[(chain, rule) for chain, rule in nat.deletions if is_part(target(rule))],
        insertions=[entry for entry in nat.insertions if is_part(target(entry[2]))],
    )


def _without(nat: Change, gone: set[str], come: set[str]) -> Change:
    """Deletion of the ways that go, but for those of addresses that lead elsewhere."""
    moved = set(map(_address, come))
    return Change(
        nat.table,
        deletions=[
            (chain, rule)
            for chain, rules in nat.before.items()
            if chain.startswith(_INWARDS)
            for rule in rules or ()
            if rule in gone and _address(rule) not in moved
        ],
    )


def _joined(parts: list[Change]) -> Change:
    """Parts of one table, as one commit."""
    return Change(
        "nat",
        after={chain: rules for part in parts for chain, rules in part.after.items()},
        deletions=[entry for part in parts for entry in part.deletions],
        insertions=[entry for part in parts for entry in part.insertions],
    )


def _writes(change: Change) -> bool:
    return bool(change.after or change.deletions or change.insertions)


def _ways(chains: t.Mapping[str, list[str] | None]) -> set[str]:
    """Rules that lead to a guest."""
    return {
        rule
        for chain, rules in chains.items()
        if chain.startswith(_INWARDS)
        for rule in rules or ()
        if " --to-destination " in rule
    }


def _address(rule: str) -> str:
    """Whom it is asked for that the rule leads to a guest."""
    return rule.split(" ", 2)[1]
