"""Who gets which address, and keeps it."""

from __future__ import annotations

import random

import pytest
from a_site import address_of, allocate, instance, multi_host, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st


def test_addresses_come_in_order_above_the_reserved_ones() -> None:
    held = allocate(site(instances=[instance("a"), instance("b")]))
    # nova reserved the network, the gateway and the broadcast address.
    assert [address_of(held, name) for name in "ab"] == ["10.0.0.2", "10.0.0.3"]


def test_derived_fields_of_a_network() -> None:
    network = allocate(site()).networks["blue"]
    assert (network.gateway, network.dhcp_server, network.dhcp_start) == ("10.0.0.1", "10.0.0.1", "10.0.0.2")
    assert network.host == "net1"


def test_a_gateway_elsewhere_and_a_dhcp_server_are_reserved_too() -> None:
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/29", "gateway": "10.0.0.6", "dhcp_server": "10.0.0.2"}]
    held = allocate(site(networks=networks, instances=[instance("a"), instance("b"), instance("c")]))
    assert [address_of(held, name) for name in "abc"] == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]
    # The first address stays reserved although nobody has it; the range starts there, as nova's did.
    assert held.networks["blue"].dhcp_start == "10.0.0.1"


def test_an_address_is_kept_whatever_comes_and_goes_around_it() -> None:
    first = allocate(site(instances=[instance("a"), instance("b"), instance("c")]))
    second = allocate(site(instances=[instance("new"), instance("c"), instance("b", "compute2")]), first)
    for name in "bc":
        assert address_of(second, name) == address_of(first, name)
        assert second.vifs[(name, "blue")].mac == first.vifs[(name, "blue")].mac


def test_an_address_given_back_is_the_last_to_be_given_out() -> None:
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/29"}]
    held = allocate(site(networks=networks, instances=[instance("a"), instance("b")]))
    held = allocate(site(networks=networks, instances=[instance("b")]), held, now=1.0)
    held = allocate(site(networks=networks, instances=[]), held, now=2.0)
    names = ["c", "d", "e", "f", "g"]
    held = allocate(site(networks=networks, instances=[instance(name) for name in names]), held, now=3.0)
    # Never used: .4 to .6; then a's .2, given back before b's .3.
    assert [address_of(held, name) for name in names] == [f"10.0.0.{n}" for n in (4, 5, 6, 2, 3)]


def test_an_address_asked_for_goes_before_the_free_ones() -> None:
    held = allocate(site(instances=[instance("a"), instance("b", address="10.0.0.2")]))
    assert (address_of(held, "a"), address_of(held, "b")) == ("10.0.0.3", "10.0.0.2")


def test_an_address_of_somebody_else_is_refused() -> None:
    held = allocate(site(instances=[instance("a")]))
    with pytest.raises(InputError, match="'b'.*10.0.0.2 is already taken.*'a'"):
        allocate(site(instances=[instance("a"), instance("b", address="10.0.0.2")]), held)


def test_two_instances_may_exchange_their_addresses() -> None:
    held = allocate(site(instances=[instance("a", address="10.0.0.5"), instance("b", address="10.0.0.6")]))
    held = allocate(site(instances=[instance("a", address="10.0.0.6"), instance("b", address="10.0.0.5")]), held)
    assert (address_of(held, "a"), address_of(held, "b")) == ("10.0.0.6", "10.0.0.5")


