# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store: all state of a site in one transactional database, reached through SQLAlchemy Core.

Works with SQLAlchemy 1.4 and 2. Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from urllib.parse import quote

from .._core import state as states
from .._core.errors import StoreError, first_line
from .._core.state import Change, FixedIp, Instance, Network, State, Vif

SQLALCHEMY_IMPORT_ERROR: ImportError | None = None
try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
    from sqlalchemy.engine import Connection, Engine, make_url
except ImportError as error:
    SQLALCHEMY_IMPORT_ERROR = error

#: Written into the store when it is made; a store with a greater one was made by a newer collection.
SCHEMA_VERSION = 1

#: Seconds to wait for another run's transaction.
LOCK_TIMEOUT = 60


class Outcome(t.NamedTuple):
    before: State
    after: State
    changes: dict[str, Change]


def reconcile(url: str, decide: t.Callable[[State], State], check_mode: bool) -> Outcome:
    """Read the state, let `decide` say what it shall be, write the difference: one transaction.

    In check mode nothing is written, not even an absent database made. Nothing is written either where nothing
    differs. StoreError, with the store as it was, when the database cannot be used.
    """
    path = _path(url)
    foreseen = None
    if not (os.path.exists(path) and os.path.getsize(path)):
        # Decided before the file is made: a declaration that is refused does not leave an empty store behind.
        foreseen = _outcome(states.empty(), decide(states.empty()))
        if check_mode:
            return foreseen
    try:
        if not check_mode:
            _prepare(path)
        with _transaction(path, read_only=check_mode) as connection:
            tables = _tables()
            _schema(connection, tables, read_only=check_mode)
            before = _load(connection, tables)
            outcome = foreseen if foreseen and foreseen.before == before else _outcome(before, decide(before))
            if not check_mode:
                _write(connection, tables, outcome.changes)
            return outcome
    except (exc.SQLAlchemyError, OSError) as error:
        reason = first_line(getattr(error, "orig", None) or error)
        raise StoreError(f"the store {path} cannot be used: {reason}; it is as it was before this run") from error


def _outcome(before: State, after: State) -> Outcome:
    return Outcome(before, after, states.difference(before, after))


def _tables() -> _Tables:
    """The schema; what must never be, such as one address held twice, the database itself refuses.

    References are checked at the end of the transaction, so rows may be written in any order.
    """
    metadata = sa.MetaData()

    def text(name: str, *args: t.Any, **options: t.Any) -> t.Any:
        return sa.Column(name, sa.Text, *args, **options)

    def reference(column: str) -> t.Any:
        return sa.ForeignKey(column, deferrable=True, initially="DEFERRED")

    return _Tables(
        metadata,
        sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True)),
        sa.Table("projects", metadata, text("name", primary_key=True)),
        sa.Table(
            "networks",
            metadata,
            text("label", primary_key=True),
            text("manager", nullable=False),
            text("cidr", nullable=False, unique=True),
            text("gateway", nullable=False),
            text("dhcp_server", nullable=False),
            text("dhcp_start", nullable=False),
            text("bridge", nullable=False),
            text("bridge_interface"),
            text("dns1"),
            text("dns2"),
            sa.Column("mtu", sa.Integer),
            sa.Column("multi_host", sa.Boolean, nullable=False),
            text("host"),
            text("project", reference("projects.name")),
        ),
        sa.Table(
            "instances",
            metadata,
            text("name", primary_key=True),
            text("project", reference("projects.name"), nullable=False),
            text("host", nullable=False),
        ),
        sa.Table(
            "vifs",
            metadata,
            text("id", primary_key=True),
            text("instance", reference("instances.name"), nullable=False),
            text("network", reference("networks.label"), nullable=False),
            text("mac", nullable=False, unique=True),
            sa.UniqueConstraint("instance", "network"),
        ),
        sa.Table(
            "fixed_ips",
            metadata,
            text("address", primary_key=True),
            text("network", reference("networks.label"), nullable=False),
            text("instance"),
            text("host"),
            sa.Column("released_at", sa.Float),
            sa.ForeignKeyConstraint(
                ["instance", "network"], ["vifs.instance", "vifs.network"], deferrable=True, initially="DEFERRED"
            ),
            sa.UniqueConstraint("instance", "network"),
            sa.UniqueConstraint("host", "network"),
            sa.CheckConstraint(
                "(instance IS NOT NULL AND host IS NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NULL AND released_at IS NOT NULL)",
                name="one_holder_or_released",
            ),
        ),
    )


