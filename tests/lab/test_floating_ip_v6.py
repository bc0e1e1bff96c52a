# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IPv6 floating IPs from the inventory to the internet: they lead to a guest, move to another one, and go.

The range is part of the prefix on the hosts' public wire, so nobody upstream needs a route to any of it.
"""

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from nova_floating import PORT, FloatingSite
from nova_site import NODES, Site, assert_a_run_does_nothing, snapshot

BACK_ENDS = {"single_network_host": "nftables", "multi_host": "iptables"}
RANGE_V6 = "fd00:0:0:1::/64"
#: The wire, who is on it, whom he speaks for, and the range.
WIRE, UPSTREAM, FAR_AWAY = "2001:db8:5::{}/64", "2001:db8:5::1", "2001:db8:ffff::1"
POOL, FLOATING = "2001:db8:5:0:f::/120", "2001:db8:5:0:f::7"


def seen_as(deployment: FloatingSite, name: str) -> str:
    """By what address the internet sees the guest; empty where it does not."""
    client = f"TCP6:[{FAR_AWAY}]:8080,connect-timeout=3"
    said = deployment.guests[name].run(["socat", "-T3", "-", client], check=False).stdout.strip()
    return str(ipaddress.ip_address(said.strip("[]"))) if said else ""


def looks(deployment: FloatingSite) -> dict[str, t.Any]:
    """What each host has, but for tables without a rule, which iptables leaves where it had one."""
    found = {host: snapshot(deployment.site.lab, host) for host in deployment.hosts}
    for look in found.values():
        look["rules"] = sorted(line for line in look["rules"] if line.startswith(("-A ", ":nova")))
    return found


@pytest.fixture(scope="module", params=list(NODES))
def deployment(request: pytest.FixtureRequest, lab_factory, tmp_path_factory) -> FloatingSite:
    """The example inventory with IPv6, each guest saying its name; web1 has the floating IP."""
    site = Site(lab_factory(request.param), request.param, tmp_path_factory.mktemp(f"{request.param}-v6"))
    site.add_ipv6(RANGE_V6)
    site.change(nova_packet_filter=BACK_ENDS[request.param])
    if request.param == "single_network_host":
        # The gateway of the others carries a guest itself, so the packets of its bridge are filtered.
        near = {"name": "near", "project": "acme", "host": "net1"}
        site.change(nova_instances=[*site.variables["nova_instances"], near])
    internet = site.lab.host("internet")
    internet.run(["ip", "addr", "add", f"{UPSTREAM}/64", "dev", "eth0", "nodad"])
    internet.run(["ip", "addr", "add", f"{FAR_AWAY}/128", "dev", "lo"])
    # An advertisement corrects what is known of a neighbour, and a run may take longer than that is kept.
    internet.run(["sysctl", "-qw", "net.ipv6.neigh.eth0.gc_stale_time=3600"])
    speak = f"socat TCP6-LISTEN:8080,bind=[{FAR_AWAY}],fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR' >/dev/null 2>&1 &"
    internet.run(["sh", "-c", speak])
    for number, name in enumerate(NODES[request.param], 11):
        host = site.lab.host(name)
        host.run(["ip", "addr", "add", WIRE.format(number), "dev", "eth2", "nodad"])
        host.run(["ip", "-6", "route", "add", "default", "via", UPSTREAM])
    made = FloatingSite(site, request.param, FLOATING, POOL, asked_from=FAR_AWAY)
    made.bare = looks(made)
    made.associate("web1")
    return made


def test_the_internet_reaches_the_guest(deployment: FloatingSite) -> None:
    assert deployment.answer() == "web1"
    assert deployment.leads_to("web1")


def test_the_guest_is_seen_by_it(deployment: FloatingSite) -> None:
    assert seen_as(deployment, "web1") == FLOATING


def test_guests_of_its_network_reach_it(deployment: FloatingSite) -> None:
    for name, guest in deployment.guests.items():
        asked = f"TCP6:[{FLOATING}]:{PORT},connect-timeout=3"
        assert guest.run(["socat", "-T3", "-", asked], check=False).stdout == "web1\n", name


def test_a_second_run_does_nothing_at_all(deployment: FloatingSite) -> None:
    assert_a_run_does_nothing(deployment.site, deployment.hosts)


def test_moved_to_another_instance_it_leads_there(deployment: FloatingSite) -> None:
    assert deployment.answer() == "web1"
    assert deployment.neighbour() == deployment.public_mac("web1")
    deployment.associate("web2")
    # Nobody has asked since: in multi_host the internet knows of the other host because it was told.
    assert deployment.neighbour() == deployment.public_mac("web2")
    assert deployment.answer() == "web2"
    assert seen_as(deployment, "web2") == FLOATING
    assert seen_as(deployment, "web1") != FLOATING
    assert deployment.leads_to("web2")


def test_without_it_the_hosts_are_as_they_were(deployment: FloatingSite) -> None:
    """The last test of a deployment."""
    deployment.associate(None)
    assert deployment.answer() == ""
    assert deployment.bound_on() == deployment.translated_on() == []
    assert looks(deployment) == deployment.bare
    assert deployment.site.run().changed == 0
