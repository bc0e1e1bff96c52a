# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host joins a site of IPv6 that is at work: its card has been on the wire, heard the network and took part in it."""

from __future__ import annotations

import json
import typing as t

import pytest
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
    """In a network of one host; in multi_host no host's advertisements pass its card."""
    site = Site(lab_factory("single_network_host"), "single_network_host", tmp_path)
    rows = site.variables["nova_instances"]
    late = list(site.lab.hosts)[-1]
    rows = [*(row for row in rows if row["host"] != late), {"name": "late1", "project": "acme", "host": late}]
    site.change(nova_fixed_range_v6=RANGE_V6, nova_instances=rows)
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
    plan = json.loads(joining.read("/var/lib/tenantnet/plan.json"))
    guests = site.boot_guests({late: plan})
    (port,) = plan["instances"][0]["ports"]
    assert f"{guests['late1'].dhcp()['ip']}/24" == port["address"]
    own = ["ip", "-6", "addr", "show", "dev", "eth0", "-tentative"]
    assert wait_for(lambda: port["address_v6"] in guests["late1"].run(own).stdout, 60)
    assert site.run().changed == 0
