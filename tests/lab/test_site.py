# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job: from an inventory to guests with addresses, on real hosts, in both deployments."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import typing as t

import pytest
from lab.playbook import CHECKOUT
from nova_site import (
    NODES,
    Site,
    asked_metadata,
    assert_a_run_does_nothing,
    seen_sources,
    serve_metadata,
    snapshot,
    wait_for,
)

LEASES = CHECKOUT / "playbooks" / "leases.yml"
RANGE_V6 = "fd00:0:0:1::/64"


class Deployment(t.NamedTuple):
    name: str
    site: Site
    predicted: dict[str, t.Any]
    plans: dict[str, t.Any]
    guests: dict[str, t.Any]
    leases: dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=list(NODES))
def deployment(request: pytest.FixtureRequest, lab_factory, tmp_path_factory) -> Deployment:
    """The example inventory with a range of IPv6 beside the other, applied once, its guests booted."""
    site = Site(lab_factory(request.param), request.param, tmp_path_factory.mktemp(request.param))
    site.add_ipv6(RANGE_V6)
    site.change(nova_metadata_port=8775)
    for host in NODES[request.param]:
        serve_metadata(site.lab, host)
    predicted = site.plans()
    assert not site.store.exists(), "a printed plan leaves no store behind"
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    return Deployment(request.param, site, predicted, plans, guests, {name: g.dhcp() for name, g in guests.items()})


