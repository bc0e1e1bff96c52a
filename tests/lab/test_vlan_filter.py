# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VLANs together with nftables, on a distribution's own kernel: what guests send, as the trunk between hosts sees it.

First with the iptables back end, by nf_tables, then with that of nftables. A test is one of this order.
"""

from __future__ import annotations

import json
import os
import time
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import lasting
from frames import (
    NEIGHBOR_ADVERT,
    NEIGHBOR_SOLICIT,
    REPLY,
    REQUEST,
    ROUTER_ADVERT,
    ROUTER_SOLICIT,
    arp,
    ether,
    icmpv6,
    mac_bytes,
    tagged,
    udp,
)
from lab import qemu
from lab.guest import Guest
from lab.topology import parse
from nova_site import Site, assert_a_run_does_nothing

LACK = qemu.lacking()
pytestmark = [
    pytest.mark.vlan,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() == 0 and bool(qemu.lacking()), reason=f"a host of kind qemu needs {qemu.lacking()}"
    ),
]

FLOATING = "203.0.113.77"
#: Of nobody.
STRANGER, STRANGER_4, STRANGER_6 = "fa:16:3e:99:99:99", "10.0.0.99", "fd00::99"

#: Sends the frames of its arguments (hexadecimal), then, when they have got as far as they get, that of the last one.
SEND = """
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
*frames, last = map(bytes.fromhex, sys.argv[1:])
for frame in frames:
    wire.send(frame)
time.sleep(0.3)
wire.send(last)
"""


class Deployed(t.NamedTuple):
    """web1 and web2 share a network, web3 is another project's; the ports are those of the plan, by guest."""

    site: Site
    ports: dict[str, dict[str, t.Any]]
    guests: dict[str, Guest]
    leases: dict[str, dict[str, str]]

    @property
    def host(self) -> t.Any:
        return self.site.lab.host("node1")

    def plain(self, name: str, key: str = "address") -> str:
        return self.ports[name][key].partition("/")[0]

    def arriving(self, sent: dict[str, bytes]) -> dict[str, int | None]:
        """Which of the frames that web1 sends are on the trunk, and each one's tag."""
        names = {frame: name for name, frame in sent.items()}
        assert len(names) == len(sent)
        last = arp(self.ports["web1"]["mac"], REQUEST, self.ports["web1"]["mac"], self.plain("web1"), "10.0.0.254")
        found: dict[str, int | None] = {}
        with self.site.lab.switch.capture("trunk") as trunk:
            words = [frame.hex() for frame in (*sent.values(), last)]
            self.guests["web1"].run(["python3", "-c", SEND, *words])
            end = time.monotonic() + 20
            while time.monotonic() < end:
                for heard in trunk.frames(0.1):
                    head = mac_bytes(heard.destination) + mac_bytes(heard.source)
                    whole = head + heard.ethertype.to_bytes(2, "big") + heard.payload
                    if whole.startswith(last):
                        return found
                    # The wire may have made it longer.
                    found.update((name, heard.vlan) for frame, name in names.items() if whole.startswith(frame))
        pytest.fail("not even the last frame, which is right in every way, came to the trunk")


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    site = Site(lab_factory(parse({"hosts": {"node1": "qemu"}})), "all_in_one", tmp_path_factory.mktemp("filter"))
    site.change(
        nova_network_manager="vlan",
        nova_vlan_interface="eth1",
        nova_networks=[
            {
                "label": "acme",
                "fixed_range": "10.0.0.0/24",
                "fixed_range_v6": "fd00::/64",
                "vlan": 100,
                "project": "acme",
            },
            {"label": "umbrella", "fixed_range": "10.0.1.0/24", "vlan": 101, "project": "umbrella"},
        ],
        nova_floating_ranges=["203.0.113.64/27"],
        nova_instances=[
            {"name": "web1", "project": "acme", "host": "node1", "floating_ip": FLOATING},
            {"name": "web2", "project": "acme", "host": "node1"},
            {"name": "web3", "project": "umbrella", "host": "node1"},
        ],
    )
    site.run()
    plan = applied_plan(site)
    guests = site.boot_guests({"node1": plan})
    ports = {row["name"]: row["ports"][0] for row in plan["instances"]}
    return Deployed(site, ports, guests, {name: guest.dhcp(tries=15) for name, guest in guests.items()})


def applied_plan(site: Site) -> dict[str, t.Any]:
    return json.loads(site.lab.host("node1").read("/var/lib/tenantnet/plan.json"))


def link_local(mac: str) -> str:
    first, *rest = mac.split(":")
    octets = [f"{int(first, 16) ^ 2:02x}", *rest]
    return "fe80::{}{}:{}ff:fe{}:{}{}".format(*octets)


def honest(deployed: Deployed) -> dict[str, bytes]:
    """What web1 may send."""
    mac, own, own6 = deployed.ports["web1"]["mac"], deployed.plain("web1"), deployed.plain("web1", "address_v6")
    local, other6 = link_local(mac), deployed.plain("web2", "address_v6")
    return {
        "ask for a lease": udp(mac, "0.0.0.0", (68, 67)),
        "its address": udp(mac, own, (5000, 5000)),
        "its IPv6 address": udp(mac, own6, (5000, 5000), "ff02::1", "33:33:00:00:00:01"),
        "ask who has": arp(mac, REQUEST, mac, own, "10.0.0.77"),
        "announce itself": arp(mac, REPLY, mac, own, own),
        "ask for routers": icmpv6(mac, local, ROUTER_SOLICIT),
        "ask for a neighbour": icmpv6(mac, own6, NEIGHBOR_SOLICIT, other6),
        "answer a neighbour": icmpv6(mac, own6, NEIGHBOR_ADVERT, own6),
    }


