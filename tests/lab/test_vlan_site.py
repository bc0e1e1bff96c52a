# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VLAN and a network for each project, from the inventory to guests, beside networks of the other two managers.

One of the VLANs is served by each host itself (multi_host), the others by one host. A test is one of this order.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import struct
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import guest_config
from lab.capture import Capture, Frame
from lab.guest import Guest
from lab.lab import has_vlan
from lab_hops import Passed, conversation, listening
from nova_site import Site, wait_for

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(
        os.geteuid() == 0 and not has_vlan() and not shutil.which("linux.uml"),
        reason="neither this kernel nor a guest kernel (linux.uml) has 802.1Q",
    ),
]

ETH_P_IP = 0x0800
CLIENT, FLOATING = "198.51.100.1", "203.0.113.78"
MARK = b"tenantnet-frame-"

#: Beside the inventory's own: a VLAN network on every host, a flat DHCP network that stays on its host, and a flat one
#: on the operator's bridge.
OTHERS: dict[str, t.Any] = {
    "nova_network_host": "net1",
    "nova_projects": ["acme", "umbrella", {"name": "legacy", "network_manager": "flatdhcp"}, "ops", "wide"],
    "nova_networks": [
        {"label": "nova", "fixed_range": "10.0.0.0/8", "num_networks": 100},
        {"label": "wide", "fixed_range": "172.20.0.0/24", "vlan": 300, "multi_host": True, "project": "wide"},
        {"label": "old", "manager": "flatdhcp", "fixed_range": "192.168.7.0/24", "bridge": "br7"},
        {"label": "plain", "manager": "flat", "fixed_range": "192.168.8.0/24", "bridge": "br-ops"},
    ],
    "nova_floating_ranges": ["203.0.113.64/27"],
    "nova_teardown_unused_network_gateway": True,
}
INSTANCES = [
    {"name": "web3", "project": "umbrella", "host": "net1"},
    {"name": "wide1", "project": "wide", "host": "net1"},
    {"name": "wide2", "project": "wide", "host": "compute1", "floating_ip": "203.0.113.77"},
    {"name": "cobol1", "project": "legacy", "host": "net1"},
    {"name": "jump1", "project": "ops", "host": "net1", "network": "plain"},
]

#: Writes the numbers of the marked frames that come to eth0.
LISTEN = f"""
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
print("ready", flush=True)
while True:
    _, mark, rest = wire.recv(2048).partition({MARK!r})
    if mark:
        print(int(rest[:2]), flush=True)
"""
#: Sends frames (hexadecimal, without source) from eth0, each with its number.
SEND = f"""
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
for number, frame in enumerate(map(bytes.fromhex, sys.argv[1:])):
    text = {MARK!r} + b"%02d" % number
    wire.send((frame[:6] + wire.getsockname()[4] + frame[6:] + text).ljust(60, bytes(1)))
"""

#: Says who asks, at that port; over HTTP too.
ECHO = """
import http.server, sys
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Service)
server.serve_forever()
"""

#: Of 802.1Q and 802.1ad, alone and in each other: the guest's own, none, those of others, and one of nobody.
TAGS = ["81000066", "81000000", "81000064", "8100012c", "81000fff", "88a80064", "8100006681000064", "88a8006681000064"]
TAGS += ["88a8006481000064", "8100012c81000064"]


class Deployed(t.NamedTuple):
    """`trunk` has every frame from before the first guest on; `heard` those that were taken out of it already."""

    site: Site
    plans: dict[str, t.Any]
    guests: dict[str, Guest]
    leases: dict[str, dict[str, str]]
    trunk: Capture
    heard: list[Frame]

    def frames(self) -> list[Frame]:
        """All frames so far."""
        self.heard.extend(self.trunk.frames(0.2))
        return self.heard


@pytest.fixture(scope="module")
def deployed(lab_factory, tmp_path_factory) -> t.Iterator[Deployed]:
    both = {group: ["net1", "compute1"] for group in ("addressing_nodes", "routing_nodes")}
    site = Site(lab_factory("vlan_site"), "vlan", tmp_path_factory.mktemp("vlan"), both)
    reachable = {"name": "default", "rules": [{"protocol": "icmp"}]}
    groups = [{"project": project, **reachable} for project in ("legacy", "ops", "wide")]
    site.change(nova_security_groups=[*site.variables["nova_security_groups"], *groups])
    # The guest kernel's nftables know no bridges; what is not filtered is kept apart by the tags alone.
    given = [
        {**row, "floating_ip": FLOATING} if row["name"] == "db1" else row for row in site.variables["nova_instances"]
    ]
    site.change(**OTHERS, nova_instances=[*given, *INSTANCES], nova_port_security=False, nova_metadata_port=8775)
    operators = "ip link add br-ops type bridge; ip addr add 192.168.8.1/24 dev br-ops; ip link set br-ops up"
    site.lab.host("net1").run(["sh", "-ec", operators])
    site.run()
    plans = site.plans()
    with site.lab.switch.capture("trunk") as trunk:
        guests = site.boot_guests(plans)
        by_dhcp = {name: guest.dhcp() for name, guest in guests.items() if name != "jump1"}
        yield Deployed(site, plans, guests, by_dhcp, trunk, [])


