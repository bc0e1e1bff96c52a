# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs of projects and instances: each rule and each refusal."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_floating import (
    GIVEN_BACK,
    OF_HOST,
    OF_I0,
    OF_I0_RED,
    OF_I0_V6,
    OF_I1,
    OF_I2,
    OF_I3_FLAT,
    floating,
    ledger,
    refused,
    row_of,
    site,
)
from a_store import content, dump, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FloatingIp,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store

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
