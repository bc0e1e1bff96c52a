# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that pretend to be others, in a site as it is deployed: on the bridge beside them and on another host."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t

import pytest
from lab.guest import Guest
from nova_site import Site, wait_for

PAIR = "10.0.0.100"
RANGE_V6 = "fd00:0:0:1::/64"

#: Tell everybody that the address of the first argument is here: by ARP, or by neighbour discovery.
CLAIM = """
import ipaddress, socket, struct, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
mac = link.getsockname()[4]
address = ipaddress.ip_address(sys.argv[1])
if address.version == 4:
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + address.packed + b"\\xff" * 6 + address.packed
    frame = b"\\xff" * 6 + mac + b"\\x08\\x06" + arp
else:
    to = ipaddress.ip_address("ff02::1").packed
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address.packed + b"\\x02\\x01" + mac
    pseudo = address.packed + to + struct.pack("!II", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + address.packed + to
    frame = b"\\x33\\x33\\0\\0\\0\\x01" + mac + b"\\x86\\xdd" + head + body[:2] + struct.pack("!H", checksum) + body[4:]
for _ in range(3):
    link.send(frame)
"""

#: Advertise a router for half an hour.
ADVERTISE = """
import socket, struct
link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
index = socket.if_nametoindex("eth0")
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
for _ in range(3):
    link.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))
"""


class Deployed(t.NamedTuple):
    """web1 and web3 are on one host, web2 on another one; the ports are those of the plan, by guest."""

    site: Site
    ports: dict[str, dict[str, t.Any]]
    guests: dict[str, Guest]
    leases: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    site = Site(lab_factory("multi_host"), "multi_host", tmp_path_factory.mktemp("spoofing"))
    site.change(
        nova_networks=[{**row, "fixed_range_v6": RANGE_V6} for row in site.variables["nova_networks"]],
        nova_instances=[
            {"name": "web1", "project": "acme", "host": "compute1", "allowed_address_pairs": [{"ip_address": PAIR}]},
            {"name": "web2", "project": "acme", "host": "compute2"},
            {"name": "web3", "project": "acme", "host": "compute1"},
        ],
    )
    site.run()
    plans = site.plans()
    guests = site.boot_guests(plans)
    ports = {row["name"]: row["ports"][0] for plan in plans.values() for row in plan["instances"]}
    deployed = Deployed(site, ports, guests, {name: guest.dhcp() for name, guest in guests.items()})
    for name, guest in guests.items():
        # An entry is open to what it hears at once, as others are a second after they were confirmed.
        guest.run(["sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0"])
        assert wait_for(lambda guest=guest, name=name: ports[name]["address_v6"] in addresses(guest), 60)
    return deployed


def addresses(guest: Guest) -> str:
    return guest.run(["ip", "-o", "addr", "show", "dev", "eth0", "-tentative"]).stdout


def plain(deployed: Deployed, name: str, key: str = "address") -> str:
    return deployed.ports[name][key].partition("/")[0]


def neighbour(guest: Guest, address: str) -> str:
    """The MAC address that the guest has for it."""
    words = guest.run(["ip", "neigh", "show", address, "dev", "eth0"]).stdout.split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


@contextlib.contextmanager
def other_mac(guest: Guest, mac: str, back: str) -> t.Iterator[None]:
    guest.run(["ip", "link", "set", "eth0", "address", mac])
    try:
        yield
    finally:
        guest.run(["ip", "link", "set", "eth0", "address", back])


@contextlib.contextmanager
def further_address(guest: Guest, cidr: str) -> t.Iterator[None]:
    guest.run(["ip", "addr", "add", cidr, "dev", "eth0", *(["nodad"] if ":" in cidr else [])])
    try:
        yield
    finally:
        guest.run(["ip", "addr", "del", cidr, "dev", "eth0"])


def reaches(guest: Guest, target: str, source: str) -> bool:
    """Whether the target answers to that source; asked anew of neighbours."""
    guest.run(["ip", "neigh", "flush", "dev", "eth0"])
    return guest.run(["ping", "-c3", "-i0.2", "-W1", "-I", source, target], check=False).returncode == 0


def test_guests_get_their_leases_and_work(deployed: Deployed) -> None:
    for name in deployed.guests:
        assert deployed.leases[name]["ip"] == plain(deployed, name)
    for key in ("address", "address_v6"):
        for other in ("web2", "web3"):
            assert deployed.guests["web1"].ping(plain(deployed, other, key), wait=5)


@pytest.mark.parametrize("victim", ["web2", "web3"])
def test_another_mac_address_reaches_nobody(deployed: Deployed, victim: str) -> None:
    web1 = deployed.guests["web1"]
    with other_mac(web1, "fa:16:3e:99:99:99", deployed.ports["web1"]["mac"]):
        assert not reaches(web1, plain(deployed, victim), plain(deployed, "web1"))
    assert reaches(web1, plain(deployed, victim), plain(deployed, "web1"))


