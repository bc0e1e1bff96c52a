# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs: each rule and each refusal, and any sequence of operations against sets that are kept beside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

import a_record
import pytest
from a_store import content, dump, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips, invariants, kinds
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FixedIp,
    FloatingIp,
    Network,
    State,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

#: Instances of project acme are i0, i2 and i4, those of project other i1, i3 and i5.
OF_I0, OF_I0_V6, OF_I0_RED, OF_I1, OF_I2 = "10.0.0.2", "fd00::2", "10.1.0.2", "10.0.0.3", "10.0.0.4"
OF_I3_FLAT, GIVEN_BACK, OF_HOST = "10.2.0.2", "10.0.0.9", "10.0.0.8"


def networks() -> list[Network]:
    """blue, red and plain, which is flat; red is an instance's first one."""
    return [
        a_record.network("blue", "10.0.0.0/24", cidr_v6="fd00::/64", gateway_v6="fd00::1"),
        a_record.network("red", "10.1.0.0/16", priority=5),
        a_record.network("plain", "10.2.0.0/24", manager="flat"),
    ]


def site(*more: t.Any) -> State:
    """The pool nova has 192.0.2.8 to 192.0.2.11, and ext has one of each version."""
    return a_record.site(
        6,
        *networks(),
        *(a_record.vif(name, "plain") for name in ("i0", "i2", "i3")),
        FixedIp(OF_I0, 4, "blue", "i0"),
        FixedIp(OF_I0_V6, 6, "blue", "i0"),
        FixedIp(OF_I0_RED, 4, "red", "i0"),
        FixedIp(OF_I1, 4, "blue", "i1"),
        FixedIp(OF_I2, 4, "blue", "i2"),
        FixedIp(OF_I3_FLAT, 4, "plain", "i3"),
        FixedIp(GIVEN_BACK, 4, "blue", released_at=1.0),
        FixedIp(OF_HOST, 4, "blue", host="h1"),
        FloatingIp("198.51.100.1", "ext", "eth9", origin="command"),
        FloatingIp("2001:db8::1", "ext", "eth9", origin="command"),
        *more,
    )


def floating(address: str, project: str | None = "acme", to: str | None = None, **more: t.Any) -> FloatingIp:
    by = {"allocated_by": "command" if project else None, "associated_by": "command" if to else None}
    return FloatingIp(address, "nova", None, project, to, **{"origin": "command", **by, **more})


def ledger(*more: t.Any) -> MemoryLedger:
    return MemoryLedger(site(*more))


@contextlib.contextmanager
def refused(held: MemoryLedger, message: str) -> t.Iterator[None]:
    """In just these words, and nothing is changed."""
    before = held.state()
    with pytest.raises(InputError) as caught:
        yield
    assert str(caught.value) == message
    assert held.state() == before


def row_of(held: Ledger, address: str) -> FloatingIp:
    row = held.get(FloatingIp, address)
    assert row is not None
    return row


# --- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("192.0.2.7", ["192.0.2.7"]),
        (" 2001:DB8:0::7 ", ["2001:db8::7"]),
        ("192.0.2.254-192.0.3.1", ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]),
        ("192.0.2.7 - 192.0.2.7", ["192.0.2.7"]),
        ("2001:db8::f-2001:db8::11", ["2001:db8::f", "2001:db8::10", "2001:db8::11"]),
        ("192.0.2.4/30", ["192.0.2.5", "192.0.2.6"]),
        ("192.0.2.6/30", ["192.0.2.5", "192.0.2.6"]),
        ("2001:db8::4/126", ["2001:db8::5", "2001:db8::6", "2001:db8::7"]),
    ],
)
def test_a_range_is_read_as_nova_did(value: str, addresses: list[str]) -> None:
    assert floating_ips.expand(value, "x") == addresses


@pytest.mark.parametrize(
    ("value", "first", "last", "count"),
    [
        ("198.18.0.0/13", "198.16.0.1", "198.23.255.254", 524286),
        ("2001:db8::/109", "2001:db8::1", "2001:db8::7:ffff", 524287),
        ("10.0.0.0-10.15.66.62", "10.0.0.0", "10.15.66.62", 999999),
    ],
)
def test_the_largest_ranges(value: str, first: str, last: str, count: int) -> None:
    found = floating_ips.expand(value, "x")
    assert (found[0], found[-1], len(found), len(set(found))) == (first, last, count, count)


@pytest.mark.parametrize("value", ["192.0.2.0/31", "192.0.2.0/32", "2001:db8::/127", "2001:db8::/128"])
def test_a_cidr_without_hosts_is_refused(value: str) -> None:
    with pytest.raises(InputError) as caught:
        floating_ips.expand(value, "pools[0].range")
    assert str(caught.value) == (
        f"pools[0].range: {value!r} has less than 4 addresses, too few for a range in CIDR form, of which only the "
        "hosts are taken; give single addresses"
    )


@pytest.mark.parametrize(
    ("value", "size", "instead"),
    [
        ("198.16.0.0/12", 1048576, "split it"),
        ("10.0.0.0-10.15.66.63", 1000000, "split it"),
        ("2001:db8::/108", 1048576, "give a part of it, such as '2001:db8::/112'"),
        ("2001:db8:5::/64", 18446744073709551616, "give a part of it, such as '2001:db8:5::/112'"),
    ],
)
def test_a_million_addresses_are_refused(value: str, size: int, instead: str) -> None:
    with pytest.raises(InputError) as caught:
        floating_ips.expand(value, "x")
    assert str(caught.value) == f"x: {value!r} has {size} addresses, but a range has less than 1000000; {instead}"


