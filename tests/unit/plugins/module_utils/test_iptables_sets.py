# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets of addresses beside the rules of iptables, and the generation that the rules refer to."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.iptables import sets

SSH = {"protocol": "tcp", "ports": "22", "group": "clients"}
PING = {"protocol": "icmp"}
OUT = {"direction": "egress", "protocol": "tcp", "group": "clients"}
NAME = iptables.group_chain("clients")


def intent(members, *rules):
    groups = [
        {"name": "web", "members": ["10.0.0.5"], "rules": list(rules)},
        {"name": "clients", "members": list(members), "rules": []},
    ]
    guests = [{"address": "10.0.0.5", "cidr": "10.0.0.0/24", "security_groups": ["web"]}]
    return packet_filter.intent(
        packet_filter.parse({"networks": [], "instances": guests, "security_groups": groups}), "192.0.2.1"
    )


class Host:
    """A host whose rules and sets are what was applied to it."""

    def __init__(self):
        self.tables, self.sets = {}, {}

    def compare(self, meaning):
        changes, difference = iptables.compare_all(meaning, {"ipv4": self.tables}, self.sets)
        return changes["ipv4"], difference

    def apply(self, meaning):
        changes, difference = self.compare(meaning)
        wanted = iptables.render(meaning, "ipv4")
        wanted["filter"] = sets.named(wanted["filter"], difference.names)
        self.tables = {
            name: iptables.Table(
                {**{hook: [f"-j {chain}" for chain in jumps] for hook, jumps in table.hooks.items()}, **table.chains},
                set(table.hooks),
            )
            for name, table in wanted.items()
        }
        members = iptables.member_sets(meaning.security, 4)
        self.sets = {difference.names[name]: of_it for name, of_it in members.items()}
        return changes, difference


def host(meaning):
    made = Host()
    made.apply(meaning)
    return made


def rules_named(host):
    return sets.in_use([host.tables])


def told(difference):
    return difference.before_rules().splitlines(), difference.after_rules().splitlines()


def test_our_sets_are_read_and_nobody_elses():
    assert sets.parse_save(
        "create theirs hash:ip family inet\nadd theirs 192.0.2.1\n"
        "create nova-network-a hash:ip family inet hashsize 1024\nadd nova-network-a 10.0.0.1\n"
        "add nova-network-a 10.0.0.2\n"
        "create nova-network-b hash:ip family inet\n"
    ) == {"nova-network-a": {"10.0.0.1", "10.0.0.2"}, "nova-network-b": frozenset()}


def test_what_differs_is_composed_in_two_parts():
    have = {"nova-network-a": frozenset({"10.0.0.1", "10.0.0.2"}), "nova-network-b": frozenset()}
    want = {"nova-network-a": frozenset({"10.0.0.2", "10.0.0.3"}), "nova-network-c": frozenset({"10.0.0.9"})}
    difference = sets.compare(have, want, sets.generations(have, want, frozenset(have)))
    assert told(difference) == (
        [
            "create nova-network-c hash:ip family inet maxelem 1048576 -exist",
            "add nova-network-a 10.0.0.3 -exist",
            "add nova-network-c 10.0.0.9 -exist",
            "del nova-network-a 10.0.0.1 -exist",
        ],
        ["destroy nova-network-b"],
    )
    assert not sets.compare(have, have, {name: name for name in have})


def test_members_alone_come_and_go_where_they_are():
    site = host(intent(["10.0.0.6"], SSH))
    changes, difference = site.compare(intent(["10.0.0.7"], SSH))
    assert changes == []
    assert told(difference) == ([f"add {NAME} 10.0.0.7 -exist", f"del {NAME} 10.0.0.6 -exist"], [])


