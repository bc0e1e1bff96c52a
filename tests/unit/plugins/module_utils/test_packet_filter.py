# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's section: what is refused, and what it means."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.packet_filter import (
    Forwarding,
    Translation,
    Untranslated,
)


def network(**fields):
    whole = {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True}
    return {**whole, **fields}


def section(*networks, **fields):
    whole = {"public_interface": "eth2", "routing_source_ip": "192.0.2.9", "dmz_cidr": [], "force_snat_range": []}
    return {**whole, "networks": list(networks), **fields}


RED = {"label": "red", "bridge": "br101", "cidr": "10.0.1.0/24"}

REFUSED = [
    (None, "packet_filter: None is not a mapping"),
    ([], r"packet_filter: \[\] is not a mapping"),
    ({}, "packet_filter.networks is required"),
    (section(colour="red"), "packet_filter: unknown key 'colour'"),
    (section(networks="br100"), "packet_filter.networks: 'br100' is not a list"),
    (section("br100"), r"packet_filter.networks\[0\]: 'br100' is not a mapping"),
    (section(network(colour="red")), r"packet_filter.networks\[0\]: unknown key 'colour'"),
    (section({"label": "blue"}), r"packet_filter.networks\[0\].bridge is required"),
    (section(network(label="")), r"networks\[0\].label: ''"),
    (section(network(label=7)), r"networks\[0\].label: 7"),
    (section(network(cidr="10.0.0.0/33")), r"networks\[0\].cidr: '10.0.0.0/33' is not an IPv4 range"),
    (section(network(cidr="10.0.0.5/24")), "did you mean '10.0.0.0/24'"),
    (section(network(cidr="fd00::/64")), "'fd00::/64' is not an IPv4 range"),
    (section(network(cidr=10)), r"cidr: 10 is not an IPv4 range"),
    (section(network(cidr="0.0.0.0/0")), "every address there is"),
    (section(network(cidr="10.0.0.0/24 -j ACCEPT")), "is not an IPv4 range"),
    (section(network(bridge="br100 -j ACCEPT")), r"networks\[0\].bridge"),
    (section(network(bridge="br\n-F")), r"networks\[0\].bridge"),
    (section(network(bridge="a-name-of-16-chr")), "at most 15"),
    (section(network(bridge="br+")), "cannot stand in a packet filter rule"),
    (section(network(bridge="!br0")), "cannot stand in a packet filter rule"),
    (section(network(bridge="-br0")), "cannot stand in a packet filter rule"),
    (section(network(bridge="br'0")), "cannot stand in a packet filter rule"),
    (section(network(bridge="br\x00")), "cannot stand in a packet filter rule"),
    (section(network(bridge="brücke")), "cannot stand in a packet filter rule"),
    (section(network(bridge=None)), r"networks\[0\].bridge is required"),
    (section(network(gateway="yes")), r"networks\[0\].gateway: 'yes' is neither true nor false"),
    (section(network(dhcp=1)), r"networks\[0\].dhcp: 1 is neither true nor false"),
    (section(network(snat=None)), r"networks\[0\].snat: None"),
    (section(public_interface="eth 2"), "packet_filter.public_interface"),
    (section(public_interface=["eth2"]), "packet_filter.public_interface"),
    (
        section(network(), public_interface=None),
        "packet_filter.public_interface: network 'blue'.*nova_public_interface",
    ),
    (section(network(), public_interface=None, routing_source_ip=None), "packet_filter.public_interface"),
    (section(routing_source_ip="192.0.2"), "packet_filter.routing_source_ip: '192.0.2'"),
    (section(routing_source_ip="fd00::1"), "packet_filter.routing_source_ip"),
    (section(routing_source_ip="0.0.0.0"), "packet_filter.routing_source_ip"),
    (section(routing_source_ip="224.0.0.1"), "packet_filter.routing_source_ip"),
    (section(routing_source_ip="255.255.255.255"), "packet_filter.routing_source_ip"),
    (section(routing_source_ip=3221225985), "packet_filter.routing_source_ip"),
    (section(routing_source_ip="192.0.2.1:80"), "packet_filter.routing_source_ip"),
    (section(dmz_cidr="10.0.0.0/8"), "packet_filter.dmz_cidr: '10.0.0.0/8' is not a list"),
    (section(dmz_cidr=["10.0.0.0/8", "x"]), r"packet_filter.dmz_cidr\[1\]: 'x'"),
    (section(force_snat_range=["10.0.0.1/8"]), r"force_snat_range\[0\]: .*did you mean '10.0.0.0/8'"),
    (
        section(network(cidr="10.0.2.0/24"), network(**{**RED, "cidr": "10.0.0.0/22"})),
        r"networks\[1\].cidr: network 'red' 10.0.0.0/22 overlaps network 'blue' 10.0.2.0/24",
    ),
    (section(network(), network(**{**RED, "cidr": "10.0.0.0/24"})), "overlaps network 'blue'"),
    (section(network(), network(**{**RED, "cidr": "10.0.0.255/32"})), "overlaps network 'blue'"),
    (
        section(network(), network(**{**RED, "bridge": "br100"}, gateway=False)),
        r"networks\[1\].gateway: networks 'blue' and 'red' share bridge 'br100'",
    ),
]