AN_ADDRESS = "is not an address such as '10.0.0.5' or 'fd00::5'"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"None {AN_ADDRESS}"),
        (7, f"7 {AN_ADDRESS}"),
        ("", f"'' {AN_ADDRESS}"),
        ("192.0.2.300", f"'192.0.2.300' {AN_ADDRESS}"),
        ("192.0.2.1-", f"'' {AN_ADDRESS}"),
        ("192.0.2.0/33", "'192.0.2.0/33' is not a range such as '10.0.0.0/24' or 'fd00::/48'"),
        (
            "192.0.2.9-192.0.2.8",
            "'192.0.2.9-192.0.2.8' does not go from a lower to a higher address of one version",
        ),
        (
            "192.0.2.1-2001:db8::1",
            "'192.0.2.1-2001:db8::1' does not go from a lower to a higher address of one version",
        ),
    ],
)
def test_what_is_no_range_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        floating_ips.expand(value, "pools[0].range")
    assert str(caught.value) == f"pools[0].range: {message}"


# --- create ----------------------------------------------------------------------------------------------------------


def test_create_adds_each_address_of_the_ranges() -> None:
    held = ledger()
    made = floating_ips.create(held, ["203.0.113.0/30", "203.0.113.9", "2001:db8::5"], "ext", "eth7", "inventory")
    wanted = [
        FloatingIp(address, "ext", "eth7", None, None, False, None, None, "inventory")
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.9", "2001:db8::5")
    ]
    assert made == wanted
    assert [row_of(held, row.address) for row in wanted] == wanted
    assert len(held.where(FloatingIp)) == 6 + 4


def test_create_refuses_what_is_given_twice() -> None:
    held = ledger()
    with refused(held, "range: 203.0.113.2 is given more than once; give each address once"):
        floating_ips.create(held, ["203.0.113.0/30", "203.0.113.2-203.0.113.4"], "ext", None, "command")
    message = (
        "here: 203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4, 203.0.113.5 and 249 more are given more than once; "
        "give each address once"
    )
    with refused(held, message):
        floating_ips.create(held, ["203.0.113.0/24"] * 3, "ext", None, "command", "here")


def test_create_refuses_what_is_there() -> None:
    held = ledger()
    one = "range: 192.0.2.11 (pool 'nova') is there already; leave out what is there, or delete it first"
    with refused(held, one):
        floating_ips.create(held, ["192.0.2.11-192.0.2.20"], "ext", None, "command")
    message = (
        "range: 192.0.2.8 (pool 'nova'), 192.0.2.9 (pool 'nova'), 192.0.2.10 (pool 'nova'), 192.0.2.11 (pool 'nova'), "
        "198.51.100.1 (pool 'ext') and 1 more are there already; leave out what is there, or delete it first"
    )
    for few_or_many in ("192.0.2.1-192.0.2.20", "192.0.2.0/24"):
        with refused(held, message):
            floating_ips.create(held, [few_or_many, "198.51.100.1", "2001:db8::1"], "nova", None, "command")


@pytest.mark.parametrize(
    ("value", "inside", "network"),
    [
        ("10.0.0.77", "10.0.0.77", "'blue' 10.0.0.0/24"),
        ("10.1.255.255", "10.1.255.255", "'red' 10.1.0.0/16"),
        ("9.255.255.254-10.0.0.1", "10.0.0.0", "'blue' 10.0.0.0/24"),
        ("10.2.0.0/28", "10.2.0.1", "'plain' 10.2.0.0/24"),
        ("fd00::abc", "fd00::abc", "'blue' fd00::/64"),
    ],
)
def test_create_refuses_the_range_of_a_network(value: str, inside: str, network: str) -> None:
    held = ledger()
    message = (
        f"range: {inside} lies inside network {network}, whose addresses are fixed IPs; "
        "choose addresses outside of all networks"
    )
    with refused(held, message):
        floating_ips.create(held, ["203.0.113.1", value], "ext", None, "command")