class _Tables(t.NamedTuple):
    metadata: t.Any
    schema_version: t.Any
    projects: t.Any
    networks: t.Any
    instances: t.Any
    vifs: t.Any
    fixed_ips: t.Any


class _Kind(t.NamedTuple):
    """How one kind of row travels between the state and its table of the same name."""

    name: str
    key: tuple[str, ...]
    from_row: t.Callable[[t.Any], t.Any]
    to_row: t.Callable[[t.Any], dict[str, t.Any]]


def _kind(name: str, key: tuple[str, ...], row_type: t.Any) -> _Kind:
    return _Kind(name, key, row_type._make, row_type._asdict)


_KINDS = (
    _Kind("projects", ("name",), lambda row: row[0], lambda name: {"name": name}),
    _kind("networks", ("label",), Network),
    _kind("instances", ("name",), Instance),
    _kind("vifs", ("instance", "network"), Vif),
    _kind("fixed_ips", ("address",), FixedIp),
)


def _path(url: str) -> str:
    """The file that a SQLite URL names."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise StoreError(
            f"nova_state_url: {url!r} is not the URL of a store; give one such as sqlite:////var/lib/tenantnet/nova.sqlite"
        )
    path = str(parsed.database)
    if not os.path.isabs(path):
        raise StoreError(
            f"nova_state_url: {url!r} names a path relative to nobody knows what; an absolute one has four slashes, "
            "such as sqlite:////var/lib/tenantnet/nova.sqlite"
        )
    return path


def _prepare(path: str) -> None:
    """Make the file itself, readable by its owner alone: the whole map of the site is in it."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextlib.contextmanager
def _transaction(path: str, read_only: bool) -> t.Iterator[Connection]:
    engine = _engine(path, read_only)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _engine(path: str, read_only: bool) -> Engine:
    # Even a reader opens the file for writing: only so can it undo what a killed run left half-written.
    database = f"file:{quote(path)}?mode=rw&uri=true"
    engine = sa.create_engine(f"sqlite:///{database}", future=True, connect_args={"timeout": LOCK_TIMEOUT})

    @event.listens_for(engine, "connect")
    def _connected(dbapi: t.Any, _record: t.Any) -> None:
        # Python's driver would begin late and commit before DDL; the begin below is the only one.
        dbapi.isolation_level = None
        dbapi.execute("PRAGMA foreign_keys = ON")
        if read_only:
            dbapi.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock before it reads, so two runs at once decide one after the other.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _schema(connection: Connection, tables: _Tables, read_only: bool) -> None:
    """Make the schema in an empty store; refuse a foreign or a newer one."""
    names = set(sa.inspect(connection).get_table_names())
    if not names and not read_only:
        tables.metadata.create_all(connection)
        connection.execute(tables.schema_version.insert().values(version=SCHEMA_VERSION))
        return
    if tables.schema_version.name not in names:
        raise StoreError("the database of nova_state_url is no store of this collection: it has no schema_version")
    version = connection.execute(sa.select(sa.func.max(tables.schema_version.c.version))).scalar()
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"the store has schema version {version}, but this collection knows {SCHEMA_VERSION}; "
            "update the collection on this controller"
        )


def _load(connection: Connection, tables: _Tables) -> State:
    loaded = {}
    for kind in _KINDS:
        table = getattr(tables, kind.name)
        rows = connection.execute(sa.select(table).order_by(*(table.c[column] for column in kind.key))).all()
        keys = [table.columns.keys().index(column) for column in kind.key]
        if len(keys) == 1:
            loaded[kind.name] = {row[keys[0]]: kind.from_row(row) for row in rows}
        else:
            loaded[kind.name] = {tuple(row[index] for index in keys): kind.from_row(row) for row in rows}
    return State(**loaded)


def _write(connection: Connection, tables: _Tables, changes: dict[str, Change]) -> None:
    """An altered row is taken out and put back: two rows may exchange what must be unique, such as a MAC address."""
    for kind in _KINDS:
        if kind.name not in changes:
            continue
        change = changes[kind.name]
        table = getattr(tables, kind.name)
        gone = [kind.to_row(row) for row in change.removed + [old for old, _new in change.altered]]
        if gone:
            condition = sa.and_(*(table.c[column] == sa.bindparam(f"key_{column}") for column in kind.key))
            connection.execute(
                table.delete().where(condition),
                [{f"key_{column}": row[column] for column in kind.key} for row in gone],
            )
        come = [kind.to_row(row) for row in [new for _old, new in change.altered] + change.added]
        if come:
            connection.execute(table.insert(), come)
