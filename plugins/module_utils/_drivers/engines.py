# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between the databases: SQLite, a file, and PostgreSQL, a server.

Both give one writer at a time a transaction that reads the newest state, and readers a consistent one. What is relied
on for that is the isolation of the transaction; the lock that a writer takes first only keeps writers from deciding in
vain. Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import time
import typing as t
from urllib.parse import quote

from .._core.errors import StoreError, first_line

SQLALCHEMY_IMPORT_ERROR: ImportError | None = None
try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
    from sqlalchemy.engine import URL, Connection, Engine, make_url
except ImportError as error:
    SQLALCHEMY_IMPORT_ERROR = error

#: Seconds to wait for another run's transaction.
LOCK_TIMEOUT = 60.0

_FORMS = "sqlite:////var/lib/tenantnet/nova.sqlite or postgresql://user:password@host/database"


class Retry(Exception):
    """The transaction was undone, through no fault of what it wanted: another attempt may do it.

    `unknown`: it broke off while committing, so it may also have been done.
    """

    def __init__(self, reason: str, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


class Database(t.Protocol):
    #: What it is called in messages: without a password.
    name: str
    #: Attempts at one transaction, the first one included.
    attempts: int

    def absent(self) -> bool:
        """Whether it is known, without opening it, that there is nothing at all."""

    def transaction(self, write: bool) -> contextlib.AbstractContextManager[Connection]:
        """A transaction that is committed at the end of the block. Retry, or StoreError, where it fails."""

    def pause(self, attempt: int, jitter: float) -> None:
        """Wait before a further attempt; `jitter` from 0 to 1 keeps several from waiting alike."""

    def close(self) -> None: ...


def open_database(url: str) -> Database:
    """The database that the URL names; nothing is connected or made yet."""
    shown = redacted(url)
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError):
        backend = None
    if backend == "postgresql" and parsed.database:
        return PostgreSQL(parsed)
    if backend != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise StoreError(f"nova_state_url: {shown!r} is not the URL of a store; give one such as {_FORMS}")
    path = str(parsed.database)
    if not os.path.isabs(path):
        raise StoreError(
            f"nova_state_url: {shown!r} names a path relative to nobody knows what; an absolute one has four slashes, "
            "such as sqlite:////var/lib/tenantnet/nova.sqlite"
        )
    return SQLite(path)


def redacted(url: str) -> str:
    """The URL without its password, however odd it is."""
    hidden = re.sub(r"(?s)(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)((?:password|passfile|sslpassword)=)[^&\s]*", r"\1***", hidden)


def execute(connection: Connection, statement: str, values: t.Sequence[t.Any] = ()) -> t.Any:
    """A statement in SQL that both engines understand, with `?` for each of the values, or for those of many rows.

    It goes to the driver as it is: SQLAlchemy would take a millisecond to compose one for the first time.
    """
    if connection.dialect.paramstyle != "qmark":
        statement = statement.replace("?", "%s")
    return connection.exec_driver_sql(statement, values) if values else connection.exec_driver_sql(statement)


def _reason(error: BaseException) -> str:
    return first_line(getattr(error, "orig", None) or error)


# --- SQLite ----------------------------------------------------------------------------------------------------------


class SQLite:
    """A writer takes the lock before it reads, so that runs at once decide one after the other."""

    attempts = 1

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path
        self._engines: list[Engine] = []

    def absent(self) -> bool:
        return not (os.path.exists(self.path) and os.path.getsize(self.path))

    @contextlib.contextmanager
    def transaction(self, write: bool) -> t.Iterator[Connection]:
        try:
            if write:
                self._prepare()
            engine = self._engine(write)
            try:
                with engine.begin() as connection:
                    yield connection
            finally:
                engine.dispose()
        except (exc.SQLAlchemyError, OSError) as error:
            raise StoreError(
                f"the store {self.name} cannot be used: {_reason(error)}; it is as it was before this run"
            ) from error

    def _prepare(self) -> None:
        """Make the file itself, readable by its owner alone: the whole map of the site is in it."""
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def _engine(self, write: bool) -> Engine:
        # Even a reader opens the file for writing: only so can it undo what a killed run left half-written.
        database = f"file:{quote(self.path)}?mode=rw&uri=true"
        engine = sa.create_engine(f"sqlite:///{database}", future=True, connect_args={"timeout": LOCK_TIMEOUT})

        @event.listens_for(engine, "connect")
        def _connected(dbapi: t.Any, _record: t.Any) -> None:
            # Python's driver would begin late and commit before DDL; the begin below is the only one.
            dbapi.isolation_level = None
            dbapi.execute("PRAGMA foreign_keys = ON")
            if not write:
                dbapi.execute("PRAGMA query_only = ON")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

        return engine

    def pause(self, attempt: int, jitter: float) -> None: ...

    def close(self) -> None: ...


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

#: Any number that nobody else is likely to lock: the making of a schema goes one after the other.
_MAKING = 0x74656E616E74