def test_with_other_rules_members_go_into_the_other_generation_and_back():
    site = host(intent(["10.0.0.6"], SSH))
    for rules, old, new in (((SSH, PING), NAME, f"{NAME}-2"), ((SSH,), f"{NAME}-2", NAME)):
        members = ["10.0.0.7", "10.0.0.8"] if new != NAME else ["10.0.0.6"]
        before = site.sets[old]
        changes, difference = site.apply(intent(members, *rules))
        assert told(difference) == (
            [
                f"create {new} hash:ip family inet maxelem 1048576 -exist",
                *(f"add {new} {member} -exist" for member in members),
            ],
            [f"destroy {old}"],
        )
        assert rules_named(site) == {new}
        # Of generations a reader hears nothing, but of members and rules.
        lines = [*iptables.actions(changes, "ipv4", {}), *difference.actions({NAME: "clients"})]
        assert sum("icmp" in line for line in lines) == 1 and not any("match-set" in line for line in lines)
        assert lines[-len(before) - len(members) :] == [
            *(f"clients: add member {member}" for member in members),
            *(f"clients: remove member {member}" for member in sorted(before)),
        ]
        # Either one is recognised: nothing to do.
        changes, difference = site.compare(intent(members, *rules))
        assert changes == [] and not difference


def test_a_set_that_no_rule_refers_to_stays_of_its_generation():
    members = {f"{NAME}-2": frozenset({"10.0.0.6"})}
    want = {NAME: frozenset({"10.0.0.6"})}
    assert not sets.compare(members, want, sets.generations(members, want, frozenset()))


def test_rules_alone_leave_the_sets():
    site = host(intent(["10.0.0.6"], SSH))
    _changes, difference = site.compare(intent(["10.0.0.6"], SSH, PING))
    assert not difference and difference.names == {NAME: NAME}


@pytest.mark.parametrize(
    ("members", "moves"),
    [(["10.0.0.6", "10.0.0.7"], False), ([], False), (["10.0.0.7"], True)],
    ids=["come", "go", "come and go"],
)
def test_what_has_to_be_accepted_twice_never_meets_members_of_both_plans(members, moves):
    """Out by the members of one plan, in by those of the other."""
    site = host(intent(["10.0.0.6"], SSH, OUT))
    _changes, difference = site.compare(intent(members, SSH, OUT))
    assert difference.names == {NAME: f"{NAME}-2" if moves else NAME}


def test_what_a_killed_run_left_is_cleared():
    old, new = intent(["10.0.0.6"], SSH), intent(["10.0.0.7"], SSH, PING)
    # Killed before the rules: the other generation is there in part. On with the new plan, or back with the old one.
    site = host(old)
    site.sets[f"{NAME}-2"] = frozenset({"10.0.0.9"})
    _changes, difference = site.compare(new)
    lines = [f"add {NAME}-2 10.0.0.7 -exist", f"del {NAME}-2 10.0.0.9 -exist"]
    assert told(difference) == (lines, [f"destroy {NAME}"])
    changes, difference = site.compare(old)
    assert changes == [] and told(difference) == ([], [f"destroy {NAME}-2"])
    assert difference.actions({}) == [f"remove the set {NAME}-2"]
    # Killed after the rules.
    site = host(old)
    before = site.sets
    site.apply(new)
    site.sets = {**before, **site.sets}
    changes, difference = site.compare(new)
    assert changes == [] and told(difference) == ([], [f"destroy {NAME}"])


def test_what_somebody_did_to_the_sets_is_mended():
    site = host(intent(["10.0.0.6"], SSH))
    site.apply(intent(["10.0.0.7"], SSH, PING))
    site.sets[f"{NAME}-2"] = frozenset({"10.0.0.66"})
    changes, difference = site.compare(intent(["10.0.0.7"], SSH, PING))
    assert changes == []
    assert told(difference) == ([f"add {NAME}-2 10.0.0.7 -exist", f"del {NAME}-2 10.0.0.66 -exist"], [])


def test_a_set_that_somebody_elses_rule_refers_to_stays_where_it_is():
    site = host(intent(["10.0.0.6"], SSH))
    site.tables["filter"].chains["INPUT"].append(f"-p tcp -m set --match-set {NAME} src -j ACCEPT")
    _changes, difference = site.compare(intent(["10.0.0.7"], SSH, PING))
    assert told(difference) == ([f"add {NAME} 10.0.0.7 -exist", f"del {NAME} 10.0.0.6 -exist"], [])