def test_a_range_that_would_leave_out_a_holder_is_refused() -> None:
    held = allocate(site(instances=[instance("a", address="10.0.0.200")]))
    with pytest.raises(InputError, match="10.0.0.0/25 would leave out 10.0.0.200.*'a'"):
        allocate(site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/25"}], instances=[instance("a")]), held)


def test_a_range_may_grow_around_its_holders() -> None:
    held = allocate(site(instances=[instance("a")]))
    grown = allocate(site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/16"}], instances=[instance("a")]), held)
    assert address_of(grown, "a") == address_of(held, "a")


def test_a_gateway_on_an_address_that_is_held_is_refused() -> None:
    held = allocate(site(instances=[instance("a")]))
    moved = [{"label": "blue", "fixed_range": "10.0.0.0/24", "gateway": "10.0.0.2"}]
    with pytest.raises(InputError, match="10.0.0.2 would become reserved.*'a'"):
        allocate(site(networks=moved, instances=[instance("a")]), held)


def test_a_mac_that_another_instance_derived_is_refused() -> None:
    held = allocate(site(instances=[instance("a")]))
    mac = held.vifs[("a", "blue")].mac
    with pytest.raises(InputError, match=f"{mac} is already that of instance 'a'"):
        allocate(site(instances=[instance("a"), instance("b", mac=mac)]), held)


def test_derived_macs_are_unicast_and_novas() -> None:
    held = allocate(site(instances=[instance(f"i{n}") for n in range(200)]))
    macs = [vif.mac for vif in held.vifs.values()]
    assert len(set(macs)) == 200
    assert all(mac.startswith("fa:16:3e:") and addressing.mac(mac, "x") == mac for mac in macs)


def test_a_derived_mac_that_is_taken_is_derived_again() -> None:
    taken = addressing.stable_mac("blue/a", ())
    held = allocate(site(instances=[instance("z", mac=taken), instance("a")]))
    assert held.vifs[("z", "blue")].mac == taken != held.vifs[("a", "blue")].mac


def test_the_network_host_stays_as_long_as_it_can() -> None:
    nodes = {"nodes": ["bridging", "addressing", "routing"], "nova_public_interface": "eth2"}
    held = allocate(site(hosts={"b": nodes}))
    assert allocate(site(hosts={"a": nodes, "b": nodes}), held).networks["blue"].host == "b"
    assert allocate(site(hosts={"a": nodes}), held).networks["blue"].host == "a"


def test_in_multi_host_each_host_with_a_guest_takes_an_address() -> None:
    held = allocate(multi_host(instances=[instance("a"), instance("b", "compute2")]))
    gateways = {row.host: row.address for row in held.fixed_ips.values() if row.host}
    assert gateways == {"compute1": "10.0.0.2", "compute2": "10.0.0.3"}
    assert address_of(held, "a") == "10.0.0.4"


def test_a_hosts_gateway_is_kept_unless_torn_down() -> None:
    held = allocate(multi_host(instances=[instance("a"), instance("b", "compute2")]))
    fewer = multi_host(instances=[instance("a")])
    assert {row.host for row in allocate(fewer, held).fixed_ips.values()} >= {"compute1", "compute2"}
    fewer["settings"]["nova_teardown_unused_network_gateway"] = True
    assert "compute2" not in {row.host for row in allocate(fewer, held).fixed_ips.values()}


def test_the_gateway_of_a_host_is_refused_to_an_instance() -> None:
    held = allocate(multi_host(instances=[instance("a")]))
    with pytest.raises(InputError, match="10.0.0.2 is already taken: host 'compute1'"):
        allocate(multi_host(instances=[instance("a"), instance("b", address="10.0.0.2")]), held)


def test_an_instance_that_no_floating_ip_can_lead_to_goes_without() -> None:
    networks = [
        {"label": "blue", "fixed_range": "10.0.0.0/24"},
        {"label": "plain", "manager": "flat", "fixed_range": "10.1.0.0/24", "bridge": "br-ops", "priority": 1},
    ]
    guests = [instance("a", network="plain"), instance("b", networks=["plain", "blue"])]
    declared = site(networks=networks, instances=guests, floating_ranges=["192.0.2.1-192.0.2.9"])
    declared["settings"]["nova_auto_assign_floating_ip"] = True
    led = {row.address: row.fixed_address for row in allocate(declared).floating_ips.values() if row.fixed_address}
    assert led == {"192.0.2.1": "10.0.0.2"}


def test_instances_with_ipv6_have_ipv6_floating_ips_by_themselves() -> None:
    networks = [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "fixed_range_v6": "fd00::/64"},
        {"label": "red", "fixed_range": "10.1.0.0/24", "bridge": "br101"},
    ]
    guests = [instance("a", network="blue"), instance("b", network="red")]
    declared = site(networks=networks, instances=guests, floating_ranges=["2001:db8:5::/120"])
    declared["settings"]["nova_auto_assign_floating_ip"] = True
    held = allocate(declared)
    led = {row.address: held.fixed_ips[row.fixed_address] for row in held.floating_ips.values() if row.fixed_address}
    assert {address: (row.instance, row.version) for address, row in led.items()} == {"2001:db8:5::1": ("a", 6)}
    assert allocate(declared, held) == held


def test_nothing_declared_anew_is_no_change() -> None:
    declared = multi_host(instances=[instance("a"), instance("b", address="10.0.0.9")])
    held = allocate(declared)
    assert state.difference(held, allocate(declared, held, now=99.0)) == {}


NAMES = [f"i{n}" for n in range(8)]
REQUESTS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(["compute1", "compute2"]), st.sampled_from([None, None, "10.0.0.4", "10.0.0.5"])),
    max_size=8,
)


@given(st.lists(REQUESTS, max_size=6), st.booleans(), st.integers())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_and_goes_no_address_is_held_twice_or_lost(
    steps: list[dict[str, tuple[str, str | None]]], multi: bool, seed: int
) -> None:
    """Any sequence of declarations: each wanted NIC holds one address of its network, and who stays keeps it."""
    held = state.empty()
    networks = [{"label": "blue", "fixed_range": "10.0.0.0/28"}]
    for now, step in enumerate(steps):
        wanted = [instance(name, host, address=address) for name, (host, address) in step.items()]
        random.Random(seed).shuffle(wanted)
        declared = (multi_host if multi else site)(networks=networks, instances=wanted)
        try:
            after = allocate(declared, held, float(now))
        except InputError:
            continue  # refused whole: the state is as it was
        subnet = after.networks["blue"].range
        owners = [(row.instance, row.host) for row in after.fixed_ips.values() if row.released_at is None]
        assert len(owners) == len(set(owners))
        assert {owner for owner, _host in owners if owner} == set(step)
        for address, row in after.fixed_ips.items():
            assert subnet.first + 1 < addressing.number(address) < subnet.last
            assert address == row.address
        for name in set(step) & set(held.instances):
            if step[name][1] is None:
                assert address_of(after, name) == address_of(held, name)
            else:
                assert address_of(after, name) == step[name][1]
        # Every address that was ever given out is still known.
        assert set(held.fixed_ips) <= set(after.fixed_ips)
        assert state.difference(after, allocate(declared, after, now + 0.5)) == {}
        held = after
