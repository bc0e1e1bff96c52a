# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A ledger that asks the database for what an operation needs, so that one command costs the same on any site.

All it reads is of one moment, that of its transaction. What is put and dropped is kept here; who owns the transaction
writes the `changes` at its end. Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import heapq
import typing as t

from .._core import addressing
from .._core.kinds import KINDS, Kind
from .._core.ledger import KIND_OF, Ledger, Overlay, Record, reusable
from .._core.state import Change, FixedIp, FloatingIp, Instance
from . import engines, runs, schema

try:
    from sqlalchemy.engine import Connection
except ImportError:
    pass  # told by store.SQLALCHEMY_IMPORT_ERROR

#: Rows asked for at once where the first that fits is looked for.
_PAGE = 20

_FIXED_IPS, _FLOATING_IPS, _INSTANCES = KIND_OF[FixedIp], KIND_OF[FloatingIp], KIND_OF[Instance]

#: A network and the number of an IPv4 address in it.
_Place = tuple[str, int]


class SqlLedger(Ledger):
    """The records of a store of today's version, in a transaction that is under way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._overlay = Overlay()
        #: What was read, by kind and key: the record, or None where there is none.
        self._read: dict[str, dict[t.Any, t.Any]] = {kind.name: {} for kind in KINDS}
        #: Kinds of which everything was read.
        self._whole: set[str] = set()
        #: Places that only the overlay has, and places that only the database has.
        self._put, self._dropped = _Places(), _Places()
        #: By network, first and last number: all numbers before this one have a record.
        self._reached: dict[tuple[str, int, int], int] = {}
        #: By the question: where its answers begin that are not all in the overlay.
        self._passed: dict[tuple[t.Any, ...], tuple[t.Any, ...]] = {}

    def changes(self) -> dict[str, Change]:
        """What has become of the records, as `state.difference` tells it, in the order of their keys."""
        found = self._overlay.changes()
        for kind in KINDS:
            if kind.name in found:
                removed, altered, added = found[kind.name]
                removed.sort(key=kind.key_of)
                altered.sort(key=lambda pair, kind=kind: kind.key_of(pair[1]))  # type: ignore[misc]
                added.sort(key=kind.key_of)
        return found

    def get(self, record: type[Record], key: t.Any) -> Record | None:
        return t.cast("Record | None", self._now(KIND_OF[record], key))

    def where(self, record: type[Record], **columns: t.Any) -> list[Record]:
        kind = KIND_OF[record]
        if not columns and kind.name in self._whole:
            stored = [row for row in self._read[kind.name].values() if row is not None]
        else:
            stored = self._where(kind, columns)
            if not columns:
                self._whole.add(kind.name)
        return self._overlay.merged(kind, stored, columns)

    def put(self, row: t.Any) -> None:
        kind = KIND_OF[type(row)]
        self._set(kind, kind.key_of(row), row)

    def drop(self, row: t.Any) -> None:
        kind = KIND_OF[type(row)]
        self._set(kind, kind.key_of(row), None)

    def untouched(self, network: str, first: int, last: int) -> int | None:
        """Found by the runs of numbers that have a record, one after the other from the first number on."""
        low = self._reached.get((network, first, last), first)
        while low <= last:
            end = low if self._put.has(network, low) else runs.end_of(self._connection, network, low)
            dropped = self._dropped.next(network, low)
            if end is None or (dropped is not None and dropped <= end):
                found = low if end is None else t.cast(int, dropped)
                # Even if somebody has been at the tables by hand: what has a record is nobody else's.
                if self._now(_FIXED_IPS, addressing.text(found)) is None:
                    self._reached[network, first, last] = found
                    return found if found <= last else None
                end = found
            low = end + 1
        return None

    def released(self, network: str, now: float) -> t.Iterator[FixedIp]:
        stored = self._in_order(
            _FIXED_IPS,
            "network = ? AND number IS NOT NULL AND released_at IS NOT NULL AND reserved_by IS NULL"
            " AND (quarantined_until IS NULL OR quarantined_until <= ?)",
            (network, now),
            ("released_at", "number"),
            _unused_since,
        )
        changed = [
            row
            for row in self._overlay.rows(_FIXED_IPS)
            if row.network == network and row.version == 4 and reusable(row, now)
        ]
        return heapq.merge(stored, sorted(changed, key=_unused_since), key=_unused_since)

    def unallocated(self, pool: str) -> FloatingIp | None:
        free = "pool = ? AND project IS NULL"
        number = addressing.number
        stored = self._in_order(
            _FLOATING_IPS, f"{free} AND number IS NOT NULL", (pool,), ("number",), lambda row: (number(row.address),)
        )
        found = [row for row in self._overlay.rows(_FLOATING_IPS) if row.pool == pool and row.project is None]
        found += [row for row in [next(stored, None)] if row is not None]
        if all(addressing.version(row.address) == 6 for row in found):
            # Their numbers are too large for a column to have them in order.
            rows = schema.select(self._connection, _FLOATING_IPS, f"WHERE {free} AND number IS NULL", (pool,))
            found += [row for row in rows if not self._overlay.known(_FLOATING_IPS, row.address)]
        return min(found, key=lambda row: addressing.order(row.address), default=None)

    def holdings_of_project(self, project: str) -> int:
        """What the database counts, put right by what has changed."""
        statement = "SELECT count(*) FROM fixed_ips JOIN instances ON instance = instances.name WHERE project = ?"
        count = self._scalar(statement, (project,))
        changes, none = self._overlay.changes(), Change([], [], [])
        addresses = changes.get(_FIXED_IPS.name, none)
        before = addresses.removed + [old for old, _new in addresses.altered]
        after = [new for _old, new in addresses.altered] + addresses.added
        count -= sum(_of(project, self._stored(_INSTANCES, row.instance)) for row in before)
        count += sum(_of(project, self._now(_INSTANCES, row.instance)) for row in after)
        moved = {row.address for row in before}
        instances = changes.get(_INSTANCES.name, none)
        for old, new in [(old, None) for old in instances.removed] + instances.altered:
            step = _of(project, new) - _of(project, old)
            if step:
                held = self._where(_FIXED_IPS, {"instance": old.name})
                count += step * sum(row.address not in moved for row in held)
        return count

    # --- what is stored, and what lies over it ------------------------------------------------------------------------

    def _set(self, kind: Kind, key: t.Any, row: t.Any) -> None:
        stored, former = self._stored(kind, key), self._now(kind, key)
        self._overlay.set(kind, key, stored, row)
        if kind is _FIXED_IPS:
            self._move(_place(stored), _place(former), _place(row))

    def _move(self, stored: _Place | None, former: _Place | None, place: _Place | None) -> None:
        if place == former:
            return
        self._put.discard(former)
        self._dropped.discard(stored)
        if place != stored:
            self._put.add(place)
            self._dropped.add(stored)
        if former is not None:
            self._reached = {known: value for known, value in self._reached.items() if known[0] != former[0]}

    def _now(self, kind: Kind, key: t.Any) -> t.Any:
        return self._overlay.now(kind, key) if self._overlay.known(kind, key) else self._stored(kind, key)

    def _stored(self, kind: Kind, key: t.Any) -> t.Any:
        read = self._read[kind.name]
        if key is not None and key not in read and kind.name not in self._whole:
            self._where(kind, dict(zip(kind.key, key if len(kind.key) > 1 else (key,))))
            read.setdefault(key, None)
        return read.get(key)

    def _where(self, kind: Kind, columns: dict[str, t.Any]) -> list[t.Any]:
        conditions = [f"{name} IS NULL" if value is None else f"{name} = ?" for name, value in columns.items()]
        values = tuple(value for value in columns.values() if value is not None)
        rest = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        found = schema.select(self._connection, kind, rest, values)
        self._read[kind.name].update(kind.by_key(found))
        return found

    def _in_order(
        self,
        kind: Kind,
        condition: str,
        values: tuple[t.Any, ...],
        columns: tuple[str, ...],
        place: t.Callable[[t.Any], tuple[t.Any, ...]],
    ) -> t.Iterator[t.Any]:
        """Records in the order of the columns, page by page, without those that the overlay has.

        What the overlay has once it has for good, so a next question need not go over the first of them again.
        """
        question = (kind.name, *values)
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        after = self._passed.get(question, ())
        passing = True
        while True:
            beyond = f" AND ({names}) > ({marks})" if after else ""
            rest = f"WHERE {condition}{beyond} ORDER BY {names} LIMIT {_PAGE}"
            page = schema.select(self._connection, kind, rest, values + after)
            for row in page:
                after = place(row)
                if not self._overlay.known(kind, kind.key_of(row)):
                    passing = False
                    yield row
                elif passing:
                    self._passed[question] = after
            if len(page) < _PAGE:
                return

    def _scalar(self, statement: str, values: tuple[t.Any, ...]) -> int:
        return t.cast(int, engines.execute(self._connection, statement, values).scalar())


def _place(row: FixedIp | None) -> _Place | None:
    return (row.network, addressing.number(row.address)) if row is not None and row.version == 4 else None


def _unused_since(row: FixedIp) -> tuple[float, int]:
    return t.cast(float, row.released_at), addressing.number(row.address)


def _of(project: str, instance: Instance | None) -> int:
    return int(instance is not None and instance.project == project)


class _Places:
    """Numbers by their network, in order."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}

    def add(self, place: _Place | None) -> None:
        if place is not None:
            bisect.insort(self._numbers.setdefault(place[0], []), place[1])

    def discard(self, place: _Place | None) -> None:
        numbers = self._numbers.get(place[0], []) if place is not None else []
        if place is not None:
            index = bisect.bisect_left(numbers, place[1])
            if numbers[index : index + 1] == [place[1]]:
                del numbers[index]

    def has(self, network: str, number: int) -> bool:
        return self.next(network, number) == number

    def next(self, network: str, number: int) -> int | None:
        """The lowest one from this number on."""
        numbers = self._numbers.get(network, [])
        index = bisect.bisect_left(numbers, number)
        return numbers[index] if index < len(numbers) else None
