"""Networks by command: created all or none, modified, deleted, found."""

from __future__ import annotations

import typing as t
import uuid

import pytest
from a_model import Model, refused, sound
from a_site import allocate, instance, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    floating_ips,
    network_commands,
    projects,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError

VLANS = {"manager": "vlan", "fixed_range": "10.0.0.0/16", "network_size": 256}


def modify(model: Model, label: str, **words: t.Any) -> state.Network:
    with model.command() as ledger:
        return network_commands.modify(ledger, model.network(label), model.settings, "network_modify", **words)


def delete(model: Model, label: str) -> None:
    with model.command() as ledger:
        network_commands.delete(ledger, model.network(label))


# --- create -----------------------------------------------------------------------------------------------------------


def test_all_or_none() -> None:
    model = Model()
    model.create(label="old", fixed_range="10.0.3.0/24", bridge="br3")
    before = model.held
    with refused("10.0.0.0/22", "no room"):
        model.create(**{**VLANS, "fixed_range": "10.0.0.0/22", "num_networks": 4})
    assert model.held == before
    made = model.create(**{**VLANS, "num_networks": 4})
    assert [row.cidr for row in made] == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.4.0/24"]
    assert model.held.networks == {"old": before.networks["old"], **{row.label: row for row in made}}
    assert {row.origin for row in made} == {"command"}


def test_what_is_there_is_not_made_again() -> None:
    model = Model()
    model.create(**VLANS, num_networks=2)
    before = model.held
    assert len(model.create(**VLANS, num_networks=2)) == 2
    assert model.held == before
    # The missing ones are made, beside those that are there.
    more = model.create(**VLANS, num_networks=3)
    assert [row.cidr for row in more] == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]
    assert {label: model.held.networks[label] for label in before.networks} == before.networks


def test_what_may_be_changed_of_networks_that_are_there() -> None:
    model = Model()
    model.create(**VLANS, num_networks=2)
    changes = {"dns1": "198.51.100.1", "dns2": "198.51.100.2", "mtu": 1400, "priority": 7, "bridge_interface": "eth3"}
    for number, mtu in ((2, 1400), (3, 1300)):
        changes["mtu"] = mtu
        made = model.create(**VLANS, num_networks=number, **changes)
        assert [{name: getattr(row, name) for name in changes} for row in made] == [changes] * number
        assert [model.network(row.label) for row in made] == made
    # What is not given stays.
    assert {row.mtu for row in model.create(**VLANS, num_networks=3)} == {1300}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"fixed_range": "10.1.0.0/24"}, ["fixed_range", "10.0.0.0/24", "10.1.0.0/24"]),
        ({"fixed_range_v6": "fd00::/64"}, ["fixed_range_v6", "10.0.0.0/24", "fd00::/64"]),
        ({"manager": "vlan", "bridge": None}, ["manager", "flatdhcp", "vlan"]),
        ({"bridge": "br9"}, ["bridge", "br100", "br9"]),
        ({"gateway": "10.0.0.9"}, ["gateway", "10.0.0.1", "10.0.0.9"]),
        ({"dhcp_server": "10.0.0.9"}, ["dhcp_server", "10.0.0.9"]),
        ({"dhcp_start": "10.0.0.9"}, ["dhcp_start", "10.0.0.9"]),
        ({"allowed_start": "10.0.0.9"}, ["allowed_start", "10.0.0.9"]),
        ({"allowed_end": "10.0.0.9"}, ["allowed_end", "10.0.0.9"]),
        ({"multi_host": True}, ["multi_host", "True"]),
        ({"uuid": "6f1a6ed0-8a2c-4d6c-9d3e-000000000001"}, ["uuid", "6f1a6ed0"]),
    ],
)
def test_what_cannot_be_changed(fields: dict[str, t.Any], named: list[str]) -> None:
    model = Model()
    model.create(fixed_range="10.0.0.0/24")
    before = model.held
    with refused("'blue'", *named):
        model.create(**{"fixed_range": "10.0.0.0/24", **fields})
    assert model.held == before