#: Conditions (SQLSTATE) that the server itself asks to try again after: a conflict, or its own going away.
_SERIALIZATION = ("40001", "40P01")
_GOING_AWAY = ("57P01", "57P02", "57P03")
_LOCK_NOT_AVAILABLE = "55P03"
_ALREADY_MADE = ("42P07", "23505", "42710")


class PostgreSQL:
    """Transactions are SERIALIZABLE: one whose decision rests on what another one changed meanwhile is undone.

    That alone makes it right. As a run reads the whole state, and commands look for the same free address, of writers
    at once only one would get through, and the others would decide again and again. So a writer first locks a table
    that all writers lock, which also makes the outcome of a broken commit certain: whoever holds the lock knows that
    nobody is still committing.
    """

    attempts = 10
    #: Off, isolation alone has to do, as with engines that take no such lock.
    locking = True
    #: Seconds before the second attempt, twice as many before each further one, and at most this many.
    PAUSE, LONGEST_PAUSE = 0.05, 2.0
    CONNECT_TIMEOUT = 10

    def __init__(self, url: URL) -> None:
        self.name = url.set(drivername="postgresql").render_as_string(hide_password=True)
        self._secret = url.password
        self._known: Engine | None = None
        self._met = False
        self._url = url.set(drivername=f"postgresql+{_driver(url)}")

    def absent(self) -> bool:
        return False

    def close(self) -> None:
        if self._known is not None:
            self._known.dispose()

    def _engine(self) -> Engine:
        if self._known is None:
            arguments = {} if "connect_timeout" in self._url.query else {"connect_timeout": self.CONNECT_TIMEOUT}
            self._known = sa.create_engine(
                self._url, future=True, isolation_level="SERIALIZABLE", connect_args=arguments, pool_size=1
            )
        return self._known

    @contextlib.contextmanager
    def transaction(self, write: bool) -> t.Iterator[Connection]:
        committing = False
        making = False
        try:
            with self._engine().connect() as raw:
                self._met = True
                connection = raw.execution_options(postgresql_readonly=not write)
                if write:
                    making = self._lock(connection)
                elif not connection.in_transaction():
                    connection.begin()
                yield connection
                committing = True
                connection.commit()
        except exc.SQLAlchemyError as error:
            raise self._judge(error, committing, making) from error

    def _lock(self, connection: Connection) -> bool:
        """Have the transaction to ourselves; return whether there is no schema yet.

        LOCK TABLE does not take the snapshot: what is read after it is the newest state.
        """
        with connection.begin():
            making = connection.scalar(sa.text("SELECT to_regclass('schema_version')")) is None
        connection.begin()
        connection.execute(sa.text(f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT * 1000)}"))
        if making:
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MAKING})"))
        elif self.locking:
            connection.execute(sa.text("LOCK TABLE schema_version IN SHARE ROW EXCLUSIVE MODE"))
        return making

    def _judge(self, error: exc.SQLAlchemyError, committing: bool, making: bool) -> Exception:
        original = getattr(error, "orig", None)
        state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or ""
        lost = getattr(error, "connection_invalidated", False) or state[:2] == "08" or state in _GOING_AWAY
        # A server that was reached and then is not there may be starting again; one that never was is not waited for.
        lost = lost or (self._met and not state and isinstance(error, exc.OperationalError))
        if lost and self._known is not None:
            self._known.dispose()
        if lost and (self._met or state == "57P03"):
            return Retry(self._told(error), unknown=committing)
        # Isolation may show as a duplicate where two made the same thing, and no lock kept them apart.
        if state in _SERIALIZATION or (state in _ALREADY_MADE and (making or not self.locking)):
            return Retry(self._told(error))
        if state == _LOCK_NOT_AVAILABLE:
            return StoreError(
                f"the store {self.name} cannot be used: another run has held it locked for {LOCK_TIMEOUT:g} seconds; "
                "it is as it was before this run"
            )
        return StoreError(f"the store {self.name} cannot be used: {self._told(error)}; it is as it was before this run")

    def _told(self, error: BaseException) -> str:
        reason = _reason(error)
        return reason.replace(self._secret, "***") if self._secret else reason

    def pause(self, attempt: int, jitter: float) -> None:
        time.sleep(min(self.PAUSE * 2**attempt, self.LONGEST_PAUSE) * (0.5 + jitter))


def _driver(url: URL) -> str:
    """psycopg 3 where there is one and SQLAlchemy knows it, else psycopg2; or the one that the URL names."""
    able = [
        name
        for name in ("psycopg", "psycopg2")
        if importlib.util.find_spec(name) and (name != "psycopg" or int(sa.__version__.split(".")[0]) >= 2)
    ]
    asked = url.drivername.partition("+")[2]
    if asked and asked not in able:
        raise StoreError(f"nova_state_url: the driver {asked!r} cannot be used here; leave it out of the URL")
    if not able:
        raise StoreError(
            "a store in PostgreSQL needs psycopg (with SQLAlchemy 2) or psycopg2 in the Python that runs the "
            "network controller; install one, such as the package python3-psycopg2"
        )
    return asked or able[0]
