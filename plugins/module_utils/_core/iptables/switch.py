# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several tables that go over to a new plan in one instant, though each is a commit of its own.

The *switch* is a set of ipset that holds nothing (off) or every address of both versions (on); one `swap` turns it.

1. *prepare*: what is new is put beside what is there. A chain that differs gets a first rule that leads to its
   successor, a chain of a temporary name, while the switch is on; jumps that a built-in chain lacks are made to hold
   while it is on. So with the switch off all is as before, however the commits of the tables follow each other.
2. The switch is turned on. All is as the new plan has it.
3. *settle*: chains get the content of their successors, jumps hold without the switch. Nothing changes by that.

What a killed run has left is *resolved* by the next one from the rules alone, to what it is by where the switch stands.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..naming import CHAIN_PREFIX
from .difference import Change, compose_one, table_text
from .table import Table, is_ours, target

_SWITCH = f"{CHAIN_PREFIX}-switch"
_ON = f"{CHAIN_PREFIX}-switch-on"
#: Every address, a set for each version; half of them an element, since a prefix has to have a length.
_ALL = {
    f"{CHAIN_PREFIX}-all": ("inet", ("0.0.0.0/1", "128.0.0.0/1")),
    f"{CHAIN_PREFIX}-all6": ("inet6", ("::/1", "8000::/1")),
}
#: In the order in which they can be destroyed.
_SETS = (_SWITCH, _ON, *_ALL)

#: What a rule begins with that holds while the switch is on.
WHEN_ON = f"-m set --match-set {_SWITCH} src "
_SUCCESSOR = f"{WHEN_ON}-g "
_NOTHING = f"{WHEN_ON}-j RETURN"
_TEMPORARY = f"{CHAIN_PREFIX}-next-"


# -- the sets ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Left:
    """What of a switch is there: its sets, in the order in which they can be destroyed, and whether it is on."""

    sets: tuple[str, ...] = ()
    on: bool = False

    def __bool__(self) -> bool:
        return bool(self.sets)


def part(held: t.Mapping[str, frozenset[str]]) -> tuple[dict[str, frozenset[str]], Left]:
    """Our other sets, and what of a switch is among them."""
    left = Left(tuple(name for name in _SETS if name in held), bool(held.get(_SWITCH)))
    return {name: members for name, members in held.items() if name not in left.sets}, left


def make() -> str:
    """A switch that is off."""
    lines = []
    for name, (family, halves) in _ALL.items():
        lines.append(f"create {name} hash:net family {family}")
        lines += [f"add {name} {half}" for half in halves]
    lines += [f"create {_SWITCH} list:set", f"create {_ON} list:set", *(f"add {_ON} {name}" for name in _ALL)]
    return _joined(lines)


def turn_on() -> str:
    return _joined([f"swap {_SWITCH} {_ON}"])


def destroy(names: t.Iterable[str] = _SETS) -> str:
    return _joined(f"destroy {name}" for name in names)


# -- the rules --------------------------------------------------------------------------------------------------


def prepare(changes: t.Iterable[Change]) -> str:
    """The text that puts beside the rules of a family what they change to once the switch is on."""
    return "".join(map(_prepare, changes))


def _prepare(change: Change) -> str:
    successors = _successors(change)
    # Nothing leads to a chain that is new before the switch is on.
    chains = {
        successors.get(chain, chain): _renamed(rules, successors)
        for chain, rules in change.after.items()
        if rules is not None
    }
    lines = [f"-I {chain} 1 {_SUCCESSOR}{name}" for chain, name in successors.items()]
    # What leads to a chain that goes stays until then.
    going = {target(rule) for _chain, rule in change.deletions}
    lines += [f"-I {chain} 1 {_NOTHING}" for chain, rules in change.after.items() if rules is None and chain in going]
    lines += [f"-I {chain} {position} {WHEN_ON}{rule}" for chain, position, rule in change.insertions]
    return table_text(change.table, chains, lines)


def settle(changes: t.Iterable[Change]) -> str:
    """The text that makes the rules of a family for good what they are since the switch is on."""
    return "".join(map(_settle, changes))