def test_create_beside_the_networks() -> None:
    values = ["10.0.1.0", "9.255.255.255", "10.2.1.0", "fd00:0:0:1::", "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
    assert len(floating_ips.create(ledger(), values, "ext", None, "command")) == 5


# --- delete ----------------------------------------------------------------------------------------------------------


def test_delete_takes_addresses_out_of_their_pools() -> None:
    held = ledger()
    gone = floating_ips.delete(held, ["192.0.2.8/30", "2001:db8::1", "192.0.2.9"])
    assert [row.address for row in gone] == ["192.0.2.9", "192.0.2.10", "2001:db8::1"]
    assert [row.address for row in held.where(FloatingIp)] == ["192.0.2.11", "192.0.2.8", "198.51.100.1"]


def test_delete_refuses_what_is_unknown() -> None:
    held = ledger()
    with refused(held, "range: 192.0.2.12 is no floating IP; leave out what is not there"):
        floating_ips.delete(held, ["192.0.2.8-192.0.2.12"], force=True)
    message = (
        "range: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5 and 245 more are no floating IPs; "
        "leave out what is not there"
    )
    with refused(held, message):
        floating_ips.delete(held, ["192.0.2.0/24"])


def test_delete_refuses_what_is_in_use_unless_forced() -> None:
    held = ledger(floating("192.0.2.9"))
    one = "range: 192.0.2.9 (project 'acme') is in use; release what is in use first, or delete it by force"
    with refused(held, one):
        floating_ips.delete(held, ["192.0.2.8-192.0.2.10"])
    held = ledger(
        floating("192.0.2.8", to=OF_I0),
        *(floating(f"192.0.2.{number}", "other") for number in range(9, 17)),
    )
    many = (
        f"range: 192.0.2.8 (project 'acme', leads to {OF_I0} of instance 'i0'), 192.0.2.9 (project 'other'), "
        "192.0.2.10 (project 'other'), 192.0.2.11 (project 'other'), 192.0.2.12 (project 'other') and 4 more are in "
        "use; release what is in use first, or delete it by force"
    )
    with refused(held, many):
        floating_ips.delete(held, ["192.0.2.8-192.0.2.16"])
    assert len(floating_ips.delete(held, ["192.0.2.8-192.0.2.16"], force=True)) == 9
    assert [row.address for row in held.where(FloatingIp)] == ["198.51.100.1", "2001:db8::1"]


# --- find ------------------------------------------------------------------------------------------------------------


def test_find_sorts_by_address_and_chooses_by_range_pool_and_project() -> None:
    held = ledger(floating("192.0.2.10"), floating("192.0.2.8", "other"), floating("2001:db8::2"))

    def found(*arguments: t.Any, **named: t.Any) -> list[str]:
        return [row.address for row in floating_ips.find(held, *arguments, **named)]

    nova = ["192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11"]
    assert found() == [*nova, "198.51.100.1", "2001:db8::1", "2001:db8::2"]
    assert found(pool="nova") == [*nova, "2001:db8::2"]
    assert found(project="acme") == ["192.0.2.10", "2001:db8::2"]
    assert found(pool="ext", project="acme") == []
    assert found(pool="nova", project="other") == ["192.0.2.8"]
    for many in ("192.0.2.0/24", "192.0.2.8-192.0.2.20"):
        assert found([many]) == nova
        assert found(["2001:db8::2", many, "192.0.2.8"], project="acme") == ["192.0.2.10", "2001:db8::2"]
    assert found(["203.0.113.1"]) == found([]) == []


# --- allocate --------------------------------------------------------------------------------------------------------


def test_allocate_gives_the_lowest_free_one_of_the_pool() -> None:
    held = ledger(floating("192.0.2.8", "other"))
    assert floating_ips.allocate(held, "acme", "nova", 10, "inventory") == FloatingIp(
        "192.0.2.9", "nova", None, "acme", None, False, "inventory", None, "command"
    )
    assert floating_ips.allocate(held, "acme", "nova", 10, "command").address == "192.0.2.10"
    # IPv4 first.
    assert [floating_ips.allocate(held, "other", "ext", 10, "command").address for _each in range(2)] == [
        "198.51.100.1",
        "2001:db8::1",
    ]
    assert row_of(held, "198.51.100.1") == FloatingIp(
        "198.51.100.1", "ext", "eth9", "other", None, False, "command", None, "command"
    )


@pytest.mark.parametrize("pool", [None, "ext"])
def test_allocate_a_named_one(pool: str | None) -> None:
    held = ledger()
    made = floating_ips.allocate(held, "acme", pool, 10, "command", address="2001:DB8:0::1")
    assert (made.address, made.project, made.allocated_by) == ("2001:db8::1", "acme", "command")
    assert row_of(held, "2001:db8::1") == made


def test_to_allocate_a_project_its_own_changes_nothing() -> None:
    held = ledger(floating("192.0.2.9", to=OF_I0))
    before = held.state()
    # Its quota is used up by this one.
    assert floating_ips.allocate(held, "acme", None, 1, "inventory", address="192.0.2.9") == floating(
        "192.0.2.9", to=OF_I0
    )
    assert held.state() == before


def test_allocate_refuses_an_unknown_project() -> None:
    held = ledger()
    with refused(held, "project: 'ghost' is no known project; known: acme, other"):
        floating_ips.allocate(held, "ghost", "nova", 10, "command")


def test_allocate_refuses_an_unknown_pool() -> None:
    held = ledger()
    with refused(held, "pool: 'void' is no known pool of floating IPs; known: ext, nova"):
        floating_ips.allocate(held, "acme", "void", 10, "command")
    with refused(
        held,
        "project 'acme': neither a pool nor an address is given to allocate a floating IP from; give one",
    ):
        floating_ips.allocate(held, "acme", None, 10, "command")


def test_allocate_refuses_where_none_is_left() -> None:
    held = ledger(*(floating(f"192.0.2.{number}") for number in range(8, 12)))
    message = (
        "pool 'nova' has no free floating IP left for project 'other', all 4 are allocated; "
        "add a range to the pool, or release some"
    )
    with refused(held, message):
        floating_ips.allocate(held, "other", "nova", 10, "command")


@pytest.mark.parametrize(
    ("address", "pool", "message"),
    [
        (
            "192.0.2.10",
            "ext",
            "floating IP 192.0.2.10 is of pool 'nova', not of 'ext'; name its own pool, or another address",
        ),
        (
            "192.0.2.8",
            None,
            "floating IP 192.0.2.8 is already allocated to project 'other', so project 'acme' cannot have it; "
            "choose another, or release it there first",
        ),
        (
            "192.0.2.9",
            "nova",
            "floating IP 192.0.2.9 is auto-assigned, it leads to 10.0.0.2 of instance 'i0' and goes back to its pool "
            "with that instance, so project 'acme' cannot have it for good; choose another",
        ),
        ("192.0.2.12", None, "address: 192.0.2.12 is no floating IP; choose one of a pool, or create it first"),
        ("there", None, "address: 'there' is not an address such as '10.0.0.5' or 'fd00::5'"),
    ],
)
def test_allocate_refuses_a_named_one(address: str, pool: str | None, message: str) -> None:
    held = ledger(floating("192.0.2.8", "other"), floating("192.0.2.9", to=OF_I0, auto_assigned=True))
    with refused(held, message):
        floating_ips.allocate(held, "acme", pool, 10, "command", address=address)


@pytest.mark.parametrize("address", [None, "192.0.2.11"])
def test_allocate_keeps_to_the_quota(address: str | None) -> None:
    held = ledger(
        floating("192.0.2.8"), floating("192.0.2.9", "other"), floating("192.0.2.10", to=OF_I0, auto_assigned=True)
    )
    message = (
        "project 'acme': quota_floating_ips is {0}, and 1 floating IPs are in use, so 1 more cannot be had; raise the "
        "quota of the project or nova_quota_floating_ips, or give some back"
    )
    for quota in (0, 1):
        with refused(held, message.format(quota)):
            floating_ips.allocate(held, "acme", "nova", quota, "command", address=address)
    assert floating_ips.allocate(held, "acme", "nova", 2, "command", address=address).address == "192.0.2.11"


def test_no_quota_and_none_for_what_is_auto_assigned() -> None:
    held = ledger(*(floating(f"192.0.2.{number}") for number in range(8, 10)))
    assert floating_ips.allocate(held, "acme", "nova", -1, "command").address == "192.0.2.10"
    made = floating_ips.allocate(held, "acme", "nova", 0, "inventory", auto_assigned=True)
    assert made == floating("192.0.2.11", auto_assigned=True, allocated_by="inventory")


# --- release ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", [None, "acme"])
def test_release_gives_it_back_to_the_pool(project: str | None) -> None:
    held = ledger(floating("192.0.2.8"))
    free = FloatingIp("192.0.2.8", "nova", origin="command")
    assert floating_ips.release(held, "192.0.2.8", project) == free == row_of(held, "192.0.2.8")
    assert floating_ips.allocate(held, "other", "nova", 1, "command").address == "192.0.2.8"


def test_release_keeps_interface_and_origin() -> None:
    held = ledger()
    pool = floating_ips.create(held, ["203.0.113.1"], "far", "eth7", "inventory")
    floating_ips.allocate(held, "acme", "far", 1, "command")
    assert [floating_ips.release(held, "203.0.113.1")] == pool == held.where(FloatingIp, pool="far")


def test_release_refuses_what_is_associated_unless_forced() -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0), floating("192.0.2.9", to=OF_I0, auto_assigned=True))
    for address in ("192.0.2.8", "192.0.2.9"):
        message = (
            f"floating IP {address} leads to 10.0.0.2 of instance 'i0'; disassociate it first, or release it by force"
        )
        with refused(held, message):
            floating_ips.release(held, address)
        free = FloatingIp(address, "nova", origin="command")
        assert floating_ips.release(held, address, "acme", force=True) == free == row_of(held, address)


