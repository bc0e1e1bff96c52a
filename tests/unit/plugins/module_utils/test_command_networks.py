# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `network` on a store: create, modify, delete."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_network_command import SETTINGS, UUID, listed, run, the
from a_record import fixed_ip
from a_store import content, dump, file_of, keep, sql
from ansible_collections.tenantnet.nova.plugins.module_utils import _networks
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp

# --- create ----------------------------------------------------------------------------------------------------------


def test_several_are_carved_at_once_and_a_second_run_changes_nothing(url: str) -> None:
    asked = {"label": "blue", "fixed_range": "10.1.0.0/16", "num_networks": 3, "network_size": 256, "bridge": "br100"}
    foretold = run(url, check_mode=True, **asked)
    with pytest.raises(StoreError, match="there is no store"):
        listed(url)
    made = run(url, **asked)
    assert [(row["label"], row["cidr"], row["bridge"]) for row in made["networks"]] == [
        ("blue_0", "10.1.0.0/24", "br100"),
        ("blue_1", "10.1.1.0/24", "br101"),
        ("blue_2", "10.1.2.0/24", "br102"),
    ]
    assert made["changed"] and len(made["actions"]) == 3 and made["diff"]["before"] == ""
    assert {**made, "networks": foretold["networks"]} == foretold == made
    again = run(url, **asked)
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["networks"] == made["networks"]


def test_numbers_and_truth_may_be_text_as_extra_vars_are(sqlite_url: str) -> None:
    made = run(
        sqlite_url, label="red", manager="vlan", fixed_range="10.2.0.0/24", vlan="200", mtu="1400", multi_host="yes"
    )
    assert (the(made)["vlan"], the(made)["mtu"], the(made)["multi_host"]) == (200, 1400, True)
    assert not run(sqlite_url, label="red", vlan="200", mtu="1400", multi_host="yes", num_networks="1")["changed"]


def test_more_are_added_to_those_that_are_there(sqlite_url: str) -> None:
    asked = {"label": "blue", "fixed_range": "10.1.0.0/16", "network_size": 256}
    two = run(sqlite_url, **asked, num_networks=2)["networks"]
    four = run(sqlite_url, **asked, num_networks=4, dns1="192.0.2.53")["networks"]
    assert [row["cidr"] for row in four] == ["10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"]
    assert [row["uuid"] for row in four[:2]] == [row["uuid"] for row in two]
    assert {row["dns1"] for row in four} == {"192.0.2.53"}


