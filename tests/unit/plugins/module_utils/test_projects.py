"""Projects: a network each at their first need, quotas, scrub, and what becomes of one that is removed."""

from __future__ import annotations

import typing as t

import pytest
from a_model import Model, refused, sound
from a_site import address_of, allocate, instance, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips, projects, state

VLANS = {"label": "v", "manager": "vlan", "fixed_range": "10.0.0.0/16", "network_size": 256, "num_networks": 3}


def vlan_site(**more: t.Any) -> dict[str, t.Any]:
    made = site(**{"networks": [VLANS], "projects": ["acme", "other"], **more})
    made["settings"]["nova_network_manager"] = "vlan"
    return made


def of(project: str, *names: str, **more: t.Any) -> list[dict[str, t.Any]]:
    return [instance(name, **more) | {"project": project} for name in names]


def owners(held: state.State) -> dict[str, tuple[str | None, str | None]]:
    return {row.label: (row.project, row.project_origin) for row in held.networks.values()}


# --- a network at need ------------------------------------------------------------------------------------------------


def test_a_vlan_network_is_taken_at_the_first_need_and_kept() -> None:
    held = sound(allocate(vlan_site()))
    assert set(owners(held).values()) == {(None, None)}
    held = sound(allocate(vlan_site(instances=of("other", "x")), held))
    assert owners(held)["v_0"] == ("other", "need")
    held = sound(allocate(vlan_site(instances=[*of("acme", "a"), *of("other", "x", "y")]), held))
    assert owners(held) == {"v_0": ("other", "need"), "v_1": ("acme", "need"), "v_2": (None, None)}
    assert [address_of(held, name, "v_0") for name in "xy"] == ["10.0.0.3", "10.0.0.4"]
    # Without instances it stays the project's, until it is scrubbed.
    assert owners(allocate(vlan_site(), held)) == owners(held)


def test_the_highest_priority_and_the_lowest_vlan_go_first() -> None:
    networks = [
        {"label": "a", "manager": "vlan", "fixed_range": "10.1.0.0/24", "vlan": 300},
        {"label": "b", "manager": "vlan", "fixed_range": "10.2.0.0/24", "vlan": 200},
        {"label": "c", "manager": "vlan", "fixed_range": "10.3.0.0/24", "vlan": 400, "priority": 1},
    ]
    wanted = {name: of(name, f"i-{name}") for name in ("p1", "p2", "p3")}
    held = allocate(
        vlan_site(networks=networks, projects=list(wanted), instances=[row for rows in wanted.values() for row in rows])
    )
    assert {row.project: row.label for row in held.networks.values()} == {"p1": "c", "p2": "b", "p3": "a"}


def test_none_is_left() -> None:
    names = [f"p{number}" for number in range(4)]
    with refused("'p3'", "VLAN network", "none is free", "nova_num_networks", "scrub"):
        allocate(vlan_site(projects=names, instances=[row for name in names for row in of(name, f"i-{name}")]))


def test_a_free_network_that_is_named_becomes_the_projects() -> None:
    held = sound(allocate(vlan_site(instances=of("acme", "a", network="v_1"))))
    assert owners(held)["v_1"] == ("acme", "need")
    with refused("'v_1'", "'acme'", "'x'", "'other'"):
        allocate(vlan_site(instances=[*of("acme", "a", network="v_1"), *of("other", "x", network="v_1")]), held)


def test_a_network_that_one_instance_names_is_the_others_too_whatever_their_order() -> None:
    named, unnamed = of("acme", "a", network="v_2"), of("acme", "b")
    for order in (named + unnamed, unnamed + named):
        held = sound(allocate(vlan_site(instances=order)))
        assert {vif.network for vif in held.vifs.values()} == {"v_2"}
        assert allocate(vlan_site(instances=order), held) == held


def test_a_project_with_several_networks_is_on_all_by_priority() -> None:
    own = {"manager": "vlan", "project": "acme"}
    networks = [
        {"label": "a", "fixed_range": "10.1.0.0/24", "priority": 2, **own},
        {"label": "b", "fixed_range": "10.2.0.0/24", "priority": 1, **own},
        {"label": "c", "fixed_range": "10.3.0.0/24", **own},
        {"label": "d", "fixed_range": "10.4.0.0/24", "manager": "vlan"},
    ]
    held = sound(allocate(vlan_site(networks=networks, instances=of("acme", "x"))))
    assert {vif.network for vif in held.vifs.values()} == {"a", "b", "c"}
    with Model(held).command() as ledger:
        assert floating_ips.fixed_address_of(ledger, "x") == "10.2.0.3"


