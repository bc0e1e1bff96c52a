"""Allocation of fixed IPs against bare inserts of the same rows: all in one declaration, and one by a command."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import typing as t

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, allocation, declaration, kinds
from ansible_collections.tenantnet.nova.plugins.module_utils._core import state as states
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FixedIp, Instance, Network, State, Vif
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store

sys.path.insert(0, str(harness.ROOT / "tests/unit/plugins/module_utils"))

import a_server

FOLDER = tempfile.TemporaryDirectory(prefix="bench-allocation-")


def declared(instances: int) -> dict[str, t.Any]:
    nodes = {"nodes": ["bridging", "addressing", "routing"], "nova_public_interface": "eth2"}
    return {
        "settings": {"nova_flat_network_bridge": "br100"},
        "networks": [{"label": "blue", "fixed_range": "10.0.0.0/15"}],
        "projects": ["acme"],
        "instances": [{"name": f"i{n}", "project": "acme", "host": f"h{n % 10}"} for n in range(instances)],
        "hosts": {f"h{n}": nodes for n in range(10)},
    }


def fresh() -> str:
    """The name of a file that is not there."""
    return os.path.join(FOLDER.name, f"{os.getpid()}-{time.monotonic_ns()}.sqlite")


def allocate(path: str, declaring: dict[str, t.Any]) -> store.Outcome:
    def decide(before: State) -> State:
        return allocation.allocate(declaration.parse(**declaring), before, time.time())

    return store.reconcile(f"sqlite:///{path}", decide, False)


class Filled(t.NamedTuple):
    """A store that a declaration filled, and what is in it."""

    path: str
    declaring: dict[str, t.Any]
    schema: list[str]
    rows: dict[str, list[tuple[t.Any, ...]]]


def insert(filled: Filled, path: str) -> None:
    """The rows of another store, put into a new one by executemany, one transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for statement in filled.schema:
        connection.execute(statement)
    for table, rows in filled.rows.items():
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    connection.execute("COMMIT")


def _read(path: str) -> tuple[list[str], dict[str, list[tuple[t.Any, ...]]]]:
    connection = sqlite3.connect(path)
    schema = connection.execute(
        "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    ).fetchall()
    tables = [name for name, kind, _sql in schema if kind == "table"]
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    return [sql for _name, _kind, sql in schema], {name: found for name, found in rows.items() if found}


def fill(count: int) -> Filled:
    path, declaring = fresh(), declared(count)
    allocate(path, declaring)
    return Filled(path, declaring, *_read(path))


def cases(count: int, runs: int) -> list[harness.Case]:
    filled = fill(count)
    return [
        harness.Case(
            f"{count} fixed IPs, first run",
            floor=lambda: insert(filled, fresh()),
            ours=[harness.Ours("allocate", lambda: allocate(fresh(), filled.declaring) and None, aim=4)],
            runs=runs,
            own_network=False,
        ),
        harness.Case(
            f"{count} fixed IPs, nothing to do",
            floor=lambda: insert(filled, fresh()),
            ours=[harness.Ours("allocate", lambda: allocate(filled.path, filled.declaring) and None)],
            runs=runs,
            own_network=False,
        ),
    ]


# --- the next single allocation ---------------------------------------------------------------------------------------

#: Allocations in one measured process, each in a transaction of its own.
TAKES = 20
USED = (1, 1_000, 60_000)
SIXTEEN = addressing.known_network("10.0.0.0/16")


def guest(number: int, address: str) -> tuple[Instance, Vif, FixedIp]:
    name = f"i{number}"
    mac = f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    vif = Vif(addressing.stable_uuid(name), name, "blue", mac)
    return Instance(name, "acme", "h1"), vif, FixedIp(address, 4, "blue", name)


def used(count: int) -> State:
    """A /16 of which the first addresses are used."""
    fields: dict[str, t.Any] = {**dict.fromkeys(Network._fields), "label": "blue", "uuid": "u", "manager": "flatdhcp"}
    fields.update(cidr=SIXTEEN.cidr, bridge="br100", multi_host=True, origin="inventory")
    rows = [guest(number, addressing.text(SIXTEEN.first + 2 + number)) for number in range(count)]
    parts = [states.Project("acme")], [Network(**fields)], *zip(*rows)
    held = states.empty()
    for records in parts:
        for kind in kinds.KINDS:
            if kind.record is type(records[0]):
                getattr(held, kind.name).update(kind.by_key(records))
    return held


def take(url: str, count: int) -> None:
    for turn in range(TAKES):

        def work(ledger: Ledger, number: int = count + turn) -> None:
            free = ledger.untouched("blue", SIXTEEN.first + 2, SIXTEEN.last - 1)
            assert free == SIXTEEN.first + 2 + number
            for row in guest(number, addressing.text(free)):
                ledger.put(row)

        store.operate(url, work, False)


class Written(t.NamedTuple):
    """Rows of some transactions, each by the statement that inserts it."""

    transactions: list[list[tuple[str, tuple[t.Any, ...]]]]


def written(path: str, count: int) -> Written:
    """What `take` writes into a store with so many used addresses, read off a copy."""
    copy = fresh()
    shutil.copy(path, copy)
    last = _rowids(copy)
    take(f"sqlite:///{copy}", count)
    connection = sqlite3.connect(copy)
    found: dict[str, list[tuple[t.Any, ...]]] = {}
    for table, rowid in last.items():
        rows = connection.execute(f"SELECT * FROM {table} WHERE rowid > ? ORDER BY rowid", (rowid,)).fetchall()
        for row in rows:
            statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
            found.setdefault(statement, []).append(row)
    transactions: list[list[tuple[str, tuple[t.Any, ...]]]] = [[] for _turn in range(TAKES)]
    for statement, rows in found.items():
        each = len(rows) // TAKES
        for turn in range(TAKES):
            transactions[turn] += [(statement, row) for row in rows[turn * each : (turn + 1) * each]]
    os.unlink(copy)
    return Written(transactions)


def _rowids(path: str) -> dict[str, int]:
    connection = sqlite3.connect(path)
    tables = [*(kind.name for kind in kinds.KINDS), "history"]
    return {table: connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0] for table in tables}


