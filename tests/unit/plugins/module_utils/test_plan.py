"""Host plans: documents that the schema describes, and what each host is asked to do."""

from __future__ import annotations

import ipaddress
import json
import typing as t

import pytest
from a_schema import valid
from a_site import V6, allocate, instance, multi_host, plans, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import declaration, dnsmasq, links, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.addressing import stable_uuid
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.plan import compose


def two(**more):
    return [instance("a"), instance("b", "compute2", **more)]


@pytest.mark.parametrize("make", [site, multi_host])
def test_every_plan_fits_the_schema_and_survives_json(make) -> None:
    made = plans(make(networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "mtu": 1450}], instances=two()))
    assert set(made) == {"net1", "compute1", "compute2"}
    for plan in valid(made).values():
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


@pytest.mark.parametrize("network", [V6, {**V6, "fixed_range": "10.0.0.0/24"}])
def test_the_host_of_an_ipv6_network_advertises_it_and_the_others_keep_out(network: dict[str, str]) -> None:
    made = plans(site(networks=[network], instances=two()))
    bridge, server = made["net1"]["links"]["bridges"][0], made["net1"]["dnsmasq"]["instances"][0]
    assert bridge["addresses"][-1] == "2001:db8:1::1/64"
    assert server["range_v6"] == "2001:db8:1::/64"
    assert (server["listen_address"], server["options"] == []) == (
        (None, True) if network is V6 else ("10.0.0.1", False)
    )
    reserved = {row["hostname"]: row["address_v6"] for row in server["hosts"]}
    planned = [row["ports"][0] for host in ("compute1", "compute2") for row in made[host]["instances"]]
    assert [f"{reserved[name]}/64" for name in "ab"] == [port["address_v6"] for port in planned]
    assert made["net1"]["links"]["sysctl"] == {
        **({} if network is V6 else {"net.ipv4.ip_forward": "1"}),
        "net.ipv6.conf.all.forwarding": "1",
        "net.ipv6.conf.br100.disable_ipv6": "0",
        "net.ipv6.conf.eth1.accept_ra": "0",
    }
    assert made["compute1"]["links"]["sysctl"] == {
        "net.ipv6.conf.br100.disable_ipv6": "1",
        "net.ipv6.conf.eth1.accept_ra": "0",
    }
    for plan in valid(made).values():
        # By whose range a card that has heard it is known.
        assert [row.get("advertised") for row in plan["links"]["bridges"]] == [["2001:db8:1::/64"]]
        dnsmasq.parse(plan["dnsmasq"])
        links.parse(plan["links"])
        packet_filter.parse(plan["packet_filter"])


def test_in_multi_host_each_host_has_an_ipv6_address_of_its_own() -> None:
    made = plans(multi_host(networks=[{**V6, "fixed_range": "10.0.0.0/24"}], instances=two()))
    gateways = []
    for host in ("compute1", "compute2"):
        (port,) = made[host]["instances"][0]["ports"]
        assert made[host]["links"]["bridges"][0]["addresses"][1] == f"{port['gateway_v6']}/64"
        gateways.append(ipaddress.ip_address(port["gateway_v6"]))
    assert gateways[0] != gateways[1]
    for gateway in gateways:
        assert gateway in ipaddress.ip_network("2001:db8:1::/64")
        # None that is given by hand, and none that a NIC makes of its MAC address.
        assert int(gateway) & (1 << 64) - 1 > 0xFFFFFFFF
        assert gateway.packed[11:13] != b"\xff\xfe"


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


def test_each_guest_has_a_port_on_its_host() -> None:
    declared = site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "mtu": 1450}], instances=two())
    declared["hosts"]["compute2"]["nova_persistent_taps"] = "yes"
    made = plans(declared)
    assert made["net1"]["links"]["ports"] == []
    taps = {}
    for name in ("compute1", "compute2"):
        (told,) = made[name]["instances"][0]["ports"]
        (port,) = made[name]["links"]["ports"]
        taps[name] = port.pop("tap")
        expected = {"name": told["device"], "bridge": told["bridge"], "hairpin": True, "mtu": 1450}
        assert port == {**expected, "mac": "fe" + told["mac"][2:]}
    assert taps == {"compute1": False, "compute2": True}


def test_a_flat_network_has_ports_and_no_bridge_of_ours() -> None:
    networks = [{"label": "blue", "manager": "flat", "fixed_range": "10.0.0.0/24", "bridge": "br-ops"}]
    declared = site(networks=networks, instances=two())
    declared["settings"]["nova_network_manager"] = "flat"
    section = plans(declared)["compute1"]["links"]
    assert section["bridges"] == [] and [port["bridge"] for port in section["ports"]] == ["br-ops"]


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


# --- port_filter ------------------------------------------------------------------------------------------------------

PAIRS = [{"ip_address": "10.0.0.64/28", "mac_address": "00:00:5e:00:01:01"}, {"ip_address": "10.0.0.50"}]


