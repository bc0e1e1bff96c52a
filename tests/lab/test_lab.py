# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts, guests and Ansible's way in: what the lab promises to the tests that stand on it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from lab import CommandFailed, HostOff, LabError, qemu
from lab.cgroup import root as cgroup_root
from lab.topology import parse
from lab_traces import NOVALAB, eventually, processes, traces


def bridge(host, name: str, *addresses: str) -> None:
    """A bridge over the host's trunk."""
    host.run(["ip", "link", "add", name, "up", "type", "bridge", "stp_state", "0", "forward_delay", "0"])
    host.run(["ip", "link", "set", "eth1", "master", name])
    for address in addresses:
        host.run(["ip", "addr", "add", address, "dev", name])


# -- hosts -----------------------------------------------------------------------------------------------------------


def test_hosts_are_apart(three_hosts):
    for name, host in three_hosts.hosts.items():
        host.run(["iptables", "-N", f"only-{name}"])
        host.run(["ip", "link", "add", f"only-{name}", "type", "bridge"])
        host.run(["sysctl", "-qw", f"net.ipv4.ip_default_ttl={name[1:]}0"])
        host.write("/etc/tenantnet/marker", name)
        host.run(["sh", "-c", f"sleep 60{name[1:]} </dev/null >/dev/null 2>&1 &"])
    for name, host in three_hosts.hosts.items():
        assert host.run(["hostname"]).stdout.strip() == name
        chains = [line for line in host.run(["iptables", "-S"]).stdout.splitlines() if line.startswith("-N")]
        assert chains == [f"-N only-{name}"]
        links = set(host.run(["ls", "/sys/class/net"]).stdout.split()) - {"bonding_masters"}
        assert links == {"lo", "eth0", "eth1", "eth2", f"only-{name}"}
        assert host.read("/etc/tenantnet/marker") == name
        sleepers = host.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout
        assert [n for n in "123" if f"sleep 60{n}" in sleepers] == [name[1:]]
        assert host.read("/proc/sys/net/ipv4/ip_default_ttl").strip() == f"{name[1:]}0"
    assert not pathlib.Path("/etc/tenantnet/marker").exists()
    assert not pathlib.Path("/sys/class/net/only-h1").exists()


def test_hosts_reach_each_other_and_the_internet(three_hosts):
    h1 = three_hosts.host("h1")
    assert h1.ping("192.0.2.12")
    assert h1.ping("203.0.113.13")
    assert h1.ping("198.51.100.1")
    assert not h1.ping("192.0.2.99", wait=1)
    assert three_hosts.host("internet").run(["hostname"]).stdout.strip() == "internet"


def test_machine_wide_settings_are_out_of_reach(three_hosts):
    with pytest.raises(CommandFailed, match=r"kernel\.panic"):
        three_hosts.host("h1").run(["sysctl", "-w", "kernel.panic=0"])


def test_a_pulled_cable(three_hosts):
    h1, h2 = three_hosts.host("h1"), three_hosts.host("h2")
    h1.cable("ext", plugged=False)
    assert h1.read("/sys/class/net/eth2/carrier").strip() == "0"
    assert not h2.ping("203.0.113.11", wait=1)
    h1.cable("ext", plugged=True)
    assert h2.ping("203.0.113.11", wait=5)
    with pytest.raises(LabError, match="no cable to 'wifi'"):
        h1.cable("wifi", plugged=False)


def test_power_loss_keeps_the_disk_and_nothing_else(lab_factory):
    h1 = lab_factory("all_in_one").host("h1")
    h1.write("/etc/tenantnet/file", "disk")
    h1.write("/run/file", "memory")
    h1.run(["iptables", "-N", "kernel-state"])
    h1.run(["ip", "link", "add", "br0", "type", "bridge"])
    h1.cable("trunk", plugged=False)
    h1.kill()
    assert not h1.is_on
    with pytest.raises(HostOff, match="h1 is powered off"):
        h1.run(["true"])
    h1.boot()
    assert h1.read("/etc/tenantnet/file") == "disk"
    assert h1.run(["test", "-e", "/run/file"], check=False).returncode == 1
    assert "kernel-state" not in h1.run(["iptables", "-S"]).stdout
    assert "br0" not in h1.run(["ls", "/sys/class/net"]).stdout.split()
    assert h1.read("/sys/class/net/eth1/carrier").strip() == "0", "a reboot has plugged the cable in"
    assert h1.ping("198.51.100.1")
    with pytest.raises(LabError, match="on already"):
        h1.boot()


