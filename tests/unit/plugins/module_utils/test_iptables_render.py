# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for iptables as they should be."""

from __future__ import annotations

from a_ruleset import NOTHING, PLAN, ROUTED, V6, render
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables


def test_floating_ips_ports_and_metadata():
    nat = render(ROUTED)["nat"].chains
    added = {
        chain: [rule for rule in rules if rule not in render()["nat"].chains.get(chain, [])]
        for chain, rules in nat.items()
    }
    assert {chain: rules for chain, rules in added.items() if rules} == {
        "nova-network-PREROUTING": [
            "-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.0.2.50:8775",
            "-j nova-network-float-to",
        ],
        "nova-network-OUTPUT": ["-j nova-network-float-to"],
        "nova-network-POSTROUTING": [
            "-s 10.0.0.0/24 -d 192.0.2.50/32 -j ACCEPT",
            "-s 10.0.1.5/32 -d 192.0.2.50/32 -j ACCEPT",
            "-m conntrack --ctstate DNAT -j nova-network-float-from",
            "-m conntrack --ctstate DNAT -j nova-network-float-from2",
            "-s 10.0.0.0/24 -d 10.0.0.0/24 -o br100 -m conntrack --ctstate DNAT -j MASQUERADE",
            "-s 10.0.1.5/32 -d 10.0.1.5/32 -o br101 -m conntrack --ctstate DNAT -j MASQUERADE",
        ],
        "nova-network-float-snat": ["-o eth2 -j nova-network-float-from", "-o eth3 -j nova-network-float-from2"],
        "nova-network-float-to": [
            # Single ports before the rest of the address.
            "-d 203.0.113.7/32 -p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination 10.0.0.6",
            "-d 203.0.113.7/32 -j DNAT --to-destination 10.0.0.5",
            "-d 203.0.113.8/32 -j DNAT --to-destination 10.0.0.5",
            "-d 203.0.113.9/32 -j DNAT --to-destination 10.0.0.5",
            "-d 203.0.113.10/32 -j DNAT --to-destination 10.0.1.5",
            "-d 203.0.113.11/32 -p udp -m udp --dport 80:81 -j DNAT --to-destination 10.0.0.6:8080-8081/80",
            "-d 203.0.113.11/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.7:8080",
        ],
        # The first of two for one fixed address gives the source.
        "nova-network-float-from": [
            "-s 10.0.0.5/32 -j SNAT --to-source 203.0.113.7",
            "-s 10.0.1.5/32 -j SNAT --to-source 203.0.113.10",
        ],
        "nova-network-float-from2": ["-s 10.0.0.5/32 -j SNAT --to-source 203.0.113.8"],
    }
    order = nat["nova-network-POSTROUTING"]
    assert order.index("-s 10.0.0.0/24 -d 10.0.0.0/24 -m conntrack ! --ctstate DNAT -j ACCEPT") < order.index(
        "-m conntrack --ctstate DNAT -j nova-network-float-from"
    )
    assert nat["nova-network-snat"][0] == "-j nova-network-float-snat"


def test_metadata_opens_the_filter_for_nothing_else():
    new = {
        chain: [rule for rule in rules if rule not in render()["filter"].chains[chain]]
        for chain, rules in render(ROUTED)["filter"].chains.items()
    }
    asked = "-m conntrack --ctstate DNAT --ctorigdst 169.254.169.254"
    assert {chain: rules for chain, rules in new.items() if rules} == {
        "nova-network-INPUT": [f"-d 192.0.2.50/32 ! -i eth2 -p tcp -m tcp --dport 8775 {asked} -j ACCEPT"],
        "nova-network-FORWARD": [
            f"-d 192.0.2.50/32 ! -i eth2 -p tcp -m tcp --dport 8775 {asked} -j ACCEPT",
            f"-s 192.0.2.50/32 -p tcp -m tcp --sport 8775 {asked} --ctdir REPLY -j ACCEPT",
        ],
    }
    local = render({**PLAN, "metadata": {"host": None, "port": 8775}})
    assert local["nat"].chains["nova-network-PREROUTING"] == [
        "-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8775"
    ]
    assert local["filter"].chains["nova-network-INPUT"][-1] == f"! -i eth2 -p tcp -m tcp --dport 8775 {asked} -j ACCEPT"
    assert local["filter"].chains["nova-network-FORWARD"] == render()["filter"].chains["nova-network-FORWARD"]


def test_metadata_of_others_is_excepted_in_a_chain_of_its_own():
    nat = render({**PLAN, "metadata": {"host": None, "port": 8775, "elsewhere": ["br9", "br8"]}})["nat"].chains
    asked = "-d 169.254.169.254/32 -p tcp -m tcp --dport 80"
    assert nat["nova-network-PREROUTING"] == [f"{asked} -j nova-network-to-metadata"]
    assert nat["nova-network-to-metadata"] == [
        "-i br8 -j RETURN",
        "-i br9 -j RETURN",
        f"{asked} -j REDIRECT --to-ports 8775",
    ]


def test_ipv6_knows_nothing_of_ipv4_addresses():
    assert render(ROUTED, "ipv6") == render(PLAN, "ipv6")


