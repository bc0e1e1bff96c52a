# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which connections end when floating IPs and forwarded ports change."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.connections import Connection, Verdict, Ways

X, Y = "203.0.113.7", "203.0.113.8"
A, B = "10.0.0.5", "10.0.0.6"
OUTSIDE = "198.51.100.1"
X6, A6, B6 = "2001:db8:5::7", "fd00::5", "fd00::6"


def meaning(floating=(), forwards=()):
    return packet_filter.intent(
        packet_filter.parse(
            {
                "public_interface": "eth2",
                "routing_source_ip": "192.0.2.1",
                "networks": [
                    {
                        "label": "blue",
                        "bridge": "br100",
                        "cidr": "10.0.0.0/24",
                        "cidr_v6": "fd00::/64",
                        "gateway": True,
                        "dhcp": True,
                        "snat": True,
                    }
                ],
                "floating_ips": [{"address": address, "fixed_address": fixed} for address, fixed in floating],
                "port_forwards": [
                    {"address": address, "protocol": "tcp", "ports": ports, "fixed_address": fixed, "fixed_port": to}
                    for address, ports, fixed, to in forwards
                ],
            }
        )
    )


def verdict(before, after):
    """As a run of the iptables back end comes to it."""
    changes = []
    for family in iptables.FAMILIES:
        wanted = iptables.render(before, family)
        have = {name: iptables.Table(dict(table.chains)) for name, table in wanted.items()}
        changes += iptables.compare(have, iptables.render(after, family))
    return Verdict(after, *iptables.ways(changes))


def to(address, port, fixed, fixed_port=None, protocol="tcp"):
    return Connection(protocol, OUTSIDE, address, port, fixed, port if fixed_port is None else fixed_port, OUTSIDE)


def outwards(fixed, seen_as, port=443):
    return Connection("tcp", fixed, OUTSIDE, port, OUTSIDE, port, seen_as)


CASES = [
    ("moved: to the old one", [(X, A)], [], [(X, B)], [], to(X, 80, A), True),
    ("moved: from the old one", [(X, A)], [], [(X, B)], [], outwards(A, X), True),
    ("moved: from the new one, as it was", [(X, A)], [], [(X, B)], [], outwards(B, "192.0.2.1"), False),
    ("gone: to the guest", [(X, A)], [], [], [], to(X, 80, A), True),
    ("gone: a ping", [(X, A)], [], [], [], to(X, 0, A, protocol="icmp"), True),
    ("gone: to the host itself", [(X, A)], [], [], [], to(X, 22, X), False),
    ("gone: by somebody else's rule", [(X, A)], [], [], [], to(X, 22, "172.17.0.2"), False),
    ("gone: another one", [(X, A), (Y, B)], [], [(Y, B)], [], to(Y, 80, B), False),
    ("come: to the host itself", [], [], [(X, A)], [], to(X, 80, X), True),
    ("come: from the guest, by the host's address", [], [], [(X, A)], [], outwards(A, "192.0.2.1"), False),
    ("second one for a guest", [(X, A)], [], [(X, A), (Y, A)], [], outwards(A, X), False),
    ("port taken from a floating IP", [(X, A)], [], [(X, A)], [(X, "80", B, None)], to(X, 80, A), True),
    ("port taken, another port", [(X, A)], [], [(X, A)], [(X, "80", B, None)], to(X, 81, A), False),
    ("port taken, another protocol", [(X, A)], [], [(X, A)], [(X, "80", B, None)], to(X, 80, A, protocol="udp"), False),
    ("port to another port", [], [(X, "80", A, 8080)], [], [(X, "80", A, 8081)], to(X, 80, A, 8080), True),
    ("range grown", [], [(X, "80:81", A, 8080)], [], [(X, "80:82", A, 8080)], to(X, 81, A, 8081), False),
    ("range shrunk: within", [], [(X, "80:81", A, None)], [], [(X, "80", A, None)], to(X, 80, A), False),
    ("range shrunk: without", [], [(X, "80:81", A, None)], [], [(X, "80", A, None)], to(X, 81, A), True),
    ("port gone: the host's own service", [], [(X, "80", A, None)], [], [], to(X, 22, X), False),
    ("IPv6, moved: to the old one", [(X6, A6)], [], [(X6, B6)], [], to(X6, 80, A6), True),
    ("IPv6, moved: from the old one", [(X6, A6)], [], [(X6, B6)], [], outwards(A6, X6), True),
    ("IPv6, moved: another one", [(X, A), (X6, A6)], [], [(X, A), (X6, B6)], [], to(X, 80, A), False),
    ("IPv6, port to another port", [], [(X6, "80", A6, 81)], [], [(X6, "80", A6, 82)], to(X6, 80, A6, 81), True),
    ("IPv6, port to the same port", [], [(X6, "80", A6, 81)], [], [(X6, "80:81", A6, 81)], to(X6, 80, A6, 81), False),
    ("nothing changed", [(X, A)], [], [(X, A)], [], to(X, 80, B), False),
]


@pytest.mark.parametrize(
    ("floating", "forwards", "then", "then_forwards", "connection", "ends"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_what_ends(floating, forwards, then, then_forwards, connection, ends):
    assert verdict(meaning(floating, forwards), meaning(then, then_forwards)).ends(connection) is ends


def test_nothing_is_looked_at_where_no_way_changes():
    same = meaning([(X, A)])
    assert not verdict(same, same).concerns(4)
    assert verdict(same, meaning()).concerns(4) and not verdict(same, meaning()).concerns(6)


def test_a_tree_that_divides_changes_no_way():
    many = [(f"203.0.113.{number}", f"10.0.0.{number}") for number in range(2, 34)]
    before, after = meaning(many), meaning([*many, (f"203.0.113.{34}", "10.0.0.34")])
    wanted = iptables.render(before, "ipv4")
    have = {name: iptables.Table(dict(table.chains)) for name, table in wanted.items()}
    changes = iptables.compare(have, iptables.render(after, "ipv4"))
    assert sum(len(change.after) for change in changes) > 4
    gone, come = iptables.ways(changes)
    pair = frozenset({("203.0.113.34", "10.0.0.34")})
    assert (gone, come) == (Ways(), Ways(pair, pair))
