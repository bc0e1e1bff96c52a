# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: the records of a store as operations see them, looked up by key or by columns, put and dropped.

Operations are written once against it. A whole declaration works on a `MemoryLedger`; a single command on one that
asks the database for what it needs, so that its cost does not grow with the site (`_drivers/sql_ledger`).
Private to the collection; may change at any time.
"""

from __future__ import annotations

import abc
import bisect
import heapq
import operator
import typing as t

from . import addressing
from .kinds import KINDS, Kind
from .state import (
    Change,
    FixedIp,
    FloatingIp,
    Instance,
    Membership,
    Network,
    PortForward,
    Project,
    SecurityGroup,
    SecurityGroupRule,
    State,
    Vif,
)

KIND_OF: dict[type, Kind] = {kind.record: kind for kind in KINDS}

Record = t.TypeVar(
    "Record",
    Project,
    Network,
    SecurityGroup,
    SecurityGroupRule,
    Instance,
    Membership,
    Vif,
    FixedIp,
    FloatingIp,
    PortForward,
)


class Ledger(abc.ABC):
    """Records by their type, such as `ledger.get(Network, "blue")`. Records with equal columns come in key order."""

    @abc.abstractmethod
    def get(self, record: type[Record], key: t.Any) -> Record | None:
        """The record of that key."""

    @abc.abstractmethod
    def where(self, record: type[Record], **columns: t.Any) -> list[Record]:
        """The records whose columns have these values."""

    @abc.abstractmethod
    def put(self, row: t.Any) -> None:
        """Add the record, or put it in the place of the one with its key."""

    @abc.abstractmethod
    def drop(self, row: t.Any) -> None:
        """Remove the record."""

    @abc.abstractmethod
    def untouched(self, network: str, first: int, last: int) -> int | None:
        """The lowest IPv4 address of the network from `first` to `last` that has no record, as a number."""

    @abc.abstractmethod
    def released(self, network: str, now: float) -> t.Iterator[FixedIp]:
        """IPv4 addresses of the network that may be given out again at `now`, the one unused longest first."""

    @abc.abstractmethod
    def unallocated(self, pool: str) -> FloatingIp | None:
        """The lowest floating IP of the pool that no project has."""

    @abc.abstractmethod
    def holdings_of_project(self, project: str) -> int:
        """How many fixed IPs the instances of the project hold."""


def quarantined(row: FixedIp, now: float) -> bool:
    """Whether the address was given back, but its former guest may still use it."""
    return row.quarantined_until is not None and row.quarantined_until > now


def reusable(row: FixedIp, now: float) -> bool:
    """Whether an address that was given back may go to somebody else: not reserved, and no lease of it in use."""
    return row.released_at is not None and row.reserved_by is None and not quarantined(row, now)


def _waiting(row: FixedIp) -> tuple[float, int, str]:
    """Sorts the address that has been unused longest last, and the lowest one of equals."""
    return (-t.cast(float, row.released_at), -addressing.number(row.address), row.address)


def _waits(row: FixedIp | None, entry: tuple[float, int, str]) -> bool:
    """Whether the address has not been held since it was put down so."""
    return row is not None and row.released_at is not None and -row.released_at == entry[0]


class MemoryLedger(Ledger):
    """All records of a state, which stays as it is; `state()` is what became of it."""

    def __init__(self, state: State) -> None:
        self._rows: dict[type, dict[t.Any, t.Any]] = {kind.record: dict(getattr(state, kind.name)) for kind in KINDS}
        self._indexes: dict[type, dict[tuple[tuple[str, ...], tuple[bool, ...]], _Index]] = {
            kind.record: {} for kind in KINDS
        }
        #: By network: its numbers that have a record, and where the search for one without has come to.
        self._numbers: dict[str, set[int]] | None = None
        self._cursors: dict[tuple[str, int, int], int] = {}
        #: By network: its addresses that were given back, the one unused longest at the end; some may be held again.
        self._waiting: dict[str, list[tuple[float, int, str]]] = {}
        #: By pool, as a heap: its floating IPs that no project had; some may be allocated by now.
        self._unallocated: dict[str, list[tuple[tuple[int, int], str]]] = {}

    def state(self) -> State:
        """In the order of the keys, as a store gives it."""
        return State(**{kind.name: dict(sorted(self._rows[kind.record].items())) for kind in KINDS})

    def all(self, record: type[Record]) -> dict[t.Any, Record]:
        return self._rows[record]

    def get(self, record: type[Record], key: t.Any) -> Record | None:
        return self._rows[record].get(key)

    def where(self, record: type[Record], **columns: t.Any) -> list[Record]:
        rows = self._rows[record]
        if not columns:
            return [rows[key] for key in sorted(rows)]
        values = tuple(columns.values())
        found = self._index(record, tuple(columns), values).rows.get(values)
        if not found:
            return []
        return [rows[key] for key in (sorted(found) if len(found) > 1 else found)]

    def put(self, row: t.Any) -> None:
        record = type(row)
        key = _KEY[record](row)
        old = self._rows[record].get(key)
        self._rows[record][key] = row
        for index in self._indexes[record].values():
            if old is not None:
                index.remove(old, key)
            index.add(row, key)
        if record is FixedIp:
            if old is not None and old.network != row.network:
                self._leave(old)
            self._number(row)
        elif record is FloatingIp and row.project is None and row.pool in self._unallocated:
            heapq.heappush(self._unallocated[row.pool], (addressing.order(row.address), row.address))

    def drop(self, row: t.Any) -> None:
        record = type(row)
        key = _KEY[record](row)
        old = self._rows[record].pop(key)
        for index in self._indexes[record].values():
            index.remove(old, key)
        if record is FixedIp:
            self._leave(old)

    def untouched(self, network: str, first: int, last: int) -> int | None:
        if self._numbers is None:
            self._numbers = {}
            for row in self._rows[FixedIp].values():
                self._number(row)
        taken = self._numbers.get(network, ())
        value = self._cursors.get((network, first, last), first)
        while value <= last and value in taken:
            value += 1
        self._cursors[network, first, last] = value
        return value if value <= last else None

    def released(self, network: str, now: float) -> t.Iterator[FixedIp]:
        waiting = self._waiting.get(network)
        if waiting is None:
            rows = self.where(FixedIp, network=network)
            waiting = sorted(_waiting(row) for row in rows if row.version == 4 and row.released_at is not None)
            self._waiting[network] = waiting
        rows_of = self._rows[FixedIp]
        while waiting and not _waits(rows_of.get(waiting[-1][2]), waiting[-1]):
            waiting.pop()
        for entry in reversed(waiting):
            row = rows_of.get(entry[2])
            if row is not None and row.network == network and _waits(row, entry) and reusable(row, now):
                yield row

    def unallocated(self, pool: str) -> FloatingIp | None:
        heap = self._unallocated.get(pool)
        if heap is None:
            rows = self.where(FloatingIp, pool=pool, project=None)
            heap = self._unallocated[pool] = [(addressing.order(row.address), row.address) for row in rows]
            heapq.heapify(heap)
        while heap:
            row = self.get(FloatingIp, heap[0][1])
            if row is not None and row.pool == pool and row.project is None:
                return row
            heapq.heappop(heap)
        return None

    def holdings_of_project(self, project: str) -> int:
        instances = self.where(Instance, project=project)
        return sum(len(self.where(FixedIp, instance=instance.name)) for instance in instances)

    def _leave(self, row: FixedIp) -> None:
        """The address has no record in its network any longer."""
        if row.version == 4 and self._numbers is not None:
            self._numbers[row.network].discard(addressing.number(row.address))
            self._cursors = {known: value for known, value in self._cursors.items() if known[0] != row.network}

    def _number(self, row: FixedIp) -> None:
        if row.version != 4:
            return
        if self._numbers is not None:
            self._numbers.setdefault(row.network, set()).add(addressing.number(row.address))
        waiting = self._waiting.get(row.network)
        if waiting is not None and row.released_at is not None:
            entry = _waiting(row)
            place = bisect.bisect_left(waiting, entry)
            if waiting[place : place + 1] != [entry]:
                waiting.insert(place, entry)

    def _index(self, record: type, columns: tuple[str, ...], values: tuple[t.Any, ...]) -> _Index:
        """Made at the first question, kept up from then on. One for each set of columns that are asked to be None."""
        nulls = tuple([value is None for value in values])
        known = self._indexes[record].get((columns, nulls))
        if known is None:
            known = self._indexes[record][columns, nulls] = _Index(columns, nulls)
            for key, row in self._rows[record].items():
                known.add(row, key)
        return known


_KEY: dict[type, t.Callable[[t.Any], t.Any]] = {kind.record: operator.attrgetter(*kind.key) for kind in KINDS}


class _Index:
    """Keys of records by the values of some of their columns, those alone that are None where `nulls` says so."""

    def __init__(self, columns: tuple[str, ...], nulls: tuple[bool, ...]) -> None:
        value = operator.attrgetter(*columns)
        self._value = value if len(columns) > 1 else lambda row: (value(row),)
        self._nulls = nulls if any(nulls) else None
        self.rows: dict[tuple[t.Any, ...], dict[t.Any, None]] = {}

    def add(self, row: t.Any, key: t.Any) -> None:
        value = self._value(row)
        if self._holds(value):
            self.rows.setdefault(value, {})[key] = None

    def remove(self, row: t.Any, key: t.Any) -> None:
        value = self._value(row)
        if self._holds(value):
            del self.rows[value][key]

    def _holds(self, value: tuple[t.Any, ...]) -> bool:
        if self._nulls is None:
            return None not in value
        return tuple([each is None for each in value]) == self._nulls


class Overlay:
    """What was put and dropped, on top of records that stay as they are until it is written."""

    def __init__(self) -> None:
        #: By kind and key: the record before (None where there was none) and now (None where it is dropped).
        self._changed: dict[str, dict[t.Any, tuple[t.Any, t.Any]]] = {kind.name: {} for kind in KINDS}

    def known(self, kind: Kind, key: t.Any) -> bool:
        return key in self._changed[kind.name]

    def now(self, kind: Kind, key: t.Any) -> t.Any:
        return self._changed[kind.name][key][1]

    def set(self, kind: Kind, key: t.Any, before: t.Any, now: t.Any) -> None:
        """`before` counts only where the key was not changed yet."""
        known = self._changed[kind.name].get(key)
        self._changed[kind.name][key] = (before if known is None else known[0], now)

    def merged(self, kind: Kind, stored: list[t.Any], columns: dict[str, t.Any]) -> list[t.Any]:
        """The records with these columns: those stored as such and not changed, and those changed to be so."""
        changed = self._changed[kind.name]
        found = [row for row in stored if kind.key_of(row) not in changed]
        for _before, now in changed.values():
            if now is not None and all(getattr(now, name) == value for name, value in columns.items()):
                found.append(now)
        return sorted(found, key=kind.key_of)

    def rows(self, kind: Kind) -> list[t.Any]:
        return [now for _before, now in self._changed[kind.name].values() if now is not None]

    def changes(self) -> dict[str, Change]:
        """As `state.difference` tells them."""
        found = {}
        for kind in KINDS:
            pairs = [(before, now) for before, now in self._changed[kind.name].values() if before != now]
            change = Change(
                [before for before, now in pairs if now is None],
                [(before, now) for before, now in pairs if before is not None and now is not None],
                [now for before, now in pairs if before is None],
            )
            if any(change):
                found[kind.name] = change
        return found
