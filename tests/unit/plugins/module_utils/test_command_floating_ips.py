# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs by command: ranges of pools, allocation to projects, association with instances, the list."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_module import refusal, succeed
from a_record import fixed_ip
from a_store import content, dump, file_of, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp, State

HELD = (
    fixed_ip("10.0.0.2", instance="i0"),
    fixed_ip("10.1.0.7", instance="i0"),
    fixed_ip("10.0.0.3", instance="i1"),
    FloatingIp("198.51.100.1", "public", "eth9", "acme", "10.0.0.2", False, "command", "command", "command"),
    FloatingIp("198.51.100.2", "public", None, "acme", None, False, "command", None, "command"),
    FloatingIp("198.51.100.3", "public", None, "other", None, False, "command", None, "command"),
    FloatingIp("198.51.100.4", "public", origin="command"),
    FloatingIp("198.51.100.5", "public", None, "acme", "10.1.0.7", True, "command", "command", "command"),
)


def held() -> State:
    """Instances i0 (acme) and i1 (other); 192.0.2.8 to .11 are free in pool nova, others in pool public as above."""
    return a_record.site(2, *HELD)


@pytest.fixture
def site(url: str) -> str:
    keep(url, held())
    return url


def row(url: str, address: str) -> FloatingIp:
    return content(url).floating_ips[address]


# --- ranges ----------------------------------------------------------------------------------------------------------


def test_a_range_is_made_and_deleted_once(site: str) -> None:
    asked = {"state_url": site, "range": ["203.0.113.0/29", "203.0.113.77"], "interface": "eth2"}
    addresses = [f"203.0.113.{number}" for number in (1, 2, 3, 4, 5, 6, 77)]
    before = dump(site)
    assert succeed("floating_range", check_mode=True, **asked)["addresses"] == addresses
    assert dump(site) == before
    made = succeed("floating_range", **asked)
    assert made["changed"] and made["addresses"] == addresses and len(made["actions"]) == 7
    assert row(site, "203.0.113.77") == FloatingIp("203.0.113.77", "nova", "eth2", origin="command")

    there = dump(site)
    again = succeed("floating_range", **asked)
    assert (again["changed"], again["addresses"]) == (False, [])
    assert not succeed("floating_range", state_url=site, range="203.0.113.0/29,203.0.113.77")["changed"]
    assert dump(site) == there

    gone = succeed("floating_range", state="absent", state_url=site, range=["203.0.113.0/28", "203.0.113.77"])
    assert gone["changed"] and gone["addresses"] == addresses
    assert content(site) == held()
    assert not succeed("floating_range", state="absent", state_url=site, range=["203.0.113.0/28"])["changed"]