@pytest.mark.parametrize(
    "fields", [{"network_size": 512}, {"fixed_range": "10.9.0.0/16"}, {"manager": "flatdhcp", "bridge": "br9"}]
)
def test_more_of_another_form_are_refused(fields: dict[str, t.Any]) -> None:
    model = Model()
    model.create(**{**VLANS, "fixed_range": "10.0.4.0/22", "num_networks": 2})
    before = model.held
    with refused("'blue_0'"):
        model.create(**{**VLANS, "num_networks": 3, **fields})
    assert model.held == before


def test_reserved_addresses_are_kept_out_of_the_pool_whenever_they_are_given() -> None:
    model = Model()
    model.project("acme")
    reserved = {"fixed_range": "10.0.0.0/28", "reserved": ["10.0.0.2-10.0.0.4", "10.0.0.6"]}
    model.create(**reserved)
    assert {row.address for row in model.held.fixed_ips.values()} == {f"10.0.0.{n}" for n in (2, 3, 4, 6)}
    model.create(**{**reserved, "reserved": ["10.0.0.7"]})
    assert model.row("10.0.0.7").reserved_by == "command"
    for name in ("a", "b"):
        model.boot(name)
    assert [model.address(name) for name in ("a", "b")] == ["10.0.0.5", "10.0.0.8"]


def test_the_quota_of_networks() -> None:
    model = Model(quota_networks=5)
    model.project("acme", quota_networks=2)
    model.create(label="a", project="acme", **{**VLANS, "network_size": None, "fixed_range": "10.9.0.0/24"})
    with refused("'acme'", "quota_networks", "is 2", "1 networks"):
        model.create(**VLANS, num_networks=2, project="acme")
    model.create(**{**VLANS, "fixed_range": "10.1.0.0/24"}, project="acme")
    model.create(label="c", **{**VLANS, "fixed_range": "10.2.0.0/24"})
    with refused("'acme'", "quota_networks"):
        modify(model, "c", project="acme")
    # Again the same is not one more.
    model.create(**{**VLANS, "fixed_range": "10.1.0.0/24"}, project="acme")


def test_a_project_that_is_not_there() -> None:
    model = Model()
    model.project("acme")
    with refused("project", "'nobody'", "acme"):
        model.create(**VLANS, project="nobody")


def test_a_network_over_floating_ips_is_refused() -> None:
    model = Model()
    with model.command() as ledger:
        floating_ips.create(ledger, ["192.0.2.0/29"], "nova", None, "command")
    with refused("192.0.2.0/24", "'blue'", "192.0.2.1", "'nova'"):
        model.create(fixed_range="192.0.2.0/24")
    with refused("192.0.2.1"):
        allocate(site(networks=[{"label": "blue", "fixed_range": "192.0.2.0/24"}]), model.held)


def test_what_a_command_made_is_not_the_inventorys_to_remove() -> None:
    model = Model()
    model.create(label="red", fixed_range="10.7.0.0/24", bridge="br7")
    held = sound(allocate(site(), model.held))
    assert set(held.networks) == {"blue", "red"}
    # Declared as well, it still is the command's.
    both = [*site()["networks"], {"label": "red", "fixed_range": "10.7.0.0/24", "bridge": "br7"}]
    held = allocate(site(networks=both), held)
    assert held.networks["red"].origin == "command"
    held = allocate(site(networks=[]), held)
    assert set(held.networks) == {"red"}


# --- modify -----------------------------------------------------------------------------------------------------------


def test_a_network_is_given_to_a_project_and_taken() -> None:
    model = Model()
    model.project("acme")
    model.create(**VLANS)
    assert modify(model, "blue", project="acme").project_origin == "command"
    assert modify(model, "blue", host="net1").host == "net1"
    assert modify(model, "blue", disassociate_host=True).host is None
    assert modify(model, "blue", disassociate_project=True).project is None
    assert modify(model, "blue", disassociate_project=True).project is None


def test_one_in_use_is_not_given_away() -> None:
    model = Model(network_manager="vlan")
    for name in ("acme", "other"):
        model.project(name)
    model.create(**VLANS)
    model.boot("web1")
    for words in ({"project": "other"}, {"disassociate_project": True}):
        with refused("'blue'", "'web1'", "'acme'"):
            modify(model, "blue", **words)
    model.terminate("web1")
    assert modify(model, "blue", project="other").project == "other"


