"""The life of a fixed IP: held for the instance's life, given back, held back, leased, reserved, kept for somebody."""

from __future__ import annotations

import typing as t

import pytest
from a_model import Model, refused, sound
from a_site import address_of, allocate, instance, multi_host, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import fixed_ips, state

SMALL = [{"label": "blue", "fixed_range": "10.0.0.0/29"}]  # .2 to .6 are the guests'


def a_model(manager: str = "flatdhcp", **options: t.Any) -> Model:
    model = Model(network_manager=manager, **options)
    model.project("acme")
    model.create(fixed_range="10.0.0.0/29")
    return model


def states(model: Model) -> dict[str, str]:
    return {address: fixed_ips.state_of(row, model.now) for address, row in model.held.fixed_ips.items()}


def report(model: Model, *leases: tuple[str, str], host: str = "compute1", labels: t.Sequence[str] = ("blue",)) -> list:
    with model.command() as ledger:
        return fixed_ips.report(ledger, host, list(labels), [fixed_ips.Lease(*lease) for lease in leases])


def reserve(model: Model, *addresses: str, **more: t.Any) -> list[str]:
    with model.command() as ledger:
        return fixed_ips.reserve(ledger, list(addresses), **{"origin": "command", **more})


def unreserve(model: Model, *addresses: str, origin: str = "command") -> list[str]:
    with model.command() as ledger:
        return fixed_ips.unreserve(ledger, list(addresses), origin)


# --- given and given back ---------------------------------------------------------------------------------------------


def test_never_used_ones_in_order_then_the_one_unused_longest() -> None:
    model = a_model()
    for name in "abc":
        model.boot(name)
    assert [model.address(name) for name in "abc"] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    for name in "cab":
        model.now += 1
        model.terminate(name)
    for name in "defgh":
        model.boot(name)
    assert [model.address(name) for name in "defgh"] == [f"10.0.0.{n}" for n in (5, 6, 4, 2, 3)]
    with refused("'blue'", "10.0.0.0/29", "no free address", "'i'"):
        model.boot("i")


def test_by_force_an_address_is_free_at_once() -> None:
    model = a_model(force_dhcp_release=True)
    model.boot("a")
    model.terminate("a")
    assert states(model) == {"10.0.0.2": "free"}
    assert model.row("10.0.0.2").quarantined_until is None


def test_otherwise_it_is_held_back_until_the_timeout_is_over() -> None:
    model = a_model(force_dhcp_release=False, fixed_ip_disassociate_timeout=300)
    for name in "abcde":
        model.boot(name)
    held_back = model.address("c")
    model.terminate("c")
    assert states(model)[held_back] == "quarantined"
    for later in (0, 299.5):
        model.now = 1000.0 + later
        with refused("no free address"):
            model.boot("f")
        with refused(held_back, "already taken", "seconds"):
            model.boot("f", address=held_back)
    model.now = 1300.0
    assert states(model)[held_back] == "free"
    model.boot("f")
    assert model.address("f") == held_back


def test_the_default_timeout_is_novas() -> None:
    model = a_model(force_dhcp_release=False)
    model.boot("a")
    model.terminate("a")
    assert model.row("10.0.0.2").quarantined_until == 1600.0


def test_without_dhcp_an_address_is_free_at_once() -> None:
    model = a_model("flat", force_dhcp_release=False)
    model.boot("a")
    model.terminate("a")
    assert states(model) == {"10.0.0.2": "free"}


def test_an_address_of_ipv6_and_a_hosts_gateway_are_not_held_back() -> None:
    options = {"nova_force_dhcp_release": False, "nova_teardown_unused_network_gateway": True}
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/29", "fixed_range_v6": "fd00::/64"}]
    held = allocate(multi_host(settings=options, networks=networks, instances=[instance("a")]))
    (six,) = [row.address for row in held.fixed_ips.values() if row.version == 6]
    (gateway,) = [row.address for row in held.fixed_ips.values() if row.host]
    held = sound(allocate(multi_host(settings=options, networks=networks), held))
    assert {row.address for row in held.fixed_ips.values() if row.quarantined_until is None} == {six, gateway}


def test_held_back_in_a_declaration_too() -> None:
    options = {"nova_force_dhcp_release": False}
    held = allocate(site(settings=options, networks=SMALL, instances=[instance(name) for name in "abcde"]))
    names = [instance(name) for name in "abcd"]
    held = sound(allocate(site(settings=options, networks=SMALL, instances=names), held, now=2000.0))
    with refused("no free address", "'f'"):
        allocate(site(settings=options, networks=SMALL, instances=[*names, instance("f")]), held, now=2599.0)
    held = allocate(site(settings=options, networks=SMALL, instances=[*names, instance("f")]), held, now=2600.0)
    assert address_of(held, "f") == "10.0.0.6"


# --- leases -----------------------------------------------------------------------------------------------------------


