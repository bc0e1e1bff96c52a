# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs in the tables of iptables, in words."""

from __future__ import annotations

import pytest
from a_ruleset import PLAN, ROUTED, SAVED, V6, differ, edited, render
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.iptables import wording


def test_actions_speak_of_floating_ips():
    labels = packet_filter.intent(packet_filter.parse(ROUTED)).labels
    assert [line for line in iptables.actions(differ(SAVED, ROUTED), "ipv4", labels) if "network-" not in line] == [
        "metadata: add leave to pass, the way to 192.0.2.50:8775",
        "network blue: add no SNAT towards 192.0.2.50/32, the way back inside",
        "network red: add no SNAT towards 192.0.2.50/32, the way back inside",
        "tcp 8000:8010 of 203.0.113.7: add the way to 10.0.0.6",
        "floating IP 203.0.113.7: add the way to 10.0.0.5, the way from 10.0.0.5",
        "floating IP 203.0.113.8: add the way to 10.0.0.5, the way from 10.0.0.5",
        "floating IP 203.0.113.9: add the way to 10.0.0.5",
        "floating IP 203.0.113.10: add the way to 10.0.1.5, the way from 10.0.1.5",
        "udp 80:81 of 203.0.113.11: add the way to 10.0.0.6:8080-8081",
        "tcp 80 of 203.0.113.11: add the way to 10.0.0.7:8080",
    ]


def test_actions_speak_of_ipv6_floating_ips():
    labels = packet_filter.intent(packet_filter.parse(V6)).labels
    assert [line for line in iptables.actions(differ("", V6, "ipv6"), "ipv6", labels) if "network-" not in line] == [
        "network blue: add DHCP, DNS, forwarding, the way back inside (IPv6)",
        "network red: add no forwarding (IPv6)",
        "floating IP 2001:db8:5::7: add the way to fd00::5, the way from fd00::5 (IPv6)",
        "floating IP 2001:db8:5::8: add the way to fd00::5, the way from fd00::5 (IPv6)",
        "tcp 8000:8010 of 2001:db8:5::9: add the way to fd00::6 (IPv6)",
        "udp 80:81 of 2001:db8:5::9: add the way to [fd00::6]:8080-8081 (IPv6)",
        "tcp 80 of 2001:db8:5::9: add the way to [fd00::7]:8080 (IPv6)",
    ]


def test_a_network_of_one_address_is_no_floating_ip():
    plan = {**PLAN, "force_snat_range": ["0.0.0.0/0"]}
    labels = packet_filter.intent(packet_filter.parse(plan)).labels
    assert iptables.actions(differ(SAVED, plan), "ipv4", labels) == [
        "network red: remove SNAT to 192.0.2.9 towards 198.51.100.0/24; add SNAT to 192.0.2.9"
    ]


def test_a_lost_jump_is_told():
    changes = differ(edited(("-A nova-network-snat -j nova-network-float-snat\n", "")))
    assert iptables.actions(changes, "ipv4", {}) == ["put back the jumps in nat nova-network-snat"]


def test_actions_speak_of_networks():
    labels = packet_filter.intent(packet_filter.parse(PLAN)).labels
    saved = edited(
        (
            "-A nova-network-snat -s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.9\n",
            "-A nova-network-snat -s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.8\n",
        ),
        ("-A nova-network-FORWARD -i br101 -j DROP\n", "-A nova-network-FORWARD -i br7 -j ACCEPT\n"),
    )
    assert sorted(iptables.actions(differ(saved), "ipv4", labels)) == [
        "bridge br7, which is not in the plan: remove forwarding",
        "network blue: remove SNAT to 192.0.2.8 out of eth2; add SNAT to 192.0.2.9 out of eth2",
        "network red: add no forwarding",
    ]


@pytest.mark.parametrize(
    ("chain", "rule"),
    [
        (chain, rule)
        for plan, family in ((PLAN, "ipv4"), (ROUTED, "ipv4"), (V6, "ipv6"))
        for table in render(plan, family).values()
        for chain, rules in table.chains.items()
        for rule in rules
    ],
)
def test_every_rule_can_be_told_in_words(chain, rule):
    assert iptables.is_ours(iptables.target(rule) or "") or wording._explain(rule, chain)


def test_the_diff_shows_the_place_of_a_jump():
    changes = differ(
        edited(("-A FORWARD -j nova-filter-top\n", "-A FORWARD -i x -j DROP\n-A FORWARD -j nova-filter-top\n"))
    )
    assert iptables.text(changes, after=False) == (
        "*filter\n-I FORWARD 2 -j nova-filter-top\n-I FORWARD 3 -j nova-network-FORWARD\n"
    )
    assert iptables.text(changes, after=True) == (
        "*filter\n-I FORWARD 1 -j nova-filter-top\n-I FORWARD 2 -j nova-network-FORWARD\n"
    )
    assert iptables.chain_names(changes) == []
