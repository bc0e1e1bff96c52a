# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IPv6 floating IPs from the inventory to the internet: they lead to a guest, move to another one, and go.

The range is part of the prefix on the hosts' public wire, so nobody upstream needs a route to any of it.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t

import pytest
from nova_site import Site, Watch, snapshot, wait_for

#: By inventory: the back end of the packet filter, and the hosts.
SITES = {
    "single_network_host": ("nftables", ("net1", "compute1", "compute2")),
    "multi_host": ("iptables", ("compute1", "compute2", "compute3")),
}
RANGE_V6 = "fd00:0:0:1::/64"
#: The wire, who is on it, whom he speaks for, and the range.
WIRE, UPSTREAM, FAR_AWAY = "2001:db8:5::{}/64", "2001:db8:5::1", "2001:db8:ffff::1"
POOL, FLOATING = "2001:db8:5:0:f::/120", "2001:db8:5:0:f::7"
OPEN = [
    {"project": project, "name": "default", "rules": [{"protocol": "icmp"}, {"protocol": "tcp"}]}
    for project in ("acme", "umbrella")
]


class Deployment(t.NamedTuple):
    """`bare` is what the hosts had before they had a floating IP; `router` is the host that has that of an instance."""

    site: Site
    hosts: tuple[str, ...]
    guests: dict[str, t.Any]
    bare: dict[str, t.Any]
    router: dict[str, str]

    def associate(self, instance: str | None) -> None:
        """Let the floating IP lead to that instance alone by the next run."""
        rows = [
            {key: value for key, value in row.items() if key != "floating_ip"}
            for row in self.site.variables["nova_instances"]
        ]
        for row in rows:
            if row["name"] == instance:
                row["floating_ip"] = FLOATING
        self.site.change(nova_instances=rows, nova_floating_ranges=[POOL], nova_send_arp_for_ha=True)
        self.site.run()

    def found_on(self, command: str) -> list[str]:
        """The hosts that name the floating IP in what the command says."""
        said = {host: self.site.lab.host(host).run(["sh", "-c", command]).stdout for host in self.hosts}
        return [host for host, text in said.items() if FLOATING in text]

    def bound_on(self) -> list[str]:
        return self.found_on("ip -6 addr show dev eth2")

    def translated_on(self) -> list[str]:
        return self.found_on("ip6tables-save; nft list table ip6 nova-network || true")

    def answer(self) -> str:
        """The name of the guest that the internet gets to hear at the floating IP; empty where nobody answers."""
        client = f"TCP6:[{FLOATING}]:8081,bind=[{FAR_AWAY}],connect-timeout=3"
        return self.site.lab.host("internet").run(["socat", "-T3", "-", client], check=False).stdout.strip()

    def seen_as(self, name: str) -> str:
        """By what address the internet sees the guest; empty where it does not."""
        client = f"TCP6:[{FAR_AWAY}]:8080,connect-timeout=3"
        said = self.guests[name].run(["socat", "-T3", "-", client], check=False).stdout.strip()
        return str(ipaddress.ip_address(said.strip("[]"))) if said else ""

    def neighbour(self) -> str:
        """The MAC address that the internet holds for the floating IP."""
        found = self.site.lab.host("internet").run(["ip", "-json", "-6", "neigh", "show", FLOATING]).stdout
        return json.loads(found)[0]["lladdr"]

    def public_mac(self, instance: str) -> str:
        """That of the interface outwards of the host that serves the instance."""
        host = self.site.lab.host(self.router[instance])
        return json.loads(host.run(["ip", "-json", "link", "show", "eth2"]).stdout)[0]["address"]

    def looks(self) -> dict[str, t.Any]:
        """What each host has, but for tables without a rule, which iptables leaves where it had one."""
        found = {host: snapshot(self.site.lab, host) for host in self.hosts}
        for look in found.values():
            look["rules"] = sorted(line for line in look["rules"] if line.startswith(("-A ", ":nova")))
        return found


