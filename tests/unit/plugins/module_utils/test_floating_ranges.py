# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ranges of floating IPs: read, created, deleted and found."""

from __future__ import annotations

import typing as t

import pytest
from a_floating import (
    OF_I0,
    floating,
    ledger,
    refused,
    row_of,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FloatingIp,
)

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
