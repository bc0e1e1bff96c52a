# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other programs' tables read off this kernel, and the remedy of a warning carried out."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import bridge_netfilter, foreign_rules, routing

NETWORK = {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True}
PLAN = {"public_interface": "eth2", "routing_source_ip": "192.0.2.1", "networks": [NETWORK]}
STRICT = """table inet filter {
    set lan { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
    chain input { type filter hook input priority filter; policy drop; ct state established,related accept; }
    chain forward { type filter hook forward priority filter; policy drop; ip saddr 192.0.2.0/24 accept; }
}
"""
BRIDGED = pathlib.Path("/proc/thread-self/root/proc/sys") / bridge_netfilter.KEYS[0].replace(".", "/")


def shell(command):
    subprocess.run(["sh", "-ec", command], check=True, capture_output=True)


def load(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def warnings(backend="iptables"):
    done = routing.apply(routing.BACKENDS[backend], PLAN, None, check=False, diff=False, wait=5)
    return [text for text in done["warnings"] if "are kept from" in text]


def test_a_strict_ruleset_is_warned_of_until_its_remedies_are_carried_out(filter_host):
    assert warnings() == []
    load(STRICT.replace("ip saddr 192.0.2.0/24 accept", "ip saddr @lan tcp dport 22 drop"))
    said = warnings()
    assert [re.search(r"kept from (.*?):", text).group(1) for text in said] == ["DHCP and DNS", "the way outwards"]
    for text in said:
        shell(re.search(r"nft '.*'", text).group())
    assert warnings() == []


def test_what_cannot_be_decided_is_not_warned_of(filter_host):
    load(STRICT.replace("ct state established,related accept", "ip saddr @lan accept"))
    assert warnings() == []


def test_what_docker_drops_matters_where_no_chain_of_ours_stands_before_it(filter_host):
    if not BRIDGED.exists():
        pytest.skip("this kernel has no br_netfilter")
    shell(
        "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    )
    assert warnings() == []
    assert len(warnings("nftables")) == 1
    shell("nft delete table ip nova-network")
    BRIDGED.write_text("0\n")
    assert foreign_rules.at_bridges(["br100"]) == []
    BRIDGED.write_text("1\n")
    [said] = foreign_rules.at_bridges(["br100"])
    assert "traffic within the bridge" in said
    shell("iptables-nft -N DOCKER-USER; iptables-nft -I FORWARD -j DOCKER-USER")
    shell(re.search(r"iptables -I .*", said).group().replace("iptables", "iptables-nft"))
    assert foreign_rules.at_bridges(["br100"]) == []
