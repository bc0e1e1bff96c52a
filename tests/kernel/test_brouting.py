# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs of one's own network where all guests are behind one port of a bridge whose packets are filtered.

The kernel translates such a packet within the bridge, and would have to send it back out of the port it came by.
"""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from a_node import Site, batch, close
from a_router import run
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import floating_addresses, links, lock, routing
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

UPLINK = "to-br100"
RANGES = {"blue": ("br100", "10.0.0.0/24", "fd00::/64"), "red": ("br101", "10.0.1.0/24", "fd00:0:0:1::/64")}
#: Floating IPs of the guests a and b, their addresses, and that of the gateway, by the version of IP.
FLOATING = {4: ("192.0.2.102", "192.0.2.103"), 6: ("2001:db8:5::102", "2001:db8:5::103")}
FIXED = {4: ("10.0.0.2", "10.0.0.3"), 6: ("fd00::2", "fd00::3")}
GATEWAY = {4: "10.0.0.1", 6: "fd00::1"}
TOLD = "bridge br100: route IPv{} that comes by to-br100 for this host itself before bridging it"
BACK = "bridge br100: bridge again what comes by to-br100 for this host itself"
#: Who listens to it hears of changes of traffic control.
GROUP = 0x8


class Node:
    """The routing node of the test, on one back end and with one version of IP."""

    def __init__(self, variant, version, stack):
        self.backend, self.version = variant.backend, version
        self.site = Site(stack)
        self.site.lay(1, True, version)

    def apply(self, *leading, uplinks=(UPLINK,), check=False, forwards=(), **more):
        """With floating IPs that lead to the guests a (0) and b (1)."""
        public = [FLOATING[self.version][guest] for guest in leading]
        fixed = [FIXED[self.version][guest] for guest in leading]
        networks = [
            {"label": label, "bridge": bridge, "cidr": cidr, "cidr_v6": cidr_v6, "gateway": True, "dhcp": True}
            | {"snat": True, "uplinks": list(uplinks) if bridge == "br100" else []}
            for label, (bridge, cidr, cidr_v6) in RANGES.items()
        ]
        plan = {
            "public_interface": "eth2",
            "routing_source_ip": "192.0.2.1",
            "networks": networks,
            "floating_ips": [{"address": one, "fixed_address": two} for one, two in zip(public, fixed)],
            "port_forwards": list(forwards),
            **more,
        }
        bound = [*public, *dict.fromkeys(row["address"] for row in forwards)]
        addresses = {"addresses": [{"address": address, "interface": "eth2"} for address in bound], "send_arp": 1}
        by = routing.BACKENDS[self.backend]
        return routing.apply(by, plan, addresses, check=check, diff=True, wait=5)

    def bring(self, *leading, **more):
        """As it was foretold, and then there is nothing left to do."""
        foretold = self.apply(*leading, check=True, **more)
        assert self.apply(*leading, **more) == foretold
        with silent():
            again = self.apply(*leading, **more)
        assert (again["changed"], again["actions"]) == (False, [])
        assert again["warnings"] == [text for text in foretold["warnings"] if "do not reach" in text]
        return foretold


@contextlib.contextmanager
def silent():
    """No filter changes in the block, nor is one made and taken again."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as ear:
        ear.bind((0, GROUP))
        yield
        ear.setblocking(False)
        with pytest.raises(BlockingIOError):
            ear.recv(1 << 16)


@pytest.fixture
def node(variant, request, monkeypatch):
    monkeypatch.setattr(floating_addresses, "LOCK_FILE", str(variant.folder / "run" / "floating.lock"))
    close(variant, "FORWARD")
    with contextlib.ExitStack() as stack:
        yield Node(variant, getattr(request, "param", 4), stack)


ALL = pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True)
ONE = pytest.mark.parametrize("variant", ["nftables"], indirect=True)
BOTH = pytest.mark.parametrize("node", [4, 6], ids=["ipv4", "ipv6"], indirect=True)


def places():
    """The interfaces with a place for filters, and the filters there as the kernel lists them."""
    found = {row["dev"] for row in json.loads(run("tc", "-json", "qdisc", "show")) if row["kind"] in KINDS}
    return {name: run("tc", "filter", "show", "dev", name, "ingress") for name in sorted(found)}