@pytest.mark.parametrize("victim", ["web2", "web3"])
@pytest.mark.parametrize(("spoofed", "key"), [("10.0.0.77/24", "address"), ("fd00:0:0:1::77/64", "address_v6")])
def test_another_address_reaches_nobody(deployed: Deployed, victim: str, spoofed: str, key: str) -> None:
    web1 = deployed.guests["web1"]
    with further_address(web1, spoofed):
        assert not reaches(web1, plain(deployed, victim, key), spoofed.partition("/")[0])


@pytest.mark.parametrize("victim", ["web2", "web3"])
def test_a_pair_that_is_allowed_is_an_address_like_its_own(deployed: Deployed, victim: str) -> None:
    web1 = deployed.guests["web1"]
    with further_address(web1, f"{PAIR}/24"):
        assert reaches(web1, plain(deployed, victim), PAIR)
        assert deployed.guests[victim].ping(PAIR)
    web3 = deployed.guests["web3"]
    with further_address(web3, f"{PAIR}/24"):
        assert not reaches(web3, plain(deployed, "web2"), PAIR)


@pytest.mark.parametrize(("victim", "claimed"), [("web2", "web3"), ("web3", "web2")])
@pytest.mark.parametrize("key", ["address", "address_v6", "gateway"])
def test_nobody_believes_that_a_foreign_address_is_there(
    deployed: Deployed, victim: str, claimed: str, key: str
) -> None:
    address = plain(deployed, victim if key == "gateway" else claimed, key)
    at = deployed.guests[victim]
    assert at.ping(address, wait=5)
    before = neighbour(at, address)
    assert before
    deployed.guests["web1"].run(["python3", "-c", CLAIM, address])
    assert neighbour(at, address) == before
    # What is sent does arrive where it is allowed.
    own = plain(deployed, "web1", "address_v6" if key == "address_v6" else "address")
    at.run(["ip", "neigh", "replace", own, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0"])
    deployed.guests["web1"].run(["python3", "-c", CLAIM, own])
    assert neighbour(at, own) == deployed.ports["web1"]["mac"]


def test_a_guest_serves_no_dhcp(deployed: Deployed) -> None:
    """Beside the host's server, and in its place."""
    web1, web3 = deployed.guests["web1"], deployed.guests["web3"]
    web1.run(
        ["dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces", "--leasefile-ro"]
        + ["--pid-file=/run/rogue.pid", "--dhcp-range=10.0.0.200,10.0.0.210,255.255.255.0,300", "--dhcp-authoritative"]
    )
    try:
        assert web3.dhcp()["serverid"] == deployed.leases["web3"]["serverid"]
        host = deployed.site.lab.host("compute1")
        host.run(["pkill", "-STOP", "-f", "tenantnet.dnsmasq.br100"])
        try:
            assert web3.dhcp(tries=2) == {}
        finally:
            host.run(["pkill", "-CONT", "-f", "tenantnet.dnsmasq.br100"])
        assert web3.dhcp()["ip"] == plain(deployed, "web3")
    finally:
        web1.run(["sh", "-c", "kill $(cat /run/rogue.pid)"])


def test_a_guest_is_no_router_to_others(deployed: Deployed) -> None:
    def routers(name: str) -> str:
        return deployed.guests[name].run(["ip", "-6", "route", "show", "default"]).stdout

    link_local = next(word for word in addresses(deployed.guests["web1"]).split() if word.startswith("fe80:"))
    deployed.guests["web1"].run(["python3", "-c", ADVERTISE])
    for name in ("web2", "web3"):
        assert routers(name), "its own host advertises itself"
        assert link_local.partition("/")[0] not in routers(name)


def test_each_host_advertises_and_serves_its_own_guests_alone(deployed: Deployed) -> None:
    for name in deployed.guests:
        assert deployed.leases[name]["serverid"] == deployed.ports[name]["gateway"]
        routes = deployed.guests[name].run(["ip", "-6", "route", "show", "default"]).stdout
        assert routes.count("via") == 1


def test_a_port_that_comes_back_is_filtered_as_before(deployed: Deployed, tmp_path: pathlib.Path) -> None:
    """The last test: the guest is made anew."""
    site, port = deployed.site, deployed.ports["web1"]
    deployed.guests["web1"].remove()
    again = site.lab.host("compute1").guest_add("web1", port["bridge"], port["mac"], device=port["device"])
    assert again.dhcp()["ip"] == plain(deployed, "web1")
    with further_address(again, "10.0.0.77/24"):
        assert not reaches(again, plain(deployed, "web3"), "10.0.0.77")
        assert reaches(again, plain(deployed, "web3"), plain(deployed, "web1"))
