# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metadata for guests of a flat network, whose gateway is the operator's: from their own host, and by it from another.

a, b - br100 of the node - to-far - br100 of far - the operator's router (10.0.0.1) - service (192.0.2.9)
             eth2 (192.0.2.1) ---------------------------------------'
"""

from __future__ import annotations

import contextlib
import shlex
import socket

import pytest
from a_kill import killed_at
from a_node import Site, batch, close
from a_router import run
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import bridge_table, flat_metadata, lock, routing
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

GUESTS = {"a": "10.0.0.2", "b": "10.0.0.3"}
QUESTION = "tcp/169.254.169.254/80"
SERVICE = {"host": "192.0.2.9", "port": 8775}


class Node:
    """The guests' host, on one back end."""

    def __init__(self, variant, stack, through):
        self.backend = variant.backend
        self.site = Site(stack)
        run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={through}", "net.ipv4.ip_forward=0")
        batch("link add br100 type bridge forward_delay 0\nlink set br100 up\n")
        far = self.site.host("far")
        batch(f"link add to-far type veth peer name uplink netns {far}\nlink set to-far up master br100\n")
        batch("link add br100 type bridge forward_delay 0\nlink set br100 up\n", *self.site.inside["far"])
        batch("link set uplink up master br100\n", *self.site.inside["far"])
        for name, address in GUESTS.items():
            pid = self.site.host(name)
            batch(f"link add tap-{name} type veth peer name eth0 netns {pid}\nlink set tap-{name} up master br100\n")
            self.site.connect(name, f"{address}/24", "default via 10.0.0.1")
            self.site.serve(name, 4000)
        # Of another host, which is none of ours.
        pid = self.site.host("other")
        batch(f"link add tap-other type veth peer name eth0 netns {pid}\n", *self.site.inside["far"])
        batch("link set tap-other up master br100\n", *self.site.inside["far"])
        self.site.connect("other", "10.0.0.9/24", "default via 10.0.0.1")
        self.router = self.site.host("router")
        inside = self.site.inside["router"]
        run(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        # As routers have to (RFC 3927).
        hook = "type filter hook forward priority 0;"
        run(*inside, "nft", f"table ip t {{ chain c {{ {hook} ip saddr 169.254.0.0/16 drop; }}; }}")
        batch(f"link add tap-router type veth peer name inner netns {self.router}\n", *self.site.inside["far"])
        batch("link set tap-router up master br100\n", *self.site.inside["far"])
        batch(
            "link add outer type bridge forward_delay 0\nlink set outer up\naddr add 192.0.2.254/24 dev outer\n",
            *inside,
        )
        batch("addr add 10.0.0.1/24 dev inner\nlink set inner up\n", *inside)
        batch(f"link add eth2 type veth peer name to-node netns {self.router}\nlink set eth2 up\n")
        batch("link set to-node up master outer\n", *inside)
        batch("addr add 192.0.2.1/24 dev eth2\nroute add default via 192.0.2.254\n")
        pid = self.site.host("service")
        batch(
            f"link add to-service type veth peer name eth0 netns {pid}\nlink set to-service up master outer\n", *inside
        )
        self.site.connect("service", "192.0.2.9/24", "default via 192.0.2.254")

    def apply(self, host=None, port=8775, ports=("tap-a", "tap-b"), bridge="br100", check=False, **more):
        networks = [{"bridge": bridge, "cidr": "10.0.0.0/24", "ports": list(ports)}]
        section = {"networks": [], "flat_metadata": {"host": host, "port": port, "networks": networks}, **more}
        filter_by = routing.BACKENDS[self.backend]
        return routing.apply(filter_by, section, None, check=check, diff=True, wait=5)

    def ask(self, name, *questions):
        return self.site.ask(name, *(questions or [QUESTION]))


@pytest.fixture(params=[0, 1], ids=["bridged apart", "bridged through the filter"])
def through(request):
    """Bridged packets pass the packet filter of the node as soon as security groups guard a guest."""
    return request.param


@pytest.fixture
def node(variant, through, tmp_path, monkeypatch):
    monkeypatch.setattr(flat_metadata, "LOCK_FILE", str(tmp_path / "flat_metadata.lock"))
    with contextlib.ExitStack() as stack:
        yield Node(variant, stack, through)


def everything():
    """All that the driver could have left on the node."""
    told = (run(*words.split()) for words in ("ip -o addr", "ip rule", "ip route show table all"))
    said = [line for text in told for line in text.splitlines() if "169.254" in line or "16925" in line]
    return [run("nft", "-s", "list", "ruleset", "bridge"), *said]


def listen():
    """Hears of links, addresses, routes and rules, and of nf_tables."""
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    # RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE
    route.bind((0, 0x1 | 0x10 | 0x40 | 0x80))
    rules = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 12)
    rules.bind((0, 1 << 6))
    return route, rules


def heard(sockets):
    said = []
    for each in sockets:
        with contextlib.suppress(BlockingIOError):
            said.append(each.recv(1 << 16))
        each.close()
    return said


