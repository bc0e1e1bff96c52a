"""Stores of older versions: brought up to date as a whole, or left as they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import a_record
import pytest
from a_site import instance, site
from a_store import content, dump, file_of, is_sqlite, keep, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, kinds, migrations
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FixedIp, Vif
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
#: What version 2 made, and never changes again. SERIAL is each engine's own.
VERSION_2 = f"""
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE history (
    id {{SERIAL}} NOT NULL, change TEXT NOT NULL, at FLOAT NOT NULL, run TEXT NOT NULL, user_name TEXT NOT NULL,
    kind TEXT NOT NULL, "key" TEXT NOT NULL, "before" TEXT, "after" TEXT, PRIMARY KEY (id));
CREATE INDEX history_by_record ON history (kind, "key");
CREATE TABLE projects (
    name TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (name),
    CONSTRAINT projects_origin CHECK (origin IN ('inventory', 'command')));
CREATE TABLE networks (
    label TEXT NOT NULL, manager TEXT NOT NULL, cidr TEXT NOT NULL, gateway TEXT NOT NULL, dhcp_server TEXT NOT NULL,
    dhcp_start TEXT NOT NULL, bridge TEXT NOT NULL, bridge_interface TEXT, dns1 TEXT, dns2 TEXT, mtu BIGINT,
    multi_host BOOLEAN NOT NULL, host TEXT, project TEXT, origin TEXT NOT NULL, PRIMARY KEY (label), UNIQUE (cidr),
    FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    CONSTRAINT networks_origin CHECK (origin IN ('inventory', 'command')));
CREATE TABLE instances (
    name TEXT NOT NULL, project TEXT NOT NULL, host TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (name),
    FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    CONSTRAINT instances_origin CHECK (origin IN ('inventory', 'command')));
CREATE TABLE vifs (
    id TEXT NOT NULL, instance TEXT NOT NULL, network TEXT NOT NULL, mac TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (mac),
    UNIQUE (instance, network), FOREIGN KEY(instance) REFERENCES instances (name) {LATER},
    FOREIGN KEY(network) REFERENCES networks (label) {LATER});
CREATE TABLE fixed_ips (
    address TEXT NOT NULL, network TEXT NOT NULL, instance TEXT, host TEXT, released_at FLOAT, PRIMARY KEY (address),
    UNIQUE (instance, network), UNIQUE (host, network),
    FOREIGN KEY(network) REFERENCES networks (label) {LATER},
    FOREIGN KEY(instance, network) REFERENCES vifs (instance, network) {LATER},
    CONSTRAINT one_holder_or_released CHECK ((instance IS NOT NULL AND host IS NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NULL AND released_at IS NOT NULL)));
INSERT INTO schema_version VALUES (2);
INSERT INTO projects VALUES ('acme', 'command');
INSERT INTO networks VALUES ('blue', 'flatdhcp', '10.0.0.0/24', '10.0.0.1', '10.0.0.1', '10.0.0.2', 'br100', NULL,
    NULL, NULL, 1450, TRUE, NULL, NULL, 'command');
INSERT INTO instances VALUES ('a', 'acme', 'compute1', 'command');
INSERT INTO vifs VALUES ('{{id}}', 'a', 'blue', 'fa:16:3e:00:00:01');
INSERT INTO fixed_ips VALUES ('10.0.0.3', 'blue', 'a', NULL, NULL);
INSERT INTO fixed_ips VALUES ('10.0.0.2', 'blue', NULL, 'compute1', NULL);
INSERT INTO fixed_ips VALUES ('10.0.0.4', 'blue', NULL, NULL, 1234.5);
INSERT INTO history (change, at, run, user_name, kind, "key", "before", "after") VALUES
    ('c1', 1000.0, 'r', 'u', 'instances', 'a', NULL,
     '{{"name":"a","project":"acme","host":"compute1","origin":"command"}}'),
    ('c1', 1000.0, 'r', 'u', 'vifs', 'a/blue', NULL,
     '{{"id":"{{id}}","instance":"a","network":"blue","mac":"fa:16:3e:00:00:01"}}'),
    ('c1', 1000.0, 'r', 'u', 'fixed_ips', '10.0.0.3', NULL,
     '{{"address":"10.0.0.3","network":"blue","instance":"a","host":null,"released_at":null}}');
