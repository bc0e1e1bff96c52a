# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store: all state of a site in one transactional database, reached through SQLAlchemy Core.

Works with SQLAlchemy 1.4 and 2. This is the one way to change a store; what is only read or kept is in `upkeep`.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import secrets
import time
import typing as t

from .._core import migrations
from .._core import state as states
from .._core.errors import StoreError
from .._core.history import Author, Event
from .._core.ledger import Ledger, MemoryLedger
from .._core.state import Change, State
from . import schema
from .engines import SQLALCHEMY_IMPORT_ERROR, Database, Retry, open_database
from .sql_ledger import SqlLedger

__all__ = ["SQLALCHEMY_IMPORT_ERROR", "Applied", "Decide", "Outcome", "author", "operate", "reconcile", "transact"]

try:
    from sqlalchemy.engine import Connection
except ImportError:
    pass  # told by SQLALCHEMY_IMPORT_ERROR

#: Pure: it may be called again, with a newer state, where a transaction has to be tried again.
Decide = t.Callable[[State], State]

_Result = t.TypeVar("_Result")


class Outcome(t.NamedTuple):
    """`migrated` is the older version of the schema that the store had, if it had one."""

    before: State
    after: State
    changes: dict[str, Change]
    migrated: int | None = None

    @property
    def changed(self) -> bool:
        return _changed(self)

    @property
    def actions(self) -> list[str]:
        return _actions(self)


class Applied(t.NamedTuple):
    """What an operation returned, and what it changed."""

    result: t.Any
    changes: dict[str, Change]
    migrated: int | None = None

    @property
    def changed(self) -> bool:
        return _changed(self)

    @property
    def actions(self) -> list[str]:
        return _actions(self)


def _changed(done: Outcome | Applied) -> bool:
    return bool(done.changes) or done.migrated is not None


def _actions(done: Outcome | Applied) -> list[str]:
    lines = states.describe(done.changes)
    if done.migrated is not None:
        lines.insert(0, f"migrate the store from schema version {done.migrated} to {migrations.SCHEMA_VERSION}")
    return lines


def author(run: str | None = None, user: str | None = None) -> Author:
    """Who changes the store, now; a run without a name gets one by chance, a user that of the login."""
    if user is None:
        try:
            user = os.environ.get("SUDO_USER") or getpass.getuser()
        except (KeyError, OSError):
            user = f"uid {os.getuid()}"
    return Author(run or secrets.token_hex(4), user, time.time())


def reconcile(
    url: str,
    decide: Decide,
    check_mode: bool,
    by: Author | None = None,
    restored: t.Sequence[Event] | None = None,
) -> Outcome:
    """Read the state, let `decide` say what it shall be, write the difference and its history: one transaction.

    In check mode nothing is written, not even an absent database made. Nothing is written either where nothing
    differs. A store of an older version is migrated. StoreError, with the store as it was, when the database cannot
    be used. `restored` is a history that goes into a store that has neither records nor one of its own.
    """

    def work(connection: Connection | None, version: int | None) -> Outcome:
        before = _state(connection, version)
        after = decide(before)
        return Outcome(before, after, states.difference(before, after), _older(version))

    return _Run(work, check_mode, by or author(), restored).on(url)


def operate(url: str, work: t.Callable[[Ledger], t.Any], check_mode: bool, by: Author | None = None) -> Applied:
    """Let `work` look up, put and drop what it needs, and write that and its history: one transaction.

    As `reconcile` in all else, but that the cost does not grow with the store, and that nothing is made where there is
    no store and nothing to put into one. `work` may be called again, as if it never was before.
    """

    def apply(connection: Connection | None, version: int | None) -> Applied:
        if connection is not None and version == migrations.SCHEMA_VERSION:
            ledger = SqlLedger(connection)
            return Applied(work(ledger), ledger.changes())
        before = _state(connection, version)
        memory = MemoryLedger(before)
        return Applied(work(memory), states.difference(before, memory.state()), _older(version))

    return _Run(apply, check_mode, by or author()).on(url)


