# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong in practice: killed runs, hosts that are off, two runs at once, declarations that cannot be."""

from __future__ import annotations

import os
import signal
import time

import pytest
from nova_site import Site, snapshot, wait_for

HOSTS = ("compute1", "compute2", "compute3")


@pytest.fixture
def site(lab_factory, tmp_path) -> Site:
    return Site(lab_factory("multi_host"), "multi_host", tmp_path)


def everything(site: Site) -> dict[str, object]:
    return {host: snapshot(site.lab, host) for host in HOSTS}


def kill(site: Site, started) -> None:
    """SIGKILL for the controller and for every module that it has running on the hosts."""
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    for host in HOSTS:
        # ansible's workers have sessions of their own; what they started on a host runs on to its end unless killed.
        site.lab.host(host).run(["sh", "-c", "pkill -9 -f '^/usr/bin/python3' || true"])


@pytest.mark.timeout(900)
def test_killed_at_any_point_and_run_again_it_ends_in_the_same_state(site: Site, lab_factory, tmp_path_factory) -> None:
    reference = Site(lab_factory("multi_host"), "multi_host", tmp_path_factory.mktemp("reference"))
    begun = time.monotonic()
    reference.run()
    length = time.monotonic() - begun
    expected, planned = everything(reference), reference.plans()
    moments = 12
    for moment in range(moments):
        started = site.start()
        time.sleep(length * (moment + 1) / (moments + 1))
        kill(site, started)
        if moment % 4 == 3:
            # Begin from nothing again, so that the first apply is cut at every place and not only its repetition.
            site.run()
            assert site.plans() == planned
            assert everything(site) == expected
            for host in HOSTS:
                site.lab.host(host).kill()
                site.lab.host(host).boot()
    site.run()
    assert everything(site) == expected
    assert site.run().changed == 0


def test_runs_at_once_end_as_one(site: Site) -> None:
    runs = [site.start() for _run in range(3)]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0]
    assert site.run().changed == 0


def test_a_run_on_some_hosts_alone_needs_the_controller(site: Site) -> None:
    refused = site.run("--limit", "compute1", check=False)
    assert "--limit 'compute1,localhost'" in " ".join(refused.stdout.split()).replace("''", "'")
    assert list(refused.recap) == ["compute1"] and refused.changed == 0
    done = site.run("--limit", "compute1,localhost")
    assert sorted(done.recap) == ["compute1", "localhost"] and done.changed > 0
    site.run()
    assert site.run("--limit", "compute1,localhost").changed == 0


def test_a_host_that_is_off_does_not_stop_the_others_and_has_its_turn_later(site: Site) -> None:
    site.lab.host("compute2").kill()
    result = site.run(check=False)
    assert result.recap["compute2"]["unreachable"] == 1
    for host in ("compute1", "compute3"):
        assert result.recap[host]["failed"] == result.recap[host]["unreachable"] == 0
        assert "br100" in [link[0] for link in snapshot(site.lab, host)["links"]]
    site.lab.host("compute2").boot()
    result = site.run()
    assert {host: result.recap[host]["changed"] for host in HOSTS} == {"compute1": 0, "compute2": 5, "compute3": 0}
    guest = site.boot_guests({"compute2": site.plans()["compute2"]})["web2"]
    assert guest.dhcp()["ip"] == "10.0.0.20"


def test_a_host_that_lost_power_gets_everything_back_by_a_run(site: Site) -> None:
    site.run()
    before = everything(site)
    site.lab.host("compute1").kill()
    site.lab.host("compute1").boot()
    site.run()
    assert everything(site) == before


BAD = {
    "a missing interface": (
        {
            "nova_flat_interface": "eth9",
            "nova_networks": None,
            "nova_fixed_range": "10.0.0.0/24",
            "nova_flat_network_bridge": "br100",
        },
        ["compute1", "eth9"],
    ),
    "the interface of the Ansible connection": (
        {
            "nova_flat_interface": "eth0",
            "nova_networks": None,
            "nova_fixed_range": "10.0.0.0/24",
            "nova_flat_network_bridge": "br100",
        },
        ["compute1", "eth0", "cut the host off"],
    ),
    "the public interface as that of a bridge": (
        {
            "nova_networks": [
                {"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100", "bridge_interface": "eth2"}
            ]
        },
        ["compute1", "eth2", "nova_public_interface"],
    ),
    "an interface with the host's own address": (
        {
            "nova_public_interface": "eth0",
            "nova_networks": [
                {"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100", "bridge_interface": "eth2"}
            ],
        },
        ["compute1", "eth2", "own address 203.0.113.11/24"],
    ),
    "a missing public interface": ({"nova_public_interface": "eth9"}, ["nova_public_interface", "eth9"]),
    "overlapping networks": (
        {
            "nova_networks": [
                {"label": "blue", "fixed_range": "10.0.0.0/22", "bridge": "br100"},
                {"label": "green", "fixed_range": "10.0.2.0/24", "bridge": "br101"},
            ]
        },
        ["10.0.2.0/24", "overlaps", "'blue'", "10.0.0.0/22"],
    ),
    "an unknown host": (
        {"nova_instances": [{"name": "web1", "project": "acme", "host": "compute9"}]},
        ["'compute9'", "no known host"],
    ),
    "a misspelt variable": ({"nova_instnces": []}, ["nova_instnces", "nova_instances"]),
}


@pytest.fixture(scope="module")
def untouched(lab_factory, tmp_path_factory) -> Site:
    return Site(lab_factory("multi_host"), "multi_host", tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize("what", list(BAD))
def test_bad_input_is_one_message_before_anything_is_written(untouched: Site, tmp_path, what: str) -> None:
    variables, named = BAD[what]
    site = Site(untouched.lab, "multi_host", tmp_path)
    before = everything(site)
    site.change(**variables)
    result = site.run(check=False)
    assert result.returncode != 0
    said = " ".join((result.stdout + result.stderr).split())
    assert [word for word in named if word not in said] == []
    assert "Traceback" not in said
    assert everything(site) == before
    assert not site.store.exists()


def test_a_foreign_bridge_of_that_name_is_refused_with_the_way_out(untouched: Site, tmp_path) -> None:
    site = Site(untouched.lab, "multi_host", tmp_path)
    at = site.lab.host("compute1")
    at.run(["ip", "link", "add", "br100", "type", "bridge"])
    try:
        result = site.run(check=False)
        assert result.returncode != 0
        assert "ip link set br100 alias tenantnet.nova" in " ".join(result.stdout.split())
        assert not site.store.exists()
    finally:
        at.run(["ip", "link", "del", "br100"])


def test_a_disk_that_is_full_leaves_the_running_server_alone(site: Site) -> None:
    site.run()
    at = site.lab.host("compute1")
    pid = at.run(["pgrep", "dnsmasq"]).stdout
    at.run(["sh", "-c", "head -c 1G /dev/zero >/var/fill 2>/dev/null; true"])
    more = [{"name": f"more{n}", "project": "acme", "host": "compute1"} for n in range(40)]
    site.change(nova_instances=[*site.variables["nova_instances"], *more])
    result = site.run(check=False)
    assert result.recap["compute1"]["failed"] == 1
    assert "No space left" in result.stdout + result.stderr
    assert wait_for(lambda: at.run(["pgrep", "dnsmasq"]).stdout == pid)
    at.run(["rm", "/var/fill"])
    site.run()
    assert "more39" in snapshot(site.lab, "compute1")["files"]
    assert site.run().changed == 0