def forged(deployed: Deployed) -> dict[str, bytes]:
    """What it may not."""
    port, other = deployed.ports["web1"], deployed.ports["web2"]
    mac, own, own6 = port["mac"], deployed.plain("web1"), deployed.plain("web1", "address_v6")
    local, other4, other6 = link_local(mac), deployed.plain("web2"), deployed.plain("web2", "address_v6")
    right = udp(mac, own, (5001, 5001))
    return {
        "a foreign MAC address": udp(STRANGER, own, (5000, 5000)),
        "the neighbour's addresses": udp(other["mac"], other4, (5000, 5000)),
        "a foreign address": udp(mac, STRANGER_4, (5000, 5000)),
        "the neighbour's address": udp(mac, other4, (5000, 5000)),
        "the gateway's address": udp(mac, port["gateway"], (5000, 5000)),
        "a foreign IPv6 address": udp(mac, STRANGER_6, (5000, 5000), "ff02::1", "33:33:00:00:00:01"),
        "the neighbour's IPv6 address": udp(mac, other6, (5000, 5000), "ff02::1", "33:33:00:00:00:01"),
        "answer ARP for the neighbour": arp(mac, REPLY, mac, other4, "10.0.0.77"),
        "answer ARP for the gateway": arp(mac, REPLY, mac, port["gateway"], "10.0.0.77"),
        "answer ARP with another MAC address": arp(mac, REPLY, STRANGER, own, "10.0.0.77"),
        "answer for the neighbour": icmpv6(mac, own6, NEIGHBOR_ADVERT, other6),
        "advertise a router": icmpv6(mac, local, ROUTER_ADVERT),
        "offer a lease": udp(mac, own, (67, 68)),
        "offer a lease as the server": udp(mac, port["gateway"], (67, 68)),
        "offer a lease of DHCPv6": udp(mac, local, (547, 546), "ff02::1", "33:33:00:00:00:01"),
        "its own tag": tagged(right, 100),
        "the tag of another project": tagged(right, 101),
        "a tag of no VLAN": tagged(right, 0),
        "two tags": tagged(right, 100, 101),
        "another protocol": ether(mac, 0x88CC, bytes(46)),
    }


def check_guests_send_as_themselves_alone(deployed: Deployed) -> None:
    right = honest(deployed)
    assert deployed.arriving({**right, **forged(deployed)}) == dict.fromkeys(right, 100)


def check_the_floating_ip_leads_to_the_guest(deployed: Deployed) -> None:
    assert deployed.site.lab.host("internet").ping(FLOATING, wait=10)
    deployed.guests["web1"].run(["ip", "link", "set", "eth0", "down"])
    assert not deployed.site.lab.host("internet").ping(FLOATING)
    deployed.guests["web1"].run(["ip", "link", "set", "eth0", "up"])
    deployed.guests["web1"].dhcp()


def test_guests_get_their_leases_and_work(deployed: Deployed) -> None:
    for name, lease in deployed.leases.items():
        assert (lease["ip"], lease["router"]) == (deployed.plain(name), deployed.ports[name]["gateway"])
    assert {name: port["vlan"] for name, port in deployed.ports.items()} == {"web1": 100, "web2": 100, "web3": 101}
    web1 = deployed.guests["web1"]
    assert web1.ping(deployed.plain("web2"), wait=5)
    assert web1.ping("198.51.100.1", wait=5)


def test_the_trunk_sees_what_guests_may_send_and_nothing_else(deployed: Deployed) -> None:
    check_guests_send_as_themselves_alone(deployed)


def test_a_floating_ip_leads_to_a_guest_in_a_vlan(deployed: Deployed) -> None:
    assert "nf_tables" in deployed.host.run(["iptables", "--version"]).stdout
    assert FLOATING in deployed.host.run(["iptables-save"]).stdout
    check_the_floating_ip_leads_to_the_guest(deployed)


def test_without_the_port_filter_all_of_it_would_be_there(deployed: Deployed) -> None:
    """That the wire is as open as the tests above take it to be. The next run is to restore the filter."""
    deployed.host.run(["nft", "delete", "table", "bridge", "nova-network"])
    everything = {**honest(deployed), **forged(deployed)}
    assert deployed.arriving(everything) == dict.fromkeys(everything, 100)


def test_the_other_back_end_does_the_same(deployed: Deployed) -> None:
    deployed.site.change(nova_packet_filter="nftables")
    deployed.site.run()
    assert "nova-network" not in deployed.host.run(["iptables-save"]).stdout
    assert FLOATING in deployed.host.run(["nft", "list", "table", "ip", "nova-network"]).stdout
    check_guests_send_as_themselves_alone(deployed)
    check_the_floating_ip_leads_to_the_guest(deployed)


def test_a_second_run_does_nothing_at_all(deployed: Deployed) -> None:
    assert_a_run_does_nothing(deployed.site, ["node1"])


def test_after_a_power_loss_the_host_makes_it_all_again_by_itself(deployed: Deployed) -> None:
    """The last test: the guests are made anew."""
    deployed.host.kill()
    deployed.host.boot()
    assert "as last applied" in deployed.host.run(["python3", "-I", lasting.PROGRAM]).stderr
    deployed.guests.update(deployed.site.boot_guests({"node1": applied_plan(deployed.site)}))
    assert deployed.guests["web1"].dhcp(tries=15)["ip"] == deployed.plain("web1")
    check_guests_send_as_themselves_alone(deployed)
    check_the_floating_ip_leads_to_the_guest(deployed)
