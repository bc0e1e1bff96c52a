# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables that go over at once: what packets meet before the switch is turned, after it, and at the end.

The texts are carried out on plain tables, as iptables-restore does; what packets meet in a table is a tree of rules in
which the names of chains are gone.
"""

from __future__ import annotations

import random

import pytest
from a_ruleset import NOTHING, PLAN, ROUTED
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.iptables import switch

FOREIGN = {
    "filter": {"INPUT": ["-i lo -j ACCEPT"], "FORWARD": ["-i eth7 -j DROP", "-j THEIRS"], "OUTPUT": [], "THEIRS": []},
    "nat": {"PREROUTING": ["-j THEIRS"], "OUTPUT": [], "POSTROUTING": ["-o eth7 -j ACCEPT"], "THEIRS": ["-j RETURN"]},
    "mangle": {"PREROUTING": [], "POSTROUTING": []},
}
POOL = [{"address": f"203.0.113.{number}", "fixed_address": f"10.0.0.{number % 60 + 2}"} for number in range(2, 250, 3)]


def wanted(plan):
    return iptables.render(packet_filter.intent(packet_filter.parse(plan)), "ipv4")


def host():
    return copied({name: iptables.Table(chains, set(chains) - {"THEIRS"}) for name, chains in FOREIGN.items()})


def load(tables, text):
    """What iptables-restore --noflush does with the text; what it would refuse fails."""
    chains = {}
    for line in text.splitlines():
        verb, _blank, rest = line.partition(" ")
        name, _blank, rule = rest.partition(" ")
        if verb.startswith("*"):
            chains = tables[verb[1:]].chains
        elif verb.startswith(":"):
            chains[verb[1:]] = []
        elif verb == "-A":
            chains[name].append(rule)
        elif verb == "-D":
            chains[name].remove(rule)
        elif verb == "-I":
            position, _blank, rule = rule.partition(" ")
            chains[name].insert(int(position) - 1, rule)
        elif verb == "-X":
            assert chains.pop(name) == [] and not any(
                iptables.target(rule) == name for of in chains.values() for rule in of
            )
        elif verb == "COMMIT":
            assert all(led in chains for of in chains.values() for led in map(iptables.target, of) if is_ours(led))
        else:
            raise AssertionError(line)


def is_ours(chain):
    return chain is not None and iptables.is_ours(chain)


def met(tables, on=False):
    """What packets meet, by table and built-in chain."""
    return {
        f"{name} {hook}": _met(table.chains, hook, on)
        for name, table in tables.items()
        for hook in sorted(table.builtin)
    }


def _met(chains, chain, on):
    found = []
    for rule in chains[chain]:
        if rule.startswith(switch.WHEN_ON):
            if not on:
                continue
            rule = rule[len(switch.WHEN_ON) :]
        led = iptables.target(rule)
        if led in chains:
            below = _met(chains, led, on)
            if rule == f"-g {led}":
                return tuple(found) + below
            rule = (rule.removesuffix(led), below)
            # Chains that do nothing, and what a packet has come back from already.
            if not below or rule in found:
                continue
        elif rule == "-j RETURN":
            break
        found.append(rule)
    return tuple(found)


def any_plan(draw):
    """From little to much, so that trees of chains divide and chains come, go, and stay."""
    ips = draw.sample(POOL, draw.choice([0, 1, 2, 40, 80]))
    guests = [
        {
            "address": f"10.0.0.{number}",
            "cidr": "10.0.0.0/24",
            "security_groups": draw.sample(["web", "db"], number % 3),
        }
        for number in draw.sample(range(2, 62), draw.choice([0, 0, 1, 30, 50]))
    ]
    rules = [{"protocol": "tcp", "ports": str(draw.randrange(80, 83)), "direction": draw.choice(["ingress", "egress"])}]
    groups = [{"name": name, "members": [], "rules": draw.choice([[], rules])} for name in ("web", "db")]
    return draw.choice(
        [
            NOTHING,
            ROUTED,
            *[{**PLAN, "floating_ips": ips, "instances": guests, "security_groups": groups}] * 6,
        ]
    )


def meddle(draw, tables):
    """Somebody takes a jump of ours away, puts a rule above it, or one that leads to our chains."""
    table = tables[draw.choice(["filter", "nat"])].chains
    hook = draw.choice([chain for chain in table if not is_ours(chain)])
    ours = [chain for chain in table if is_ours(chain)]
    for rule in [rule for rule in table[hook] if is_ours(iptables.target(rule))][: draw.randrange(2)]:
        table[hook].remove(rule)
    table[hook].insert(0, "-i eth8 -j DROP")
    if ours and draw.random() < 0.5:
        table[hook].append(f"-i eth9 -j {draw.choice(ours)}")


@pytest.mark.parametrize("seed", range(60))
def test_from_any_plan_to_any_other_packets_meet_the_one_or_the_other(seed):
    draw = random.Random(seed)
    tables = host()
    for _turn in range(4):
        meddle(draw, tables)
        before, plan = met(tables), wanted(any_plan(draw))
        changes = iptables.compare(tables, plan)
        final = copied(tables)
        load(final, iptables.compose(changes))
        assert iptables.compare(final, plan) == []
        for change in changes:
            # Each table by itself: whatever is prepared already, nobody meets anything of it.
            load(tables, switch.prepare([change]))
            assert met(tables) == before
            resolved(tables, False, before)
        assert met(tables, on=True) == met(final)
        for change in changes:
            resolved(tables, True, met(final))
            load(tables, switch.settle([change]))
            assert met(tables, on=True) == met(final)
        resolved(tables, True, met(final))
        assert tables == final


def resolved(tables, on, same):
    """A run ended here, and the next one finds this: it makes of it what packets meet."""
    left = copied(tables)
    found, text = switch.resolve(left, on)
    load(left, text)
    assert left == found and met(left) == same
    assert "switch" not in str(left) and "next-" not in str(left)
    assert switch.resolve(left, on) == (left, "")


def copied(tables):
    return {
        name: iptables.Table({chain: list(rules) for chain, rules in table.chains.items()}, set(table.builtin))
        for name, table in tables.items()
    }


def test_rules_that_others_put_into_our_chains_meanwhile_stay_where_they_are():
    table = {"filter": ["-j DROP"], "nova-network-x": ["-j A", f"{switch.WHEN_ON}-g nova-network-next-1", "-j B"]}
    table |= {"nova-network-next-1": ["-j C"], "INPUT": ["-j nova-network-x"]}
    tables = {"filter": iptables.Table(table, {"INPUT"})}
    for on, rules in ((True, ["-j A", "-j C"]), (False, ["-j A", "-j B"])):
        found, _text = switch.resolve(tables, on)
        assert found["filter"].chains == {
            "filter": ["-j DROP"],
            "nova-network-x": rules,
            "INPUT": ["-j nova-network-x"],
        }


def test_what_is_left_of_a_switch_is_told_by_its_sets():
    members = frozenset(["10.0.0.1"])
    others = {"nova-network-sg-1": members}
    assert switch.part(others) == (others, switch.Left())
    for of_it, on in ((frozenset(), False), (frozenset(["nova-network-all"]), True)):
        held = {"nova-network-all": members, "nova-network-switch": of_it, **others}
        assert switch.part(held) == (others, switch.Left(("nova-network-switch", "nova-network-all"), on))