"""
#: What version 3 made, and never changes again.
VERSION_3 = f"""
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE history (
    id {{SERIAL}} NOT NULL, change TEXT NOT NULL, at FLOAT NOT NULL, run TEXT NOT NULL, user_name TEXT NOT NULL,
    kind TEXT NOT NULL, "key" TEXT NOT NULL, "before" TEXT, "after" TEXT, PRIMARY KEY (id));
CREATE INDEX history_by_record ON history (kind, "key");
CREATE TABLE fixed_ip_runs (
    network TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (network, first));
CREATE TABLE projects (
    name TEXT NOT NULL, network_manager TEXT, quota_networks BIGINT, quota_fixed_ips BIGINT, quota_floating_ips BIGINT,
    quota_security_groups BIGINT, origin TEXT NOT NULL, PRIMARY KEY (name),
    CONSTRAINT projects_origin CHECK (origin IN ('inventory', 'command')));
CREATE TABLE networks (
    label TEXT NOT NULL, uuid TEXT NOT NULL, manager TEXT NOT NULL, cidr TEXT, gateway TEXT, dhcp_server TEXT,
    dhcp_start TEXT, allowed_start TEXT, allowed_end TEXT, cidr_v6 TEXT, gateway_v6 TEXT, vlan BIGINT,
    bridge TEXT NOT NULL, bridge_interface TEXT, vpn_private_address TEXT, vpn_public_address TEXT,
    vpn_public_port BIGINT, dns1 TEXT, dns2 TEXT, mtu BIGINT, multi_host BOOLEAN NOT NULL, host TEXT, priority BIGINT,
    project TEXT, project_origin TEXT, origin TEXT NOT NULL, PRIMARY KEY (label), UNIQUE (uuid), UNIQUE (cidr),
    UNIQUE (cidr_v6), UNIQUE (vlan), UNIQUE (vpn_public_port), FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    CONSTRAINT networks_origin CHECK (origin IN ('inventory', 'command')),
    CONSTRAINT networks_project_origin CHECK (project_origin IN ('inventory', 'command', 'need')),
    CONSTRAINT networks_range CHECK (cidr IS NOT NULL OR cidr_v6 IS NOT NULL),
    CONSTRAINT networks_vlan CHECK (vlan BETWEEN 1 AND 4094));
CREATE INDEX networks_by_bridge ON networks (bridge);
CREATE INDEX networks_by_project ON networks (project);
CREATE TABLE instances (
    name TEXT NOT NULL, project TEXT NOT NULL, host TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (name),
    FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    CONSTRAINT instances_origin CHECK (origin IN ('inventory', 'command')));
CREATE INDEX instances_by_host ON instances (host);
CREATE INDEX instances_by_project ON instances (project);
CREATE TABLE security_groups (
    project TEXT NOT NULL, name TEXT NOT NULL, network TEXT, subnet TEXT, origin TEXT NOT NULL,
    PRIMARY KEY (project, name), UNIQUE (network, subnet), FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    FOREIGN KEY(network) REFERENCES networks (label) {LATER},
    CONSTRAINT security_groups_origin CHECK (origin IN ('inventory', 'command')),
    CONSTRAINT security_groups_subnet CHECK ((network IS NULL) = (subnet IS NULL)));
CREATE TABLE vifs (
    id TEXT NOT NULL, instance TEXT NOT NULL, network TEXT NOT NULL, mac TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (mac),
    UNIQUE (instance, network), FOREIGN KEY(instance) REFERENCES instances (name) {LATER},
    FOREIGN KEY(network) REFERENCES networks (label) {LATER});