def test_all_three_types_side_by_side_each_project_its_own() -> None:
    """nova's documents name this as never done."""
    networks = [
        {"label": "f", "manager": "flat", "fixed_range": "10.1.0.0/24", "bridge": "br0"},
        {"label": "d", "manager": "flatdhcp", "fixed_range": "10.2.0.0/24"},
        VLANS,
    ]
    choices = {"p-flat": "flat", "p-dhcp": "FlatDHCPManager", "p-vlan": "nova.network.manager.VlanManager", "p": None}
    declared = [{"name": name, "network_manager": manager} for name, manager in choices.items()]
    instances = [row for name in choices for row in of(name, f"i-{name}")]
    held = sound(allocate(vlan_site(networks=networks, projects=declared, instances=instances)))
    assert {vif.instance: vif.network for vif in held.vifs.values()} == {
        "i-p-flat": "f",
        "i-p-dhcp": "d",
        "i-p-vlan": "v_0",
        "i-p": "v_1",
    }
    assert {row.label: row.host for row in held.networks.values()} == {
        "f": None,
        "d": "net1",
        "v_0": "net1",
        "v_1": "net1",
        "v_2": None,
    }


def test_no_network_of_its_type() -> None:
    with refused("(a)", "no flat network", "'acme'", "network_manager"):
        allocate(site(projects=[{"name": "acme", "network_manager": "flat"}], instances=[instance("a")]))


def test_a_network_that_is_no_longer_declared_for_a_project_does_not_move_its_instances() -> None:
    own = {"label": "own", "manager": "vlan", "fixed_range": "10.9.0.0/24", "vlan": 900, "project": "acme"}
    first = allocate(vlan_site(networks=[VLANS, own], instances=of("acme", "a")))
    assert address_of(first, "a", "own") == "10.9.0.3"
    second = sound(allocate(vlan_site(networks=[VLANS, {**own, "project": None}], instances=of("acme", "a")), first))
    assert second.vifs == first.vifs
    assert second.networks["own"].project == "acme"
    # Nobody is on it any longer: it is free.
    third = sound(allocate(vlan_site(networks=[VLANS, own]), first))
    third = allocate(vlan_site(networks=[VLANS, {**own, "project": None}]), third)
    assert third.networks["own"].project is None


# --- quotas -----------------------------------------------------------------------------------------------------------


def quotas(**more: int) -> list[dict[str, t.Any]]:
    return [{"name": "acme", **{f"quota_{name}": value for name, value in more.items()}}]


def test_the_quota_of_fixed_ips() -> None:
    def two(names: str, **more: t.Any) -> dict[str, t.Any]:
        return site(projects=quotas(fixed_ips=2), instances=[instance(name) for name in names], **more)

    held = allocate(two("ab"))
    with refused("'acme'", "quota_fixed_ips is 2", "2 fixed IPs", "1 more", "nova_quota_fixed_ips"):
        allocate(two("abc"), held)
    # As many as before is not more, nor one for another.
    assert set(allocate(two("bc"), held).instances) == {"b", "c"}
    # Each address counts, and who has more than a lowered quota keeps them.
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/24", "fixed_range_v6": "fd00::/64"}]
    with refused("quota_fixed_ips", "4 more"):
        allocate(two("ab", networks=networks))
    lowered = site(projects=quotas(fixed_ips=1), instances=[instance(name) for name in "ab"])
    assert set(sound(allocate(lowered, held)).instances) == {"a", "b"}


@pytest.mark.parametrize(("own", "whole", "fits"), [(None, 1, False), (-1, 1, True), (2, 1, True), (None, -1, True)])
def test_a_projects_own_quota_goes_before_the_sites(own: int | None, whole: int, fits: bool) -> None:
    declared = site(
        settings={"nova_quota_fixed_ips": whole},
        projects=[{"name": "acme", "quota_fixed_ips": own}],
        instances=[instance("a"), instance("b")],
    )
    if fits:
        sound(allocate(declared))
    else:
        with refused("'acme'", "quota_fixed_ips is 1"):
            allocate(declared)


def test_the_quota_of_networks() -> None:
    networks = [{**VLANS, "num_networks": 2, "project": "acme"}]
    with refused("'acme'", "quota_networks is 1", "nova_quota_networks"):
        allocate(vlan_site(networks=networks, projects=quotas(networks=1)))
    with refused("'acme'", "quota_networks is 0"):
        allocate(vlan_site(projects=quotas(networks=0), instances=of("acme", "a")))
    sound(allocate(vlan_site(networks=networks, projects=quotas(networks=2))))


def test_the_quota_of_security_groups() -> None:
    groups = [{"project": "acme", "name": name} for name in ("web", "db")]
    with refused("'acme'", "quota_security_groups is 1", "nova_quota_security_groups"):
        allocate(site(projects=quotas(security_groups=1), security_groups=groups))
    # nova's default is ten.
    many = [{"project": "acme", "name": f"g{number}"} for number in range(11)]
    with refused("'acme'", "quota_security_groups is 10"):
        allocate(site(security_groups=many))
    held = allocate(site(security_groups=many[:10]))
    # One for another is not more.
    sound(allocate(site(security_groups=many[1:]), held))


