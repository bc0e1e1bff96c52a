# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups: what is refused, which rules they are, and which connections they end."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.connections import Connection, Gate
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError

WEB = {
    "name": "web",
    "members": ["10.0.0.5"],
    "rules": [
        {"protocol": "tcp", "ports": "80"},
        {"protocol": "tcp", "ports": "8000:8010", "cidr": "192.0.2.0/24"},
        {"protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "cidr": "0.0.0.0/0"},
        {"protocol": "icmp", "icmp_type": 3},
        {"protocol": None, "group": "clients"},
        {"protocol": "tcp", "ports": "80"},
    ],
}
CLIENTS = {"name": "clients", "members": ["10.0.0.7", "10.0.1.7"], "rules": []}
LIMITED = {
    "name": "limited",
    "members": ["10.0.0.6"],
    "rules": [
        {"direction": "egress", "protocol": "udp", "ports": "53", "cidr": "192.0.2.53/32"},
        {"direction": "egress", "protocol": "tcp", "group": "web"},
    ],
}


def guest(address="10.0.0.5", groups=("web",), **fields):
    return {"address": address, "cidr": "10.0.0.0/24", "security_groups": list(groups), **fields}


def plan(*guests, groups=(WEB, CLIENTS, LIMITED), **fields):
    return {"networks": [], "instances": list(guests), "security_groups": list(groups), **fields}


def rule(**fields):
    return plan(guest(), groups=[{**WEB, "rules": [fields]}, CLIENTS])


REFUSED = [
    (plan(guest(colour="red")), r"packet_filter.instances\[0\]: unknown key 'colour'"),
    (plan(guest("10.0.1.5")), r"instances\[0\].address: '10.0.1.5' is not in cidr 10.0.0.0/24"),
    (plan(guest(), guest()), r"instances\[1\].address: two instances have '10.0.0.5'"),
    (plan(guest(groups=["wbe"])), r"instances\[0\].security_groups\[0\]: there is no security group 'wbe'"),
    (plan(guest(groups=[7])), r"instances\[0\].security_groups\[0\]: 7 is not the name"),
    (plan(guest(cidr=None)), r"instances\[0\].cidr is required"),
    (plan(guest(dhcp_server="here")), r"instances\[0\].dhcp_server: 'here'"),
    (plan(groups=[WEB, CLIENTS, WEB]), r"security_groups\[2\].name: there are two security groups 'web'"),
    (plan(groups=[WEB]), r"security_groups\[0\].rules\[4\].group: there is no security group 'clients'"),
    (plan(groups=[{**CLIENTS, "members": ["10.0.0"]}]), r"security_groups\[0\].members\[0\]: '10.0.0'"),
    (plan(groups=[{**CLIENTS, "name": ""}]), r"security_groups\[0\].name: ''"),
    (rule(colour="red"), r"rules\[0\]: unknown key 'colour'"),
    (rule(direction="in"), r"rules\[0\].direction: 'in' is neither 'ingress' nor 'egress'"),
    (rule(protocol="gre"), r"rules\[0\].protocol: 'gre' is not one of tcp, udp, icmp"),
    (rule(ports="80"), r"rules\[0\].ports: only tcp and udp have ports"),
    (rule(protocol="icmp", ports="80"), r"rules\[0\].ports: only tcp and udp have ports"),
    (rule(protocol="tcp", ports="90:80"), r"rules\[0\].ports: '90:80'"),
    (rule(protocol="tcp", icmp_type=8), r"rules\[0\].icmp_type: only icmp has types"),
    (rule(protocol="icmp", icmp_code=0), r"rules\[0\].icmp_code: a code belongs to a type"),
    (rule(protocol="icmp", icmp_type=255), r"rules\[0\].icmp_type: 255"),
    (rule(cidr="10.0.0.0/8", group="clients"), r"rules\[0\]: it has both cidr and group"),
    (rule(cidr="fd00::/129"), r"rules\[0\].cidr: 'fd00::/129'"),
    (rule(cidr="0.0.0.0/0", protocol="icmpv6"), r"rules\[0\].protocol: 'icmpv6' is no protocol of an IPv4 range"),
    (plan(guest("fd00::5")), r"instances\[0\].address: 'fd00::5' is not in cidr 10.0.0.0/24"),
    (plan(provider_rules=[{}]), r"provider_rules\[0\]: it names nothing"),
    (plan(provider_rules=[{"cidr": "0.0.0.0/0"}]), r"provider_rules\[0\]: it names nothing"),
    (plan(provider_rules=[{"group": "web"}]), r"provider_rules\[0\]: unknown key 'group'"),
    (plan(allow_same_net_traffic="no"), "allow_same_net_traffic: 'no' is neither true nor false"),
]


@pytest.mark.parametrize(("section", "message"), REFUSED)
def test_a_mistake_is_named_by_its_path(section, message):
    with pytest.raises(InputError, match=message):
        packet_filter.parse(section)


def intent(section):
    return packet_filter.intent(packet_filter.parse(section))


def chains(section):
    return iptables.render(intent(section), "ipv4")["filter"].chains


def test_the_chains_of_a_guest_and_its_group():
    clients, web = iptables.group_chain("clients"), iptables.group_chain("web")
    made = chains(
        plan(guest(dhcp_server="10.0.0.1"), allow_same_net_traffic=True, provider_rules=[{"cidr": "198.51.100.66/32"}])
    )
    assert made["nova-filter-top"] == ["-j nova-network-local"]
    assert made["nova-network-local"] == ["-j nova-network-ingress"]
    assert made["nova-network-ingress"] == ["-d 10.0.0.5/32 -g nova-network-inst-0a000005"]
    assert made["nova-network-inst-0a000005"] == [
        "-j nova-network-provider",
        "-m conntrack --ctstate INVALID -j DROP",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-s 10.0.0.1/32 -p udp -m udp --sport 67 --dport 68 -j ACCEPT",
        "-s 10.0.0.0/24 -j ACCEPT",
        f"-j {web}",
        "-j nova-network-sg-fallback",
    ]
    assert made["nova-network-provider"] == ["-s 198.51.100.66/32 -j DROP"]
    assert made["nova-network-sg-fallback"] == ["-j DROP"]
    assert made[web] == [
        "-p tcp -m tcp --dport 80 -j ACCEPT",
        "-s 192.0.2.0/24 -p tcp -m tcp --dport 8000:8010 -j ACCEPT",
        "-p icmp -m icmp --icmp-type 8/0 -j ACCEPT",
        "-p icmp -m icmp --icmp-type 3 -j ACCEPT",
        f"-m set --match-set {clients} src -j ACCEPT",
    ]
    assert clients not in made
    assert len(web) <= 28


def test_a_guest_without_a_group_gets_nothing():
    made = chains(plan(guest(groups=[])))
    assert made["nova-network-inst-0a000005"] == [
        "-m conntrack --ctstate INVALID -j DROP",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-j nova-network-sg-fallback",
    ]


def test_egress_returns_what_it_allows_and_drops_the_rest():
    made = chains(plan(guest(), guest("10.0.0.6", ["limited", "web"])))
    assert made["nova-network-local"] == ["-j nova-network-egress", "-j nova-network-ingress"]
    assert made["nova-network-egress"] == ["-s 10.0.0.6/32 -g nova-network-egress-0a000006"]
    assert made["nova-network-egress-0a000006"] == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-d 192.0.2.53/32 -p udp -m udp --dport 53 -j RETURN",
        f"-p tcp -m set --match-set {iptables.group_chain('web')} dst -j RETURN",
        "-j nova-network-sg-fallback",
    ]


