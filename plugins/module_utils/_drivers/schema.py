# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables, made from the kinds of records; what must never be, such as one address held twice, they refuse.

References are checked at the end of the transaction, so rows may be written in any order. Private to the collection;
may change at any time.
"""

from __future__ import annotations

import functools
import operator
import typing as t

from .._core import history, kinds, migrations
from .._core.errors import StoreError
from .._core.history import Event
from .._core.kinds import KINDS, Kind, Rows
from .._core.state import Change, FixedIp, State
from . import runs
from .engines import execute

try:
    import sqlalchemy as sa
    from sqlalchemy.engine import Connection
except ImportError:
    pass  # told by store.SQLALCHEMY_IMPORT_ERROR

#: Rows handed to the database at once, so that a great many are not in memory twice.
_BATCH = 20_000


class Tables(t.NamedTuple):
    metadata: t.Any
    version: t.Any
    history: t.Any
    kinds: dict[str, t.Any]


@functools.cache
def tables() -> Tables:
    metadata = sa.MetaData()
    version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
    recorded = sa.Table(
        "history",
        metadata,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *(
            sa.Column(name, sa.Float if name == "at" else sa.Text, nullable=name in ("before", "after"))
            for name in Event._fields
        ),
        sa.Index("history_by_record", "kind", "key"),
    )
    runs.table(metadata)
    return Tables(metadata, version, recorded, {kind.name: _table(metadata, kind) for kind in KINDS})


def _table(metadata: t.Any, kind: Kind) -> t.Any:
    types: dict[type, t.Any] = {str: sa.Text, int: sa.BigInteger, float: sa.Float, bool: sa.Boolean}
    primary = kind.primary or kind.key
    later: dict[str, t.Any] = {"deferrable": True, "initially": "DEFERRED"}
    return sa.Table(
        kind.name,
        metadata,
        *(
            sa.Column(column.name, types[column.type], primary_key=column.name in primary, nullable=column.optional)
            for column in kind.columns
        ),
        *(sa.Column(derived.name, types[derived.type]) for derived in kind.derived),
        *(sa.UniqueConstraint(*columns) for columns in kind.unique),
        *(
            sa.ForeignKeyConstraint(list(columns), [f"{other}.{name}" for name in key], **later)
            for columns, other, key in kind.references
        ),
        *(sa.CheckConstraint(condition, name=name) for name, condition in kind.checks),
        *(sa.Index(f"{kind.name}_by_{'_'.join(columns)}", *columns) for columns in kind.indexes),
        info={"derived": kind.derived},
    )


def version_of(connection: Connection) -> int | None:
    """The version of the schema that is there; None where there is nothing at all. Refuses a foreign or newer one."""
    names = set(sa.inspect(connection).get_table_names())
    if not names:
        return None
    if "schema_version" not in names:
        raise StoreError("the database of nova_state_url is no store of this collection: it has no schema_version")
    version = connection.execute(sa.text("SELECT max(version) FROM schema_version")).scalar()
    if not isinstance(version, int) or not 1 <= version <= migrations.SCHEMA_VERSION:
        raise StoreError(
            f"the store has schema version {version}, but this collection knows 1 to {migrations.SCHEMA_VERSION}; "
            "update the collection on this controller"
        )
    return version


def make(connection: Connection, known: Tables) -> None:
    """Make the tables in a database that has none of ours."""
    known.metadata.create_all(connection)
    connection.execute(known.version.insert().values(version=migrations.SCHEMA_VERSION))


def migrate(connection: Connection, known: Tables, version: int) -> None:
    """From an older version to today's: the rows are taken out, brought up to date, and put into new tables.

    So no statement depends on what an engine can alter, and the transaction around it makes it all or nothing.
    The history is not rewritten.
    """
    former = _former(connection)
    rows = migrations.migrate(_rows(connection, former.tables), version)
    former.drop_all(connection)
    known.metadata.create_all(connection)
    execute(connection, f"DELETE FROM {runs.NAME}")
    for kind in KINDS:
        added = [kind.record(**row) for row in rows.get(kind.name, [])]
        _write(connection, known, kind, Change([], [], added))
    connection.execute(known.version.update().values(version=migrations.SCHEMA_VERSION))


def _former(connection: Connection) -> t.Any:
    """The tables of records as the database has them now."""
    ours = {kind.name for kind in KINDS} | set(migrations.FORMER_KINDS)
    found = sa.MetaData()
    found.reflect(connection, only=[name for name in sa.inspect(connection).get_table_names() if name in ours])
    return found


def _rows(connection: Connection, there: t.Mapping[str, t.Any]) -> Rows:
    """All rows of the tables as mappings, as they are, whatever their version; what is derived is left out."""
    derived = {kind.name: {each.name for each in kind.derived} for kind in KINDS}
    found: Rows = {}
    for name, table in there.items():
        columns = [column for column in table.columns if column.name not in derived.get(name, ())]
        found[name] = [dict(row) for row in connection.execute(sa.select(*columns)).mappings()]
    return found


def rows(connection: Connection, known: Tables) -> Rows:
    """All rows of the kinds, without any trust in their keys."""
    return _rows(connection, known.kinds)


def load(connection: Connection, known: Tables, version: int) -> State:
    """The state, each kind in the order of its keys as code points, whatever the engine's own order is."""
    if version != migrations.SCHEMA_VERSION:
        return kinds.state_of(migrations.migrate(_rows(connection, _former(connection).tables), version))
    return State(**{kind.name: _load(connection, known, kind) for kind in KINDS})


