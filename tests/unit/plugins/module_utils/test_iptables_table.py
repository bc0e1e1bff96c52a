# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of chains, and what iptables-save printed."""

from __future__ import annotations

import pytest
from a_ruleset import HEADERS, SAVED, differ
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables


@pytest.mark.parametrize(
    ("chain", "ours"),
    [
        ("nova-network-snat", True),
        ("nova-network-", True),
        ("nova-filter-top", True),
        ("nova-postrouting-bottom", True),
        ("nova-network", False),
        ("nova-networkx", False),
        ("nova-filter-top2", False),
        ("x-nova-network-snat", False),
        ("nova-compute-FORWARD", False),
        ("nova-api-metadat-snat", False),
    ],
)
def test_a_chain_is_ours_by_its_whole_name_or_its_prefix(chain, ours):
    assert iptables.is_ours(chain) is ours


@pytest.mark.parametrize(
    ("rule", "target"),
    [
        ("-j nova-filter-top", "nova-filter-top"),
        ("-i eth0 -g nova-network-INPUT", "nova-network-INPUT"),
        ('-m comment --comment "see -j nova-filter-top" -j ACCEPT', "ACCEPT"),
        ("-m comment --comment -j -j ACCEPT", "ACCEPT"),
        ('-m comment --comment "say \\"-j x\\"" -j DROP', "DROP"),
        ("-p tcp", None),
        ("", None),
        ('-m comment --comment "unbalanced -j DROP', "DROP"),
    ],
)
def test_the_target_of_a_rule(rule, target):
    assert iptables.target(rule) == target


@pytest.mark.parametrize("variant", HEADERS)
def test_what_was_loaded_reads_back_without_difference(variant):
    assert differ(HEADERS[variant] + SAVED) == []


def test_policies_tell_built_in_chains():
    table = iptables.parse_save(SAVED)["filter"]
    assert table.builtin == {"INPUT", "FORWARD", "OUTPUT"}
    assert table.chains["MY-RULES"][1] == ""


def test_a_table_that_cannot_be_shown_is_not_empty():
    with pytest.raises(iptables.Unreadable, match="nat"):
        iptables.parse_save("# Table `nat' is incompatible, use 'nft' tool.\n")


def test_a_table_of_no_concern_may_be_unreadable():
    text = "# Table `security' is incompatible, use 'nft' tool.\n"
    text += "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n"
    assert iptables.parse_save(text) == {}


def test_a_target_in_use_is_known():
    tables = iptables.parse_save(SAVED)
    assert iptables.has_target(tables, "mangle", "CHECKSUM")
    assert not iptables.has_target(tables, "mangle", "CHECK")
    assert not iptables.has_target(tables, "security", "CHECKSUM")