@pytest.mark.parametrize(
    "words", [{"project": "acme", "disassociate_project": True}, {"host": "net1", "disassociate_host": True}]
)
def test_both_at_once_are_refused(words: dict[str, t.Any]) -> None:
    model = Model()
    model.project("acme")
    model.create(**VLANS)
    with refused("network_modify", "associating and disassociating"):
        modify(model, "blue", **words)


def test_a_host_of_a_network_that_all_hosts_serve_is_refused() -> None:
    model = Model()
    model.create(fixed_range="10.0.0.0/24", multi_host=True)
    with refused("host", "'blue'", "multi_host"):
        modify(model, "blue", host="net1")


# --- delete -----------------------------------------------------------------------------------------------------------


def test_delete_is_refused_while_a_project_has_it_or_an_address_is_held() -> None:
    model = Model()
    model.project("acme")
    model.create(**VLANS)
    model.create(label="flat", fixed_range="10.7.0.0/24", bridge="br7")
    model.boot("web1", network="flat")
    with refused("'flat'", "10.7.0.0/24", "'web1'"):
        delete(model, "flat")
    modify(model, "blue", project="acme")
    with refused("'blue'", "10.0.0.0/24", "'acme'"):
        delete(model, "blue")
    model.terminate("web1")
    delete(model, "flat")
    modify(model, "blue", disassociate_project=True)
    delete(model, "blue")
    assert model.held.networks == {} == model.held.fixed_ips


def test_delete_is_refused_under_the_subnet_of_a_group() -> None:
    groups = [{"project": "acme", "name": "web", "subnet_size": 16}]
    model = Model(allocate(site(security_groups=groups)))
    with refused("'blue'", "security group", "'web'"):
        delete(model, "blue")


def test_found_by_label_range_or_uuid() -> None:
    model = Model()
    made = model.create(fixed_range="10.0.0.0/24", fixed_range_v6="fd00::/64")[0]
    with model.command() as ledger:
        for words in (
            {"label": "blue"},
            {"fixed_range": "10.0.0.0/24"},
            {"fixed_range": "10.0.0.77/24"},
            {"fixed_range": "FD00::/64"},
            {"identifier": made.uuid.upper()},
        ):
            assert network_commands.find(ledger, **words) == made
        for words in ({"label": "red"}, {"fixed_range": "10.0.0.0/25"}, {"identifier": str(uuid.UUID(int=7))}):
            assert network_commands.find(ledger, **words) is None
        with pytest.raises(InputError, match="fixed_range: '10' is not a range"):
            network_commands.find(ledger, fixed_range="10")
        with pytest.raises(InputError, match="'x' is not a UUID"):
            network_commands.find(ledger, identifier="x")


# --- the declaration over what commands did ---------------------------------------------------------------------------


def test_a_scrubbed_network_is_the_next_ones() -> None:
    model = Model(network_manager="vlan")
    for name in ("acme", "other"):
        model.project(name)
    model.create(**VLANS)
    model.boot("web1")
    with pytest.raises(InputError, match="'other' needs a VLAN network, but none is free"):
        model.boot("db1", "other")
    with pytest.raises(InputError, match="'acme'.*'web1'"), model.command() as ledger:
        projects.scrub(ledger, model.held.projects["acme"])
    model.terminate("web1")
    with model.command() as ledger:
        (freed,) = projects.scrub(ledger, model.held.projects["acme"])
    assert freed.label == "blue" and model.network().project is None
    model.boot("db1", "other")
    assert model.network().project == "other"


def test_a_declared_network_is_refused_to_go_while_it_is_used() -> None:
    held = allocate(site(instances=[instance("a")]))
    with refused("'blue'", "no longer declared", "'a'"):
        allocate(site(networks=[], instances=[instance("a")]), held)
    with refused("'blue'", "no longer declared", "'a'"):
        other = [{"label": "red", "fixed_range": "10.1.0.0/24"}]
        allocate(site(networks=other, instances=[instance("a", network="blue")]), held)