@pytest.mark.parametrize(("plan", "message"), REFUSED)
def test_a_mistake_is_named_by_its_path(plan, message):
    with pytest.raises(InputError, match=message):
        packet_filter.parse(plan)


@pytest.mark.parametrize(
    "plan",
    [
        section(),
        {"networks": []},
        section(network(), public_interface=None, routing_source_ip=""),
        section(network(snat=False), public_interface=None),
        section(network(), network(**{**RED, "bridge": "br100"})),
        section(network(bridge="vm-br.1@x+y")),
        section(network(), public_interface="br100"),
    ],
)
def test_what_is_allowed(plan):
    packet_filter.parse(plan)


def test_values_are_brought_to_one_spelling():
    plan = section(network(cidr="10.0.0.0/255.255.255.0"), dmz_cidr=["10.128.0.1", "10.128.0.1/32", "10.9.0.0/16"])
    parsed = packet_filter.parse(plan)
    assert parsed.networks[0].cidr == "10.0.0.0/24"
    assert parsed.dmz_cidr == ("10.128.0.1/32", "10.9.0.0/16")


def intent(plan, own=None):
    return packet_filter.intent(packet_filter.parse(plan), own)


def test_what_a_network_means():
    meaning = intent(section(network(), dmz_cidr=["10.128.0.0/24"]))
    assert meaning.translations == (Translation("10.0.0.0/24", None, "192.0.2.9", "eth2"),)
    assert meaning.untranslated == (
        Untranslated("10.0.0.0/24", "10.128.0.0/24", inside=False),
        Untranslated("10.0.0.0/24", "10.0.0.0/24", inside=True),
    )
    assert meaning.forwarding == (Forwarding("br100", True),)
    assert meaning.services == ("br100",)
    assert meaning.labels == {"br100": "blue", "10.0.0.0/24": "blue"}


def test_a_forced_range_concerns_networks_that_another_router_leads_out_of():
    plan = section(network(), network(**RED, snat=False), force_snat_range=["198.51.100.0/24"])
    assert intent(plan).translations == (
        Translation("10.0.0.0/24", None, "192.0.2.9", "eth2"),
        Translation("10.0.1.0/24", "198.51.100.0/24", "192.0.2.9", None),
    )


@pytest.mark.parametrize("force", [[], ["198.51.100.0/24"]])
def test_no_source_no_translation(force):
    plan = section(
        network(), network(**RED, snat=False), routing_source_ip="", public_interface=None, force_snat_range=force
    )
    assert intent(plan).translations == ()


@pytest.mark.parametrize(
    ("plan", "needed"),
    [
        (section(network(), routing_source_ip=None), True),
        (section(network(snat=False), routing_source_ip=None), False),
        (section(network(snat=False), routing_source_ip=None, force_snat_range=["198.51.100.0/24"]), True),
        (section(routing_source_ip=None), False),
        (section(network()), False),
        (section(network(), routing_source_ip=""), False),
    ],
)
def test_the_own_address_is_asked_for_only_where_it_is_used(plan, needed):
    assert packet_filter.needs_own_address(packet_filter.parse(plan)) is needed


def test_the_own_address_stands_in():
    assert intent(section(network(), routing_source_ip=None), "203.0.113.5").translations[0].to == "203.0.113.5"


def test_networks_of_one_bridge_share_what_the_bridge_gets():
    meaning = intent(section(network(), network(**{**RED, "bridge": "br100"})))
    assert meaning.forwarding == (Forwarding("br100", True),)
    assert meaning.services == ("br100",)
    assert meaning.labels["br100"] == "blue, red"
    assert len(meaning.translations) == 2


def test_no_network_means_nothing():
    assert intent(section()).empty
    assert not intent(section(network(gateway=False, dhcp=False, snat=False))).empty
