# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metadata in a flat network, from the inventory to a real HTTP server; net1 is the operator's router there."""

from __future__ import annotations

import json
import typing as t

import pytest
from lab.cgroup import root as cgroup_root
from lab.playbook import CHECKOUT
from lab.topology import parse
from nova_site import Site, asked_metadata, assert_a_run_does_nothing, serve_metadata, wait_for

HOSTS = ("compute1", "compute2")
CLEAN = CHECKOUT / "playbooks" / "clean.yml"
#: The service of each host, which is a routing node then, or one beyond the operator's router.
SERVICES: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "here": ({"nova_metadata_port": 8775}, [*HOSTS]),
    "elsewhere": ({"nova_metadata_host": "198.51.100.1"}, []),
}
BRIDGE = "ip link add br100 type bridge forward_delay 0; ip link set eth1 master br100 up; ip link set br100 up"
ROUTER = f"""
{BRIDGE}
ip addr add 10.0.0.1/24 dev br100; sysctl -qw net.ipv4.ip_forward=1
"""


class Deployment(t.NamedTuple):
    site: Site
    #: Who serves a guest, by its host.
    service: t.Callable[[str], str]
    guests: dict[str, t.Any]
    ports: dict[str, dict[str, t.Any]]
    host_of: dict[str, str]


WAYS = [("iptables", "here"), ("nftables", "elsewhere")]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def deployment(request, lab_factory, tmp_path_factory) -> Deployment:
    """In the first the bridges are the operator's, too."""
    back_end, way = request.param
    settings, routing = SERVICES[way]
    lab = lab_factory("single_network_host")
    site = Site(lab, "single_network_host", tmp_path_factory.mktemp(way), {"routing_nodes": routing})
    ours = request.param != WAYS[0]
    site.change(nova_network_manager="flat", nova_make_flat_bridge=ours, nova_packet_filter=back_end, **settings)
    for host in () if ours else HOSTS:
        lab.host(host).run(["sh", "-ec", BRIDGE])
    lab.host("net1").run(["sh", "-ec", ROUTER])
    outside = lab.topology.hosts["net1"].interfaces[2].address.partition("/")[0]
    lab.host("internet").run(["ip", "route", "add", "10.0.0.0/24", "via", outside])
    for host in (*HOSTS, "internet"):
        serve_metadata(lab, host)
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    ports = {row["name"]: row["ports"][0] for plan in plans.values() for row in plan["instances"]}
    for name, guest in guests.items():
        guest.run(["ip", "addr", "add", ports[name]["address"], "dev", "eth0"])
        guest.run(["ip", "route", "add", "default", "via", ports[name]["gateway"]])
    host_of = {row["name"]: host for host, plan in plans.items() for row in plan["instances"]}
    return Deployment(site, lambda host: host if way == "here" else "internet", guests, ports, host_of)


def test_the_metadata_service_is_told_who_asks(deployment: Deployment) -> None:
    assert set(deployment.guests) == {"web1", "web2", "db1"}
    for name, guest in deployment.guests.items():
        address = deployment.ports[name]["address"].partition("/")[0]
        assert asked_metadata(guest) == (deployment.service(deployment.host_of[name]), address)


def test_guests_reach_the_outside_and_each_other_as_before(deployment: Deployment) -> None:
    for guest in deployment.guests.values():
        assert guest.ping("198.51.100.1")
        for port in deployment.ports.values():
            assert guest.ping(port["address"].partition("/")[0])


def test_a_guest_cannot_ask_for_another_one(deployment: Deployment) -> None:
    """web2 and db1 are on one host and of two projects."""
    other = deployment.ports["web2"]["address"].partition("/")[0]
    guest = deployment.guests["db1"]
    guest.run(["ip", "addr", "add", f"{other}/32", "dev", "lo"])
    try:
        ask = ["socat", "-T2", "-", f"TCP:169.254.169.254:80,bind={other},connect-timeout=2"]
        done = guest.run(ask, check=False, input="GET / HTTP/1.0\r\n\r\n")
        assert done.returncode != 0 and "200" not in done.stdout
    finally:
        guest.run(["ip", "addr", "del", f"{other}/32", "dev", "lo"])


def test_a_second_run_does_nothing_at_all(deployment: Deployment) -> None:
    for guest in deployment.guests.values():
        asked_metadata(guest)
    assert_a_run_does_nothing(deployment.site, HOSTS)


LOSS = "nft delete table bridge nova-network-metadata; ip addr del 169.254.169.254/32 dev lo; ip rule del pref 16925"


def test_what_a_host_has_lost_is_seen_and_comes_back(deployment: Deployment) -> None:
    deployment.site.lab.host("compute2").run(["sh", "-c", LOSS], check=False)
    assert deployment.site.run("--check").changed > 0
    deployment.site.run()
    assert asked_metadata(deployment.guests["db1"])[0] == deployment.service("compute2")


def test_a_cleaned_host_has_nothing_left(deployment: Deployment) -> None:
    site = deployment.site
    site.lab.playbook(CLEAN, *site.arguments(), "-e", "clean_hosts=compute1:compute2", "-e", "force=true")
    for host in HOSTS:
        told = "ip addr; ip rule; ip route show table all; nft list ruleset"
        said = site.lab.host(host).run(["sh", "-c", told]).stdout
        assert "169.254.169.254" not in said and "16925" not in said


PLAN = {
    "networks": [],
    "flat_metadata": {
        "host": None,
        "port": 8775,
        "networks": [{"bridge": "br-ops", "cidr": "10.8.0.0/24", "ports": ["t1"]}],
    },
}
#: It takes whatever there is for its own, except the bridge, which our roles keep it away from.
NETWORKD = """
ip link add br-ops type bridge; ip link set br-ops up; ip rule add from 192.0.2.99 lookup 99
printf '[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\n' >/etc/systemd/network/50-all.network
printf '[Match]\nName=br-ops\n[Link]\nUnmanaged=yes\n' >/etc/systemd/network/00-bridge.network
"""


def test_systemd_networkd_leaves_the_way_of_answers_alone(lab_factory) -> None:
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    lab = lab_factory(parse({"hosts": {"node1": "systemd"}}))
    host = lab.host("node1")
    host.start_udev()
    host.run(["sh", "-ec", NETWORKD])
    lab.ansible("node1", "-m", "tenantnet.nova.packet_filter", "-a", json.dumps({"plan": PLAN}))

    def ways() -> str:
        return host.run(["sh", "-c", "ip -4 addr show lo; ip rule; ip route show table 16925"]).stdout

    before = ways()
    assert {"nova:metadata", "16925:", "10.8.0.0/24"} <= set(before.split()) and "192.0.2.99" in before
    host.run(["sh", "-ec", "udevadm trigger; udevadm settle; systemctl restart systemd-networkd"])
    # Of another one's rule nothing is left.
    assert wait_for(lambda: "192.0.2.99" not in ways(), 30)
    assert [line for line in before.splitlines() if "192.0.2.99" not in line] == ways().splitlines()
