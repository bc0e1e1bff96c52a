"""Security groups, and the subnets that their instances get addresses from."""

from __future__ import annotations

import typing as t

import pytest
from a_model import Model, refused, sound
from a_site import address_of, allocate, instance, multi_host, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import security_groups, state

SMALL = [{"label": "blue", "fixed_range": "10.0.0.0/26"}]


def group(name: str = "web", project: str = "acme", **more: t.Any) -> dict[str, t.Any]:
    return {"project": project, "name": name, **more}


def member(name: str, *groups: str, **more: t.Any) -> dict[str, t.Any]:
    return instance(name, security_groups=list(groups), **more)


def subnets(held: state.State) -> dict[tuple[str, str], str | None]:
    return {key: row.subnet for key, row in held.security_groups.items()}


def test_instances_of_a_group_get_addresses_of_its_subnet_and_others_do_not() -> None:
    declared = {"networks": SMALL, "security_groups": [group(subnet="10.0.0.8/29")]}
    names = [*(member(f"w{n}", "web") for n in range(2)), *(instance(f"o{n}") for n in range(8))]
    held = sound(allocate(site(instances=names, **declared)))
    assert [address_of(held, f"w{n}") for n in range(2)] == ["10.0.0.8", "10.0.0.9"]
    assert [address_of(held, f"o{n}") for n in range(8)] == [f"10.0.0.{n}" for n in (2, 3, 4, 5, 6, 7, 16, 17)]


def test_a_subnet_is_carved_where_nobody_is() -> None:
    held = allocate(site(networks=SMALL, instances=[instance("a"), instance("b", address="10.0.0.50")]))
    declared = site(
        networks=SMALL,
        instances=[instance("a"), instance("b", address="10.0.0.50")],
        security_groups=[group(subnet_size=16), group("db", subnet_size=16), group("x", subnet_size=4)],
    )
    held = sound(allocate(declared, held))
    # Above from .32 on is the guest's .50, and the broadcast takes the last sixteen.
    assert subnets(held) == {
        ("acme", "web"): "10.0.0.32/28",
        ("acme", "db"): "10.0.0.16/28",
        ("acme", "x"): "10.0.0.56/30",
    }
    assert allocate(declared, held) == held


def test_the_subnet_ends() -> None:
    declared = {"networks": SMALL, "security_groups": [group(subnet_size=2)]}
    with refused("'blue'", "10.0.0.60 to 10.0.0.61", "no free address", "'c'"):
        allocate(site(instances=[member(name, "web") for name in "abc"], **declared))


def test_who_joins_a_group_keeps_its_address() -> None:
    declared = {"networks": SMALL, "security_groups": [group(subnet_size=8)]}
    first = allocate(site(instances=[instance("a")], **declared))
    second = sound(allocate(site(instances=[member("a", "web")], **declared), first))
    assert address_of(second, "a") == address_of(first, "a")
    assert ("a", "web") in second.memberships


def test_a_hosts_gateway_is_not_taken_from_a_groups_subnet() -> None:
    declared = multi_host(networks=SMALL, security_groups=[group(subnet="10.0.0.2/31")], instances=[member("a", "web")])
    held = sound(allocate(declared))
    (gateway,) = [row.address for row in held.fixed_ips.values() if row.host]
    assert (gateway, address_of(held, "a")) == ("10.0.0.4", "10.0.0.2")


def test_in_vlan_mode_the_subnet_is_of_the_projects_vlan() -> None:
    made = site(
        settings={"nova_network_manager": "vlan"},
        networks=[{"label": "v", "fixed_range": "10.0.0.0/16", "network_size": 256, "num_networks": 2}],
        projects=["acme", "other"],
        security_groups=[group(subnet_size=32), group(project="other", subnet_size=32)],
    )
    held = sound(allocate(made))
    assert {key: row.network for key, row in held.security_groups.items()} == {
        ("acme", "web"): "v_0",
        ("other", "web"): "v_1",
    }
    assert [row.project for row in held.networks.values()] == ["acme", "other"]


def test_groups_of_one_name_in_two_projects_on_one_network_are_apart() -> None:
    both = [group(subnet_size=16), group(project="other", subnet_size=16)]
    held = sound(allocate(site(networks=SMALL, projects=["acme", "other"], security_groups=both)))
    assert len(set(subnets(held).values())) == 2
    both = [group(subnet="10.0.0.16/28"), group(project="other", subnet="10.0.0.24/29")]
    with refused("10.0.0.24/29", "overlaps", "10.0.0.16/28"):
        allocate(site(networks=SMALL, projects=["acme", "other"], security_groups=both))


def test_what_is_asked_for_exactly_goes_before_what_is_carved() -> None:
    groups = [group("a", subnet_size=16), group("b", subnet="10.0.0.32/28")]
    for order in (groups, groups[::-1]):
        held = sound(allocate(site(networks=SMALL, security_groups=order)))
        assert subnets(held)["acme", "b"] == "10.0.0.32/28"


def test_the_subnet_follows_the_network_to_another_range() -> None:
    held = allocate(site(networks=SMALL, security_groups=[group(subnet_size=16)]))
    moved = site(networks=[{"label": "blue", "fixed_range": "10.5.0.0/26"}], security_groups=[group(subnet_size=16)])
    held = sound(allocate(moved, held))
    assert subnets(held) == {("acme", "web"): "10.5.0.32/28"}


