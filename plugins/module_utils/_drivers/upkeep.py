# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a store well: reading it, backup, export and import, the check of its invariants, its history.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import typing as t

from .._core import addressing, document, invariants, kinds, migrations
from .._core import history as past
from .._core.errors import InputError, StoreError, first_line
from .._core.history import Author, Event, Holding
from .._core.kinds import KINDS, Rows
from .._core.ledger import Ledger, MemoryLedger
from .._core.state import FixedIp, State, difference, empty
from . import engines, files, runs, schema, store
from .sql_ledger import SqlLedger

try:
    import sqlalchemy as sa
    from sqlalchemy.engine import Connection
except ImportError:
    pass  # told by store.SQLALCHEMY_IMPORT_ERROR

_Result = t.TypeVar("_Result")


class Content(t.NamedTuple):
    version: int
    state: State
    events: list[Event]


def read(url: str) -> Content:
    """All that is in the store, at one moment."""
    return _look(url, _content)


def _look(url: str, work: t.Callable[[Connection, schema.Tables, int], _Result]) -> _Result:
    """Call `work` in a transaction that only reads, with the version of the schema. StoreError without a store."""
    with contextlib.closing(engines.open_database(url)) as database:
        missing = StoreError(f"there is no store at {database.name} yet; the network controller makes it")
        if database.absent():
            raise missing
        known = schema.tables()

        def attempt(connection: Connection, _unknown: bool) -> _Result:
            version = schema.version_of(connection)
            if version is None:
                raise missing
            return work(connection, known, version)

        return store.transact(database, False, attempt)


def query(url: str, work: t.Callable[[Ledger], _Result]) -> _Result:
    """What `work`, which only reads, finds out by a ledger of the store at one moment."""

    def look(connection: Connection, known: schema.Tables, version: int) -> _Result:
        if version == migrations.SCHEMA_VERSION:
            return work(SqlLedger(connection))
        return work(MemoryLedger(schema.load(connection, known, version)))

    return _look(url, look)


def _content(connection: Connection, known: schema.Tables, version: int) -> Content:
    return Content(version, schema.load(connection, known, version), schema.recorded(connection, known))


# --- history ---------------------------------------------------------------------------------------------------------


def holdings(
    url: str,
    address: str | None = None,
    mac: str | None = None,
    instance: str | None = None,
    at: float | None = None,
) -> list[Holding]:
    """Who held which address when; None asks for any."""

    def work(connection: Connection, known: schema.Tables, version: int) -> list[Holding]:
        table = known.history
        wanted = table.c.kind.in_(["fixed_ips", "vifs"])
        if address is not None:
            # The NICs that had it are not known beforehand; there are as many of them as of instances at most.
            wanted = sa.or_(table.c.kind == "vifs", sa.and_(table.c.kind == "fixed_ips", table.c.key == address))
        rows = kinds.rows_of(schema.load(connection, known, version))
        if address is not None:
            rows["fixed_ips"] = [row for row in rows["fixed_ips"] if row["address"] == address]
        found = past.holdings(schema.recorded(connection, known, wanted), rows)
        return [
            each
            for each in found
            if (mac is None or each.mac == mac)
            and (instance is None or each.instance == instance)
            and (at is None or each.covers(at))
        ]

    return _look(url, work)


# --- export and import -----------------------------------------------------------------------------------------------


def export(url: str, with_history: bool = False) -> str:
    content = read(url)
    return document.write(content.state, content.events if with_history else None)


def parse(text: str, name: str) -> document.Document:
    """The document in a YAML text; `name` is what messages call it."""
    loaded: object = document.scan(text)
    if loaded is None:
        loaded = _yaml(text, name)
    try:
        return document.read(loaded)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _yaml(text: str, name: str) -> object:
    try:
        import yaml
    except ImportError:
        raise StoreError("an import needs PyYAML in the Python that runs the network controller") from None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise InputError(f"{name} is no YAML{where}: {problem}") from None