def test_the_quota_of_floating_ips() -> None:
    declared = site(
        projects=quotas(floating_ips=1),
        floating_ranges=["192.0.2.0/28"],
        instances=[instance("a", floating_ip=True), instance("b", floating_ip=True)],
    )
    with refused("'acme'", "quota_floating_ips is 1", "nova_quota_floating_ips"):
        allocate(declared)
    # What is assigned without asking does not count.
    declared["settings"]["nova_auto_assign_floating_ip"] = True
    declared["instances"] = [instance("a"), instance("b"), instance("c", floating_ip=True)]
    sound(allocate(declared))


@pytest.mark.parametrize("name", ["networks", "fixed_ips", "floating_ips", "security_groups"])
@pytest.mark.parametrize("value", [-2, "many", 1.5, True])
def test_bad_quotas(name: str, value: t.Any) -> None:
    with refused(f"nova_projects[0].quota_{name}", str(value)):
        allocate(site(projects=[{"name": "acme", f"quota_{name}": value}]))
    with refused(f"nova_quota_{name}", str(value)):
        allocate(site(settings={f"nova_quota_{name}": value}))


# --- given back -------------------------------------------------------------------------------------------------------


def test_scrub() -> None:
    groups = [{"project": "acme", "name": "web", "subnet_size": 16}]
    held = allocate(vlan_site(instances=of("acme", "a"), security_groups=groups))
    model = Model(held)
    for words in (["'acme'", "'a'"],):
        with refused(*words), model.command() as ledger:
            projects.scrub(ledger, held.projects["acme"])
    model = Model(allocate(vlan_site(security_groups=groups), held))
    with refused("'acme'", "security group", "'web'"), model.command() as ledger:
        projects.scrub(ledger, held.projects["acme"])
    model = Model(allocate(vlan_site(), model.held))
    with model.command() as ledger:
        assert [row.label for row in projects.scrub(ledger, held.projects["acme"])] == ["v_0"]
    assert owners(model.held)["v_0"] == (None, None)
    assert model.held.networks["v_0"].host is None
    # Addresses that were used stay known.
    assert [row.address for row in model.held.fixed_ips.values()] == ["10.0.0.3"]


def test_a_removed_project_gives_all_back() -> None:
    ranges = ["192.0.2.0/29"]
    declared = vlan_site(
        projects=["acme", {"name": "other", "floating_ips": ["192.0.2.3"]}],
        instances=of("other", "x", security_groups=["web"], floating_ip="192.0.2.1"),
        security_groups=[{"project": "other", "name": "web", "subnet_size": 8}],
        floating_ranges=ranges,
    )
    held = sound(allocate(declared))
    held = sound(allocate(vlan_site(projects=["acme"], floating_ranges=ranges), held))
    assert set(held.projects) == {"acme"}
    assert set(owners(held).values()) == {(None, None)}
    assert {row.project for row in held.floating_ips.values()} == {None}
    assert held.instances == {} == held.security_groups == held.vifs


def test_a_removed_project_that_is_still_in_use_is_refused() -> None:
    held = allocate(site(projects=["acme", "other"]))
    model = Model(held)
    model.boot("x", "other")
    with refused("'other'", "no longer declared", "instance 'x'"):
        allocate(site(), model.held)
    # What the inventory itself declares for it is refused as for any project that nobody knows.
    for wrong in (
        {"instances": of("other", "y")},
        {
            "networks": [
                *site()["networks"],
                {"label": "n", "fixed_range": "10.9.0.0/24", "bridge": "b", "project": "other"},
            ]
        },
        {"security_groups": [{"project": "other", "name": "web"}]},
    ):
        with refused("'other'"):
            allocate(site(**wrong), held)


def test_a_project_of_a_command_stays() -> None:
    model = Model(allocate(site()))
    model.project("ours")
    held = allocate(site(projects=[]), model.held)
    assert set(held.projects) == {"ours"}
    # Declared too, it is still the command's; its words are the inventory's.
    held = allocate(site(projects=[{"name": "ours", "quota_networks": 3}]), held)
    assert (held.projects["ours"].origin, held.projects["ours"].quota_networks) == ("command", 3)


def test_used() -> None:
    model = Model(
        allocate(site(instances=[instance("a"), instance("b")], security_groups=[{"project": "acme", "name": "w"}]))
    )
    with model.command() as ledger:
        found = projects.used(ledger, model.held.projects["acme"])
    assert found == {
        "networks": 0,
        "fixed_ips": 2,
        "security_groups": 1,
        "floating_ips": 0,
    }
