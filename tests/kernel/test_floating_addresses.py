# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating addresses on interfaces in a fresh network namespace, and what their neighbours hear of them."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest
from a_router import namespace, run
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import floating_addresses as driver

LONG = "a-long-name-0123"[:15]


@pytest.fixture(autouse=True)
def interfaces(netns, tmp_path, monkeypatch):
    """eth2, eth3 and one with the longest name, with the host's own addresses."""
    monkeypatch.setattr(driver, "LOCK_FILE", str(tmp_path / "run" / "lock"))
    for number, name in enumerate(("eth2", "eth3", LONG)):
        run("ip", "link", "add", name, "type", "veth", "peer", "name", f"far{number}")
        run("ip", "link", "set", f"far{number}", "up")
        run("ip", "link", "set", name, "up")
    run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth2")
    run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth2", "label", "eth2:web")


def section(*places, **more):
    addresses = [dict(zip(("address", "interface"), place.split("@"))) for place in places]
    return {"addresses": addresses, **more}


def apply(*places, **options):
    return driver.apply(section(*places), **options)


def shown():
    """The global IPv4 addresses as another tool sees them."""
    links = json.loads(run("ip", "-json", "-4", "addr", "show", "scope", "global"))
    found = [
        f"{entry['local']}/{entry['prefixlen']}@{link['ifname']} {entry['label']}"
        for link in links
        for entry in link["addr_info"]
        if entry
    ]
    return sorted(found)


OWN = ["192.0.2.1/24@eth2 eth2", "192.0.2.2/24@eth2 eth2:web"]


def test_check_apply_check_apply_and_away():
    places = ("192.0.2.101@eth2", "203.0.113.7@eth3", f"203.0.113.8@{LONG}")
    predicted = apply(*places, check=True)
    assert predicted["actions"] == [
        "bind 192.0.2.101 to eth2",
        "bind 203.0.113.7 to eth3",
        f"bind 203.0.113.8 to {LONG}",
    ]
    assert shown() == OWN
    assert apply(*places) == predicted
    assert shown() == [
        OWN[0],
        "192.0.2.101/32@eth2 eth2:nova",
        OWN[1],
        "203.0.113.7/32@eth3 eth3:nova",
        f"203.0.113.8/32@{LONG} {LONG[:10]}:nova",
    ]
    for check in (True, False):
        assert apply(*places, check=check)["changed"] is False
    gone = apply(places[1], check=True)
    assert gone["actions"] == ["unbind 192.0.2.101 from eth2", f"unbind 203.0.113.8 from {LONG}"]
    assert apply(places[1]) == gone
    apply()
    assert shown() == OWN


def test_what_is_not_ours_stays():
    # An address that somebody bound by hand does as well, and is not taken away with the others.
    assert not apply("192.0.2.1@eth2")["changed"]
    run("ip", "addr", "add", "203.0.113.7/32", "dev", "eth3")
    before = shown()
    assert not apply("203.0.113.7@eth3")["changed"]
    assert not apply()["changed"]
    assert shown() == before


def test_an_address_moves_to_another_interface():
    apply("203.0.113.7@eth2")
    assert apply("203.0.113.7@eth3")["actions"] == ["bind 203.0.113.7 to eth3", "unbind 203.0.113.7 from eth2"]
    assert shown() == [*OWN, "203.0.113.7/32@eth3 eth3:nova"]
    assert not apply("203.0.113.7@eth3")["changed"]


def test_to_unbind_only_binds_nothing():
    apply("203.0.113.7@eth2", "203.0.113.8@eth2")
    want = ("203.0.113.8@eth2", "203.0.113.9@eth2")
    assert apply(*want, only_unbind=True)["actions"] == ["unbind 203.0.113.7 from eth2"]
    assert not apply(*want, only_unbind=True)["changed"]
    assert apply(*want)["actions"] == ["bind 203.0.113.9 to eth2"]


def test_a_missing_interface_is_told_before_anything_is_done():
    with pytest.raises(
        HostError, match="floating IP 203.0.113.8: this host has no interface 'eth9'.*Nothing was changed"
    ):
        apply("203.0.113.7@eth2", "203.0.113.8@eth9")
    assert shown() == OWN


