"""Host plans: which host has a floating IP, where it is bound, and what its neighbours are told."""

from __future__ import annotations

import typing as t

import pytest
from a_schema import valid
from a_site import V6, allocate, instance, multi_host, plans, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    declaration,
    floating_addresses,
    packet_filter,
    preflight,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.plan import compose


def floating(make=site, **changes):
    """A site with floating IPs, in which two of three instances have one; the lowest was declared last."""
    given = {
        "floating_ranges": [{"range": "203.0.113.200-203.0.113.210", "interface": "eth5"}],
        "instances": [
            instance("a", floating_ip="203.0.113.209"),
            instance("b", "compute2", floating_ip="203.0.113.201"),
            instance("c"),
        ],
    }
    return make(**{**given, **changes})


def leads(made):
    """Host, floating IP, fixed IP and interface of all that is translated."""
    return [
        (host, row["address"], row["fixed_address"], row["interface"])
        for host, plan in made.items()
        for row in plan["packet_filter"].get("floating_ips", [])
    ]


def bound(made):
    return [
        (host, row["address"], row["interface"])
        for host, plan in made.items()
        for row in plan.get("floating_addresses", {"addresses": []})["addresses"]
    ]


def test_the_host_of_the_network_has_the_floating_ips() -> None:
    made = plans(floating())
    assert leads(made) == [
        ("net1", "203.0.113.201", "10.0.0.3", "eth2"),
        ("net1", "203.0.113.209", "10.0.0.2", "eth2"),
    ]
    assert bound(made) == [("net1", "203.0.113.201", "eth2"), ("net1", "203.0.113.209", "eth2")]


def test_in_multi_host_the_host_of_the_instance_has_its_floating_ip() -> None:
    made = plans(floating(multi_host))
    assert leads(made) == [
        ("compute1", "203.0.113.209", "10.0.0.4", "eth2"),
        ("compute2", "203.0.113.201", "10.0.0.5", "eth2"),
    ]
    assert bound(made) == [("compute1", "203.0.113.209", "eth2"), ("compute2", "203.0.113.201", "eth2")]


@pytest.mark.parametrize("make", [site, multi_host])
def test_a_plan_with_floating_ips_fits_the_schema_and_what_applies_it(make) -> None:
    for made in valid(plans(floating(make, settings={"nova_send_arp_for_ha": True}))).values():
        section = packet_filter.parse(made["packet_filter"])
        # Of which network each is the filter finds by itself.
        assert {(pin.cidr, pin.bridge) for pin in section.hairpins} == (
            {("10.0.0.0/24", "br100")} if section.floating_ips else set()
        )


def test_a_host_without_floating_ips_has_the_plan_that_it_had() -> None:
    with_some = plans(floating())
    without = plans(floating(floating_ranges=[], instances=[instance("a"), instance("b", "compute2"), instance("c")]))
    assert leads(without) == [] == bound(without)
    assert [host for host in with_some if with_some[host] != without[host]] == ["net1"]
    for part in ("floating_ips", "port_forwards", "metadata", "instances", "security_groups", "provider_rules"):
        assert part not in without["net1"]["packet_filter"]
    assert "floating_addresses" not in without["net1"]


def test_a_floating_ip_that_leads_nowhere_is_on_no_host() -> None:
    projects = [{"name": "acme", "floating_ips": ["203.0.113.205"]}]
    declared = floating(projects=projects, instances=[instance("a")])
    assert allocate(declared).floating_ips["203.0.113.205"].project == "acme"
    assert leads(plans(declared)) == [] == bound(plans(declared))


def test_a_floating_ip_that_moves_is_on_the_new_host_alone() -> None:
    before = floating(multi_host)
    after = floating(
        multi_host, instances=[instance("a"), instance("b", "compute2", floating_ip="203.0.113.209"), instance("c")]
    )
    assert leads(plans(after, allocate(before))) == [("compute2", "203.0.113.209", "10.0.0.5", "eth2")]


@pytest.mark.parametrize(
    ("make", "network", "host"),
    [
        (site, V6, "net1"),
        (site, {**V6, "fixed_range": "10.0.0.0/24"}, "net1"),
        (multi_host, {**V6, "fixed_range": "10.0.0.0/24"}, "compute1"),
    ],
)
def test_an_ipv6_floating_ip_leads_to_an_ipv6_address(make: t.Any, network: dict[str, str], host: str) -> None:
    declared = floating(
        make,
        networks=[network],
        floating_ranges=[{"range": "2001:db8:f::/120"}, "203.0.113.200/29"],
        instances=[instance("a", floating_ip="2001:db8:f::5"), instance("b", floating_ip="2001:db8:f::4")],
    )
    made = valid(plans(declared))
    fixed = {row["name"]: row["ports"][0]["address_v6"].partition("/")[0] for row in made["compute1"]["instances"]}
    assert leads(made) == [
        (host, "2001:db8:f::4", fixed["b"], "eth2"),
        (host, "2001:db8:f::5", fixed["a"], "eth2"),
    ]
    assert bound(made) == [(host, "2001:db8:f::4", "eth2"), (host, "2001:db8:f::5", "eth2")]
    (hairpin,) = packet_filter.parse(made[host]["packet_filter"]).hairpins
    assert hairpin == ("2001:db8:1::/64", "br100")
    floating_addresses.parse(made[host]["floating_addresses"])


