"""Networks of a site's declaration: many at once, and what is there already when it is declared again."""

from __future__ import annotations

import ipaddress
import itertools
import typing as t

import pytest
from a_model import asked, derived, refused, sound
from a_site import allocate, site

VLANS = {"label": "v", "manager": "vlan", "fixed_range": "10.0.0.0/16", "network_size": 256}


def declared(*networks: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return site(networks=list(networks), **more)


def ids(held: t.Any) -> dict[str, tuple[t.Any, ...]]:
    names = ("cidr", "cidr_v6", "vlan", "bridge", "uuid", "vpn_public_port", "gateway", "gateway_v6")
    return {label: tuple(getattr(row, name) for name in names) for label, row in held.networks.items()}


def test_all_three_managers_in_one_store() -> None:
    held = sound(
        allocate(
            declared(
                {"label": "f", "manager": "flat", "fixed_range": "10.1.0.0/24", "bridge": "br0"},
                {"label": "g", "manager": "flat", "fixed_range": "10.1.1.0/24", "bridge": "br0"},
                {"label": "d", "manager": "flatdhcp", "fixed_range": "10.1.2.0/24", "bridge": "br100"},
                {**VLANS, "num_networks": 2},
            )
        )
    )
    assert {row.label: (row.manager, row.bridge) for row in held.networks.values()} == {
        "f": ("flat", "br0"),
        "g": ("flat", "br0"),
        "d": ("flatdhcp", "br100"),
        "v_0": ("vlan", "br101"),
        "v_1": ("vlan", "br102"),
    }


@pytest.mark.parametrize("size", [{}, {"network_size": 256}])
def test_who_names_a_bridge_goes_before_who_takes_any_vlan(size: dict[str, int]) -> None:
    flat = {"label": "d", "fixed_range": "10.1.0.0/24", "bridge": "br100", **size}
    free = {"label": "v", "manager": "vlan", "fixed_range": "10.2.0.0/24"}
    explicit = {"label": "w", "manager": "vlan", "fixed_range": "10.3.0.0/24", "vlan": 101}
    made = [ids(allocate(declared(*order))) for order in itertools.permutations([flat, free, explicit])]
    assert made[0]["v"][2] == 102
    assert made == made[:1] * 6


def test_what_was_derived_is_kept_and_more_are_added() -> None:
    two = allocate(declared({**VLANS, "num_networks": 2}))
    assert allocate(declared({**VLANS, "num_networks": 2}), two) == two
    # Others come between, and the range begins elsewhere now.
    other = {"label": "w", "manager": "vlan", "fixed_range": "10.0.2.0/24", "vlan": 102}
    three = sound(allocate(declared(other, {**VLANS, "num_networks": 3, "vlan_start": 50, "vpn_start": 3000}), two))
    assert {label: ids(three)[label] for label in ("v_0", "v_1")} == ids(two)
    assert (three.networks["v_2"].vlan, three.networks["v_2"].cidr) == (50, "10.0.3.0/24")
    assert three.networks["v_2"].vpn_public_port == 3000
    # Fewer: the last goes, the others stay as they are.
    fewer = sound(allocate(declared(other, {**VLANS, "num_networks": 2}), three))
    assert set(fewer.networks) == {"v_0", "v_1", "w"}
    assert ids(fewer)["v_1"] == ids(two)["v_1"]


def test_the_order_of_declaration_changes_nothing_that_is_there() -> None:
    six = {"fixed_range_v6": "fd00::/48"}
    networks = [
        {"label": "a", "manager": "vlan", "fixed_range": "10.1.0.0/24", **six},
        {"label": "b", "fixed_range": "10.2.0.0/24", "bridge": "br1", **six},
        {"label": "c", "bridge": "br50", "num_networks": 2, **six},
        {**VLANS, "num_networks": 2, **six},
        {"label": "d", "bridge": "br60", "num_networks": 2, "network_size": 64, "fixed_range": "10.3.0.0/24"},
    ]
    first = sound(allocate(declared(*networks)))
    for order in itertools.permutations(networks):
        assert allocate(declared(*order), first) == first
    # Nor does a new one that is declared before all others.
    new = {"label": "0", "bridge": "br9", **six}
    second = sound(allocate(declared(new, *networks), first))
    assert {label: row for label, row in ids(second).items() if label != "0"} == ids(first)


def test_exchanged_ranges_and_vlans() -> None:
    """What is asked for exactly may be exchanged, as long as nobody is on it."""
    one = {"label": "a", "manager": "vlan", "fixed_range": "10.1.0.0/24", "vlan": 7}
    two = {"label": "b", "manager": "vlan", "fixed_range": "10.2.0.0/24", "vlan": 8}
    held = allocate(declared(one, two))
    turned = sound(
        allocate(
            declared(
                {**one, "vlan": 8, "fixed_range": "10.2.0.0/24"}, {**two, "vlan": 7, "fixed_range": "10.1.0.0/24"}
            ),
            held,
        )
    )
    assert [(row.vlan, row.cidr) for row in turned.networks.values()] == [(8, "10.2.0.0/24"), (7, "10.1.0.0/24")]


def test_one_that_does_not_fit_refuses_all() -> None:
    with refused("10.0.0.0/16", "room for 256", "300"):
        allocate(declared({"label": "a", "fixed_range": "10.1.0.0/24"}, {**VLANS, "num_networks": 300}))


def test_ranges_never_overlap() -> None:
    made = derived(fixed_range="10.0.0.0/16", num_networks=20, network_size=1024)
    parsed = [ipaddress.ip_network(row.cidr) for row in made]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(parsed, 2))


def test_several_labels_are_refused_where_one_is_declared_elsewhere() -> None:
    with refused("'v_1'", "twice"):
        allocate(declared({**VLANS, "num_networks": 2}, {"label": "v_1", "fixed_range": "10.1.0.0/24"}))


def test_the_labels_of_a_request() -> None:
    assert asked(label="x", fixed_range_v6="fd00::/48").labels == ["x"]
    assert asked(label="x", fixed_range_v6="fd00::/48", num_networks=2).labels == ["x_0", "x_1"]
