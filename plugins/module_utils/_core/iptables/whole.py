# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole of a host compared: the tables of its families, and the sets that their rules refer to.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ..packet_filter import Intent
from . import sets
from .difference import Change, compare
from .render import render
from .security import member_sets
from .table import Table

Tables = t.Mapping[str, Table]


def compare_all(
    meaning: Intent, tables: t.Mapping[str, Tables], have: sets.Sets, checksum: bool = True
) -> tuple[dict[str, list[Change]], sets.Difference]:
    """What differs in the tables of each family that is managed, and in the sets."""
    sections = {"ipv4": (4, meaning.security), "ipv6": (6, meaning.security_v6)}
    wanted = {family: member_sets(section, version) for family, (version, section) in sections.items()}
    want = {name: members for of_family in wanted.values() for name, members in of_family.items()}
    now = sets.generations(have, want, sets.in_use(tables.values()))
    rendered = {family: render(meaning, family, checksum) for family in tables}
    changes = {
        family: compare(tables[family], {**wants, "filter": sets.named(wants["filter"], now)})
        for family, wants in rendered.items()
    }
    moving: set[str] = set()
    for family, of_family in changes.items():
        # Those of nat as well: they say whom a packet is for that members are let in to.
        rules = any(change.table != "mangle" for change in of_family)
        if not sets.stays(sections[family][1], have, wanted[family], now, rules):
            moving.update(wanted[family])
    # What a rule of somebody else's refers to stays where it is: it could not be destroyed.
    others = sets.in_use(tables.values(), ours=False)
    moving -= {name for name in moving if now[name] in others}
    difference = sets.compare(have, want, now, moving)
    if difference.names != now:
        for family, of_family in changes.items():
            rules_alone = {"filter": sets.named(rendered[family]["filter"], difference.names)}
            rest = [change for change in of_family if change.table != "filter"]
            changes[family] = compare(tables[family], rules_alone) + rest
    return changes, difference