KINDS = ("clsact", "ingress")


def filter_others(way="ingress", pref="7"):
    """Somebody else's filter, which nothing matches."""
    match = ["u32", "match", "u32", "0xffffffff", "0xffffffff", "at", "0", "flowid", "1:1"]
    run("tc", "filter", "add", "dev", UPLINK, way, "protocol", "ip", "pref", pref, *match)


@ALL
@BOTH
def test_guests_behind_one_port_reach_each_other_by_floating_ips(node):
    site, (a, b) = node.site, FLOATING[node.version]
    node.apply(1, uplinks=())
    outwards = site.keep_asking("a", {4: "192.0.2.9", 6: "2001:db8:5::9"}[node.version])
    inwards = site.keep_asking("outside", b)
    talk = [outwards(), inwards()]
    assert [text.partition(":")[0] for text in talk] == ["outside", "b"]
    # A limit of the kernel's.
    assert [site.sees(name, b) for name in ("a", "b")] == ["no answer", "no answer"]
    assert "bridge" not in " ".join(places())

    done = node.bring(1)
    assert done["actions"] == [TOLD.format(node.version)]
    assert done["diff"][-1]["after"] == f"to-br100: IPv{node.version} for this host itself is routed\n"
    assert site.sees("a", b) == f"b:4000 sees {GATEWAY[node.version]}"
    assert site.sees("b", b) == f"b:4000 sees {b}"
    assert all(site.pings(name, b) for name in ("a", "b", "c", "outside", "node"))
    assert all("b:4000" in site.sees(name, b) for name in ("c", "outside", "node"))
    assert site.sees("a", FIXED[node.version][1]) == f"b:4000 sees {FIXED[node.version][0]}"
    assert [outwards(), inwards()] == talk

    node.bring(0, 1)
    assert [site.sees("a", b), site.sees("b", a)] == [f"b:4000 sees {a}", f"a:4000 sees {b}"]

    assert BACK in node.bring()["actions"]
    assert places() == {}
    assert site.sees("a", FIXED[node.version][1]) == f"b:4000 sees {FIXED[node.version][0]}"


@ONE
@BOTH
def test_the_bridge_still_learns_where_its_guests_are(node):
    """Or it would flood what they are sent."""
    node.bring(1)
    site, b = node.site, FLOATING[node.version][1]
    mac = json.loads(run(*site.inside["a"], "ip", "-json", "link", "show", "eth0"))[0]["address"]
    assert site.sees("a", b).startswith("b:4000")
    run("bridge", "fdb", "del", mac, "dev", UPLINK, "master")
    # The node is not sure of its neighbour any more, and asks it.
    run("ip", "neigh", "flush", "dev", "br100")
    assert site.sees("a", b).startswith("b:4000")
    assert mac in run("bridge", "fdb", "show", "br", "br100")


@ONE
def test_ports_of_an_address_as_well(node):
    forward = {"address": "192.0.2.104", "protocol": "tcp", "fixed_address": "10.0.0.3"}
    node.bring(forwards=[{**forward, "ports": "80", "fixed_port": 4001}])
    assert node.site.ask("a", "tcp/192.0.2.104/80") == ["b:4001 sees 10.0.0.1"]


@ONE
def test_it_is_not_there_for_guests_of_this_host_alone(node):
    own = {"address": "10.0.0.3", "cidr": "10.0.0.0/24", "security_groups": ["open"]}
    groups = [{"name": "open", "members": ["10.0.0.3"], "rules": [{"protocol": None}]}]
    node.apply(1, instances=[own], security_groups=groups)
    assert places() == {}
    node.apply(0, 1, instances=[own], security_groups=groups)
    assert list(places()) == [UPLINK]


@ONE
@pytest.mark.parametrize("kind", KINDS)
def test_what_others_have_there_stays(node, kind):
    run("tc", "qdisc", "add", "dev", UPLINK, kind)
    filter_others()
    before = places()
    node.bring(1)
    assert len(places()[UPLINK]) > len(before[UPLINK]) and node.site.sees("a", FLOATING[4][1]).startswith("b:")
    node.bring()
    assert places() == before
    run("tc", "filter", "del", "dev", UPLINK, "ingress", "pref", "7")
    # The place is theirs, even empty.
    node.bring(1)
    node.bring()
    assert list(places()) == [UPLINK]