def test_neither_members_nor_guests_make_more_rules_of_a_group():
    few = intent(plan(guest()))
    crowd = {**CLIENTS, "members": [f"10.7.{number >> 8}.{number & 255}" for number in range(5000)]}
    many = intent(plan(guest(), groups=[WEB, crowd]))
    assert iptables.render(few, "ipv4")["filter"] == iptables.render(many, "ipv4")["filter"]
    assert {name: len(members) for name, members in iptables.member_sets(many.security, 4).items()} == {
        iptables.group_chain("clients"): 5000
    }
    guests = intent(plan(*(guest(f"10.0.0.{number}") for number in range(2, 202))))
    made = iptables.render(guests, "ipv4")["filter"].chains
    assert sum(chain.startswith("nova-network-sg-") for chain in made) == 2
    assert max(map(len, made.values())) <= 32


def test_without_guests_there_is_nothing():
    assert intent(plan()).empty
    assert iptables.member_sets(intent(plan()).security, 4) == {}
    assert not intent(plan(guest())).empty
    guarded, bare = (
        packet_filter.intent(packet_filter.parse(section)) for section in (plan(guest()), plan(guest(groups=[])))
    )
    assert iptables.render(guarded, "ipv6") == iptables.render(bare, "ipv6")


GUARDED = plan(
    guest(dhcp_server="10.0.0.1"),
    guest("10.0.0.6", ["limited"]),
    provider_rules=[{"protocol": "tcp", "ports": "80", "cidr": "198.51.100.66/32"}],
)