def test_what_a_command_makes_is_told_apart(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    run(sqlite_url, label="green", fixed_range="10.9.0.0/24", project="acme")
    green = content(sqlite_url).networks["green"]
    assert (green.origin, green.project_origin) == ("command", "command")


def test_the_history_has_the_run_and_the_user(url: str) -> None:
    run(url, **_NEW)
    assert sql(url, "SELECT run, user_name, key FROM history") == [("4711", "alice", "green")]


def test_the_options_of_the_site_hold(sqlite_url: str) -> None:
    settings = {"nova_network_manager": "vlan", "nova_vlan_start": 300, "nova_reserved_vlans": ["300-301"]}
    made = run(sqlite_url, label="red", fixed_range="10.2.0.0/24", settings=settings)
    assert (the(made)["manager"], the(made)["vlan"]) == ("vlan", 302)


def test_an_option_that_is_none_is_refused(sqlite_url: str) -> None:
    with pytest.raises(InputError, match="settings: unknown key 'nova_vlan_begin'; known are .*nova_vlan_start"):
        run(sqlite_url, label="red", fixed_range="10.2.0.0/24", settings={"nova_vlan_begin": 300})


_NEW: dict[str, t.Any] = {"label": "green", "fixed_range": "10.9.0.0/24"}
_VLAN: dict[str, t.Any] = {**_NEW, "manager": "vlan"}

#: For each option: further ones, a value that it cannot have, and words of the one message.
BAD: list[tuple[str, dict[str, t.Any], t.Any, tuple[str, ...]]] = [
    ("label", _NEW, "", ("label: ''", "printable")),
    ("label", _NEW, ["green"], ("label: ['green'] is not a text",)),
    ("label", _NEW, "x" * 256, ("256 characters", "at most 255")),
    ("manager", _NEW, "quantum", ("'quantum' is not a network manager", "flat, flatdhcp, vlan")),
    ("fixed_range", _NEW, "10.9.0.0", ("fixed_range: '10.9.0.0'", "such as")),
    ("fixed_range", _NEW, 10, ("fixed_range: 10", "such as")),
    ("fixed_range", _NEW, "10.9.0.0/31", ("10.9.0.0/31 is too small", "4 addresses")),
    (
        "fixed_range",
        _NEW,
        "10.0.0.128/25",
        ("overlaps network 'blue' 10.0.0.0/24", "range of its own"),
    ),
    ("fixed_range", _NEW, "192.0.2.0/24", ("would hold 192.0.2.10, a floating IP of pool 'nova'", "another range")),
    ("fixed_range_v6", _NEW, "10.9.0.0/24", ("fixed_range_v6: '10.9.0.0/24'", "such as 'fd00::/48'")),
    ("fixed_range_v6", _NEW, "fd00::/80", ("fd00::/80 is too small", "/64")),
    ("num_networks", _NEW, 0, ("num_networks: 0 is not from 1 to",)),
    ("num_networks", _NEW, "many", ("num_networks: 'many' is not a whole number",)),
    ("num_networks", _NEW, 2, ("network_size is required",)),
    ("num_networks", {**_NEW, "network_size": 128}, 3, ("room for 2 networks", "3 are asked for", "larger range")),
    ("network_size", _NEW, 100, ("network_size 100 is not the size of a network", "power of two")),
    ("network_size", _NEW, -1, ("network_size: -1 is not from 1",)),
    ("uuid", _NEW, "0815", ("uuid: '0815' is not a UUID",)),
    ("vlan", _VLAN, 4095, ("vlan: 4095 is not from 1 to 4094",)),
    ("vlan", _VLAN, True, ("vlan: True is not a whole number",)),
    ("vlan", _NEW, 5, ("vlan: a flatdhcp network has no VLAN",)),
    ("vlan", {**_VLAN, "num_networks": 2, "network_size": 64}, 5, ("2 networks cannot have one VLAN", "vlan_start")),
    ("vlan_start", _VLAN, 0, ("vlan_start: 0 is not from 1 to 4094",)),
    ("vpn_start", _VLAN, 70000, ("vpn_start: 70000 is not from 1 to 65535",)),
    ("bridge", _NEW, "br 1", ("bridge: 'br 1'",)),
    ("bridge", _NEW, "br-blue", ("bridge: 'br-blue' already belongs to network 'blue'", "of its own")),
    ("bridge", _VLAN, "br7", ("bridge of a VLAN network is named", "leave it out")),
    ("bridge_interface", _NEW, "e" * 16, ("bridge_interface: 'eeeeeeeeeeeeeeee'",)),
    ("gateway", _NEW, "10.9.1.1", ("gateway: 10.9.1.1 lies outside", "10.9.0.0/24")),
    ("gateway", _NEW, "10.9.0.255", ("gateway: 10.9.0.255", "choose a host address")),
    ("gateway", {**_NEW, "num_networks": 2, "network_size": 64}, "10.9.0.1", ("cannot hold for 2 networks at once",)),
    ("gateway_v6", _NEW, "fd00::1", ("gateway_v6: the network has no fixed_range_v6",)),
    ("gateway_v6", {**_NEW, "fixed_range_v6": "fd00::/64"}, "fd01::1", ("gateway_v6: fd01::1 lies outside",)),
    ("dhcp_server", _NEW, "10.8.0.2", ("dhcp_server: 10.8.0.2 lies outside",)),
    ("dhcp_start", _NEW, "ten", ("dhcp_start: 'ten' is not an IPv4 address such as",)),
    ("allowed_start", _NEW, "10.8.0.2", ("allowed_start: 10.8.0.2 lies outside",)),
    ("allowed_end", {**_NEW, "allowed_start": "10.9.0.9"}, "10.9.0.8", ("10.9.0.9 to 10.9.0.8", "other ends")),
    ("fixed_cidr", _NEW, "10.8.0.0/28", ("fixed_cidr: 10.8.0.0/28 lies outside",)),
    ("fixed_cidr", {**_NEW, "allowed_end": "10.9.0.8"}, "10.9.0.0/28", ("fixed_cidr: give it, or allowed_start",)),
    ("dns1", _NEW, "resolver", ("dns1: 'resolver' is not an IPv4 address such as",)),
    ("dns2", _NEW, ["192.0.2.53"], ("dns2: ['192.0.2.53'] is not an IPv4 address such as",)),
    ("mtu", _NEW, 20, ("mtu: 20 is not from 68 to 65535",)),
    ("mtu", {**_NEW, "fixed_range_v6": "fd00::/64"}, 1000, ("mtu: 1000 is less than the 1280 bytes",)),
    ("multi_host", _NEW, "perhaps", ("multi_host: 'perhaps' is neither true nor false",)),
    ("host", {**_NEW, "multi_host": True}, "net1", ("host: a multi_host network is served by every host",)),
    ("host", _NEW, " net1", ("host: ' net1'",)),
    ("priority", _NEW, -1, ("priority: -1 is not from 0",)),
    ("project", _NEW, "acm", ("project: 'acm' is no known project; known: acme, other",)),
    ("reserved", _NEW, "10.9.0.5", ("reserved: '10.9.0.5' is not a list",)),
    ("reserved", _NEW, ["10.8.0.5"], ("reserved: 10.8.0.5 lies outside the network",)),
    ("reserved", _NEW, ["10.9.0.9-10.9.0.5"], ("'10.9.0.9-10.9.0.5' does not go from a lower to a higher",)),
    ("reserved", _NEW, ["10.9.0.1"], ("10.9.0.1 is reserved in network 'green'",)),
    ("disassociate_project", _NEW, "perhaps", ("disassociate_project: 'perhaps' is neither true nor false",)),
    ("disassociate_project", {**_NEW, "project": "acme"}, True, ("associating and disassociating at once",)),
    ("disassociate_host", {**_NEW, "host": "net1"}, True, ("associating and disassociating at once",)),
    ("settings", _NEW, {"nova_vlan_start": 0}, ("nova_vlan_start: 0 is not from 1 to 4094",)),
]


@pytest.mark.parametrize(("option", "others", "value", "words"), BAD)
def test_bad_input_is_one_message_and_nothing_is_written(
    option: str, others: dict[str, t.Any], value: t.Any, words: tuple[str, ...], sqlite_url: str
) -> None:
    keep(sqlite_url, a_record.site(0))
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError) as caught:
        run(sqlite_url, **{**others, option: value})
    assert "\n" not in str(caught.value)
    for each in words:
        assert each in str(caught.value)
    assert file_of(sqlite_url).read_bytes() == before


