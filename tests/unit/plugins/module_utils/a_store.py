"""Stores to try things on, of either engine."""

from __future__ import annotations

import pathlib
import typing as t

import sqlalchemy as sa
from a_site import allocate
from ansible_collections.tenantnet.nova.plugins.module_utils._core import history, state
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import engines, store


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def file_of(url: str) -> pathlib.Path:
    assert is_sqlite(url)
    return pathlib.Path(url[len("sqlite:///") :])


def put(url: str, declared: dict, check_mode: bool = False, now: float = 1000.0, run: str = "r") -> store.Outcome:
    by = history.Author(run, "somebody", now)
    return store.reconcile(url, lambda before: allocate(declared, before, now), check_mode, by)


def keep(url: str, held: state.State) -> state.State:
    """Make the store hold this and nothing else."""
    return store.reconcile(url, lambda _before: held, False).after


def content(url: str) -> state.State:
    return store.reconcile(url, lambda before: before, True).before


def sql(url: str, *statements: str) -> list[tuple[t.Any, ...]]:
    """Behind the store's back, in one transaction with references kept; rows of the last statement, if it has any."""
    parsed = engines.make_url(url)
    if not is_sqlite(url):
        parsed = parsed.set(drivername=f"postgresql+{engines._driver(parsed)}")
    engine = sa.create_engine(parsed, future=True)
    try:
        with engine.begin() as connection:
            if is_sqlite(url):
                connection.connection.isolation_level = None
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
                connection.exec_driver_sql("BEGIN")
            for statement in statements:
                result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def dump(url: str) -> dict[str, list[tuple[t.Any, ...]]]:
    """Everything that is in the database, to see that nothing at all was touched."""
    listed = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if is_sqlite(url)
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    return {name: sorted(sql(url, f"SELECT * FROM {name}"), key=repr) for (name,) in sql(url, listed)}