@ONE
@pytest.mark.parametrize(("way", "pref"), [("ingress", "7"), ("ingress", "28272"), ("egress", "7")])
def test_what_others_put_into_our_place_stays(node, way, pref):
    node.bring(1)
    filter_others(way, pref)
    node.bring(1, 0)
    node.bring()
    shown = run("tc", "filter", "show", "dev", UPLINK, way)
    assert f"pref {pref} " in shown and "match ffffffff" in shown
    assert "mirred" not in places()[UPLINK]


@ONE
@pytest.mark.parametrize(
    "harm",
    [
        ["tc", "qdisc", "del", "dev", UPLINK, "clsact"],
        ["tc", "filter", "del", "dev", UPLINK, "ingress", "pref", "28272"],
        # Both, as a bridge without an address of its own has that of its port.
        ["ip", "link", "set", UPLINK, "address", "02:16:3e:00:00:77"],
    ],
    ids=["place", "filter", "mac"],
)
def test_what_is_not_as_it_should_be_is_mended(node, harm):
    node.bring(1)
    run(*harm)
    assert node.bring(1)["actions"] == [TOLD.format(4)]
    run(*node.site.inside["a"], "ip", "neigh", "flush", "dev", "eth0")
    assert node.site.sees("a", FLOATING[4][1]) == "b:4000 sees 10.0.0.1"
    node.bring()
    # Whose an empty place is nobody can tell.
    assert places() == ({UPLINK: ""} if "filter" in harm else {})


@ONE
def test_a_bridge_with_another_mac_address_than_its_uplink(node):
    """For such a one the kernel needs one more module, and where it lacks it that is told."""
    run("ip", "link", "set", "br100", "address", "02:16:3e:00:00:78")
    run(*node.site.inside["a"], "ip", "neigh", "flush", "dev", "eth0")
    done = node.bring(1)
    reached = node.site.sees("a", FLOATING[4][1]) == "b:4000 sees 10.0.0.1"
    told = [text for text in done["warnings"] if "guests of other hosts do not reach" in text]
    assert reached == (places() != {}) == (told == [])
    assert reached or "the kernel has no module act_skbedit" in told[0]


@ONE
def test_an_interface_that_is_not_in_the_bridge_is_left_alone(node):
    [foretold] = [text for text in node.apply(1, uplinks=("eth2",), check=True)["actions"] if "route IPv4" in text]
    assert "eth2" in foretold  # a run would have it in the bridge by then
    done = node.apply(1, uplinks=("eth2",))
    assert places() == {} and any("eth2 is not in the bridge" in text for text in done["warnings"])


@ONE
def test_an_interface_that_leaves_its_bridge_keeps_what_it_brings(node, tmp_path, monkeypatch):
    """Whatever comes between: the host may be reached by it."""
    monkeypatch.setattr(links, "LOCK_FILE", str(tmp_path / "links.lock"))
    bridge = {"name": "br100", "interfaces": [UPLINK], "addresses": ["10.0.0.1/24"]}
    run("ip", "link", "set", UPLINK, "nomaster")
    run("ip", "link", "del", "br100")
    links.apply({"bridges": [bridge]})
    node.bring(1)
    assert node.site.sees("a", FLOATING[4][1]).startswith("b:4000")
    links.apply({"bridges": []})
    assert places() == {}
    batch(f"addr add 10.0.0.1/24 dev {UPLINK}\n")
    assert node.site.pings("a", "10.0.0.1")
    assert [text for text in node.apply(1)["warnings"] if f"{UPLINK} is not in the bridge" in text]


@ONE
def test_two_runs_at_once_are_one_after_the_other(node, tmp_path):
    assert driver.LOCK_FILE.startswith(str(tmp_path))
    with lock.exclusive(str(tmp_path / "run" / "brouting.lock"), 1), pytest.raises(lock.HostError):
        node.apply(1)
    assert node.bring(1)["actions"] == [TOLD.format(4)]
