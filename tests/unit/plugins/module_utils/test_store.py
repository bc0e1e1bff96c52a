"""The store on a real SQLite file."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import signal
import sqlite3
import time

import pytest
from a_site import allocate, instance, multi_host, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    return f"sqlite:///{tmp_path}/deep/er/nova.sqlite"


def file_of(url: str) -> pathlib.Path:
    return pathlib.Path(url[len("sqlite:///") :])


def put(url: str, declared: dict, check_mode: bool = False, now: float = 1000.0) -> store.Outcome:
    return store.reconcile(url, lambda before: allocate(declared, before, now), check_mode)


def content(url: str) -> state.State:
    return store.reconcile(url, lambda before: before, True).before


def test_what_was_decided_is_what_is_read(url: str) -> None:
    after = put(url, multi_host(instances=[instance("a"), instance("b", "compute2")])).after
    assert content(url) == after
    after = put(url, multi_host(instances=[instance("b", "compute1")])).after
    assert content(url) == after


def test_check_mode_predicts_and_leaves_no_trace(url: str) -> None:
    declared = multi_host(instances=[instance("a"), instance("b", "compute2")])
    predicted = put(url, declared, check_mode=True)
    assert not file_of(url).parent.exists()
    assert put(url, declared).after == predicted.after
    before = file_of(url).stat()
    fewer = put(url, multi_host(instances=[instance("b")]), check_mode=True)
    assert fewer.changes
    assert file_of(url).stat() == before
    assert put(url, multi_host(instances=[instance("b")])).after == fewer.after


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


def test_two_instances_exchange_addresses_and_macs(url: str) -> None:
    one = {"address": "10.0.0.5", "mac": "fa:16:3e:00:00:01"}
    two = {"address": "10.0.0.6", "mac": "fa:16:3e:00:00:02"}
    put(url, site(instances=[instance("a", **one), instance("b", **two)]))
    after = put(url, site(instances=[instance("a", **two), instance("b", **one)])).after
    assert content(url) == after
    assert after.vifs[("a", "blue")].mac == "fa:16:3e:00:00:02"


def test_a_refusal_leaves_the_store_as_it_was(url: str) -> None:
    put(url, site(instances=[instance("a")]))
    held, before = content(url), file_of(url).read_bytes()
    with pytest.raises(InputError):
        put(url, site(instances=[instance("a"), instance("b", address="10.0.0.2")]))
    assert content(url) == held
    assert file_of(url).read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO fixed_ips VALUES ('10.0.0.2', 'blue', NULL, 'h9', NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'blue', 'a', NULL, NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'blue', NULL, NULL, NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'red', NULL, 'h9', NULL)",
        "INSERT INTO vifs SELECT 'x', instance, network, mac FROM vifs",
        "INSERT INTO networks SELECT 'x', manager, cidr, gateway, dhcp_server, dhcp_start, bridge, NULL, NULL, NULL, "
        "NULL, multi_host, host, project FROM networks",
        "DELETE FROM instances WHERE name = 'a'",
    ],
    ids=[
        "address twice",
        "NIC with two addresses",
        "address of nobody",
        "no such network",
        "MAC twice",
        "range twice",
        "orphan",
    ],
)
def test_the_database_itself_refuses_what_must_never_be(url: str, statement: str) -> None:
    put(url, site(instances=[instance("a")]))
    connection = sqlite3.connect(file_of(url))
    connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("sqlite://", "sqlite:////"),
        ("sqlite:///relative.db", "four slashes"),
        ("nonsense", "'nonsense'"),
        ("mysql://host/nova", "mysql"),
    ],
)
def test_a_url_that_names_no_store(bad: str, named: str) -> None:
    with pytest.raises(StoreError, match=named):
        put(bad, site())


def test_a_newer_schema_is_not_touched(url: str) -> None:
    put(url, site())
    connection = sqlite3.connect(file_of(url))
    connection.execute("UPDATE schema_version SET version = 99")
    connection.commit()
    before = file_of(url).read_bytes()
    with pytest.raises(StoreError, match="99.*update the collection"):
        put(url, site(instances=[instance("a")]))
    assert file_of(url).read_bytes() == before


def test_a_foreign_database_is_not_touched(url: str) -> None:
    file_of(url).parent.mkdir(parents=True)
    connection = sqlite3.connect(file_of(url))
    connection.execute("CREATE TABLE somebody_elses (x)")
    connection.commit()
    with pytest.raises(StoreError, match="no store of this collection"):
        put(url, site())


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
    monkeypatch.setattr(store, "LOCK_TIMEOUT", 0.2)
    holder = sqlite3.connect(file_of(url), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked.*as it was"):
        put(url, site(instances=[instance("a")]))
    holder.execute("ROLLBACK")
    put(url, site(instances=[instance("a")]))


def _run_many(url: str, worker: int, rounds: int) -> None:
    for turn in range(rounds):

        def decide(before: state.State, turn: int = turn) -> state.State:
            # Each worker declares what is there plus one of its own, as runs of one inventory would.
            kept = [instance(name, row.host) for name, row in before.instances.items()]
            return allocate(site(instances=[*kept, instance(f"w{worker}-{turn}")]), before)

        store.reconcile(url, decide, False)


def test_runs_at_once_decide_one_after_the_other(url: str) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_run_many, args=(url, worker, 8)) for worker in range(4)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    assert [process.exitcode for process in workers] == [0, 0, 0, 0]
    held = content(url)
    assert len(held.instances) == 32
    assert len({row.address for row in held.fixed_ips.values() if row.instance}) == 32


def test_a_killed_run_leaves_all_or_nothing(url: str) -> None:
    """SIGKILL at any moment: the instances in the store always come with their NICs and addresses."""
    put(url, site())
    context = multiprocessing.get_context("fork")
    for attempt in range(12):
        process = context.Process(target=_run_many, args=(url, attempt, 50))
        process.start()
        time.sleep(0.03 + attempt * 0.013)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        held = content(url)
        holders = [row.instance for row in held.fixed_ips.values() if row.instance is not None]
        assert sorted(holders) == sorted(held.instances) == sorted(name for name, _network in held.vifs)
    assert held.instances
