"""Bad input: one message each, naming the value, the rule and the remedy."""

from __future__ import annotations

import typing as t

import pytest
from a_site import allocate, instance, plans, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import declaration, settings
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError

BLUE = {"label": "blue", "fixed_range": "10.0.0.0/24"}


def network(**fields: t.Any) -> list[dict[str, t.Any]]:
    return [{**BLUE, **fields}]


def two_networks(**fields: t.Any) -> list[dict[str, t.Any]]:
    return [BLUE, {"label": "green", "fixed_range": "10.0.9.0/24", "bridge": "br101", **fields}]


REFUSED = [
    # the declaration, and what the message must name
    (
        "overlap",
        {"networks": two_networks(fixed_range="10.0.0.128/25")},
        ["10.0.0.128/25", "green", "blue", "10.0.0.0/24"],
    ),
    ("range too small", {"networks": network(fixed_range="10.0.0.0/31")}, ["10.0.0.0/31", "too small", "/30"]),
    ("no range", {"networks": network(fixed_range="10.0.0.5")}, ["'10.0.0.5'", "range", "10.0.0.0/24"]),
    ("range of a wrong type", {"networks": network(fixed_range=24)}, ["24", "range"]),
    ("range left out", {"networks": [{"label": "blue"}]}, ["fixed_range", "required"]),
    ("label left out", {"networks": [{"fixed_range": "10.0.0.0/24"}]}, ["label", "required"]),
    ("same label", {"networks": [BLUE, {**BLUE, "fixed_range": "10.0.1.0/24"}]}, ["'blue'", "twice"]),
    ("same bridge", {"networks": two_networks(bridge="br100")}, ["'br100'", "blue", "bridge of its own"]),
    ("bridge too long", {"networks": network(bridge="br-of-the-blue-network")}, ["br-of-the-blue-network", "15"]),
    ("bridge with a slash", {"networks": network(bridge="br/1")}, ["'br/1'", "'/'"]),
    ("interface too long", {"networks": network(bridge_interface="e" * 16)}, ["e" * 16, "15"]),
    ("unknown manager", {"networks": network(manager="vxlan")}, ["vxlan", "flatdhcp"]),
    ("gateway outside", {"networks": network(gateway="10.0.1.1")}, ["10.0.1.1", "10.0.0.0/24"]),
    ("gateway is the broadcast", {"networks": network(gateway="10.0.0.255")}, ["10.0.0.255", "broadcast"]),
    ("gateway of a wrong type", {"networks": network(gateway=["10.0.0.1"])}, ["gateway", "IPv4 address"]),
    ("mtu out of range", {"networks": network(mtu=12)}, ["mtu", "12", "68"]),
    ("mtu no number", {"networks": network(mtu="big")}, ["mtu", "'big'"]),
    ("multi_host no truth value", {"networks": network(multi_host="perhaps")}, ["multi_host", "'perhaps'"]),
    ("misspelt key", {"networks": network(brige="br9")}, ["'brige'", "bridge"]),
    ("network is no mapping", {"networks": ["blue"]}, ["nova_networks[0]", "'blue'", "mapping"]),
    ("networks is no list", {"networks": BLUE}, ["nova_networks", "not a list"]),
    ("unknown host of a network", {"networks": network(host="net9")}, ["'net9'", "host", "net1"]),
    ("unknown project of a network", {"networks": network(project="nobody")}, ["'nobody'", "project", "acme"]),
    ("project twice", {"projects": ["acme", {"name": "acme"}]}, ["'acme'", "twice"]),
    ("project of a wrong type", {"projects": [7]}, ["nova_projects[0]", "7"]),
    ("unknown project", {"instances": [instance("web1") | {"project": "nobody"}]}, ["'nobody'", "project", "acme"]),
    ("unknown host", {"instances": [instance("web1", "compute9")]}, ["'compute9'", "host", "compute1"]),
    ("unknown network", {"instances": [instance("web1", network="red")]}, ["'red'", "network", "blue"]),
    ("instance twice", {"instances": [instance("web1"), instance("web1")]}, ["'web1'", "twice"]),
    ("no host name", {"instances": [instance("web_1")]}, ["'web_1'", "host name"]),
    (
        "two with one MAC",
        {"instances": [instance("a", mac="fa:16:3e:00:00:01"), instance("b", mac="FA-16-3E-00-00-01")]},
        ["fa:16:3e:00:00:01", "'a'"],
    ),
    (
        "two with one address",
        {"instances": [instance("a", address="10.0.0.9"), instance("b", address="10.0.0.9")]},
        ["10.0.0.9", "'a'"],
    ),
    ("group MAC", {"instances": [instance("a", mac="01:00:5e:00:00:01")]}, ["01:00:5e:00:00:01", "unicast"]),
    ("no MAC", {"instances": [instance("a", mac="fa:16:3e")]}, ["'fa:16:3e'", "MAC address"]),
    ("no address", {"instances": [instance("a", address="10.0.0")]}, ["'10.0.0'", "is not an address such as"]),
    (
        "address outside",
        {"instances": [instance("a", network="blue", address="10.0.1.9")]},
        ["10.0.1.9", "10.0.0.0/24"],
    ),
    (
        "address outside, network unnamed",
        {"instances": [instance("a", address="10.0.1.9")]},
        ["10.0.1.9", "10.0.0.0/24"],
    ),
    ("address reserved", {"instances": [instance("a", address="10.0.0.1")]}, ["10.0.0.1", "reserved", "gateway"]),
    ("address is the broadcast", {"instances": [instance("a", address="10.0.0.255")]}, ["10.0.0.255", "reserved"]),
    ("one network twice", {"instances": [instance("a", networks=["blue", "blue"])]}, ["'blue'", "twice"]),
    (
        "address beside networks",
        {"instances": [instance("a", address="10.0.0.9", networks=["blue"])]},
        ["address", "networks"],
    ),
    (
        "one MAC for two NICs",
        {"networks": two_networks(), "instances": [instance("a", mac="fa:16:3e:00:00:01")]},
        ["mac", "blue", "green"],
    ),
    (
        "network of another project",
        {
            "networks": network(project="acme"),
            "projects": ["acme", "other"],
            "instances": [instance("a", network="blue") | {"project": "other"}],
        },
        ["'blue'", "'acme'", "'other'"],
    ),
    (
        "exhausted",
        {"networks": network(fixed_range="10.0.0.0/30"), "instances": [instance("a"), instance("b")]},
        ["'blue'", "10.0.0.0/30", "no free address", "'b'"],
    ),
    ("nothing declared", {"networks": None}, ["nova_fixed_range", "nova_networks"]),
    ("no bridge", {"settings": {"nova_flat_network_bridge": None}}, ["bridge", "nova_flat_network_bridge"]),
    (
        "unknown manager of the site",
        {"settings": {"nova_network_manager": "nova.network.Nobody"}},
        ["nova_network_manager", "Nobody"],
    ),
    ("lease too short", {"settings": {"nova_dhcp_lease_time": 5}}, ["nova_dhcp_lease_time", "5", "120"]),
    ("domain with a blank", {"settings": {"nova_dhcp_domain": "no va"}}, ["nova_dhcp_domain", "no va"]),
    ("server is a name", {"settings": {"nova_dns_server": ["dns"]}}, ["nova_dns_server[0]", "'dns'"]),
    ("servers no list", {"settings": {"nova_dns_server": "198.51.100.1"}}, ["nova_dns_server", "not a list"]),
    ("unknown network host", {"settings": {"nova_network_host": "net9"}}, ["nova_network_host", "'net9'"]),
    ("unknown node", {"hosts": {"h": {"nodes": ["tunnelling"]}}}, ["host h", "'tunnelling'"]),
    ("nobody serves", {"hosts": {"h": {"nodes": ["bridging"]}}}, ["addressing", "routing", "multi_host"]),
    ("server is no bridging node", {"hosts": {"h": {"nodes": ["addressing", "routing"]}}}, ["'h'", "bridging_nodes"]),
    (
        "no public interface",
        {"hosts": {"h": {"nodes": ["bridging", "addressing", "routing"]}}},
        ["'h'", "nova_public_interface"],
    ),
    (
        "interface in two bridges",
        {"networks": two_networks(), "instances": [instance("a")]},
        ["'eth1'", "'blue'", "'green'", "nova_bridge_interfaces"],
    ),
    (
        "source address no address",
        {"hosts": {"h": {"nova_routing_source_ip": "me"}}},
        ["host h", "nova_routing_source_ip", "'me'"],
    ),
]


