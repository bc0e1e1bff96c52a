# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What turns a table of the kernel into the wanted one: as one transaction, and in the words of networks.

Rules are compared in the kernel's own bytes, with those of the wanted table as this host's tool and kernel write them.
Elements are compared one by one, so that one more of ten thousand is one element.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..connections import Ways
from ..packet_filter import wording
from .table import FAMILIES, NAME, HeldTable, Set, Table, declare, fill, skeleton

#: Elements on a line of the transaction.
_LINE = 500

Elements = t.Mapping[str, str]
_Pairs = t.AbstractSet[tuple[str, str]]


@dataclasses.dataclass
class Change:
    """What differs in one family; `wanted` None where the table goes."""

    family: str
    held: HeldTable | None
    wanted: Table
    #: Whether the table is made anew, because what it has cannot be turned into what is wanted.
    anew: bool = False
    #: Of sets that differ or come or go: the elements that go and those that come.
    gone: dict[str, Elements] = dataclasses.field(default_factory=dict)
    come: dict[str, Elements] = dataclasses.field(default_factory=dict)
    #: Sets and chains that are not there, and those that are too many.
    new_sets: list[str] = dataclasses.field(default_factory=list)
    old_sets: list[str] = dataclasses.field(default_factory=list)
    new_chains: list[str] = dataclasses.field(default_factory=list)
    old_chains: list[str] = dataclasses.field(default_factory=list)
    #: Chains that are there, with other rules.
    changed_chains: list[str] = dataclasses.field(default_factory=list)

    @property
    def makes_table(self) -> bool:
        return self.held is None

    @property
    def removes_table(self) -> bool:
        return not self.wanted

    def __bool__(self) -> bool:
        return bool(
            self.anew
            or self.makes_table
            or self.removes_table
            or self.gone
            or self.come
            or self.new_sets
            or self.old_sets
            or self.new_chains
            or self.old_chains
            or self.changed_chains
        )


def compare(family: str, held: HeldTable | None, reference: HeldTable, wanted: Table) -> Change | None:
    """What differs, or None. `reference` is the skeleton of the wanted table as the kernel would hold it."""
    if held is None and not wanted:
        return None
    change = Change(family, held, wanted)
    have = held or HeldTable()
    for name, kept in have.sets.items():
        if name not in wanted.sets:
            change.old_sets.append(name)
            if kept.elements:
                change.gone[name] = kept.elements
        elif kept.declaration != reference.sets[name].declaration:
            change.anew = True
    for name, want in wanted.sets.items():
        if name not in have.sets:
            change.new_sets.append(name)
        _compare_elements(change, name, have.sets[name].elements if name in have.sets else {}, want.elements)
    for name, chain in have.chains.items():
        if name not in wanted.chains:
            change.old_chains.append(name)
        elif chain.declaration != reference.chains[name].declaration:
            change.anew = True
        elif chain.rules != reference.chains[name].rules:
            change.changed_chains.append(name)
    change.new_chains = [name for name in wanted.chains if name not in have.chains]
    return change if change else None


def _compare_elements(change: Change, name: str, have: Elements, want: Elements) -> None:
    if have == want:
        return
    gone, come = _beyond(have, want), _beyond(want, have)
    if gone:
        change.gone[name] = gone
    if come:
        change.come[name] = come


def _beyond(these: Elements, those: Elements) -> Elements:
    """The elements that those do not have alike."""
    return {key: value for key, value in these.items() if those.get(key) != value} if those else these


def between(family: str, before: Table, after: Table) -> Change | None:
    """What leads from one table to another that has the same rules; None where these differ as well."""
    kinds, wanted = ({name: made.declaration for name, made in one.sets.items()} for one in (before, after))
    if (before.chains, before.hooks, kinds) != (after.chains, after.hooks, wanted):
        return None
    change = Change(family, HeldTable(), after)
    for name, made in after.sets.items():
        _compare_elements(change, name, before.sets[name].elements, made.elements)
    return change


# -- the transaction --------------------------------------------------------------------------------------------


def compose(changes: t.Iterable[Change]) -> str:
    """One transaction for all families."""
    return "".join(f"{line}\n" for change in changes for line in _compose(change))