def trunks(declared: dict[str, t.Any]) -> dict[str, t.Any]:
    for host in declared["hosts"].values():
        host["nova_vlan_interface"] = "eth3"
    return declared


def test_each_port_is_filtered_on_its_host() -> None:
    networks = [{**V6, "fixed_range": "10.0.0.0/24"}]
    wanted = [instance("a", mac="52:54:00:12:34:56", allowed_address_pairs=PAIRS), instance("b", "compute2")]
    made = valid(plans(site(networks=networks, instances=wanted)))
    assert made["compute1"]["port_filter"] == {
        "ports": [
            {
                "name": f"tap{stable_uuid('blue/a')[:11]}",
                "mac": "52:54:00:12:34:56",
                "addresses": ["10.0.0.2", "2001:db8:1:0:5054:ff:fe12:3456"],
                "allowed_address_pairs": [
                    {"ip_address": "10.0.0.50", "mac_address": None},
                    {"ip_address": "10.0.0.64/28", "mac_address": "00:00:5e:00:01:01"},
                ],
                "dhcp_servers": ["10.0.0.1"],
            }
        ],
        "uplinks": [],
    }
    (port,) = made["compute2"]["port_filter"]["ports"]
    assert (port["mac"], port["allowed_address_pairs"]) == (made["compute2"]["instances"][0]["ports"][0]["mac"], [])
    assert made["net1"]["port_filter"] == {"ports": [], "uplinks": []}


def test_in_multi_host_dhcp_is_of_the_own_host_and_stays_there() -> None:
    networks = [
        {"label": "blue", "fixed_range": "10.0.0.0/24"},
        {"label": "red", "manager": "vlan", "fixed_range": "10.1.0.0/24", "vlan": 77, "project": "acme"},
        {"label": "one", "fixed_range": "10.2.0.0/24", "bridge": "br102", "bridge_interface": "eth7"},
    ]
    networks[2].update(multi_host=False, host="compute1")
    wanted = [instance("a", networks=["blue", "red", "one"]), instance("b", "compute2", networks=["blue"])]
    made = valid(plans(trunks(multi_host(networks=networks, instances=wanted))))
    # The bridge of a network of one host has its uplink open, on that host as well.
    assert made["compute1"]["port_filter"]["uplinks"] == ["eth1", "vlan77"]
    assert made["compute2"]["port_filter"]["uplinks"] == ["eth1"]
    assert made["net1"]["port_filter"]["uplinks"] == []
    # Behind which are guests of others, whose gateway this host is.
    rows = made["compute1"]["packet_filter"]["networks"]
    assert {row["label"]: row.get("uplinks") for row in rows} == {"blue": None, "one": ["eth7"], "red": None}
    servers, listening = {}, {}
    for host in ("compute1", "compute2"):
        networks_of = {port["device"]: port["network"] for row in made[host]["instances"] for port in row["ports"]}
        for port in made[host]["port_filter"]["ports"]:
            servers[host, networks_of[port["name"]]] = port["dhcp_servers"]
        for row in made[host]["dnsmasq"]["instances"]:
            listening[host, row["network"]] = [row["listen_address"]]
    assert servers == listening and len(servers) == 4
    assert servers["compute1", "blue"] != servers["compute2", "blue"]
    assert servers["compute1", "one"] == ["10.2.0.1"]


def test_a_bridge_without_an_interface_has_no_uplink() -> None:
    declared = multi_host(instances=two())
    for host in declared["hosts"].values():
        host.pop("nova_flat_interface")
    assert {host: plan["port_filter"]["uplinks"] for host, plan in plans(declared).items()} == {
        "net1": [],
        "compute1": [],
        "compute2": [],
    }


@pytest.mark.parametrize(
    "network",
    [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "manager": "flat"},
        V6,
    ],
)
def test_where_no_dhcpv4_is_guests_are_filtered_and_hear_none(network: dict[str, str]) -> None:
    made = valid(
        plans(site(networks=[network], instances=[instance("a", network="blue", allowed_address_pairs=PAIRS)]))
    )
    (port,) = made["compute1"]["port_filter"]["ports"]
    assert len(port["addresses"]) == 1 and len(port["allowed_address_pairs"]) == 2
    assert port["dhcp_servers"] == [] == made["compute1"]["port_filter"]["uplinks"]


@pytest.mark.parametrize("later", ["host", "gateway"])
def test_a_pair_that_later_holds_a_gateway_is_refused(later: str) -> None:
    """Of what a command made, which a run of the site does not look at again otherwise."""
    networks = [{**V6, "fixed_range": "10.0.0.0/24"}]
    held = allocate(multi_host(networks=networks, instances=two()))
    gateway = plans(multi_host(networks=networks, instances=two()))["compute2"]["instances"][0]["ports"][0][
        "gateway_v6"
    ]
    kept = "10.0.0.3" if later == "host" else gateway
    nic = held.vifs["a", "blue"]
    held = held._replace(vifs={**held.vifs, ("a", "blue"): nic._replace(allowed_address_pairs=kept)})
    with pytest.raises(InputError) as refused:
        compose(held, declaration.parse(**multi_host(networks=networks, instances=two())))
    for part in ("'a'", kept, "gateway", "'blue'"):
        assert part in str(refused.value)


