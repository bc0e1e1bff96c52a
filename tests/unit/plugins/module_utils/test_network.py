"""Networks as `network create` made them: each argument, each manager, one or many."""

from __future__ import annotations

import typing as t

import pytest
from a_model import derived, refused, site_settings
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import Network

#: Not by the bare name: that is the mark of tests of a lane.
MANAGERS = [pytest.param(name, id=f"as-{name}") for name in ("flat", "flatdhcp", "vlan")]
TEN = {"fixed_range": "10.0.0.0/24"}


def one(*options: t.Any, **more: t.Any) -> Network:
    (network,) = derived(*options, **more)
    return network


# --- the fields of one network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manager", "dhcp_start", "first_guest", "vpn"),
    [
        ("flat", "10.0.0.2", "10.0.0.2", None),
        ("flatdhcp", "10.0.0.2", "10.0.0.2", None),
        ("vlan", "10.0.0.3", "10.0.0.3", "10.0.0.2"),
    ],
)
def test_own_addresses_by_manager(manager: str, dhcp_start: str, first_guest: str, vpn: str | None) -> None:
    """Gateway, then in VLAN mode the VPN, then the guests, up to below the broadcast."""
    network = one(manager=manager, **TEN)
    assert (network.gateway, network.dhcp_server, network.vpn_private_address) == ("10.0.0.1", "10.0.0.1", vpn)
    assert network.dhcp_start == dhcp_start
    assert (network.allowed_start, network.allowed_end) == (first_guest, "10.0.0.254")


def test_only_a_vlan_network_has_a_vlan_and_a_vpn() -> None:
    for manager in ("flat", "flatdhcp"):
        network = one(manager=manager, **TEN)
        assert (network.vlan, network.vpn_public_port, network.vpn_public_address, network.bridge) == (
            None,
            None,
            None,
            "br100",
        )
    network = one(site_settings(vpn_ip="198.51.100.9"), manager="vlan", **TEN)
    assert (network.vlan, network.bridge, network.vpn_public_address) == (100, "br100", "198.51.100.9")


@pytest.mark.parametrize("manager", MANAGERS)
def test_vpn_clients_are_kept_free_below_the_broadcast_in_vlan_mode_alone(manager: str) -> None:
    network = one(site_settings(cnt_vpn_clients=5), manager=manager, **TEN)
    assert network.allowed_end == ("10.0.0.249" if manager == "vlan" else "10.0.0.254")


@pytest.mark.parametrize(
    ("manager", "fields", "dhcp_start", "vpn"),
    [
        # A gateway that is given does not move the cursor.
        ("flat", {"gateway": "10.0.0.254"}, "10.0.0.1", None),
        ("vlan", {"gateway": "10.0.0.254"}, "10.0.0.2", "10.0.0.1"),
        # But neither the VPN's address nor the first of DHCP is anybody else's.
        ("flatdhcp", {"gateway": "10.0.0.1"}, "10.0.0.2", None),
        ("vlan", {"gateway": "10.0.0.1"}, "10.0.0.3", "10.0.0.2"),
        ("flatdhcp", {"dhcp_server": "10.0.0.2"}, "10.0.0.3", None),
        ("vlan", {"dhcp_server": "10.0.0.3"}, "10.0.0.4", "10.0.0.2"),
        ("vlan", {"dhcp_server": "10.0.0.2"}, "10.0.0.4", "10.0.0.3"),
        ("flatdhcp", {"dhcp_start": "10.0.0.50"}, "10.0.0.50", None),
        # The cursor begins at the first allowed address.
        ("flatdhcp", {"allowed_start": "10.0.0.20"}, "10.0.0.21", None),
        ("vlan", {"allowed_start": "10.0.0.20"}, "10.0.0.22", "10.0.0.21"),
        ("vlan", {"allowed_start": "10.0.0.20", "gateway": "10.0.0.9"}, "10.0.0.21", "10.0.0.20"),
    ],
)
def test_addresses_are_taken_from_a_cursor(
    manager: str, fields: dict[str, str], dhcp_start: str, vpn: str | None
) -> None:
    network = one(manager=manager, **TEN, **fields)
    assert (network.dhcp_start, network.vpn_private_address) == (dhcp_start, vpn)
    first = "10.0.0.20" if "allowed_start" in fields else "10.0.0.1"
    assert network.gateway == fields.get("gateway", first)
    assert network.dhcp_server == fields.get("dhcp_server", network.gateway)