def _compose(change: Change) -> list[str]:
    place, wanted = f"{FAMILIES[change.family]} {NAME}", change.wanted
    lines = []
    if change.removes_table or change.anew:
        lines.append(f"delete table {place}")
    if change.removes_table:
        return lines
    if change.makes_table or change.anew:
        lines += skeleton(change.family, wanted)
        for name, made in wanted.sets.items():
            lines += _elements("add", place, name, made, made.elements)
        return lines
    # What is named comes before what names it, and goes after it.
    lines += declare(
        change.family,
        {name: wanted.sets[name] for name in change.new_sets},
        change.new_chains,
        wanted.hooks,
    )
    lines += [f"flush chain {place} {name}" for name in (*change.changed_chains, *change.old_chains)]
    for name, gone in change.gone.items():
        if name in wanted.sets:
            lines += _elements("delete", place, name, wanted.sets[name], dict.fromkeys(gone, ""))
        else:
            lines.append(f"flush {_word(change, name)} {place} {name}")
    for name, come in change.come.items():
        lines += _elements("add", place, name, wanted.sets[name], come)
    lines += fill(change.family, {name: wanted.chains[name] for name in (*change.changed_chains, *change.new_chains)})
    lines += [f"delete chain {place} {name}" for name in change.old_chains]
    lines += [f"delete {_word(change, name)} {place} {name}" for name in change.old_sets]
    return lines


def _word(change: Change, name: str) -> str:
    """Whether one that the kernel holds is a set or a map."""
    return change.held.sets[name].word if change.held and name in change.held.sets else "set"


def _elements(verb: str, place: str, name: str, kind: Set, elements: Elements) -> t.Iterator[str]:
    words = [f"{key} : {value}" if value else key for key, value in elements.items()]
    for start in range(0, len(words), _LINE):
        yield f"{verb} element {place} {name} {{ {', '.join(words[start : start + _LINE])} }}"


# -- what follows from it for connections -----------------------------------------------------------------------


def ways(changes: t.Sequence[Change]) -> tuple[Ways, Ways]:
    """The ways between addresses and guests that go with the changes, and those that come."""
    return _ways_among([change.gone for change in changes]), _ways_among([change.come for change in changes])


def _ways_among(sides: t.Iterable[t.Mapping[str, Elements]]) -> Ways:
    to_guests: list[_Pairs] = []
    from_guests: list[_Pairs] = []
    for side in sides:
        for name, elements in side.items():
            if name.startswith("float-from"):
                from_guests.append(_turned(elements))
            elif name == "float-to":
                to_guests.append(elements.items())
            elif name in ("ports-to", "port-to"):
                to_guests.append({(_first(key), _first(value)) for key, value in elements.items()})
    return Ways(_together(to_guests), _together(from_guests))


def _turned(elements: Elements) -> _Pairs:
    """Values and keys; where no value is there twice, none of the pairs is made."""
    turned = dict(zip(elements.values(), elements))
    return turned.items() if len(turned) == len(elements) else set(zip(elements.values(), elements))


def _together(pairs: list[_Pairs]) -> _Pairs:
    return pairs[0] if len(pairs) == 1 else frozenset().union(*pairs)


def _first(words: str) -> str:
    return words.partition(" . ")[0]


def guards_differ(changes: t.Iterable[Change]) -> bool:
    """Whether anything differs that says what guests let in and out."""
    guards = ("guests-", "in-", "out-", "sg-", "provider")
    return any(name.startswith(guards) for change in changes for name in _touched(change))


# -- the difference, for readers --------------------------------------------------------------------------------


def _touched(change: Change) -> list[str]:
    names = [*change.gone, *change.come, *change.new_sets, *change.old_sets]
    names += [*change.new_chains, *change.old_chains, *change.changed_chains]
    if change.anew:
        names += [*change.wanted.sets, *change.wanted.chains]
    return list(dict.fromkeys(names))


def names(changes: t.Iterable[Change]) -> list[str]:
    """Our chains and sets that differ, as family, table and name."""
    return [f"{change.family} {NAME} {name}" for change in changes for name in _touched(change)]


def text(change: Change, spoken: t.Mapping[str, t.Sequence[str]], after: bool) -> str:
    """The elements and chains that differ, as they are or as they will be.

    `spoken` has the rules of chains that are there, in the tool's words.
    """
    if not change.wanted.hooks if after else change.held is None:
        return ""
    lines = [f"table {FAMILIES[change.family]} {NAME}"]
    for name, elements in (change.come if after else change.gone).items():
        kind = change.wanted.sets[name].word if name in change.wanted.sets else _word(change, name)
        lines += [f"{kind} {name}: {key}" + (f" : {value}" if value else "") for key, value in elements.items()]
    for name in _touched(change):
        rules = change.wanted.chains.get(name) if after else spoken.get(name)
        if rules is not None:
            lines.append(f"chain {name}")
            lines += [f"  {rule}" for rule in rules]
    return "".join(f"{line}\n" for line in lines)


#: What elements of sets are for, each of which serves the network behind it.
_OF_NETWORKS = {
    "networks": "no SNAT towards some",
    "inside": "no SNAT inside",
    "floating-networks": "the way back inside",
    "snat-networks": "SNAT",
    "forced-networks": "SNAT towards some",
    "open-bridges": "forwarding",
    "closed-bridges": "no forwarding",
}