#: With rules of either back end, bridged packets passing the filter or not.
EVERYWHERE = pytest.mark.parametrize("variant", ["nft", "nftables"], indirect=True)


def once(test):
    """What leads the guests is the same with both back ends."""
    for name, value in (("variant", "nft"), ("through", 1)):
        test = pytest.mark.parametrize(name, [value], indirect=True)(test)
    return test


#: What the operator may have given the bridge.
OWN = {"no address": (), "an address of the network": ("addr add 10.0.0.250/24 dev br100\n",)}


@EVERYWHERE
@pytest.mark.parametrize("own", OWN.values(), ids=list(OWN))
def test_the_host_itself_answers_its_guests_and_sees_who_asks(node, own):
    batch("".join(own) or "\n")
    node.site.serve("node", 8775, 4001)
    node.apply()
    for name, address in GUESTS.items():
        assert node.ask(name) == [f"node:8775 sees {address}"]
    # For nothing else does the host send from it.
    assert " scope link nova:metadata" in run("ip", "-o", "addr", "show", "lo")
    # A guest that asks on the link, of which other hosts hear nothing, and one whose host is none of ours.
    far = node.site.inside["far"]
    hook = "type filter hook prerouting priority 0;"
    heard_there = " ".join(f'iifname "uplink" {kind} 169.254.169.254 counter;' for kind in ("arp daddr ip", "ip daddr"))
    run(*far, "nft", f"table bridge t {{ chain c {{ {hook} {heard_there} }}; }}")
    # The host has asked for it already, of which it has learned where the address is.
    run(*node.site.inside["a"], "ip", "neigh", "flush", "dev", "eth0")
    batch("route add 169.254.0.0/16 dev eth0\n", *node.site.inside["a"])
    assert node.ask("a") == ["node:8775 sees 10.0.0.2"]
    assert run(*far, "nft", "list", "table", "bridge", "t").count("counter packets 0 ") == 2
    batch("route add 169.254.0.0/16 dev eth0\n", *node.site.inside["other"])
    assert node.ask("other") == ["no answer"]
    assert "lladdr" not in run(*node.site.inside["other"], "ip", "neigh", "show", "169.254.169.254")
    # Nothing else of the host is to be had by the address.
    assert node.ask("a", "tcp/169.254.169.254/4001", "udp/169.254.169.254/4001") == ["no answer", "no answer"]
    # Guests reach each other and the outside as before.
    node.site.serve("service", 4000)
    assert node.ask("a", "tcp/10.0.0.3/4000", "udp/192.0.2.9/4000") == [
        "b:4000 sees 10.0.0.2",
        "service:4000 sees 10.0.0.2",
    ]


@EVERYWHERE
def test_a_strict_host_that_lets_in_nothing_unasked_answers(node, variant):
    run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.br100.rp_filter=1")
    close(variant, "INPUT")
    node.site.serve("node", 80)
    # Of the port that is asked as well, so that nothing but the frame's way tells it.
    node.apply(port=80)
    assert node.ask("a") == ["node:80 sees 10.0.0.2"]


@EVERYWHERE
def test_a_service_elsewhere_is_asked_and_answers_by_the_operators_gateway(node):
    node.site.serve("service", 8775, 4000)
    node.site.serve("router", 80)
    batch("addr add 169.254.169.254/32 dev lo\n", *node.site.inside["router"])
    node.apply(host=SERVICE["host"])
    for name, address in GUESTS.items():
        assert node.ask(name) == [f"service:8775 sees {address}"]
    # Who asks the service by its own address, or anything else, or is not led, is left alone.
    direct = "tcp/192.0.2.9/8775"
    assert node.ask("a", direct, "tcp/192.0.2.9/4000") == ["service:8775 sees 10.0.0.2", "service:4000 sees 10.0.0.2"]
    assert node.ask("other") == ["router:80 sees 10.0.0.9"]
    assert "169.254" not in run("ip", "addr") + run("ip", "rule")


ASK_FROM_ONE_PORT = """
import socket, sys
for address, port in (("169.254.169.254", 80), ("192.0.2.9", 8775), ("169.254.169.254", 80)):
    asker = socket.socket()
    asker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    asker.settimeout(2)
    asker.bind(("", 5000))
    asker.connect((address, port))
    print(asker.recv(100).decode(), asker.getpeername()[0])
    # A reset, so that the port is free at once.
    asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    asker.close()
"""


@once
def test_one_port_asks_by_both_addresses_in_turn(node):
    node.site.serve("service", 8775)
    node.apply(**SERVICE)
    said = run(*node.site.inside["a"], "python3", "-c", ASK_FROM_ONE_PORT).splitlines()
    seen = "service:8775 sees 10.0.0.2"
    assert said == [f"{seen} 169.254.169.254", f"{seen} 192.0.2.9", f"{seen} 169.254.169.254"]