def ports(plans: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {row["name"]: row["ports"][0] for plan in plans.values() for row in plan["instances"]}


def test_a_reviewer_sees_the_very_plan_that_is_applied(deployment: Deployment) -> None:
    assert deployment.predicted == deployment.plans


def test_each_guest_gets_exactly_what_was_planned(deployment: Deployment) -> None:
    planned = ports(deployment.plans)
    assert set(planned) == {"web1", "web2", "db1"}
    for name, port in planned.items():
        lease = deployment.leases[name]
        address, _, prefix = port["address"].partition("/")
        assert (lease["ip"], lease["mask"]) == (address, prefix)
        assert lease["router"] == port["gateway"]
        assert lease["dns"] == lease["serverid"] == port["gateway"]
        assert (lease["mtu"], lease["hostname"], lease["domain"]) == ("1450", name, "novalocal")
    assert planned["web2"]["address"] == "10.0.0.20/24"
    assert planned["db1"]["mac"] == "fa:16:3e:00:00:10"


def test_each_guest_finds_its_ipv6_address_and_its_way_out(deployment: Deployment) -> None:
    """By advertisements alone; in multi_host from each host's own gateway, and whom that is the name server says."""
    planned = ports(deployment.plans)
    for name, guest in deployment.guests.items():

        def found(guest: t.Any = guest) -> list[str]:
            return guest.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"]).stdout.split()

        assert wait_for(lambda found=found, name=name: planned[name]["address_v6"] in found(), 60)
        assert guest.ping(planned[name]["gateway_v6"], wait=5)
    for one, other in (("web1", "web2"), ("db1", "web1")):
        assert deployment.guests[one].ping(planned[other]["address_v6"].partition("/")[0], wait=5)
    own = {planned[name]["gateway_v6"] for name in planned}
    assert len(own) == (1 if deployment.name == "single_network_host" else 3)


def test_a_host_that_only_carries_the_network_takes_no_part_in_its_ipv6(deployment: Deployment) -> None:
    for host in NODES[deployment.name]:
        serves = deployment.name == "multi_host" or host == "net1"
        seen = deployment.site.lab.host(host).run(["ip", "-6", "-o", "addr", "show", "dev", "br100"]).stdout
        assert ("scope global" in seen, "scope link" in seen) == (serves, serves)


def test_an_unknown_guest_gets_nothing(deployment: Deployment) -> None:
    host = deployment.site.lab.host("compute1")
    stranger = host.guest_add("stranger", "br100", "fa:16:3e:99:99:99")
    try:
        assert stranger.dhcp(tries=2) == {}
    finally:
        stranger.remove()


def test_guests_of_two_hosts_reach_each_other(deployment: Deployment) -> None:
    for one, other in (("web1", "web2"), ("db1", "web1")):
        assert deployment.guests[one].ping(deployment.leases[other]["ip"])


def test_guests_resolve_each_other_by_name(deployment: Deployment) -> None:
    for name, asked in (("web1", "web2"), ("web2", "db1")):
        server = deployment.leases[name]["dns"]
        said = deployment.guests[name].run(
            ["busybox", "nslookup", "-type=a", f"{asked}.novalocal", server], check=False
        )
        assert deployment.leases[asked]["ip"] in said.stdout


def test_guests_reach_the_internet_by_the_address_of_their_gateway_host(deployment: Deployment) -> None:
    site = deployment.site
    own = {host: spec.interfaces[2].address.partition("/")[0] for host, spec in site.lab.topology.hosts.items()}
    host_of = {row["name"]: host for host, plan in deployment.plans.items() for row in plan["instances"]}
    for name, guest in deployment.guests.items():
        assert guest.ping("198.51.100.1")
        with seen_sources(site.lab) as sources:
            guest.run(["socat", "-T2", "-", "TCP:198.51.100.1:8080,connect-timeout=3,retry=5,interval=0.2"])
            router = "net1" if deployment.name == "single_network_host" else host_of[name]
            assert sources() == [own[router]]


def test_the_metadata_service_of_its_router_is_told_who_asks(deployment: Deployment) -> None:
    host_of = {row["name"]: host for host, plan in deployment.plans.items() for row in plan["instances"]}
    for name, guest in deployment.guests.items():
        router = "net1" if deployment.name == "single_network_host" else host_of[name]
        assert asked_metadata(guest) == (router, deployment.leases[name]["ip"])


def test_a_second_run_does_nothing_at_all(deployment: Deployment) -> None:
    store = deployment.site.store.stat()
    watches = assert_a_run_does_nothing(deployment.site, NODES[deployment.name])
    assert all(watch.before["links"] for watch in watches)
    assert deployment.site.store.stat().st_mtime_ns == store.st_mtime_ns


def test_tasks_a_host_stay_few(deployment: Deployment) -> None:
    """At most eight that run on a host, whatever is declared; checking role arguments runs on the controller."""
    output = deployment.site.run().stdout
    for host in NODES[deployment.name]:
        tasks = [
            block.partition("]")[0]
            for block in output.split("TASK [")[1:]
            if f"ok: [{host}]" in block or f"changed: [{host}]" in block
        ]
        assert 0 < len([task for task in tasks if "Validating arguments" not in task]) <= 8


def test_what_the_hosts_have_leased_is_recorded_without_a_run(deployment: Deployment) -> None:
    site = deployment.site

    def leased() -> set[str]:
        with contextlib.closing(sqlite3.connect(site.store)) as store:
            return {row[0] for row in store.execute("SELECT address FROM fixed_ips WHERE leased")}

    assert leased() == set()
    recorded = site.lab.playbook(LEASES, *site.arguments())
    assert leased() == {lease["ip"] for lease in deployment.leases.values()}
    assert "leased=True" in recorded.stdout
    assert site.lab.playbook(LEASES, *site.arguments()).changed == 0
    assert site.run().changed == 0


def test_check_mode_predicts_a_change_and_makes_none(deployment: Deployment, tmp_path: pathlib.Path) -> None:
    site = deployment.site
    hosts = NODES[deployment.name]
    declared = site.variables["nova_instances"]
    site.change(nova_instances=[*declared, {"name": "web3", "project": "acme", "host": "compute1"}])
    before = {host: snapshot(site.lab, host) for host in hosts}
    predicted = site.plans()
    checked = site.run("--check", "--diff")
    assert checked.changed > 0
    assert ports(predicted)["web3"]["address"].partition("/")[0] in checked.stdout
    assert {host: snapshot(site.lab, host) for host in hosts} == before
    done = site.run()
    assert {host: row["changed"] for host, row in done.recap.items()} == {
        host: row["changed"] for host, row in checked.recap.items()
    }
    assert site.plans() == predicted

    port = ports(predicted)["web3"]
    guest = site.lab.host("compute1").guest_add("web3", port["bridge"], port["mac"], device=port["device"])
    assert guest.dhcp()["ip"] == port["address"].partition("/")[0]
    guest.remove()
    site.change(nova_instances=declared)
    site.run()


def test_a_removed_instance_is_gone_and_the_others_stay(deployment: Deployment) -> None:
    site = deployment.site
    declared = site.variables["nova_instances"]
    site.change(nova_instances=[row for row in declared if row["name"] != "web1"])
    pids = {host: site.lab.host(host).run(["pgrep", "dnsmasq"], check=False).stdout for host in NODES[deployment.name]}
    site.run()
    plans = site.plans()
    assert set(ports(plans)) == {"web2", "db1"}
    assert ports(plans)["db1"] == ports(deployment.plans)["db1"]
    assert deployment.guests["web1"].dhcp(tries=2) == {}
    for host in NODES[deployment.name]:
        # Only reservations changed: the servers were told, not restarted.
        assert site.lab.host(host).run(["pgrep", "dnsmasq"], check=False).stdout == pids[host]
    site.change(nova_instances=declared)
    site.run()
    # Given back and asked for again: a released address comes last.
    assert ports(site.plans())["web1"]["address"] != ports(deployment.plans)["web1"]["address"]


def test_drift_is_seen_and_repaired(deployment: Deployment) -> None:
    site = deployment.site
    host = "net1" if deployment.name == "single_network_host" else "compute2"
    before = snapshot(site.lab, host)
    at = site.lab.host(host)
    at.run(["sh", "-c", "ip addr flush dev br100 scope global; iptables -t nat -F nova-network-snat; pkill -9 dnsmasq"])
    checked = site.run("--check")
    assert checked.recap[host]["changed"] == 3
    assert site.run().recap[host]["changed"] == 3
    assert snapshot(site.lab, host) == before


def test_without_networks_the_hosts_are_as_before_the_first_run(deployment: Deployment) -> None:
    """The last test of a deployment: everything goes, and what is not ours is untouched."""
    site = deployment.site
    hosts = NODES[deployment.name]
    for host in hosts:
        site.lab.host(host).run(["sh", "-c", "iptables -A FORWARD -s 192.0.2.99 -j DROP; ip link add br7 type bridge"])
    site.change(nova_networks=[], nova_instances=[])
    site.run()
    for host in hosts:
        after = snapshot(site.lab, host)
        names = {link[0] for link in after["links"]}
        assert "br100" not in names
        assert "br7" in names
        assert [rule for rule in after["rules"] if "nova" in rule] == []
        assert "-A FORWARD -s 192.0.2.99/32 -j DROP" in after["rules"]
        assert (after["dnsmasq"], after["files"]) == ([], "")
    assert site.run().changed == 0