def _facts(name: str, elements: Elements, labels: t.Mapping[str, str]) -> t.Iterable[tuple[str, str]]:
    """Whom each element of a set serves, and how."""
    kind = name.rstrip("0123456789")
    if kind in ("ports-to", "port-to"):
        return ((_ports(key), f"the way to {_place(value)}") for key, value in elements.items())
    if name.startswith("sg-"):
        group = labels.get(name, "a security group that is not in the plan")
        return ((group, f"member {key}") for key in elements)
    if kind in _OF_NETWORKS:
        return ((_network(key, labels), _OF_NETWORKS[kind]) for key in elements)
    if kind in ("guests-in", "guests-out"):
        purpose = "the guard of what comes in" if kind == "guests-in" else "the guard of what goes out"
        return ((f"guest {key}", purpose) for key in elements)
    if kind == "metadata-elsewhere":
        return ((f"bridge {_bare(key)}", "metadata by its own gateway") for key in elements)
    return ()


def _of_floating_ips(change: Change, suffix: str) -> list[str]:
    """A line for each that differs: there may be ten thousand."""
    gone, come = map(_ways, (change.gone, change.come))
    lines = [
        f"floating IP {address}: remove {ways}{f'; add {come[address]}' if address in come else ''}{suffix}"
        for address, ways in gone.items()
    ]
    return lines + [
        f"floating IP {address}: add {ways}{suffix}" for address, ways in come.items() if address not in gone
    ]


def _ways(side: t.Mapping[str, Elements]) -> dict[str, str]:
    """For each floating IP among the elements, which ways these are."""
    found = {address: f"the way to {guest}" for address, guest in side.get("float-to", {}).items()}
    for name, elements in side.items():
        if name.startswith("float-from"):
            for guest, address in elements.items():
                known = found.get(address)
                found[address] = f"the way from {guest}" if known is None else f"{known}, the way from {guest}"
    return found


def _network(key: str, labels: t.Mapping[str, str]) -> str:
    """The network behind a bridge or a range."""
    of_it = _bare(key.partition(" . ")[0])
    is_bridge = key.startswith('"')
    place = of_it if is_bridge or "/" in of_it else f"{of_it}/{128 if ':' in of_it else 32}"
    sort = "bridge" if is_bridge else "range"
    return labels.get(of_it) or labels.get(place) or f"{sort} {of_it}, which is not in the plan"


def _bare(word: str) -> str:
    return word.strip('"')


def _ports(key: str) -> str:
    address, protocol, ports = key.split(" . ")
    return f"{protocol} {ports} of {address}"


def _place(value: str) -> str:
    """An address, with a port or without, as it is written."""
    address, _dot, port = value.partition(" . ")
    return address if not port else f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def actions(change: Change, spoken: t.Mapping[str, t.Sequence[str]], labels: t.Mapping[str, str]) -> list[str]:
    """What the change does, in terms of networks; `labels` names what is behind a bridge, a range or a group."""
    suffix = wording.suffix(change.family)
    whole = f"the table {FAMILIES[change.family]} {NAME}"
    lines = []
    if change.makes_table:
        lines.append(f"add {whole}{suffix}")
    elif change.removes_table:
        lines.append(f"remove {whole}{suffix}")
    else:
        if change.anew:
            lines.append(f"make {whole} anew, which somebody has changed{suffix}")
        for verb, chains in (("add", change.new_chains), ("remove", change.old_chains)):
            if chains:
                lines.append(f"{verb} the chains {', '.join(chains)}{suffix}")
        for verb, sets in (("add", change.new_sets), ("remove", change.old_sets)):
            if sets:
                lines.append(f"{verb} the sets {', '.join(sets)}{suffix}")
        for name in change.changed_chains:
            lines += [line + suffix for line in _rule_actions(name, spoken.get(name, ()), change.wanted.chains[name])]
    subjects = wording.Subjects()
    for verb, side in (("remove", change.gone), ("add", change.come)):
        for name, elements in side.items():
            subjects.tell(verb, _facts(name, elements, labels))
    lines += _of_floating_ips(change, suffix) + subjects.lines(change.family)
    return lines or [f"put {whole} in order{suffix}"]


def _rule_actions(chain: str, before: t.Sequence[str], after: t.Sequence[str]) -> list[str]:
    lines = [f"remove in {chain} the rule '{rule}'" for rule in before if rule not in after]
    lines += [f"add in {chain} the rule '{rule}'" for rule in after if rule not in before]
    return lines or [f"put the rules of {chain} in order"]
