# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances' ports on a host with a real udev: guests that come before the run, after it, and again."""

from __future__ import annotations

import json
import typing as t

import pytest
from lab.guest import Guest
from lab.host import Host
from nova_site import Site, wait_for


class Deployed(t.NamedTuple):
    site: Site
    host: Host
    #: The first of each instance, and the second of db1.
    ports: dict[str, dict[str, t.Any]]
    second: dict[str, t.Any]

    def start(self, name: str) -> Guest:
        """The guest with its first NIC, whose device nobody plugs but the host."""
        port = self.ports[name]
        return self.host.guest_add(name, None, port["mac"], device=port["device"])

    def look(self, name: str) -> tuple[t.Any, ...]:
        """Bridge, up, MTU, MAC address, hairpin mode, mark."""
        device = self.ports[name]["device"]
        link = json.loads(self.host.run(["ip", "-json", "-details", "link", "show", device]).stdout)[0]
        hairpin = link["linkinfo"].get("info_slave_data", {}).get("hairpin")
        return link.get("master"), "UP" in link["flags"], link["mtu"], link["address"], hairpin, link.get("ifalias")

    def planned(self, name: str) -> tuple[t.Any, ...]:
        port = self.ports[name]
        mac = "fe" + port["mac"][2:]
        return port["bridge"], True, port["mtu"], mac, True, f"tenantnet.nova port={port['bridge']}"


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory) -> Deployed:
    """An all-in-one host that has run once; web1 was there before, on a host where udev did not run yet."""
    site = Site(lab_factory("node"), "all_in_one", tmp_path_factory.mktemp("ports"))
    site.change(nova_network_device_mtu=1400)
    plans = site.plans()
    ports = {row["name"]: row["ports"] for row in plans["node1"]["instances"]}
    first = {name: found[0] for name, found in ports.items()}
    made = Deployed(site, site.lab.host("node1"), first, ports["db1"][1])
    made.start("web1")
    site.run()
    return made


def test_a_guest_from_before_the_run_is_plugged_by_it(deployed: Deployed) -> None:
    assert deployed.look("web1") == deployed.planned("web1")
    assert deployed.host.guest("web1").dhcp()["ip"] == deployed.ports["web1"]["address"].partition("/")[0]


def test_a_guest_after_the_run_is_plugged_by_udev(deployed: Deployed) -> None:
    deployed.host.start_udev()
    guest = deployed.start("db1")
    assert wait_for(lambda: deployed.look("db1") == deployed.planned("db1"), 20)
    assert guest.dhcp()["ip"] == deployed.ports["db1"]["address"].partition("/")[0]
    assert deployed.host.guest("web1").ping(deployed.ports["db1"]["address"].partition("/")[0])


def test_a_guest_that_comes_again_is_plugged_again_and_a_stranger_is_not(deployed: Deployed) -> None:
    deployed.host.guest("web1").remove()
    deployed.host.guest_add("stranger", None, "fa:16:3e:99:99:99", device="tap-stranger")
    deployed.start("web1")
    assert wait_for(lambda: deployed.look("web1") == deployed.planned("web1"), 20)
    assert "master" not in deployed.host.run(["ip", "link", "show", "tap-stranger"]).stdout


def test_a_removal_unplugs_and_a_tap_is_there_before_its_guest(deployed: Deployed) -> None:
    """The last test: udev is told too, and no longer plugs what is not planned."""
    deployed.site.change(
        nova_instances=[row for row in deployed.site.variables["nova_instances"] if row["name"] != "web1"],
        nova_persistent_taps=True,
    )
    assert deployed.site.run().changed > 0
    assert deployed.look("web1")[0] is deployed.look("web1")[-1] is None
    assert deployed.look("db1") == deployed.planned("db1")
    deployed.host.guest("web1").remove()
    deployed.start("web1")
    deployed.host.run(["udevadm", "settle"])
    assert deployed.look("web1")[0] is None
    # A tap for the NIC that no guest has brought yet, and udev, which heard of it too, left its mark.
    deployed.ports["db1"] = deployed.second
    mark = f"tenantnet.nova tap={deployed.second['bridge']}"
    assert deployed.look("db1") == (*deployed.planned("db1")[:-1], mark)
