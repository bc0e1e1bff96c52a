# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts with several interfaces inwards and outwards: two wires of guests, and two outsides with a pool each."""

from __future__ import annotations

import json
import typing as t

import pytest
from lab.guest import Guest
from lab.topology import parse
from nova_site import Site, seen_sources

#: eth1 and eth3 lead to the wires of guests, eth2 to the internet and eth4 to an office.
TOPOLOGY = {
    "switches": {
        "mgmt": "192.0.2.0/24",
        "trunk": None,
        "ext": "203.0.113.0/24",
        "inner": None,
        "office": "10.99.0.0/24",
    },
    "hosts": {"net1": "native", "compute1": "native", "compute2": "native"},
}
FLOATING = {"web1": "203.0.113.70", "web2": "10.99.0.70"}

DECLARED: dict[str, t.Any] = {
    "nova_public_interface": None,
    "nova_routing_source_ip": "",
    "nova_networks": [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100", "bridge_interface": "eth1"},
        {"label": "red", "fixed_range": "10.1.0.0/24", "bridge": "br101", "bridge_interface": "eth3"},
    ],
    "nova_floating_ranges": [
        {"pool": "internet", "range": "203.0.113.64/27", "interface": "eth2"},
        {"pool": "office", "range": "10.99.0.64/27", "interface": "eth4"},
    ],
    "nova_security_groups": [
        {"project": "acme", "name": "default", "rules": [{"protocol": "tcp", "ports": 8081}, {"protocol": "icmp"}]}
    ],
    "nova_instances": [
        {"name": "web1", "project": "acme", "host": "compute1", "network": "blue", "floating_ip": FLOATING["web1"]},
        {"name": "web2", "project": "acme", "host": "compute1", "network": "red", "floating_ip": FLOATING["web2"]},
    ],
}


class Deployed(t.NamedTuple):
    site: Site
    guests: dict[str, Guest]


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    site = Site(lab_factory(parse(TOPOLOGY)), "single_network_host", tmp_path_factory.mktemp("interfaces"))
    site.change(**DECLARED)
    site.run()
    guests = site.boot_guests(site.plans())
    for name, guest in guests.items():
        assert guest.dhcp()
        guest.run(["sh", "-c", f"socat TCP-LISTEN:8081,fork,reuseaddr SYSTEM:'echo {name}' >/dev/null 2>&1 &"])
    return Deployed(site, guests)


def test_each_network_is_on_its_own_wire(deployed: Deployed) -> None:
    for host in ("net1", "compute1"):
        links = json.loads(deployed.site.lab.host(host).run(["ip", "-json", "link"]).stdout)
        masters = {link["ifname"]: link.get("master") for link in links}
        assert {name: masters[name] for name in ("eth0", "eth1", "eth2", "eth3", "eth4")} == {
            "eth0": None,
            "eth1": "br100",
            "eth2": None,
            "eth3": "br101",
            "eth4": None,
        }
    with deployed.site.lab.switch.capture("inner") as inner, deployed.site.lab.switch.capture("trunk") as trunk:
        assert deployed.guests["web1"].ping("10.0.0.1", wait=5)
        assert deployed.guests["web2"].ping("10.1.0.1", wait=5)
        ip = 0x0800
        on_trunk = {frame.source for frame in trunk.frames(0.2) if frame.ethertype == ip}
        on_inner = {frame.source for frame in inner.frames(0.2) if frame.ethertype == ip}
    own = {row["name"]: row["ports"][0]["mac"] for plan in deployed.site.plans().values() for row in plan["instances"]}
    assert own["web1"] in on_trunk
    assert own["web2"] in on_inner
    assert not on_trunk & on_inner


def test_each_pool_leads_in_and_out_by_its_own_interface(deployed: Deployed) -> None:
    lab = deployed.site.lab
    # The office knows net1's interface on its own wire alone.
    for client, name in (("internet", "web1"), ("compute2", "web2")):
        heard = lab.host(client).run(["socat", "-T2", "-", f"TCP:{FLOATING[name]}:8081,connect-timeout=3"])
        assert heard.stdout.strip() == name
    bound = lab.host("net1").run(["ip", "-o", "-4", "addr"]).stdout
    for name, interface in (("web1", "eth2"), ("web2", "eth4")):
        (line,) = [line for line in bound.splitlines() if f" {FLOATING[name]}/32 " in line]
        assert line.split()[1] == interface
    with seen_sources(lab) as sources:
        deployed.guests["web1"].run(
            ["socat", "-T2", "-", "TCP:198.51.100.1:8080,connect-timeout=3,retry=5,interval=0.2"]
        )
        assert sources() == [FLOATING["web1"]]


def test_a_second_run_changes_nothing(deployed: Deployed) -> None:
    assert deployed.site.run().changed == 0
