"""Stores of older versions: brought up to date as a whole, or left as they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
from a_site import instance, site
from a_store import content, dump, file_of, is_sqlite, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core import kinds, migrations
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import schema, store, upkeep

LATER = "DEFERRABLE INITIALLY DEFERRED"
#: What version 1 made, and never changes again.
VERSION_1 = f"""
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE projects (name TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE networks (
    label TEXT NOT NULL, manager TEXT NOT NULL, cidr TEXT NOT NULL, gateway TEXT NOT NULL, dhcp_server TEXT NOT NULL,
    dhcp_start TEXT NOT NULL, bridge TEXT NOT NULL, bridge_interface TEXT, dns1 TEXT, dns2 TEXT, mtu INTEGER,
    multi_host BOOLEAN NOT NULL, host TEXT, project TEXT, PRIMARY KEY (label), UNIQUE (cidr),
    FOREIGN KEY(project) REFERENCES projects (name) {LATER});
CREATE TABLE instances (
    name TEXT NOT NULL, project TEXT NOT NULL, host TEXT NOT NULL, PRIMARY KEY (name),
    FOREIGN KEY(project) REFERENCES projects (name) {LATER});
CREATE TABLE vifs (
    id TEXT NOT NULL, instance TEXT NOT NULL, network TEXT NOT NULL, mac TEXT NOT NULL, PRIMARY KEY (id),
    UNIQUE (instance, network), FOREIGN KEY(instance) REFERENCES instances (name) {LATER},
    FOREIGN KEY(network) REFERENCES networks (label) {LATER}, UNIQUE (mac));
CREATE TABLE fixed_ips (
    address TEXT NOT NULL, network TEXT NOT NULL, instance TEXT, host TEXT, released_at FLOAT, PRIMARY KEY (address),
    FOREIGN KEY(instance, network) REFERENCES vifs (instance, network) {LATER}, UNIQUE (instance, network),
    UNIQUE (host, network),
    CONSTRAINT one_holder_or_released CHECK ((instance IS NOT NULL AND host IS NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NULL AND released_at IS NOT NULL)),
    FOREIGN KEY(network) REFERENCES networks (label) {LATER});
INSERT INTO schema_version VALUES (1);
INSERT INTO projects VALUES ('acme');
INSERT INTO networks VALUES ('blue', 'flatdhcp', '10.0.0.0/24', '10.0.0.1', '10.0.0.1', '10.0.0.2', 'br100', NULL,
    NULL, NULL, 1450, TRUE, NULL, NULL);
INSERT INTO instances VALUES ('a', 'acme', 'compute1');
INSERT INTO vifs VALUES ('{{id}}', 'a', 'blue', 'fa:16:3e:00:00:01');
INSERT INTO fixed_ips VALUES ('10.0.0.3', 'blue', 'a', NULL, NULL);
INSERT INTO fixed_ips VALUES ('10.0.0.2', 'blue', NULL, 'compute1', NULL);
INSERT INTO fixed_ips VALUES ('10.0.0.4', 'blue', NULL, NULL, 1234.5);
"""
#: addressing.stable_uuid("blue/a"), as it was then.
NIC = "6d5348dd-fef9-5bfa-90eb-54acba97e5d6"


@pytest.fixture
def old(url: str) -> str:
    """The URL of a store of version 1."""
    if is_sqlite(url):
        file_of(url).parent.mkdir(parents=True)
    sql(url, *filter(str.strip, VERSION_1.replace("{id}", NIC).split(";")))
    return url


def unchanged(url: str, check_mode: bool = False) -> store.Outcome:
    return store.reconcile(url, lambda before: before, check_mode)


def test_every_version_leads_to_todays() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.SCHEMA_VERSION))


def test_version_1_is_read_as_it_would_be_migrated(old: str) -> None:
    before = dump(old)
    foreseen = unchanged(old, check_mode=True)
    assert foreseen.changed and foreseen.migrated == 1
    assert foreseen.actions == [f"migrate the store from schema version 1 to {migrations.SCHEMA_VERSION}"]
    assert upkeep.fsck(old) == []
    assert upkeep.export(old).count("\n  - ") == 7
    assert dump(old) == before
    assert unchanged(old) == foreseen
    assert content(old) == foreseen.after


def test_version_1_is_brought_up_to_date_whole(old: str) -> None:
    unchanged(old)
    held = content(old)
    assert sql(old, "SELECT version FROM schema_version") == [(migrations.SCHEMA_VERSION,)]
    assert {row.origin for row in [*held.projects.values(), *held.networks.values(), *held.instances.values()]} == {
        "inventory"
    }
    assert held.networks["blue"].mtu == 1450 and held.networks["blue"].multi_host is True
    assert held.vifs[("a", "blue")].mac == "fa:16:3e:00:00:01"
    assert [(row.instance, row.host, row.released_at) for _address, row in sorted(held.fixed_ips.items())] == [
        (None, "compute1", None),
        ("a", None, None),
        (None, None, 1234.5),
    ]
    assert upkeep.fsck(old) == []
    assert not unchanged(old).changed
    # A holding that is older than the history has no beginning.
    [holding] = upkeep.holdings(old, address="10.0.0.3")
    assert (holding.instance, holding.since, holding.until) == ("a", None, None)


def test_a_run_migrates_and_allocates_in_one_transaction(old: str) -> None:
    settings = {"nova_multi_host": True, "nova_flat_network_bridge": "br100"}
    hosts = {"compute1": {"nodes": ["bridging", "addressing", "routing"]}}
    outcome = put(old, site(instances=[instance("a"), instance("b")], settings=settings, hosts=hosts))
    assert outcome.migrated == 1
    assert outcome.after.vifs[("a", "blue")].mac == "fa:16:3e:00:00:01"
    assert content(old) == outcome.after
    assert upkeep.fsck(old) == []


def test_the_migrated_schema_is_the_one_of_a_new_store(old: str, url: str) -> None:
    unchanged(old)
    known = schema.tables()
    assert set(dump(old)) == set(known.metadata.tables)
    assert upkeep.fsck(old) == []
    put(old, site())
    assert content(old).networks.keys() == {"blue"}


def test_a_migration_that_fails_leaves_the_old_version(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(old)

    def breaks(connection: object, table: object, rows: list) -> None:
        if getattr(table, "name", "") == "vifs":
            raise StoreError("broken off")
        insert(connection, table, rows)

    insert = schema.insert
    monkeypatch.setattr(schema, "insert", breaks)
    with pytest.raises(StoreError, match="broken off"):
        unchanged(old)
    assert dump(old) == before
    monkeypatch.undo()
    assert unchanged(old).migrated == 1


def _migrate_slowly(url: str) -> None:
    insert = schema.insert

    def slowly(connection: object, table: object, rows: list) -> None:
        insert(connection, table, rows)
        time.sleep(0.05)

    schema.insert = slowly
    unchanged(url)


def test_a_killed_migration_leaves_the_old_version(old: str) -> None:
    before = dump(old)
    for attempt in range(3):
        process = multiprocessing.get_context("fork").Process(target=_migrate_slowly, args=(old,))
        process.start()
        time.sleep(0.08 + 0.05 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert dump(old) == before
    assert unchanged(old).migrated == 1
    assert upkeep.fsck(old) == []


def test_old_rows_of_each_kind_become_records() -> None:
    rows = migrations.migrate({"projects": [{"name": "acme"}]}, 1)
    assert kinds.state_of(rows).projects["acme"].origin == "inventory"