def test_a_host_whose_first_process_was_killed_boots(lab_factory):
    h1 = lab_factory("all_in_one").host("h1")
    first = json.loads((h1.directory / "pid").read_text())[0]
    os.kill(first, 9)
    eventually(lambda: not h1.is_on)
    h1.boot()
    assert h1.ping("198.51.100.1")


def test_systemd_runs_units(lab_factory):
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    lab = lab_factory(parse({"hosts": {"s1": "systemd"}}))
    s1 = lab.host("s1")
    assert s1.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    s1.write(
        "/etc/systemd/system/probe.service", "[Service]\nExecStart=sleep 600\n[Install]\nWantedBy=multi-user.target\n"
    )
    s1.run(["systemctl", "enable", "--now", "probe"])
    assert s1.run(["systemctl", "is-active", "probe"]).stdout.strip() == "active"
    s1.kill()
    s1.boot()
    assert s1.run(["systemctl", "is-active", "probe"]).stdout.strip() == "active", "an enabled unit starts at boot"
    facts = lab.ansible("s1", "-m", "setup", "-a", "filter=ansible_service_mgr").stdout
    assert '"ansible_service_mgr": "systemd"' in facts or "ansible_service_mgr: systemd" in facts
    lab.down()
    assert traces(lab.name) == []


# -- guests ----------------------------------------------------------------------------------------------------------


def test_a_guest_gets_all_that_the_server_gives(lab_factory):
    lab = lab_factory("three_hosts")
    h1, h2 = lab.host("h1"), lab.host("h2")
    bridge(h1, "br100", "10.0.0.1/24")
    bridge(h2, "br100")
    h1.run(
        ["dnsmasq", "--conf-file=/dev/null", "--interface=br100", "--bind-interfaces", "--leasefile-ro", "--no-resolv"]
        + ["--pid-file=/run/dnsmasq.pid", "--dhcp-range=10.0.0.2,static,255.255.255.0,300", "--domain=novalocal"]
        + ["--dhcp-host=02:16:3e:00:00:05,web1,10.0.0.5", "--dhcp-option=26,1400"]
    )
    web1 = h2.guest_add("web1", "br100", "02:16:3e:00:00:05", device="tap1a2b3c4d-5e")
    assert h2.run(["cat", "/sys/class/net/tap1a2b3c4d-5e/brport/bridge/uevent"]).stdout.count("INTERFACE=br100") == 1
    given = web1.dhcp()
    expected = {
        "ip": "10.0.0.5",
        "mask": "24",
        "subnet": "255.255.255.0",
        "router": "10.0.0.1",
        "dns": "10.0.0.1",
        "domain": "novalocal",
        "mtu": "1400",
        "hostname": "web1",
        "lease": "300",
        "serverid": "10.0.0.1",
    }
    assert {key: given.get(key) for key in expected} == expected
    assert web1.ping("10.0.0.1")
    [eth0] = json.loads(web1.run(["ip", "-json", "addr", "show", "dev", "eth0"]).stdout)
    assert (eth0["mtu"], eth0["address"]) == (1400, "02:16:3e:00:00:05")
    assert "10.0.0.5" in web1.run(["getent", "hosts", "web1.novalocal"]).stdout, (
        "the guest asks the server that it was given"
    )

    stranger = h2.guest_add("stranger", "br100", "02:16:3e:00:00:06")
    assert stranger.dhcp(tries=2) == {}
    assert not stranger.ping("10.0.0.1", wait=1)