@pytest.fixture(scope="module", params=list(SITES))
def deployment(request: pytest.FixtureRequest, lab_factory, tmp_path_factory) -> Deployment:
    """The example inventory with IPv6, each guest saying its name at port 8081; web1 has the floating IP."""
    backend, hosts = SITES[request.param]
    site = Site(lab_factory(request.param), request.param, tmp_path_factory.mktemp(f"{request.param}-v6"))
    if "nova_networks" in site.variables:
        site.change(nova_networks=[{**row, "fixed_range_v6": RANGE_V6} for row in site.variables["nova_networks"]])
    else:
        site.change(nova_fixed_range_v6=RANGE_V6)
    site.change(nova_security_groups=OPEN, nova_packet_filter=backend)
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
    for number, name in enumerate(hosts, 11):
        host = site.lab.host(name)
        host.run(["ip", "addr", "add", WIRE.format(number), "dev", "eth2", "nodad"])
        host.run(["ip", "-6", "route", "add", "default", "via", UPSTREAM])
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    home = {row["name"]: host for host, plan in plans.items() for row in plan["instances"]}
    planned = {row["name"]: row["ports"][0]["address_v6"] for plan in plans.values() for row in plan["instances"]}
    shown = ["ip", "-6", "addr", "show", "-tentative"]
    for name, guest in guests.items():
        assert guest.dhcp()
        guest.run(["sh", "-c", f"socat TCP6-LISTEN:8081,fork,reuseaddr SYSTEM:'echo {name}' >/dev/null 2>&1 &"])
        assert wait_for(lambda guest=guest, name=name: planned[name] in guest.run(shown).stdout, 60)
    router = dict.fromkeys(home, "net1") if request.param == "single_network_host" else home
    made = Deployment(site, hosts, guests, {}, router)
    made.bare.update(made.looks())
    made.associate("web1")
    return made


def test_the_internet_reaches_the_guest(deployment: Deployment) -> None:
    assert deployment.answer() == "web1"
    assert deployment.bound_on() == deployment.translated_on() == [deployment.router["web1"]]


def test_the_guest_is_seen_by_it(deployment: Deployment) -> None:
    assert deployment.seen_as("web1") == FLOATING


def test_guests_of_its_network_reach_it(deployment: Deployment) -> None:
    for name, guest in deployment.guests.items():
        heard = guest.run(["socat", "-T3", "-", f"TCP6:[{FLOATING}]:8081,connect-timeout=3"], check=False).stdout
        assert heard == "web1\n", name


def test_a_second_run_does_nothing_at_all(deployment: Deployment) -> None:
    watches = [Watch(deployment.site.lab, host) for host in deployment.hosts]
    for watch in watches:
        watch.__enter__()
    result = deployment.site.run()
    for watch in watches:
        watch.__exit__()
    assert result.changed == 0
    for watch in watches:
        assert watch.events == ""
        assert watch.before == watch.after


def test_moved_to_another_instance_it_leads_there(deployment: Deployment) -> None:
    assert deployment.answer() == "web1"
    assert deployment.neighbour() == deployment.public_mac("web1")
    deployment.associate("web2")
    # Nobody has asked since: in multi_host the internet knows of the other host because it was told.
    assert deployment.neighbour() == deployment.public_mac("web2")
    assert deployment.answer() == "web2"
    assert deployment.seen_as("web2") == FLOATING
    assert deployment.seen_as("web1") != FLOATING
    assert deployment.bound_on() == deployment.translated_on() == [deployment.router["web2"]]


def test_without_it_the_hosts_are_as_they_were(deployment: Deployment) -> None:
    """The last test of a deployment."""
    deployment.associate(None)
    assert deployment.answer() == ""
    assert deployment.bound_on() == deployment.translated_on() == []
    assert deployment.looks() == deployment.bare
    assert deployment.site.run().changed == 0
