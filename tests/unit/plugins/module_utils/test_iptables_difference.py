# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables of iptables compared, and the restore that is composed."""

from __future__ import annotations

import pytest
from a_ruleset import NOTHING, SAVED, composed, differ, edited
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables


def test_only_the_chain_that_differs_is_refilled():
    saved = edited(("-A nova-network-FORWARD -o br100 -j ACCEPT\n", ""))
    assert composed(saved) == [
        "*filter",
        ":nova-network-FORWARD - [0:0]",
        "-A nova-network-FORWARD -i br100 -j ACCEPT",
        "-A nova-network-FORWARD -o br100 -j ACCEPT",
        "-A nova-network-FORWARD -i br101 -j DROP",
        "-A nova-network-FORWARD -o br101 -j DROP",
        "COMMIT",
    ]


def test_order_within_a_chain_counts():
    one, two = "-A nova-network-FORWARD -i br100 -j ACCEPT\n", "-A nova-network-FORWARD -o br100 -j ACCEPT\n"
    changes = differ(edited((one + two, two + one)))
    assert iptables.actions(changes, "ipv4", {}) == ["put the rules of nova-network-FORWARD in order"]


def test_a_rule_that_is_not_in_the_plan_goes():
    saved = edited(("-A nova-network-snat -j", "-A nova-network-OUTPUT -p icmp -j DROP\n-A nova-network-snat -j"))
    changes = differ(saved)
    assert iptables.compose(changes).splitlines() == ["*nat", ":nova-network-OUTPUT - [0:0]", "COMMIT"]
    assert iptables.actions(changes, "ipv4", {}) == ["remove in nova-network-OUTPUT the rule '-p icmp -j DROP'"]


def test_a_chain_of_ours_that_has_no_place_goes():
    saved = edited((":nova-network-snat", ":nova-network-old - [0:0]\n:nova-network-snat"))
    assert composed(saved) == ["*nat", ":nova-network-old - [0:0]", "-X nova-network-old", "COMMIT"]


TOP, OWN = "-A FORWARD -j nova-filter-top\n", "-A FORWARD -j nova-network-FORWARD\n"
JUMPS = [
    ("a foreign rule above", [(TOP, "-A FORWARD -i x -j DROP\n" + TOP)], 2),
    ("a foreign rule between", [(OWN, "-A FORWARD -i x -j DROP\n" + OWN)], 2),
    ("the wrong order", [(TOP + OWN, OWN + TOP)], 2),
    ("one missing", [(OWN, "")], 1),
    ("both missing", [(TOP + OWN, "")], 0),
    ("a duplicate at the top", [(TOP, TOP + TOP)], 3),
    ("a duplicate below", [("-A FORWARD -g nova-networkx\n", "-A FORWARD -g nova-networkx\n" + OWN)], 3),
]


@pytest.mark.parametrize(("edits", "deleted"), [case[1:] for case in JUMPS], ids=[case[0] for case in JUMPS])
def test_jumps_go_back_to_the_top(edits, deleted):
    lines = composed(edited(*edits))
    assert lines[0] == "*filter" and lines[-1] == "COMMIT"
    assert sum(line.startswith("-D FORWARD -j nova-") for line in lines) == deleted
    assert lines[1 + deleted : -1] == ["-I FORWARD 1 -j nova-filter-top", "-I FORWARD 2 -j nova-network-FORWARD"]


def test_a_bare_jump_in_the_wrong_built_in_chain_goes():
    saved = edited(("-A INPUT -p tcp", "-A INPUT -j nova-network-FORWARD\n-A INPUT -p tcp"))
    assert composed(saved) == [
        "*filter",
        "-D INPUT -j nova-network-INPUT",
        "-D INPUT -j nova-network-FORWARD",
        "-I INPUT 1 -j nova-network-INPUT",
        "COMMIT",
    ]


@pytest.mark.parametrize(
    "rule",
    ["-A INPUT -i eth9 -j nova-network-local", "-A MY-RULES -j nova-network-local"],
    ids=["matches", "own chain"],
)
def test_somebodys_own_jump_stays_until_its_chain_goes(rule):
    saved = edited(("-A MY-RULES\n", f"-A MY-RULES\n{rule}\n"))
    assert differ(saved) == []
    assert rule.replace("-A", "-D", 1) in composed(saved, NOTHING)


def test_purging_names_nothing_foreign():
    lines = composed(SAVED, NOTHING)
    for line in lines:
        if line.startswith(("*", "COMMIT")):
            continue
        assert iptables.is_ours(line.split()[-1]) or iptables.is_ours(line[1:].split()[0])
    assert sorted(line[3:] for line in lines if line.startswith("-X")) == sorted(
        chain.split()[1] for chain in iptables.our_chains(iptables.parse_save(SAVED))
    )
    assert not any(line.startswith(("-A", "-I")) for line in lines)


def test_nothing_there_and_nothing_wanted():
    assert differ("", NOTHING) == []


NEIGHBOUR = ("-A nova-filter-top -j nova-network-local\n", "-A nova-filter-top -j nova-compute-FORWARD\n")


def test_another_program_of_nova_keeps_its_place_in_a_shared_chain():
    ours, theirs = NEIGHBOUR
    assert differ(edited((ours, ours + theirs))) == []
    assert composed(edited((ours, theirs))) == [
        "*filter",
        ":nova-filter-top - [0:0]",
        ours.strip(),
        theirs.strip(),
        "COMMIT",
    ]


def test_a_shared_chain_outlives_us_where_another_program_uses_it():
    lines = composed(edited((NEIGHBOUR[0], "".join(NEIGHBOUR))), NOTHING)
    assert ":nova-filter-top - [0:0]" in lines and NEIGHBOUR[1].strip() in lines
    assert "-X nova-filter-top" not in lines
    assert "-I FORWARD 1 -j nova-filter-top" in lines and "-I OUTPUT 1 -j nova-filter-top" in lines


def test_what_nobody_put_into_a_shared_chain_goes():
    saved = edited((NEIGHBOUR[0], NEIGHBOUR[0] + "-A nova-filter-top -j DROP\n"))
    assert composed(saved) == ["*filter", ":nova-filter-top - [0:0]", NEIGHBOUR[0].strip(), "COMMIT"]


def test_an_absent_table_counts_as_an_empty_one():
    empty = "".join(
        f"*{table}\n{chains}COMMIT\n"
        for table, chains in (
            ("filter", ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"),
            ("nat", ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"),
            ("mangle", ":POSTROUTING ACCEPT [0:0]\n"),
        )
    )
    assert composed("") == composed(empty)