def bare_sqlite(path: str, content: Written) -> None:
    for rows in content.transactions:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        for statement, row in rows:
            connection.execute(statement, row)
        connection.execute("COMMIT")
        connection.close()


def bare_postgresql(url: str, content: Written) -> None:
    import psycopg

    flags = {
        kind.name: [place for place, column in enumerate(kind.columns) if column.type is bool] for kind in kinds.KINDS
    }
    for rows in content.transactions:
        with psycopg.connect(url) as connection:
            for statement, row in rows:
                values = list(row)
                for place in flags.get(statement.split()[2], ()):
                    values[place] = bool(values[place])
                connection.execute(statement.replace("?", "%s"), values)


def next_on_sqlite(count: int) -> t.Iterator[harness.Case]:
    filled, path = fresh(), fresh()
    store.reconcile(f"sqlite:///{filled}", lambda _before: used(count), False)
    content = written(filled, count)
    for by_wall in (False, True):
        yield harness.Case(
            f"{TAKES} x next of /16 with {count} used, SQLite",
            floor=functools.partial(bare_sqlite, path, content),
            ours=[harness.Ours("", functools.partial(take, f"sqlite:///{path}", count))],
            prepare=lambda: shutil.copy(filled, path) and None,
            own_network=False,
            by_wall=by_wall,
        )


def next_on_postgresql(server: a_server.Server, count: int) -> t.Iterator[harness.Case]:
    filled, path = server.new_url(), fresh()
    for url in (filled, f"sqlite:///{path}"):
        store.reconcile(url, lambda _before: used(count), False)
    content = written(path, count)
    template = filled.partition("@/")[2].partition("?")[0]
    server.sql("VACUUM ANALYZE", template)
    url = filled.replace(f"@/{template}?", "@/next?")

    def prepare() -> None:
        server.sql("DROP DATABASE IF EXISTS next WITH (FORCE)")
        server.sql(f"CREATE DATABASE next TEMPLATE {template}")

    yield harness.Case(
        f"{TAKES} x next of /16 with {count} used, PostgreSQL",
        floor=functools.partial(bare_postgresql, url, content),
        ours=[harness.Ours("", functools.partial(take, url, count))],
        prepare=prepare,
        own_network=False,
        by_wall=True,
    )


def next_allocations() -> None:
    harness.run(itertools.chain.from_iterable(map(next_on_sqlite, USED)))
    programs = a_server.binaries()
    if programs is None:
        print("no PostgreSQL server is installed")
        return
    with contextlib.ExitStack() as stack:
        server = a_server.Server(programs)
        stack.callback(server.end)
        server.make()
        harness.run(itertools.chain.from_iterable(next_on_postgresql(server, count) for count in USED))


def main() -> None:
    harness.run([*cases(10_000, 5), *cases(65_000, 3)])
    next_allocations()