@pytest.mark.parametrize(("changes", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_with_one_message_that_names_the_value(changes: dict[str, t.Any], named: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        plans(site(**changes))
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert [word for word in named if word not in message] == []


def test_host_bits_are_cleared_and_spellings_are_one() -> None:
    spelt = {"label": "blue", "fixed_range": "10.0.0.77/24", "bridge": "br100", "multi_host": "no", "mtu": "1450"}
    plain = {"label": "blue", "fixed_range": "10.0.0.0/24", "multi_host": False, "mtu": 1450}
    assert allocate(site(networks=[spelt])) == allocate(site(networks=[plain]))


def test_a_fixed_range_alone_is_one_network() -> None:
    declared = site(networks=None, settings={"nova_fixed_range": "10.0.0.0/24"})
    assert [(row.label, row.cidr) for row in allocate(declared).networks.values()] == [("nova", "10.0.0.0/24")]


def test_an_empty_list_of_networks_is_none_at_all() -> None:
    assert allocate(site(networks=[])).networks == {}


def test_novas_class_name_of_the_manager_is_understood() -> None:
    declared = site(settings={"nova_network_manager": "nova.network.manager.FlatDHCPManager"})
    assert allocate(declared).networks["blue"].manager == "flatdhcp"


@pytest.mark.parametrize("option", settings.SITE_OPTIONS)
def test_every_site_option_is_read(option: str) -> None:
    """An option that nobody reads would be refused as unknown, or a nonsensical value of it would pass."""
    with pytest.raises(InputError, match=option):
        declaration.parse({**site()["settings"], option: ["\n"]}, None, [], [], {})


def test_a_misspelt_variable_is_named_with_the_right_one() -> None:
    with pytest.raises(InputError, match="nova_flat_interfce.*nova_flat_interface"):
        settings.check_names(["inventory_hostname", "nova_flat_interfce"], "host h1")
    settings.check_names(["nova_flat_interface", "nova_password_of_somebody_else"], "host h1")
