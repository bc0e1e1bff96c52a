# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts with 802.1Q: under this machine's own kernel where it has it, else in kernels that they bring."""

from __future__ import annotations

import os
import shutil

import pytest
from lab.lab import has_vlan

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(
        os.geteuid() == 0 and not has_vlan() and not shutil.which("linux.uml"),
        reason="neither this kernel nor a guest kernel (linux.uml) has 802.1Q",
    ),
]

ETH_P_IP = 0x0800


@pytest.fixture(scope="module")
def lab(lab_factory):
    return lab_factory("vlan")


def plug(host, tag: int | None, address: str) -> None:
    """Give the host one address on the trunk, under a tag or under none; nothing else of it stays there."""
    device = f"vlan{tag}" if tag else "eth1"
    tagged = f"ip link add link eth1 name {device} type vlan id {tag}; ip link set {device} up;" if tag else ""
    script = (
        "for link in $(ls /sys/class/net); do case $link in vlan*) ip link del $link;; esac; done;"
        f"ip -4 addr flush dev eth1; {tagged} ip addr add {address}/24 dev {device}; ip neigh flush all"
    )
    host.run(["sh", "-ec", script])


def test_a_tag_is_on_the_trunk(lab):
    h1, h2 = lab.host("h1"), lab.host("h2")
    plug(h1, 100, "10.100.0.1")
    plug(h2, 100, "10.100.0.2")
    with lab.switch.capture("trunk") as capture:
        assert h1.ping("10.100.0.2", wait=10)
        heard = [frame for frame in capture.frames(0.2) if frame.ethertype == ETH_P_IP]
    macs = {next(i.mac for i in host.spec.interfaces if i.switch == "trunk") for host in (h1, h2)}
    assert {frame.source for frame in heard} == macs
    assert {frame.vlan for frame in heard} == {100}


def test_a_tag_is_heard_under_that_tag_alone(lab):
    h1, h2 = lab.host("h1"), lab.host("h2")
    answers = {}
    for tag, wait in ((101, 2), (None, 2), (100, 10)):
        plug(h2, tag, "10.100.0.2")
        plug(h1, 100, "10.100.0.1")  # anew, since a neighbour that did not answer is asked again only after a second
        answers[tag] = h1.ping("10.100.0.2", wait)
    assert answers == {101: False, None: False, 100: True}


def test_power_loss_takes_the_tagged_interface_and_leaves_the_disk(lab):
    h1 = lab.host("h1")
    plug(h1, 100, "10.100.0.1")
    h1.write("/etc/tenantnet/note", "kept")
    h1.kill()
    assert "h1" in lab.ansible("all", "-m", "ping", check=False).unreachable
    h1.boot()
    assert "vlan100" not in h1.run(["ls", "/sys/class/net"]).stdout.split()
    assert h1.read("/etc/tenantnet/note") == "kept"
    assert h1.ping("192.0.2.12", wait=10)


def test_a_guest_on_a_tagged_bridge_gets_a_lease(lab):
    h1, h2 = lab.host("h1"), lab.host("h2")
    bridge = (
        "ip link add br200 type bridge; ip link add link eth1 name vlan200 type vlan id 200;"
        "ip link set vlan200 master br200 up; ip link set eth1 up; ip link set br200 up"
    )
    for host in (h1, h2):
        host.run(["sh", "-ec", bridge])
    h1.run(["ip", "addr", "add", "10.200.0.1/24", "dev", "br200"])
    h1.run(
        ["dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface=br200", "--bind-interfaces", "--leasefile-ro"]
        + ["--pid-file=/run/dnsmasq.pid", "--dhcp-range=10.200.0.5,10.200.0.5,255.255.255.0,300"]
    )
    guest = h2.guest_add("g1", "br200", "02:16:3e:00:00:05")
    assert guest.dhcp(tries=10)["ip"] == "10.200.0.5"
    assert guest.ping("10.200.0.1", wait=10)
    h2.cable("trunk", plugged=False)
    assert not guest.ping("10.200.0.1", wait=1)
    h2.cable("trunk", plugged=True)
    assert guest.ping("10.200.0.1", wait=10)