# --- associate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "fixed"), [("192.0.2.8", OF_I0), ("2001:db8::8", OF_I0_V6)])
def test_associate_and_again(address: str, fixed: str) -> None:
    held = ledger(floating(address))
    wanted = floating(address, to=fixed, associated_by="inventory")
    assert floating_ips.associate(held, address, fixed, by="inventory") == wanted == row_of(held, address)
    # Nothing is changed, not even who did it.
    before = held.state()
    assert floating_ips.associate(held, address, fixed, "acme", by="command") == wanted
    assert held.state() == before


def test_an_associated_one_moves() -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0, associated_by="inventory"))
    moved = floating("192.0.2.8", to=OF_I2, associated_by="command")
    assert floating_ips.associate(held, "192.0.2.8", OF_I2, by="command") == moved == row_of(held, "192.0.2.8")
    # A fixed IP may have several.
    floating_ips.allocate(held, "acme", None, 10, "command", address="192.0.2.9")
    floating_ips.associate(held, "192.0.2.9", OF_I2, by="command")
    assert [row.address for row in held.where(FloatingIp, fixed_address=OF_I2)] == ["192.0.2.8", "192.0.2.9"]


def no_instance(fixed: str) -> str:
    return f"floating IP 192.0.2.8 cannot lead to {fixed}, which no instance holds; choose a fixed IP of an instance"


@pytest.mark.parametrize(
    ("address", "fixed", "message"),
    [
        ("192.0.2.8", GIVEN_BACK, no_instance(GIVEN_BACK)),
        ("192.0.2.8", OF_HOST, no_instance(OF_HOST)),
        ("192.0.2.8", "10.0.0.200", no_instance("10.0.0.200")),
        ("192.0.2.8", "there", "fixed_address: 'there' is not an address such as '10.0.0.5' or 'fd00::5'"),
        ("192.0.2.99", OF_I0, "address: 192.0.2.99 is no floating IP; choose one of a pool, or create it first"),
        (
            "192.0.2.11",
            OF_I0,
            "floating IP 192.0.2.11 of pool 'nova' is not allocated to any project; "
            "allocate it to the project of the instance with 10.0.0.2 first",
        ),
        (
            "192.0.2.8",
            OF_I1,
            "floating IP 192.0.2.8 belongs to project 'acme', but 10.0.0.3 of instance 'i1' to project 'other'; "
            "choose one that is allocated to 'other'",
        ),
        (
            "192.0.2.8",
            OF_I0_V6,
            "floating IP 192.0.2.8 cannot lead to fd00::2 of instance 'i0': IPv4 goes to IPv4 and IPv6 to IPv6; "
            "choose addresses of one version",
        ),
        (
            "192.0.2.10",
            OF_I3_FLAT,
            "floating IP 192.0.2.10 cannot lead to 10.2.0.2 of instance 'i3': floating IPs are not available in flat "
            "mode, and network 'plain' is flat; choose a fixed IP on a flatdhcp or vlan network",
        ),
        (
            "192.0.2.9",
            OF_I2,
            "floating IP 192.0.2.9 is auto-assigned, it stays with 10.0.0.2 of instance 'i0' and cannot be moved to "
            "10.0.0.4; allocate another one and associate that",
        ),
    ],
)
def test_associate_refuses(address: str, fixed: str, message: str) -> None:
    held = ledger(
        floating("192.0.2.8"), floating("192.0.2.9", to=OF_I0, auto_assigned=True), floating("192.0.2.10", "other")
    )
    with refused(held, message):
        floating_ips.associate(held, address, fixed, by="command")


def test_an_auto_assigned_one_may_be_associated_with_what_it_has() -> None:
    held = ledger(floating("192.0.2.9", to=OF_I0, auto_assigned=True))
    before = held.state()
    assert floating_ips.associate(held, "192.0.2.9", OF_I0, by="command").fixed_address == OF_I0
    assert held.state() == before


