# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the packet filter's section is in tables of nftables, and what turns one table into another."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import nftables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.connections import Ways
from ansible_collections.tenantnet.nova.plugins.module_utils._core.nftables import HeldChain, HeldSet, HeldTable


def network(number, gateway=True, **fields):
    name = {"label": f"net{number}", "bridge": f"br{number}", "cidr": f"10.0.{number}.0/24"}
    return {**name, "gateway": gateway, "dhcp": True, "snat": True, **fields}


def render(*networks, family="ipv4", **fields):
    section = {"public_interface": "eth2", "routing_source_ip": "192.0.2.1", "networks": list(networks), **fields}
    return nftables.render(packet_filter.intent(packet_filter.parse(section)), family)


def floating(last, **fields):
    return {"address": f"203.0.113.{last}", "fixed_address": f"10.0.0.{last}", **fields}


def test_nothing_of_a_host_without_networks():
    assert not render() and not render(family="ipv6")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_first_bridge_of_the_plan_decides(family):
    table = render(*(network(number, gateway=number in (0, 1, 3)) for number in range(5)), family=family)
    assert table.chains["forward"] == [
        f"{side}ifname @{name} {verdict}"
        for name, verdict in (
            ("open-bridges", "accept"),
            ("closed-bridges", "drop"),
            ("open-bridges2", "accept"),
            ("closed-bridges2", "drop"),
        )
        for side in "io"
    ]
    assert list(table.sets["open-bridges"].elements) == ['"br0"', '"br1"']
    assert list(table.sets["closed-bridges2"].elements) == ['"br4"']


def test_many_of_a_kind_make_no_rules():
    few = render(network(0), network(1), floating_ips=[floating(7)])
    many = render(*map(network, range(50)), floating_ips=[floating(last) for last in range(2, 200)])
    assert many.chains == few.chains
    assert many.sets["float-to"].elements["203.0.113.150"] == "10.0.0.150"


def test_guests_for_whom_the_same_holds_share_a_chain():
    groups = [{"name": name, "members": [], "rules": []} for name in ("web", "db")]

    def guards(*of_guests):
        guests = [
            {"address": f"10.0.0.{last}", "cidr": "10.0.0.0/24", "security_groups": list(names)}
            for last, names in enumerate(of_guests, 2)
        ]
        return render(security_groups=groups, instances=guests).sets["guests-in"].elements

    both = guards(["web"], ["web"], ["db"], ["db", "web"], [])
    assert both["10.0.0.2"] == both["10.0.0.3"] and len(set(both.values())) == 4
    # A chain keeps its name whoever else is there.
    assert guards(["db"])["10.0.0.2"] == both["10.0.0.4"]


def test_a_range_within_another_one_adds_nothing():
    table = render(
        floating_ips=[
            floating(7, bridge="br0", fixed_cidr="10.0.0.0/24"),
            floating(8, bridge="br1", fixed_cidr="10.0.0.0/16"),
            floating(9, bridge="br1", fixed_cidr="10.0.0.8/30"),
        ]
    )
    assert list(table.sets["floating-networks"].elements) == ["10.0.0.0/16 . 10.0.0.0/16"]
    assert list(table.sets["floating-bridges"].elements) == ['"br0"', '"br1"']


def test_ports_that_move_are_told_one_by_one():
    forward = {"address": "203.0.113.9", "protocol": "tcp", "fixed_address": "10.0.0.5"}
    table = render(
        network(0),
        port_forwards=[{**forward, "ports": "80:81", "fixed_port": 8080}, {**forward, "ports": "443:445"}],
    )
    assert table.sets["port-to"].elements == {
        "203.0.113.9 . tcp . 80": "10.0.0.5 . 8080",
        "203.0.113.9 . tcp . 81": "10.0.0.5 . 8081",
    }
    assert table.sets["ports-to"].elements == {"203.0.113.9 . tcp . 443-445": "10.0.0.5"}


def held(table):
    """The table as a kernel might hold it."""
    return HeldTable(
        {
            name: HeldSet((made.declaration.encode(),), made.word, dict(made.elements))
            for name, made in table.sets.items()
        },
        {
            name: HeldChain((table.hooks.get(name, "").encode(),), [rule.encode() for rule in rules])
            for name, rules in table.chains.items()
        },
    )


def change(before, after):
    return nftables.compare("ipv4", held(before) if before else None, held(after), after)


def test_equal_tables_do_not_differ():
    table = render(network(0), floating_ips=[floating(7)])
    assert change(table, table) is None
    assert change(render(), render()) is None


def test_one_more_floating_ip_is_one_element_more():
    before, after = (render(network(0), floating_ips=list(map(floating, lasts))) for lasts in ((7,), (7, 8)))
    found = change(before, after)
    assert nftables.compose([found]).splitlines() == [
        "add table ip nova-network",
        "add element ip nova-network float-to { 203.0.113.8 : 10.0.0.8 }",
        "add element ip nova-network float-from { 10.0.0.8 : 203.0.113.8 }",
    ]
    pair = frozenset({("203.0.113.8", "10.0.0.8")})
    assert nftables.ways([found]) == (Ways(), Ways(pair, pair))
    assert nftables.ways([change(after, before)]) == (Ways(pair, pair), Ways())


def test_what_is_named_comes_first_and_goes_last():
    before = render(network(0), floating_ips=[floating(7)])
    after = render(network(0))
    come = nftables.compose([change(after, before)]).splitlines()
    gone = nftables.compose([change(before, after)]).splitlines()
    for lines, name in ((come, "float-to"), (gone, "float-to")):
        named = [number for number, line in enumerate(lines) if f"@{name}" in line]
        touched = [number for number, line in enumerate(lines) if f"map ip nova-network {name} " in f"{line} "]
        assert touched
        if lines is come:
            assert named and min(touched) < min(named)
        else:
            assert not named and lines[max(touched)] == "delete map ip nova-network float-to"
            assert lines.index("flush chain ip nova-network prerouting") < max(touched)


def test_a_table_that_cannot_be_mended_is_made_anew_in_one_step():
    table = render(network(0), floating_ips=[floating(7)])
    broken = held(table)
    broken.sets["inside"].declaration = (b"something else",)
    found = nftables.compare("ipv4", broken, held(table), table)
    lines = nftables.compose([found]).splitlines()
    assert lines[:2] == ["delete table ip nova-network", "add table ip nova-network"]
    assert "add element ip nova-network float-to { 203.0.113.7 : 10.0.0.7 }" in lines
    assert nftables.ways([found]) == (Ways(), Ways())
    assert any("anew" in action for action in nftables.actions(found, {}, {}))


def test_all_goes_with_the_table():
    table = render(network(0), floating_ips=[floating(7)])
    found = change(table, render())
    assert nftables.compose([found]) == "delete table ip nova-network\n"
    assert nftables.ways([found])[0].to_guests == {("203.0.113.7", "10.0.0.7")}