def test_a_refusal_puts_everything_back(monkeypatch):
    """The kernel refuses the second one: somebody else bound it between our reading and our writing."""
    apply("203.0.113.6@eth2")
    state = driver.read()
    run("ip", "addr", "add", "203.0.113.8/32", "dev", "eth2")
    before = shown()
    monkeypatch.setattr(driver, "read", lambda: state)
    with pytest.raises(HostError, match="cannot bind 203.0.113.8 to eth2: .*exists.*the host is as it was"):
        apply("203.0.113.7@eth2", "203.0.113.8@eth2", "203.0.113.9@eth2")
    assert shown() == before


def test_a_thousand_at_once():
    places = [f"203.0.{number >> 8}.{number & 255}@eth2" for number in range(1, 1200)]
    assert len(apply(*places)["actions"]) == 1199
    assert len(shown()) == 1199 + len(OWN)
    assert not apply(*places)["changed"]
    apply()
    assert shown() == OWN


def test_an_interface_that_is_down_has_nobody_to_tell():
    run("ip", "link", "set", "eth3", "down")
    assert driver.apply(section("203.0.113.7@eth3", "203.0.113.9@lo", send_arp=2))["changed"]
    assert "203.0.113.7/32@eth3 eth3:nova" in shown()


# -- IPv6


V6 = ("2001:db8:5::7@eth2", "2001:db8:5::8@eth3", "203.0.113.7@eth3")


def global_routes():
    """Of IPv6. Those of links' own addresses come when these have been seen to be nobody else's."""
    return [line for line in run("ip", "-6", "route", "show").splitlines() if not line.startswith("fe80::")]


def shown_v6():
    """The global IPv6 addresses and the routes as another tool sees them."""
    links = json.loads(run("ip", "-json", "-6", "addr", "show", "scope", "global"))
    found = [
        f"{entry['local']}/{entry['prefixlen']}@{link['ifname']} {entry.get('metric', '-')}"
        for link in links
        for entry in link["addr_info"]
        if entry
    ]
    return sorted(found)


def test_ipv6_check_apply_check_apply_and_away():
    run("ip", "addr", "add", "2001:db8:5::1/64", "dev", "eth2", "nodad")
    run("ip", "addr", "add", "2001:db8:9::1/128", "dev", "eth2", "nodad")
    own, routes = shown_v6(), global_routes()
    predicted = apply(*V6, check=True)
    assert predicted["actions"] == [
        "bind 2001:db8:5::7 to eth2",
        "bind 2001:db8:5::8 to eth3",
        "bind 203.0.113.7 to eth3",
    ]
    assert shown_v6() == own
    assert apply(*V6) == predicted
    assert shown_v6() == sorted([*own, "2001:db8:5::7/128@eth2 1852798561", "2001:db8:5::8/128@eth3 1852798561"])
    # Neither a route of their own, nor anything to wait for.
    assert global_routes() == routes
    assert "tentative" not in run("ip", "-6", "addr", "show", "to", "2001:db8:5::/120")
    for check in (True, False):
        assert apply(*V6, check=check)["changed"] is False
    assert apply(V6[0])["actions"] == ["unbind 203.0.113.7 from eth3", "unbind 2001:db8:5::8 from eth3"]
    # What somebody bound by hand does as well, and stays.
    run("ip", "addr", "add", "2001:db8:5::9/128", "dev", "eth2", "nodad")
    by_hand = shown_v6()
    assert not apply(V6[0], "2001:db8:5::9@eth2")["changed"]
    assert shown_v6() == by_hand
    apply()
    assert shown_v6() == sorted([*own, "2001:db8:5::9/128@eth2 -"])


def test_the_host_speaks_for_itself_by_no_ipv6_address_that_leads_to_a_guest():
    """The nearer one to whom it speaks would be the better source otherwise (RFC 6724)."""
    run("ip", "addr", "add", "2001:db8:5:ffff::1/48", "dev", "eth2", "nodad")
    apply("2001:db8:5::7@eth2")
    (route,) = json.loads(run("ip", "-json", "-6", "route", "get", "2001:db8:5::9"))
    assert route["prefsrc"] == "2001:db8:5:ffff::1"