# --- owner only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    [
        lambda held, project: floating_ips.release(held, "192.0.2.8", project, force=True),
        lambda held, project: floating_ips.associate(held, "192.0.2.8", OF_I2, project, by="command"),
        lambda held, project: floating_ips.disassociate(held, "192.0.2.8", project, force=True),
    ],
)
def test_only_the_owner(operation: t.Callable[[Ledger, str], t.Any]) -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0))
    message = "floating IP 192.0.2.8 belongs to project 'acme', not to 'other'; choose one that is allocated to 'other'"
    with refused(held, message):
        operation(held, "other")
    operation(held, "acme")


@pytest.mark.parametrize(
    ("operation", "what"), [(floating_ips.release, "release"), (floating_ips.disassociate, "disassociate")]
)
def test_nothing_to_take_from_a_free_one(operation: t.Callable[..., t.Any], what: str) -> None:
    held = ledger()
    message = f"floating IP 192.0.2.8 of pool 'nova' is not allocated to any project; there is nothing to {what}"
    for force in (False, True):
        with refused(held, message):
            operation(held, "192.0.2.8", force=force)
        with refused(held, "address: 192.0.2.7 is no floating IP; choose one of a pool, or create it first"):
            operation(held, "192.0.2.7", force=force)


# --- disassociate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", [None, "acme"])
def test_disassociate_leaves_it_to_the_project(project: str | None) -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0))
    assert floating_ips.disassociate(held, "192.0.2.8", project) == floating("192.0.2.8") == row_of(held, "192.0.2.8")


def test_disassociate_refuses_what_leads_nowhere() -> None:
    held = ledger(floating("192.0.2.8"))
    message = (
        "floating IP 192.0.2.8 of project 'acme' is not associated with any fixed IP; there is nothing to disassociate"
    )
    for force in (False, True):
        with refused(held, message):
            floating_ips.disassociate(held, "192.0.2.8", force=force)


def test_disassociate_refuses_an_auto_assigned_one_unless_forced() -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0, auto_assigned=True))
    message = (
        "floating IP 192.0.2.8 is auto-assigned, it stays with 10.0.0.2 of instance 'i0' and cannot be disassociated; "
        "remove the instance, or disassociate it by force, which gives it back to its pool"
    )
    with refused(held, message):
        floating_ips.disassociate(held, "192.0.2.8")
    free = FloatingIp("192.0.2.8", "nova", origin="command")
    assert floating_ips.disassociate(held, "192.0.2.8", force=True) == free == row_of(held, "192.0.2.8")


# --- the fixed IP of an instance -------------------------------------------------------------------------------------


def test_the_first_nic_of_an_instance_counts() -> None:
    held = ledger()
    of = floating_ips.fixed_address_of
    assert of(held, "i0") == OF_I0_RED
    assert of(held, "i0", "blue") == OF_I0
    assert of(held, "i0", version=6) == of(held, "i0", "blue", 6) == OF_I0_V6
    # Without a priority networks go by their labels; a lower number goes first.
    held.put(a_record.network("red", "10.1.0.0/16"))
    assert of(held, "i0") == OF_I0
    held.put(a_record.network("red", "10.1.0.0/16", priority=0))
    held.put(a_record.network("blue", "10.0.0.0/24", priority=1))
    assert of(held, "i0") == OF_I0_RED


@pytest.mark.parametrize(
    ("instance", "network", "version", "message"),
    [
        ("ghost", None, 4, "instance: 'ghost' is no known instance; choose one that is there, or create it first"),
        ("i0", "plain", 4, "network: instance 'i0' has no fixed IP on 'plain'; its networks: 'red', 'blue'"),
        ("i4", "void", 4, "network: instance 'i4' has no fixed IP on 'void'; its networks: none"),
        (
            "i1",
            None,
            6,
            "instance 'i1' has no IPv6 address for an IPv6 floating IP to lead to; it has 10.0.0.3. Choose a floating "
            "IP of another version, or another instance",
        ),
        (
            "i0",
            "red",
            6,
            "instance 'i0' has no IPv6 address on network 'red' for an IPv6 floating IP to lead to; it has 10.0.0.2, "
            "10.1.0.2, fd00::2. Choose a floating IP of another version, or another instance",
        ),
        (
            "i4",
            None,
            4,
            "instance 'i4' has no IPv4 address for an IPv4 floating IP to lead to; it has none at all. Choose a "
            "floating IP of another version, or another instance",
        ),
    ],
)
def test_an_instance_without_such_an_address(instance: str, network: str | None, version: int, message: str) -> None:
    held = ledger()
    with refused(held, message):
        floating_ips.fixed_address_of(held, instance, network, version)


# --- what follows an instance ----------------------------------------------------------------------------------------


def test_an_instance_that_goes_leaves_nothing_behind() -> None:
    held = ledger(
        floating("192.0.2.8", to=OF_I0),
        floating("192.0.2.9", to=OF_I0, auto_assigned=True),
        floating("192.0.2.10", to=OF_I0_RED),
        floating("192.0.2.11", to=OF_I2),
    )
    changed = floating_ips.instance_gone(held, [OF_I0, OF_I0_RED, OF_I0_V6])
    left = [floating("192.0.2.8"), FloatingIp("192.0.2.9", "nova", origin="command"), floating("192.0.2.10")]
    assert changed == left
    assert held.where(FloatingIp, pool="nova") == sorted([*left, floating("192.0.2.11", to=OF_I2)])


def test_auto_assign_once() -> None:
    held = ledger(floating("192.0.2.8", to=OF_I0))
    made = floating_ips.auto_assign(held, "i0", "acme", "nova", "inventory")
    assert made == FloatingIp("192.0.2.9", "nova", None, "acme", OF_I0_RED, True, "inventory", "inventory", "command")
    before = held.state()
    assert floating_ips.auto_assign(held, "i0", "acme", "nova", "inventory") == made
    assert held.state() == before
    # On whichever of its fixed IPs it is.
    held.put(a_record.network("red", "10.1.0.0/16"))
    assert floating_ips.auto_assign(held, "i0", "acme", "ext", "inventory") == made
    assert floating_ips.auto_assign(held, "i2", "acme", "nova", "inventory").address == "192.0.2.10"


