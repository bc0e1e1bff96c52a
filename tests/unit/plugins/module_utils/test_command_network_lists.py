# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `network`: what its lists show, of networks and of VPNs."""

from __future__ import annotations

import time
import typing as t

import a_record
import pytest
from a_network_command import UUID, listed, run, the, vpns
from a_record import fixed_ip, network
from a_store import content, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import Instance


def test_the_table_has_the_columns_of_nova(sqlite_url: str) -> None:
    run(sqlite_url, label="late", fixed_range="10.9.0.0/24", bridge="br9", dns1="192.0.2.53", uuid=UUID)
    keep(sqlite_url, a_record.state_of(*a_record.site(0).projects.values(), *content(sqlite_url).networks.values()))
    other = UUID.replace("0d", "1d")
    run(
        sqlite_url, label="early", manager="vlan", fixed_range="9.0.0.0/8", vlan=7, uuid=other, project="acme",
        fixed_range_v6="fd00::/64", dns2="192.0.2.54",
    )  # fmt: skip
    assert listed(sqlite_url)["table"] == [
        "label  IPv4         IPv6       start address  DNS1        DNS2        VlanID  project  uuid",
        f"early  9.0.0.0/8    fd00::/64  9.0.0.3        None        192.0.2.54  7       acme     {other}",
        f"late   10.9.0.0/24  None       10.9.0.2       192.0.2.53  None        None    None     {UUID}",
    ]


def test_nova_s_words_where_there_is_none(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    found = listed(sqlite_url, project="acme")
    assert (found["networks"], found["table"]) == ([], ["No networks found"])


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, ["blue", "violet", "red"]),
        ({"label": "red"}, ["red"]),
        ({"project": "acme"}, ["violet"]),
        ({"manager": "nova.network.manager.VlanManager"}, ["violet"]),
        ({"manager": "flatdhcp", "label": "red"}, ["red"]),
        ({"label": "pink"}, []),
    ],
)
def test_what_is_listed(options: dict[str, str], labels: list[str], sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0, _violet()))
    assert [row["label"] for row in listed(sqlite_url, **options)["networks"]] == labels


def test_an_unknown_manager_is_refused(sqlite_url: str) -> None:
    with pytest.raises(InputError, match="manager: 'quantum' is not a network manager; known: flat, flatdhcp, vlan"):
        listed(sqlite_url, manager="quantum")


def _violet() -> t.Any:
    """A VLAN network of acme, 10.0.1.0/24."""
    return network(
        "violet", "10.0.1.0/24", manager="vlan", vlan=7, bridge="br7", multi_host=False, project="acme",
        project_origin="command", vpn_private_address="10.0.1.2", vpn_public_port=1000, allowed_start="10.0.1.3",
    )  # fmt: skip


def test_addresses_are_counted_by_state(url: str) -> None:
    later = time.time() + 1000
    held = a_record.site(
        2,
        fixed_ip("10.0.0.5", instance="i0", leased=True),
        fixed_ip("10.1.0.5", instance="i0", reserved_by="inventory"),
        fixed_ip("10.0.0.6", instance="i1"),
        fixed_ip("10.1.0.6", instance="i1"),
        fixed_ip("10.0.0.7", host="h0"),
        fixed_ip("10.0.0.8", released_at=5.0),
        fixed_ip("10.0.0.9", released_at=5.0, quarantined_until=later),
        fixed_ip("10.0.0.10", released_at=5.0, quarantined_until=6.0),
        fixed_ip("10.0.0.11", reserved_by="command"),
        fixed_ip("10.0.0.12", reserved_by="command", released_at=5.0),
        fixed_ip("fd00::5", instance="i0"),
        fixed_ip("fd00::6", instance="i1"),
        fixed_ip("fd00::9", reserved_by="command"),
    )
    held.networks["blue"] = held.networks["blue"]._replace(cidr_v6="fd00::/64", gateway_v6="fd00::1")
    keep(url, held)
    blue, red = listed(url)["networks"]
    # Guests have 10.0.0.2 to 10.0.0.254, of which seven are not free.
    assert blue["addresses"] == {"free": 253 - 6, "allocated": 2, "leased": 1, "quarantined": 1, "reserved": 2}
    # All of the /64 but the network's own address and its gateway.
    assert blue["addresses_v6"] == {
        "free": 2**64 - 2 - 3, "allocated": 2, "leased": 0, "quarantined": 0, "reserved": 1
    }  # fmt: skip
    assert red["addresses"] == {"free": 2**16 - 3 - 2, "allocated": 2, "leased": 0, "quarantined": 0, "reserved": 0}
    assert red["addresses_v6"] is None
    assert listed(url, label="blue")["networks"] == [blue]


