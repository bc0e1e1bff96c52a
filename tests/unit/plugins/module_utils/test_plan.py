"""Host plans: documents that the schema describes, and what each host is asked to do."""

from __future__ import annotations

import json
import pathlib

import jsonschema
import pytest
from a_site import instance, multi_host, plans, site

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())


def two(**more):
    return [instance("a"), instance("b", "compute2", **more)]


@pytest.mark.parametrize("make", [site, multi_host])
def test_every_plan_fits_the_schema_and_survives_json(make) -> None:
    made = plans(make(networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "mtu": 1450}], instances=two()))
    assert set(made) == {"net1", "compute1", "compute2"}
    for plan in made.values():
        jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(plan)
        assert json.loads(json.dumps(plan)) == plan


def test_single_host_one_serves_the_others_carry() -> None:
    made = plans(site(instances=two()))
    assert [len(made[host]["dnsmasq"]["instances"]) for host in ("net1", "compute1", "compute2")] == [1, 0, 0]
    assert made["net1"]["links"]["bridges"][0]["addresses"] == ["10.0.0.1/24"]
    assert made["compute1"]["links"]["bridges"][0]["addresses"] == []
    assert made["net1"]["links"]["sysctl"] == {"net.ipv4.ip_forward": "1"}
    assert made["compute1"]["links"]["sysctl"] == {}
    reserved = {row["hostname"]: row["address"] for row in made["net1"]["dnsmasq"]["instances"][0]["hosts"]}
    assert reserved == {"a": "10.0.0.2", "b": "10.0.0.3"}


def test_a_host_without_guests_of_a_network_carries_none_of_it() -> None:
    made = plans(site(instances=[instance("a")]))
    assert made["compute2"]["links"]["bridges"] == [] == made["compute2"]["networks"]


def test_multi_host_each_serves_its_own_guests_by_its_own_address() -> None:
    made = plans(multi_host(instances=two()))
    for host, gateway, guest in (("compute1", "10.0.0.2", "10.0.0.4"), ("compute2", "10.0.0.3", "10.0.0.5")):
        (server,) = made[host]["dnsmasq"]["instances"]
        assert made[host]["links"]["bridges"][0]["addresses"] == [f"{gateway}/24"]
        assert server["listen_address"] == gateway
        assert server["options"] == [{"option": 3, "value": gateway}]
        assert [row["address"] for row in server["hosts"]] == [guest]
        # nova let every host answer for the names of the whole network.
        assert sorted(row["hostname"] for row in server["names"]) == ["a", "b"]
        assert made[host]["instances"][0]["ports"][0]["gateway"] == gateway
    assert made["net1"]["dnsmasq"]["instances"] == []


def test_the_port_of_a_guest_tells_all_that_a_provisioner_needs() -> None:
    (port,) = plans(site(instances=two()))["compute1"]["instances"][0]["ports"]
    assert port.pop("device").startswith("tap") and len(port["mac"]) == 17
    port.pop("mac")
    expected = {
        "network": "blue",
        "bridge": "br100",
        "address": "10.0.0.2/24",
        "gateway": "10.0.0.1",
        "address_v6": None,
        "gateway_v6": None,
        "dns": [],
        "vlan": None,
        "mtu": None,
    }
    assert port == expected


def test_the_mtu_reaches_bridge_port_and_dhcp() -> None:
    made = plans(site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "mtu": 1450}], instances=two()))
    assert made["compute1"]["links"]["bridges"][0]["mtu"] == 1450
    assert {"option": 26, "value": "1450"} in made["net1"]["dnsmasq"]["instances"][0]["options"]
    assert made["compute1"]["instances"][0]["ports"][0]["mtu"] == 1450


def test_whose_interface_goes_into_the_bridge() -> None:
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/24", "bridge_interface": "eth7"}]
    declared = site(networks=networks, instances=two())
    declared["hosts"]["compute2"]["nova_bridge_interfaces"] = {"blue": "eth9"}
    interfaces = {host: plan["links"]["bridges"][0]["interfaces"] for host, plan in plans(declared).items()}
    assert interfaces == {"net1": ["eth7"], "compute1": ["eth7"], "compute2": ["eth9"]}
    flat = plans(site(instances=two()))
    assert flat["compute1"]["links"]["bridges"][0]["interfaces"] == ["eth1"]


def test_a_bridge_without_an_interface_has_a_mac_of_its_own_on_each_host() -> None:
    declared = site(instances=two())
    for host in declared["hosts"].values():
        host.pop("nova_flat_interface")
    bridges = [plan["links"]["bridges"][0] for plan in plans(declared).values()]
    assert [bridge["interfaces"] for bridge in bridges] == [[], [], []]
    assert len({bridge["mac"] for bridge in bridges}) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"nova_my_ip": "203.0.113.9"}, "203.0.113.9"),
        ({"nova_my_ip": "203.0.113.9", "nova_routing_source_ip": "203.0.113.10"}, "203.0.113.10"),
        ({"nova_routing_source_ip": ""}, ""),
    ],
)
def test_the_source_of_outgoing_traffic(options: dict[str, str], expected: str | None) -> None:
    declared = site()
    declared["hosts"]["net1"].update(options)
    assert plans(declared)["net1"]["packet_filter"]["routing_source_ip"] == expected


def test_a_network_that_somebody_else_routes_is_not_translated() -> None:
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/24", "gateway": "10.0.0.1", "dhcp_server": "10.0.0.2"}]
    plan = plans(site(networks=networks))["net1"]
    assert [network["snat"] for network in plan["packet_filter"]["networks"]] == [False]
    assert plan["links"]["bridges"][0]["addresses"] == ["10.0.0.2/24"]
    assert {"option": 3, "value": "10.0.0.1"} in plan["dnsmasq"]["instances"][0]["options"]


def test_name_servers_of_the_network_count_only_where_asked_for() -> None:
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/24", "dns1": "192.0.2.1", "dns2": "192.0.2.2"}]
    options = {"nova_dns_server": ["198.51.100.1"]}
    servers = plans(site(networks=networks, settings=options))["net1"]["dnsmasq"]["instances"][0]["servers"]
    assert servers == ["198.51.100.1"]
    options["nova_use_network_dns_servers"] = True
    servers = plans(site(networks=networks, settings=options))["net1"]["dnsmasq"]["instances"][0]["servers"]
    assert servers == ["198.51.100.1", "192.0.2.1", "192.0.2.2"]


def test_no_declaration_is_an_empty_plan_for_each_host() -> None:
    for plan in plans(site(networks=[])).values():
        assert (plan["links"]["bridges"], plan["dnsmasq"]["instances"]) == ([], [])
        assert plan["packet_filter"]["networks"] == []