def connection(source, to, port=80, protocol="tcp", **fields):
    return Connection(protocol, source, to, port, to, port, source, **fields)


@pytest.mark.parametrize(
    ("one", "refused"),
    [
        (connection("192.0.2.1", "10.0.0.5"), False),
        (connection("192.0.2.1", "10.0.0.5", 81), True),
        (connection("192.0.2.1", "10.0.0.5", protocol="udp"), True),
        (connection("192.0.2.1", "10.0.0.5", 8010), False),
        (connection("192.0.3.1", "10.0.0.5", 8010), True),
        (connection("10.0.1.7", "10.0.0.5", 9999, "udp"), False),
        (connection("10.0.1.8", "10.0.0.5", 9999, "udp"), True),
        (connection("10.0.0.1", "10.0.0.5", 68, "udp"), False),
        (connection("10.0.0.1", "10.0.0.5", 69, "udp"), True),
        (connection("198.51.100.66", "10.0.0.5"), True),
        (connection("192.0.2.1", "10.0.0.5", 0, "icmp"), False),
        (connection("192.0.2.1", "10.0.0.5", 4711, related=True), False),
        # By a floating IP and another port: what counts is where it ends up.
        (Connection("tcp", "192.0.2.1", "203.0.113.7", 8080, "10.0.0.5", 80, "192.0.2.1"), False),
        (Connection("tcp", "192.0.2.1", "203.0.113.7", 80, "10.0.0.5", 81, "192.0.2.1"), True),
        # Outwards, and between others.
        (connection("10.0.0.5", "192.0.2.1", 4711), False),
        (connection("10.0.0.6", "192.0.2.53", 53, "udp"), False),
        (connection("10.0.0.6", "192.0.2.54", 53, "udp"), True),
        (connection("10.0.0.6", "10.0.0.5"), False),
        (connection("10.0.0.6", "10.0.0.1", 53, "tcp"), False),
        (connection("10.9.0.6", "10.9.0.5", 4711), False),
    ],
)
def test_what_a_guest_no_longer_lets_in_or_out_ends(one, refused):
    assert Gate(intent(GUARDED).security, {"10.0.0.1"}).refuses(one) is refused


def test_same_net_traffic_goes_on_where_it_is_allowed():
    one = connection("10.0.0.9", "10.0.0.5", 4711)
    assert Gate(intent(GUARDED).security, ()).refuses(one)
    assert not Gate(intent({**GUARDED, "allow_same_net_traffic": True}).security, ()).refuses(one)


def test_actions_speak_of_guests_and_groups():
    before, after = (
        intent(GUARDED),
        intent({**GUARDED, "security_groups": [{**WEB, "rules": WEB["rules"][:2]}, CLIENTS, LIMITED]}),
    )
    wanted = iptables.render(before, "ipv4")
    have = {
        name: iptables.Table(
            {**table.chains, **{hook: [f"-j {chain}" for chain in jumps] for hook, jumps in table.hooks.items()}},
            set(table.hooks),
        )
        for name, table in wanted.items()
    }
    changes = iptables.compare(have, iptables.render(after, "ipv4"))
    (line,) = iptables.actions(changes, "ipv4", iptables.labels(after))
    assert line.startswith("security group web: remove '-p icmp -m icmp --icmp-type 8/0 -j ACCEPT', ")
    assert iptables.guards_differ(changes)
    added = iptables.compare({}, wanted)
    told = iptables.actions(added, "ipv4", iptables.labels(before))
    assert any(line.startswith("guest 10.0.0.6: add ") for line in told)