CREATE INDEX vifs_by_network ON vifs (network);
CREATE TABLE memberships (
    instance TEXT NOT NULL, security_group TEXT NOT NULL, project TEXT NOT NULL, PRIMARY KEY (instance, security_group),
    FOREIGN KEY(instance) REFERENCES instances (name) {LATER},
    FOREIGN KEY(project, security_group) REFERENCES security_groups (project, name) {LATER});
CREATE INDEX memberships_by_project_security_group ON memberships (project, security_group);
CREATE TABLE fixed_ips (
    address TEXT NOT NULL, version BIGINT NOT NULL, network TEXT NOT NULL, instance TEXT, host TEXT,
    leased BOOLEAN NOT NULL, reserved_by TEXT, reserved_for TEXT, released_at FLOAT, quarantined_until FLOAT,
    number BIGINT, PRIMARY KEY (address), UNIQUE (instance, network, version), UNIQUE (host, network, version),
    FOREIGN KEY(network) REFERENCES networks (label) {LATER},
    FOREIGN KEY(instance, network) REFERENCES vifs (instance, network) {LATER},
    CONSTRAINT one_holder_or_none CHECK ((instance IS NOT NULL AND host IS NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)
     OR (instance IS NULL AND host IS NULL AND (released_at IS NOT NULL OR reserved_by IS NOT NULL))),
    CONSTRAINT fixed_ips_version CHECK (version IN (4, 6)),
    CONSTRAINT fixed_ips_reserved CHECK (reserved_by IN ('inventory', 'command')),
    CONSTRAINT fixed_ips_reserved_for CHECK (reserved_for IS NULL OR reserved_by IS NOT NULL),
    CONSTRAINT fixed_ips_quarantined CHECK (quarantined_until IS NULL OR released_at IS NOT NULL));
CREATE INDEX fixed_ips_by_network_number ON fixed_ips (network, number);
CREATE INDEX fixed_ips_by_network_reserved_for ON fixed_ips (network, reserved_for);
CREATE INDEX fixed_ips_by_network_released_at_number ON fixed_ips (network, released_at, number);
CREATE TABLE floating_ips (
    address TEXT NOT NULL, pool TEXT NOT NULL, interface TEXT, project TEXT, fixed_address TEXT,
    auto_assigned BOOLEAN NOT NULL, allocated_by TEXT, associated_by TEXT, origin TEXT NOT NULL, number BIGINT,
    PRIMARY KEY (address), FOREIGN KEY(project) REFERENCES projects (name) {LATER},
    FOREIGN KEY(fixed_address) REFERENCES fixed_ips (address) {LATER},
    CONSTRAINT floating_ips_origin CHECK (origin IN ('inventory', 'command')),
    CONSTRAINT floating_ips_allocated CHECK ((project IS NULL) = (allocated_by IS NULL)
     AND allocated_by IN ('inventory', 'command')),
    CONSTRAINT floating_ips_associated CHECK ((fixed_address IS NULL) = (associated_by IS NULL)
     AND associated_by IN ('inventory', 'command') AND (fixed_address IS NULL OR project IS NOT NULL)));
CREATE INDEX floating_ips_by_project ON floating_ips (project);
CREATE INDEX floating_ips_by_fixed_address ON floating_ips (fixed_address);
CREATE INDEX floating_ips_by_pool_project_number ON floating_ips (pool, project, number);
INSERT INTO schema_version VALUES (3);
INSERT INTO projects VALUES ('acme', NULL, NULL, NULL, NULL, NULL, 'command');
INSERT INTO networks VALUES ('blue', '{{blue}}', 'flatdhcp', '10.0.0.0/24', '10.0.0.1', '10.0.0.1', '10.0.0.2',
    '10.0.0.2', '10.0.0.254', NULL, NULL, NULL, 'br100', NULL, NULL, NULL, NULL, NULL, NULL, 1450, TRUE, NULL, NULL,
    NULL, NULL, 'command');