def test_a_host_without_port_security_filters_nothing() -> None:
    declared = multi_host(instances=two())
    declared["hosts"]["compute2"]["nova_port_security"] = False
    made = plans(declared)
    assert [port["mac"] for port in made["compute1"]["port_filter"]["ports"]]
    assert made["compute1"]["port_filter"]["uplinks"]
    assert made["compute2"]["port_filter"] == {"ports": [], "uplinks": []}


def test_the_bridge_of_flat_networks_is_made_where_that_is_asked_for() -> None:
    networks = [
        {"label": "blue", "manager": "flat", "fixed_range": "10.0.0.0/24", "bridge": "br-ops", "mtu": 1400},
        {"label": "red", "manager": "flat", "fixed_range": "10.1.0.0/24", "bridge": "br-ops"},
    ]
    guests = [instance("a", network="blue"), instance("b", network="red"), instance("c", "compute2", network="red")]
    declared = site(networks=networks, instances=guests)
    declared["hosts"]["compute1"]["nova_make_flat_bridge"] = True
    made = plans(declared)
    (bridge,) = made["compute1"]["links"]["bridges"]
    assert (bridge["name"], bridge["interfaces"], bridge["addresses"], bridge["mtu"]) == ("br-ops", ["eth1"], [], 1400)
    assert made["compute2"]["links"]["bridges"] == []
    assert made["compute1"]["dnsmasq"]["instances"] == []


def test_metadata_of_a_network_with_another_gateway_is_left_to_that() -> None:
    networks = [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "multi_host": True},
        {
            "label": "red",
            "fixed_range": "10.0.1.0/24",
            "bridge": "br7",
            "bridge_interface": "eth7",
            "host": "net1",
            "multi_host": False,
        },
    ]
    guests = [instance("a", network="blue"), instance("b", network="red")]
    declared = multi_host(networks=networks, instances=guests, settings={"nova_metadata_port": 8775})
    made = {host: each["packet_filter"].get("metadata") for host, each in plans(declared).items()}
    assert made["compute1"] == {"host": None, "port": 8775, "elsewhere": ["br7"]}
    assert made["net1"] == {"host": None, "port": 8775}


FLAT = [
    {"label": "blue", "fixed_range": "10.0.0.0/24"},
    {"label": "red", "manager": "flat", "fixed_range": "10.0.1.0/24", "bridge": "br-ops"},
    {"label": "pink", "manager": "flat", "fixed_range": "10.0.2.0/24", "bridge": "br-ops"},
    {"label": "grey", "manager": "flat", "fixed_range_v6": "fd00::/64", "bridge": "br-six"},
]


@pytest.mark.parametrize(
    ("settings", "host", "led"),
    [
        ({"nova_metadata_port": 8080}, None, ["net1"]),
        ({"nova_metadata_host": "127.0.0.1"}, "127.0.0.1", ["net1"]),
        ({"nova_metadata_host": "192.0.2.30"}, "192.0.2.30", ["net1", "compute1"]),
        ({}, None, []),
    ],
)
def test_guests_of_flat_networks_are_led_to_metadata_by_their_own_host(settings, host, led) -> None:
    """To a service of the host itself on routing nodes alone; net1 is one, compute1 is not."""
    given = [("a", "net1", "red"), ("b", "net1", "pink"), ("c", "net1", "red"), ("d", "net1", "grey")]
    given += [("e", "compute1", "red"), ("f", "compute1", "blue")]
    guests = [instance(name, place, network=network) for name, place, network in given]
    made = plans(site(networks=FLAT, instances=guests, settings=settings))
    sections = {name: plan["packet_filter"] for name, plan in made.items()}
    found = {name: section["flat_metadata"] for name, section in sections.items() if "flat_metadata" in section}
    assert list(found) == led
    if not led:
        return
    device = {row["name"]: row["ports"][0]["device"] for plan in made.values() for row in plan["instances"]}
    port = settings.get("nova_metadata_port", 8775)
    assert found["net1"] == {
        "host": host,
        "port": port,
        "networks": [
            {"bridge": "br-ops", "cidr": "10.0.1.0/24", "ports": [device["a"], device["c"]]},
            {"bridge": "br-ops", "cidr": "10.0.2.0/24", "ports": [device["b"]]},
        ],
    }
    # Where bridged packets pass the packet filter, what routes other networks leaves these alone.
    assert sections["net1"]["metadata"] == {"host": host, "port": port, "elsewhere": ["br-six", "br-ops"]}
    if "compute1" in led:
        networks = [{"bridge": "br-ops", "cidr": "10.0.1.0/24", "ports": [device["e"]]}]
        assert found["compute1"] == {"host": host, "port": port, "networks": networks}
