"""The store on a real database of either engine."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from a_site import instance, multi_host, site
from a_store import content, dump, file_of, is_sqlite, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError


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
        "INSERT INTO fixed_ips VALUES ('10.0.0.2', 'blue', NULL, 'h9', NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'blue', 'a', NULL, NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'blue', NULL, NULL, NULL)",
        "INSERT INTO fixed_ips VALUES ('10.0.0.99', 'red', NULL, 'h9', NULL)",
        "INSERT INTO vifs SELECT 'x', instance, network, mac FROM vifs",
        "INSERT INTO networks (label, manager, cidr, gateway, dhcp_server, dhcp_start, bridge, multi_host, host,"
        " origin) SELECT 'x', manager, cidr, gateway, dhcp_server, dhcp_start, bridge, multi_host, host, origin"
        " FROM networks",
        "UPDATE instances SET origin = 'nobody'",
        "DELETE FROM instances WHERE name = 'a'",
    ],
    ids=[
        "address twice",
        "NIC with two addresses",
        "address of nobody",
        "no such network",
        "MAC twice",
        "range twice",
        "origin unknown",
        "orphan",
    ],
)
def test_the_database_itself_refuses_what_must_never_be(url: str, statement: str) -> None:
    put(url, site(instances=[instance("a")]))
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