INSERT INTO instances VALUES ('a', 'acme', 'compute1', 'command');
INSERT INTO vifs VALUES ('{{id}}', 'a', 'blue', 'fa:16:3e:00:00:01');
INSERT INTO fixed_ips VALUES ('10.0.0.3', 4, 'blue', 'a', NULL, FALSE, NULL, NULL, NULL, NULL, 167772163);
INSERT INTO fixed_ips VALUES ('10.0.0.2', 4, 'blue', NULL, 'compute1', FALSE, NULL, NULL, NULL, NULL, 167772162);
INSERT INTO fixed_ips VALUES ('10.0.0.4', 4, 'blue', NULL, NULL, FALSE, NULL, NULL, 1234.5, NULL, 167772164);
INSERT INTO fixed_ip_runs VALUES ('blue', 167772162, 167772164);
INSERT INTO history (change, at, run, user_name, kind, "key", "before", "after") VALUES
    ('c1', 1000.0, 'r', 'u', 'vifs', 'a/blue', NULL,
     '{{"id":"{{id}}","instance":"a","network":"blue","mac":"fa:16:3e:00:00:01"}}'),
    ('c1', 1000.0, 'r', 'u', 'fixed_ips', '10.0.0.3', NULL,
     '{{"address":"10.0.0.3","version":4,"network":"blue","instance":"a","host":null,"leased":false,
       "reserved_by":null,"reserved_for":null,"released_at":null,"quarantined_until":null}}');