def _state(connection: Connection | None, version: int | None) -> State:
    if connection is None or version is None:
        return states.empty()
    return schema.load(connection, schema.tables(), version)


def _older(version: int | None) -> int | None:
    return version if version is not None and version < migrations.SCHEMA_VERSION else None


def transact(database: Database, write: bool, work: t.Callable[[Connection, bool], _Result]) -> _Result:
    """What `work` returns when its transaction is committed, tried again as often as the database asks for it.

    `work` is told whether an attempt before may have been committed after all.
    """
    unknown = False
    attempt = 0
    while True:
        try:
            with database.transaction(write) as connection:
                return work(connection, unknown)
        except Retry as failure:
            unknown = unknown or failure.unknown
            attempt += 1
            if attempt >= database.attempts:
                left = "whether it was changed is not known" if unknown else "it is as it was before this run"
                raise StoreError(
                    f"the store {database.name} cannot be used: {failure.reason}; tried {attempt} times; {left}"
                ) from failure
            database.pause(attempt, random.random())


_Done = t.TypeVar("_Done", Outcome, Applied)


class _Run(t.Generic[_Done]):
    """One change of the store, over all attempts at it.

    `work` is given a connection and the version of the schema, or None twice where there is no store.
    """

    def __init__(
        self,
        work: t.Callable[[Connection | None, int | None], _Done],
        check_mode: bool,
        by: Author,
        restored: t.Sequence[Event] | None = None,
    ) -> None:
        self._work: t.Callable[[Connection | None, int | None], _Done] = work
        self._check_mode = check_mode
        self._by = by
        self._restored = restored
        self._tables = schema.tables()
        #: What is to be done where there is no store, so that it need not be found out again.
        self._foreseen: _Done | None = None
        #: Attempts by the mark that their history has: what may have been committed.
        self._tried: dict[str, _Done] = {}

    def on(self, url: str) -> _Done:
        with contextlib.closing(open_database(url)) as database:
            if database.absent():
                # Before the file is made: what is refused does not leave an empty store behind.
                self._foreseen = self._work(None, None)
                if self._check_mode or not self._makes(self._foreseen):
                    return self._foreseen
            return transact(database, not self._check_mode, self._attempt)

    def _attempt(self, connection: Connection, unknown: bool) -> _Done:
        version = schema.version_of(connection)
        if unknown:
            committed = self._committed(connection, version)
            if committed is not None:
                return committed
        if version is None and self._foreseen is not None:
            done = self._foreseen
        else:
            done = self._work(connection if version is not None else None, version)
        if not self._check_mode:
            self._write(connection, version, done)
        return done

    @staticmethod
    def _makes(done: _Done) -> bool:
        """Whether a store is made for it: a declaration makes one, even an empty one."""
        return bool(done.changes) or isinstance(done, Outcome)

    def _write(self, connection: Connection, version: int | None, done: _Done) -> None:
        if version is None and self._makes(done):
            schema.make(connection, self._tables)
        elif version is not None and done.migrated is not None:
            schema.migrate(connection, self._tables, version)
        if not done.changes:
            return
        token = secrets.token_hex(8)
        self._tried[token] = done
        schema.write(connection, self._tables, done.changes)
        if self._restored is not None and isinstance(done, Outcome) and done.before == states.empty():
            if not schema.recorded(connection, self._tables):
                schema.insert(connection, self._tables.history, self._restored)
                return
        schema.record(connection, self._tables, done.changes, token, self._by)

    def _committed(self, connection: Connection, version: int | None) -> _Done | None:
        """The attempt that was committed although its connection was lost meanwhile."""
        table = self._tables.history
        for event in schema.recorded(connection, self._tables, table.c.change.in_(list(self._tried))):
            return self._tried[event.change]
        if self._restored is not None:
            # A history that came from elsewhere has no mark of ours.
            there = _state(connection, version)
            for done in self._tried.values():
                if isinstance(done, Outcome) and done.after == there:
                    return done
        return None
