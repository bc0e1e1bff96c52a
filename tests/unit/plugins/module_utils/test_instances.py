"""Instances: their NICs, MAC addresses and addresses of both versions, kept for their life whatever is around them."""

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from a_model import Model, refused, sound
from a_site import address_of, allocate, instance, multi_host, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips, state

BOTH = [{"label": "blue", "fixed_range": "10.0.0.0/24", "fixed_range_v6": "fd00:0:0:7::/64"}]
SIX = [{"label": "blue", "fixed_range_v6": "fd00:0:0:7::/64"}]
TWO = [
    {"label": "blue", "fixed_range": "10.0.0.0/24"},
    {"label": "green", "fixed_range": "10.1.0.0/24", "bridge": "br101"},
]


def six_of(held: state.State, name: str, network: str = "blue") -> str:
    rows = [row for row in held.fixed_ips.values() if (row.instance, row.network, row.version) == (name, network, 6)]
    (row,) = rows
    return row.address


def four_of(held: state.State, name: str) -> list[str]:
    return sorted(row.address for row in held.fixed_ips.values() if (row.instance, row.version) == (name, 4))


def modified_eui64(prefix: str, mac: str) -> str:
    """RFC 4291, appendix A."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 0x02
    octets[3:3] = [0xFF, 0xFE]
    words = [f"{octets[place] << 8 | octets[place + 1]:x}" for place in range(0, 8, 2)]
    return str(ipaddress.ip_address(prefix + ":".join(words)))


# --- both versions ----------------------------------------------------------------------------------------------------


def test_in_a_network_of_both_versions_a_nic_has_one_of_each() -> None:
    held = sound(allocate(site(networks=BOTH, instances=[instance("a"), instance("b", mac="52:54:00:12:34:56")])))
    assert [four_of(held, name) for name in "ab"] == [["10.0.0.2"], ["10.0.0.3"]]
    assert six_of(held, "b") == "fd00::7:5054:ff:fe12:3456"
    assert six_of(held, "a") == modified_eui64("fd00:0:0:7:", held.vifs["a", "blue"].mac)


def test_in_a_network_of_ipv6_alone() -> None:
    held = sound(allocate(site(networks=SIX, instances=[instance("a"), instance("b")])))
    assert [row.version for row in held.fixed_ips.values()] == [6, 6]
    assert held.networks["blue"].host == "net1"


def test_an_address_of_ipv6_may_be_asked_for() -> None:
    wanted = [
        instance("a", address="fd00:0:0:7::A"),
        instance("b", address="10.0.0.9", address_v6="fd00:0:0:7::b"),
        instance("c", address_v6="fd00:0:0:7:0:0:0:c"),
    ]
    held = sound(allocate(site(networks=BOTH, instances=wanted)))
    assert [six_of(held, name) for name in "abc"] == [f"fd00:0:0:7::{name}" for name in "abc"]
    assert [four_of(held, name) for name in "abc"] == [["10.0.0.2"], ["10.0.0.9"], ["10.0.0.3"]]
    # No longer asked for, it is kept for the instance's life.
    assert six_of(allocate(site(networks=BOTH, instances=[instance("a")]), held), "a") == "fd00:0:0:7::a"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"address": "fd00:0:0:8::1"}, ["fd00:0:0:8::1", "'blue'", "fd00:0:0:7::/64"]),
        ({"address_v6": "fd00:0:0:7::1"}, ["fd00:0:0:7::1", "reserved", "gateway"]),
        ({"address_v6": "fd00:0:0:7::"}, ["fd00:0:0:7::", "reserved"]),
        ({"address_v6": "10.0.0.9"}, ["address_v6", "10.0.0.9", "IPv6"]),
        ({"address": "fd00:0:0:7::5", "address_v6": "fd00:0:0:7::6"}, ["fd00:0:0:7::5", "fd00:0:0:7::6", "both"]),
        ({"address": "10.0.9.9", "network": "blue"}, ["10.0.9.9", "outside", "10.0.0.0/24"]),
        ({"address": "10.0.0.1"}, ["10.0.0.1", "reserved", "gateway"]),
        ({"address": "10.0.0.0"}, ["10.0.0.0", "reserved"]),
        ({"address": 5}, ["address", "5"]),
        ({"networks": ["blue", {"label": "blue"}]}, ["'blue'", "twice"]),
        ({"networks": {"label": "blue"}}, ["networks", "list"]),
        ({"networks": [{"address": "10.0.0.9"}]}, ["label", "required"]),
        ({"networks": [{"label": "blue", "colour": 1}]}, ["'colour'"]),
        ({"networks": ["red"]}, ["'red'", "network", "blue"]),
        ({"mac": "fa:16:3e:00:00"}, ["mac", "fa:16:3e:00:00"]),
        ({"host": None}, ["host", "required"]),
        ({"project": None}, ["project", "required"]),
        ({"name": "-web"}, ["'-web'", "host name"]),
        ({"floating_ip": "192.0.2"}, ["floating_ip", "192.0.2"]),
        ({"floating_ip": "192.0.2.1"}, ["192.0.2.1", "floating IP", "nova_floating_ranges"]),
        ({"security_groups": "web"}, ["security_groups", "list"]),
        ({"security_groups": [7]}, ["security_groups", "7"]),
    ],
)
def test_bad_instances(fields: dict[str, t.Any], named: list[str]) -> None:
    with refused("nova_instances[0]", *named):
        allocate(site(networks=BOTH, instances=[instance("a") | fields]))


def test_an_address_of_a_version_that_the_network_has_not() -> None:
    with refused("fd00::5", "'blue'"):
        allocate(site(instances=[instance("a", network="blue", address="fd00::5")]))
    with refused("10.0.0.5", "'blue'"):
        allocate(site(networks=SIX, instances=[instance("a", network="blue", address="10.0.0.5")]))


def test_with_another_mac_a_guest_derives_another_address_of_ipv6() -> None:
    held = allocate(site(networks=BOTH, instances=[instance("a")]))
    held = sound(allocate(site(networks=BOTH, instances=[instance("a", mac="52:54:00:00:00:01")]), held))
    assert six_of(held, "a") == "fd00::7:5054:ff:fe00:1"
    assert four_of(held, "a") == ["10.0.0.2"]
    # The MAC is kept, and with it the address.
    assert six_of(allocate(site(networks=BOTH, instances=[instance("a")]), held), "a") == "fd00::7:5054:ff:fe00:1"


def test_a_version_may_come_and_go() -> None:
    four = [{"label": "blue", "fixed_range": "10.0.0.0/24"}]
    one = allocate(site(networks=four, instances=[instance("a", address="10.0.0.77")]))
    both = sound(allocate(site(networks=BOTH, instances=[instance("a")]), one))
    assert (four_of(both, "a"), len(both.fixed_ips)) == (["10.0.0.77"], 2)
    with refused("'blue'", "would leave out", "'a'"):
        allocate(site(networks=four, instances=[instance("a")]), both)


# --- NICs -------------------------------------------------------------------------------------------------------------


def test_unnamed_an_instance_is_on_all_networks_by_priority() -> None:
    held = allocate(site(networks=TWO, instances=[instance("a"), instance("b", network="green")]))
    assert set(held.vifs) == {("a", "blue"), ("a", "green"), ("b", "green")}
    with Model(held).command() as ledger:
        assert floating_ips.fixed_address_of(ledger, "a") == "10.0.0.2"
    turned = [TWO[0], {**TWO[1], "priority": 9}]
    with Model(allocate(site(networks=turned), held)).command() as ledger:
        pass
    held = allocate(site(networks=turned, instances=[instance("a"), instance("b", network="green")]), held)
    with Model(held).command() as ledger:
        assert floating_ips.fixed_address_of(ledger, "a") == "10.1.0.2"


def test_an_instance_moves_from_one_network_to_another() -> None:
    ranges = ["192.0.2.1"]
    held = allocate(
        site(networks=TWO, floating_ranges=ranges, instances=[instance("a", network="blue", floating_ip="192.0.2.1")])
    )
    moved = site(
        networks=TWO, floating_ranges=ranges, instances=[instance("a", network="green", floating_ip="192.0.2.1")]
    )
    held = sound(allocate(moved, held))
    assert address_of(held, "a", "green") == "10.1.0.2"
    assert (held.fixed_ips["10.0.0.2"].instance, held.fixed_ips["10.0.0.2"].released_at) == (None, 1000.0)
    assert held.floating_ips["192.0.2.1"].fixed_address == "10.1.0.2"
    # Off a network that goes in the same run.
    back = sound(allocate(site(networks=TWO[:1], instances=[instance("a", network="blue")]), held))
    assert set(back.networks) == {"blue"}
    assert address_of(back, "a") == "10.0.0.3"


def test_another_host_changes_neither_address_nor_mac() -> None:
    held = allocate(multi_host(networks=BOTH, instances=[instance("a")]))
    moved = sound(allocate(multi_host(networks=BOTH, instances=[instance("a", "compute2")]), held))
    assert moved.vifs == held.vifs
    assert four_of(moved, "a") == four_of(held, "a")
    assert {row.host for row in moved.fixed_ips.values() if row.host} == {"compute1", "compute2"}


def test_another_project_is_another_instance() -> None:
    networks = [{"label": "v", "manager": "vlan", "fixed_range": "10.0.0.0/16", "network_size": 256, "num_networks": 2}]
    words = {"networks": networks, "projects": ["acme", "other"], "settings": {"nova_network_manager": "vlan"}}
    held = allocate(site(instances=[instance("a")], **words))
    held = sound(allocate(site(instances=[instance("a") | {"project": "other"}], **words), held))
    assert {vif.network for vif in held.vifs.values()} == {"v_1"}
    assert held.fixed_ips["10.0.0.3"].released_at == 1000.0


def test_who_asks_for_an_address_gets_it_from_one_who_asks_for_another() -> None:
    held = allocate(site(instances=[instance("a"), instance("b")]))
    turned = [instance("a", address="10.0.0.3"), instance("b", address="10.0.0.2")]
    held = sound(allocate(site(instances=turned), held))
    assert (four_of(held, "a"), four_of(held, "b")) == (["10.0.0.3"], ["10.0.0.2"])


def test_macs_are_exchanged_but_never_shared() -> None:
    macs = ("52:54:00:00:00:01", "52:54:00:00:00:02")
    held = allocate(site(instances=[instance("a", mac=macs[0]), instance("b", mac=macs[1])]))
    held = sound(allocate(site(instances=[instance("a", mac=macs[1]), instance("b", mac=macs[0])]), held))
    assert (held.vifs["a", "blue"].mac, held.vifs["b", "blue"].mac) == macs[::-1]
    with refused(macs[1], "'a'"):
        allocate(site(instances=[instance("a"), instance("b", mac=macs[1])]), held)


# --- allowed address pairs --------------------------------------------------------------------------------------------


def paired(*addresses: str | tuple[str, str], **more: t.Any) -> dict[str, t.Any]:
    """An instance on blue that asks for these, each an address or one with a MAC address."""
    words = [each if isinstance(each, tuple) else (each, None) for each in addresses]
    asked = [{"ip_address": address, "mac_address": mac} for address, mac in words]
    return instance("a", **{"network": "blue", "allowed_address_pairs": asked, **more})


def test_pairs_are_kept_in_one_form() -> None:
    asked = [
        ("10.0.0.64/28", "00-00-5E-00-01-01"), "fd00:0:0:7::0A", "10.0.0.100", ("10.0.0.20", "00:00:5e:00:01:02"),
        "192.168.0.0/16", "10.0.0.20/32",
    ]  # fmt: skip
    vrrp, other = "00:00:5e:00:01:01", "00:00:5e:00:01:02"
    kept = f"10.0.0.20,10.0.0.20={other},10.0.0.64/28={vrrp},10.0.0.100,192.168.0.0/16,fd00:0:0:7::a"
    held = sound(allocate(site(networks=BOTH, instances=[paired(*asked)])))
    assert held.vifs["a", "blue"].allowed_address_pairs == kept
    again = allocate(site(networks=BOTH, instances=[paired(*reversed(asked))]), held)
    assert state.difference(held, again) == {}


def test_pairs_go_with_their_nic_and_when_they_are_not_asked_for() -> None:
    networks = ["green", {"label": "blue", "allowed_address_pairs": [{"ip_address": "10.0.0.50"}]}]
    held = sound(allocate(site(networks=TWO, instances=[instance("a", networks=networks)])))
    assert {key[1]: vif.allowed_address_pairs for key, vif in held.vifs.items()} == {"blue": "10.0.0.50", "green": None}
    after = sound(allocate(site(networks=TWO, instances=[instance("a", networks=["blue", "green"])]), held))
    assert [vif.allowed_address_pairs for vif in after.vifs.values()] == [None, None]
    # Nothing else of the NIC is another.
    changes = state.difference(held, after)
    assert list(changes) == ["vifs"]
    assert state.describe(changes) == [
        f"alter NIC {held.vifs['a', 'blue'].mac} of instance a on network blue allowed_address_pairs=10.0.0.50"
        " -> allowed_address_pairs=None"
    ]


def test_an_address_names_the_nic_of_pairs() -> None:
    wanted = [paired("10.0.0.50", network=None, address="10.1.0.9")]
    held = sound(allocate(site(networks=TWO, instances=wanted)))
    assert {key[1]: vif.allowed_address_pairs for key, vif in held.vifs.items()} == {"green": "10.0.0.50"}


def test_pairs_may_hold_what_other_guests_have_or_ask_for() -> None:
    wanted = [instance("b", address="10.0.0.9"), paired("10.0.0.9", "10.0.0.50")]
    wanted.append({**paired("10.0.0.9", "10.0.0.50"), "name": "c"})
    held = sound(allocate(site(networks=BOTH, instances=wanted)))
    assert {vif.allowed_address_pairs for vif in held.vifs.values()} == {None, "10.0.0.9,10.0.0.50"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (paired("0.0.0.0/0"), ["0.0.0.0/0", "every IPv4 address"]),
        (paired(("::/0", "00:00:5e:00:01:01")), ["::/0", "every IPv6 address"]),
        (paired("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"), ["0.0.0.0/1", "192.0.0.0/2", "every IPv4 address"]),
        (paired("10.0.0.65/28"), ["'10.0.0.65/28'", "give 10.0.0.64/28, or 10.0.0.65"]),
        (paired("fd00::7/64"), ["'fd00::7/64'", "fd00::/64"]),
        (paired("10.0.0.50", "10.0.0.50/32"), ["[1]", "10.0.0.50", "[0]", "once"]),
        (paired("10.0.0"), ["[0].ip_address", "'10.0.0'"]),
        (paired("10.0.0.0/33"), ["[0].ip_address", "'10.0.0.0/33'"]),
        (paired("fd00::5%eth0"), ["'fd00::5%eth0'"]),
        (paired(("10.0.0.50", "01:00:5e:00:01:01")), ["[0].mac_address", "01:00:5e:00:01:01", "unicast"]),
        (instance("a", allowed_address_pairs=[{"mac_address": "00:00:5e:00:01:01"}]), ["ip_address", "required"]),
        (instance("a", allowed_address_pairs=[{"ip_address": "10.0.0.50", "mac": None}]), ["'mac'", "mac_address"]),
        (instance("a", allowed_address_pairs=["10.0.0.50"]), ["allowed_address_pairs[0]", "mapping"]),
        (instance("a", allowed_address_pairs="10.0.0.50"), ["allowed_address_pairs", "list"]),
        (paired("10.0.0.50", network=None, networks=["blue"]), ["allowed_address_pairs", "entries of `networks`"]),
        (paired("10.0.0.50", network=None), ["allowed_address_pairs", "'blue', 'green'", "under `networks`"]),
        (paired("10.0.0.1"), ["10.0.0.1", "gateway", "'blue'"]),
        (paired("10.0.0.0/29"), ["10.0.0.0/29", "10.0.0.1"]),
        (paired("10.0.0.2"), ["10.0.0.2", "DHCP"]),
        (paired("fd00:0:0:7::/120"), ["fd00:0:0:7::/120", "fd00:0:0:7::1"]),
    ],
)
def test_bad_pairs(fields: dict[str, t.Any], named: list[str]) -> None:
    networks = [{**BOTH[0], "dhcp_server": "10.0.0.2"}, TWO[1]]
    with refused("nova_instances[0]", "(a)", *named):
        allocate(site(networks=networks, instances=[fields]))


def test_a_pair_of_a_vpn_or_of_the_gateway_of_any_host_is_refused() -> None:
    vlan = [{"label": "blue", "manager": "vlan", "fixed_range": "10.0.0.0/24", "project": "acme"}]
    with refused("(a)", "10.0.0.2", "VPN", "'blue'"):
        allocate(site(networks=vlan, instances=[paired("10.0.0.2")]))
    # In multi_host the first addresses are those of hosts.
    wanted = [paired("10.0.0.3"), instance("b", "compute2", network="blue")]
    with refused("(a)", "10.0.0.3", "gateway", "'blue'"):
        allocate(multi_host(instances=wanted))
    sound(allocate(site(instances=wanted)))


# --- by command, beside the inventory ---------------------------------------------------------------------------------


def test_what_a_command_booted_stays() -> None:
    model = Model(allocate(site(instances=[instance("a")])))
    model.boot("b")
    assert model.address("b") == "10.0.0.3"
    held = sound(allocate(site(), model.held))
    assert set(held.instances) == {"b"}
    with refused("'blue'", "no longer declared", "'b'"):
        allocate(site(networks=[]), model.held)
    with refused("'acme'", "no longer declared", "'b'"):
        allocate(site(projects=[]), model.held)
    # One that the inventory declares too is not the inventory's to remove either.
    held = allocate(site(instances=[instance("b")]), model.held)
    assert set(allocate(site(), held).instances) == {"b"}


def test_a_refused_instance_leaves_nothing_behind() -> None:
    model = Model(network_manager="vlan")
    model.project("acme", quota_fixed_ips=1)
    model.create(manager="vlan", fixed_range="10.0.0.0/24")
    before = model.held
    with refused("quota_fixed_ips"):
        model.boot_all([{"name": name, "project": "acme", "host": "h"} for name in "ab"])
    with refused("10.0.0.1", "reserved"):
        model.boot("a", address="10.0.0.1")
    assert model.held == before
    model.boot("a")
    assert (model.address("a"), model.network().project) == ("10.0.0.3", "acme")


def test_only_what_is_settled_is_touched() -> None:
    model = Model()
    model.project("acme")
    model.create(fixed_range="10.0.0.0/24")
    model.boot_all([{"name": f"i{n}", "project": "acme", "host": "h"} for n in range(4)])
    before = model.held
    model.boot("i2", address="10.0.0.9")
    changed = set(before.fixed_ips.values()) ^ set(model.held.fixed_ips.values())
    assert {row.address for row in changed} == {"10.0.0.4", "10.0.0.9"}
    with refused("10.0.0.2", "already taken", "'i0'"):
        model.boot("i2", address="10.0.0.2")


def test_a_host_takes_its_gateway_once() -> None:
    model = Model()
    model.project("acme")
    model.create(fixed_range="10.0.0.0/24", multi_host=True)
    for name, host in (("a", "h1"), ("b", "h1"), ("c", "h2")):
        model.boot(name, host=host)
    assert {row.host: row.address for row in model.held.fixed_ips.values() if row.host} == {
        "h1": "10.0.0.2",
        "h2": "10.0.0.5",
    }
    with refused("10.0.0.2", "'h1'", "gateway"):
        model.boot("d", address="10.0.0.2")
    # Flat networks have no gateways of ours.
    model.create(label="flat", manager="flat", fixed_range="10.9.0.0/24", bridge="br9", multi_host=True)
    model.boot("e", network="flat")
    assert model.address("e") == "10.9.0.2"


def test_a_network_that_gets_another_range_or_gateways_serves_those_of_commands_too() -> None:
    blue = {"label": "blue", "fixed_range": "10.0.0.0/24"}
    model = Model(allocate(site(networks=[blue])))
    model.boot("a")
    for more in ({"fixed_range_v6": "fd00:0:0:7::/64"}, {"multi_host": True}):
        blue.update(more)
        held = sound(allocate(multi_host(networks=[blue], instances=[instance("b")]), model.held))
        assert four_of(held, "a") == ["10.0.0.2"]
        model.held = held
    assert six_of(held, "a") == modified_eui64("fd00:0:0:7:", held.vifs["a", "blue"].mac)
    assert {row.host for row in held.fixed_ips.values() if row.host} == {"compute1"}
    alone = [{"label": "blue", "fixed_range_v6": "fd00:0:0:7::/64"}]
    model = Model(allocate(site(networks=alone)))
    model.boot("a")
    held = sound(allocate(site(networks=[{**alone[0], "fixed_range": "10.0.0.0/24"}]), model.held))
    assert four_of(held, "a") == ["10.0.0.2"]


def test_with_several_hosts_as_gateways_those_of_commands_have_theirs_as_well() -> None:
    model = Model(allocate(site()))
    model.boot("a", host="compute2")
    held = sound(allocate(multi_host(), model.held))
    assert {row.host for row in held.fixed_ips.values() if row.host} == {"compute2"}


@pytest.mark.parametrize("auto", [False, True])
def test_with_an_instance_goes_what_leads_to_it(auto: bool) -> None:
    words = {"settings": {"nova_auto_assign_floating_ip": auto}, "floating_ranges": ["192.0.2.1"]}
    asked = {} if auto else {"floating_ip": "192.0.2.1"}
    held = sound(allocate(site(instances=[instance("a", **asked)], **words)))
    assert held.floating_ips["192.0.2.1"].fixed_address == "10.0.0.2"
    model = Model(held)
    model.terminate("a")
    assert model.held.floating_ips["192.0.2.1"].fixed_address is None
    # The project keeps one that was allocated to it; an auto-assigned one goes back to the pool.
    assert model.held.floating_ips["192.0.2.1"].project == (None if auto else "acme")
    gone = sound(allocate(site(**words), held))
    assert gone.floating_ips["192.0.2.1"].fixed_address is None