def test_the_allowed_ends_replace_what_is_reserved_at_bottom_and_top() -> None:
    network = one(allowed_start="10.0.0.20", allowed_end="10.0.0.29", gateway="10.0.0.1", **TEN)
    assert (network.allowed_start, network.allowed_end) == ("10.0.0.20", "10.0.0.29")
    # Even where DHCP begins elsewhere, nobody gets what is not allowed.
    for start in ("10.0.0.10", "10.0.0.25"):
        network = one(allowed_start="10.0.0.20", dhcp_start=start, **TEN)
        assert network.allowed_start >= "10.0.0.20"
    network = one(site_settings(cnt_vpn_clients=9), manager="vlan", allowed_end="10.0.0.254", **TEN)
    assert network.allowed_end == "10.0.0.254"


@pytest.mark.parametrize("manager", MANAGERS)
def test_of_a_fixed_cidr_bottom_and_top_are_counted_from_its_own_ends(manager: str) -> None:
    network = one(site_settings(cnt_vpn_clients=4), manager=manager, fixed_cidr="10.0.0.64/26", **TEN)
    bottom, top = (67, 122) if manager == "vlan" else (66, 126)
    assert (network.allowed_start, network.allowed_end) == (f"10.0.0.{bottom}", f"10.0.0.{top}")
    # The network's own addresses are where they always are.
    assert network.gateway == network.dhcp_server == "10.0.0.1"
    assert network.vpn_private_address == ("10.0.0.2" if manager == "vlan" else None)
    assert network.dhcp_start == ("10.0.0.3" if manager == "vlan" else "10.0.0.2")


def test_arguments_are_kept_as_given() -> None:
    given = {
        "uuid": "6f1a6ed0-8a2c-4d6c-9d3e-000000000001",
        "bridge": "br7",
        "bridge_interface": "eth1",
        "dns1": "198.51.100.1",
        "dns2": "198.51.100.2",
        "mtu": 1450,
        "priority": 3,
        "host": "net1",
        "project": "acme",
    }
    network = one(**TEN, **given)
    assert {name: getattr(network, name) for name in given} == given
    assert (network.origin, network.project_origin, network.multi_host) == ("command", "command", False)
    assert one(**TEN, multi_host=True).multi_host is True


def test_options_fill_in_what_is_not_given() -> None:
    options = site_settings(
        flat_network_bridge="br9",
        flat_network_dns="198.51.100.4",
        network_device_mtu=1400,
        multi_host=True,
        network_manager="nova.network.manager.FlatManager",
    )
    network = one(options, **TEN)
    assert (network.bridge, network.dns1, network.mtu) == ("br9", "198.51.100.4", 1400)
    assert (network.multi_host, network.manager) == (True, "flat")
    options = site_settings(network_manager="vlan", vlan_start=300, vpn_start=2000, network_size=16)
    network = one(options, **TEN)
    # In VLAN mode the option is always the size.
    assert (network.vlan, network.vpn_public_port, network.cidr) == (300, 2000, "10.0.0.0/28")
    # A flat network alone takes its range, rather than leave a part of it unused silently.
    assert one(site_settings(network_size=16), manager="flat", **TEN).cidr == "10.0.0.0/24"


def test_host_bits_of_a_range_are_cleared() -> None:
    assert one(fixed_range="10.0.0.77/24").cidr == "10.0.0.0/24"
    assert one(fixed_range_v6="fd00::77/64").cidr_v6 == "fd00::/64"