def test_leases_are_recorded() -> None:
    model = a_model()
    model.boot_all([{"name": name, "project": "acme", "host": "compute1"} for name in "ab"])
    with model.command() as ledger:
        ledger.put(model.network()._replace(host="compute1"))
    mac = {name: model.held.vifs[name, "blue"].mac for name in "ab"}
    assert report(model, ("10.0.0.2", mac["a"])) == []
    assert states(model) == {"10.0.0.2": "leased", "10.0.0.3": "allocated"}
    before = model.held
    assert report(model, ("10.0.0.2", mac["a"])) == []
    assert model.held == before
    # A host that does not serve the network knows nothing of it.
    report(model, host="compute2")
    assert model.held == before
    assert report(model, ("10.0.0.3", mac["b"])) == []
    assert states(model) == {"10.0.0.2": "allocated", "10.0.0.3": "leased"}


def test_odd_leases_are_told_and_change_nothing() -> None:
    model = a_model()
    model.boot("a")
    before = model.held
    odd = report(model, ("10.0.0.5", "fa:16:3e:00:00:01"), ("10.0.0.2", "fa:16:3e:00:00:02"))
    assert len(odd) == 2
    assert "10.0.0.5" in odd[0] and "fa:16:3e:00:00:01" in odd[0]
    assert "10.0.0.2" in odd[1] and "fa:16:3e:00:00:02" in odd[1] and "a" in odd[1]
    assert model.held == before


def test_a_lease_that_is_over_ends_the_quarantine() -> None:
    model = a_model(force_dhcp_release=False)
    model.boot("a")
    with model.command() as ledger:
        ledger.put(model.network()._replace(host="compute1"))
    report(model, ("10.0.0.2", model.held.vifs["a", "blue"].mac))
    model.terminate("a")
    assert states(model) == {"10.0.0.2": "quarantined"}
    report(model, host="compute2")
    assert states(model) == {"10.0.0.2": "quarantined"}
    report(model)
    assert states(model) == {"10.0.0.2": "free"}


# --- reserved, and kept for somebody ----------------------------------------------------------------------------------


def test_reserved_addresses_go_to_nobody() -> None:
    model = a_model()
    assert reserve(model, "10.0.0.2", "10.0.0.4-10.0.0.5") == ["10.0.0.2", "10.0.0.4", "10.0.0.5"]
    assert set(states(model).values()) == {"reserved"}
    assert reserve(model, "10.0.0.4") == []
    for name in "ab":
        model.boot(name)
    assert [model.address(name) for name in "ab"] == ["10.0.0.3", "10.0.0.6"]
    with refused("10.0.0.4", "already taken", "reserved by the command"):
        model.boot("c", address="10.0.0.4")
    assert unreserve(model, "10.0.0.4", "10.0.0.6") == ["10.0.0.4"]
    assert "10.0.0.4" not in model.held.fixed_ips
    model.boot("c")
    assert model.address("c") == "10.0.0.4"


def test_who_holds_a_reserved_address_keeps_it_until_it_goes() -> None:
    model = a_model()
    model.boot("a")
    reserve(model, "10.0.0.2")
    assert (model.address("a"), states(model)) == ("10.0.0.2", {"10.0.0.2": "allocated"})
    model.terminate("a")
    assert states(model) == {"10.0.0.2": "reserved"}
    model.boot("b")
    assert model.address("b") == "10.0.0.3"
    unreserve(model, "10.0.0.2")
    # It was used, so it stays known as such.
    assert states(model)["10.0.0.2"] == "free"


def test_a_reserved_address_is_not_given_out_again_even_where_no_other_is_left() -> None:
    model = a_model()
    for name in "abcde":
        model.boot(name)
    reserve(model, "10.0.0.4")
    model.terminate("c")
    with refused("no free address"):
        model.boot("f")
    unreserve(model, "10.0.0.4")
    model.boot("f")
    assert model.address("f") == "10.0.0.4"


def test_an_address_is_kept_for_one_instance_alone() -> None:
    model = a_model()
    reserve(model, "10.0.0.2", "10.0.0.5", instance="web1")
    reserve(model, "10.0.0.4", instance="db1")
    with refused("10.0.0.5", "web1"):
        model.boot("b", address="10.0.0.5")
    model.boot("b")
    assert model.address("b") == "10.0.0.3"
    model.boot("web1")
    assert model.address("web1") == "10.0.0.2"
    model.boot("db1", address="10.0.0.4")
    model.terminate("web1")
    model.boot("c")
    assert model.address("c") == "10.0.0.6"
    model.boot("web1")
    assert model.address("web1") == "10.0.0.2"
    with refused("10.0.0.6", "'c'", "'web1'"):
        reserve(model, "10.0.0.6", instance="web1")


