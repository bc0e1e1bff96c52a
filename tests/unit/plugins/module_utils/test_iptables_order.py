# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which table of iptables is committed when."""

from __future__ import annotations

import re

import pytest
from a_ruleset import PLAN
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter

BLUE, RED = PLAN["networks"]
ONE = {"address": "203.0.113.7", "fixed_address": "10.0.0.5"}
TWO = {"address": "203.0.113.8", "fixed_address": "10.0.0.6"}
ELSEWHERE = {**ONE, "fixed_address": "10.0.0.6"}
GUARDS = {
    "instances": [{"address": "10.0.0.5", "cidr": "10.0.0.0/24", "security_groups": []}],
}


def commits(before, after):
    """Each commit as its table, whether ways to guests are deleted or added in it, and chains that it writes."""
    have, want = (
        iptables.render(packet_filter.intent(packet_filter.parse({**PLAN, **plan})), "ipv4") for plan in (before, after)
    )
    tables = {name: iptables.Table(dict(table.chains), set()) for name, table in have.items()}
    for name, table in have.items():
        tables[name].chains.update({hook: [f"-j {chain}" for chain in jumps] for hook, jumps in table.hooks.items()})
        tables[name].builtin.update(table.hooks)
    changes = iptables.compare(tables, want)
    text = iptables.compose(iptables.in_order(changes))
    whole, ordered = (sorted(set(each.splitlines())) for each in (iptables.compose(changes), text))
    assert [line for line in ordered if not line.startswith("-D nova-")] == whole
    found = []
    for commit in text.split("COMMIT\n")[:-1]:
        about = [commit.split("\n", 1)[0]]
        about += sorted(set(re.findall(r"^-[AD](?= \S+ -d \S+/32 -j DNAT)", commit, re.MULTILINE)))
        about += sorted(set(re.findall(r"^:nova-network-(snat|POSTROUTING) ", commit, re.MULTILINE)))
        found.append(" ".join(about))
    return found


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"floating_ips": [ONE]}, ["*nat -A POSTROUTING"]),
        ({"floating_ips": [ONE]}, {"floating_ips": [ELSEWHERE, TWO]}, ["*nat -A"]),
        ({}, {"floating_ips": [ONE], **GUARDS}, ["*filter", "*nat -A POSTROUTING"]),
        ({"floating_ips": [ONE], **GUARDS}, {}, ["*nat POSTROUTING", "*filter"]),
        ({"floating_ips": [ONE, TWO], **GUARDS}, {"floating_ips": [TWO]}, ["*nat -A", "*filter"]),
        ({"floating_ips": [ONE], **GUARDS}, {"floating_ips": [TWO]}, ["*nat -D", "*filter", "*nat -A"]),
        ({"floating_ips": [ONE], **GUARDS}, {"floating_ips": [ELSEWHERE]}, ["*filter", "*nat -A"]),
        ({"networks": [RED]}, {"networks": [BLUE, RED]}, ["*nat POSTROUTING snat", "*filter", "*mangle POSTROUTING"]),
        ({"networks": [BLUE, RED]}, {"networks": [RED]}, ["*filter", "*nat POSTROUTING snat", "*mangle POSTROUTING"]),
        (
            {"networks": [RED]},
            {"networks": [BLUE, RED], "floating_ips": [ONE], **GUARDS},
            ["*nat POSTROUTING snat", "*filter", "*nat -A", "*mangle POSTROUTING"],
        ),
        (
            {"networks": [BLUE, RED], "floating_ips": [ONE], **GUARDS},
            {"networks": [RED]},
            ["*nat", "*filter", "*nat POSTROUTING snat", "*mangle POSTROUTING"],
        ),
    ],
)
def test_guards_go_before_ways_and_translations_before_forwarding(before, after, told):
    assert commits(before, after) == told
