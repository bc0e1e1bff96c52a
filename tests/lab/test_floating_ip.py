# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs from the inventory to the internet: they lead to a guest, move to another one, and go."""

from __future__ import annotations

import json

import pytest
from nova_floating import FloatingSite
from nova_site import NODES, Site, assert_a_run_does_nothing, seen_sources, snapshot, wait_for

FLOATING = "203.0.113.77"


@pytest.fixture(scope="module", params=list(NODES))
def deployment(request: pytest.FixtureRequest, lab_factory, tmp_path_factory) -> FloatingSite:
    """The example inventory, each guest saying its name; web1 has the floating IP."""
    site = Site(lab_factory(request.param), request.param, tmp_path_factory.mktemp(request.param))
    made = FloatingSite(site, request.param, FLOATING, "203.0.113.64/27")
    made.bare = {host: snapshot(site.lab, host) for host in made.hosts}
    made.associate("web1")
    return made


def test_the_internet_reaches_the_guest(deployment: FloatingSite) -> None:
    assert deployment.answer() == "web1"
    assert deployment.leads_to("web1")


def test_the_guest_is_seen_by_it_and_the_others_are_not(deployment: FloatingSite) -> None:
    with seen_sources(deployment.site.lab) as sources:
        for name in ("web1", "web2"):
            deployment.guests[name].run(
                ["socat", "-T2", "-", "TCP:198.51.100.1:8080,connect-timeout=3,retry=5,interval=0.2"]
            )
        assert wait_for(lambda: len(sources()) == 2)
        assert sources()[0] == FLOATING != sources()[1]


def test_a_second_run_does_nothing_at_all(deployment: FloatingSite) -> None:
    watches = assert_a_run_does_nothing(deployment.site, deployment.hosts)
    assert any(FLOATING in watch.after["rules"] and FLOATING in watch.after["links"] for watch in watches)


def test_moved_to_another_instance_it_leads_there(deployment: FloatingSite) -> None:
    assert deployment.answer() == "web1"
    assert deployment.neighbour() == deployment.public_mac("web1")
    deployment.associate("web2")
    # Nobody has asked since: in multi_host the internet knows of the other host because it was told. It would be
    # answered even so, for the old host passes on what still comes to it.
    assert deployment.neighbour() == deployment.public_mac("web2")
    assert deployment.answer() == "web2"
    assert deployment.leads_to("web2")


def test_it_follows_a_guest_that_migrates_and_nothing_breaks_off(deployment: FloatingSite) -> None:
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
    assert deployment.leads_to("web2")
    assert deployment.answer() == "web2"
    assert deployment.neighbour() == deployment.public_mac("web2")
    so_far = heard()
    assert wait_for(lambda: heard() > so_far + 5, 10)

    deployment.router.update(routers)
    web2.migrate(lab.host(home), before["bridge"], through=lab.host(target))
    lives_at(home)


def test_without_it_the_hosts_are_as_they_were(deployment: FloatingSite) -> None:
    """The last test of a deployment."""
    deployment.associate(None)
    assert deployment.answer() == ""
    assert deployment.bound_on() == deployment.translated_on() == []
    for host in deployment.hosts:
        assert snapshot(deployment.site.lab, host) == deployment.bare[host]
    assert deployment.site.run().changed == 0