def test_where_ipv6_is_off_it_is_told_before_anything_is_done():
    run("sysctl", "-qw", "net.ipv6.conf.eth3.disable_ipv6=1")
    for check in (True, False):
        with pytest.raises(HostError, match="2001:db8:5::8: IPv6 is off on interface 'eth3'.*Nothing was changed"):
            apply(*V6, check=check)
    assert shown_v6() == [] and shown() == OWN


# -- news of where an address is


LISTEN_V4 = """
import socket, struct, sys
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
listener.bind(("eth0", 0))
print("ready", flush=True)
listener.settimeout(1.5)
try:
    while True:
        frame = listener.recv(100)
        operation, sender, target = struct.unpack_from("!20xH6x4s6x4s", frame)
        print(operation, frame[:6].hex(), socket.inet_ntoa(sender), socket.inet_ntoa(target))
except socket.timeout:
    pass
"""
LISTEN_V6 = """
import socket, struct
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
listener.bind(("eth0", 0))
print("ready", flush=True)
listener.settimeout(1.5)
try:
    while True:
        frame = listener.recv(200)
        if frame[20] == 58 and frame[54] == 136:
            source, target = socket.inet_ntop(10, frame[22:38]), socket.inet_ntop(10, frame[62:78])
            print(frame[:6].hex(), frame[6:12].hex(":"), frame[21], source, target, frame[58] & 0x20, flush=True)
except socket.timeout:
    pass
"""


class Wire(t.NamedTuple):
    """Addresses at both ends, those that come to our end, and how they are told of."""

    ours: str
    theirs: str
    places: tuple[str, str]
    listen: str
    #: What the listener prints of an address and the MAC address of our end.
    news: t.Callable[[str, str], list[str]]


WIRES = {
    "ipv4": Wire(
        "198.51.100.1/24",
        "198.51.100.9/24",
        ("198.51.100.101", "198.51.100.102"),
        LISTEN_V4,
        lambda address, _mac: [f"{operation} {'ff' * 6} {address} {address}" for operation in (1, 2)],
    ),
    "ipv6": Wire(
        "2001:db8:5::1/64",
        "2001:db8:5::99/64",
        ("2001:db8:5::7", "2001:db8:5::8"),
        LISTEN_V6,
        lambda address, mac: [f"333300000001 {mac} 255 {address} {address} 32"],
    ),
}


@pytest.mark.parametrize("rounds", [0, 3])
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_neighbours_learn_where_an_address_is_now(wire, rounds):
    """The neighbour's own kernel believes it, so of IPv6 the checksum is right as well."""
    with namespace() as (holder, inside):
        run("ip", "link", "add", "eth4", "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        nodad = " nodad" if ":" in wire.ours else ""
        run("ip", "-batch", "-", text=f"link set eth4 up\naddr add {wire.ours} dev eth4{nodad}\n")
        stale = "02:00:00:00:00:99"
        lines = (
            f"addr add {wire.theirs} dev eth0{nodad}\nlink set eth0 up\n"
            f"neigh replace {wire.places[0]} lladdr {stale} nud stale dev eth0\n"
        )
        run(*inside, "ip", "-batch", "-", text=lines)
        (link,) = json.loads(run("ip", "-json", "link", "show", "eth4"))

        def heard():
            """What the neighbour is told while the addresses are bound."""
            listener = subprocess.Popen([*inside, sys.executable, "-c", wire.listen], stdout=subprocess.PIPE, text=True)
            assert listener.stdout.readline() == "ready\n"
            driver.apply(section(*(f"{address}@eth4" for address in wire.places), send_arp=rounds))
            return listener.communicate()[0].splitlines()

        first = heard()
        for address in wire.places:
            assert {first.count(line) for line in wire.news(address, link["address"])} == {rounds}
        (neighbour,) = json.loads(run(*inside, "ip", "-json", "neigh", "show", wire.places[0]))
        assert neighbour["lladdr"] == (link["address"] if rounds else stale)
        # Nothing is sent where nothing is bound.
        assert heard() == []
