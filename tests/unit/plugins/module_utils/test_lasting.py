"""What of a plan is brought back where something is missing, and interfaces that the kernel calls otherwise now."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    lasting,
    links,
    naming,
    preflight,
    renamed,
    units,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"

PLAN = {
    "links": {
        "vlans": [{"name": "vlan7.8", "link": "vlan7", "id": 8}, {"name": "vlan7", "link": "eth1", "id": 7}],
        "bridges": [
            {"name": "br7", "interfaces": ["vlan7.8"], "addresses": ["10.0.7.1/24"]},
            {"name": "br100", "interfaces": ["eth3"], "addresses": []},
        ],
        "ports": [{"name": "tap1", "bridge": "br7"}, {"name": "tap2", "bridge": "operators"}],
        "move_addresses": ["eth3"],
        "sysctl": {"net.ipv4.ip_forward": "1", "net.ipv6.conf.eth3.accept_ra": "0"},
    },
    "dnsmasq": {"instances": [{"name": "br7", "interface": "br7"}]},
    "port_filter": {"ports": [], "uplinks": ["eth3"]},
    "packet_filter": {
        "public_interface": "eth2",
        "networks": [{"label": "blue", "bridge": "br100", "uplinks": ["eth3", "vlan7"]}, {"label": "red"}],
        "floating_ips": [{"address": "203.0.113.7", "fixed_address": "10.0.7.3", "interface": "eth4"}],
    },
    "floating_addresses": {"addresses": [{"address": "203.0.113.7", "interface": "eth4"}]},
}


def card(name: str, mac: str = "", **more) -> links.Link:
    return links.Link(name, 1, mac=mac, permanent_mac=mac, **more)


def host(*cards: links.Link) -> dict[str, links.Link]:
    return {each.name: each for each in cards}


# -- what a plan names


def test_a_plan_names_the_interfaces_that_it_does_not_make():
    assert renamed.named(PLAN) == ["eth3", "eth1", "eth2", "eth4"]
    assert renamed.named(PLAN["links"]) == ["eth3", "eth1"]
    assert renamed.named(PLAN["packet_filter"]) == ["eth2", "eth4", "eth3", "vlan7"]


@pytest.mark.parametrize(
    "part", [None, [], "eth1", {"bridges": "br100"}, {"bridges": [None]}, {"addresses": ["10.0.0.1"]}]
)
def test_what_is_no_plan_names_nothing_and_stays(part):
    assert renamed.named(part) == []
    assert renamed.replace(part, {"eth1": "ens5"}) == part


def test_every_place_of_a_name_is_put_in_present_words_and_no_other_word():
    before = copy.deepcopy(PLAN)
    now = renamed.replace(PLAN, {"eth1": "ens5", "eth2": "ens6", "eth3": "ens7", "eth4": "ens8", "br7": "never"})
    assert PLAN == before
    expected = json.dumps(PLAN)
    for old, new in (("eth1", "ens5"), ("eth2", "ens6"), ("eth3", "ens7"), ("eth4", "ens8")):
        expected = expected.replace(f'"{old}"', f'"{new}"').replace(f".{old}.", f".{new}.")
    assert now == json.loads(expected)


# -- finding them again


def test_an_interface_that_is_there_is_what_was_meant():
    assert renamed.find(["eth1"], host(card("eth1", MAC)), {"eth1": MAC}) == {}
    assert renamed.find(["eth1"], host(card("eth1", MAC)), {}) == {}


def test_a_renamed_card_is_found_by_its_alternative_name():
    assert renamed.find(["eth1"], host(card("ens5", MAC, alternatives=("eth1",))), {}) == {"eth1": "ens5"}


def test_a_renamed_card_is_found_by_its_mac_address():
    there = host(card("ens5", MAC), card("ens6", OTHER))
    assert renamed.find(["eth1", "eth2"], there, {"eth1": MAC, "eth2": OTHER}) == {"eth1": "ens5", "eth2": "ens6"}


def test_cards_that_exchanged_their_names_are_told_apart():
    there = host(card("eth1", OTHER), card("eth2", MAC))
    assert renamed.find(["eth1", "eth2"], there, {"eth1": MAC, "eth2": OTHER}) == {"eth1": "eth2", "eth2": "eth1"}


def test_a_card_that_was_replaced_is_known_by_its_name():
    assert renamed.find(["eth1"], host(card("eth1", OTHER)), {"eth1": MAC}) == {}


def test_what_stands_on_a_card_and_has_its_mac_address_is_not_the_card():
    bridge, vlan = links.Link("br100", 2, kind="bridge", mac=MAC), links.Link("vlan7", 3, kind="vlan", mac=MAC)
    assert renamed.find(["eth1"], host(card("ens5", MAC), bridge, vlan), {"eth1": MAC}) == {"eth1": "ens5"}
    assert renamed.find(["eth1"], host(bridge, vlan), {"eth1": MAC}) == {}


def test_a_card_in_a_bond_is_known_by_the_address_of_its_maker():
    inside = links.Link("ens5", 1, mac=OTHER, permanent_mac=MAC)
    assert renamed.find(["eth1"], host(inside, card("ens6", OTHER)), {"eth1": MAC}) == {"eth1": "ens5"}


def test_two_that_it_could_be_end_in_one_message():
    with pytest.raises(
        HostError, match=f"eth1 is not there any more, and its MAC address {MAC} .*ens5 and of ens6"
    ) as said:
        renamed.find(["eth1"], host(card("ens5", MAC), card("ens6", MAC)), {"eth1": MAC})
    assert "\n" not in str(said.value)


def test_the_controller_checks_a_plan_in_the_hosts_present_words():
    plan = {
        "links": {"bridges": [{"name": "br100", "interfaces": ["eth1"]}]},
        "port_filter": {"ports": [], "uplinks": ["eth3"]},
        "packet_filter": {"public_interface": "eth2", "networks": []},
    }
    state = links.State(host(card("ens5", MAC), card("ens6", OTHER, alternatives=("eth2",))))

    def report(**names):
        return json.loads(json.dumps(preflight.report(state, links.Duties(), names)))

    preflight.check({"node1": plan}, {"node1": report(eth1="ens5")})
    with pytest.raises(InputError, match="interface eth1 does not exist"):
        preflight.check({"node1": plan}, {"node1": report()})


# -- what is missing


def test_without_a_trunk_its_vlans_stay_away_and_their_bridges_serve_this_host():
    left = lasting.without(PLAN, ["eth1"])
    assert left["links"]["vlans"] == []
    assert [bridge["interfaces"] for bridge in left["links"]["bridges"]] == [[], ["eth3"]]
    assert left["links"]["bridges"][0]["addresses"] == ["10.0.7.1/24"]
    assert left["floating_addresses"] == PLAN["floating_addresses"]
    links.parse(left["links"])


def test_settings_of_a_missing_card_stay_away():
    assert lasting.without(PLAN, ["eth3"])["links"]["sysctl"] == {"net.ipv4.ip_forward": "1"}


def test_floating_addresses_of_a_missing_card_stay_away():
    assert lasting.without(PLAN, ["eth4"])["floating_addresses"] == {"addresses": []}


def test_parts_do_not_need_each_other_and_make_the_whole():
    pieces = lasting.parts(PLAN["links"])
    assert [lasting.named(piece) for piece in pieces] == [
        "sysctl net.ipv4.ip_forward",
        "sysctl net.ipv6.conf.eth3.accept_ra",
        "bridge br7",
        "bridge br100",
        "port tap2",
    ]
    for piece in pieces:
        links.parse(lasting.assemble(PLAN["links"], [piece]))
    assert links.parse(lasting.assemble(PLAN["links"], pieces)) == links.parse(PLAN["links"])


def test_a_vlan_interface_under_no_bridge_is_a_part_of_its_own():
    section = {"bridges": [], "vlans": [{"name": "vlan7", "link": "eth1", "id": 7}]}
    assert [lasting.named(piece) for piece in lasting.parts(section)] == ["VLAN interface vlan7"]


def test_the_unit_comes_after_what_empties_the_rules_and_before_what_starts_guests():
    text = units.render("/usr/bin/python3", lasting.PROGRAM, told=False)[naming.UNIT]
    unit = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert {"network.target", "nftables.service", "netfilter-persistent.service"} <= set(unit["After"].split())
    assert {"network-online.target", "libvirtd.service", "lxc.service"} <= set(unit["Before"].split())
    assert not set(unit["After"].split()) & set(unit["Before"].split())
    assert unit["ExecStart"] == "/usr/bin/python3 -I /var/lib/tenantnet/tenantnet.pyz"
    assert "nftables.service" in set(unit["ReloadPropagatedFrom"].split()) <= set(unit["After"].split())


@pytest.mark.parametrize("told", [True, False])
def test_what_empties_the_rules_has_us_look_after_it_and_is_free_to_stop_and_start(told):
    texts = units.render("/usr/bin/python3", lasting.PROGRAM, told=told)
    unit = dict(line.split("=", 1) for line in texts[naming.FOLLOWER].splitlines() if "=" in line)
    assert {"firewalld.service", "nftables.service"} <= set(unit["WantedBy"].split()) <= set(unit["After"].split())
    assert unit["ExecStart"] == "/usr/bin/python3 -I /var/lib/tenantnet/tenantnet.pyz rules"
    # Of units that conflict nothing can be a part.
    assert not any("PartOf=" in text for text in texts.values())