def test_every_option_has_bad_input() -> None:
    assert {option for option, *_rest in BAD} >= {*_networks.REQUEST, "disassociate_project", "disassociate_host"}


def test_refused_input_makes_no_store(sqlite_url: str) -> None:
    with pytest.raises(InputError):
        run(sqlite_url, label="green", fixed_range="10.9.0.0/31")
    assert not file_of(sqlite_url).parent.exists()


def test_a_network_has_to_be_named(sqlite_url: str) -> None:
    with pytest.raises(InputError, match="which network. Name it by its label, fixed_range, fixed_range_v6 or uuid"):
        run(sqlite_url, mtu=1400)


def test_a_quota_refuses_all_of_several(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    asked = {"label": "green", "fixed_range": "10.9.0.0/16", "network_size": 256, "project": "acme"}
    settings = {**SETTINGS, "nova_quota_networks": 2}
    with pytest.raises(InputError, match="quota_networks is 2, and 0 networks are in use, so 3 more"):
        run(sqlite_url, **asked, num_networks=3, settings=settings)
    assert run(sqlite_url, **asked, num_networks=2, settings=settings)["changed"]


def test_a_floating_ip_is_no_network_s(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.state_of(FloatingIp("10.9.0.77", "public", origin="command")))
    with pytest.raises(InputError, match="would hold 10.9.0.77, a floating IP of pool 'public'"):
        run(sqlite_url, **_NEW)


# --- modify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [{"label": "green"}, {"fixed_range": "10.9.0.0/24"}, {"uuid": UUID.upper()}, {"fixed_range_v6": "fd00:9::/64"}],
)
def test_a_network_is_changed_by_any_of_its_names(name: dict[str, str], sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    made = the(run(sqlite_url, **_VLAN, uuid=UUID, fixed_range_v6="fd00:9::/64", dns1="192.0.2.53"))
    changed = the(run(sqlite_url, state="modified", **name, mtu=1400, dns2="192.0.2.54", project="acme", host="net1"))
    expected = {"mtu": 1400, "dns2": "192.0.2.54", "project": "acme", "project_origin": "command", "host": "net1"}
    assert changed == {**made, **expected}
    assert not run(sqlite_url, state="modified", **name, mtu=1400, project="acme", host="net1")["changed"]
    freed = run(sqlite_url, state="modified", **name, disassociate_project=True, disassociate_host=True)
    assert the(freed) == {**changed, "project": None, "project_origin": None, "host": None}
    assert not run(sqlite_url, state="modified", **name, disassociate_project=True, disassociate_host=True)["changed"]


def test_what_is_not_said_of_a_network_is_not_the_default_of_the_site(sqlite_url: str) -> None:
    asked = {**_NEW, "bridge": "br9", "fixed_range_v6": "fd00:9::/64", "gateway_v6": "fd00:9::9"}
    made = the(run(sqlite_url, **asked, settings={}))
    site = {"nova_network_manager": "vlan", "nova_multi_host": True, "nova_flat_network_dns": "192.0.2.53"}
    changed = run(sqlite_url, label="green", host="net1", gateway_v6="fd00:9::9", settings=site)
    assert the(changed) == {**made, "host": "net1"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ({"label": "green"}, "label: 'green' is no known network; known: blue, red"),
        (
            {"fixed_range": "10.9.0.0/24"},
            "fixed_range: '10.9.0.0/24' is no known network; known: 10.0.0.0/24, 10.1.0.0/16",
        ),
        ({"uuid": UUID}, f"uuid: '{UUID}' is no known network; known: blue, red"),
    ],
)
def test_to_modify_is_not_to_create(name: dict[str, str], message: str, sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    with pytest.raises(InputError) as caught:
        run(sqlite_url, state="modified", **name, mtu=1400)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("manager", "flat"),
        ("fixed_range", "10.9.0.0/16"),
        ("fixed_range", "10.8.0.0/24"),
        ("fixed_range_v6", "fd00:8::/64"),
        ("network_size", 128),
        ("uuid", UUID),
        ("bridge", "br7"),
        ("gateway", "10.9.0.9"),
        ("dhcp_server", "10.9.0.9"),
        ("dhcp_start", "10.9.0.9"),
        ("allowed_start", "10.9.0.9"),
        ("allowed_end", "10.9.0.9"),
        ("fixed_cidr", "10.9.0.0/28"),
        ("multi_host", True),
    ],
)
def test_what_would_move_guests_is_refused(option: str, value: t.Any, sqlite_url: str) -> None:
    run(sqlite_url, **_NEW)
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError, match="network 'green' is there with .*[Dd]elete it and create it anew"):
        run(sqlite_url, **{**_NEW, option: value})
    assert file_of(sqlite_url).read_bytes() == before


