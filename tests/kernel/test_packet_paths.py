# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packets through a routing node: guests on two bridges, and outside of it somebody who asks for them.

Servers answer with their name and the address that they see.
"""

from __future__ import annotations

import contextlib

import pytest
from a_node import PLACES, SHAPES, Site, batch, close
from a_router import run
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import floating_addresses, routing
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

PLAN = {
    "public_interface": "eth2",
    "routing_source_ip": "192.0.2.1",
    "dmz_cidr": [],
    "force_snat_range": [],
    "networks": [
        {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True},
        {"label": "red", "bridge": "br101", "cidr": "10.0.1.0/24", "gateway": True, "dhcp": True, "snat": True},
    ],
}
FLOATING = {"address": "192.0.2.103", "fixed_address": "10.0.0.3", "bridge": "br100", "fixed_cidr": "10.0.0.0/24"}
FLOATING_A = {**FLOATING, "address": "192.0.2.102", "fixed_address": "10.0.0.2"}

OPTIONS = {"wait": 5}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def site(variant, request, monkeypatch):
    through, far = request.param
    if variant.name == "legacy" and not through:
        pytest.skip("the rules are those of the other variant: one shape will do")
    monkeypatch.setitem(OPTIONS, "backend", variant.backend)
    close(variant, "FORWARD")
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        made.lay(through, far, 4)
        yield made


def apply(**more):
    driver.apply({**PLAN, **more}, **OPTIONS)
    again = driver.apply({**PLAN, **more}, check=True, **OPTIONS)
    assert not again["changed"], again["actions"]


pytestmark = pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True)


def bind(*addresses):
    batch("".join(f"addr add {address}/32 dev eth2\n" for address in addresses))


def test_a_floating_ip_is_reached_from_everywhere(site):
    apply()
    bind("192.0.2.103")
    # Without a rule the address is the node's own, and nobody listens there.
    for name in ("outside", "a", "c", "node"):
        assert site.sees(name, "192.0.2.103") == "refused"
    assert site.sees("b", "192.0.2.9") == "outside:4000 sees 192.0.2.1"

    apply(floating_ips=[FLOATING])
    assert site.sees("outside", "192.0.2.103") == "b:4000 sees 192.0.2.9"
    # From its own network: by way of the node, so that the answer comes back by it.
    assert site.sees("a", "192.0.2.103") == "b:4000 sees 10.0.0.1"
    assert site.sees("c", "192.0.2.103") == "b:4000 sees 10.0.1.2"
    assert site.sees("node", "192.0.2.103").startswith("b:4000 sees ")
    # The instance itself, which everybody knows by its floating IP.
    assert site.sees("b", "192.0.2.103") == "b:4000 sees 192.0.2.103"
    assert all(site.pings(name, "192.0.2.103") for name in ("outside", "a", "b", "c", "node"))
    # Outwards with its floating IP, the others with the node's address, and inside with nobody's but its own.
    assert site.sees("b", "192.0.2.9") == "outside:4000 sees 192.0.2.103"
    assert site.sees("a", "192.0.2.9") == "outside:4000 sees 192.0.2.1"
    assert site.sees("b", "10.0.0.2") == "a:4000 sees 10.0.0.3"
    assert site.sees("b", "10.0.1.2") == "c:4000 sees 10.0.0.3"
    assert site.sees("outside", "10.0.0.3") == "b:4000 sees 192.0.2.9"

    apply()
    assert site.sees("outside", "192.0.2.103") == "refused"
    assert site.sees("b", "192.0.2.9") == "outside:4000 sees 192.0.2.1"


def test_between_two_floating_ips_each_sees_the_other_by_it(site):
    bind("192.0.2.102", "192.0.2.103")
    apply(floating_ips=[FLOATING, FLOATING_A])
    assert site.sees("a", "192.0.2.103") == "b:4000 sees 192.0.2.102"
    assert site.sees("b", "192.0.2.102") == "a:4000 sees 192.0.2.103"
    assert site.sees("b", "192.0.2.103") == "b:4000 sees 192.0.2.103"
    assert site.sees("outside", "192.0.2.102") == "a:4000 sees 192.0.2.9"


def test_one_of_ten_thousand_is_reached_like_the_only_one(site):
    crowd = [
        {"address": f"198.18.{number >> 8}.{number & 255}", "fixed_address": f"10.0.0.{number % 200 + 20}"}
        for number in range(2000)
    ]
    bind("192.0.2.103")
    apply(floating_ips=[*crowd, FLOATING])
    for name, seen in (("outside", "192.0.2.9"), ("a", "10.0.0.1"), ("b", "192.0.2.103")):
        assert site.sees(name, "192.0.2.103") == f"b:4000 sees {seen}"
    assert site.sees("b", "192.0.2.9") == "outside:4000 sees 192.0.2.103"


def test_a_guest_leaves_by_each_interface_with_the_floating_ip_of_that_one(site):
    pid = site.host("other outside")
    batch(f"link add eth3 type veth peer name eth0 netns {pid}\nlink set eth3 up\naddr add 198.51.100.1/24 dev eth3\n")
    batch("addr add 198.51.100.9/24 dev eth0\nlink set eth0 up\n", *site.inside["other outside"])
    site.serve("other outside", 4000)
    bind("192.0.2.103")
    batch("addr add 198.51.100.103/32 dev eth3\n")
    other = {**FLOATING, "address": "198.51.100.103", "interface": "eth3"}
    apply(floating_ips=[other, FLOATING])
    assert site.sees("b", "198.51.100.9") == "other outside:4000 sees 198.51.100.103"
    assert site.sees("b", "192.0.2.9") == "outside:4000 sees 192.0.2.103"
    assert site.sees("other outside", "198.51.100.103") == "b:4000 sees 198.51.100.9"
    assert site.sees("outside", "192.0.2.103") == "b:4000 sees 192.0.2.9"


def test_ports_of_one_address_lead_to_several_guests(site):
    bind("192.0.2.103")
    forward = {"address": "192.0.2.103", "protocol": "tcp", "fixed_address": "10.0.0.2"}
    apply(
        port_forwards=[
            {**forward, "ports": "80", "fixed_port": 4001},
            {**forward, "ports": "8000:8002", "fixed_address": "10.0.1.2", "fixed_port": 4000},
            {**forward, "ports": "4002", "protocol": "udp"},
        ]
    )
    ways = ["tcp/192.0.2.103/80", *(f"tcp/192.0.2.103/{port}" for port in (8000, 8001, 8002)), "udp/192.0.2.103/4002"]
    closed = ["tcp/192.0.2.103/4000", "tcp/192.0.2.103/8003", "tcp/192.0.2.103/4002"]

    def answers(name, to_a, to_c):
        assert site.ask(name, *ways, *closed) == [
            f"a:4001 sees {to_a}",
            *(f"c:{port} sees {to_c}" for port in (4000, 4001, 4002)),
            f"a:4002 sees {to_a}",
            *["refused"] * len(closed),
        ]
        # The node tells only so often that it has nobody there.
        assert site.ask(name, "udp/192.0.2.103/80")[0] in ("refused", "no answer")

    answers("outside", "192.0.2.9", "192.0.2.9")
    answers("b", "10.0.0.1", "10.0.0.3")
    answers("c", "10.0.1.2", "10.0.1.1")
    # Outwards the guests have no address of their own, and what is not forwarded can have a floating IP as well.
    assert site.sees("a", "192.0.2.9") == "outside:4000 sees 192.0.2.1"
    apply(port_forwards=[{**forward, "ports": "80", "fixed_port": 4001}], floating_ips=[FLOATING])
    assert site.ask("outside", "tcp/192.0.2.103/80", "tcp/192.0.2.103/4001") == [
        "a:4001 sees 192.0.2.9",
        "b:4001 sees 192.0.2.9",
    ]


def test_metadata_of_the_node_itself_sees_who_asks(site, variant):
    close(variant, "INPUT")
    site.serve("node", 8775)
    question = "tcp/169.254.169.254/80"
    apply()
    assert site.ask("a", question) != ["node:8775 sees 10.0.0.2"]
    apply(metadata={"host": None, "port": 8775}, floating_ips=[FLOATING])
    for name, (_bridge, address, _v6) in PLACES.items():
        assert site.ask(name, question) == [f"node:8775 sees {address}"]
    if variant.backend == "nftables":
        return
    # The way in is only for that address, and not from outside.
    assert site.ask("a", "tcp/10.0.0.1/8775") == ["no answer"]
    batch("route add 169.254.169.254/32 via 192.0.2.1\n", *site.inside["outside"])
    assert site.ask("outside", question, "tcp/192.0.2.1/8775") == ["no answer", "no answer"]


@pytest.mark.parametrize("gateway", [True, False])
def test_metadata_of_another_host_sees_who_asks(site, variant, gateway):
    site.serve("outside", 8775)
    closed = [{**network, "gateway": gateway} for network in PLAN["networks"]]
    apply(networks=closed, metadata={"host": "192.0.2.9", "port": 8775}, floating_ips=[FLOATING])
    for name, (_bridge, address, _v6) in PLACES.items():
        assert site.ask(name, "tcp/169.254.169.254/80") == [f"outside:8775 sees {address}"]
    # Bridges that forward nothing forward nothing else.
    assert (site.ask("a", "tcp/192.0.2.9/4000") == ["no answer"]) is not gateway


def test_a_conversation_follows_a_floating_ip_and_no_other_is_cut(site):
    bind("192.0.2.102", "192.0.2.103")
    apply()
    early = site.keep_asking("outside", "192.0.2.103")
    assert early() == "refused"
    apply(floating_ips=[FLOATING, FLOATING_A])
    # It had begun when the address was the node's own.
    assert early() == "b:4000 sees 192.0.2.9"
    other, outwards, inside = (
        site.keep_asking("outside", "192.0.2.102"),
        site.keep_asking("b", "192.0.2.9"),
        site.keep_asking("c", "192.0.2.103"),
    )
    assert other() == "a:4000 sees 192.0.2.9"
    assert outwards() == "outside:4000 sees 192.0.2.103"
    assert inside() == "b:4000 sees 10.0.1.2"
    entries = established()

    moved = {**FLOATING, "fixed_address": "10.0.1.2", "bridge": "br101", "fixed_cidr": "10.0.1.0/24"}
    apply(floating_ips=[moved, FLOATING_A])
    assert early() == "c:4000 sees 192.0.2.9"
    assert outwards() == "outside:4000 sees 192.0.2.1"
    assert inside() == "c:4000 sees 192.0.2.103"
    # The other conversation is the very same one still.
    assert other() == "a:4000 sees 192.0.2.9"
    kept = [entry for entry in entries if "dst=192.0.2.102" in entry]
    assert kept and set(kept) <= set(established())

    apply(floating_ips=[FLOATING_A])
    assert early() in ("refused", "no answer")
    assert other() == "a:4000 sees 192.0.2.9"


def test_ports_that_move_take_their_conversations_with_them(site):
    bind("192.0.2.103")
    forward = {"address": "192.0.2.103", "protocol": "udp", "ports": "8000:8001", "fixed_address": "10.0.0.2"}
    apply(port_forwards=[{**forward, "fixed_port": 4000}])
    first, second = (site.keep_asking("outside", "192.0.2.103", port) for port in (8000, 8001))
    assert [first(), second()] == ["a:4000 sees 192.0.2.9", "a:4001 sees 192.0.2.9"]
    entries = [entry for entry in established() if "dport=8001" in entry]
    apply(
        port_forwards=[
            {**forward, "ports": "8001", "fixed_port": 4001},
            {**forward, "ports": "8000", "fixed_port": 4000, "fixed_address": "10.0.1.2"},
        ]
    )
    assert [first(), second()] == ["c:4000 sees 192.0.2.9", "a:4001 sees 192.0.2.9"]
    assert entries and entries == [entry for entry in established() if "dport=8001" in entry]


@pytest.mark.parametrize("site", [SHAPES["bridged apart"]], ids=["moving"], indirect=True)
def test_moving_to_another_back_end_cuts_only_what_goes(site, variant):
    if variant.backend != "nftables":
        pytest.skip("it goes to and from iptables in any case")
    bind("192.0.2.102", "192.0.2.103")
    groups = guarded({"open": ("abc", [{"protocol": None}])})
    apply(floating_ips=[FLOATING, FLOATING_A], **groups)
    kept, outwards, cut = (
        site.keep_asking("outside", "192.0.2.103"),
        site.keep_asking("b", "192.0.2.9"),
        site.keep_asking("outside", "192.0.2.102"),
    )
    before = [kept(), outwards(), cut()]
    assert before == ["b:4000 sees 192.0.2.9", "outside:4000 sees 192.0.2.103", "a:4000 sees 192.0.2.9"]
    entries = established()
    for backend in ("iptables", "nftables"):
        OPTIONS["backend"] = backend
        apply(floating_ips=[FLOATING, FLOATING_A], **groups)
        assert [kept(), outwards(), cut()] == before
    assert len(entries) == 3 and set(entries) <= set(established())
    OPTIONS["backend"] = "iptables"
    apply(floating_ips=[FLOATING], **groups)
    assert [kept(), outwards()] == before[:2] and cut() != before[2]


def established():
    """The conversations that the node knows, each with the number that the kernel gave it."""
    return [
        " ".join(word for word in line.split()[3:] if not word.startswith(("[", "mark=", "use=")))
        for line in run("conntrack", "-L", "-o", "id", "-p", "udp").splitlines()
    ]


def test_addresses_are_bound_while_rules_lead_them_on(site, variant, monkeypatch):
    """Whatever is seen on the way, an address that is bound has its rule."""
    monkeypatch.setattr(floating_addresses, "LOCK_FILE", str(variant.folder / "run" / "floating.lock"))
    seen = variant.folder / "seen"
    look = f"ip -4 addr show dev eth2 | grep -c :nova >>{seen}; {variant.count_ways(seen)}"
    variant.wrap(variant.writer, before=f'case "$*" in *list*) ;; *) {look} ;; esac')

    def both(*ips, check=False):
        addresses = [{"address": entry["address"], "interface": "eth2"} for entry in ips]
        plan = {**PLAN, "floating_ips": list(ips)}
        by = routing.BACKENDS[variant.backend]
        return routing.apply(by, plan, {"addresses": addresses}, check=check, diff=False, wait=5)

    def looks():
        text = seen.read_text().split()
        seen.unlink()
        return text[-2:]

    both()
    looks()
    predicted = both(FLOATING, check=True)
    assert predicted["actions"][-1] == "bind 192.0.2.103 to eth2"
    assert both(FLOATING) == predicted
    assert looks() == ["0", "0"]
    assert site.sees("outside", "192.0.2.103") == "b:4000 sees 192.0.2.9"
    assert not both(FLOATING)["changed"]
    with pytest.raises(InputError):
        both({**FLOATING, "fixed_address": "10.9.9.9", "address": "192.0.2.104"})
    assert site.sees("outside", "192.0.2.103") == "b:4000 sees 192.0.2.9"
    assert both()["actions"][-1] == "unbind 192.0.2.103 from eth2"
    assert looks() == ["0", "1"]
    assert site.sees("outside", "192.0.2.103") == "no answer"


# -- security groups


THROUGH = pytest.mark.parametrize("site", [SHAPES["bridged through the filter"]], ids=["groups"], indirect=True)
ADDRESSES = {name: address for name, (_bridge, address, _v6) in PLACES.items()}
ADDRESSES_V6 = {"a": "fd00::2", "b": "fd00::3"}


def guarded(groups, **more):
    """A plan in which each guest is in the groups named; a group is its rules, its members are those who are in it."""
    of_guests = {name: [group for group in groups if name in groups[group][0]] for name in PLACES}
    return {
        "instances": [
            {
                "address": address,
                "cidr": address.rpartition(".")[0] + ".0/24",
                "dhcp_server": address.rpartition(".")[0] + ".1",
                "security_groups": of_guests[name],
            }
            for name, address in ADDRESSES.items()
        ],
        "security_groups": [
            {"name": group, "members": [ADDRESSES[name] for name in names], "rules": rules}
            for group, (names, rules) in groups.items()
        ],
        **more,
    }


def hears(site, name, *questions):
    """Whether each question is answered."""
    return ["sees" in answer for answer in site.ask(name, *questions)]


@THROUGH
def test_nothing_comes_in_that_no_rule_allows(site):
    bind("192.0.2.103")
    apply(floating_ips=[FLOATING], metadata={"host": None, "port": 8775}, **guarded({"default": ("abc", [])}))
    site.serve("node", 8775, 53)
    every = [f"{protocol}/{address}/4000" for address in ("10.0.0.3", "192.0.2.103") for protocol in ("tcp", "udp")]
    for name in ("outside", "a", "b", "c", "node"):
        asked = every if name != "b" else every[2:]
        assert hears(site, name, *asked) == [False] * len(asked)
        assert not site.pings(name, "192.0.2.103")
    # Everything goes out, and is answered; what the node itself offers is there for them.
    for name in PLACES:
        gateway = ADDRESSES[name].rpartition(".")[0] + ".1"
        assert hears(site, name, "tcp/192.0.2.9/4000", "udp/192.0.2.9/4000", f"udp/{gateway}/53") == [True] * 3
        assert site.pings(name, "192.0.2.9")
        assert site.ask(name, "tcp/169.254.169.254/80") == [f"node:8775 sees {ADDRESSES[name]}"]
    apply()
    assert hears(site, "a", "tcp/10.0.0.3/4000") == [True]


@THROUGH
def test_rules_by_port_and_range_and_kind(site):
    rules = [
        {"protocol": "tcp", "ports": "4000", "cidr": "192.0.2.9/32"},
        {"protocol": "udp", "ports": "4001:4002", "cidr": "10.0.0.0/24"},
        {"protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "cidr": "10.0.1.0/24"},
    ]
    bind("192.0.2.103")
    apply(floating_ips=[FLOATING], **guarded({"web": ("b", rules)}))
    ways = [f"{protocol}/192.0.2.103/{port}" for protocol in ("tcp", "udp") for port in (4000, 4001, 4002)]
    assert hears(site, "outside", *ways) == [True, *[False] * 5]
    assert hears(site, "a", *ways) == [False] * 4 + [True] * 2
    assert hears(site, "c", *ways) == [False] * 6
    assert [site.pings(name, "10.0.0.3") for name in ("outside", "a", "c")] == [False, False, True]


@THROUGH
def test_members_of_a_group_come_in_and_go_live(site):
    web = [{"protocol": "tcp", "ports": "4000", "group": "clients"}, {"protocol": "icmp", "group": "clients"}]
    apply(**guarded({"web": ("b", web), "clients": ("a", [])}))
    question = "tcp/10.0.0.3/4000"
    assert [hears(site, name, question) for name in ("a", "c", "outside")] == [[True], [False], [False]]
    assert hears(site, "a", "tcp/10.0.0.3/4001", "udp/10.0.0.3/4000") == [False, False]
    plan = guarded({"web": ("b", web), "clients": ("ac", [])})
    joined = driver.apply({**PLAN, **plan}, **OPTIONS)
    assert "security group clients: add member 10.0.1.2" in joined["actions"]
    assert [hears(site, name, question) for name in ("a", "c", "outside")] == [[True], [True], [False]]
    assert site.pings("c", "10.0.0.3") and not site.pings("outside", "10.0.0.3")
    apply(**guarded({"web": ("b", web), "clients": ("c", [])}))
    assert [hears(site, name, question) for name in ("a", "c")] == [[False], [True]]
    apply()
    assert run("ipset", "save") == ""


@THROUGH
def test_what_a_rule_had_allowed_ends_with_it(site):
    def rules(*ports):
        return [{"protocol": "udp", "ports": port, "cidr": "10.0.0.0/16"} for port in ports]

    apply(**guarded({"web": ("b", rules("4000", "4001"))}))
    cut, kept, member = (
        site.keep_asking("a", "10.0.0.3", 4000),
        site.keep_asking("a", "10.0.0.3", 4001),
        site.keep_asking("b", "192.0.2.9", 4000),
    )
    assert [cut(), kept(), member()] == ["b:4000 sees 10.0.0.2", "b:4001 sees 10.0.0.2", "outside:4000 sees 192.0.2.1"]
    entries = [entry for entry in established() if "dport=4001" in entry or "dst=192.0.2.9" in entry]
    apply(**guarded({"web": ("b", rules("4001"))}))
    assert [cut(), kept(), member()] == ["no answer", "b:4001 sees 10.0.0.2", "outside:4000 sees 192.0.2.1"]
    assert len(entries) == 2 and set(entries) <= set(established())


@THROUGH
def test_egress_rules_are_a_limit_and_no_permission(site):
    out = [{"direction": "egress", "protocol": "tcp", "ports": "4000"}]
    asked = {"protocol": "udp", "ports": "4001"}
    groups = {"limited": ("b", [*out, asked]), "open": ("a", [{"protocol": None}])}
    apply(**guarded(groups))
    # The answers to others still go out.
    assert hears(site, "outside", "udp/10.0.0.3/4001") == [True]
    ways = [
        f"{protocol}/{address}/{port}"
        for address in ("192.0.2.9", "10.0.0.2", "10.0.1.2")
        for protocol, port in (("tcp", 4000), ("udp", 4000))
    ]
    # c lets nothing in.
    assert hears(site, "b", *ways) == [True, False, True, False, False, False]
    assert hears(site, "a", "udp/192.0.2.9/4000") == [True]
    groups["limited"] = ("b", [*out, {"direction": "egress", "protocol": "udp", "group": "open"}])
    apply(**guarded(groups))
    assert hears(site, "b", *ways) == [True, False, True, True, False, False]


@THROUGH
def test_provider_rules_come_before_everything(site):
    groups = {"open": ("abc", [{"protocol": None}])}
    apply(**guarded(groups))
    talk = site.keep_asking("outside", "10.0.0.3")
    assert talk() == "b:4000 sees 192.0.2.9"
    apply(**guarded(groups, provider_rules=[{"cidr": "192.0.2.9/32"}, {"protocol": "tcp", "ports": "4001"}]))
    assert talk() == "no answer"
    assert hears(site, "a", "tcp/10.0.0.3/4000", "tcp/10.0.0.3/4001") == [True, False]


@THROUGH
def test_groups_hold_for_ipv6(site):
    """As iptables, ip6tables and nft give all kinds of rules back; and as packets meet them."""
    run("sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=1")
    batch("addr add fd00::1/64 dev br100 nodad\n")
    for name in "ab":
        batch(f"addr add {ADDRESSES_V6[name]}/64 dev eth0 nodad\n", *site.inside[name])
    kinds = [
        {"protocol": "tcp", "ports": "80", "cidr": "fd00:1::/48"},
        {"protocol": "udp", "ports": "8000:8010"},
        {"protocol": "icmp", "icmp_type": 1, "icmp_code": 4, "cidr": "fd00:1::7/128"},
        {"protocol": "icmp", "cidr": "0.0.0.0/0"},
        {"protocol": "tcp", "ports": "22", "group": "clients"},
        {"direction": "egress", "protocol": "tcp", "cidr": "192.0.2.0/24"},
    ]
    echo = {"protocol": "icmpv6", "icmp_type": 128, "group": "clients"}

    def guards(*rules, names="b"):
        return {
            "instances": [
                {"address": ADDRESSES_V6[name], "cidr": "fd00::/64", "security_groups": ["web"]} for name in names
            ],
            "security_groups": [
                {"name": "web", "members": [], "rules": [*kinds[:-1], *rules]},
                {"name": "clients", "members": [ADDRESSES_V6["a"], "10.0.0.2"], "rules": []},
            ],
            "provider_rules": [{"protocol": "icmp", "cidr": "fd00::66/128"}],
        }

    apply(**guards())
    assert not site.pings("a", "fd00::3") and site.pings("b", "fd00::1") and site.pings("b", "fd00::2")
    apply(**guards(echo))
    assert site.pings("a", "fd00::3") and not site.pings("node", "fd00::3")
    # Who may send something of IPv4 alone sends nothing of IPv6, but what its link needs.
    apply(**guards(echo, kinds[-1]))
    assert not site.pings("b", "fd00::2") and site.pings("a", "fd00::3")
    batch("neigh flush dev eth0\n", *site.inside["a"])
    assert site.pings("a", "fd00::3")
    apply()
    assert site.pings("node", "fd00::3")


@THROUGH
def test_same_net_traffic_only_where_it_is_allowed(site):
    apply(**guarded({"default": ("abc", [])}, allow_same_net_traffic=True))
    assert [hears(site, name, "tcp/10.0.0.3/4000") for name in ("a", "c", "outside")] == [[True], [False], [False]]