def test_an_instance_may_have_floating_ips_of_both_versions() -> None:
    declared = floating(
        networks=[{**V6, "fixed_range": "10.0.0.0/24"}],
        floating_ranges=[{"range": "2001:db8:f::/120"}, "203.0.113.200/29"],
        instances=[instance("a", floating_ip="203.0.113.201")],
        floating_port_forwards=[
            {"address": "2001:db8:f::7", "protocol": "tcp", "ports": "80", "instance": "a", "fixed_port": 8080}
        ],
    )
    made = valid(plans(declared))
    section = packet_filter.parse(made["net1"]["packet_filter"])
    assert [row.address for row in section.floating_ips] == ["203.0.113.201"]
    assert [(row.address, row.fixed_address[:12], row.to_first) for row in section.port_forwards] == [
        ("2001:db8:f::7", "2001:db8:1:0", 8080)
    ]
    assert [row["address"] for row in made["net1"]["floating_addresses"]["addresses"]] == [
        "203.0.113.201",
        "2001:db8:f::7",
    ]


@pytest.mark.parametrize(("public", "expected"), [("eth2", "eth2"), (None, "eth5")])
def test_the_public_interface_goes_before_that_of_the_range(public: str | None, expected: str) -> None:
    declared = floating()
    declared["hosts"]["net1"].update(nova_public_interface=public, nova_routing_source_ip="")
    made = plans(declared)
    assert {interface for *_rest, interface in leads(made) + bound(made)} == {expected}


def refusal(declared: dict[str, t.Any]) -> str:
    with pytest.raises(InputError) as refused:
        plans(declared)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_floating_ip_without_an_interface_is_refused() -> None:
    declared = floating(floating_ranges=["203.0.113.200-203.0.113.210"])
    declared["hosts"]["net1"].update(nova_public_interface=None, nova_routing_source_ip="")
    said = refusal(declared)
    for part in ("'net1'", "203.0.113.201", "'nova'", "nova_public_interface"):
        assert part in said


@pytest.mark.parametrize("option", ["nova_my_ip", "nova_routing_source_ip"])
def test_a_floating_ip_that_is_the_hosts_own_address_is_refused(option: str) -> None:
    declared = floating()
    declared["hosts"]["net1"][option] = "203.0.113.209"
    said = refusal(declared)
    assert "203.0.113.209" in said and "10.0.0.2" in said and option in said


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"nova_send_arp_for_ha": False, "nova_send_arp_for_ha_count": 5}, None),
        ({"nova_send_arp_for_ha": True}, 3),
        ({"nova_send_arp_for_ha": True, "nova_send_arp_for_ha_count": 5}, 5),
    ],
)
def test_how_often_neighbours_are_told(options: dict[str, t.Any], expected: int | None) -> None:
    assert plans(floating(settings=options))["net1"]["floating_addresses"].get("send_arp") == expected


@pytest.mark.parametrize("count", [0, 101, "often"])
def test_neighbours_are_told_at_least_once_and_not_for_ever(count: object) -> None:
    assert "nova_send_arp_for_ha_count" in refusal(floating(settings={"nova_send_arp_for_ha_count": count}))


def test_the_order_does_not_depend_on_that_of_the_store() -> None:
    declared = floating()
    held = allocate(declared)
    parsed = declaration.parse(**declared)
    turned = held._replace(floating_ips=dict(reversed(held.floating_ips.items())))
    assert compose(turned, parsed) == compose(held, parsed)


def test_the_interface_of_a_range_has_to_be_there_or_planned() -> None:
    declared = floating(floating_ranges=[{"range": "203.0.113.200-203.0.113.210", "interface": "eth5"}])
    declared["hosts"]["net1"].update(nova_public_interface=None, nova_routing_source_ip="")
    links = [{"name": name, "index": index, "addresses": []} for index, name in enumerate(["eth0", "eth1"], 1)]
    report = {"links": links, "carried": {}, "reached_by": [], "route_sources": []}
    with pytest.raises(InputError) as refused:
        preflight.check(plans(declared), {"net1": report})
    # Once for each interface, not for each address.
    (said,) = str(refused.value).splitlines()
    for part in ("'net1'", "203.0.113.201", "'eth5'", "eth0, eth1"):
        assert part in said
    declared["floating_ranges"][0]["interface"] = "br100"
    preflight.check(plans(declared), {"net1": report})
    report["links"].append({"name": "eth5", "index": 3, "addresses": []})
    declared["floating_ranges"][0]["interface"] = "eth5"
    preflight.check(plans(declared), {"net1": report})
