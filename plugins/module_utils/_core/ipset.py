# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets of addresses for iptables: read, compared, composed into one restore before the rules and one after.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .naming import CHAIN_PREFIX

Sets = t.Mapping[str, frozenset[str]]

_KIND = "hash:ip family"
_V6 = f"{CHAIN_PREFIX}-sg6-"
#: The kernel's own limit of 65,536 would be met by one group of a large site.
_MOST = 1 << 20


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


@dataclasses.dataclass(frozen=True)
class Difference:
    """What turns the sets into the wanted ones."""

    create: tuple[str, ...]
    add: t.Mapping[str, list[str]]
    remove: t.Mapping[str, list[str]]
    destroy: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.create or self.add or self.remove or self.destroy)

    def before_rules(self) -> str:
        """What the rules need: sets have to be there before a rule names them."""
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

        return [
            *(f"{told(name)}: add member {member}" for name, members in self.add.items() for member in members),
            *(f"{told(name)}: remove member {member}" for name, members in self.remove.items() for member in members),
            *(f"make the set of members of {told(name)}" for name in self.create if name not in self.add),
            *(f"remove the set {name}" for name in self.destroy),
        ]


def compare(have: Sets, want: Sets) -> Difference:
    """The sets that differ; a foreign one is not among them."""
    return Difference(
        tuple(name for name in want if name not in have),
        {
            name: sorted(members - have.get(name, frozenset()))
            for name, members in want.items()
            if members - have.get(name, frozenset())
        },
        {name: sorted(have[name] - members) for name, members in want.items() if name in have and have[name] - members},
        tuple(name for name in have if name not in want),
    )
