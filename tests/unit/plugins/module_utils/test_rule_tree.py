# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tree of chains, walked as a packet walks it."""

from __future__ import annotations

import ipaddress
import itertools
import random

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, rule_tree
from ansible_collections.tenantnet.nova.plugins.module_utils._core.rule_tree import LEAF, Branch
from hypothesis import given
from hypothesis import strategies as st

ROOT = "nova-network-float-from99"
STEM = "nova-network-from99-"


def grow(branches):
    return rule_tree.grow(ROOT, STEM, "-s", rule_tree.leaves(branches))


def single(value, rules=1):
    return Branch(value, 32, [f"-s {addressing.text(value)}/32 -m rule --number {number}" for number in range(rules)])


def walk(chains, value):
    """The rules that speak of an address, in a packet's order, and how many rules it looked at."""
    address = ipaddress.IPv4Address(value)
    found, looks, chain = [], 0, ROOT
    while chain is not None:
        following = None
        for rule in chains[chain]:
            looks += 1
            words = rule.split()
            assert words[0] == "-s"
            if address in ipaddress.IPv4Network(words[1]):
                if words[2] == "-g":
                    following = words[3]
                    break
                found.append(rule)
        chain = following
    return found, looks


_values = st.one_of(
    st.integers(0, 2**32 - 1),
    st.integers(0x0A000000, 0x0A0001FF),
    st.integers(0xCB007100, 0xCB0071FF),
)


@given(st.dictionaries(_values, st.integers(1, 5), max_size=300), _values)
def test_each_address_meets_its_own_rules_and_no_other_address_any(wanted, stranger):
    branches = [single(value, rules) for value, rules in wanted.items()]
    chains = grow(branches)
    for branch in branches:
        assert walk(chains, branch.first)[0] == branch.rules
    assert stranger in wanted or walk(chains, stranger)[0] == []
    # Every chain is led to just once, and a name is as long as the kernel takes it.
    led_to = [rule.split()[3] for rules in chains.values() for rule in rules if " -g " in rule]
    assert sorted(led_to) == sorted(set(chains) - {ROOT})
    assert all(len(chain) <= 28 for chain in chains)


@given(st.lists(st.tuples(_values, st.integers(0, 32)), max_size=200))
def test_ranges_meet_their_rules_too(wanted):
    branches, end = [], -1
    for value, prefix in sorted((value >> 32 - prefix << 32 - prefix, prefix) for value, prefix in wanted):
        if value > end:
            end = value | (1 << 32 - prefix) - 1
            branches.append(Branch(value, prefix, [f"-s {addressing.text(value)}/{prefix} -j X"]))
    chains = grow(branches)
    for value, prefix, rules in branches:
        for inside in (value, value | (1 << 32 - prefix) - 1):
            assert walk(chains, inside)[0] == rules


def test_few_rules_need_no_tree():
    assert list(grow([])) == [ROOT]
    assert list(grow(single(value) for value in range(LEAF))) == [ROOT]
    assert len(grow(single(value) for value in range(LEAF + 1))) > 1


