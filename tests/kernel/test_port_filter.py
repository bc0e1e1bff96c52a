"""The port filter against this machine's kernel: frames that guests really send, and what the rules read back as."""

from __future__ import annotations

import contextlib
import copy
import json
import pathlib
import subprocess
import sys
import threading
import time
import typing as t

import a_bridge
import frames
import pytest
from a_bridge import Guest, ip
from ansible_collections.tenantnet.nova.plugins.module_utils._core import bridge_table
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import port_filter, programs
from frames import REDIRECT, REPLY, REQUEST, arp, ether, icmpv6, tagged, udp

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

A, B, C = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b", "fa:16:3e:00:00:0c"
VRRP = "00:00:5e:00:01:01"
A_LINK = "fe80::f816:3eff:fe00:a"

PLAN: dict[str, t.Any] = {
    "ports": [
        {
            "name": "tapa",
            "mac": A,
            "addresses": ["10.0.0.10", "fd00::a"],
            "allowed_address_pairs": [
                {"ip_address": "10.0.0.50", "mac_address": VRRP},
                {"ip_address": "10.0.9.0/28"},
                {"ip_address": "fd00:9::/64"},
            ],
            "dhcp_servers": ["10.0.0.1"],
        },
        {"name": "tapb", "mac": B, "addresses": ["10.0.0.11", "fd00::b"], "dhcp_servers": ["10.0.0.1"]},
    ],
    "uplinks": [],
}

NS, NA = frames.NEIGHBOR_SOLICIT, frames.NEIGHBOR_ADVERT
RS, RA = frames.ROUTER_SOLICIT, frames.ROUTER_ADVERT

#: What guest A may send.
GOOD: dict[str, bytes] = {
    "ask for a lease": udp(A, "0.0.0.0", (68, 67)),
    "renew a lease": udp(A, "10.0.0.10", (68, 67), "10.0.0.1"),
    "ask who has": arp(A, REQUEST, A, "10.0.0.10", "10.0.0.11"),
    "look for a duplicate": arp(A, REQUEST, A, "0.0.0.0", "10.0.0.10"),
    "answer for itself": arp(A, REPLY, A, "10.0.0.10", "10.0.0.11"),
    "announce itself": arp(A, REQUEST, A, "10.0.0.10", "10.0.0.10"),
    "its address": udp(A, "10.0.0.10", (5000, 5000)),
    "its pair, from the MAC address of the pair": udp(VRRP, "10.0.0.50", (5000, 5000)),
    "announce the pair": arp(VRRP, REPLY, VRRP, "10.0.0.50", "10.0.0.50"),
    "an address of the range": udp(A, "10.0.9.15", (5000, 5000)),
    "its IPv6 address": udp(A, "fd00::a", (5000, 5000), "ff02::1"),
    "its link-local address": udp(A, A_LINK, (5000, 5000), "ff02::1"),
    "an address of the IPv6 range": udp(A, "fd00:9::1234", (5000, 5000), "ff02::1"),
    "ask for a lease of DHCPv6": udp(A, A_LINK, (546, 547), "ff02::1:2"),
    "ask for routers": icmpv6(A, A_LINK, RS),
    "ask for routers without an address": icmpv6(A, "::", RS),
    "look for an IPv6 duplicate": icmpv6(A, "::", NS, "fd00::a"),
    "join a group without an address": icmpv6(A, "::", frames.MLD2_REPORT),
    "ask for a neighbour": icmpv6(A, "fd00::a", NS, "fd00::b"),
    "answer a neighbour": icmpv6(A, "fd00::a", NA, "fd00::a"),
    "answer for the range": icmpv6(A, A_LINK, NA, "fd00:9::7"),
}

