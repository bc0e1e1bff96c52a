# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host joins a site of IPv6 that is at work: its card has been on the wire, and heard what is to be heard there."""

from __future__ import annotations

import json
import typing as t

import frames
import pytest
from lab.capture import Capture
from lab.guest import Guest
from nova_site import Site, wait_for

RANGE_V6 = "fd00:0:0:7::/64"


def eth1(host: t.Any) -> tuple[str | None, list[str], list[str]]:
    """Where it is plugged, its addresses, and ways out of the host over it."""
    (link,) = json.loads(host.run(["ip", "-json", "addr", "show", "eth1"]).stdout)
    routes = host.run(["ip", "-6", "-json", "route", "show", "dev", "eth1"]).stdout
    addresses = [row["local"] for row in link["addr_info"] if row["scope"] == "global"]
    return link.get("master"), addresses, [row["dst"] for row in json.loads(routes) if row["dst"] != "fe80::/64"]


@pytest.mark.timeout(600)
def test_what_its_card_heard_is_no_obstacle_and_does_not_stay(lab_factory, tmp_path) -> None:
    """In a network of one host, whose advertisements all hear that are to get them."""
    site = Site(lab_factory("single_network_host"), "single_network_host", tmp_path)
    late = give_the_last_host_one_guest(site)
    site.add_ipv6(RANGE_V6)
    joining = site.lab.host(late)
    site.run("--limit", f"localhost:all:!{late}")
    # Switched on, a host asks for routers.
    joining.kill()
    joining.boot()
    assert wait_for(lambda: {"default", RANGE_V6} <= set(eth1(joining)[2]), 60)
    master, addresses, _routes = eth1(joining)
    assert master is None and addresses

    site.run()
    assert eth1(joining) == ("br100", [], [])
    boot_its_guest(site, late)
    assert site.run().changed == 0


@pytest.mark.timeout(600)
def test_in_multi_host_it_hears_no_router_and_becomes_its_own_guests(lab_factory, tmp_path) -> None:
    """Each host's advertisements are for its own guests, and stay there. Of the site it and another host will do."""
    site = Site(lab_factory("multi_host"), "multi_host", tmp_path)
    late = give_the_last_host_one_guest(site)
    site.add_ipv6(RANGE_V6)
    joining = site.lab.host(late)
    site.run("--limit", "localhost:compute1")
    with site.lab.switch.capture("trunk") as trunk:
        joining.kill()
        joining.boot()
        assert any(kind == frames.ROUTER_SOLICIT for kind in kinds_of_icmpv6(trunk, 20))
        # It asks three times, some seconds apart, and is at the first run that long.
        site.run("--limit", f"localhost:compute1:{late}")
        assert frames.ROUTER_ADVERT not in set(kinds_of_icmpv6(trunk, 0))
    assert eth1(joining) == ("br100", [], [])
    guest, port = boot_its_guest(site, late)
    gateway = json.loads(guest.run(["ip", "-6", "-json", "route", "show", "default"]).stdout)[0]["gateway"]
    bridge = json.loads(joining.run(["ip", "-json", "addr", "show", "br100"]).stdout)[0]["addr_info"]
    assert {gateway, port["gateway_v6"]} <= {row["local"] for row in bridge}
    assert guest.ping(port["gateway_v6"], wait=5)


def give_the_last_host_one_guest(site: Site) -> str:
    late = list(site.lab.hosts)[-1]
    rows = [row for row in site.variables["nova_instances"] if row["host"] != late]
    site.change(nova_instances=[*rows, {"name": "late1", "project": "acme", "host": late}])
    return late


def boot_its_guest(site: Site, late: str) -> tuple[Guest, dict[str, t.Any]]:
    """The guest, which has its addresses of both versions then, and its port."""
    plan = json.loads(site.lab.host(late).read("/var/lib/tenantnet/plan.json"))
    guest = site.boot_guests({late: plan})["late1"]
    (port,) = plan["instances"][0]["ports"]
    assert f"{guest.dhcp()['ip']}/24" == port["address"]
    own = ["ip", "-6", "addr", "show", "dev", "eth0", "-tentative"]
    assert wait_for(lambda: port["address_v6"] in guest.run(own).stdout, 60)
    return guest, port


def kinds_of_icmpv6(wire: Capture, seconds: float) -> t.Iterator[int]:
    """Of what has passed, and passes until then."""
    for frame in wire.frames(seconds):
        if frame.ethertype == frames.IPV6 and frame.payload[6] == 58:
            yield frame.payload[40]
