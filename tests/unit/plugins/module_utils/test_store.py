"""The store on a real database of either engine."""

from __future__ import annotations

import a_record
import pytest
import sqlalchemy as sa
from a_record import fixed_ip
from a_site import instance, multi_host, site
from a_store import content, dump, file_of, is_sqlite, keep, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp


def test_what_was_decided_is_what_is_read(url: str) -> None:
    after = put(url, multi_host(instances=[instance("a"), instance("b", "compute2")])).after
    assert content(url) == after
    after = put(url, multi_host(instances=[instance("b", "compute1")])).after
    assert content(url) == after


def test_check_mode_predicts_and_leaves_no_trace(url: str) -> None:
    declared = multi_host(instances=[instance("a"), instance("b", "compute2")])
    predicted = put(url, declared, check_mode=True)
    assert not file_of(url).parent.exists() if is_sqlite(url) else dump(url) == {}
    assert put(url, declared).after == predicted.after
    before = dump(url)
    stat = file_of(url).stat() if is_sqlite(url) else None
    fewer = put(url, multi_host(instances=[instance("b")]), check_mode=True)
    assert fewer.changes
    assert stat is None or file_of(url).stat() == stat
    assert dump(url) == before
    assert put(url, multi_host(instances=[instance("b")])).after == fewer.after


def test_two_instances_exchange_addresses_and_macs(url: str) -> None:
    one = {"address": "10.0.0.5", "mac": "fa:16:3e:00:00:01"}
    two = {"address": "10.0.0.6", "mac": "fa:16:3e:00:00:02"}
    put(url, site(instances=[instance("a", **one), instance("b", **two)]))
    after = put(url, site(instances=[instance("a", **two), instance("b", **one)])).after
    assert content(url) == after
    assert after.vifs[("a", "blue")].mac == "fa:16:3e:00:00:02"


def test_a_refusal_leaves_the_store_as_it_was(url: str) -> None:
    put(url, site(instances=[instance("a")]))
    held, before = content(url), dump(url)
    with pytest.raises(InputError):
        put(url, site(instances=[instance("a"), instance("b", address="10.0.0.2")]))
    assert content(url) == held
    assert dump(url) == before


def test_a_refused_declaration_makes_no_store(url: str) -> None:
    with pytest.raises(InputError):
        put(url, site(instances=[instance("a", address="10.9.9.9")]))
    assert not file_of(url).parent.exists() if is_sqlite(url) else dump(url) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO fixed_ips (address, version, network, host, leased) VALUES ('10.0.0.3', 4, 'blue', 'h9', FALSE)",
        "INSERT INTO fixed_ips (address, version, network, instance, leased)"
        " VALUES ('10.0.0.99', 4, 'blue', 'i0', FALSE)",
        "INSERT INTO fixed_ips (address, version, network, leased) VALUES ('10.0.0.99', 4, 'blue', FALSE)",
        "INSERT INTO fixed_ips (address, version, network, host, leased) VALUES ('10.9.0.9', 4, 'green', 'h9', FALSE)",
        "UPDATE fixed_ips SET host = 'h9' WHERE address = '10.0.0.3'",
        "UPDATE fixed_ips SET version = 5",
        "UPDATE fixed_ips SET reserved_for = 'i0'",
        "UPDATE fixed_ips SET quarantined_until = 5 WHERE address = '10.0.0.3'",
        "UPDATE vifs SET mac = '02:00:00:00:00:01'",
        "INSERT INTO networks (label, uuid, manager, cidr, bridge, multi_host, origin)"
        " SELECT 'x', 'x', manager, cidr, bridge, multi_host, origin FROM networks WHERE label = 'blue'",
        "UPDATE networks SET cidr = NULL",
        "UPDATE networks SET vlan = 100",
        "UPDATE networks SET vlan = 4095 WHERE label = 'blue'",
        "UPDATE instances SET origin = 'nobody'",
        "DELETE FROM instances WHERE name = 'i0'",
        "UPDATE floating_ips SET project = 'acme'",
        "UPDATE floating_ips SET fixed_address = '10.0.0.3', associated_by = 'command'",
        "INSERT INTO floating_ips (address, pool, auto_assigned, origin) VALUES ('192.0.2.8', 'x', FALSE, 'command')",
        "DELETE FROM fixed_ips WHERE address = '10.0.0.4'",
    ],
    ids=[
        "address twice",
        "NIC with two addresses",
        "address of nobody",
        "no such network",
        "two holders",
        "no such version",
        "kept for one but not reserved",
        "held back and held",
        "MAC twice",
        "range twice",
        "no range",
        "VLAN twice",
        "no such VLAN",
        "origin unknown",
        "orphan",
        "allocated by nobody",
        "associated but not allocated",
        "floating IP twice",
        "floating IP to nowhere",
    ],
)
def test_the_database_itself_refuses_what_must_never_be(url: str, statement: str) -> None:
    floating = FloatingIp("192.0.2.99", "nova", None, "acme", "10.0.0.4", False, "command", "command", "command")
    keep(url, a_record.site(2, fixed_ip("10.0.0.3", instance="i0"), fixed_ip("10.0.0.4", instance="i1"), floating))
    with pytest.raises(sa.exc.IntegrityError):
        sql(url, statement)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("sqlite://", "sqlite:////"),
        ("sqlite:///relative.db", "four slashes"),
        ("nonsense", "'nonsense'"),
        ("mysql://host/nova", "mysql"),
        ("postgresql://host", "postgresql://user:password@host/database"),
        ("postgresql://u:p@host:port/nova", "postgresql://u:\\*\\*\\*@host:port/nova"),
    ],
)
def test_a_url_that_names_no_store(bad: str, named: str) -> None:
    with pytest.raises(StoreError, match=named):
        put(bad, site())


def test_a_newer_schema_is_not_touched(url: str) -> None:
    put(url, site())
    sql(url, "UPDATE schema_version SET version = 99")
    before = dump(url)
    with pytest.raises(StoreError, match="99.*update the collection"):
        put(url, site(instances=[instance("a")]))
    assert dump(url) == before


def test_a_foreign_database_is_not_touched(url: str) -> None:
    if is_sqlite(url):
        file_of(url).parent.mkdir(parents=True)
    sql(url, "CREATE TABLE somebody_elses (x integer)")
    with pytest.raises(StoreError, match="no store of this collection"):
        put(url, site())