# --- IPv6 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_network_of_both_versions(manager: str) -> None:
    network = one(manager=manager, fixed_range_v6="fd00:0:0:5::/64", **TEN)
    assert (network.cidr, network.cidr_v6, network.gateway_v6) == ("10.0.0.0/24", "fd00:0:0:5::/64", "fd00:0:0:5::1")
    assert one(fixed_range_v6="fd00::/64", gateway_v6="FD00::FE", **TEN).gateway_v6 == "fd00::fe"


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_network_of_ipv6_alone(manager: str) -> None:
    """nova could not make one in VLAN mode."""
    network = one(manager=manager, fixed_range_v6="fd00::/64")
    nothing = ("cidr", "gateway", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end", "vpn_private_address")
    assert [getattr(network, name) for name in nothing] == [None] * len(nothing)
    assert (network.cidr_v6, network.gateway_v6) == ("fd00::/64", "fd00::1")
    assert network.vlan == (100 if manager == "vlan" else None)
    assert network.vpn_public_port is None


def test_each_network_has_a_64_of_the_ipv6_range_in_step() -> None:
    made = derived(fixed_range="10.0.0.0/16", num_networks=3, network_size=256, fixed_range_v6="fd00::/48")
    assert [(row.cidr, row.cidr_v6, row.gateway_v6) for row in made] == [
        ("10.0.0.0/24", "fd00::/64", "fd00::1"),
        ("10.0.1.0/24", "fd00:0:0:1::/64", "fd00:0:0:1::1"),
        ("10.0.2.0/24", "fd00:0:0:2::/64", "fd00:0:0:2::1"),
    ]
    more = derived(among=made, label="red", bridge="br9", fixed_range_v6="fd00::/48", num_networks=2)
    assert [row.cidr_v6 for row in more] == ["fd00:0:0:3::/64", "fd00:0:0:4::/64"]


# --- several ----------------------------------------------------------------------------------------------------------


def test_labels_and_bridges_of_several() -> None:
    made = derived(fixed_range="10.0.0.0/16", num_networks=3, network_size=256)
    assert [row.label for row in made] == ["blue_0", "blue_1", "blue_2"]
    assert [row.bridge for row in made] == ["br100", "br101", "br102"]
    # Flat networks may share the operator's bridge.
    made = derived(manager="flat", fixed_range="10.0.0.0/16", num_networks=2, network_size=256)
    assert [row.bridge for row in made] == ["br100", "br100"]


def test_several_skip_what_is_used_and_its_numbers() -> None:
    there = derived(label="old", manager="vlan", fixed_range="10.0.1.0/24", vlan=101)
    made = derived(among=there, manager="vlan", fixed_range="10.0.0.0/16", num_networks=3, network_size=256)
    # What replaces a used range comes last.
    assert [row.cidr for row in made] == ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]
    assert [row.vlan for row in made] == [100, 102, 103]
    assert [row.bridge for row in made] == ["br100", "br102", "br103"]
    # The first port is the one of the network that was there.
    assert [row.vpn_public_port for row in [*there, *made]] == [1000, 1001, 1002, 1003]


def test_a_used_range_inside_a_candidate_is_skipped_a_larger_one_refused() -> None:
    there = derived(label="old", bridge="br7", fixed_range="10.0.0.64/28")
    made = derived(among=there, fixed_range="10.0.0.0/16", num_networks=2, network_size=256)
    assert [row.cidr for row in made] == ["10.0.1.0/24", "10.0.2.0/24"]
    there = derived(label="old", bridge="br7", fixed_range="10.0.0.0/20")
    with refused("10.0.0.0/24", "10.0.0.0/20"):
        derived(among=there, fixed_range="10.0.0.0/16", num_networks=2, network_size=256)


def test_the_smallest_free_vlan_from_the_start_on() -> None:
    made: list[Network] = []
    for number, (label, more) in enumerate(
        [("a", {"vlan": 201}), ("b", {"vlan_start": 200}), ("c", {"vlan_start": 200}), ("d", {})]
    ):
        made += derived(among=made, label=label, manager="vlan", fixed_range=f"10.0.{number}.0/24", **more)
    assert [row.vlan for row in made] == [201, 200, 202, 100]


def test_reserved_vlans_are_kept_out_of_the_pool() -> None:
    options = site_settings(reserved_vlans=[100, "102-104", "106"])
    made = derived(options, manager="vlan", fixed_range="10.0.0.0/16", num_networks=3, network_size=256)
    assert [row.vlan for row in made] == [101, 105, 107]


def test_a_vlan_whose_bridge_is_a_flat_networks_is_left_out() -> None:
    there = derived(label="flat", manager="flat", bridge="br100", fixed_range="10.9.0.0/24")
    assert one(among=there, manager="vlan", **TEN).vlan == 101
    with refused("br100", "'flat'"):
        one(among=there, manager="vlan", vlan=100, **TEN)


def test_the_last_vlan_is_4094() -> None:
    made = derived(manager="vlan", fixed_range="10.0.0.0/16", num_networks=2, network_size=256, vlan_start=4093)
    assert [row.vlan for row in made] == [4093, 4094]
    with refused("4093", "4094", "vlan_start"):
        derived(manager="vlan", fixed_range="10.0.0.0/16", num_networks=3, network_size=256, vlan_start=4093)
    with refused("VLAN"):
        derived(among=made, label="red", manager="vlan", fixed_range="10.1.0.0/24", vlan_start=4093)