#: What it may not. Where there is one, the good one that it differs from stands above.
BAD: dict[str, bytes] = {
    "a foreign MAC address": udp(C, "10.0.0.10", (5000, 5000)),
    "that of the neighbour": udp(B, "10.0.0.11", (5000, 5000)),
    "a foreign address": udp(A, "10.0.0.12", (5000, 5000)),
    "that of the neighbour from its own MAC address": udp(A, "10.0.0.11", (5000, 5000)),
    "the gateway's": udp(A, "10.0.0.1", (5000, 5000)),
    "no address": udp(A, "0.0.0.0", (5000, 5000)),
    "the pair's from its own MAC address": udp(A, "10.0.0.50", (5000, 5000)),
    "its own from the pair's MAC address": udp(VRRP, "10.0.0.10", (5000, 5000)),
    "above the range": udp(A, "10.0.9.16", (5000, 5000)),
    "a foreign IPv6 address": udp(A, "fd00::c", (5000, 5000), "ff02::1"),
    "outside of the IPv6 range": udp(A, "fd00:9:0:1::1", (5000, 5000), "ff02::1"),
    "a foreign link-local address": udp(A, "fe80::1", (5000, 5000), "ff02::1"),
    "answer for the gateway": arp(A, REPLY, A, "10.0.0.1", "10.0.0.11"),
    "ask as the gateway": arp(A, REQUEST, A, "10.0.0.1", "10.0.0.11"),
    "answer in the neighbour's name": arp(A, REPLY, B, "10.0.0.11", "10.0.0.1"),
    "answer with another MAC address": arp(A, REPLY, C, "10.0.0.10", "10.0.0.11"),
    "answer for nobody": arp(A, REPLY, A, "0.0.0.0", "10.0.0.11"),
    "serve DHCP": udp(A, "10.0.0.10", (67, 68)),
    "serve DHCP as the server": udp(A, "10.0.0.1", (67, 68)),
    "serve DHCP from another port": udp(A, "10.0.0.10", (5000, 68)),
    "serve DHCPv6": udp(A, A_LINK, (547, 546), "ff02::1"),
    "advertise a router": icmpv6(A, A_LINK, RA),
    "redirect": icmpv6(A, A_LINK, REDIRECT, "fd00::b"),
    "answer for a neighbour": icmpv6(A, "fd00::a", NA, "fd00::b"),
    "answer as a neighbour": icmpv6(A, "fd00::b", NA, "fd00::b"),
    "look for a duplicate of the neighbour": icmpv6(A, "::", NS, "fd00::b"),
    "IPv6 without an address": udp(A, "::", (5000, 5000), "ff02::1"),
    "a tag": tagged(udp(A, "10.0.0.10", (5000, 5000)), 101),
    "a tag of no VLAN": tagged(udp(A, "10.0.0.10", (5000, 5000)), 0),
    "two tags": tagged(udp(A, "10.0.0.10", (5000, 5000)), 100, 101),
    "another protocol": ether(A, 0x88CC, bytes(46)),
}


class Bench(t.NamedTuple):
    a: Guest
    b: Guest
    uplink: Guest


@pytest.fixture(autouse=True)
def lock_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(port_filter, "LOCK_FILE", str(tmp_path / "port_filter.lock"))


@pytest.fixture
def bench(netns) -> t.Iterator[Bench]:
    """br100 with guests A and B and, at its uplink, C on another host."""
    with contextlib.ExitStack() as stack:
        ip("link add name br100 type bridge mcast_snooping 0")
        ip("link set br100 up")
        for setting in pathlib.Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
            setting.write_text("0")  # it would cut the marks off, which stand after the packets
        ip("link add name probe type veth peer name eborp")
        ip("link set eborp up")
        ip("link set probe master br100 up")
        made = [(("tapa", A), ("tapb", B), ("eth1", C))[n] for n in range(3)]
        yield Bench(*(stack.enter_context(a_bridge.guest(port, mac, "br100")) for port, mac in made))


def apply(plan: t.Any, check: bool = False) -> dict[str, t.Any]:
    return port_filter.apply(copy.deepcopy(plan), check=check)


def passing(sender: Guest, frames: dict[str, bytes], hearer: Guest) -> set[str]:
    """Which of the frames arrive; each ends with a mark of its own."""
    marks = {f"<{n:06}>".encode(): name for n, name in enumerate(frames)}
    a_bridge.forget(hearer)
    for mark, name in marks.items():
        sender.link.send(frames[name] + mark)
    last = b"<the-end>"
    # By a port of its own, of which nothing is filtered; another processor may be quicker with it.
    time.sleep(0.2)
    with a_bridge.own_socket("eborp") as link:
        link.send(ether("02:00:00:00:00:01", 0x88B5, bytes(50)) + last)
        found = a_bridge.heard(hearer, last)
    return {name for frame in found for mark, name in marks.items() if frame.endswith(mark)}


