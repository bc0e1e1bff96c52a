"""The port filter: what a section permits, as elements of sets, and what differs from what nft lists."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import bridge_table
from ansible_collections.tenantnet.nova.plugins.module_utils._core.bridge_table import Elements, Listing
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.port_filter import nftables, parse

MAC = "fa:16:3e:01:02:03"


def port(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": "tap1", "mac": MAC, **keys}


def sets(*ports: dict[str, t.Any], uplinks: tuple[str, ...] = ()) -> dict[str, Elements]:
    return nftables.elements(parse({"ports": list(ports), "uplinks": list(uplinks)}))


def listed(*ports: dict[str, t.Any]) -> Listing:
    return Listing(["the rules"], sets(*ports))


def test_a_port_has_its_addresses_and_the_link_local_one() -> None:
    found = sets(port(addresses=["10.0.0.3", "FD00:0::3"]))
    assert found["addresses"] == {("tap1", MAC, "10.0.0.3")}
    assert found["addresses6"] == {("tap1", MAC, "fd00::3"), ("tap1", MAC, "fe80::f816:3eff:fe01:203")}
    assert found["targets6"] == found["addresses6"]
    assert found["macs"] == {("tap1", MAC)}


def test_a_pair_is_for_its_own_mac_address_or_the_ports() -> None:
    found = sets(
        port(
            allowed_address_pairs=[
                {"ip_address": "10.0.0.50", "mac_address": "00-00-5E-00-01-01"},
                {"ip_address": "10.0.0.51/32"},
            ]
        )
    )
    assert found["addresses"] == {("tap1", "00:00:5e:00:01:01", "10.0.0.50"), ("tap1", MAC, "10.0.0.51")}
    assert found["macs"] == {("tap1", MAC), ("tap1", "00:00:5e:00:01:01")}


def test_ranges_that_overlap_are_one() -> None:
    pairs = [{"ip_address": each} for each in ("10.0.0.0/25", "10.0.0.128/25", "10.0.0.7", "fd00::/64", "fd00::9")]
    found = sets(port(allowed_address_pairs=pairs))
    assert found["ranges"] == {("tap1", MAC, "10.0.0.0/24")}
    assert found["ranges6"] == found["target_ranges6"] == {("tap1", MAC, "fd00::/64")}
    assert found["addresses"] == frozenset()


def test_only_what_differs_is_written() -> None:
    before = listed(port(addresses=["10.0.0.3"]), port(name="tap2"))
    plan = parse({"ports": [port(addresses=["10.0.0.4"]), port(name="tap2")]})
    difference = nftables.compare(plan, before, Listing(["the rules"], {}))
    assert difference.script.splitlines() == [
        f'delete element bridge nova-network addresses {{ "tap1" . {MAC} . 10.0.0.3 }}',
        f'add element bridge nova-network addresses {{ "tap1" . {MAC} . 10.0.0.4 }}',
    ]
    assert difference.actions() == ["change what passes tap1"]
    assert "tap2" not in difference.diff()["before"] + difference.diff()["after"]


def test_nothing_is_written_where_nothing_differs() -> None:
    plan = parse({"ports": [port()]})
    assert not nftables.compare(plan, listed(port()), Listing(["the rules"], {})).changed
    assert not nftables.compare(parse({"ports": []}), None, Listing([], {})).changed


def test_other_rules_are_replaced_whole() -> None:
    plan = parse({"ports": [port()]})
    difference = nftables.compare(plan, listed(port()), Listing(["other rules"], {}))
    assert difference.script == nftables.TABLE.replacement(nftables.elements(plan))
    assert difference.actions() == ["restore the rules that all ports share"]


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        ("tap1", ("tap1",)),
        ({"concat": ["tap1", MAC, "10.0.0.3"]}, ("tap1", MAC, "10.0.0.3")),
        ({"concat": ["tap1", MAC, {"prefix": {"addr": "10.0.0.64", "len": 28}}]}, ("tap1", MAC, "10.0.0.64/28")),
        ({"concat": ["tap1", MAC, {"range": ["10.0.0.64", "10.0.0.79"]}]}, ("tap1", MAC, "10.0.0.64/28")),
        ({"concat": ["tap1", MAC, {"range": ["10.0.0.64", "10.0.0.80"]}]}, ("tap1", MAC, "10.0.0.64-10.0.0.80")),
        ({"concat": ["tap1", MAC, "0xfd000000000000000000000000000003"]}, ("tap1", MAC, "fd00::3")),
    ],
)
def test_elements_are_read_in_one_spelling(shown: t.Any, meant: tuple[str, ...]) -> None:
    listing = bridge_table.read({"nftables": [{"set": {"name": "s", "handle": 7, "elem": [shown]}}]})
    assert listing.elements == {"s": frozenset([meant])}
    assert listing.skeleton == [("set", {"name": "s"})]


@pytest.mark.parametrize("range_", ["0.0.0.0/0", "::/0"])
def test_every_address_is_no_pair(range_: str) -> None:
    with pytest.raises(InputError, match="every address"):
        sets(port(allowed_address_pairs=[{"ip_address": range_}]))
