"""What is particular to a store in a SQLite file."""

from __future__ import annotations

import os
import pathlib
import sqlite3

import pytest
from a_site import instance, multi_host, site
from a_store import file_of, put
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import engines


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


def test_a_second_run_writes_nothing(url: str) -> None:
    declared = multi_host(instances=[instance("a")])
    put(url, declared)
    before = file_of(url).stat()
    assert put(url, declared, now=2000.0).changes == {}
    after = file_of(url).stat()
    assert (after.st_mtime_ns, after.st_ctime_ns, after.st_ino) == (
        before.st_mtime_ns,
        before.st_ctime_ns,
        before.st_ino,
    )
    assert os.listdir(file_of(url).parent) == ["nova.sqlite"]


def test_the_map_of_the_site_is_readable_by_its_owner_alone(url: str) -> None:
    put(url, site())
    assert file_of(url).stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_database(url: str) -> None:
    file_of(url).parent.mkdir(parents=True)
    file_of(url).write_text("this is a text, and long enough to be looked at as if it were a database header" * 9)
    with pytest.raises(StoreError, match="not a database"):
        put(url, site())


def test_a_folder_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory|File exists"):
        put(f"sqlite:///{tmp_path}/file/nova.sqlite", site())


def test_a_lock_held_for_long_is_a_clear_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url, site())
    monkeypatch.setattr(engines, "LOCK_TIMEOUT", 0.2)
    holder = sqlite3.connect(file_of(url), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked.*as it was"):
        put(url, site(instances=[instance("a")]))
    holder.execute("ROLLBACK")
    put(url, site(instances=[instance("a")]))