def load(url: str, wanted: document.Document, replace: bool, check_mode: bool, by: Author) -> store.Outcome:
    """Give the store the content of the document; one that holds something else is left alone without `replace`."""

    def decide(before: State) -> State:
        if before not in (empty(), wanted.state) and not replace:
            count = sum(
                len(change.removed) + len(change.altered) + len(change.added)
                for change in difference(before, wanted.state).values()
            )
            raise InputError(
                f"the store holds other records already ({count} differ from the document); nothing was imported. "
                "Import into an empty store, or say that it is to be replaced"
            )
        return wanted.state

    return store.reconcile(url, decide, check_mode, by, wanted.history)


# --- backup ----------------------------------------------------------------------------------------------------------


def backup(url: str, target: str, check_mode: bool) -> bool:
    """Write all that is in the store, at one moment and while others work on it, to a store in a SQLite file.

    Returns whether the file that was there, if any, had something else.
    """
    if not os.path.isabs(target):
        raise InputError(f"dest: {target!r} is no absolute path")
    with contextlib.closing(engines.open_database(url)) as database:
        if isinstance(database, engines.SQLite) and os.path.realpath(database.path) == os.path.realpath(target):
            raise InputError(f"dest: {target} is the store itself; choose another file")
    wanted = read(url)
    if os.path.exists(target):
        try:
            if read(f"sqlite:///{target}") == wanted:
                return False
        except StoreError as error:
            raise InputError(f"dest: {target} is there and no backup of a store, so it is not replaced: {error}")
    if not check_mode:
        _write_backup(url, target)
    return True