def test_a_part_of_the_range_for_guests_stays_the_same(sqlite_url: str) -> None:
    made = run(sqlite_url, **_NEW, fixed_cidr="10.9.0.16/28")
    assert (the(made)["allowed_start"], the(made)["allowed_end"]) == ("10.9.0.18", "10.9.0.30")
    assert not run(sqlite_url, **_NEW, fixed_cidr="10.9.0.16/28")["changed"]


def test_addresses_are_reserved_in_a_network_that_is_there(sqlite_url: str) -> None:
    run(sqlite_url, **_NEW)
    assert run(sqlite_url, label="green", reserved=["10.9.0.10-10.9.0.12"])["changed"]
    assert not run(sqlite_url, label="green", reserved=["10.9.0.11"])["changed"]
    assert sorted(content(sqlite_url).fixed_ips) == ["10.9.0.10", "10.9.0.11", "10.9.0.12"]


@pytest.mark.parametrize("change", [{"project": "other"}, {"disassociate_project": True}])
def test_a_network_is_not_taken_from_those_who_use_it(change: dict[str, t.Any], sqlite_url: str) -> None:
    held = a_record.site(1, fixed_ip("10.0.0.5", instance="i0"), fixed_ip("10.1.0.5", instance="i0"))
    held.networks["blue"] = held.networks["blue"]._replace(project="acme", project_origin="command")
    keep(sqlite_url, held)
    with pytest.raises(InputError, match="network 'blue' is in use by instance 'i0' of project 'acme'; remove"):
        run(sqlite_url, state="modified", label="blue", **change)