def test_a_network_under_the_subnet_of_a_command_keeps_its_range() -> None:
    model = Model(allocate(site(networks=SMALL)))
    with model.command() as ledger:
        asked = security_groups.Request("group_create", "acme", "web", "blue", subnet_size=16)
        security_groups.create(ledger, model.settings, asked, "command")
    with refused("'blue'", "'web'"):
        allocate(site(networks=[{"label": "blue", "fixed_range": "10.5.0.0/26"}]), model.held)
    with refused("'blue'", "'web'"):
        allocate(site(networks=[{**SMALL[0], "project": "other"}], projects=["acme", "other"]), model.held)


def test_the_subnet_stays_in_its_network_whatever_else_the_project_gets() -> None:
    first = allocate(site(networks=SMALL, security_groups=[group(subnet_size=8)]))
    more = {"label": "a", "fixed_range": "10.9.0.0/26", "bridge": "br9", "priority": 1}
    second = sound(allocate(site(networks=[more, *SMALL], security_groups=[group(subnet_size=8)]), first))
    assert second.security_groups == first.security_groups
    # Where its network goes, it goes to another.
    third = sound(allocate(site(networks=[more], security_groups=[group(subnet_size=8)]), second))
    assert third.security_groups["acme", "web"].network == "a"


def test_without_a_subnet_again() -> None:
    held = allocate(site(networks=SMALL, security_groups=[group(subnet_size=16)]))
    held = sound(allocate(site(networks=SMALL, security_groups=[group()]), held))
    assert subnets(held) == {("acme", "web"): None}


def test_absence_removes_what_the_inventory_made_unless_somebody_is_in_it() -> None:
    held = allocate(site(security_groups=[group()], instances=[member("a", "web")]))
    with refused("'web'", "'acme'", "'a'"):
        allocate(site(instances=[member("a", "web")]), held)
    gone = sound(allocate(site(instances=[instance("a")]), held))
    assert gone.security_groups == {} == gone.memberships
    model = Model(held)
    model.boot("b", security_groups=["web"])
    with refused("'web'", "'acme'", "no longer declared", "'b'"):
        allocate(site(instances=[instance("a")]), model.held)


def test_by_command() -> None:
    model = Model(allocate(site()))

    def create(**more: t.Any) -> state.SecurityGroup:
        with model.command() as ledger:
            asked = security_groups.Request("group_create", "acme", "web", **more)
            return security_groups.create(ledger, model.settings, asked, "command")

    assert create().origin == "command"
    assert create(subnet_size=16).subnet == "10.0.0.224/28"
    with refused("'red'", "network", "blue"):
        create(network="red", subnet_size=16)
    model.boot("a", security_groups=["web"])
    with refused("'web'", "'a'"), model.command() as ledger:
        security_groups.delete(ledger, model.held.security_groups["acme", "web"])
    model.terminate("a")
    # The inventory leaves it alone.
    assert ("acme", "web") in allocate(site(), model.held).security_groups
    with model.command() as ledger:
        security_groups.delete(ledger, model.held.security_groups["acme", "web"])
    assert model.held.security_groups == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (group(project="nobody"), ["project", "'nobody'", "acme"]),
        ({"name": "web"}, ["project", "required"]),
        ({"project": "acme"}, ["name", "required"]),
        (group(subnet="10.0.0.8/29", subnet_size=8), ["subnet", "subnet_size", "not both"]),
        (group(subnet="10.0.0.8"), ["subnet", "'10.0.0.8'"]),
        (group(subnet="10.9.0.0/29"), ["subnet", "10.9.0.0/29", "'blue'"]),
        (group(subnet="10.0.0.0/29"), ["subnet", "10.0.0.0/29", "10.0.0.2"]),
        (group(subnet_size=12), ["subnet_size", "12", "power of two", "16"]),
        (group(subnet_size=0), ["subnet_size", "0"]),
        (group(subnet_size="big"), ["subnet_size", "'big'"]),
        (group(subnet_size=64), ["subnet_size", "64", "'blue'", "10.0.0.0/26"]),
        (group(subnet_size=1024), ["subnet_size", "1024", "'blue'"]),
        (group(network="blue"), ["network", "subnet_size"]),
        (group(network="red", subnet_size=8), ["network", "'red'", "blue"]),
        (group("default", subnet_size=8), ["'default'", "subnet"]),
        (group(colour="red"), ["'colour'"]),
    ],
)
def test_bad_groups(fields: dict[str, t.Any], named: list[str]) -> None:
    with refused("nova_security_groups[0]", *named):
        allocate(site(networks=SMALL, security_groups=[fields]))


def test_more_bad_groups() -> None:
    with refused("'web'", "'acme'", "twice"):
        allocate(site(security_groups=[group(), group()]))
    with refused("security_groups", "'db'", "'acme'", "web"):
        allocate(site(security_groups=[group()], instances=[member("a", "db")]))
    with refused("security_groups", "'web'", "twice"):
        allocate(site(security_groups=[group()], instances=[member("a", "web", "web")]))
    six = [{"label": "blue", "fixed_range_v6": "fd00::/64"}]
    for asked in (group(subnet_size=8), group(network="blue", subnet_size=8)):
        with refused("IPv4"):
            allocate(site(networks=six, security_groups=[asked]))