def test_4094_networks_at_once() -> None:
    made = derived(manager="vlan", fixed_range="10.0.0.0/8", num_networks=4094, network_size=256, vlan_start=1)
    assert [row.vlan for row in made] == list(range(1, 4095))
    assert made[-1].cidr == "10.15.253.0/24"
    assert [row.vpn_public_port for row in made] == list(range(1000, 1000 + 4094))


def test_vpn_ports_end() -> None:
    made = derived(manager="vlan", fixed_range="10.0.0.0/16", num_networks=2, network_size=256, vpn_start=65534)
    assert [row.vpn_public_port for row in made] == [65534, 65535]
    with refused("65535"):
        derived(manager="vlan", fixed_range="10.0.0.0/16", num_networks=3, network_size=256, vpn_start=65534)


# --- refusals ---------------------------------------------------------------------------------------------------------

SEVERAL = {"fixed_range": "10.0.0.0/16", "num_networks": 2, "network_size": 256}
V6 = {"fixed_range_v6": "fd00::/64"}
WRONG = [
    # arguments, and what the message must name
    ({"label": None, **TEN}, ["label", "required"]),
    ({"label": "", **TEN}, ["label", "''"]),
    ({"label": 7, **TEN}, ["label", "7", "text"]),
    ({"label": "x" * 256, **TEN}, ["label", "256", "255"]),
    ({"label": "x" * 255, **SEVERAL}, ["label", "255"]),
    ({}, ["fixed_range", "required", "fixed_range_v6"]),
    ({"fixed_range": "10.0.0.0"}, ["fixed_range", "'10.0.0.0'", "10.0.0.0/24"]),
    ({"fixed_range": "fd00::/64"}, ["fixed_range", "'fd00::/64'", "IPv4"]),
    ({"fixed_range": "10.0.0.0/33"}, ["fixed_range", "10.0.0.0/33"]),
    ({"fixed_range": "10.0.0.0/31"}, ["10.0.0.0/31", "too small", "/30"]),
    ({"fixed_range": 8}, ["fixed_range", "8"]),
    ({"fixed_range_v6": "10.0.0.0/24"}, ["fixed_range_v6", "10.0.0.0/24", "IPv6"]),
    ({"fixed_range_v6": "fd00::/65"}, ["fixed_range_v6", "fd00::/65", "/64"]),
    ({"fixed_range_v6": "fd00::/63", "num_networks": 3}, ["fd00::/63", "2", "3"]),
    ({"num_networks": "many", **TEN}, ["num_networks", "'many'", "whole number"]),
    ({"num_networks": 0, **TEN}, ["num_networks", "0", "from 1"]),
    ({"num_networks": True, **TEN}, ["num_networks", "True"]),
    ({"num_networks": "--2", **TEN}, ["num_networks", "'--2'"]),
    ({"num_networks": "²", **TEN}, ["num_networks", "'²'"]),
    ({"num_networks": 2, **TEN}, ["network_size", "required"]),
    ({"num_networks": 2, "network_size": 256, **TEN}, ["10.0.0.0/24", "room for 1", "2"]),
    ({"network_size": 100, **TEN}, ["network_size", "100", "power of two", "128"]),
    ({"network_size": 2, **TEN}, ["network_size", "2", "4"]),
    ({"network_size": 512, **TEN}, ["10.0.0.0/24", "/23"]),
    ({"network_size": "big", **TEN}, ["network_size", "'big'"]),
    ({"manager": "vxlan", **TEN}, ["manager", "'vxlan'", "flat, flatdhcp, vlan"]),
    ({"manager": "vlan", "vlan": 0, **TEN}, ["vlan", "0", "1 to 4094"]),
    ({"manager": "vlan", "vlan": 4095, **TEN}, ["vlan", "4095", "1 to 4094"]),
    ({"manager": "vlan", "vlan": "x", **TEN}, ["vlan", "'x'", "1 to 4094"]),
    ({"manager": "vlan", "vlan": 5, **SEVERAL}, ["vlan", "2 networks", "vlan_start"]),
    ({"manager": "vlan", "vlan_start": 4095, **TEN}, ["vlan_start", "4095", "4094"]),
    ({"manager": "vlan", "vlan_start": [1], **TEN}, ["vlan_start", "[1]"]),
    ({"manager": "vlan", "vpn_start": 70000, **TEN}, ["vpn_start", "70000", "65535"]),
    ({"manager": "vlan", "vpn_start": "x", **TEN}, ["vpn_start", "'x'"]),
    ({"manager": "vlan", "bridge": "br1", **TEN}, ["bridge", "VLAN", "leave it out"]),
    ({"manager": "flat", "vlan": 5, **TEN}, ["vlan", "flat", "leave it out"]),
    ({"vlan_start": 5, **TEN}, ["vlan_start", "flatdhcp", "leave it out"]),
    ({"vpn_start": 5, **TEN}, ["vpn_start", "flatdhcp", "leave it out"]),
    ({"bridge": "br-of-the-blue-network", **TEN}, ["bridge", "br-of-the-blue-network", "15"]),
    ({"bridge": "br 1", **TEN}, ["bridge", "'br 1'"]),
    ({"bridge_interface": "eth/0", **TEN}, ["bridge_interface", "'eth/0'"]),
    ({"bridge_interface": 0, **TEN}, ["bridge_interface", "0"]),
    ({"gateway": "10.0.1.1", **TEN}, ["gateway", "10.0.1.1", "10.0.0.0/24"]),
    ({"gateway": "10.0.0.0", **TEN}, ["gateway", "10.0.0.0", "host address"]),
    ({"gateway": "10.0.0.255", **TEN}, ["gateway", "10.0.0.255", "broadcast"]),
    ({"gateway": "gw", **TEN}, ["gateway", "'gw'", "IPv4 address"]),
    ({"gateway": "10.0.0.1", **SEVERAL}, ["gateway", "2 networks"]),
    (
        {"gateway": "10.0.5.1", "fixed_range": "10.0.0.0/16", "network_size": 256},
        ["gateway", "10.0.5.1", "10.0.0.0/24"],
    ),
    (
        {"dhcp_server": "10.0.0.255", "fixed_range": "10.0.0.0/16", "network_size": 256},
        ["dhcp_server", "10.0.0.255", "10.0.0.0/24"],
    ),
    ({"dhcp_start": "10.0.7.9", "fixed_range": "10.0.0.0/16", "network_size": 256}, ["dhcp_start", "10.0.7.9"]),
    ({"allowed_end": "10.0.7.9", "fixed_range": "10.0.0.0/16", "network_size": 256}, ["allowed_end", "10.0.7.9"]),
    ({"fixed_cidr": "10.0.7.0/26", "fixed_range": "10.0.0.0/16", "network_size": 256}, ["10.0.7.", "10.0.0.0/24"]),
    ({"gateway": "10.0.0.1", **V6}, ["gateway", "IPv4"]),
    ({"gateway_v6": "fd01::1", **V6}, ["gateway_v6", "fd01::1", "fd00::/64"]),
    ({"gateway_v6": "fd00:0:0:5::1", "fixed_range_v6": "fd00::/48"}, ["gateway_v6", "fd00:0:0:5::1", "fd00::/64"]),
    ({"gateway_v6": "10.0.0.1", **V6}, ["gateway_v6", "10.0.0.1", "IPv6"]),
    ({"gateway_v6": "fd00::1", **TEN}, ["gateway_v6", "fixed_range_v6"]),
    ({"gateway_v6": "fd00::1", "num_networks": 2, "fixed_range_v6": "fd00::/48"}, ["gateway_v6", "2 networks"]),
    ({"dhcp_server": "10.1.0.1", **TEN}, ["dhcp_server", "10.1.0.1", "10.0.0.0/24"]),
    ({"dhcp_server": 3, **TEN}, ["dhcp_server", "3"]),
    ({"dhcp_server": "10.0.0.1", **SEVERAL}, ["dhcp_server", "2 networks"]),
    ({"dhcp_start": "10.1.0.1", **TEN}, ["dhcp_start", "10.1.0.1"]),
    ({"dhcp_start": "first", **TEN}, ["dhcp_start", "'first'"]),
    ({"allowed_start": "10.1.0.1", **TEN}, ["allowed_start", "10.1.0.1", "10.0.0.0/24"]),
    ({"allowed_start": "x", **TEN}, ["allowed_start", "'x'"]),
    ({"allowed_end": "10.1.0.1", **TEN}, ["allowed_end", "10.1.0.1", "10.0.0.0/24"]),
    ({"allowed_end": "10.0.0.9", **SEVERAL}, ["allowed_end", "2 networks"]),
    ({"allowed_start": "10.0.0.9", "allowed_end": "10.0.0.8", **TEN}, ["10.0.0.9", "10.0.0.8", "10.0.0.0/24"]),
    (
        {"allowed_start": "10.0.0.9", "allowed_end": "10.0.0.9", "gateway": "10.0.0.9", **TEN},
        ["10.0.0.9", "no address"],
    ),
    ({"fixed_cidr": "10.1.0.0/26", **TEN}, ["fixed_cidr", "10.1.0.0/26", "10.0.0.0/24"]),
    ({"fixed_cidr": "10.0.0.0/16", **TEN}, ["fixed_cidr", "10.0.0.0/16", "10.0.0.0/24"]),
    ({"fixed_cidr": "10.0.0.64/31", **TEN}, ["fixed_cidr", "10.0.0.64/31"]),
    ({"fixed_cidr": "half", **TEN}, ["fixed_cidr", "'half'"]),
    ({"fixed_cidr": "10.0.0.64/26", "allowed_start": "10.0.0.70", **TEN}, ["fixed_cidr", "allowed_start"]),
    ({"dns1": "dns", **TEN}, ["dns1", "'dns'"]),
    ({"dns2": 8, **TEN}, ["dns2", "8"]),
    ({"mtu": 67, **TEN}, ["mtu", "67", "68"]),
    ({"mtu": 65536, **TEN}, ["mtu", "65536", "65535"]),
    ({"mtu": 1279, **V6}, ["mtu", "1279", "1280", "IPv6"]),
    ({"multi_host": "perhaps", **TEN}, ["multi_host", "'perhaps'"]),
    ({"multi_host": True, "host": "net1", **TEN}, ["host", "multi_host"]),
    ({"host": ["net1"], **TEN}, ["host", "['net1']"]),
    ({"priority": -1, **TEN}, ["priority", "-1"]),
    ({"priority": "first", **TEN}, ["priority", "'first'"]),
    ({"project": 7, **TEN}, ["project", "7"]),
    ({"uuid": "1234", **TEN}, ["uuid", "'1234'", "UUID"]),
    ({"uuid": "6f1a6ed0-8a2c-4d6c-9d3e-000000000001", **SEVERAL}, ["uuid", "2 networks"]),
    ({"reserved": "10.0.0.9", **TEN}, ["reserved", "list"]),
    ({"reserved": ["10.0.1.9"], **TEN}, ["reserved", "10.0.1.9", "outside"]),
    ({"reserved": ["10.0.0.9-10.0.0.3"], **TEN}, ["reserved", "10.0.0.9-10.0.0.3"]),
    ({"reserved": ["x"], **TEN}, ["reserved", "'x'"]),
    ({"colour": "red", **TEN}, ["'colour'", "label"]),
    ({"manager": "vlan", "fixed_range": "10.0.0.0/30"}, ["10.0.0.0/30", "no address"]),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[str(list(fields.items())[:1])[:60] for fields, _ in WRONG])
