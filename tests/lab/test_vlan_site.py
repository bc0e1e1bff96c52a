# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VLAN and a network for each project, from the inventory to guests, beside networks of the other two managers."""

from __future__ import annotations

import os
import shutil
import typing as t

import pytest
from lab.lab import has_vlan
from nova_site import Site

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(
        os.geteuid() == 0 and not has_vlan() and not shutil.which("linux.uml"),
        reason="neither this kernel nor a guest kernel (linux.uml) has 802.1Q",
    ),
]

ETH_P_IP = 0x0800

#: Beside the inventory's own: a flat DHCP network that stays on its host, and a flat one on the operator's bridge.
OTHERS: dict[str, t.Any] = {
    "nova_projects": ["acme", "umbrella", {"name": "legacy", "network_manager": "flatdhcp"}, "ops"],
    "nova_networks": [
        {"label": "nova", "fixed_range": "10.0.0.0/8", "num_networks": 100},
        {"label": "old", "manager": "flatdhcp", "fixed_range": "192.168.7.0/24", "bridge": "br7"},
        {"label": "plain", "manager": "flat", "fixed_range": "192.168.8.0/24", "bridge": "br-ops"},
    ],
}


class Deployed(t.NamedTuple):
    site: Site
    plans: dict[str, t.Any]
    guests: dict[str, t.Any]
    leases: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory) -> Deployed:
    site = Site(lab_factory("vlan_site"), "vlan", tmp_path_factory.mktemp("vlan"))
    instances = [
        *site.variables["nova_instances"],
        {"name": "cobol1", "project": "legacy", "host": "net1"},
        {"name": "jump1", "project": "ops", "host": "net1", "network": "plain"},
    ]
    site.change(**OTHERS, nova_instances=instances)
    site.lab.host("net1").run(["sh", "-ec", "ip link add br-ops type bridge; ip link set br-ops up"])
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    by_dhcp = {name: guest.dhcp() for name, guest in guests.items() if name != "jump1"}
    return Deployed(site, plans, guests, by_dhcp)


def ports(plans: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {row["name"]: row["ports"][0] for plan in plans.values() for row in plan["instances"]}


def test_each_guest_gets_its_address_in_the_network_of_its_project(deployed: Deployed) -> None:
    planned = ports(deployed.plans)
    for name, lease in deployed.leases.items():
        address, _, prefix = planned[name]["address"].partition("/")
        assert (lease["ip"], lease["mask"], lease["router"]) == (address, prefix, planned[name]["gateway"])
    assert {name: port["vlan"] for name, port in planned.items()} == {
        "web1": 100,
        "db1": 100,
        "web2": 102,  # 101 is reserved
        "cobol1": None,
        "jump1": None,
    }
    # The first above the gateway and the VPN's; and the first of the group's own part, which is the highest whole one.
    assert planned["db1"]["address"] == "10.0.0.3/24"
    assert planned["web1"]["address"] == "10.0.0.192/24"
    assert planned["web2"]["address"] == "10.0.1.20/24"


def test_a_project_is_one_network_across_hosts_under_its_tag_alone(deployed: Deployed) -> None:
    lab = deployed.site.lab
    with lab.switch.capture("trunk") as capture:
        assert deployed.guests["db1"].ping(deployed.leases["web1"]["ip"])
        heard = [frame for frame in capture.frames(0.2) if frame.ethertype == ETH_P_IP]
    assert {frame.vlan for frame in heard} == {100}
    macs = {ports(deployed.plans)[name]["mac"] for name in ("db1", "web1")}
    assert {frame.source for frame in heard} == macs


def test_another_project_is_not_reached_by_its_neighbours_address(deployed: Deployed) -> None:
    """Even a guest that gives itself an address of the other project's range finds nobody there."""
    stranger = deployed.guests["web2"]
    stranger.run(["ip", "addr", "add", "10.0.0.9/24", "dev", "eth0"])
    try:
        assert not stranger.ping("10.0.0.3")
        assert stranger.ping("10.0.1.1")
    finally:
        stranger.run(["ip", "addr", "del", "10.0.0.9/24", "dev", "eth0"])


def test_guests_reach_the_internet(deployed: Deployed) -> None:
    for name in ("db1", "web2", "cobol1"):
        assert deployed.guests[name].ping("198.51.100.1")


def test_hosts_have_the_networks_of_their_guests_alone(deployed: Deployed) -> None:
    """Of the hundred networks, those that a project took; and the operator's bridge is as it was."""
    for host, bridges in (("net1", {"br100", "br102", "br7", "br-ops"}), ("compute1", {"br100", "br102"})):
        at = deployed.site.lab.host(host)
        found = at.run(["sh", "-c", "for d in /sys/class/net/*/bridge; do echo $d; done"]).stdout.split()
        assert {path.split("/")[4] for path in found} == bridges
    assert deployed.site.lab.host("net1").run(["cat", "/sys/class/net/br-ops/ifalias"]).stdout.strip() == ""


def test_the_second_run_finds_nothing_to_do(deployed: Deployed) -> None:
    result = deployed.site.run()
    assert result.changed == 0