PLACES = {
    "side by side": lambda count: range(0xCB000000, 0xCB000000 + count),
    "a /24 apart": lambda count: range(0x0A000003, 0x0A000003 + count * 256, 256),
    "anywhere": lambda count: random.Random(1).sample(range(2**32), count),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_ten_thousand_cost_a_packet_little_more_than_a_hundred(place):
    looks = {}
    for count in (100, 10_000):
        values = place(count)
        chains = grow(map(single, values))
        looks[count] = max(walk(chains, value)[1] for value in values)
        assert len(chains) <= count / 4
    assert looks[10_000] <= 16 * 4 + LEAF
    assert looks[10_000] <= looks[100] + 3 * 16


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_one_more_address_touches_what_is_near_it(place):
    values = list(place(3000))
    before = grow(map(single, values[:-40]))
    for count in range(-40, -1):
        after = grow(map(single, values[: count + 1]))
        touched = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        rewritten = sum(len(after.get(name, ())) for name in touched)
        assert len(touched) <= 18 and rewritten <= 2 * LEAF + 16
        before = after


def test_an_address_with_many_rules_has_a_chain_of_its_own():
    values = [0xCB007101, 0xCB007102, 0xCB007103]
    chains = grow([single(values[0]), single(values[1], 500), single(values[2])])
    assert {len(rules) for rules in chains.values()} == {3, 500}
    assert walk(chains, values[2])[1] == 3


def test_names_of_ipv6_chains_have_as_much_of_a_hash_as_there_is_room_for():
    values = (number << 64 | part for number in range(40) for part in range(40))
    leaves = rule_tree.leaves(Branch(value, 128, ("x",)) for value in values)
    chains = rule_tree.grow(ROOT, "nova-network-from99-", "-s", leaves, 128)
    below = [name for name in chains if name != ROOT]
    assert len(below) > 40 and {len(name) for name in below} == {28}


def test_names_are_the_digits_of_the_address():
    chains = grow(
        single(value) for value in itertools.chain(range(0x0A000000, 0x0A000028), range(0xCB007100, 0xCB007103))
    )
    assert "-s 10.0.0.16/28 -g nova-network-from99-0a00001" in chains["nova-network-from99-0a0000"]
    assert "-s 203.0.113.0/28 -g nova-network-from99-cb00710" in chains[ROOT]


def _stretch(name, chains, bits):
    """The addresses that a chain is for: those of the rule that leads there."""
    if name == ROOT:
        return ipaddress.ip_network((0, 0)) if bits == 32 else ipaddress.IPv6Network((0, 0))
    led = [rule.split() for rules in chains.values() for rule in rules if rule.endswith(f" -g {name}")]
    return ipaddress.ip_network(led[0][1])


_few_digits = st.integers(0, 600).map(lambda value: 0x0A000000 + value * 7)


@pytest.mark.parametrize("bits", [32, 128])
@given(
    st.dictionaries(_values | _few_digits, st.integers(1, 5), max_size=200), st.lists(_values | _few_digits, max_size=3)
)
def test_around_addresses_there_are_the_chains_that_these_are_led_through(bits, wanted, around):
    sort = {32: ipaddress.IPv4Address, 128: ipaddress.IPv6Address}[bits]
    shift = {32: 0, 128: 61}[bits]
    made = [
        Branch(value << shift, bits, [f"rule {number}" for number in range(of_it)]) for value, of_it in wanted.items()
    ]
    around = [value << shift for value in around] + [branch.first for branch in made[:1]]
    leaves = rule_tree.leaves(made)
    whole = rule_tree.grow(ROOT, STEM, "-s", leaves, bits)
    part = rule_tree.grow(ROOT, STEM, "-s", leaves, bits, around)
    held = {name for name in whole if any(sort(value) in _stretch(name, whole, bits) for value in around)}
    assert part == {name: rules for name, rules in whole.items() if name in held}
    assert list(part) == [name for name in whole if name in held]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_chain_is_asked_for_from_its_first_address_to_its_last(place):
    leaves = rule_tree.leaves(map(single, place(300)))
    whole = rule_tree.grow(ROOT, STEM, "-s", leaves)
    for name in whole.keys() - {ROOT}:
        stretch = _stretch(name, whole, 32)
        first, last = int(stretch[0]), int(stretch[-1])
        for value in (first - 1, first, last, last + 1):
            assert (name in rule_tree.grow(ROOT, STEM, "-s", leaves, 32, [value])) == (first <= value <= last)


def test_names_that_meet_are_told_apart_around_an_address_too(monkeypatch):
    """With room for one digit of a hash, names of twelve chains do: of three, and four below each."""
    monkeypatch.setattr(rule_tree, "_NAME", len(STEM) + 1)
    values = [one << 124 | two << 60 | number for one in range(3) for two in range(4) for number in range(9)]
    leaves = rule_tree.leaves(Branch(value, 128, (f"rule {value}",)) for value in values)
    whole = rule_tree.grow(ROOT, STEM, "-s", leaves, 128)
    assert len(whole) == 16
    for value in values:
        part = rule_tree.grow(ROOT, STEM, "-s", leaves, 128, [value])
        assert part.items() <= whole.items() and any(f"rule {value}" in rules for rules in part.values())


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_around_an_address_only_rules_near_it_are_made(place):
    values = sorted(place(10_000))
    made = []

    def rules(low, high):
        made.extend(range(low, high))
        return [f"rule {number}" for number in range(low, high)]

    leaves = rule_tree.Leaves(values, rules)
    whole = rule_tree.grow(ROOT, STEM, "-s", leaves)
    assert sorted(made) == list(range(10_000))
    made.clear()
    part = rule_tree.grow(ROOT, STEM, "-s", leaves, around=[values[5000]])
    assert 5000 in made and len(made) <= LEAF + 16 and len(part) < len(whole) / 20


def _ranges_below(chains):
    """Where the rules lead that lead to chains: the chain, and the first address of its stretch."""
    words = [rule.split() for rules in chains.values() for rule in rules if " -g " in rule]
    return {each[3]: int(ipaddress.ip_network(each[1])[0]) for each in words}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_one_address_changes_is_around_it_and_in_chains_that_only_one_of_the_trees_leads_to(place):
    """These are the parts of one chain that was divided: they have none below them."""
    values, divided = list(place(200)), 0
    random.Random(2).shuffle(values)
    for count, value in enumerate(values):
        trees = [rule_tree.leaves(map(single, values[:end])) for end in (count, count + 1)]
        whole = [rule_tree.grow(ROOT, STEM, "-s", tree) for tree in trees]
        below = [_ranges_below(rule_tree.grow(ROOT, STEM, "-s", tree, around=[value])) for tree in trees]
        apart = [[below[side][name] for name in below[side].keys() - below[not side].keys()] for side in (0, 1)]
        divided += len(apart[1]) > 1
        before, after = (
            rule_tree.grow(ROOT, STEM, "-s", tree, around=[value, *more]) for tree, more in zip(trees, apart)
        )
        kept = {name: rules for name, rules in whole[0].items() if name not in before}
        assert {**kept, **after} == whole[1] and not kept.keys() & after.keys()
    assert divided
