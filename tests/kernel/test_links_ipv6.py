"""A host that begins to forward IPv6 keeps the way out that router advertisements gave it."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import a_namespace
import pytest
from a_link import ip, until
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links

pytestmark = pytest.mark.usefixtures("netns")

FORWARD = {"bridges": [], "sysctl": {"net.ipv6.conf.all.forwarding": "1"}}

#: A router advertisement of a default route for half an hour.
ADVERTISE = """
import socket, struct
link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
index = socket.if_nametoindex("peer")
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
link.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))
"""


def default_routes() -> list[str]:
    return [route["dev"] for route in json.loads(ip("-6 -json route show default"))]


def accept_ra(name: str) -> str:
    with open(f"/proc/sys/net/ipv6/conf/{name}/accept_ra", encoding="ascii") as setting:
        return setting.read().strip()


@pytest.fixture
def advertise() -> t.Iterator[t.Callable[[], None]]:
    """Interfaces eth0 and eth1, the first with a router beside it that advertises when it is told to."""
    with a_namespace.beside() as (pid, inside):
        ip("link add name eth1 type veth peer name ETH1")
        ip(f"link add name eth0 type veth peer name peer netns {pid}")
        ip("link set eth0 up")
        subprocess.run([*inside, "ip", "link", "set", "peer", "up"], check=True)
        tentative = ["ip", "-6", "addr", "show", "dev", "peer", "scope", "link", "-tentative"]
        until(lambda: subprocess.run([*inside, *tentative], check=True, capture_output=True).stdout)
        yield lambda: subprocess.run([*inside, sys.executable, "-c", ADVERTISE], check=True) and None


def test_the_default_route_stays_and_is_renewed(advertise: t.Callable[[], None]) -> None:
    advertise()
    until(default_routes)
    predicted = links.apply(FORWARD, check=True)
    assert (accept_ra("eth0"), accept_ra("eth1")) == ("1", "1")
    done = links.apply(FORWARD)
    assert done["actions"] == predicted["actions"]
    assert len(done["actions"]) == 2
    assert (accept_ra("eth0"), accept_ra("eth1")) == ("2", "1")
    assert default_routes() == ["eth0"]
    assert not links.apply(FORWARD)["changed"]
    ip("-6 route flush default")
    advertise()
    until(default_routes)


def test_an_interface_that_was_told_not_to_heed_them_is_left_alone(advertise: t.Callable[[], None]) -> None:
    advertise()
    until(default_routes)
    with open("/proc/sys/net/ipv6/conf/eth0/accept_ra", "w", encoding="ascii") as setting:
        setting.write("0")
    assert len(links.apply(FORWARD)["actions"]) == 1
    assert accept_ra("eth0") == "0"
