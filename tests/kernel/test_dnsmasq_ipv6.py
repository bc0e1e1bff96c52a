"""dnsmasq with IPv6 for real: kernels that give themselves an address, a client of DHCPv6, names, and the end of it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))

import a_dnsmasq_host
import pytest
from a_dnsmasq_host import MAC_A, MAC_B, file_times, ip, network, proc_lives
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import dnsmasq as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import router as router_of_dnsmasq

GATEWAY = "fd00::1/64"
#: The addresses that RFC 4291 gives to these MAC addresses: bit 0x02 of the first octet turned, ff:fe in the middle.
EUI_A, EUI_B = "fd00::f816:3eff:fe00:a", "fd00::f816:3eff:fe00:b"


@pytest.fixture
def host(netns):
    # Only who forwards is taken for a router.
    with open("/proc/sys/net/ipv6/conf/all/forwarding", "w", encoding="ascii") as handle:
        handle.write("1")
    with a_dnsmasq_host.made() as host:
        yield host


def reservation(mac=MAC_A, address="10.0.0.3", address_v6=EUI_A, hostname="web1"):
    return {"mac": mac, "hostname": hostname, "address": address, "address_v6": address_v6}


def dual(name="br100", subnet="10.0.0", **change):
    return network(name, subnet, **{"range_v6": "fd00::/64", "hosts": [reservation()], **change})


def alone(**change):
    nothing = dict.fromkeys(("listen_address", "dhcp_start", "netmask"))
    return dual(**{**nothing, "options": [], "hosts": [reservation(address=None)], **change})


def addresses(client, scope="global"):
    """The IPv6 addresses of this scope that the client can use, and whether each one is still preferred."""
    shown = client.inside("ip", "-j", "-6", "address", "show", "dev", "eth0", "scope", scope, "-tentative").stdout
    rows = [row for link in json.loads(shown or "[]") for row in link.get("addr_info", ()) if "local" in row]
    return {row["local"]: row["preferred_life_time"] > 0 for row in rows}


def router(client):
    """Where the client sends what is not for its own network."""
    routes = json.loads(client.inside("ip", "-j", "-6", "route", "show", "default").stdout or "[]")
    return [route["gateway"] for route in routes]


def link_local(bridge="br100"):
    shown = subprocess.run(
        ["ip", "-j", "-6", "address", "show", "dev", bridge, "scope", "link"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [row["local"] for link in json.loads(shown.stdout) for row in link.get("addr_info", ()) if "local" in row]


def soon(look, wanted, seconds=40):
    """What is looked at, as soon as it is as wanted; the kernel and dnsmasq both wait at random."""
    deadline = time.monotonic() + seconds
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert seen == wanted


def assert_configures_itself(client, address=EUI_A, bridge="br100"):
    soon(lambda: addresses(client), {address: True})
    soon(lambda: router(client), link_local(bridge))


def answers(client, kind, name, server):
    shown = client.inside("busybox", "nslookup", f"-type={kind}", name, server).stdout
    return [line.split()[-1] for line in shown.partition("\n\n")[2].splitlines() if line.startswith("Address")]


@contextlib.contextmanager
def dhcpv6(host, client, duid="LLT"):
    """A run of DHCPv6 as a system would do it that has just been installed: yields what it was given, or None."""
    binary = programs.find("dhclient") or pytest.skip("needs dhclient")
    soon(lambda: len(addresses(client, "link")), 1)
    given = f"{host.root}/given"
    for file in (given, f"{host.root}/dhclient.leases"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
    script = host.extra(
        f'#!/bin/sh\n[ "$reason" != BOUND6 ] || env > {given}.new && mv {given}.new {given}\n', "script"
    )
    os.chmod(script, 0o755)
    inside = ("nsenter", "-t", str(client.holder.pid), "-n")
    files = ("-lf", f"{host.root}/dhclient.leases", "-pf", f"{host.root}/dhclient.pid", "-cf", "/dev/null")
    process = subprocess.Popen(
        [*inside, binary, "-6", "-1", "-d", "-D", duid, *files, "-sf", script, "eth0"], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 15
        while not os.path.exists(given) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield read_variables(given)
    finally:
        process.kill()
        process.wait()


def read_variables(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as handle:
        return dict(line.rstrip("\n").split("=", 1) for line in handle if "=" in line)


@contextlib.contextmanager
def listening(bridge):
    """The router advertisements that leave or reach a bridge, as tcpdump tells them; complete at the end."""
    heard = []
    filters = "icmp6 and ip6[40] == 134"
    with subprocess.Popen(
        ["tcpdump", "-l", "-n", "-v", "-i", bridge, filters], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()
        try:
            yield heard
        finally:
            time.sleep(0.5)
            process.terminate()
            heard.extend(line for line in process.stdout.read().splitlines() if "router lifetime" in line)


# --- what a guest gets -----------------------------------------------------------------------------------------------


def test_kernel_gives_itself_the_planned_address(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    result = host.run(dual())
    assert result["actions"] == ["start dnsmasq for br100"]
    client = host.client(MAC_A)
    assert_configures_itself(client)
    lease = client.dhcp()
    assert lease["ip"] == "10.0.0.3" and lease["router"] == "10.0.0.1"
    assert client.inside("ping", "-c", "1", "-W", "2", "fd00::1").returncode == 0


def test_ipv6_alone(host):
    host.bridge("br100", GATEWAY)
    host.run(alone())
    client = host.client(MAC_A)
    assert_configures_itself(client)
    assert client.dhcp(tries=2) is None
    assert answers(client, "aaaa", "web1.novalocal", "fd00::1") == [EUI_A]
    assert answers(client, "aaaa", "web1.novalocal", f"{router(client)[0]}%eth0") == [EUI_A]


@pytest.mark.parametrize("detects_duplicates", ["1", "0"])
def test_bridge_that_waits_for_its_first_guest(host, detects_duplicates):
    """It has no carrier before, so no link-local address; and its own address may be unusable until then."""
    host.bridge("br100")
    ip("link", "add", "idle", "type", "veth", "peer", "name", "idle-far")
    ip("link", "set", "idle", "master", "br100", "up")
    ip("address", "flush", "dev", "br100")
    ip("link", "set", "br100", "down")
    with open("/proc/sys/net/ipv6/conf/br100/accept_dad", "w", encoding="ascii") as handle:
        handle.write(detects_duplicates)
    ip("link", "set", "br100", "up")
    ip("address", "add", GATEWAY, "dev", "br100")
    assert link_local() == []
    host.run(alone())
    client = host.client(MAC_A)
    assert_configures_itself(client)
    for server in (f"{router(client)[0]}%eth0", "fd00::1"):
        soon(lambda server=server: answers(client, "aaaa", "web1.novalocal", server), [EUI_A], seconds=10)


def test_names_of_both_versions(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    far = [{"address": "fd00::9", "hostname": "far"}, {"address": "10.0.0.9", "hostname": "far"}]
    host.run(dual(names=far))
    client = host.client(MAC_A)
    assert client.address() == "10.0.0.3"
    client.inside("ip", "address", "add", "10.0.0.3/24", "dev", "eth0")
    soon(lambda: addresses(client), {EUI_A: True})
    for server in ("fd00::1", "10.0.0.1"):
        assert answers(client, "aaaa", "web1.novalocal", server) == [EUI_A]
        assert answers(client, "a", "web1.novalocal", server) == ["10.0.0.3"]
        assert answers(client, "aaaa", "far.novalocal", server) == ["fd00::9"]


def test_client_of_dhcpv6_gets_the_planned_address_and_a_stranger_none(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    with dhcpv6(host, host.client(MAC_A)) as given:
        assert given["new_ip6_address"] == EUI_A
        assert given["new_dhcp6_name_servers"] == "fd00::1" and given["new_dhcp6_domain_search"] == "novalocal."
    with dhcpv6(host, host.client(MAC_B)) as given:
        assert given is None
    assert host.leases() == [("", EUI_A)]


def test_guests_know_the_mtu_of_the_bridge(host):
    host.bridge("br100", GATEWAY)
    ip("link", "set", "br100", "mtu", "1450")
    host.run(alone())
    client = host.client(MAC_A)
    # The kernel sets it back when another port joins.
    ip("link", "set", "br100", "mtu", "1450")
    soon(lambda: client.inside("cat", "/proc/sys/net/ipv6/conf/eth0/mtu").stdout.strip(), "1450")


def test_address_of_every_router_is_enough(host):
    """Hosts that serve one network together cannot have one gateway address; nova gave each of them this one."""
    host.bridge("br100", "10.0.0.1/24")
    ip("address", "add", "fd00::/64", "dev", "br100", "nodad")
    host.run(dual())
    assert_configures_itself(host.client(MAC_A))


# --- nobody else hears of it -----------------------------------------------------------------------------------------


def test_only_the_network_with_a_range_is_told_of_a_router(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    # Both have an address of the range and could be advertised; one of them is planned, without IPv6.
    host.bridge("br101", "10.0.1.1/24", "fd00::2/64")
    host.bridge("br102", "10.0.2.1/24", "fd00::3/64")
    other = host.client(MAC_A, "br101"), host.client(MAC_A, "br102")
    with listening("br101") as planned, listening("br102") as foreign:
        host.run(dual(), network("br101", "10.0.1", hosts=[]))
        assert_configures_itself(host.client(MAC_B), EUI_B)
        for client in other:
            client.inside("ip", "link", "set", "eth0", "down")
            client.inside("ip", "link", "set", "eth0", "up")
        for client in other:
            soon(lambda client=client: len(addresses(client, "link")), 1)
        time.sleep(6)
    assert planned == foreign == []
    assert [addresses(client) for client in other] == [{}, {}]


# --- changes ---------------------------------------------------------------------------------------------------------


def test_no_change_touches_nothing(host, monkeypatch):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    client = host.client(MAC_A)
    assert_configures_itself(client)
    assert client.address() == "10.0.0.3"
    before, pid, times = host.picture(), host.pid(), file_times(host)

    def forbidden(*arguments, **named):
        raise AssertionError(f"called with {arguments}")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(os, "kill", forbidden)
    monkeypatch.setattr(router_of_dnsmasq, "withdraw", forbidden)
    for check in (False, True):
        result = host.run(dual(), check_mode=check)
        assert (result["changed"], result["actions"], result["diff"]) == (False, [], [])
    monkeypatch.undo()
    assert host.picture() == before and host.pid() == pid and file_times(host) == times


def test_new_reservation_is_a_reload_that_leases_survive(host):
    """dnsmasq 2.90 is known to die on SIGHUP with some hosts files."""
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    pid, client = host.pid(), host.client(MAC_A)
    assert client.address() == "10.0.0.3"
    with dhcpv6(host, client) as given:
        assert given["new_ip6_address"] == EUI_A
    second = reservation(MAC_B, "10.0.0.4", EUI_B, "web2")
    result = host.run(dual(hosts=[reservation(), second]))
    assert result["actions"] == ["reload br100: +1 reservation, +1 name"] and host.pid() == pid
    with dhcpv6(host, host.client(MAC_B)) as given:
        assert given["new_ip6_address"] == EUI_B
    assert host.pid() == pid
    assert sorted(host.leases()) == [("", EUI_A), ("", EUI_B), (MAC_A, "10.0.0.3")]


def test_first_guest_is_a_reload(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual(hosts=[]))
    assert host.run(dual())["instances"] == {"br100": "reloaded"}
    assert_configures_itself(host.client(MAC_A))


def test_guest_that_is_made_anew_gets_its_address(host):
    """Its MAC address and so its address are the old ones, its DUID is another."""
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    client = host.client(MAC_A)
    with dhcpv6(host, client) as given:
        assert given["new_ip6_address"] == EUI_A
    with dhcpv6(host, client, "LL") as given:
        assert given is None, "then a lease need not be short"
    gone = dual(hosts=[])
    predicted = host.run(gone, check_mode=True)
    result = host.run(gone)
    assert result == predicted
    assert result["actions"][0] == "restart br100: a lease of DHCPv6 lost its reservation"
    assert result["actions"][1].startswith(f"release {EUI_A} of 00:01:") and host.leases() == []
    assert not host.run(gone)["changed"]
    host.run(dual())
    with dhcpv6(host, client, "LL") as given:
        assert given["new_ip6_address"] == EUI_A


def test_changed_range_is_a_restart_and_the_old_one_is_withdrawn(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    pid, client = host.pid(), host.client(MAC_A)
    assert_configures_itself(client)
    ip("address", "add", "fd01::1/64", "dev", "br100")
    new = EUI_A.replace("fd00", "fd01")
    result = host.run(dual(range_v6="fd01::/64", hosts=[reservation(address_v6=new)]))
    assert result["actions"] == ["restart br100: its configuration changes"] and host.pid() not in (pid, None)
    soon(lambda: addresses(client), {EUI_A: False, new: True})
    soon(lambda: router(client), link_local())


def test_network_that_loses_its_ipv6_is_told_so(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    client = host.client(MAC_A)
    assert_configures_itself(client)
    with listening("br100") as heard:
        assert host.run(network(hosts=[reservation(address_v6=None)]))["instances"] == {"br100": "restarted"}
        soon(lambda: (addresses(client), router(client)), ({EUI_A: False}, []), seconds=5)
        client.inside("ip", "link", "set", "eth0", "down")
        client.inside("ip", "link", "set", "eth0", "up")
        time.sleep(6)
    assert len(heard) == 1 and "router lifetime 0s" in heard[0]
    assert addresses(client) == {} and router(client) == []
    assert client.address() == "10.0.0.3"


def test_ipv6_comes_to_a_network(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(network(hosts=[reservation(address_v6=None)]))
    client = host.client(MAC_A)
    assert client.address() == "10.0.0.3"
    assert host.run(dual())["instances"] == {"br100": "restarted"}
    assert_configures_itself(client)
    assert host.leases() == [(MAC_A, "10.0.0.3")]


def test_what_is_not_planned_goes(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    pid, client = host.pid(), host.client(MAC_A)
    assert_configures_itself(client)
    host.run()
    soon(lambda: (addresses(client), router(client)), ({EUI_A: False}, []), seconds=5)
    assert not proc_lives(pid)
    assert not any(os.listdir(folder) for folder in (host.paths.conf, host.paths.run, host.paths.state))
    assert not host.run()["changed"]


def test_bridge_made_anew_is_advertised_again(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    assert_configures_itself(host.client(MAC_A))
    ip("link", "delete", "br100")
    # Longer than until the next advertisement, which finds no bridge.
    time.sleep(21)
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    # The next run sees to it; dnsmasq by itself would answer those that ask, and nobody else.
    predicted = host.run(dual(), check_mode=True)
    assert predicted["actions"] == ["restart br100: its interface got the IPv6 address after it started"]
    with listening("br100") as heard:
        assert host.run(dual()) == predicted
        time.sleep(21)
    assert heard and not host.run(dual())["changed"]
    assert_configures_itself(host.client(MAC_B), EUI_B)


def test_bridge_may_have_gone_before(host):
    host.bridge("br100", "10.0.0.1/24", GATEWAY)
    host.run(dual())
    ip("link", "delete", "br100")
    assert host.run()["instances"] == {"br100": "stopped"}


# --- what cannot be served -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (None, "br100: the interface br100 is not there"),
        (["10.0.0.1/24"], r"br100: br100 has no usable address in fd00::/64"),
        (["10.0.0.1/24", "fd01::1/64"], r"br100: br100 has no usable address in fd00::/64"),
        ([GATEWAY], "br100: no interface has the listen_address 10.0.0.1"),
    ],
)
def test_what_dnsmasq_would_not_say_is_said(host, present, reason):
    if present:
        host.bridge("br100", *present)
    host.bridge("br101", "10.0.1.1/24", "fd02::1/64")
    other = dual("br101", "10.0.1", range_v6="fd02::/64", hosts=[])
    result, failed = driver.run({"instances": [dual(), other]}, paths=host.paths)
    assert reason in failed and result["instances"] == {"br100": "failed", "br101": "started"}
    if present is None:
        host.bridge("br100", "10.0.0.1/24")
    for address in {"10.0.0.1/24", GATEWAY} - set(present or ["10.0.0.1/24"]):
        ip("address", "add", address, "dev", "br100")
    assert host.run(dual(), other)["instances"] == {"br100": "started", "br101": "unchanged"}
    assert_configures_itself(host.client(MAC_A))


def test_planned_addresses_are_those_of_the_kernel():
    """The constants above by the letter of RFC 4291."""
    for mac, address in ((MAC_A, EUI_A), (MAC_B, EUI_B)):
        octets = [int(octet, 16) for octet in mac.split(":")]
        identifier = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
        assert ipaddress.IPv6Address(address).packed == bytes([0xFD, *[0] * 7, *identifier])