def _load(connection: Connection, known: Tables, kind: Kind) -> dict[t.Any, t.Any]:
    key = operator.itemgetter(*(kind.record._fields.index(name) for name in kind.key))
    table = known.kinds[kind.name]
    columns = [table.c[name] for name in kind.record._fields]
    found = [kind.record._make(row) for row in connection.execute(sa.select(*columns))]
    found.sort(key=key)
    return {key(row): row for row in found}


def select(connection: Connection, kind: Kind, rest: str, values: tuple[t.Any, ...] = ()) -> list[t.Any]:
    """The records of a kind; `rest` is what follows FROM."""
    found = execute(connection, f"SELECT {', '.join(kind.record._fields)} FROM {kind.name} {rest}", values)
    flags = _flags(kind) if connection.dialect.name == "sqlite" else ()
    if not flags:
        return [kind.record._make(row) for row in found]
    made = []
    for row in map(list, found):
        for place in flags:
            row[place] = bool(row[place])
        made.append(kind.record._make(row))
    return made


@functools.cache
def _flags(kind: Kind) -> tuple[int, ...]:
    """Where a record has truth values, which SQLite keeps as numbers."""
    return tuple(place for place, column in enumerate(kind.columns) if column.type is bool)


def write(connection: Connection, known: Tables, changes: dict[str, Change]) -> None:
    """An altered row is taken out and put back: two rows may exchange what must be unique, such as a MAC address."""
    for kind in KINDS:
        if kind.name in changes:
            _write(connection, known, kind, changes[kind.name])


def _write(connection: Connection, known: Tables, kind: Kind, change: Change) -> None:
    gone = change.removed + [old for old, _new in change.altered]
    if gone:
        condition = " AND ".join(f"{name} = ?" for name in kind.key)
        keys = [tuple(getattr(row, name) for name in kind.key) for row in gone]
        execute(connection, f"DELETE FROM {kind.name} WHERE {condition}", keys)
    insert(connection, known.kinds[kind.name], [new for _old, new in change.altered] + change.added)
    if kind.record is FixedIp:
        runs.update(connection, change)


def insert(connection: Connection, table: t.Any, records: t.Sequence[t.Any]) -> None:
    """Put in records, which are named tuples, with what is derived from them.

    They go to the driver as they are: SQLAlchemy would take each apart.
    """
    if not records:
        return
    derived = table.info.get("derived", ())
    names = (*records[0]._fields, *(each.name for each in derived))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for start in range(0, len(records), _BATCH):
        batch: list[t.Any] = list(records[start : start + _BATCH])
        for each in derived:
            batch = [(*values, each.of(row)) for values, row in zip(batch, records[start : start + _BATCH])]
        if connection.dialect.driver == "psycopg2":
            # It sends a statement a row, where SQLAlchemy makes one of many.
            connection.execute(table.insert(), [dict(zip(names, values)) for values in batch])
        else:
            execute(connection, statement, batch)


def record(connection: Connection, known: Tables, changes: dict[str, Change], token: str, by: history.Author) -> None:
    insert(connection, known.history, history.events(changes, token, by))


def recorded(connection: Connection, known: Tables, *conditions: t.Any) -> list[Event]:
    """The events, oldest first; none in a store of a version that had no history."""
    table = known.history
    if not sa.inspect(connection).has_table(table.name):
        return []
    columns = [table.c[name] for name in Event._fields]
    statement = sa.select(*columns).where(*conditions) if conditions else sa.select(*columns)
    return [Event._make(row) for row in connection.execute(statement.order_by(table.c.id))]