def listed() -> str:
    return subprocess.run(["nft", "-a", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("hearer", ["b", "uplink"])
def test_a_guest_sends_as_itself_alone(bench: Bench, hearer: str) -> None:
    """To the guest beside it and to another host."""
    everything = {**GOOD, **BAD}
    assert passing(bench.a, everything, getattr(bench, hearer)) == set(everything)
    apply(PLAN)
    assert passing(bench.a, everything, getattr(bench, hearer)) == set(GOOD)


def test_the_filter_is_there_when_the_port_comes_back(bench: Bench) -> None:
    apply(PLAN)
    before = listed()
    ip("link set tapa nomaster")
    ip("link set tapa down")  # kernels before 6.2 rename no other
    ip("link set tapa name gone")
    ip("link set gone name tapa up")
    ip("link set tapa master br100 up")
    assert listed() == before
    assert passing(bench.a, {**GOOD, **BAD}, bench.b) == set(GOOD)


def test_a_guest_hears_dhcp_of_its_own_server_alone(bench: Bench) -> None:
    answers = {
        "its server": udp(C, "10.0.0.1", (67, 68)),
        "another": udp(C, "10.0.0.99", (67, 68)),
        "no answer": udp(C, "10.0.0.99", (5000, 5000)),
    }
    apply(PLAN)
    assert passing(bench.uplink, answers, bench.a) == {"its server", "no answer"}


def test_what_hairpin_mode_sends_back_to_a_guest_is_no_duplicate(bench: Bench) -> None:
    apply(PLAN)
    ip("link set tapa type bridge_slave hairpin on")
    sent = {"multicast": icmpv6(A, "::", NS, "fd00::a"), "another's": icmpv6(B, "fd00::b", NS, "fd00::a")}
    assert passing(bench.a, {"multicast": sent["multicast"]}, bench.a) == set()
    assert passing(bench.b, {"another's": sent["another's"]}, bench.a) == {"another's"}


def test_dhcp_and_advertisements_stay_on_the_host(bench: Bench) -> None:
    leaks = {
        "request": udp(A, "0.0.0.0", (68, 67)),
        "request of DHCPv6": udp(A, A_LINK, (546, 547), "ff02::1:2"),
        "question for routers": icmpv6(A, A_LINK, RS),
    }
    entering = {
        "answer": udp(C, "10.0.0.1", (67, 68)),
        "advertisement": icmpv6(C, "fe80::c", RA),
        "answer of DHCPv6": udp(C, "fe80::c", (547, 546), "ff02::1"),
    }
    other = {"data": udp(A, "10.0.0.10", (5000, 5000)), "neighbour": icmpv6(A, "fd00::a", NS, "fd00::c")}
    apply(PLAN)
    assert passing(bench.a, leaks, bench.uplink) == set(leaks)
    assert passing(bench.uplink, entering, bench.b) == set(entering)
    apply({**PLAN, "uplinks": ["eth1"]})
    assert passing(bench.a, {**leaks, **other}, bench.uplink) == set(other)
    assert passing(bench.a, leaks, bench.b) == set(leaks)
    assert passing(bench.uplink, entering, bench.b) == set()


def test_the_second_run_writes_nothing_and_check_mode_neither(bench: Bench) -> None:
    predicted = apply(PLAN, check=True)
    assert "nova-network" not in listed()
    done = apply(PLAN)
    assert done == predicted
    assert done["changed"]
    monitor = subprocess.Popen(["nft", "monitor"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    again = apply(PLAN)
    assert (again["changed"], again["actions"], again["diff"]["before"]) == (False, [], "")
    subprocess.run(["nft", "add", "table", "inet", "heard"], check=True)
    time.sleep(0.3)
    monitor.terminate()
    heard = [line for line in monitor.communicate()[0].splitlines() if line.startswith(("add", "delete"))]
    assert heard == ["add table inet heard"]


def test_one_more_port_leaves_the_others_rules_and_counters(bench: Bench) -> None:
    apply(PLAN)
    rules = [line for line in listed().splitlines() if "handle" in line]
    more = copy.deepcopy(PLAN)
    more["ports"].append({"name": "tapc", "mac": C, "addresses": ["10.0.0.12"]})
    more["ports"][0]["addresses"] = ["10.0.0.20"]
    done = apply(more)
    assert done["actions"] == ["change what passes tapa", "filter tapc"]
    assert [line for line in listed().splitlines() if "handle" in line] == rules
    assert passing(bench.a, {"new": udp(A, "10.0.0.20", (9, 9)), "old": udp(A, "10.0.0.10", (9, 9))}, bench.b) == {
        "new"
    }


DRIFTS = [
    "add rule bridge nova-network from-guest accept",
    "insert rule bridge nova-network prerouting accept",
    "flush chain bridge nova-network from-guest-arp",
    "add element bridge nova-network macs { tapa . fa:16:3e:00:00:0c }",
    "delete element bridge nova-network ports { tapa }",
    "add element bridge nova-network ranges { tapa . fa:16:3e:00:00:0a . 10.0.9.16-10.0.9.20 }",
    "delete table bridge nova-network",
    "add chain bridge nova-network theirs",
    "add set bridge nova-network theirs { type ifname; }",
    "flush ruleset",
]


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_by_hand_is_seen_and_repaired(drift: str) -> None:
    apply(PLAN)
    good = json.loads(_table())
    subprocess.run(["nft", "-f", "-"], input=drift, text=True, check=True)
    predicted = apply(PLAN, check=True)
    assert predicted["changed"]
    assert predicted["actions"]
    assert apply(PLAN)["actions"] == predicted["actions"]
    assert _plain(json.loads(_table())) == _plain(good)
    assert not apply(PLAN)["changed"]


def _table() -> str:
    return subprocess.run(
        ["nft", "-j", "list", "table", "bridge", "nova-network"], check=True, capture_output=True, text=True
    ).stdout


def _plain(value: t.Any) -> t.Any:
    """Without handles, and sets in one order."""
    if isinstance(value, dict):
        return {k: sorted(map(json.dumps, v)) if k == "elem" else _plain(v) for k, v in value.items() if k != "handle"}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def test_other_tables_are_left_alone_and_an_empty_plan_takes_ours_away() -> None:
    theirs = "table bridge theirs { chain c { type filter hook forward priority 0; ip saddr 192.0.2.1 drop; }; }\n"
    subprocess.run(["nft", "-f", "-"], input=theirs, text=True, check=True)
    before = listed()
    apply(PLAN)
    assert apply({"ports": []})["actions"][-2:] == ["stop filtering tapa", "stop filtering tapb"]
    assert listed() == before
    assert not apply({"ports": []})["changed"]


def test_a_broken_load_changes_nothing(monkeypatch) -> None:
    apply(PLAN)
    before = listed()
    monkeypatch.setattr(bridge_table.Table, "amendment", lambda *_: "flush ruleset\nadd rule bridge nowhere c drop\n")
    with pytest.raises(HostError, match="nothing was changed"):
        apply({**PLAN, "uplinks": ["eth1"]})
    assert listed() == before


def test_two_runs_at_once_end_as_one(tmp_path: pathlib.Path) -> None:
    command = [*_RUN, str(tmp_path / "port_filter.lock")]
    results: list[t.Any] = []
    threads = [threading.Thread(target=lambda: results.append(subprocess.run(command, check=False))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0, 0]
    assert not apply(PLAN)["changed"]


_RUN = [
    sys.executable,
    "-c",
    f"import sys; sys.path[:0] = {sys.path!r}\n"
    "from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import port_filter\n"
    f"port_filter.LOCK_FILE = sys.argv[1]; port_filter.apply({PLAN!r}, check=False)",
]


def test_without_nft_a_host_without_ports_needs_nothing(monkeypatch) -> None:
    monkeypatch.setattr(programs, "find", lambda name: None)
    assert not apply({"ports": []})["changed"]
    with pytest.raises(HostError, match="install the package nftables"):
        apply(PLAN)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({}, "port_filter.ports is required"),
        ({"ports": [{"name": "tap*", "mac": A}]}, "cannot stand in a rule"),
        ({"ports": [{"name": "tapa", "mac": "ff:ff:ff:ff:ff:ff"}]}, "group or zero address"),
        ({"ports": [{"name": "tapa", "mac": A, "addresses": ["10.0.0"]}]}, "port_filter.ports[0].addresses[0]"),
        ({"ports": [{"name": "tapa", "mac": A, "allowed_address_pairs": [{"ip_address": "::/0"}]}]}, "every address"),
        ({"ports": [{"name": "tapa", "mac": A}, {"name": "tapa", "mac": B}]}, "already"),
        ({"ports": [{"name": "tapa", "mac": A}], "uplinks": ["tapa"]}, "already"),
        ({"ports": [{"name": "tapa", "mac": A, "color": 1}]}, "unknown key 'color'"),
    ],
)
def test_bad_input_is_one_clear_error(plan: t.Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        apply(plan)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "nova-network" not in listed()
