"""Allocation of 10,000 fixed IPs in one declaration against a bare bulk insert of the same rows."""

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


def insert(path: str) -> None:
    """The rows of another store, put into a new one by executemany, one transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for statement in SCHEMA:
        connection.execute(statement)
    for table, rows in ROWS.items():
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    connection.execute("COMMIT")


def _read(path: str) -> tuple[list[str], dict[str, list[tuple[t.Any, ...]]]]:
    connection = sqlite3.connect(path)
    schema = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name, _sql in schema}
    return [sql for _name, sql in schema], {name: found for name, found in rows.items() if found}


COUNT = 10_000
MANY = declared(COUNT)
FILLED = fresh()
allocate(FILLED, MANY)
SCHEMA, ROWS = _read(FILLED)


def main() -> None:
    harness.run(
        [
            harness.Case(
                f"{COUNT} fixed IPs, first run",
                floor=lambda: insert(fresh()),
                ours=lambda: allocate(fresh(), MANY) and None,
                aim=4,
                own_network=False,
            ),
            harness.Case(
                f"{COUNT} fixed IPs, nothing to do",
                floor=lambda: insert(fresh()),
                ours=lambda: allocate(FILLED, MANY) and None,
                own_network=False,
            ),
        ]
    )
