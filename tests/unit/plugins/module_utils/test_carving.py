"""Carving: the subnets that `network create` would have made."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, carving
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def carve(whole: str, num: int = 1, size: int | None = None, used: tuple[str, ...] = ()) -> list[str]:
    taken = carving.Taken(addressing.network(cidr, "used") for cidr in used)
    return [found.cidr for found in carving.carve(addressing.network(whole, "range"), num, size, taken)]


def test_networks_come_in_order_from_the_start() -> None:
    assert carve("10.0.0.0/16", 3, 256) == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]


def test_without_a_size_the_whole_range_is_one_network() -> None:
    assert carve("10.0.0.0/16") == ["10.0.0.0/16"]


def test_a_network_in_use_is_replaced_by_one_above_at_the_end() -> None:
    assert carve("10.0.0.0/16", 3, 256, ("10.0.1.0/24",)) == ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]


def test_a_smaller_network_in_use_takes_the_candidate_that_holds_it() -> None:
    assert carve("10.0.0.0/16", 2, 256, ("10.0.0.64/28",)) == ["10.0.1.0/24", "10.0.2.0/24"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("10.0.0.0/24", 2), "network_size is required"),
        (("10.0.0.0/24", 2, 256), "10.0.0.0/24 has room for 1 networks of size /24, but 2"),
        (("10.0.0.0/24", 1, 200), "network_size 200.*power of two.*256"),
        (("10.0.0.0/24", 1, 2), "network_size 2 .*from 4 on, such as 4"),
        (("10.0.0.0/24", 1, 0), "network_size 0"),
        (("10.0.0.0/24", 1, 64, ("10.0.0.0/16",)), "10.0.0.0/26 lies inside 10.0.0.0/16"),
        (("10.0.0.0/24", 4, 64, ("10.0.0.0/26",)), "no room left for 1 more network of size /26"),
    ],
)
def test_what_cannot_be_carved(arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        carve(*arguments)


@given(st.integers(16, 28), st.integers(1, 30), st.integers(2, 8), st.sets(st.integers(0, 255), max_size=6))
def test_what_is_carved_is_free_inside_and_apart(prefix: int, num: int, bits: int, blocks: set[int]) -> None:
    whole = ipaddress.ip_network(f"10.0.0.0/{prefix}")
    used = [ipaddress.ip_network((int(whole[0]) + block * 16, 28)) for block in blocks]
    try:
        carved = [ipaddress.ip_network(cidr) for cidr in carve(str(whole), num, 1 << bits, tuple(map(str, used)))]
    except InputError:
        return
    assert len(carved) == num
    assert all(network.subnet_of(whole) and network.num_addresses == 1 << bits for network in carved)
    everything = carved + used
    for index, network in enumerate(everything):
        others = everything[index + 1 :] if index < num else []
        assert not any(network.overlaps(other) for other in others)
