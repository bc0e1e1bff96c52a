# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an older form of the records to today's, one version at a time.

A migration is a pure function on the rows of all kinds, so one and the same brings up to date a store of either
engine and an old export. Where only a table's keys, references or checks change, its function does nothing: the
tables are made anew for every version. Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .kinds import Rows

#: Written into each store and export.
SCHEMA_VERSION = 2


def _origin(rows: Rows) -> None:
    """Version 1 knew no commands: all was made by the inventory."""
    for name in ("projects", "networks", "instances"):
        for row in rows.get(name, []):
            row["origin"] = "inventory"


#: From each version to the next one.
MIGRATIONS: dict[int, t.Callable[[Rows], None]] = {1: _origin}

#: Kinds that a version had and today's has not; their tables go with the migration.
FORMER_KINDS: tuple[str, ...] = ()


def migrate(rows: Rows, version: int) -> Rows:
    """The rows, which are changed in place, as today's version has them."""
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](rows)
    return rows
