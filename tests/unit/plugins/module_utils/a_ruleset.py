# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan, and what iptables-save prints of a host that has it."""

from __future__ import annotations

from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter

PLAN = {
    "public_interface": "eth2",
    "routing_source_ip": "192.0.2.9",
    "dmz_cidr": ["10.128.0.0/24"],
    "force_snat_range": ["198.51.100.0/24"],
    "networks": [
        {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True},
        {"label": "red", "bridge": "br101", "cidr": "10.0.1.5/32", "gateway": False, "dhcp": False, "snat": False},
    ],
}
NOTHING = {"networks": []}
ROUTED = {
    **PLAN,
    "metadata": {"host": "192.0.2.50", "port": 8775},
    "floating_ips": [
        {"address": "203.0.113.7", "fixed_address": "10.0.0.5"},
        {"address": "203.0.113.8", "fixed_address": "10.0.0.5", "interface": "eth3"},
        {"address": "203.0.113.9", "fixed_address": "10.0.0.5"},
        {"address": "203.0.113.10", "fixed_address": "10.0.1.5"},
    ],
    "port_forwards": [
        {"address": "203.0.113.7", "protocol": "tcp", "ports": "8000:8010", "fixed_address": "10.0.0.6"},
        {
            "address": "203.0.113.11",
            "protocol": "udp",
            "ports": "80:81",
            "fixed_address": "10.0.0.6",
            "fixed_port": 8080,
        },
        {"address": "203.0.113.11", "protocol": "tcp", "ports": 80, "fixed_address": "10.0.0.7", "fixed_port": 8080},
    ],
}
#: The same with IPv6 beside it.
V6 = {
    **ROUTED,
    "networks": [{**PLAN["networks"][0], "cidr_v6": "fd00::/64"}, PLAN["networks"][1]],
    "floating_ips": [
        *ROUTED["floating_ips"],
        {"address": "2001:db8:5::7", "fixed_address": "fd00::5"},
        {"address": "2001:db8:5::8", "fixed_address": "fd00::5", "interface": "eth3"},
    ],
    "port_forwards": [
        *ROUTED["port_forwards"],
        {"address": "2001:db8:5::9", "protocol": "tcp", "ports": "8000:8010", "fixed_address": "fd00::6"},
        {
            "address": "2001:db8:5::9",
            "protocol": "udp",
            "ports": "80:81",
            "fixed_address": "fd00::6",
            "fixed_port": 8080,
        },
        {"address": "2001:db8:5::9", "protocol": "tcp", "ports": 80, "fixed_address": "fd00::7", "fixed_port": 8080},
    ],
}

#: What iptables-save (1.8.9, both variants alike but for the order of tables) printed after PLAN was loaded beside
#: foreign rules.
SAVED = r"""*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:nova-network-POSTROUTING - [0:0]
-A POSTROUTING -j nova-network-POSTROUTING
-A nova-network-POSTROUTING -o br100 -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 53 -j NOTRACK
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:MY-RULES - [0:0]
:nova-compute-FORWARD - [0:0]
:nova-filter-top - [0:0]
:nova-network-FORWARD - [0:0]
:nova-network-INPUT - [0:0]
:nova-network-OUTPUT - [0:0]
:nova-network-local - [0:0]
:nova-networkx - [0:0]
-A INPUT -j nova-network-INPUT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "the way in -j nova-network-INPUT" -j ACCEPT
-A FORWARD -j nova-filter-top
-A FORWARD -j nova-network-FORWARD
-A FORWARD -j MY-RULES
-A FORWARD -j nova-compute-FORWARD
-A FORWARD -g nova-networkx
-A OUTPUT -j nova-filter-top
-A OUTPUT -j nova-network-OUTPUT
-A MY-RULES -m comment --comment "say \"hello\"" -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A MY-RULES
-A nova-filter-top -j nova-network-local
-A nova-network-FORWARD -i br100 -j ACCEPT
-A nova-network-FORWARD -o br100 -j ACCEPT
-A nova-network-FORWARD -i br101 -j DROP
-A nova-network-FORWARD -o br101 -j DROP
-A nova-network-INPUT -i br100 -p udp -m udp --dport 67 -j ACCEPT
-A nova-network-INPUT -i br100 -p tcp -m tcp --dport 67 -j ACCEPT
-A nova-network-INPUT -i br100 -p udp -m udp --dport 53 -j ACCEPT
-A nova-network-INPUT -i br100 -p tcp -m tcp --dport 53 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:nova-network-OUTPUT - [0:0]
:nova-network-POSTROUTING - [0:0]
:nova-network-PREROUTING - [0:0]
:nova-network-float-snat - [0:0]
:nova-network-snat - [0:0]
:nova-postrouting-bottom - [0:0]
-A PREROUTING -j nova-network-PREROUTING
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -j nova-network-OUTPUT
-A POSTROUTING -j nova-network-POSTROUTING
-A POSTROUTING -j nova-postrouting-bottom
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A nova-network-POSTROUTING -s 10.0.0.0/24 -d 10.128.0.0/24 -j ACCEPT
-A nova-network-POSTROUTING -s 10.0.0.0/24 -d 10.0.0.0/24 -m conntrack ! --ctstate DNAT -j ACCEPT
-A nova-network-POSTROUTING -s 10.0.1.5/32 -d 10.128.0.0/24 -j ACCEPT
-A nova-network-POSTROUTING -s 10.0.1.5/32 -d 10.0.1.5/32 -m conntrack ! --ctstate DNAT -j ACCEPT
-A nova-network-snat -j nova-network-float-snat
-A nova-network-snat -s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.9
-A nova-network-snat -s 10.0.1.5/32 -d 198.51.100.0/24 -j SNAT --to-source 192.0.2.9
-A nova-postrouting-bottom -j nova-network-snat
COMMIT
"""
HEADERS = {
    "nft": "# Generated by iptables-nft-save v1.8.9 (nf_tables) on Sat Nov 21 04:21:39 2026\n",
    "legacy": "# Generated by iptables-save v1.8.9 on Sat Nov 21 04:21:39 2026\n",
    "mixed": "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n",
}


def render(plan=PLAN, family="ipv4", checksum=True):
    return iptables.render(packet_filter.intent(packet_filter.parse(plan)), family, checksum)


def differ(saved, plan=PLAN, family="ipv4"):
    return iptables.compare(iptables.parse_save(saved), render(plan, family))


def composed(saved, plan=PLAN, family="ipv4"):
    return iptables.compose(differ(saved, plan, family)).splitlines()


def edited(*edits):
    saved = SAVED
    for old, new in edits:
        assert old in saved
        saved = saved.replace(old, new, 1)
    return saved
