"""dnsmasq under a true systemd: a host of the lab, this machine's own packages."""

from __future__ import annotations

import base64
import io
import json
import os
import pathlib
import sys
import tarfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from lab import Lab
from lab.cgroup import root as cgroup_root
from lab.topology import parse

PLAIN = {
    "name": "br100",
    "network": "blue",
    "interface": "br100",
    "listen_address": "10.0.0.1",
    "dhcp_start": "10.0.0.2",
    "netmask": "255.255.255.0",
    "lease_time": 3600,
    "lease_max": 256,
    "domain": "novalocal",
    "hosts": [{"mac": "fa:16:3e:00:00:0a", "hostname": "web1", "address": "10.0.0.3"}],
}
OTHER = {
    **PLAIN,
    "name": "br101",
    "interface": "br101",
    "listen_address": "10.0.1.1",
    "dhcp_start": "10.0.1.2",
    "hosts": [],
}
DUAL = {**PLAIN, "range_v6": "fd00::/64"}
UNITS = "tenantnet-dnsmasq@br100", "tenantnet-dnsmasq@br101"

SHIPPED = "/usr/local/lib/collections"

# Runs on the host: the driver, with every program it calls written down.
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import dnsmasq, programs
calls, run = [], programs.run
def noted(arguments, *more, **named):
    calls.append(" ".join(arguments[:3]))
    return run(arguments, *more, **named)
programs.run = noted
result, failed = dnsmasq.run(json.loads(sys.argv[2]), sys.argv[3] == "check")
print(json.dumps({**result, "failed": failed, "calls": calls}))
"""


@pytest.fixture(scope="module")
def machine():
    if os.geteuid():
        pytest.skip("the lab makes namespaces and needs root")
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    lab = Lab(f"test-dnsmasq-{os.getpid()}")
    try:
        lab.up(parse({"hosts": {"s1": "systemd"}}), owner=os.getpid())
        ship(lab.host("s1"))
        yield lab.host("s1")
    finally:
        lab.down()


def ship(host):
    """Take the collection's code to the host: the checkout may lie where hosts have folders of their own."""
    with io.BytesIO() as packed:
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(ROOT / "plugins" / "module_utils", "ansible_collections/tenantnet/nova/plugins/module_utils")
        text = base64.b64encode(packed.getvalue()).decode()
    host.run(["sh", "-c", f"mkdir -p {SHIPPED} && base64 -d | tar -xzC {SHIPPED}"], input=text)


@pytest.fixture
def host(machine):
    for name, address in (("br100", "10.0.0.1/24"), ("br101", "10.0.1.1/24")):
        machine.run(["ip", "link", "add", name, "type", "bridge"])
        machine.run(["ip", "address", "add", address, "dev", name])
        machine.run(["ip", "link", "set", name, "up"])
    yield machine
    run(machine)
    for name in ("br100", "br101"):
        machine.run(["ip", "link", "delete", name], check=False)


def run(host, *instances, mode="real"):
    plan = json.dumps({"instances": instances})
    answer = host.run(["python3", "-c", RUN, SHIPPED, plan, mode])
    return json.loads(answer.stdout)


def state(host, unit, what="is-active"):
    return host.run(["systemctl", what, unit], check=False).stdout.strip()


def main_pid(host, unit=UNITS[0]):
    return host.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()


def test_life_of_an_instance(host):
    assert run(host, PLAIN, OTHER, mode="check")["instances"] == {"br100": "started", "br101": "started"}
    result = run(host, PLAIN, OTHER)
    assert result["failed"] is None and result["instances"] == {"br100": "started", "br101": "started"}
    assert result["actions"][0] == "install the unit tenantnet-dnsmasq@.service"
    assert [state(host, unit) for unit in UNITS] == ["active"] * 2
    assert [state(host, unit, "is-enabled") for unit in UNITS] == ["enabled"] * 2
    pid = main_pid(host)
    assert pid == host.read("/run/tenantnet/dnsmasq/br100.pid").strip()

    again = run(host, PLAIN, OTHER)
    assert not again["changed"] and again["calls"] == []

    second = {"mac": "fa:16:3e:00:00:0b", "hostname": "web2", "address": "10.0.0.4"}
    more = {**PLAIN, "hosts": [*PLAIN["hosts"], second]}
    reloaded = run(host, more, OTHER)
    assert reloaded["instances"]["br100"] == "reloaded" and reloaded["calls"] == [] and main_pid(host) == pid

    restarted = run(host, {**more, "domain": "other"}, OTHER)
    assert restarted["instances"]["br100"] == "restarted" and main_pid(host) not in (pid, "0")
    assert not any("daemon-reload" in call for call in restarted["calls"])

    stopped = run(host, OTHER)
    assert stopped["instances"] == {"br100": "stopped", "br101": "unchanged"}
    assert [state(host, unit) for unit in UNITS] == ["inactive", "active"]
    assert state(host, UNITS[0], "is-enabled") == "disabled"
    assert not run(host, OTHER)["changed"]

    unit = "/etc/systemd/system/tenantnet-dnsmasq@.service"
    assert run(host)["actions"][-1] == "remove the unit tenantnet-dnsmasq@.service"
    assert host.run(["test", "-e", unit], check=False).returncode and not run(host)["changed"]


def test_systemd_starts_what_died_and_nothing_is_left_to_do(host):
    run(host, PLAIN)
    pid = main_pid(host)
    host.run(["kill", "-SEGV", pid])
    deadline = time.monotonic() + 20
    while main_pid(host) in (pid, "0") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert main_pid(host) not in (pid, "0")
    assert not run(host, PLAIN)["changed"]


def test_what_cannot_bind_is_said_in_its_own_words(host):
    bad = {**OTHER, "listen_address": "10.0.1.2"}
    result = run(host, PLAIN, bad)
    words = "br101: dnsmasq: failed to create listening socket for 10.0.1.2: Cannot assign requested address"
    assert words in result["failed"]
    assert state(host, UNITS[0]) == "active"
    host.run(["ip", "address", "add", "10.0.1.2/24", "dev", "br101"])
    assert run(host, PLAIN, bad)["failed"] is None
    assert not run(host, PLAIN, bad)["changed"]


def test_a_unit_that_systemd_has_not_read_is_read(host):
    run(host, PLAIN)
    host.write("/run/tenantnet/dnsmasq/unit-not-read", "")
    assert run(host, PLAIN)["actions"] == ["install the unit tenantnet-dnsmasq@.service"]
    assert not run(host, PLAIN)["changed"]


@pytest.mark.parametrize("wanted", [PLAIN, DUAL], ids=["ipv4", "both"])
def test_instances_come_back_after_a_boot_when_their_bridge_does(host, wanted):
    host.run(["ip", "address", "add", "fd00::1/64", "dev", "br100"])
    run(host, wanted)
    host.kill()
    host.boot()
    # dnsmasq with IPv6 would start without its bridge, but then its DHCP would never be bound to it.
    assert state(host, UNITS[0]) in ("activating", "failed")
    host.run(["ip", "link", "add", "br101", "type", "bridge"])
    host.run(
        ["ip", "-batch", "-"],
        input="link add br100 type bridge\naddress add 10.0.0.1/24 dev br100\naddress add fd00::1/64 dev br100\n",
    )
    host.run(["ip", "link", "set", "br100", "up"])
    deadline = time.monotonic() + 30
    while state(host, UNITS[0]) != "active" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state(host, UNITS[0]) == "active"
    assert not run(host, wanted)["changed"]
    assert "0.0.0.0%br100:67 " in host.run(["ss", "-Hlnu"]).stdout
