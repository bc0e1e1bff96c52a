"""Allocation of fixed IPs in one declaration against a bare bulk insert of the same rows into the same schema."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import typing as t

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import allocation, declaration
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store

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


def main() -> None:
    harness.run([*cases(10_000, 5), *cases(65_000, 3)])