@pytest.mark.parametrize(
    ("instance", "project", "pool", "message"),
    [
        ("i0", "ghost", "nova", "project: 'ghost' is no known project; known: acme, other"),
        ("i0", "acme", "void", "pool: 'void' is no known pool of floating IPs; known: ext, nova"),
        (
            "i3",
            "other",
            "nova",
            "floating IP 192.0.2.8 cannot lead to 10.2.0.2 of instance 'i3': floating IPs are not available in flat "
            "mode, and network 'plain' is flat; choose a fixed IP on a flatdhcp or vlan network",
        ),
        (
            "i1",
            "acme",
            "nova",
            "floating IP 192.0.2.8 belongs to project 'acme', but 10.0.0.3 of instance 'i1' to project 'other'; "
            "choose one that is allocated to 'other'",
        ),
        (
            "i4",
            "acme",
            "nova",
            "instance 'i4' has no IPv4 address for an IPv4 floating IP to lead to; it has none at all. Choose a "
            "floating IP of another version, or another instance",
        ),
    ],
)
def test_auto_assign_refuses_and_allocates_nothing(instance: str, project: str, pool: str, message: str) -> None:
    held = ledger()
    with refused(held, message):
        floating_ips.auto_assign(held, instance, project, pool, "inventory")


# --- on a store ------------------------------------------------------------------------------------------------------


def test_by_command_on_a_store(url: str) -> None:
    """Whatever an operation leaves is what the database takes; what is refused leaves nothing."""
    keep(url, site())

    def run(work: t.Callable[[Ledger], t.Any]) -> t.Any:
        return store.operate(url, work, False).result

    assert len(run(lambda held: floating_ips.create(held, ["203.0.113.0/24"], "big", None, "command"))) == 254
    first = run(lambda held: floating_ips.allocate(held, "acme", "big", 2, "command"))
    assert first.address == "203.0.113.1"
    run(lambda held: floating_ips.associate(held, first.address, OF_I0, "acme", by="command"))
    auto = run(lambda held: floating_ips.auto_assign(held, "i1", "other", "big", "command"))
    assert (auto.address, auto.fixed_address) == ("203.0.113.2", OF_I1)
    second = run(lambda held: floating_ips.allocate(held, "acme", "big", 2, "command"))
    before = dump(url)
    for refusal in (
        lambda held: floating_ips.allocate(held, "acme", "big", 2, "command"),
        lambda held: floating_ips.create(held, ["203.0.114.1", "203.0.113.0/24"], "big", None, "command"),
        lambda held: floating_ips.delete(held, ["203.0.113.0/24"]),
        # Even after something of it was put.
        lambda held: (
            floating_ips.release(held, second.address),
            floating_ips.associate(held, first.address, OF_I1, by="command"),
        ),
    ):
        with pytest.raises(InputError):
            run(refusal)
        assert dump(url) == before
    run(lambda held: floating_ips.associate(held, second.address, OF_I2, by="command"))
    run(lambda held: floating_ips.disassociate(held, first.address))
    run(lambda held: floating_ips.release(held, first.address))
    run(lambda held: floating_ips.instance_gone(held, [OF_I1, OF_I2]))
    shown = run(lambda held: floating_ips.find(held, ["203.0.113.0/30", second.address]))
    assert [(row.address, row.project, row.fixed_address) for row in shown] == [
        ("203.0.113.1", None, None),
        ("203.0.113.2", None, None),
        ("203.0.113.3", "acme", None),
    ]
    run(lambda held: floating_ips.delete(held, ["203.0.113.0/24"], force=True))
    assert content(url).floating_ips == site().floating_ips


# --- any sequence ----------------------------------------------------------------------------------------------------

QUOTAS = {"acme": 2, "other": 4}
OWNER = {"i0": "acme", "i1": "other", "i2": "acme"}
#: Each fixed IP's network and version, in the order of an instance's NICs: red goes before blue, and that before plain.
FIXED = {
    "10.1.0.2": ("red", 4),
    "10.1.0.3": ("red", 4),
    "10.0.0.2": ("blue", 4),
    "10.0.0.3": ("blue", 4),
    "fd00::2": ("blue", 6),
    "10.2.0.2": ("plain", 4),
}
#: Each possible floating IP, in order.
SPACE = [f"192.0.2.{number}" for number in range(16)] + [f"2001:db8::{number}" for number in range(1, 4)]


def v4(number: int) -> str:
    return f"192.0.2.{number}"


def a_cidr(block: int, prefix: int) -> tuple[str, list[str]]:
    size = 1 << (32 - prefix)
    base = block * 4 // size * size
    return f"192.0.2.{base}/{prefix}", [v4(number) for number in range(base + 1, base + size - 1)]


def a_span(ends: tuple[int, int]) -> tuple[str, list[str]]:
    low, high = sorted(ends)
    return f"{v4(low)}-{v4(high)}", [v4(number) for number in range(low, high + 1)]


#: A range, and the addresses that it stands for.
RANGE = st.one_of(
    st.sampled_from(SPACE).map(lambda address: (address, [address])),
    st.tuples(st.integers(0, 15), st.integers(0, 15)).map(a_span),
    st.builds(a_cidr, st.integers(0, 3), st.sampled_from([28, 29, 30])),
)
POOL = st.sampled_from(["nova", "ext"])
PROJECT = st.sampled_from(["acme", "other"])
OPTIONAL_PROJECT = st.one_of(st.none(), PROJECT)
INSTANCE = st.sampled_from(sorted(OWNER))
SELDOM = st.sampled_from([False, False, True])