def test_the_skeleton_is_novas():
    tables = render()
    assert {name: table.hooks for name, table in tables.items()} == {
        "filter": {
            "INPUT": ["nova-network-INPUT"],
            "FORWARD": ["nova-filter-top", "nova-network-FORWARD"],
            "OUTPUT": ["nova-filter-top", "nova-network-OUTPUT"],
        },
        "nat": {
            "PREROUTING": ["nova-network-PREROUTING"],
            "OUTPUT": ["nova-network-OUTPUT"],
            "POSTROUTING": ["nova-network-POSTROUTING", "nova-postrouting-bottom"],
        },
        "mangle": {"POSTROUTING": ["nova-network-POSTROUTING"]},
    }
    assert tables["filter"].chains["nova-filter-top"] == ["-j nova-network-local"]
    assert tables["nat"].chains["nova-postrouting-bottom"] == ["-j nova-network-snat"]


def test_rules_stand_as_the_kernel_gives_them_back():
    tables = render()
    assert tables["nat"].chains["nova-network-snat"] == [
        "-j nova-network-float-snat",
        "-s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.9",
        "-s 10.0.1.5/32 -d 198.51.100.0/24 -j SNAT --to-source 192.0.2.9",
    ]
    assert tables["nat"].chains["nova-network-POSTROUTING"] == [
        "-s 10.0.0.0/24 -d 10.128.0.0/24 -j ACCEPT",
        "-s 10.0.0.0/24 -d 10.0.0.0/24 -m conntrack ! --ctstate DNAT -j ACCEPT",
        "-s 10.0.1.5/32 -d 10.128.0.0/24 -j ACCEPT",
        "-s 10.0.1.5/32 -d 10.0.1.5/32 -m conntrack ! --ctstate DNAT -j ACCEPT",
    ]
    assert tables["filter"].chains["nova-network-FORWARD"] == [
        "-i br100 -j ACCEPT",
        "-o br100 -j ACCEPT",
        "-i br101 -j DROP",
        "-o br101 -j DROP",
    ]
    assert tables["filter"].chains["nova-network-INPUT"] == [
        "-i br100 -p udp -m udp --dport 67 -j ACCEPT",
        "-i br100 -p tcp -m tcp --dport 67 -j ACCEPT",
        "-i br100 -p udp -m udp --dport 53 -j ACCEPT",
        "-i br100 -p tcp -m tcp --dport 53 -j ACCEPT",
    ]
    assert tables["mangle"].chains["nova-network-POSTROUTING"] == [
        "-o br100 -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill"
    ]


def test_anywhere_is_left_out():
    nat = render({**PLAN, "dmz_cidr": ["0.0.0.0/0"], "force_snat_range": ["0.0.0.0/0"]})["nat"].chains
    assert nat["nova-network-POSTROUTING"][0] == "-s 10.0.0.0/24 -j ACCEPT"
    assert nat["nova-network-snat"][2] == "-s 10.0.1.5/32 -j SNAT --to-source 192.0.2.9"


def test_ipv6_is_the_filter_part_with_its_own_dhcp():
    tables, ipv4 = render(family="ipv6"), render()["filter"]
    assert tables.keys() == {"filter", "nat"} and tables["nat"] == iptables.Wanted()
    services = tables["filter"].chains.pop("nova-network-INPUT")
    assert services == [
        "-i br100 -p udp -m udp --dport 547 -j ACCEPT",
        "-i br100 -p udp -m udp --dport 53 -j ACCEPT",
        "-i br100 -p tcp -m tcp --dport 53 -j ACCEPT",
    ]
    del ipv4.chains["nova-network-INPUT"]
    assert tables["filter"] == ipv4


def test_ipv6_addresses_lead_to_guests_under_the_same_names():
    nat = render(V6, "ipv6")["nat"]
    assert render(V6)["nat"] == render(ROUTED)["nat"] and render(V6, "ipv6").keys() == {"filter", "nat"}
    assert nat.chains == {
        "nova-network-PREROUTING": ["-j nova-network-float-to"],
        "nova-network-OUTPUT": ["-j nova-network-float-to"],
        "nova-network-POSTROUTING": [
            "-m conntrack --ctstate DNAT -j nova-network-float-from",
            "-m conntrack --ctstate DNAT -j nova-network-float-from2",
            "-s fd00::/64 -d fd00::/64 -o br100 -m conntrack --ctstate DNAT -j MASQUERADE",
        ],
        "nova-postrouting-bottom": ["-j nova-network-snat"],
        "nova-network-snat": ["-j nova-network-float-snat"],
        "nova-network-float-snat": ["-o eth2 -j nova-network-float-from", "-o eth3 -j nova-network-float-from2"],
        "nova-network-float-to": [
            "-d 2001:db8:5::7/128 -j DNAT --to-destination fd00::5",
            "-d 2001:db8:5::8/128 -j DNAT --to-destination fd00::5",
            "-d 2001:db8:5::9/128 -p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination fd00::6",
            "-d 2001:db8:5::9/128 -p udp -m udp --dport 80:81 -j DNAT --to-destination [fd00::6]:8080-8081/80",
            "-d 2001:db8:5::9/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::7]:8080",
        ],
        "nova-network-float-from": ["-s fd00::5/128 -j SNAT --to-source 2001:db8:5::7"],
        "nova-network-float-from2": ["-s fd00::5/128 -j SNAT --to-source 2001:db8:5::8"],
    }
    assert nat.hooks == render(V6)["nat"].hooks


def test_without_the_target_its_rule_is_left_out():
    assert render(checksum=False)["mangle"].chains == {"nova-network-POSTROUTING": []}
    assert render(checksum=False)["mangle"].hooks == render()["mangle"].hooks
    assert render(checksum=False)["nat"] == render()["nat"]


def test_no_network_wants_no_chain():
    assert render(NOTHING) == dict.fromkeys(iptables.TABLES, iptables.Wanted())
