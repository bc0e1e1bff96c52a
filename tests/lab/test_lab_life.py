# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labs as wholes: several at once, crashes, owners that end, and the command line."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from lab import Lab, LabError, reap
from lab.topology import parse
from lab_traces import NOVALAB, eventually, traces


def test_two_labs_with_equal_addresses(lab_factory):
    one, two = lab_factory("all_in_one"), lab_factory("all_in_one")
    for lab in (one, two):
        lab.host("h1").write("/etc/tenantnet/lab", lab.name)
        assert lab.host("h1").ping("203.0.113.1")
    assert one.host("h1").read("/etc/tenantnet/lab") == one.name
    one.down()
    assert traces(one.name) == []
    assert two.host("h1").ping("203.0.113.1")
    assert two.host("h1").read("/etc/tenantnet/lab") == two.name


@pytest.mark.parametrize("milestone", ["lab.json", "switch/pid", "h1/disk/upper", "h1/pid", "h3/pid"])
def test_a_crash_while_building_blocks_nothing(lab_factory, milestone):
    name = f"crash-{os.getpid()}"
    builder = subprocess.Popen([NOVALAB, "up", "-n", name, "three_hosts"], stdout=subprocess.DEVNULL)
    try:
        eventually((Lab(name).directory / milestone).exists)
    finally:
        builder.kill()
        builder.wait()
    assert traces(name)
    lab = lab_factory("three_hosts", name)
    assert lab.host("h3").ping("192.0.2.11")
    lab.down()
    assert traces(name) == []
    lab.down()


@pytest.mark.parametrize("damage", ["lab.json", "switch/pid", "h1/pid"])
def test_down_needs_no_record(lab_factory, damage):
    lab = lab_factory("all_in_one")
    (lab.directory / damage).write_text("")
    lab.down()
    assert traces(lab.name) == []


def test_a_lab_that_is_up_is_not_built_over(three_hosts):
    assert three_hosts.state == "up"
    with pytest.raises(LabError, match="is up already"):
        Lab(three_hosts.name).up("three_hosts")
    assert three_hosts.host("h1").run(["hostname"]).stdout.strip() == "h1"


def test_a_lab_without_its_owner_is_reaped(three_hosts):
    name = f"orphan-{os.getpid()}"
    owner = subprocess.Popen(["sleep", "600"])
    try:
        with Lab(name).up("all_in_one", owner=owner.pid) as lab:
            assert name not in reap()
            assert lab.state == "up"
            owner.kill()
            owner.wait()
            assert lab.state == "leftover"
            assert name in reap()
            assert traces(name) == []
    finally:
        owner.kill()
    assert three_hosts.state == "up", "a lab whose owner lives has been reaped"


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        (None, "a topology is a mapping"),
        ({}, "hosts is empty"),
        ({"hosts": ["h1"]}, "hosts is list"),
        ({"host": {"h1": "native"}}, "unknown key 'host'"),
        ({"hosts": {"h1": "docker"}}, "the kind 'docker'"),
        ({"hosts": {"a-long-hostname": "native"}}, "no longer than 9"),
        ({"hosts": {"switch": "native"}}, "the lab's own"),
        ({"hosts": {"h1": "native"}, "groups": {"all_of_them": ["h2"]}}, "'h2', which is no host"),
        ({"hosts": {"h1": "native"}, "switches": {"mgmt": "192.0.2.1/24"}}, "switch 'mgmt'"),
        ({"hosts": {"h1": "native"}, "internet": "trunk"}, "'trunk', which is no switch with addresses"),
    ],
)
def test_a_wrong_topology_is_refused_with_the_reason(description, problem):
    with pytest.raises(LabError, match=problem):
        parse(description)


# -- the command line ------------------------------------------------------------------------------------------------


def novalab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NOVALAB, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_the_command_line_does_the_same():
    name = f"cli-{os.getpid()}"
    in_lab = ("-n", name)
    try:
        assert novalab("up", *in_lab, "--owner", str(os.getpid()), "three_hosts").returncode == 0
        assert f"{name}: up" in novalab("list").stdout
        assert novalab("exec", *in_lab, "h1", "--", "hostname").stdout == "h1\n"
        assert novalab("exec", *in_lab, "h1", "--", "sh", "-c", "exit 7").returncode == 7
        assert novalab("exec", *in_lab, "h1", "--", "ip", "link", "add", "br0", "up", "type", "bridge").returncode == 0
        add = ("guest", "add", *in_lab, "h1", "g", "--bridge", "br0", "--mac", "02:16:3e:00:00:01")
        assert novalab(*add, "--device", "tapg").returncode == 0
        assert (
            novalab("exec", *in_lab, "h1/g", "--", "cat", "/sys/class/net/eth0/address").stdout == "02:16:3e:00:00:01\n"
        )
        assert novalab("guest", "rm", *in_lab, "h1", "g").returncode == 0
        assert novalab("cable", *in_lab, "h1", "trunk", "down").returncode == 0
        assert novalab("kill", *in_lab, "h2").returncode == 0
        assert novalab("exec", *in_lab, "h2", "--", "true").stderr == "novalab: host h2 is powered off\n"
        assert novalab("boot", *in_lab, "h2").returncode == 0
        inventory = json.loads(novalab("inventory", *in_lab).stdout)
        assert inventory["all"]["hosts"]["h2"]["ansible_host"] == "192.0.2.12"
    finally:
        assert novalab("down", *in_lab).returncode == 0
    assert traces(name) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "-n", "no such name", "three_hosts"),
        ("up", "-n", "nope", "no_such_topology"),
        ("up", "-n", "nope", "--owner", "999999999", "three_hosts"),
        ("inventory", "-n", "nope"),
        ("exec", "-n", "nope", "h1", "--", "true"),
        ("kill", "-n", "nope", "h1"),
        ("boot", "-n", "nope", "h1"),
        ("cable", "-n", "nope", "h1", "trunk", "down"),
        ("guest", "rm", "-n", "nope", "h1", "g"),
    ],
)
def test_an_error_is_one_line(arguments):
    done = novalab(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("novalab: ")
    assert done.stderr.count("\n") == 1


def test_environment_for_a_shell():
    script = f'eval "$({NOVALAB} env)" && echo "$ANSIBLE_CONNECTION_PLUGINS"'
    folder = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert (pathlib.Path(folder) / "novalab.py").is_file()