def _settle(change: Change) -> str:
    successors = _successors(change)
    # Of the new chains those are final already that lead to no successor.
    chains = {
        chain: rules
        for chain, rules in change.after.items()
        if rules is None or chain in successors or _renamed(rules, successors) != rules
    }
    chains.update(dict.fromkeys(successors.values()))
    deletions = [(chain, f"{WHEN_ON}{rule}") for chain, _position, rule in change.insertions]
    return compose_one(dataclasses.replace(change, after=chains, deletions=deletions + change.deletions))


def _successors(change: Change) -> dict[str, str]:
    """The temporary chains of those that are there and differ; there is none left of an earlier run."""
    differ = (chain for chain, rules in change.after.items() if rules is not None and change.before[chain] is not None)
    return {chain: f"{_TEMPORARY}{number}" for number, chain in enumerate(differ, 1)}


def _renamed(rules: t.Iterable[str], names: t.Mapping[str, str]) -> list[str]:
    """With other names for the chains that rules lead to.

    What is new leads to successors, and not to chains that lead there: the kernel follows no more than 16 jumps.
    """
    found = []
    for rule in rules:
        head, blank, last = rule.rpartition(" ")
        found.append(f"{head}{blank}{names[last]}" if last in names else rule)
    return found


# -- what a killed run has left ---------------------------------------------------------------------------------


def resolve(tables: t.Mapping[str, Table], on: bool) -> tuple[dict[str, Table], str]:
    """The tables of a family without a switch, as packets meet them with it; and the text that makes them so."""
    found = {name: _resolve(table, on) for name, table in tables.items()}
    text = "".join(_resolving(name, table, found[name]) for name, table in tables.items())
    return found, text


def _resolve(table: Table, on: bool) -> Table:
    led = {chain: place for chain, rules in table.chains.items() if (place := _place(rules)) is not None}
    asked = {chain: table.chains[chain][place] for chain, place in led.items()}
    successors = {rule[len(_SUCCESSOR) :]: chain for chain, rule in asked.items() if rule.startswith(_SUCCESSOR)}
    chains = {}
    for chain, rules in table.chains.items():
        if not on:
            chains[chain] = [rule for rule in rules if not rule.startswith(WHEN_ON)] if chain in led else rules
        elif not is_ours(chain):
            chains[chain] = [rule[len(WHEN_ON) :] if rule.startswith(WHEN_ON) else rule for rule in rules]
        elif chain in led:
            successor = asked[chain][len(_SUCCESSOR) :] if asked[chain].startswith(_SUCCESSOR) else ""
            chains[chain] = _renamed(rules[: led[chain]] + table.chains.get(successor, []), successors)
        else:
            chains[chain] = _renamed(rules, successors)
    used = _reachable(chains)
    return Table({chain: rules for chain, rules in chains.items() if chain in used}, set(table.builtin))


def _place(rules: t.Sequence[str]) -> int | None:
    """Where the first rule is that asks for the switch; ours are the first ones, unless somebody put others above."""
    return next((place for place, rule in enumerate(rules) if rule.startswith(WHEN_ON)), None)


def _reachable(chains: t.Mapping[str, list[str]]) -> set[str]:
    """The chains that are not ours, and those of ours that they lead to; any others nobody meets."""
    used = {chain for chain in chains if not is_ours(chain)}
    ahead = list(used)
    while ahead:
        for rule in chains[ahead.pop()]:
            chain = target(rule)
            if chain is not None and chain in chains and chain not in used:
                used.add(chain)
                ahead.append(chain)
    return used


def _resolving(name: str, have: Table, want: Table) -> str:
    chains: dict[str, list[str] | None] = {}
    lines = []
    for chain, rules in have.chains.items():
        final = want.chains.get(chain)
        if is_ours(chain):
            if final != rules:
                chains[chain] = final
        elif final is not None and final != rules:
            # In their places, and by their text: somebody else may be at work on this chain.
            stays = len(final) == len(rules)
            for place, rule in enumerate(rules, 1):
                if rule.startswith(WHEN_ON):
                    lines += [f"-I {chain} {place} {rule[len(WHEN_ON) :]}"] if stays else []
                    lines.append(f"-D {chain} {rule}")
    return table_text(name, chains, lines) if chains or lines else ""


def _joined(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