@pytest.mark.parametrize(
    ("addresses", "named"),
    [
        (["10.9.0.1"], ["10.9.0.1", "no network", "'blue'"]),
        (["10.0.0.1"], ["10.0.0.1", "reserved", "gateway"]),
        (["10.0.0.7"], ["10.0.0.7", "reserved"]),
        (["10.0.0.2", "here"], ["'here'", "address"]),
        (["10.0.0.4-10.0.0.2"], ["10.0.0.4-10.0.0.2"]),
        (["10.0.0.2-10.9.0.0"], ["10.0.0.2-10.9.0.0", "65536"]),
    ],
)
def test_what_cannot_be_reserved(addresses: list[str], named: list[str]) -> None:
    model = a_model()
    with refused("addresses", *named):
        reserve(model, *addresses)
    assert model.held.fixed_ips == {}


def test_addresses_of_ipv6_are_reserved_as_well() -> None:
    model = Model()
    model.project("acme")
    model.create(fixed_range_v6="fd00::/64")
    assert reserve(model, "fd00::10", "fd00::20-fd00::21") == ["fd00::10", "fd00::20", "fd00::21"]
    with refused("fd00::10", "reserved by the command"):
        model.boot("a", address="fd00::10")
    with refused("fd00::1", "gateway"):
        reserve(model, "fd00::1")
    assert unreserve(model, "fd00::20-fd00::2f") == ["fd00::20", "fd00::21"]


# --- reservations of the inventory, beside those of commands ----------------------------------------------------------


def reserving(*addresses: str, **more: t.Any) -> dict[str, t.Any]:
    return site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/29", "reserved": list(addresses)}], **more)


def kept(held: state.State) -> dict[str, str | None]:
    return {row.address: row.reserved_by for row in held.fixed_ips.values()}


def test_absence_ends_the_inventorys_reservations_alone() -> None:
    held = sound(allocate(reserving("10.0.0.2", "10.0.0.4-10.0.0.5")))
    assert kept(held) == dict.fromkeys(["10.0.0.2", "10.0.0.4", "10.0.0.5"], "inventory")
    model = Model(held)
    with refused("10.0.0.2", "reserved by the inventory"):
        unreserve(model, "10.0.0.2")
    reserve(model, "10.0.0.6")
    held = sound(allocate(reserving("10.0.0.5"), model.held))
    assert kept(held) == {"10.0.0.5": "inventory", "10.0.0.6": "command"}
    held = sound(allocate(reserving("10.0.0.5", "10.0.0.6"), held))
    assert kept(allocate(reserving(), held)) == {"10.0.0.6": "command"}


def test_reservations_among_several_networks() -> None:
    networks = {"label": "v", "fixed_range": "10.0.0.0/24", "network_size": 64}
    words = {"num_networks": 2, "reserved": ["10.0.0.9", "10.0.0.70"]}
    held = sound(allocate(site(networks=[{**networks, **words}])))
    assert {row.address: row.network for row in held.fixed_ips.values()} == {"10.0.0.9": "v_0", "10.0.0.70": "v_1"}
    with refused("reserved", "10.0.0.200"):
        allocate(site(networks=[{**networks, "num_networks": 2, "reserved": ["10.0.0.200"]}]))
    with refused("reserved", "10.0.0.70"):
        allocate(site(networks=[{**networks, "reserved": ["10.0.0.70"]}]))


def test_a_reservation_follows_the_range_to_another_network() -> None:
    blue = {"label": "blue", "fixed_range": "10.0.0.0/29"}
    held = allocate(site(networks=[{**blue, "reserved": ["10.0.0.4"]}], instances=[instance("a")]))
    held = allocate(site(networks=[{**blue, "reserved": ["10.0.0.4", "10.0.0.2"]}]), held)
    moved = [{**blue, "fixed_range": "10.1.0.0/29"}, {**blue, "label": "red", "bridge": "br7"}]
    moved[1]["reserved"] = ["10.0.0.4", "10.0.0.2"]
    held = sound(allocate(site(networks=moved), held))
    assert {row.address: row.network for row in held.fixed_ips.values()} == {"10.0.0.4": "red", "10.0.0.2": "red"}
    assert allocate(site(networks=moved), held) == held


def test_a_reserved_address_shows_its_quarantine_and_waits_for_its_end() -> None:
    model = a_model(force_dhcp_release=False, fixed_ip_disassociate_timeout=600)
    model.boot("a")
    reserve(model, "10.0.0.2")
    model.terminate("a")
    assert states(model) == {"10.0.0.2": "quarantined"}
    reserve(model, "10.0.0.2", instance="b")
    model.boot("b")
    assert model.address("b") == "10.0.0.3", "a may still be using the address that is kept for b"
    model.terminate("b")
    model.now += 601
    assert states(model)["10.0.0.2"] == "reserved"
    model.boot("b")
    assert model.address("b") == "10.0.0.2"


def test_a_lease_counts_from_the_host_that_serves_the_instance_alone() -> None:
    held = allocate(multi_host(instances=[instance("a", "compute1")]))
    model = Model(held)
    mac = held.vifs["a", "blue"].mac
    (odd,) = report(model, (address_of(held, "a"), mac), host="compute2")
    assert "compute2" in odd and "does not serve instance a" in odd
    assert report(model, (address_of(held, "a"), mac), host="compute1") == []
    assert model.row(address_of(held, "a")).leased