class Book(RuleBasedStateMachine):
    """Each operation beside what it has to do with plain dictionaries and sets."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.target: dict[str, str] = {}
        self.auto: set[str] = set()
        #: Which instance holds a fixed IP.
        self.holder: dict[str, str] = {}
        self.ledger = MemoryLedger(self.beginning())

    def beginning(self) -> State:
        rows = [a_record.vif(name, "plain") for name in OWNER]
        held = a_record.site(3, *networks(), *rows)
        return held._replace(floating_ips={})

    def run(self, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        return work(self.ledger)

    def attempt(self, allowed: bool, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        if allowed:
            return self.run(work)
        with pytest.raises(InputError):
            self.run(work)
        return None

    def some_of(self, data: st.DataObject, known: t.Iterable[str], otherwise: list[str]) -> str:
        """Mostly one that is in use, since that is where the rules are."""
        within = sorted(known)
        return data.draw(st.sampled_from(within if within and data.draw(st.integers(0, 5)) else otherwise))

    def in_use(self) -> list[str]:
        """The more is done with one, the more often."""
        return [*self.owner, *self.target, *self.auto, *self.auto]

    def free(self, pool: str) -> str | None:
        return next((each for each in SPACE if self.pool.get(each) == pool and each not in self.owner), None)

    def mine(self, address: str, project: str | None) -> bool:
        return address in self.owner and project in (None, self.owner[address])

    def forget(self, address: str) -> None:
        self.owner.pop(address, None)
        self.target.pop(address, None)
        self.auto.discard(address)

    def fits(self, address: str, project: str, fixed: str) -> bool:
        network, version = FIXED[fixed]
        holds = fixed in self.holder and OWNER[self.holder[fixed]] == project
        return holds and network != "plain" and version == (6 if ":" in address else 4)

    # Enough to begin with, so that few steps go far.
    @initialize(pool=POOL, ends=st.tuples(st.integers(0, 15), st.integers(0, 15)))
    def some(self, pool: str, ends: tuple[int, int]) -> None:
        self.create([a_span(ends), (SPACE[-1], [SPACE[-1]])], pool)
        for fixed, instance in (
            ("10.0.0.2", "i0"),
            ("10.1.0.2", "i0"),
            ("10.1.0.3", "i1"),
            ("fd00::2", "i0"),
            ("10.2.0.2", "i2"),
        ):
            self.hold(fixed, instance)
        self.auto_assign("i0", pool)
        self.allocate("acme", pool)
        self.allocate("other", pool)
        for address in sorted(self.owner.keys() - self.auto):
            self.lead(address, "10.0.0.2", None)

    @rule(ranges=st.lists(RANGE, max_size=2), pool=POOL)
    def create(self, ranges: list[tuple[str, list[str]]], pool: str) -> None:
        addresses = [address for _text, each in ranges for address in each]
        allowed = len(set(addresses)) == len(addresses) and not self.pool.keys() & set(addresses)
        values = [text for text, _each in ranges]
        self.attempt(allowed, lambda held: floating_ips.create(held, values, pool, None, "command"))
        if allowed:
            self.pool.update(dict.fromkeys(addresses, pool))

    @rule(ranges=st.lists(RANGE, max_size=2), force=SELDOM)
    def delete(self, ranges: list[tuple[str, list[str]]], force: bool) -> None:
        addresses = {address for _text, each in ranges for address in each}
        allowed = addresses <= self.pool.keys() and (force or not addresses & self.owner.keys())
        values = [text for text, _each in ranges]
        self.attempt(allowed, lambda held: floating_ips.delete(held, values, force))
        if allowed:
            for address in addresses:
                self.forget(address)
                del self.pool[address]

    @rule(data=st.data(), force=SELDOM)
    def delete_one(self, data: st.DataObject, force: bool) -> None:
        address = self.some_of(data, [*self.pool, *self.in_use()], SPACE)
        self.delete([(address, [address])], force)

    @rule(project=PROJECT, pool=POOL)
    def allocate(self, project: str, pool: str) -> None:
        counted = [each for each in self.owner if self.owner[each] == project and each not in self.auto]
        wanted = self.free(pool)
        allowed = len(counted) < QUOTAS[project] and wanted is not None
        row = self.attempt(allowed, lambda held: floating_ips.allocate(held, project, pool, QUOTAS[project], "command"))
        if allowed and wanted is not None:
            assert row.address == wanted
            self.owner[wanted] = project

    @rule(data=st.data(), project=PROJECT, pool=st.one_of(st.none(), POOL))
    def allocate_named(self, data: st.DataObject, project: str, pool: str | None) -> None:
        address = self.some_of(data, [*self.pool, *self.in_use()], SPACE)
        counted = [each for each in self.owner if self.owner[each] == project and each not in self.auto]
        there = address in self.pool and pool in (None, self.pool.get(address))
        if address in self.owner:
            allowed = there and self.owner[address] == project and address not in self.auto
        else:
            allowed = there and len(counted) < QUOTAS[project]
        quota = QUOTAS[project]
        self.attempt(
            allowed, lambda held: floating_ips.allocate(held, project, pool, quota, "command", address=address)
        )
        if allowed:
            self.owner[address] = project

    @rule(data=st.data(), project=OPTIONAL_PROJECT, force=SELDOM)
    def release(self, data: st.DataObject, project: str | None, force: bool) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        allowed = self.mine(address, project) and (force or address not in self.target)
        self.attempt(allowed, lambda held: floating_ips.release(held, address, project, force))
        if allowed:
            self.forget(address)

    @rule(data=st.data(), project=OPTIONAL_PROJECT)
    def associate(self, data: st.DataObject, project: str | None) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        self.lead(address, self.some_of(data, self.holder, sorted(FIXED)), project)

    def lead(self, address: str, fixed: str, project: str | None) -> None:
        allowed = self.mine(address, project) and (
            self.target.get(address) == fixed
            or (address not in self.auto and self.fits(address, self.owner[address], fixed))
        )
        self.attempt(allowed, lambda held: floating_ips.associate(held, address, fixed, project, by="command"))
        if allowed:
            self.target[address] = fixed

    @rule(data=st.data(), instance=INSTANCE)
    def associate_own(self, data: st.DataObject, instance: str) -> None:
        """As a command that names an instance; what may be is tried more often so."""
        own = sorted(each for each in self.owner if self.owner[each] == OWNER[instance])
        if own:
            address = data.draw(st.sampled_from(own))
            version = 6 if ":" in address else 4
            choice = [each for each in FIXED if self.holder.get(each) == instance and FIXED[each][1] == version]
            found = self.attempt(
                bool(choice), lambda held: floating_ips.fixed_address_of(held, instance, version=version)
            )
            if choice:
                assert found == choice[0]
                self.lead(address, choice[0], None)

    @rule(data=st.data(), project=OPTIONAL_PROJECT, force=SELDOM)
    def disassociate(self, data: st.DataObject, project: str | None, force: bool) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        allowed = self.mine(address, project) and address in self.target and (force or address not in self.auto)
        self.attempt(allowed, lambda held: floating_ips.disassociate(held, address, project, force))
        if allowed:
            self.unlink(address)

    def unlink(self, address: str) -> None:
        if address in self.auto:
            self.forget(address)
        else:
            del self.target[address]

    @rule(fixed=st.sampled_from(sorted(FIXED)), instance=INSTANCE)
    def hold(self, fixed: str, instance: str) -> None:
        """One address of each version on each network."""
        network, version = FIXED[fixed]
        mine = [each for each in self.holder if self.holder[each] == instance]
        if fixed not in self.holder and (network, version) not in [FIXED[each] for each in mine]:
            self.run(lambda held: held.put(FixedIp(fixed, version, network, instance)))
            self.holder[fixed] = instance

    @rule(instance=INSTANCE)
    def gone(self, instance: str) -> None:
        """All that it held is given back."""
        mine = sorted(each for each in self.holder if self.holder[each] == instance)

        def work(held: Ledger) -> None:
            floating_ips.instance_gone(held, mine)
            for fixed in mine:
                held.put(FixedIp(fixed, FIXED[fixed][1], FIXED[fixed][0], released_at=1.0))

        self.run(work)
        for address, fixed in list(self.target.items()):
            if fixed in mine:
                self.unlink(address)
        for fixed in mine:
            del self.holder[fixed]

    @rule(instance=INSTANCE, pool=POOL)
    def auto_assign(self, instance: str, pool: str) -> None:
        project = OWNER[instance]
        has = [each for each in self.auto if self.holder[self.target[each]] == instance]
        wanted = has[0] if has else self.free(pool)
        version = 6 if wanted is not None and ":" in wanted else 4
        choice = [each for each in FIXED if self.holder.get(each) == instance and FIXED[each][1] == version]
        allowed = bool(has) or (wanted is not None and bool(choice) and self.fits(wanted, project, choice[0]))
        row = self.attempt(allowed, lambda held: floating_ips.auto_assign(held, instance, project, pool, "command"))
        if allowed and wanted is not None:
            assert row.address == wanted
            if not has:
                self.owner[wanted] = project
                self.target[wanted] = choice[0]
                self.auto.add(wanted)

    @rule(ranges=st.one_of(st.none(), st.lists(RANGE, max_size=2)), pool=POOL, project=OPTIONAL_PROJECT)
    def find(self, ranges: list[tuple[str, list[str]]] | None, pool: str, project: str | None) -> None:
        within = SPACE if ranges is None else [address for _text, each in ranges for address in each]
        values = None if ranges is None else [text for text, _each in ranges]
        wanted = [
            each
            for each in SPACE
            if each in within and self.pool.get(each) == pool and project in (None, self.owner.get(each))
        ]
        assert [row.address for row in self.run(lambda held: floating_ips.find(held, values, pool, project))] == wanted

    @invariant()
    def as_the_book_says(self) -> None:
        rows = self.run(lambda held: floating_ips.find(held))
        assert [row.address for row in rows] == [each for each in SPACE if each in self.pool]
        assert {row.address: row.pool for row in rows} == self.pool
        assert {row.address: row.project for row in rows if row.project is not None} == self.owner
        assert {row.address: row.fixed_address for row in rows if row.fixed_address is not None} == self.target
        assert {row.address for row in rows if row.auto_assigned} == self.auto
        for row in rows:
            assert (row.project is None) == (row.allocated_by is None)
            assert (row.fixed_address is None) == (row.associated_by is None)

    @invariant()
    def nothing_is_broken(self) -> None:
        """Whatever the operations made of it, and the book as well."""
        rows = self.run(lambda held: floating_ips.find(held))
        for row in rows:
            if row.fixed_address is not None:
                fixed = self.run(lambda held, row=row: held.get(FixedIp, row.fixed_address))
                assert OWNER[fixed.instance] == row.project
                assert fixed.network != "plain"
                assert (":" in row.address) == (":" in fixed.address)
        for project, quota in QUOTAS.items():
            assert len([row for row in rows if row.project == project and not row.auto_assigned]) <= quota

    def content(self) -> State:
        return self.ledger.state()

    def teardown(self) -> None:
        lines = invariants.violations(kinds.rows_of(self.content()))
        assert [line for line in lines if line.startswith("floating_ips")] == []


class StoredBook(Book):
    """The same on a database, each operation in a transaction of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._url = f"sqlite:///{self._folder.name}/nova.sqlite"
        super().__init__()
        keep(self._url, self.beginning())

    def run(self, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        return store.operate(self._url, work, False).result

    def content(self) -> State:
        return content(self._url)

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


class TestAnySequence(Book.TestCase):
    settings = settings(
        max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


class TestAnySequenceOnAStore(StoredBook.TestCase):
    settings = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
