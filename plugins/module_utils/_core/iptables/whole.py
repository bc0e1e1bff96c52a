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
    changes = {family: compare(of_it, render(meaning, family, checksum, now)) for family, of_it in tables.items()}
    moving: set[str] = set()
    for family, of_family in changes.items():
        rules = any(change.table == "filter" for change in of_family)
        if not sets.stays(sections[family][1], have, wanted[family], now, rules):
            moving.update(wanted[family])
    difference = sets.compare(have, want, now, moving)
    if difference.names != now:
        changes = {
            family: compare(of_it, render(meaning, family, checksum, difference.names))
            for family, of_it in tables.items()
        }
    return changes, difference
