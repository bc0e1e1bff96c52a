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
from .._core.state import Change, State
from . import schema
from .engines import SQLALCHEMY_IMPORT_ERROR, Database, Retry, open_database

__all__ = ["SQLALCHEMY_IMPORT_ERROR", "Decide", "Outcome", "author", "reconcile", "transact"]

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
        return bool(self.changes) or self.migrated is not None

    @property
    def actions(self) -> list[str]:
        lines = states.describe(self.changes)
        if self.migrated is not None:
            lines.insert(0, f"migrate the store from schema version {self.migrated} to {migrations.SCHEMA_VERSION}")
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
    run = _Run(decide, check_mode, by or author(), restored)
    with contextlib.closing(open_database(url)) as database:
        if database.absent():
            # Decided before the file is made: a declaration that is refused does not leave an empty store behind.
            run.foreseen = run.decided(states.empty(), None)
            if check_mode:
                return run.foreseen
        return transact(database, not check_mode, run.attempt)


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


class _Run:
    """One reconciliation, over all attempts at it."""

    def __init__(self, decide: Decide, check_mode: bool, by: Author, restored: t.Sequence[Event] | None) -> None:
        self._decide = decide
        self._check_mode = check_mode
        self._by = by
        self._restored = restored
        self._tables = schema.tables()
        #: What was decided on an empty store, so that it need not be decided again.
        self.foreseen: Outcome | None = None
        #: Attempts by the mark that their history has: what may have been committed.
        self._tried: dict[str, Outcome] = {}

    def decided(self, before: State, migrated: int | None) -> Outcome:
        after = self._decide(before)
        return Outcome(before, after, states.difference(before, after), migrated)

    def attempt(self, connection: Connection, unknown: bool) -> Outcome:
        version = schema.version_of(connection)
        before = states.empty() if version is None else schema.load(connection, self._tables, version)
        if unknown:
            committed = self._committed(connection, before)
            if committed:
                return committed
        older = version if version is not None and version < migrations.SCHEMA_VERSION else None
        if self.foreseen and self.foreseen.before == before and older is None:
            outcome = self.foreseen
        else:
            outcome = self.decided(before, older)
        if not self._check_mode:
            self._write(connection, version, outcome)
        return outcome

    def _write(self, connection: Connection, version: int | None, outcome: Outcome) -> None:
        if version is None:
            schema.make(connection, self._tables)
        elif outcome.migrated is not None:
            schema.migrate(connection, self._tables, version)
        if not outcome.changes:
            return
        token = secrets.token_hex(8)
        self._tried[token] = outcome
        schema.write(connection, self._tables, outcome.changes)
        if self._restored is not None and outcome.before == states.empty():
            if not schema.recorded(connection, self._tables):
                schema.insert(connection, self._tables.history, self._restored)
                return
        schema.record(connection, self._tables, outcome.changes, token, self._by)

    def _committed(self, connection: Connection, before: State) -> Outcome | None:
        """The attempt that was committed although its connection was lost meanwhile."""
        table = self._tables.history
        for event in schema.recorded(connection, self._tables, table.c.change.in_(list(self._tried))):
            return self._tried[event.change]
        if self._restored is not None:
            for outcome in self._tried.values():
                if outcome.after == before:
                    return outcome
        return None