# --- delete ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [{"label": "green"}, {"fixed_range": "10.9.0.7/24"}, {"uuid": UUID}])
def test_a_network_is_deleted_by_any_of_its_names_and_is_then_gone(name: dict[str, str], url: str) -> None:
    made = run(url, **_NEW, uuid=UUID, reserved=["10.9.0.9"])
    before = dump(url)
    foretold = run(url, check_mode=True, state="absent", **name)
    assert dump(url) == before
    gone = run(url, state="absent", **name)
    assert gone["networks"] == made["networks"] and gone["changed"]
    assert foretold == gone
    assert content(url).networks == content(url).fixed_ips == {}
    assert run(url, state="absent", **name) == {
        "changed": False, "actions": [], "diff": {"before": "", "after": ""}, "networks": []
    }  # fmt: skip


def test_a_network_of_a_project_is_not_deleted(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    run(sqlite_url, **_NEW, project="acme")
    with pytest.raises(InputError, match="network 'green' 10.9.0.0/24 belongs to project 'acme'; scrub the project"):
        run(sqlite_url, state="absent", label="green")


def test_a_network_with_an_address_in_use_is_not_deleted(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(1, fixed_ip("10.0.0.5", instance="i0"), fixed_ip("10.1.0.5", instance="i0")))
    with pytest.raises(InputError, match="network 'blue' 10.0.0.0/24 is in use by instance 'i0'; remove them first"):
        run(sqlite_url, state="absent", label="blue")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_networks": 4}, "num_networks: networks are deleted one at a time; name each by its label, .* 'green_0'"),
        ({"fixed_range": "10.8.0.0/24"}, "fixed_range: network 'green' is 10.9.0.0/24, not in 10.8.0.0/24"),
        ({"fixed_range": "10.9.0.0/25"}, "fixed_range: network 'green' is 10.9.0.0/24, not in 10.9.0.0/25"),
        ({"uuid": UUID}, f"uuid: network 'green' has .*, not {UUID}"),
        ({"uuid": "0815"}, "uuid: '0815' is not a UUID"),
        ({"fixed_range": "green"}, "fixed_range: 'green' is not an IPv4 range such as"),
    ],
)
def test_names_that_do_not_agree_delete_nothing(options: dict[str, t.Any], message: str, sqlite_url: str) -> None:
    run(sqlite_url, **_NEW)
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError, match=message):
        run(sqlite_url, state="absent", label="green", **options)
    assert file_of(sqlite_url).read_bytes() == before