def test_the_pool_of_the_site_is_the_default(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    settings = {"nova_default_floating_pool": "dmz"}
    succeed("floating_range", state_url=sqlite_url, range=["203.0.113.9"], settings=settings)
    assert row(sqlite_url, "203.0.113.9").pool == "dmz"
    taken = succeed("floating_ip", state="allocated", state_url=sqlite_url, project="acme", settings=settings)
    assert taken["floating_ip"]["address"] == "203.0.113.9"


def test_what_is_in_use_is_deleted_by_force_alone(site: str) -> None:
    asked = {"state_url": site, "state": "absent", "range": ["198.51.100.1-198.51.100.4"]}
    assert succeed("floating_range", force=True, **asked)["changed"]
    assert [address for address in content(site).floating_ips if address.startswith("198")] == ["198.51.100.5"]


RANGE_REFUSED = [
    ({"range": ["198.51.100.0/28"]}, ("198.51.100.1 (pool 'public'), 198.51.100.2", "leave out what is there")),
    ({"range": ["198.51.100.4-198.51.100.6"], "pool": "public"}, ("198.51.100.4 (pool 'public')", "leave out")),
    ({"range": ["192.0.2.8"], "pool": "public"}, ("192.0.2.8 (pool 'nova') is", "already", "leave out")),
    ({"range": ["198.51.100.1"], "pool": "public", "interface": "eth1"}, ("198.51.100.1 (pool 'public')", "already")),
    ({"range": ["203.0.113.0/31"]}, ("range: '203.0.113.0/31' has less than 4 addresses", "single addresses")),
    ({"range": ["10.0.0.0/8"]}, ("range: '10.0.0.0/8' has 16777216 addresses", "split it")),
    ({"range": ["10.0.0.77"]}, ("10.0.0.77 lies inside network 'blue' 10.0.0.0/24", "outside of all networks")),
    ({"range": ["203.0.113.1", "203.0.113.0/29"]}, ("203.0.113.1 is given more than once",)),
    ({"range": ["203.0.113"]}, ("range: '203.0.113' is not an address such as",)),
    ({"range": ["203.0.113.1"], "pool": ""}, ("pool: '' is not a name", "printable")),
    ({"range": ["203.0.113.1"], "interface": "a/b"}, ("interface: 'a/b' is not an interface name",)),
    ({"range": ["203.0.113.1"], "force": "perhaps"}, ("force", "perhaps")),
    ({"range": ["203.0.113.1"], "state": "reserved"}, ("value of state must be one of: present, absent",)),
    ({"range": ["203.0.113.1"], "settings": {"nova_pool": 1}}, ("settings: unknown key 'nova_pool'",)),
    ({}, ("missing required arguments: range",)),
    (
        {"range": ["198.51.100.1-198.51.100.4"], "state": "absent"},
        ("198.51.100.1 (project 'acme', leads to 10.0.0.2 of instance 'i0')", "in use", "force"),
    ),
    (
        {"range": ["192.0.2.8"], "state": "absent", "pool": "public"},
        ("pool: floating IP 192.0.2.8 is of pool 'nova', not 'public'", "name its own"),
    ),
]

OPERATION_REFUSED = [
    ({"state": "allocated"}, ("state is allocated but all of the following are missing: project",)),
    ({"state": "allocated", "project": "nobody"}, ("project: 'nobody' is no known project", "acme, other")),
    ({"state": "allocated", "project": "acme", "pool": "p"}, ("pool: 'p' is no known pool", "nova, public")),
    ({"state": "allocated", "project": "acme", "address": "198.51.100.3"}, ("already allocated to project 'other'",)),
    ({"state": "allocated", "project": "acme", "address": "8.8.8.8"}, ("8.8.8.8 is no floating IP", "create it")),
    ({"state": "allocated", "project": "acme", "address": "8.8.8"}, ("address: '8.8.8' is not an address",)),
    (
        {"state": "allocated", "project": "acme", "settings": {"nova_quota_floating_ips": 2}},
        ("quota_floating_ips is 2, and 2 floating IPs are in use", "raise the quota"),
    ),
    (
        {"state": "allocated", "project": "acme", "instance": "i0"},
        ("instance: 'i0' is not for state allocated, which takes address, pool, project",),
    ),
    ({"state": "associated", "instance": "i0"}, ("state is associated but all of the following are missing: address",)),
    (
        {"state": "associated", "address": "198.51.100.2"},
        ("state is associated but any of the following are missing: instance, fixed_address",),
    ),
    (
        {"state": "associated", "address": "198.51.100.2", "instance": "i0", "fixed_address": "10.0.0.2"},
        ("mutually exclusive: instance|fixed_address",),
    ),
    (
        {"state": "associated", "address": "198.51.100.2", "fixed_address": "10.0.0.2", "network": "blue"},
        ("'network'", "instance"),
    ),
    (
        {"state": "associated", "address": "198.51.100.4", "instance": "i0"},
        ("198.51.100.4 of pool 'public' is not allocated to any project", "allocate it to the project"),
    ),
    ({"state": "associated", "address": "198.51.100.2", "instance": "i9"}, ("instance: 'i9' is no known instance",)),
    (
        {"state": "associated", "address": "198.51.100.2", "instance": "i0", "network": "green"},
        ("instance 'i0' has no fixed IP on 'green'", "its networks: 'blue', 'red'"),
    ),
    (
        {"state": "associated", "address": "198.51.100.3", "instance": "i0"},
        ("belongs to project 'other'", "to project 'acme'"),
    ),
    (
        {"state": "associated", "address": "198.51.100.2", "fixed_address": "10.0.0.99"},
        ("cannot lead to 10.0.0.99, which no instance holds",),
    ),
    (
        {"state": "associated", "address": "198.51.100.2", "instance": "i0", "project": "other"},
        ("belongs to project 'acme', not to 'other'",),
    ),
    (
        {"state": "disassociated", "address": "198.51.100.5"},
        ("198.51.100.5 is auto-assigned", "cannot be disassociated"),
    ),
    (
        {"state": "released", "address": "198.51.100.1"},
        ("198.51.100.1 leads to 10.0.0.2 of instance 'i0'", "disassociate it first"),
    ),
    (
        {"state": "released", "address": "198.51.100.2", "project": "other"},
        ("belongs to project 'acme', not to 'other'",),
    ),
    ({"state": "released", "address": "8.8.8.8"}, ("8.8.8.8 is no floating IP",)),
    ({"address": "198.51.100.2"}, ("missing required arguments: state",)),
    ({"state": "present", "address": "198.51.100.2"}, ("value of state must be one of: allocated",)),
]


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [("floating_range", *each) for each in RANGE_REFUSED] + [("floating_ip", *each) for each in OPERATION_REFUSED],
)
def test_refused_with_nothing_written(
    sqlite_url: str, module: str, options: dict[str, t.Any], words: tuple[str, ...]
) -> None:
    keep(sqlite_url, held())
    before = file_of(sqlite_url).read_bytes()
    message = refusal(module, state_url=sqlite_url, **options)
    for word in words:
        assert word in message, message
    assert file_of(sqlite_url).read_bytes() == before