def test_guests_come_and_go(lab_factory):
    h1 = lab_factory("all_in_one").host("h1")
    with pytest.raises(CommandFailed, match="no bridge 'br0'"):
        h1.guest_add("a", "br0", "02:16:3e:00:00:01")
    bridge(h1, "br0")
    a = h1.guest_add("a", "br0", "02:16:3e:00:00:01")
    with pytest.raises(CommandFailed, match="a guest 'a' already"):
        h1.guest_add("a", "br0", "02:16:3e:00:00:02", device="tapb")
    with pytest.raises(CommandFailed, match="a device 'tapa' already"):
        h1.guest_add("b", "br0", "02:16:3e:00:00:02", device="tapa")
    assert a.run(["hostname"]).stdout.strip() == "a"
    a.remove()
    with pytest.raises(CommandFailed, match="no guest 'a'"):
        a.run(["true"])
    eventually(lambda: "tapa" not in h1.run(["ls", "/sys/class/net"]).stdout.split())
    h1.guest_add("a", "br0", "02:16:3e:00:00:01").run(["true"])


def test_a_guest_dies_with_its_host(lab_factory):
    h1 = lab_factory("all_in_one").host("h1")
    bridge(h1, "br0")
    guest = h1.guest_add("doomed", "br0", "02:16:3e:00:00:01")
    guest.run(["sh", "-c", "sleep 98765 </dev/null >/dev/null 2>&1 &"])
    assert [line for _pid, line in processes() if line.startswith("sleep 98765")]
    h1.kill()
    assert not [line for _pid, line in processes() if line.startswith("sleep 98765")]
    h1.boot()
    with pytest.raises(CommandFailed, match="no guest 'doomed'"):
        guest.run(["true"])


# -- Ansible ---------------------------------------------------------------------------------------------------------

BOOK = """
- hosts: net
  gather_facts: false
  tasks:
    - name: Write a file that is no text
      ansible.builtin.copy: {src: "{{ playbook_dir }}/bytes", dest: "/etc/tenantnet/it's bytes", mode: "0640"}
    - name: Bring it back
      ansible.builtin.fetch: {src: "/etc/tenantnet/it's bytes", dest: "{{ playbook_dir }}/back-", flat: false}
"""


def test_playbooks_reach_the_groups_of_the_topology(lab_factory, tmp_path):
    lab = lab_factory(parse({"hosts": {"h1": "native", "h2": "native"}, "groups": {"net": ["h2"]}}))
    lab.host("h2").run(["mkdir", "-p", "/etc/tenantnet"])
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "book.yml").write_text(BOOK)
    first = lab.playbook(tmp_path / "book.yml")
    assert list(first.recap) == ["h2"]
    assert first.recap["h2"]["changed"] == 2
    [back] = (path for path in tmp_path.glob("back-/**/*") if path.is_file())
    assert back.read_bytes() == (tmp_path / "bytes").read_bytes()
    assert lab.playbook(tmp_path / "book.yml").changed == 0


def test_a_host_that_is_off_is_unreachable(lab_factory):
    lab = lab_factory("three_hosts")
    lab.host("h2").kill()
    result = lab.ansible("all", "-m", "ping", check=False)
    assert result.unreachable == {"h2"}
    assert result.stdout.count("SUCCESS") == 2
    lab.host("h2").boot()
    assert not lab.ansible("h2", "-m", "ping").unreachable


def test_power_loss_in_the_middle_of_a_task_is_unreachable(lab_factory, tmp_path):
    lab = lab_factory("all_in_one")
    (tmp_path / "book.yml").write_text(
        "- hosts: h1\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.shell: touch /etc/tenantnet-started; sleep 60\n"
    )
    wait = "until [ -e /etc/tenantnet-started ]; do sleep 0.1; done"
    cut = f"{NOVALAB} exec -n {lab.name} h1 -- sh -c '{wait}' && {NOVALAB} kill -n {lab.name} h1"
    with subprocess.Popen(["sh", "-c", cut], stdin=subprocess.DEVNULL):
        result = lab.playbook(tmp_path / "book.yml", check=False)
    assert result.unreachable == {"h1"}


def test_a_kernel_that_is_not_there_is_named(lab_factory, monkeypatch, tmp_path):
    monkeypatch.setattr(qemu, "KERNEL", tmp_path)
    with pytest.raises(LabError, match="kind qemu needs"):
        lab_factory(parse({"hosts": {"h1": "qemu"}}))