"""
#: addressing.stable_uuid("blue/a"), as it was then, and that of the network.
NIC = "6d5348dd-fef9-5bfa-90eb-54acba97e5d6"
BLUE = "c28bea98-5f51-5e63-83aa-266ee39dec72"
#: By version: what it made; whose its records are; since when the address of `a` is known to be held.
OLD = {
    1: (VERSION_1, "inventory", None),
    2: (VERSION_2, "command", 1000.0),
    3: (VERSION_3, "command", 1000.0),
}


@pytest.fixture(params=sorted(OLD))
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def old(url: str, version: int) -> str:
    """The URL of a store of an older version."""
    if is_sqlite(url):
        file_of(url).parent.mkdir(parents=True)
    text = OLD[version][0].replace("{id}", NIC).replace("{blue}", BLUE)
    text = text.replace("{SERIAL}", "INTEGER" if is_sqlite(url) else "BIGSERIAL")
    sql(url, *filter(str.strip, text.split(";")))
    return url


def unchanged(url: str, check_mode: bool = False) -> store.Outcome:
    return store.reconcile(url, lambda before: before, check_mode)


def test_every_version_leads_to_todays() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.SCHEMA_VERSION))


def test_an_old_version_is_read_as_it_would_be_migrated(old: str, version: int) -> None:
    before = dump(old)
    foreseen = unchanged(old, check_mode=True)
    assert foreseen.changed and foreseen.migrated == version
    assert foreseen.actions == [f"migrate the store from schema version {version} to {migrations.SCHEMA_VERSION}"]
    assert upkeep.fsck(old) == []
    assert upkeep.export(old).count("\n  - ") == 7
    assert dump(old) == before
    assert unchanged(old) == foreseen
    assert content(old) == foreseen.after


def test_an_old_version_is_brought_up_to_date_whole(old: str, version: int) -> None:
    _text, origin, since = OLD[version]
    unchanged(old)
    held = content(old)
    assert sql(old, "SELECT version FROM schema_version") == [(migrations.SCHEMA_VERSION,)]
    made = [*held.projects.values(), *held.networks.values(), *held.instances.values()]
    assert {row.origin for row in made} == {origin}
    blue = held.networks["blue"]
    assert blue.mtu == 1450 and blue.multi_host is True and blue.manager == "flatdhcp"
    assert (blue.allowed_start, blue.allowed_end, blue.cidr_v6, blue.vlan) == ("10.0.0.2", "10.0.0.254", None, None)
    assert held.vifs == {("a", "blue"): Vif(NIC, "a", "blue", "fa:16:3e:00:00:01", None)}
    assert [row for _address, row in sorted(held.fixed_ips.items())] == [
        FixedIp("10.0.0.2", 4, "blue", host="compute1"),
        FixedIp("10.0.0.3", 4, "blue", instance="a"),
        FixedIp("10.0.0.4", 4, "blue", released_at=1234.5),
    ]
    assert held.security_groups == held.memberships == held.floating_ips == {}
    assert sql(old, "SELECT number FROM fixed_ips ORDER BY address") == [(0x0A000000 + n,) for n in (2, 3, 4)]
    assert sql(old, "SELECT * FROM fixed_ip_runs") == [("blue", 0x0A000002, 0x0A000004)]
    assert upkeep.fsck(old) == []
    assert not unchanged(old).changed
    # A holding that is older than the history has no beginning.
    [holding] = upkeep.holdings(old, address="10.0.0.3")
    assert (holding.instance, holding.since, holding.until) == ("a", since, None)


def take(ledger: Ledger) -> str | None:
    number = ledger.untouched("blue", 0x0A000002, 0x0A0000FE)
    assert number is not None
    ledger.put(FixedIp(addressing.text(number), 4, "blue", host="compute2"))
    return addressing.text(number)


def test_a_command_migrates_in_its_transaction(old: str, version: int) -> None:
    before = dump(old)
    foreseen = store.operate(old, take, True)
    assert upkeep.query(old, lambda ledger: [row.address for row in ledger.where(FixedIp, instance="a")]) == [
        "10.0.0.3"
    ]
    assert dump(old) == before
    done = store.operate(old, take, False)
    assert done == foreseen
    assert (done.result, done.migrated, done.changed) == ("10.0.0.5", version, True)
    assert done.actions[0].startswith("migrate the store") and len(done.actions) == 2
    assert content(old).fixed_ips["10.0.0.5"].host == "compute2"
    assert upkeep.fsck(old) == []
    assert store.operate(old, take, True).result == "10.0.0.6"


def test_a_command_that_is_refused_migrates_nothing(old: str) -> None:
    before = dump(old)

    def refuse(ledger: Ledger) -> None:
        take(ledger)
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        store.operate(old, refuse, False)
    assert dump(old) == before


def test_a_run_migrates_and_allocates_in_one_transaction(old: str, version: int) -> None:
    settings = {"nova_multi_host": True, "nova_flat_network_bridge": "br100"}
    hosts = {"compute1": {"nodes": ["bridging", "addressing", "routing"]}}
    outcome = put(old, site(instances=[instance("a"), instance("b")], settings=settings, hosts=hosts))
    assert outcome.migrated == version
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


def test_a_store_of_today_can_be_migrated_tomorrow(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows from the records is made anew with them."""
    rows = [a_record.fixed_ip(address, released_at=1.0) for address in ("10.1.0.2", "10.1.0.3", "10.1.0.7", "fd00::7")]
    held = keep(url, a_record.site(0, *rows))
    before = dump(url)
    today = migrations.SCHEMA_VERSION
    monkeypatch.setitem(migrations.MIGRATIONS, today, lambda rows: None)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", today + 1)
    assert unchanged(url, check_mode=True).after == held
    assert unchanged(url).migrated == today
    assert content(url) == held
    assert dump(url) == {**before, "schema_version": [(today + 1,)]}


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
    assert unchanged(old).migrated is not None


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
    assert unchanged(old).migrated is not None
    assert upkeep.fsck(old) == []


def test_old_rows_of_each_kind_become_records() -> None:
    rows = migrations.migrate({"projects": [{"name": "acme"}]}, 1)
    assert kinds.state_of(rows).projects["acme"].origin == "inventory"
