# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A section of a packet filter, and rules of others: help for the tests beside."""

from __future__ import annotations

from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

PLAN = {
    "public_interface": "eth2",
    "routing_source_ip": "192.0.2.9",
    "dmz_cidr": ["10.128.0.0/24"],
    "force_snat_range": ["198.51.100.0/24", "0.0.0.0/0"],
    "networks": [
        {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True},
        {"label": "red", "bridge": "br101", "cidr": "10.0.1.5/32", "gateway": False, "dhcp": True, "snat": False},
    ],
}
NOTHING = {"networks": []}

FOREIGN = r"""*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:MY-RULES - [0:0]
:nova-networkx - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "the way in -j nova-network-INPUT" -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A FORWARD -j MY-RULES
-A FORWARD -g nova-networkx
-A MY-RULES -m comment --comment "say \"hello\"" -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
COMMIT
*nat
:DOCKER - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
*mangle
-A POSTROUTING -o eth9 -j MARK --set-xmark 0x1/0xffffffff
COMMIT
"""


def apply(plan=PLAN, **options):
    return driver.apply(plan, **{"wait": 5, **options})


def guarded(*members):
    """A guest that lets in whoever is a member of another group."""
    rule = {"protocol": "tcp", "ports": "22", "group": "clients"}
    return {
        **PLAN,
        "instances": [{"address": "10.0.0.5", "cidr": "10.0.0.0/24", "security_groups": ["web"]}],
        "security_groups": [
            {"name": "web", "members": ["10.0.0.5"], "rules": [rule]},
            {"name": "clients", "members": list(members), "rules": []},
        ],
    }
