# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of IPv4 addresses that have a record, so that the lowest one without is found at once, however many there are.

A network that fills from below has one run. The table follows from the fixed IPs, is written with them, and is no
record itself. Private to the collection; may change at any time.
"""

from __future__ import annotations

import collections
import typing as t

from .._core import addressing
from .._core.state import Change, FixedIp
from .engines import execute

try:
    import sqlalchemy as sa
    from sqlalchemy.engine import Connection
except ImportError:
    pass  # told by store.SQLALCHEMY_IMPORT_ERROR

NAME = "fixed_ip_runs"

#: First and last number, both with a record, as are all between them.
Run = tuple[int, int]


def table(metadata: t.Any) -> t.Any:
    return sa.Table(
        NAME,
        metadata,
        sa.Column("network", sa.Text, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )


def end_of(connection: Connection, network: str, number: int) -> int | None:
    """The last number of the run that this one is in."""
    statement = f"SELECT last FROM {NAME} WHERE network = ? AND first <= ? ORDER BY first DESC LIMIT 1"
    last = execute(connection, statement, (network, number)).scalar()
    return last if last is not None and last >= number else None


def update(connection: Connection, change: Change) -> None:
    """After a change of the fixed IPs: only the runs that it touches are read and written."""
    gone = numbers(change.removed + [old for old, _new in change.altered])
    came = numbers([new for _old, new in change.altered] + change.added)
    for network in {**gone, **came}:
        left, taken = gone[network] - came[network], came[network] - gone[network]
        if left or taken:
            _update(connection, network, left, taken)


def _update(connection: Connection, network: str, left: set[int], taken: set[int]) -> None:
    low, high = min(left | taken), max(left | taken)
    # The run that begins below may reach up to these numbers, and one that begins right above them may join.
    statement = (
        f"SELECT first, last FROM {NAME} WHERE network = ? AND first <= ? AND first >="
        f" coalesce((SELECT max(first) FROM {NAME} WHERE network = ? AND first < ?), ?)"
    )
    there: set[Run] = set(map(tuple, execute(connection, statement, (network, high + 1, network, low, low))))
    wanted = set(without(joined([*there, *runs_of(taken)]), runs_of(left)))
    gone, new = sorted(there - wanted), sorted(wanted - there)
    if gone:
        statement = f"DELETE FROM {NAME} WHERE network = ? AND first = ?"
        execute(connection, statement, [(network, first) for first, _last in gone])
    if new:
        statement = f"INSERT INTO {NAME} (network, first, last) VALUES (?, ?, ?)"
        execute(connection, statement, [(network, first, last) for first, last in new])


def numbers(rows: t.Iterable[FixedIp]) -> dict[str, set[int]]:
    """By network, the numbers of the IPv4 addresses."""
    found: dict[str, set[int]] = collections.defaultdict(set)
    for row in rows:
        if row.version == 4:
            found[row.network].add(addressing.number(row.address))
    return found


def runs_of(values: t.Iterable[int]) -> list[Run]:
    return joined((value, value) for value in values)


def joined(runs: t.Iterable[Run]) -> list[Run]:
    """Those that overlap or adjoin become one."""
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def without(runs: list[Run], holes: list[Run]) -> list[Run]:
    """The runs less the holes; both in order and apart from each other."""
    found = []
    place = 0
    for first, last in runs:
        while place < len(holes) and holes[place][1] < first:
            place += 1
        at = place
        while at < len(holes) and holes[at][0] <= last:
            if holes[at][0] > first:
                found.append((first, holes[at][0] - 1))
            first = max(first, holes[at][1] + 1)
            at += 1
        if first <= last:
            found.append((first, last))
    return found