def _write_backup(url: str, target: str) -> None:
    """Beside the target first, so that there is a whole one at every moment."""
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
        os.close(handle)
        try:
            _look(url, lambda connection, known, version: _copy(connection, known, version, beside))
            with open(beside, "rb") as written:
                os.fsync(written.fileno())
            os.replace(beside, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
    except OSError as error:
        raise StoreError(f"the backup {target} cannot be written: {error}; what was there is there still") from error


def _copy(connection: Connection, known: schema.Tables, version: int, path: str) -> None:
    if connection.dialect.name == "sqlite":
        import sqlite3

        target = sqlite3.connect(path)
        try:
            connection.connection.dbapi_connection.backup(target)  # type: ignore[union-attr]
        except sqlite3.Error as error:
            raise StoreError(f"the backup {path} cannot be written: {error}") from error
        finally:
            target.close()
        return
    content = _content(connection, known, version)
    with engines.SQLite(path).transaction(True) as copy:
        schema.make(copy, known)
        schema.write(copy, known, difference(empty(), content.state))
        schema.insert(copy, known.history, content.events)


def write_text(path: str, text: str, check_mode: bool) -> bool:
    """Give a file this text, for its owner to read, at once or not at all. Returns whether it had another."""
    if files.read(path) == text:
        return False
    if not check_mode:
        files.write(path, text, 0o600)
    return True


# --- the invariants --------------------------------------------------------------------------------------------------


def fsck(url: str) -> list[str]:
    """Everything in the store that breaks a rule, one line each; nothing is changed."""
    return _look(url, _violations)


def _violations(connection: Connection, known: schema.Tables, version: int) -> list[str]:
    found = []
    if connection.dialect.name == "sqlite":
        answers = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        found += [f"the file: {line}" for line in answers if line != "ok"]
    if version != migrations.SCHEMA_VERSION:
        rows = kinds.rows_of(schema.load(connection, known, version))
        return found + invariants.violations(rows)
    lacking = _lacking(connection, known)
    if any("is not there" in line for line in lacking):
        return found + lacking
    rows = schema.rows(connection, known)
    found += lacking + invariants.violations(rows)
    found += _checks(connection, known)
    found += _derived(connection, known)
    found += _runs(connection, rows)
    return [*found, *_history(schema.recorded(connection, known), rows)]


def _lacking(connection: Connection, known: schema.Tables) -> list[str]:
    """Tables, columns and constraints that the schema has and the database has not."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    found = []
    for name, table in known.metadata.tables.items():
        if name not in there:
            found.append(f"table {name} is not there")
            continue
        columns = {column["name"] for column in inspector.get_columns(name)}
        found += [f"column {name}.{column.name} is not there" for column in table.columns if column.name not in columns]
        unique = {frozenset(each["column_names"]) for each in inspector.get_unique_constraints(name)}
        foreign = {frozenset(each["constrained_columns"]) for each in inspector.get_foreign_keys(name)}
        for constraint in table.constraints:
            names = frozenset(column.name for column in getattr(constraint, "columns", ()))
            words = ", ".join(sorted(names))
            if isinstance(constraint, sa.UniqueConstraint) and names not in unique:
                found.append(f"table {name} has lost the constraint that {words} are unique")
            if isinstance(constraint, sa.ForeignKeyConstraint) and names not in foreign:
                found.append(f"table {name} has lost the reference of {words}")
        indexes = {(each["name"], tuple(each["column_names"])) for each in inspector.get_indexes(name)}
        for index in sorted(table.indexes, key=lambda index: index.name):
            if (index.name, tuple(column.name for column in index.columns)) not in indexes:
                found.append(f"table {name} has lost the index {index.name}")
        checks = {each["name"] for each in inspector.get_check_constraints(name)}
        for constraint in table.constraints:
            if isinstance(constraint, sa.CheckConstraint) and constraint.name and constraint.name not in checks:
                found.append(f"table {name} has lost the check {constraint.name}")
    return found


def _checks(connection: Connection, known: schema.Tables) -> t.Iterator[str]:
    for kind in KINDS:
        for name, condition in kind.checks:
            table = known.kinds[kind.name]
            key = [table.c[column] for column in kind.key]
            for row in connection.execute(sa.select(*key).where(sa.text(f"NOT ({condition})"))):
                yield f"{kind.name} {'/'.join(map(str, row))} breaks the check {name}"


def _derived(connection: Connection, known: schema.Tables) -> t.Iterator[str]:
    """The columns beside the record say what follows from it: by them addresses are looked for."""
    for kind in KINDS:
        if not kind.derived:
            continue
        table = known.kinds[kind.name]
        columns = [table.c[name] for name in (*kind.record._fields, *(each.name for each in kind.derived))]
        for values in connection.execute(sa.select(*columns)):
            row = kind.record._make(values[: len(kind.record._fields)])
            for each, value in zip(kind.derived, values[len(kind.record._fields) :]):
                try:
                    right = each.of(row)
                except (TypeError, ValueError):
                    continue  # said of the record already
                if value != right:
                    yield f"{kind.name} {kind.key_text(row)}: {each.name} {value} is not {right} as derived"


def _runs(connection: Connection, rows: Rows) -> t.Iterator[str]:
    there = {tuple(row) for row in engines.execute(connection, f"SELECT network, first, last FROM {runs.NAME}")}
    try:
        numbers = runs.numbers(FixedIp(**row) for row in rows["fixed_ips"])
    except (TypeError, ValueError):
        return  # said of the records already
    right = {(network, *run) for network, values in numbers.items() for run in runs.runs_of(values)}
    for network, first, last in sorted(there ^ right):
        said = "is not as the records are" if (network, first, last) in there else "is missing"
        yield f"{runs.NAME} {network}: {addressing.text(first)} to {addressing.text(last)} {said}"


def _history(events: t.Sequence[Event], rows: Rows) -> t.Iterator[str]:
    """The history ends in what the store holds: no change was lost, none made past it.

    Fields that a version of the schema added or took away are not compared.
    """
    last: dict[tuple[str, str], str | None] = {}
    for event in events:
        known = (event.kind, event.key)
        if known in last and not _agree(last[known], event.before):
            yield f"history of {event.kind} {event.key}: {event.before} follows on {last[known]}"
        last[known] = event.after
    for kind in KINDS:
        for row in rows[kind.name]:
            key = "/".join(str(row[name]) for name in kind.key)
            if (kind.name, key) not in last:
                continue  # older than the history
            after = last.pop((kind.name, key))
            if not _agree(after, json.dumps(row)):
                yield f"{kind.name} {key} is not as the history tells, which ends with {after}"
    for (name, key), after in last.items():
        if after is not None and name in rows:
            yield f"{name} {key} is not there, but the history ends with {after}"


def _agree(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one == other
    left, right = json.loads(one), json.loads(other)
    return all(left[name] == right[name] for name in left.keys() & right.keys())