def ports(plans: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {row["name"]: row["ports"][0] for plan in plans.values() for row in plan["instances"]}


def links(host: t.Any) -> dict[str, dict[str, t.Any]]:
    return {link["ifname"]: link for link in json.loads(host.run(["ip", "-json", "-details", "addr"]).stdout)}


def link_local(mac: str) -> str:
    """The address that the kernel makes of a MAC address."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + octets[:3] + b"\xff\xfe" + octets[3:]))


def packets(port: dict[str, t.Any]) -> list[str]:
    """ARP, IPv4 and IPv6 of a guest, from its Ethernet type on, in hexadecimal; SEND adds what they carry."""
    mac = bytes.fromhex(port["mac"].replace(":", ""))
    address = ipaddress.IPv4Address(port["address"].partition("/")[0]).packed
    size = len(MARK) + 2
    arp = bytes.fromhex("08060001080006040001") + mac + address + bytes(6) + b"\n\0\0\3"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0, 64, 253, 0, address, b"\xff\xff\xff\xff")
    total = sum(struct.unpack("!10H", head))
    total = ~(total + (total >> 16)) & 0xFFFF
    ipv4 = b"\x08\0" + head[:10] + struct.pack("!H", total) + head[12:]
    source = ipaddress.IPv6Address(link_local(port["mac"])).packed
    everybody = ipaddress.IPv6Address("ff02::1").packed
    ipv6 = struct.pack("!HIHBB16s16s", 0x86DD, 6 << 28, size, 59, 255, source, everybody)
    return [packet.hex() for packet in (arp, ipv4, ipv6)]


def answering(guest: Guest, addresses: t.Iterable[str]) -> set[str]:
    """Those of the addresses that answer the guest's pings, all asked at once."""
    script = "for a; do (ping -c 1 -w 3 $a >/dev/null 2>&1 && echo $a) & done; wait"
    return set(guest.run(["sh", "-c", script, "sh", *addresses]).stdout.split())


def test_each_guest_gets_its_address_in_the_network_of_its_project(deployed: Deployed) -> None:
    planned = ports(deployed.plans)
    for name, lease in deployed.leases.items():
        address, _, prefix = planned[name]["address"].partition("/")
        assert (lease["ip"], lease["mask"], lease["router"]) == (address, prefix, planned[name]["gateway"])
    assert {name: port["vlan"] for name, port in planned.items()} == {
        "web1": 100,
        "db1": 100,
        "web2": 102,  # 101 is reserved
        "web3": 102,
        "wide1": 300,
        "wide2": 300,
        "cobol1": None,
        "jump1": None,
    }
    # The first above the gateway and the VPN's; and the first of the group's own part, which is the highest whole one.
    assert planned["db1"]["address"] == "10.0.0.3/24"
    assert planned["web1"]["address"] == "10.0.0.192/24"
    assert planned["web2"]["address"] == "10.0.1.20/24"


def test_links_are_those_of_the_manager(deployed: Deployed) -> None:
    macs = set()
    for host, gateways in {
        "net1": {"br100": "10.0.0.1", "br102": "10.0.1.1", "br300": deployed.leases["wide1"]["router"]},
        "compute1": {"br100": None, "br102": None, "br300": deployed.leases["wide2"]["router"]},
    }.items():
        found = links(deployed.site.lab.host(host))
        for bridge, gateway in gateways.items():
            vlan = found[f"vlan{bridge.removeprefix('br')}"]
            assert (vlan["link"], vlan["master"], vlan["linkinfo"]["info_data"]["id"]) == (
                "eth1",
                bridge,
                int(bridge[2:]),
            )
            assert vlan["mtu"] == found[bridge]["mtu"] == 1450
            # As nova gave them: from its prefix, and the bridge has that of its VLAN.
            assert found[bridge]["address"] == vlan["address"]
            assert vlan["address"].startswith("fa:16:3e:")
            macs.add(vlan["address"])
            addresses = [row["local"] for row in found[bridge]["addr_info"] if row["family"] == "inet"]
            assert addresses == ([gateway] if gateway else [])
    assert len(macs) == 6


def test_in_multi_host_each_guest_is_served_by_its_own_host(deployed: Deployed) -> None:
    near, far = deployed.leases["wide1"], deployed.leases["wide2"]
    assert near["router"] != far["router"]
    for lease in (near, far):
        assert lease["serverid"] == lease["router"]
    assert deployed.guests["wide1"].ping(far["ip"])


def test_no_other_project_is_reached(deployed: Deployed) -> None:
    """A guest tries ARP, IPv4 and IPv6 with addresses of its own making, and tags that it has no right to."""
    planned = ports(deployed.plans)
    stranger, brother = deployed.guests["web2"], deployed.guests["web3"]
    victims = [name for name, port in planned.items() if port["vlan"] in (100, 300)]
    others = ["web3", *victims]
    made_up = {name: f"fd00:bad::{number}" for number, name in enumerate(others, 1)}
    for name, address in made_up.items():
        deployed.guests[name].run(["ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad"])
    brother.run(["ip", "addr", "add", "10.0.0.8/24", "dev", "eth0"])
    listen = ["sh", "-c", 'python3 -c "$1" >/run/marked 2>&1 & echo $! >/run/listener', "sh", LISTEN]
    for name in others:
        deployed.guests[name].run(listen)

    stranger.run(["ip", "addr", "add", "fd00:bad::99/64", "dev", "eth0", "nodad"])
    for forged in ("10.0.0.9/24", "172.20.0.99/24"):
        stranger.run(["ip", "addr", "add", forged, "dev", "eth0"])
    link_locals = {name: f"{link_local(planned[name]['mac'])}%eth0" for name in others}
    own = {name: planned[name]["address"].partition("/")[0] for name in others}
    answers = answering(stranger, {"10.0.0.8", *made_up.values(), *link_locals.values(), *own.values()})
    assert {own["web3"], link_locals["web3"]} <= answers
    assert answers <= {own["web3"], link_locals["web3"], made_up["web3"], "10.0.0.8"}
    neighbours = json.loads(stranger.run(["ip", "-json", "neigh", "show", "dev", "eth0"]).stdout)
    known = {row["lladdr"] for row in neighbours if "lladdr" in row}
    assert planned["web3"]["mac"] in known and not known & {planned[name]["mac"] for name in victims}

    def marked(name: str) -> list[str]:
        return deployed.guests[name].run(["cat", "/run/marked"]).stdout.split()

    assert wait_for(lambda: all("ready" in marked(name) for name in others), 30)
    # What is right in itself but for its tags, since malformed packets get nowhere anyway.
    sent = [
        target + tags + packet
        for tags in ("", *TAGS)
        for target in (6 * "ff", "333300000001", *(planned[name]["mac"].replace(":", "") for name in others))
        for packet in packets(planned["web2"])
    ]
    stranger.run(["python3", "-c", SEND, *sent])
    untagged = {str(number) for number in range(9)}  # to everybody, and to the brother
    assert wait_for(lambda: untagged <= set(marked("web3")), 10)
    for name in victims:
        assert marked(name) == ["ready"]
    passed = [frame for frame in deployed.frames() if MARK in frame.payload]
    assert {frame.vlan for frame in passed} == {102}

    stranger.run(["ip", "addr", "flush", "dev", "eth0"])
    assert stranger.dhcp() == deployed.leases["web2"]
    for name, address in made_up.items():
        deployed.guests[name].run(["sh", "-c", f"kill $(cat /run/listener); ip addr del {address}/64 dev eth0"])


def test_guests_reach_the_internet(deployed: Deployed) -> None:
    for name in ("db1", "web3", "cobol1", "wide1", "wide2"):
        assert deployed.guests[name].ping("198.51.100.1")


def hops(deployed: Deployed, guest: str, talk: t.Callable[[], str], port: int) -> dict[str, set[Passed]]:
    """Where on the way between the internet and a guest of compute1 the conversation passes, and how it looks there."""
    lab, tag = deployed.site.lab, ports(deployed.plans)[guest]["vlan"]
    inner = [f"br{tag}", f"vlan{tag}", "eth1"]
    tap = ports(deployed.plans)[guest]["device"]
    with (
        lab.switch.capture("ext") as public,
        lab.switch.capture("trunk") as trunk,
        listening(lab.host("net1"), "eth2", *inner) as router,
        listening(lab.host("compute1"), "eth2", *inner, tap) as carrier,
        listening(deployed.guests[guest], "eth0") as inside,
    ):
        talk()
        wires = {"public": list(public.frames(0.2)), "trunk": list(trunk.frames(0))}
    wires |= {f"router {device}": frames for device, frames in router.items()}
    wires |= {f"carrier {device.replace(tap, 'tap')}": frames for device, frames in carrier.items()}
    return {wire: conversation(frames, port) for wire, frames in {**wires, "guest": inside["eth0"]}.items()}


def both_ways(vlan: int | None, one: str, other: str) -> set[Passed]:
    return {Passed(vlan, one, other), Passed(vlan, other, one)}


def expected(tag: int, public: set[Passed], fixed: str, peer: str) -> dict[str, set[Passed]]:
    """At each hop: outside under the public address, and from the router on between the guest's own and its peer's."""
    tagged, plain = both_ways(tag, fixed, peer), both_ways(None, fixed, peer)
    return {
        "public": public,
        "router eth2": public,
        f"router br{tag}": plain,
        f"router vlan{tag}": plain,
        "router eth1": tagged,
        "trunk": tagged,
        "carrier eth1": tagged,
        f"carrier vlan{tag}": plain,
        f"carrier br{tag}": plain,
        "carrier tap": plain,
        "guest": plain,
        "carrier eth2": set(),  # the guest's own host has no part in what is outside
    }


def serve(at: t.Any, port: int) -> None:
    at.run(["sh", "-c", 'python3 -c "$0" "$1" >/dev/null 2>&1 &', ECHO, str(port)])
    ready = ["sh", "-c", f"ss -Hltn sport = :{port} | grep -q ."]
    assert wait_for(lambda: at.run(ready, check=False).returncode == 0, 30)


def asked(at: t.Any, address: str, port: int, source: str = "") -> str:
    """What the service there answers: the address that it was asked from."""
    bind = f",bind={source}" if source else ""
    request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t3 - TCP:{address}:{port}{bind},connect-timeout=5"
    return at.run(["sh", "-c", request]).stdout.splitlines()[-1]


def test_the_way_in_is_that_of_the_network_at_each_hop(deployed: Deployed) -> None:
    """Internet, routing node, VLAN, bridge, instance: the floating IP outside, the client's own address inside."""
    fixed = deployed.leases["db1"]["ip"]
    serve(deployed.guests["db1"], 22)
    internet = deployed.site.lab.host("internet")
    answers: list[str] = []
    found = hops(deployed, "db1", lambda: answers.append(asked(internet, FLOATING, 22, CLIENT)), 22)
    assert answers == [CLIENT]
    assert found == expected(100, both_ways(None, CLIENT, FLOATING), fixed, CLIENT)


@pytest.mark.parametrize(("guest", "tag"), [("db1", 100), ("web2", 102)])
def test_the_way_out_is_that_of_the_network_at_each_hop(deployed: Deployed, guest: str, tag: int) -> None:
    """Outside it is the floating IP of the one that has one, and the router's own address of the other."""
    fixed = deployed.leases[guest]["ip"]
    own = [
        row["local"] for row in links(deployed.site.lab.host("net1"))["eth2"]["addr_info"] if row["scope"] == "global"
    ]
    outside = FLOATING if guest == "db1" else own[0]
    internet = deployed.site.lab.host("internet")
    port = 8100 + tag
    serve(internet, port)
    answers: list[str] = []
    found = hops(deployed, guest, lambda: answers.append(asked(deployed.guests[guest], CLIENT, port)), port)
    assert answers == [outside]
    assert found == expected(tag, both_ways(None, outside, CLIENT), fixed, CLIENT)


def test_a_guest_reaches_itself_by_its_floating_ip_over_the_vlan(deployed: Deployed) -> None:
    """By a gateway that carries guests too: what passes its bridge is filtered, and this goes back whence it came."""
    switch = deployed.site.lab.host("net1").run(["sysctl", "-n", "net.bridge.bridge-nf-call-iptables"])
    assert switch.stdout == "1\n"
    assert answering(deployed.guests["db1"], [FLOATING]) == {FLOATING}


def test_metadata_is_asked_over_the_vlan_and_told_who_asks(deployed: Deployed) -> None:
    """By the guest of another host, and in multi_host by one of the same."""
    for host in ("net1", "compute1"):
        serve(deployed.site.lab.host(host), 8775)
    fixed = deployed.leases["db1"]["ip"]
    said: list[str] = []
    found = hops(deployed, "db1", lambda: said.append(asked(deployed.guests["db1"], "169.254.169.254", 80)), 80)
    assert said == [fixed]
    wanted = expected(100, set(), fixed, "169.254.169.254")
    # Where bridged packets pass the packet filter, a request is led to the service before its bridge is seen.
    for hop in (found, wanted):
        del hop["router br100"]
    assert found == wanted
    for name in ("web1", "wide2"):
        assert asked(deployed.guests[name], "169.254.169.254", 80) == deployed.leases[name]["ip"]


def test_a_guest_of_a_flat_network_is_configured_by_a_file(deployed: Deployed) -> None:
    guest, port = deployed.guests["jump1"], ports(deployed.plans)["jump1"]
    guest.run(["sh", "-c", "cat >/run/interfaces"], input=guest_config.interfaces_file([port]))
    guest.run(["ifup", "--all", "--interfaces=/run/interfaces"])
    assert guest.ping("192.168.8.1", wait=5)
    (link,) = json.loads(guest.run(["ip", "-json", "addr", "show", "eth0"]).stdout)
    found = {f"{row['local']}/{row['prefixlen']}" for row in link["addr_info"] if row["family"] == "inet"}
    assert (found, link["mtu"]) == ({port["address"]}, port["mtu"])
    assert port["gateway"] in guest.run(["ip", "route", "show", "default"]).stdout
    servers = deployed.site.lab.host("net1").run(["pgrep", "-a", "dnsmasq"]).stdout
    assert "br100" in servers and "br-ops" not in servers
    assert guest.dhcp(tries=1) == {}


def test_hosts_have_the_networks_of_their_guests_alone(deployed: Deployed) -> None:
    """Of the hundred networks, those that a project took; and the operator's bridge is as it was."""
    vlans = {"br100", "br102", "br300"}
    for host, bridges in (("net1", vlans | {"br7", "br-ops"}), ("compute1", vlans)):
        found = links(deployed.site.lab.host(host))
        assert {
            name for name, link in found.items() if link.get("linkinfo", {}).get("info_kind") == "bridge"
        } == bridges
    operators = links(deployed.site.lab.host("net1"))["br-ops"]
    assert "ifalias" not in operators
    assert [row["local"] for row in operators["addr_info"] if row["family"] == "inet"] == ["192.168.8.1"]


def test_a_guest_moves_to_another_host_with_all_that_is_its_own(deployed: Deployed) -> None:
    """From compute1 to net1: port, gateway and floating IP are there, and no longer where the guest was."""
    site, guests = deployed.site, deployed.guests
    client = ["ping", "-c", "1", "-w", "5", "203.0.113.77"]
    internet = site.lab.host("internet")
    internet.run(client)
    before = ports(deployed.plans)["wide2"]
    guests["wide2"].remove()
    rows = [dict(row, host="net1") if row["name"] == "wide2" else row for row in site.variables["nova_instances"]]
    site.change(nova_instances=rows)
    site.run()
    after = ports(site.plans())["wide2"]
    assert {key: after[key] for key in after if key != "gateway"} == {
        key: before[key] for key in before if key != "gateway"
    }
    moved = site.lab.host("net1").guest_add("wide2", after["bridge"], after["mac"], after["device"])
    lease = moved.dhcp()
    assert (lease["ip"], lease["router"]) == (deployed.leases["wide2"]["ip"], deployed.leases["wide1"]["router"])
    internet.run(client)
    found = links(site.lab.host("compute1"))
    assert not {"br300", "vlan300"} & set(found)
    assert "203.0.113.77" not in str(found["eth2"]["addr_info"])
    assert "203.0.113.77" in str(links(site.lab.host("net1"))["eth2"]["addr_info"])


def test_the_second_run_finds_nothing_to_do(deployed: Deployed) -> None:
    result = deployed.site.run()
    assert result.changed == 0


def test_the_trunk_has_carried_the_planned_tags_alone(deployed: Deployed) -> None:
    """All that was on it since the guests were plugged in; what bears a guest's address was under its network's tag."""
    frames = deployed.frames()
    tag_of = {port["mac"]: port["vlan"] for port in ports(deployed.plans).values()}
    assert {frame.vlan for frame in frames} - {None} == {100, 102, 300}
    for frame in frames:
        if frame.source in tag_of:
            assert frame.vlan == tag_of[frame.source] is not None
        elif frame.vlan is None:
            # The kernel's own word on the bare interface: IPv6 of the host.
            assert frame.ethertype == 0x86DD
    assert {tag_of.get(frame.source) for frame in frames if frame.ethertype == ETH_P_IP} >= {100, 102, 300}
