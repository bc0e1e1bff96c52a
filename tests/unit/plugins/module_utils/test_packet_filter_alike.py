# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs looked at together: the same is found as where each is read by itself."""

from __future__ import annotations

import cProfile
import itertools

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.packet_filter import alike, ways
from hypothesis import given
from hypothesis import strategies as st

NETWORKS = [("10.0.0.0/24", "br100"), ("10.0.2.0/24", "br101"), ("fd00::/64", "br100")]
PATH = "packet_filter.floating_ips"


def entry(number: int, **fields):
    """As a plan has it: what says more about the guest is for who writes sections by hand."""
    whole = {"address": f"203.0.{number >> 8}.{number & 255}", "fixed_address": f"10.0.0.{number % 256}"}
    return {**whole, "interface": "eth2", **fields}


def kinds(number: int):
    """Entries that are right, each in another way, and those with one mistake, or two."""
    right = [
        entry(number),
        entry(number, interface=None),
        entry(number, interface="eth3"),
        entry(number, fixed_address="10.0.2.9"),
        entry(number, bridge="br100", fixed_cidr="10.0.0.0/24"),
        entry(number, bridge="br7", fixed_cidr="10.0.0.0/16"),
        entry(number, bridge="br7", fixed_cidr="10.0.0.0/16", fixed_address="10.0.99.9"),
        entry(number, bridge="br7"),
        entry(number, fixed_cidr="10.0.0.0/28", fixed_address="10.0.0.9"),
        entry(number, bridge=None, fixed_cidr=None),
        {"address": f"198.51.100.{number}", "fixed_address": "10.0.0.4"},
        entry(number, address=f" 198.51.100.{number} "),
        {"address": f"2001:db8::{number:x}", "fixed_address": "fd00::4", "interface": "eth2"},
        {"address": f"2001:DB8::{number:x}", "fixed_address": "fd00:0::4", "bridge": "br9", "fixed_cidr": "fd00::/60"},
    ]
    wrong = [
        entry(number, fixed_address="10.0.1.9"),
        entry(number, fixed_address="9.255.255.255"),
        entry(number, bridge="br100", fixed_cidr="10.0.0.0/24", fixed_address="10.0.1.0"),
        entry(number, bridge="br100", fixed_cidr="10.0.0.1/24"),
        entry(number, bridge="br 0", fixed_cidr="10.0.0.0/24"),
        entry(number, bridge=True, fixed_cidr="10.0.0.0/24"),
        entry(number, bridge=["br0"]),
        entry(number, fixed_cidr="fd00::/64"),
        entry(number, interface="eth+"),
        entry(number, interface=1),
        entry(number, interface={}),
        entry(number, address="203.0.0.1"),
        entry(number, address=None),
        entry(number, address="127.0.0.1"),
        entry(number, address="0.1.1.1"),
        entry(number, address="224.0.0.1"),
        entry(number, address="255.255.255.255"),
        entry(number, address=f"203.0.113.0{number}"),
        entry(number, address=f"203.0.{number}"),
        entry(number, address=f"203.0.113.{number}/32"),
        entry(number, address=f"203.0.113.{number}\n"),
        entry(number, address=f"203.0.113.{number}\0"),
        entry(number, address=3405803776 + number),
        entry(number, address="２０３.0.113.1"),
        entry(number, address="\ud800"),
        entry(number, fixed_address="127.0.0.1"),
        entry(number, fixed_address="fd00::4"),
        entry(number, colour="red"),
        {"fixed_address": "10.0.0.4"},
        {"address": f"203.0.113.{number}"},
        {1: 2},
        {},
        None,
        "203.0.113.7",
        [("address", "203.0.113.7")],
    ]
    return right, wrong


@st.composite
def sections(draw):
    count = draw(st.integers(0, 12))
    picks = draw(st.lists(st.integers(0, 99), min_size=count, max_size=count))
    # Most sections have one kind of entries, or two; and most have no mistake.
    some = draw(st.lists(st.integers(0, 13), min_size=1, max_size=3))
    found = [kinds(number)[0][some[pick % len(some)]] for number, pick in enumerate(picks, 1)]
    if found and draw(st.booleans()):
        right, wrong = kinds(100)
        found.insert(draw(st.integers(0, len(found))), draw(st.sampled_from(wrong + right)))
    return found


def outcome(read, entries, public):
    homes = ways.Homes(NETWORKS)
    try:
        return read(entries, PATH, homes, public), list(homes.used)
    except InputError as error:
        return str(error)


@given(sections(), st.sampled_from(["eth2", None]))
def test_what_is_looked_at_together_is_what_is_read_one_by_one(entries, public):
    assert outcome(ways.floating_ips, entries, public) == outcome(ways.one_by_one, entries, public)


def test_any_three_are_what_they_are_one_by_one():
    rights, wrongs = zip(*map(kinds, (1, 2, 3)))
    for one, two, three in itertools.product(rights[0], rights[1], rights[2] + wrongs[2]):
        entries = [one, two, three]
        assert outcome(ways.floating_ips, entries, "eth2") == outcome(ways.one_by_one, entries, "eth2")


@pytest.mark.parametrize("entries", [None, {}, (), "x", [[]], ({"address": "203.0.113.1"},)])
def test_what_is_no_list_of_mappings_is_read_one_by_one(entries):
    assert outcome(ways.floating_ips, entries, "eth2") == outcome(ways.one_by_one, entries, "eth2")


@pytest.mark.parametrize("of_it", [*((kind,) for kind in range(10)), (0, 3), (0, 1, 2, 4, 5)])
def test_of_many_of_a_kind_one_is_read(of_it):
    def calls(count: int) -> int:
        entries = [
            {**kinds(number % 250 + 1)[0][of_it[number % len(of_it)]], "address": f"203.0.{number >> 8}.{number & 255}"}
            for number in range(count)
        ]
        profile = cProfile.Profile()
        assert len(profile.runcall(ways.floating_ips, entries, PATH, ways.Homes(NETWORKS), "eth2")) == count
        return sum(each.callcount for each in profile.getstats() if getattr(each.code, "co_name", "") == "_floating_ip")

    assert calls(10) == calls(2000) == len(of_it)


def test_a_mapping_that_is_none_of_the_language_is_read_one_by_one():
    class Mapping(dict):
        """What it answers may be anything."""

    assert alike.look([Mapping(entry(1))], [0]) is None
    assert outcome(ways.floating_ips, [Mapping(entry(1))], "eth2") == outcome(ways.one_by_one, [entry(1)], "eth2")