@EVERYWHERE
@pytest.mark.parametrize("service", [{}, SERVICE], ids=["here", "elsewhere"])
def test_nothing_is_done_where_nothing_differs_and_nothing_is_left(node, service):
    node.site.serve("service", 8775)
    node.site.serve("node", 8775)
    before = everything()
    foretold = node.apply(**service, check=True)
    assert everything() == before
    done = node.apply(**service)
    assert done["changed"] and foretold["actions"] == done["actions"]
    there = everything()
    assert there != before
    assert node.ask("a") != ["no answer"]  # which a set may remember
    sockets = listen()
    again = node.apply(**service)
    assert not again["changed"] and again["actions"] == []
    assert heard(sockets) == []
    one = node.apply(**service, ports=["tap-b"])
    assert one["actions"] == ["no longer lead tap-a to the metadata service"]
    assert node.ask("a") in (["refused"], ["no answer"])
    assert node.ask("b") != ["no answer"]
    gone = node.apply(ports=[])
    assert gone["changed"]
    assert everything() == before
    assert not node.apply(ports=[])["changed"]


@once
def test_what_somebody_took_away_comes_back(node):
    node.site.serve("node", 8775)
    node.apply()
    there = everything()
    for command in (
        "nft delete table bridge nova-network-metadata",
        "nft flush chain bridge nova-network-metadata prerouting",
        "ip addr del 169.254.169.254/32 dev lo",
        "ip rule del from 169.254.169.254",
        "ip route flush table 16925",
        "sh -c 'ip rule del from 169.254.169.254; ip addr del 169.254.169.254/32 dev lo'",
    ):
        run(*shlex.split(command))
        assert node.ask("a") != ["node:8775 sees 10.0.0.2"], command
        assert node.apply(check=True)["actions"], command
        assert node.apply()["changed"], command
        assert everything() == there
        assert node.ask("a") == ["node:8775 sees 10.0.0.2"], command


@once
def test_the_bridge_may_get_another_mac_address(node):
    node.site.serve("node", 8775)
    node.apply()
    batch("link set br100 address 02:00:00:00:01:00\n")
    assert node.ask("a") == ["node:8775 sees 10.0.0.2"]


@once
def test_a_service_that_moves_is_asked_at_its_new_place(node):
    node.site.serve("node", 8775)
    node.site.serve("service", 8775, 8776)
    node.apply()
    for service in (SERVICE, {**SERVICE, "port": 8776}):
        node.apply(**service)
        assert node.ask("a") == [f"service:{service['port']} sees 10.0.0.2"]
    node.apply()
    assert node.ask("a") == ["node:8775 sees 10.0.0.2"]


@once
def test_an_address_that_somebody_else_has_given_will_do_and_stays(node):
    batch("addr add 169.254.169.254/32 dev eth2 scope link\n")
    node.site.serve("node", 8775)
    node.apply()
    assert node.ask("a") == ["node:8775 sees 10.0.0.2"]
    assert not node.apply()["changed"]
    node.apply(ports=[])
    (left,) = [line for line in everything() if "169.254" in line and " table " not in line]
    assert "eth2" in left and "lo" not in left.split()


@once
def test_a_bridge_that_is_not_there_is_told_of_and_the_rest_is_done(node):
    node.site.serve("node", 8775)
    networks = [
        {"bridge": bridge, "cidr": cidr, "ports": [port]}
        for bridge, cidr, port in (("br100", "10.0.0.0/24", "tap-a"), ("br-none", "10.0.5.0/24", "tap-z"))
    ]
    done = node.apply(flat_metadata={"host": None, "port": 8775, "networks": networks})
    assert [text for text in done["warnings"] if "br-none" in text]
    assert node.ask("a") == ["node:8775 sees 10.0.0.2"]


@once
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_run_is_finished_by_the_next(node, number):
    """Before the address and its way, before the rules, and before what goes last; on the way there and back."""
    node.site.serve("node", 8775)
    before = everything()
    for wanted in ({}, {"ports": []}):

        def run_to(step, wanted=wanted):
            for module, name in ((flat_metadata, "_bring"), (bridge_table, "load")):
                setattr(module, name, after(step, getattr(module, name)))
            node.apply(**wanted)

        assert killed_at(number, run_to)
        node.apply(**wanted)
        assert not node.apply(**wanted)["changed"]
        assert node.ask("a") == (["no answer"] if wanted else ["node:8775 sees 10.0.0.2"])
    assert everything() == before


def after(step, real):
    def call(*arguments):
        step()
        return real(*arguments)

    return call


@once
def test_a_refusal_changes_nothing_and_another_run_is_waited_for(node, monkeypatch):
    before = everything()
    with pytest.raises(InputError, match=r"flat_metadata\.networks\[0\]\.ports\[1\]: 'tap-a' is that of"):
        node.apply(ports=["tap-a", "tap-a"])
    with lock.exclusive(flat_metadata.LOCK_FILE, 1), pytest.raises(HostError, match="another run is at work"):
        flat_metadata.apply(driver.packet_filter.flat_metadata({"networks": [NETWORK]}), wait=0.1)
    assert everything() == before


NETWORK = {"bridge": "br100", "cidr": "10.0.0.0/24", "ports": ["tap-a"]}
