# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IPv6 packets through a routing node, by addresses that lead to guests.

Servers answer with their name and the address that they see.
"""

from __future__ import annotations

import contextlib

import pytest
from a_node import SHAPES, Site, close
from a_router import run
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import floating_addresses, routing

PLAN = {
    "public_interface": "eth2",
    "routing_source_ip": "192.0.2.1",
    "dmz_cidr": [],
    "force_snat_range": [],
    "networks": [
        {
            "label": "blue",
            "bridge": "br100",
            "cidr": "10.0.0.0/24",
            "cidr_v6": "fd00::/64",
            "gateway": True,
            "dhcp": True,
            "snat": True,
        },
        {
            "label": "red",
            "bridge": "br101",
            "cidr": None,
            "cidr_v6": "fd00:0:0:1::/64",
            "gateway": True,
            "dhcp": True,
            "snat": False,
        },
    ],
}
FLOATING = {"address": "2001:db8:5::103", "fixed_address": "fd00::3"}
FLOATING_A = {"address": "2001:db8:5::102", "fixed_address": "fd00::2"}
B, A = FLOATING["address"], FLOATING_A["address"]

OPTIONS = {}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def site(variant, request, monkeypatch):
    through, far = request.param
    if variant.name == "legacy" and not through:
        pytest.skip("the rules are those of the other variant: one shape will do")
    monkeypatch.setitem(OPTIONS, "by", routing.BACKENDS[variant.backend])
    monkeypatch.setattr(floating_addresses, "LOCK_FILE", str(variant.folder / "run" / "floating.lock"))
    close(variant, "FORWARD")
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        made.lay(through, far, 6)
        yield made


pytestmark = pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True)
ONE_SHAPE = pytest.mark.parametrize("site", [SHAPES["bridged through the filter"]], ids=["one shape"], indirect=True)


def apply(**more):
    """Rules and addresses together, as a routing node has them."""
    plan = {**PLAN, **more}
    bound = dict.fromkeys(row["address"] for key in ("floating_ips", "port_forwards") for row in plan.get(key, ()))
    # Told of, since whoever has asked in vain just now would go on asking once in a second.
    addresses = {"addresses": [{"address": address, "interface": "eth2"} for address in bound], "send_arp": 1}
    predicted = routing.apply(OPTIONS["by"], plan, addresses, check=True, diff=True, wait=5)
    assert routing.apply(OPTIONS["by"], plan, addresses, check=False, diff=True, wait=5) == predicted
    again = routing.apply(OPTIONS["by"], plan, addresses, check=True, diff=False, wait=5)
    assert not again["changed"], again["actions"]


def test_a_floating_ip_is_reached_from_everywhere(site, variant):
    apply()
    assert [site.sees(name, "fd00::3") for name in ("a", "c")] == ["b:4000 sees fd00::2", "b:4000 sees fd00:0:0:1::2"]
    assert site.sees("b", "2001:db8:5::9") == "outside:4000 sees fd00::3"
    assert all(answer != f"b:4000 sees {B}" for answer in site.ask("outside", f"tcp/{B}/4000"))

    apply(floating_ips=[FLOATING])
    assert site.sees("outside", B) == "b:4000 sees 2001:db8:5::9"
    # From its own network: by way of the node, so that the answer comes back by it.
    assert site.sees("a", B) == "b:4000 sees fd00::1"
    assert site.sees("c", B) == "b:4000 sees fd00:0:0:1::2"
    assert site.sees("node", B).startswith("b:4000 sees ")
    # The instance itself, which everybody knows by its floating IP.
    assert site.sees("b", B) == f"b:4000 sees {B}"
    assert all(site.pings(name, B) for name in ("outside", "a", "b", "c", "node"))
    # Outwards with its floating IP, the others and inside with nobody's but their own.
    assert site.sees("b", "2001:db8:5::9") == f"outside:4000 sees {B}"
    assert site.sees("a", "2001:db8:5::9") == "outside:4000 sees fd00::2"
    assert site.sees("c", "2001:db8:5::9") == "outside:4000 sees fd00:0:0:1::2"
    assert site.sees("b", "fd00::2") == "a:4000 sees fd00::3"
    assert site.sees("b", "fd00:0:0:1::2") == "c:4000 sees fd00::3"
    assert site.sees("outside", "fd00::3") == "b:4000 sees 2001:db8:5::9"
    # The node itself speaks with its own.
    assert site.sees("node", "2001:db8:5::9") == "outside:4000 sees 2001:db8:5::1"

    apply()
    assert site.ask("outside", f"tcp/{B}/4000") == ["no answer"]
    assert site.sees("b", "2001:db8:5::9") == "outside:4000 sees fd00::3"
    apply(networks=[])
    assert variant.ours() == []


@ONE_SHAPE
def test_between_two_floating_ips_each_sees_the_other_by_it(site):
    apply(floating_ips=[FLOATING, FLOATING_A])
    assert site.sees("a", B) == f"b:4000 sees {A}"
    assert site.sees("b", A) == f"a:4000 sees {B}"
    assert site.sees("b", B) == f"b:4000 sees {B}"
    assert site.sees("outside", A) == "a:4000 sees 2001:db8:5::9"


@ONE_SHAPE
def test_one_of_many_is_reached_like_the_only_one(site):
    crowd = [
        {"address": f"2001:db8:{number % 7 + 6:x}::{number:x}", "fixed_address": f"fd00::{number + 16:x}"}
        for number in range(500)
    ]
    shown = {"floating_ips": [*crowd, FLOATING]}
    addresses = {"addresses": [{"address": B, "interface": "eth2"}]}
    routing.apply(OPTIONS["by"], {**PLAN, **shown}, addresses, check=False, diff=False, wait=5)
    for name, seen in (("outside", "2001:db8:5::9"), ("a", "fd00::1"), ("b", B)):
        assert site.sees(name, B) == f"b:4000 sees {seen}"
    assert site.sees("b", "2001:db8:5::9") == f"outside:4000 sees {B}"


@ONE_SHAPE
def test_ports_of_one_address_lead_to_several_guests(site):
    forward = {"address": B, "protocol": "tcp", "fixed_address": "fd00::2"}
    apply(
        port_forwards=[
            {**forward, "ports": "80", "fixed_port": 4001},
            {**forward, "ports": "8000:8002", "fixed_address": "fd00:0:0:1::2", "fixed_port": 4000},
            {**forward, "ports": "4002", "protocol": "udp"},
        ]
    )
    ways = [f"tcp/{B}/80", *(f"tcp/{B}/{port}" for port in (8000, 8001, 8002)), f"udp/{B}/4002"]
    closed = [f"tcp/{B}/4000", f"tcp/{B}/8003", f"tcp/{B}/4002"]
    for name, to_a, to_c in (
        ("outside", "2001:db8:5::9", "2001:db8:5::9"),
        ("b", "fd00::1", "fd00::3"),
        ("c", "fd00:0:0:1::2", "fd00:0:0:1::1"),
    ):
        assert site.ask(name, *ways, *closed) == [
            f"a:4001 sees {to_a}",
            *(f"c:{port} sees {to_c}" for port in (4000, 4001, 4002)),
            f"a:4002 sees {to_a}",
            *["refused"] * len(closed),
        ]
    apply(port_forwards=[{**forward, "ports": "80", "fixed_port": 4001}], floating_ips=[FLOATING])
    assert site.ask("outside", f"tcp/{B}/80", f"tcp/{B}/4001") == [
        "a:4001 sees 2001:db8:5::9",
        "b:4001 sees 2001:db8:5::9",
    ]


def established():
    """The conversations that the node knows, each with the number that the kernel gave it."""
    return [
        " ".join(word for word in line.split()[3:] if not word.startswith(("[", "mark=", "use=")))
        for line in run("conntrack", "-f", "ipv6", "-L", "-o", "id", "-p", "udp").splitlines()
    ]


@ONE_SHAPE
def test_a_conversation_follows_a_floating_ip_and_no_other_is_cut(site):
    apply(floating_ips=[FLOATING, FLOATING_A])
    moving, other, outwards = (
        site.keep_asking("outside", B),
        site.keep_asking("outside", A),
        site.keep_asking("b", "2001:db8:5::9"),
    )
    assert [moving(), other(), outwards()] == [
        "b:4000 sees 2001:db8:5::9",
        "a:4000 sees 2001:db8:5::9",
        f"outside:4000 sees {B}",
    ]
    entries = established()
    apply(floating_ips=[{**FLOATING, "fixed_address": "fd00:0:0:1::2"}, FLOATING_A])
    assert [moving(), other(), outwards()] == [
        "c:4000 sees 2001:db8:5::9",
        "a:4000 sees 2001:db8:5::9",
        "outside:4000 sees fd00::3",
    ]
    kept = [entry for entry in entries if f"dst={A}" in entry]
    assert kept and set(kept) <= set(established())
    apply(floating_ips=[FLOATING_A])
    assert "sees" not in moving()
    assert other() == "a:4000 sees 2001:db8:5::9"


@ONE_SHAPE
def test_nothing_comes_in_by_it_that_no_rule_allows(site):
    def guarded(*rules):
        return {
            "instances": [{"address": "fd00::3", "cidr": "fd00::/64", "security_groups": ["web"]}],
            "security_groups": [{"name": "web", "members": [], "rules": list(rules)}],
        }

    ways = [f"tcp/{B}/4000", f"udp/{B}/4000", f"tcp/{B}/4001"]
    apply(floating_ips=[FLOATING], **guarded())
    for name in ("outside", "a", "c", "node"):
        assert site.ask(name, *ways) == ["no answer"] * 3
        assert not site.pings(name, B)
    assert site.sees("b", "2001:db8:5::9") == f"outside:4000 sees {B}"
    apply(floating_ips=[FLOATING], **guarded({"protocol": "tcp", "ports": "4000", "cidr": "2001:db8:5::9/128"}))
    assert site.ask("outside", *ways) == ["b:4000 sees 2001:db8:5::9", "no answer", "no answer"]
    assert site.ask("c", *ways) == ["no answer"] * 3