# --- allocate, associate, disassociate, release ----------------------------------------------------------------------


def test_the_life_of_one(site: str) -> None:
    def step(state: str, expected: dict[str, t.Any], again: bool = False, **options: t.Any) -> str:
        foretold = succeed("floating_ip", check_mode=True, state_url=site, state=state, **options)
        done = succeed("floating_ip", state_url=site, state=state, **options)
        assert done["changed"] and foretold["floating_ip"] == done["floating_ip"]
        found = done["floating_ip"]
        assert {name: found[name] for name in expected} == expected
        there = dump(site)
        assert not succeed("floating_ip", state_url=site, **{"state": state, "address": found["address"], **options})[
            "changed"
        ]
        assert dump(site) == there
        return found["address"]

    address = step("allocated", {"address": "192.0.2.8", "project": "acme", "instance": None}, project="acme")
    assert row(site, address).allocated_by == "command"
    first = {"instance": "i0", "network": "blue", "fixed_address": "10.0.0.2", "associated_by": "command"}
    step("associated", first, address=address, instance="i0")
    moved = {"instance": "i0", "network": "red", "fixed_address": "10.1.0.7"}
    step("associated", moved, address=address, instance="i0", network="red")
    step("associated", first, address=address, fixed_address="10.0.0.2")
    step("disassociated", {"instance": None, "project": "acme"}, address=address)
    step("released", {"project": None, "pool": "nova"}, address=address)
    assert content(site) == held()


def test_without_an_address_another_one_each_time(site: str) -> None:
    taken = [
        succeed("floating_ip", state_url=site, state="allocated", project="acme")["floating_ip"]["address"]
        for _time in range(3)
    ]
    assert taken == ["192.0.2.8", "192.0.2.9", "192.0.2.10"]
    succeed("floating_ip", state_url=site, state="allocated", project="acme")
    assert "pool 'nova' has no free floating IP left" in refusal(
        "floating_ip", state_url=site, state="allocated", project="acme"
    )


def test_by_force(site: str) -> None:
    released = succeed("floating_ip", state_url=site, state="released", address="198.51.100.1", force=True)
    assert row(site, "198.51.100.1") == FloatingIp("198.51.100.1", "public", "eth9", origin="command")
    assert released["floating_ip"]["instance"] is None
    succeed("floating_ip", state_url=site, state="disassociated", address="198.51.100.5", force="yes")
    assert row(site, "198.51.100.5") == FloatingIp("198.51.100.5", "public", origin="command")


# --- list ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "last"),
    [
        ({}, [8, 9, 10, 11, 1, 2, 3, 4, 5]),
        ({"pool": "nova"}, [8, 9, 10, 11]),
        ({"project": "acme"}, [1, 2, 5]),
        ({"range": ["198.51.100.0/29"], "project": "other"}, [3]),
        ({"range": "192.0.2.9,198.51.100.4-198.51.100.9"}, [9, 4, 5]),
        ({"pool": "p"}, []),
    ],
)
def test_filters(site: str, filters: dict[str, t.Any], last: list[int]) -> None:
    rows = succeed("floating_ip_info", state_url=site, **filters)["floating_ips"]
    assert [int(each["address"].rpartition(".")[2]) for each in rows] == last


def test_the_list_as_nova_had_it(site: str) -> None:
    told = succeed("floating_ip_info", state_url=site, project="acme")
    assert told["table"] == [
        "project  address       instance  pool    interface",
        "acme     198.51.100.1  i0        public  eth9",
        "acme     198.51.100.2  None      public  None",
        "acme     198.51.100.5  i0        public  None",
    ]
    assert told["floating_ips"][2]["network"] == "red" and told["floating_ips"][2]["auto_assigned"] is True
    empty = succeed("floating_ip_info", state_url=site, project="nobody")
    assert empty["table"] == ["No floating IP addresses have been defined."]


def test_a_bad_filter(sqlite_url: str) -> None:
    keep(sqlite_url, a_record.site(0))
    message = refusal("floating_ip_info", state_url=sqlite_url, range=["nova"])
    assert message == "range: 'nova' is not an address such as '10.0.0.5' or 'fd00::5'"
