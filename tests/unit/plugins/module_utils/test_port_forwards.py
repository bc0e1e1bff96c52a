# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards from the declaration over the store to the plan of the host that has the floating IP."""

from __future__ import annotations

import typing as t

import pytest
from a_model import refused, sound
from a_site import allocate, instance, multi_host, plans, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import invariants, kinds, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import PortForward

SHARED = "203.0.113.9"


def forward(ports: t.Any, to: str, **more: t.Any) -> dict[str, t.Any]:
    return {"address": SHARED, "protocol": "tcp", "ports": ports, "instance": to, **more}


def declared(*forwards: dict[str, t.Any], make: t.Any = site, **more: t.Any) -> dict[str, t.Any]:
    words = {
        "projects": ["acme", "other"],
        "instances": [instance("a"), instance("b", "compute2"), instance("o", project="other")],
        "floating_ranges": ["203.0.113.8/29"],
        **more,
    }
    return make(floating_port_forwards=list(forwards), **words)


def test_several_instances_are_behind_one_address() -> None:
    wanted = declared(forward(80, "a", fixed_port=8080), forward("90:92", "b"), forward(80, "b", protocol="udp"))
    held = sound(allocate(wanted))
    assert held.port_forwards.keys() == {(SHARED, "tcp", 80), (SHARED, "tcp", 90), (SHARED, "udp", 80)}
    floating = held.floating_ips[SHARED]
    assert (floating.project, floating.allocated_by, floating.fixed_address) == ("acme", "inventory", None)
    assert allocate(wanted, held) == held
    plan = plans(wanted)["net1"]
    assert plan["packet_filter"]["port_forwards"] == [
        {"address": SHARED, "protocol": "tcp", "ports": "80", "fixed_address": "10.0.0.2", "fixed_port": 8080},
        {"address": SHARED, "protocol": "tcp", "ports": "90:92", "fixed_address": "10.0.0.3", "fixed_port": 90},
        {"address": SHARED, "protocol": "udp", "ports": "80", "fixed_address": "10.0.0.3", "fixed_port": 80},
    ]
    assert plan["floating_addresses"]["addresses"] == [{"address": SHARED, "interface": "eth2"}]
    assert len(packet_filter.parse(plan["packet_filter"]).port_forwards) == 3
    gone = sound(allocate(declared(), held))
    assert gone.port_forwards == {} and gone.floating_ips[SHARED].project is None


def test_one_changes_in_its_place_and_goes_with_its_instance() -> None:
    held = allocate(declared(forward("80:89", "a"), forward(90, "b")))
    moved = sound(allocate(declared(forward("80:84", "b"), forward("85:95", "a")), held))
    assert [(row.from_port, row.to_port, row.fixed_address) for row in moved.port_forwards.values()] == [
        (80, 84, "10.0.0.3"),
        (85, 95, "10.0.0.2"),
    ]
    with refused("nova_floating_port_forwards[0].instance", "'b' is no known instance"):
        allocate(declared(forward("80:84", "b"), instances=[instance("a")]), moved)
    left = sound(allocate(declared(forward("85:95", "a"), instances=[instance("a")]), moved))
    assert [row.from_port for row in left.port_forwards.values()] == [85]


def test_the_whole_address_and_its_ports_exclude_each_other() -> None:
    whole = [instance("a", floating_ip=SHARED), instance("b")]
    with refused("nova_floating_port_forwards[0]", SHARED, "10.0.0.2", "disassociate it first"):
        allocate(declared(forward(80, "b"), instances=whole))
    # From one to the other, and back.
    first = sound(allocate(declared(instances=whole)))
    ports = sound(allocate(declared(forward(80, "b"), instances=[instance("a"), instance("b")]), first))
    assert ports.floating_ips[SHARED].fixed_address is None and len(ports.port_forwards) == 1
    assert sound(allocate(declared(instances=whole), ports)) == first


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([forward(80, "a"), forward(80, "b")], ("[1]", "declared twice")),
        ([forward("80:90", "a"), forward("85:95", "b")], ("[1]", "tcp 85:95", "overlaps 80:90", "10.0.0.2")),
        ([forward(80, "a"), forward(81, "o")], ("[1].address", "project 'acme', not 'other'")),
        ([forward(80, "a", address="203.0.113.99")], ("[0].address", "203.0.113.99 is no floating IP")),
        ([forward(80, "a", protocol="icmp")], ("[0].protocol", "'icmp'")),
        ([forward("65530:65535", "a", fixed_port=65531)], ("[0].fixed_port", "at most 65530")),
        ([forward(80, "a", network="red")], ("network", "'red'", "'blue'")),
        ([forward(80, "a", colour="red")], ("[0]", "'colour'")),
    ],
)
def test_a_mistake_is_named(entries: list[dict[str, t.Any]], words: tuple[str, ...]) -> None:
    with refused(*words):
        allocate(declared(*entries))


V6 = {
    "networks": [{"label": "blue", "fixed_range": "10.0.0.0/24", "fixed_range_v6": "2001:db8:1::/64"}],
    "floating_ranges": ["203.0.113.8/29", "2001:db8:5::/120"],
}


def test_ports_of_an_ipv6_address_lead_to_ipv6_addresses() -> None:
    wanted = declared(forward(80, "a", address="2001:DB8:5::9"), forward(80, "b"), **V6)
    held = sound(allocate(wanted))
    fixed = {row.address: row.fixed_address for row in held.port_forwards.values()}
    assert fixed == {
        SHARED: "10.0.0.3",
        "2001:db8:5::9": next(a for a in held.fixed_ips if ":" in a and "a" == held.fixed_ips[a].instance),
    }
    with refused("instance 'a' has no IPv6 address for an IPv6 floating IP to lead to; it has 10.0.0.2"):
        allocate(declared(forward(80, "a", address="2001:db8:5::9"), floating_ranges=V6["floating_ranges"]))


def test_all_that_is_behind_one_address_has_one_gateway() -> None:
    together = [instance("a"), instance("b")]
    plan = plans(declared(forward(80, "a"), forward(81, "b"), make=multi_host, instances=together))["compute1"]
    assert len(plan["packet_filter"]["port_forwards"]) == 2
    with refused(SHARED, "tcp 81 leads to", "'compute2'", "'compute1'"):
        plans(declared(forward(80, "a"), forward(81, "b"), make=multi_host))


def test_the_hosts_own_address_has_no_port_to_give() -> None:
    wanted = declared(forward(80, "a"))
    wanted["hosts"]["net1"]["nova_my_ip"] = SHARED
    with refused("'net1'", SHARED, "nova_my_ip"):
        plans(wanted)


def test_what_breaks_a_rule_is_found() -> None:
    held = allocate(declared(forward("80:89", "a"), forward("90:99", "b")))
    one, two = held.port_forwards.values()
    for wrong, words in (
        (two._replace(from_port=85), "overlaps 80:89"),
        (two._replace(to_port=70000), "are no ports"),
        (two._replace(fixed_port=65530), "not as many ports"),
        (two._replace(fixed_address="10.0.0.77"), "refers to fixed_ips 10.0.0.77"),
        (two._replace(fixed_address="fd00::77"), "which is of the other version"),
    ):
        broken = held._replace(port_forwards={key(row): row for row in (one, wrong)})
        found = invariants.violations(kinds.rows_of(broken))
        assert any(words in line for line in found), found


def key(row: PortForward) -> tuple[str, str, int]:
    return row.address, row.protocol, row.from_port