def test_bad_arguments(fields: dict[str, t.Any], named: list[str]) -> None:
    with refused(*named):
        derived(**fields)


def test_a_bridge_is_required_where_none_is_set() -> None:
    with refused("bridge", "required", "nova_flat_network_bridge"):
        derived(site_settings(flat_network_bridge=None), **TEN)
    assert one(site_settings(flat_network_bridge=None), manager="vlan", **TEN).bridge == "br100"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"fixed_range": "10.0.0.128/25"}, ["10.0.0.128/25", "10.0.0.0/24", "'old'"]),
        ({"fixed_range": "10.0.0.0/8"}, ["10.0.0.0/8", "10.0.0.0/24", "'old'"]),
        ({"fixed_range_v6": "fd00::/64"}, ["fd00::/64", "'old'"]),
        ({"fixed_range": "10.1.0.0/24", "bridge": "br5"}, ["br5", "'old'"]),
        ({"fixed_range": "10.1.0.0/24", "uuid": "6F1A6ED0-8a2c-4d6c-9d3e-000000000001"}, ["uuid", "'old'"]),
    ],
)
def test_what_another_network_has(fields: dict[str, t.Any], named: list[str]) -> None:
    (old,) = derived(
        label="old",
        bridge="br5",
        fixed_range="10.0.0.0/24",
        fixed_range_v6="fd00::/64",
        uuid="6f1a6ed0-8a2c-4d6c-9d3e-000000000001",
    )
    with refused(*named):
        derived(among=[old], **fields)


def test_the_vlan_of_another_network_is_refused() -> None:
    (old,) = derived(label="old", manager="vlan", fixed_range="10.0.0.0/24", vlan=7)
    with refused("vlan", "7", "'old'"):
        derived(among=[old], manager="vlan", fixed_range="10.1.0.0/24", vlan=7)
