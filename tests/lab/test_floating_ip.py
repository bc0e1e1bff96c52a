# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs from the inventory to the internet: they lead to a guest, move to another one, and go."""

from __future__ import annotations

import json
import typing as t

import pytest
from nova_site import Site, Watch, seen_sources, snapshot, wait_for

NODES = {"single_network_host": ("net1", "compute1", "compute2"), "multi_host": ("compute1", "compute2", "compute3")}
FLOATING = "203.0.113.77"
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
        self.site.change(nova_instances=rows, nova_floating_ranges=["203.0.113.64/27"], nova_send_arp_for_ha=True)
        self.site.run()

    def bound_on(self) -> list[str]:
        return [host for host in self.hosts if FLOATING in repr(snapshot(self.site.lab, host)["links"])]

    def translated_on(self) -> list[str]:
        return [host for host in self.hosts if FLOATING in repr(snapshot(self.site.lab, host)["rules"])]

    def answer(self) -> str:
        """The name of the guest that the internet gets to hear at the floating IP; empty where nobody answers."""
        client = ["socat", "-T2", "-", f"TCP:{FLOATING}:8081,connect-timeout=2"]
        return self.site.lab.host("internet").run(client, check=False).stdout.strip()

    def neighbour(self) -> str:
        """The MAC address that the internet holds for the floating IP."""
        (entry,) = json.loads(self.site.lab.host("internet").run(["ip", "-json", "neigh", "show", FLOATING]).stdout)
        return entry["lladdr"]

    def public_mac(self, instance: str) -> str:
        """That of the interface outwards of the host that serves the instance."""
        host = self.site.lab.host(self.router[instance])
        return json.loads(host.run(["ip", "-json", "link", "show", "eth2"]).stdout)[0]["address"]


@pytest.fixture(scope="module", params=list(NODES))
def deployment(request: pytest.FixtureRequest, lab_factory, tmp_path_factory) -> Deployment:
    """The example inventory, each guest saying its name at port 8081; web1 has the floating IP."""
    site = Site(lab_factory(request.param), request.param, tmp_path_factory.mktemp(request.param))
    site.change(nova_security_groups=OPEN)
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    for name, guest in guests.items():
        assert guest.dhcp()
        guest.run(["sh", "-c", f"socat TCP-LISTEN:8081,fork,reuseaddr SYSTEM:'echo {name}' >/dev/null 2>&1 &"])
    hosts = NODES[request.param]
    home = {row["name"]: host for host, plan in plans.items() for row in plan["instances"]}
    router = dict.fromkeys(home, "net1") if request.param == "single_network_host" else home
    made = Deployment(site, hosts, guests, {host: snapshot(site.lab, host) for host in hosts}, router)
    made.associate("web1")
    return made


def test_the_internet_reaches_the_guest(deployment: Deployment) -> None:
    assert deployment.answer() == "web1"
    assert deployment.bound_on() == deployment.translated_on() == [deployment.router["web1"]]


def test_the_guest_is_seen_by_it_and_the_others_are_not(deployment: Deployment) -> None:
    with seen_sources(deployment.site.lab) as sources:
        for name in ("web1", "web2"):
            deployment.guests[name].run(
                ["socat", "-T2", "-", "TCP:198.51.100.1:8080,connect-timeout=3,retry=5,interval=0.2"]
            )
        assert wait_for(lambda: len(sources()) == 2)
        assert sources()[0] == FLOATING != sources()[1]


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
    assert any(FLOATING in watch.after["rules"] and FLOATING in watch.after["links"] for watch in watches)


def test_moved_to_another_instance_it_leads_there(deployment: Deployment) -> None:
    assert deployment.answer() == "web1"
    assert deployment.neighbour() == deployment.public_mac("web1")
    deployment.associate("web2")
    # Nobody has asked since: in multi_host the internet knows of the other host because it was told. It would be
    # answered even so, for the old host passes on what still comes to it.
    assert deployment.neighbour() == deployment.public_mac("web2")
    assert deployment.answer() == "web2"
    assert deployment.bound_on() == deployment.translated_on() == [deployment.router["web2"]]


def test_it_follows_a_guest_that_migrates_and_nothing_breaks_off(deployment: Deployment) -> None:
    """web2 goes live to another host and keeps an open connection; a run lets the rest follow. Then it goes home."""
    if deployment.router["web1"] == deployment.router["web2"]:
        pytest.skip("one host has every floating IP, wherever the guests are")
    site, web2, peer = deployment.site, deployment.guests["web2"], deployment.guests["web1"]
    lab = site.lab
    home, before = next(
        (host, row["ports"][0])
        for host, plan in site.plans().items()
        for row in plan["instances"]
        if row["name"] == "web2"
    )
    target = [host for host in deployment.hosts if host != home][-1]
    peer.run(["sh", "-c", "socat TCP-LISTEN:9000,reuseaddr EXEC:cat >/dev/null 2>&1 &"])
    address = peer.run(["hostname", "-I"]).stdout.split()[0]
    talk = "while sleep 0.05; do echo more; done | socat - TCP:$1:9000,retry=5,interval=0.2 >/run/heard"
    talk = f"{{ {talk}; }} >/dev/null 2>&1 &"
    web2.run(["sh", "-c", talk, "sh", address])

    def heard() -> int:
        return web2.run(["cat", "/run/heard"]).stdout.count("more")

    def learned() -> str:
        """The port of the switch that the guest is behind."""
        found = lab.switch.run(["bridge", "-json", "fdb", "show", "br", "trunk"]).stdout
        return next((row["ifname"] for row in json.loads(found) if row["mac"] == before["mac"]), "")

    assert wait_for(lambda: heard() > 0)
    assert learned() == f"{home}-trunk"
    web2.migrate(lab.host(target), before["bridge"])
    assert learned() == f"{target}-trunk"
    so_far = heard()
    assert wait_for(lambda: heard() > so_far + 5)

    def lives_at(host: str) -> None:
        rows = [dict(row, host=host) if row["name"] == "web2" else row for row in site.variables["nova_instances"]]
        site.change(nova_instances=rows)

    lives_at(target)
    site.run()
    (after,) = (row["ports"][0] for row in site.plans()[target]["instances"] if row["name"] == "web2")
    assert {key for key in after if after[key] != before[key]} <= {"gateway", "gateway_v6"}
    (port,) = json.loads(lab.host(target).run(["ip", "-json", "link", "show", after["device"]]).stdout)
    assert port["master"] == after["bridge"]
    so_far = heard()
    assert wait_for(lambda: heard() > so_far + 5)
    assert web2.dhcp()["router"] == after["gateway"]
    routers = dict(deployment.router)
    if routers["web2"] == home:  # multi_host
        deployment.router["web2"] = target
    assert deployment.bound_on() == deployment.translated_on() == [deployment.router["web2"]]
    assert deployment.answer() == "web2"
    assert deployment.neighbour() == deployment.public_mac("web2")
    so_far = heard()
    assert wait_for(lambda: heard() > so_far + 5, 10)

    deployment.router.update(routers)
    web2.migrate(lab.host(home), before["bridge"], through=lab.host(target))
    lives_at(home)


def test_without_it_the_hosts_are_as_they_were(deployment: Deployment) -> None:
    """The last test of a deployment."""
    deployment.associate(None)
    assert deployment.answer() == ""
    assert deployment.bound_on() == deployment.translated_on() == []
    for host in deployment.hosts:
        assert snapshot(deployment.site.lab, host) == deployment.bare[host]
    assert deployment.site.run().changed == 0