def test_a_gateway_among_the_guests_is_not_free(sqlite_url: str) -> None:
    run(sqlite_url, label="green", fixed_range="10.9.0.0/29", gateway="10.9.0.4")
    assert the(listed(sqlite_url))["addresses"]["free"] == 4  # 2, 3, 5 and 6


def test_a_large_network_is_counted_at_once(sqlite_url: str) -> None:
    run(sqlite_url, label="all", fixed_range="10.0.0.0/8", reserved=["10.0.0.5"])
    begin = time.monotonic()
    assert the(listed(sqlite_url))["addresses"]["free"] == 2**24 - 3 - 1
    assert time.monotonic() - begin < 2


def test_vpn_endpoints(sqlite_url: str) -> None:
    other = network(
        "rose", "10.0.2.0/24", manager="vlan", vlan=8, bridge="br8", multi_host=False, project="other", host="net1",
        project_origin="command", vpn_private_address="10.0.2.2", vpn_public_port=1001, allowed_start="10.0.2.3",
        vpn_public_address="192.0.2.7",
    )  # fmt: skip
    free = network(
        "free", "10.0.3.0/24", manager="vlan", vlan=9, bridge="br9", multi_host=False, vpn_private_address="10.0.3.2",
        vpn_public_port=1002, allowed_start="10.0.3.3",
    )  # fmt: skip
    held = a_record.site(
        0,
        _violet(),
        other,
        free,
        Instance("acme-vpn", "acme", "h1", "command"),
        a_record.vif("acme-vpn", "violet"),
        a_record.fixed_ip("10.0.1.3", instance="acme-vpn", leased=True)._replace(network="violet"),
        # On another network, so it is not that project's VPN.
        Instance("other-vpn", "acme", "h1", "command"),
        a_record.vif("other-vpn", "blue"),
        a_record.fixed_ip("10.0.0.9", instance="other-vpn"),
    )
    keep(sqlite_url, held)
    found = vpns(sqlite_url)
    assert found["vpns"] == [
        {
            "project": "acme", "network": "violet", "host": None, "vpn_public_address": None, "vpn_public_port": 1000,
            "vpn_private_address": "10.0.1.2", "instance": "acme-vpn", "instance_host": "h1", "state": "leased",
        },
        {
            "project": "other", "network": "rose", "host": "net1", "vpn_public_address": "192.0.2.7",
            "vpn_public_port": 1001, "vpn_private_address": "10.0.2.2", "instance": None, "instance_host": None,
            "state": None,
        },
    ]  # fmt: skip
    assert found["table"] == [
        "project  ip:port         private_ip  state",
        "acme     None:1000       10.0.1.2    acme-vpn on h1, leased",
        "other    192.0.2.7:1001  10.0.2.2    None",
    ]
    assert [vpn["project"] for vpn in vpns(sqlite_url, project="other")["vpns"]] == ["other"]
    of_site = vpns(sqlite_url, {"nova_vpn_ip": "198.51.100.1"})
    assert {vpn["vpn_public_address"] for vpn in of_site["vpns"]} == {"198.51.100.1"}


def test_a_site_without_vpns_has_the_headers_alone(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    assert vpns(sqlite_url)["table"] == ["project  ip:port  private_ip  state"]


def test_the_serving_host_stands_for_its_own_address(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0, _violet()._replace(host="net1")))
    assert vpns(sqlite_url)["table"][1].split() == ["acme", "net1:1000", "10.0.1.2", "None"]
