# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets of addresses for iptables: read, compared, composed into one restore before the rules and one after.

A set is changed apart from the rules. So that an old rule never meets new members, nor a new rule old ones, a set has
two *generations*, two names of which the rules refer to one: where rules change as well, the new members go into the
other one, and the commit of the rules goes over to it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..guest_rules import Section
from ..naming import CHAIN_PREFIX
from .table import Table, Wanted, is_ours

Sets = t.Mapping[str, frozenset[str]]

_KIND = "hash:ip family"
_V6 = f"{CHAIN_PREFIX}-sg6-"
#: The kernel's own limit of 65,536 would be met by one group of a large site.
_MOST = 1 << 20

#: What the name of the second generation ends with.
_SECOND = "-2"
_NAMED = re.compile(r"--match-set (\S+) ")


def any_ours(names: str) -> bool:
    """Whether one of the sets, each on a line, is ours."""
    return any(name.startswith(CHAIN_PREFIX + "-") for name in names.split())


def parse_save(text: str) -> dict[str, frozenset[str]]:
    """Our sets in what `ipset save` printed."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        verb, _blank, rest = line.partition(" ")
        name, _blank, rest = rest.partition(" ")
        if not name.startswith(CHAIN_PREFIX + "-"):
            continue
        if verb == "create":
            found[name] = []
        elif verb == "add":
            found[name].append(rest.split(" ")[0])
    return {name: frozenset(members) for name, members in found.items()}


# -- generations ------------------------------------------------------------------------------------------------


def other(name: str) -> str:
    """The other generation of a set."""
    return name[: -len(_SECOND)] if name.endswith(_SECOND) else name + _SECOND


def plain(rule: str) -> str:
    """The rule as it is with the first generation of its set."""
    return rule.replace(f"{_SECOND} src", " src").replace(f"{_SECOND} dst", " dst") if "--match-set" in rule else rule


def named(wanted: Wanted, names: t.Mapping[str, str]) -> Wanted:
    """The table with rules that refer to these generations of sets."""

    def of_it(rule: str) -> str:
        found = _NAMED.search(rule) if "--match-set" in rule else None
        return f"{rule[: found.start(1)]}{names[found[1]]}{rule[found.end(1) :]}" if found else rule

    return Wanted({chain: list(map(of_it, rules)) for chain, rules in wanted.chains.items()}, wanted.hooks)


def in_use(tables: t.Iterable[t.Mapping[str, Table]], ours: bool = True) -> frozenset[str]:
    """The sets that rules of ours refer to, or those of others."""
    rules = (
        rule
        for of_family in tables
        for table in of_family.values()
        for chain, rules in table.chains.items()
        if is_ours(chain) == ours
        for rule in rules
        if "--match-set" in rule
    )
    return frozenset(found[1] for found in map(_NAMED.search, rules) if found)


def generations(have: Sets, want: Sets, used: frozenset[str]) -> dict[str, str]:
    """The generation of each wanted set that the rules refer to now; where they refer to none, that which there is."""

    def is_second(name: str) -> bool:
        second = other(name)
        return name not in used and second in have and (second in used or name not in have)

    return {name: other(name) if is_second(name) else name for name in want}


def stays(section: Section, have: Sets, want: Sets, now: t.Mapping[str, str], rules: bool) -> bool:
    """Whether members may come and go where they are, in the sets of one family, while packets pass.

    Not where `rules` change too. Else additions come first and removals last, and in between there is more in the sets
    than in those of either plan. As rules that name a set only ever accept, a packet that one of them accepts then
    is accepted by the old plan, of which the member is, or by the new one. Where what goes out is limited by members
    as well, a packet has to be accepted twice, once perhaps by the old plan and once by the new one: there
    it is sound as long as members only come, or only go.
    """
    if rules:
        return False
    come = any(want[name] - have.get(now[name], frozenset()) for name in want)
    go = any(have.get(now[name], frozenset()) - want[name] for name in want)
    twice = any(rule.group is not None for group in section.groups for rule in group.egress)
    return not (come and go and twice)


# -- the difference ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Difference:
    """What turns the sets into the wanted ones."""

    #: The generation of each wanted set.
    names: t.Mapping[str, str]
    create: tuple[str, ...]
    add: t.Mapping[str, list[str]]
    remove: t.Mapping[str, list[str]]
    destroy: tuple[str, ...]
    #: What it comes to: members that come and that go, whatever the generation.
    come: t.Mapping[str, list[str]]
    go: t.Mapping[str, list[str]]
    made: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.create or self.add or self.remove or self.destroy)

    def before_rules(self) -> str:
        """What the rules need: sets have to be there before a rule names them. Members come before others go."""
        lines = [
            f"create {name} {_KIND} {'inet6' if name.startswith(_V6) else 'inet'} maxelem {_MOST} -exist"
            for name in self.create
        ]
        lines += [f"add {name} {member} -exist" for name, members in self.add.items() for member in members]
        lines += [f"del {name} {member} -exist" for name, members in self.remove.items() for member in members]
        return "".join(f"{line}\n" for line in lines)

    def after_rules(self) -> str:
        """What no rule names any more."""
        return "".join(f"destroy {name}\n" for name in self.destroy)

    def actions(self, labels: t.Mapping[str, str]) -> list[str]:
        def told(name: str) -> str:
            return labels.get(name, f"set {name}")

        replaced = {other(name) for name in self.names.values()} if self.come or self.go else set()
        return [
            *(f"{told(name)}: add member {member}" for name, members in self.come.items() for member in members),
            *(f"{told(name)}: remove member {member}" for name, members in self.go.items() for member in members),
            *(f"make the set of members of {told(name)}" for name in self.made if name not in self.come),
            *(f"remove the set {name}" for name in self.destroy if name not in replaced),
        ]


UNCHANGED = Difference({}, (), {}, {}, (), {}, {}, ())


def compare(have: Sets, want: Sets, now: t.Mapping[str, str], moving: t.Container[str] = ()) -> Difference:
    """The sets that differ; a foreign one is not among them.

    `now` has the generation that is in use, which those of `moving` leave where their members differ.
    """
    none: frozenset[str] = frozenset()
    names = {
        name: other(now[name]) if name in moving and now[name] in have and have[now[name]] != members else now[name]
        for name, members in want.items()
    }
    to = {names[name]: members for name, members in want.items()}
    old = {name: have.get(now[name], none) for name in want}
    return Difference(
        names=names,
        create=tuple(name for name in to if name not in have),
        add=_sorted({name: members - have.get(name, none) for name, members in to.items()}),
        remove=_sorted({name: have.get(name, none) - members for name, members in to.items()}),
        destroy=tuple(name for name in have if name not in to),
        come=_sorted({name: members - old[name] for name, members in want.items()}),
        go=_sorted({name: old[name] - members for name, members in want.items()}),
        made=tuple(name for name in want if now[name] not in have),
    )


def _sorted(sets: Sets) -> dict[str, list[str]]:
    return {name: sorted(members) for name, members in sets.items() if members}
