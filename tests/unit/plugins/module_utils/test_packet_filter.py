# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's section: what is refused, and what it means."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.packet_filter import (
    FloatingIp,
    Forwarding,
    Hairpin,
    Metadata,
    PortForward,
    Translation,
    Untranslated,
)


def network(**fields):
    whole = {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True}
    return {**whole, **fields}


def section(*networks, **fields):
    whole = {"public_interface": "eth2", "routing_source_ip": "192.0.2.9", "dmz_cidr": [], "force_snat_range": []}
    return {**whole, "networks": list(networks), **fields}


def flat(**keys):
    return routed(flat_metadata={"host": None, "port": 8775, "networks": [], **keys})


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
    (section(network(uplinks="eth1")), r"networks\[0\].uplinks: 'eth1' is not a list"),
    (section(network(uplinks=["a b"])), r"networks\[0\].uplinks\[0\]"),
    (
        section(network(uplinks=["eth1"]), network(**RED, uplinks=["eth4", "eth1"])),
        r"networks\[1\].uplinks\[1\]: 'eth1' is in bridge 'br100' already",
    ),
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


def floating(**fields):
    return {"address": "203.0.113.7", "fixed_address": "10.0.0.5", **fields}


def forward(**fields):
    whole = {"address": "203.0.113.7", "protocol": "tcp", "ports": "80", "fixed_address": "10.0.0.5"}
    return {**whole, **fields}


def routed(**fields):
    return section(network(), **fields)


REFUSED += [
    (routed(floating_ips={}), "packet_filter.floating_ips: {} is not a list"),
    (routed(floating_ips=[floating(), floating(colour="red")]), r"floating_ips\[1\]: unknown key 'colour'"),
    (routed(floating_ips=[floating(address=None)]), r"floating_ips\[0\].address is required"),
    (
        routed(floating_ips=[floating(address="2001:db8::7")]),
        r"floating_ips\[0\].fixed_address: 2001:db8::7 cannot lead to 10.0.0.5: IPv4 goes to IPv4 and IPv6 to IPv6",
    ),
    (routed(floating_ips=[floating(fixed_address="fd00::5")]), r"floating_ips\[0\].fixed_address: .*one version"),
    (routed(port_forwards=[forward(fixed_address="fd00::5")]), r"port_forwards\[0\].fixed_address: .*one version"),
    (routed(floating_ips=[floating(address="fe80::7")]), "'fe80::7' is not the address of a host"),
    (
        routed(floating_ips=[floating(address="2001:db8::7", fixed_address="fd00::5")]),
        "'fd00::5' is in no network of this host",
    ),
    (
        routed(
            floating_ips=[
                floating(address="2001:db8::7", fixed_address="fd00::5", bridge="br0", fixed_cidr="10.0.0.0/24")
            ]
        ),
        r"floating_ips\[0\].fixed_cidr: '10.0.0.0/24' is not an IPv6 range",
    ),
    (
        routed(
            floating_ips=[floating(bridge="br100", fixed_cidr="10.0.0.0/24")]
            + [floating(address="2001:db8::7", fixed_address="fd00::5", bridge="br100", fixed_cidr="10.0.0.0/24")]
        ),
        r"floating_ips\[1\].fixed_address: 'fd00::5' is not in fixed_cidr 10.0.0.0/24",
    ),
    (section(network(cidr=None)), r"networks\[0\].cidr is required, or cidr_v6"),
    (section(network(cidr=None, cidr_v6="fd00::/64")), r"networks\[0\].snat: only IPv4 is source-translated"),
    (section(network(cidr_v6="fd00::1/64")), r"networks\[0\].cidr_v6: .* did you mean 'fd00::/64'"),
    (section(network(cidr_v6="10.0.0.0/24")), r"networks\[0\].cidr_v6: '10.0.0.0/24' is not an IPv6 range"),
    (section(network(cidr_v6="::/0")), "'::/0' is every address there is"),
    (
        section(network(cidr_v6="fd00::/48"), network(cidr="10.9.0.0/24", cidr_v6="fd00:0:0:1::/64")),
        r"networks\[1\].cidr_v6: network 'blue' fd00:0:0:1::/64 overlaps network 'blue' fd00::/48",
    ),
    (routed(floating_ips=[floating(address="203.0.113.7/32")]), r"floating_ips\[0\].address: '203.0.113.7/32'"),
    (routed(floating_ips=[floating(address="0.1.2.3")]), "'0.1.2.3' is not the address of a host"),
    (routed(floating_ips=[floating(address="127.0.0.1")]), "'127.0.0.1' is not the address of a host"),
    (routed(floating_ips=[floating(address="224.0.0.1")]), "'224.0.0.1' is not the address of a host"),
    (
        routed(floating_ips=[floating(), floating(fixed_address="10.0.0.6")]),
        r"floating_ips\[1\].address: '203.0.113.7' already leads to 10.0.0.5",
    ),
    (routed(floating_ips=[floating(fixed_address="10.0.1.5")]), "'10.0.1.5' is in no network of this host"),
    (
        routed(floating_ips=[floating(fixed_address="10.9.0.5", fixed_cidr="10.9.0.0/24")]),
        "'10.9.0.5' is in no network of this host",
    ),
    (routed(floating_ips=[floating(fixed_cidr="10.0.0.0/30")]), "'10.0.0.5' is not in fixed_cidr 10.0.0.0/30"),
    (routed(floating_ips=[floating(fixed_cidr="10.0.0.5/24")]), r"fixed_cidr: .* did you mean '10.0.0.0/24'"),
    (routed(floating_ips=[floating(bridge="br 0")]), r"floating_ips\[0\].bridge: 'br 0'"),
    (routed(floating_ips=[floating(interface="eth2+")]), r"floating_ips\[0\].interface: 'eth2\+' cannot stand in"),
    (
        section(network(snat=False), public_interface=None, floating_ips=[floating()]),
        r"floating_ips\[0\].interface: floating IP 203.0.113.7 needs .*nova_public_interface",
    ),
    (
        routed(
            floating_ips=[floating(address=f"203.0.113.{number}", interface=f"eth{number}") for number in range(1, 102)]
        ),
        "floating_ips: 100 interfaces are named beside the public one; at most 99",
    ),
    (routed(port_forwards=[forward(protocol="icmp")]), r"port_forwards\[0\].protocol: 'icmp' has no ports"),
    (routed(port_forwards=[forward(ports="0")]), r"port_forwards\[0\].ports: '0' is neither a port"),
    (routed(port_forwards=[forward(ports="80-90")]), "ports: '80-90' is neither a port"),
    (routed(port_forwards=[forward(ports="90:80")]), "ports: '90:80' is neither a port"),
    (routed(port_forwards=[forward(ports="65530:65536")]), "ports: '65530:65536' is neither a port"),
    (routed(port_forwards=[forward(ports=True)]), "ports: True is neither a port"),
    (routed(port_forwards=[forward(ports=None)]), "ports is required"),
    (
        routed(port_forwards=[forward(ports="80:90", fixed_port=65530)]),
        "11 ports go past 65535; begin with at most 65525",
    ),
    (routed(port_forwards=[forward(fixed_port=0)]), "fixed_port: 0 is not from 1 to 65535"),
    (routed(port_forwards=[forward(fixed_address="10.0.1.1")]), r"port_forwards\[0\].fixed_address: .*in no network"),
    (
        routed(port_forwards=[forward(ports="80:90"), forward(protocol="udp"), forward(ports="90")]),
        r"port_forwards\[2\].ports: tcp 90 of 203.0.113.7 overlaps 80:90 of packet_filter.port_forwards\[0\]",
    ),
    (routed(metadata="192.0.2.5"), "packet_filter.metadata: '192.0.2.5' is not a mapping"),
    (routed(metadata={"host": "meta", "port": 8775}), "metadata.host: 'meta' is not an IPv4"),
    (routed(metadata={"host": None, "port": 0}), "metadata.port: 0"),
    (routed(metadata={"host": "169.254.169.254", "port": 80}), "is what guests ask"),
    (routed(metadata={"host": None, "port": 80, "elsewhere": ["a b"]}), r"metadata.elsewhere\[0\]: 'a b'"),
    (routed(flat_metadata=["192.0.2.5"]), r"packet_filter.flat_metadata: \['192.0.2.5'\] is not a mapping"),
    (flat(host="169.254.169.254"), "flat_metadata.host: '169.254.169.254' is what guests ask"),
    (flat(port=65536), "flat_metadata.port: 65536"),
    (flat(networks="br100"), "flat_metadata.networks: 'br100'"),
    (flat(networks=[{"bridge": 'b"', "cidr": "10.0.9.0/24", "ports": []}]), "networks.0..bridge: .* cannot stand in"),
    (flat(networks=[{"bridge": "b", "cidr": "10.0.9.1/24", "ports": []}]), "did you mean '10.0.9.0/24'"),
    (flat(networks=[{"bridge": "b", "cidr": "fd00::/64", "ports": []}]), "is not an IPv4 range"),
    (flat(networks=[{"bridge": "b", "cidr": "10.0.9.0/24", "ports": ["t", "t"]}]), r"ports\[1\]: 't' is that of"),
    (flat(networks=[{"bridge": "b", "cidr": "10.0.9.0/24", "ports": ["t u"]}]), r"ports\[0\]: 't u'"),
    (
        flat(
            networks=[
                {"bridge": b, "cidr": cidr, "ports": []} for b, cidr in (("b", "10.0.9.0/24"), ("c", "10.0.8.0/21"))
            ]
        ),
        r"networks\[1\].cidr: 10.0.8.0/21 overlaps 10.0.9.0/24 of networks\[0\]",
    ),
    (flat(networks=[{"bridge": "b", "ports": []}]), "cidr is required"),
    (flat(elsewhere=[]), "unknown key 'elsewhere'"),
    (routed(metadata={"host": "0.0.0.0", "port": 80}), "metadata.host: '0.0.0.0' is not the address of a host"),
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
        section(network(uplinks=["eth1"]), network(**{**RED, "bridge": "br100"}, uplinks=["eth1"])),
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


def test_what_a_floating_ip_means():
    plan = routed(floating_ips=[floating(), floating(address="203.0.113.8", interface="eth3", bridge="br7")])
    meaning = intent(plan)
    assert meaning.floating_ips == (
        FloatingIp("203.0.113.7", "10.0.0.5", "eth2"),
        FloatingIp("203.0.113.8", "10.0.0.5", "eth3"),
    )
    assert meaning.hairpins == (Hairpin("10.0.0.0/24", "br100"), Hairpin("10.0.0.0/24", "br7"))


def test_a_floating_ip_may_name_a_network_that_is_not_listed():
    plan = routed(floating_ips=[floating(fixed_address="10.9.0.5", fixed_cidr="10.9.0.0/24", bridge="br9")])
    assert intent(plan).hairpins == (Hairpin("10.9.0.0/24", "br9"),)


@pytest.mark.parametrize("fields", [{"routing_source_ip": "203.0.113.7"}, {"routing_source_ip": None}])
def test_the_hosts_own_address_is_no_floating_ip(fields):
    plan = routed(floating_ips=[floating(address="203.0.113.9"), floating()], **fields)
    with pytest.raises(InputError, match=r"floating_ips\[1\].address: '203.0.113.7' is the host's own address"):
        intent(plan, own="203.0.113.7")
    assert intent(routed(port_forwards=[forward()], **fields), own="203.0.113.7").port_forwards


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        (forward(), ("tcp", 80, 80, 80)),
        (forward(ports=80, fixed_port="8080"), ("tcp", 80, 80, 8080)),
        (forward(ports="8000:8010", protocol="udp"), ("udp", 8000, 8010, 8000)),
        (forward(ports="1:65535", fixed_port=1), ("tcp", 1, 65535, 1)),
    ],
)
def test_what_a_port_forward_means(entry, meant):
    meaning = intent(routed(port_forwards=[entry]))
    protocol, first, last, to_first = meant
    assert meaning.port_forwards == (PortForward("203.0.113.7", protocol, first, last, "10.0.0.5", to_first),)
    assert meaning.hairpins == (Hairpin("10.0.0.0/24", "br100"),)


def test_a_port_of_another_address_or_protocol_is_another_port():
    packet_filter.parse(
        routed(port_forwards=[forward(), forward(protocol="udp"), forward(address="203.0.113.8"), forward(ports="81")])
    )


def test_metadata_elsewhere_is_asked_with_the_guests_own_address():
    plan = section(network(), network(**RED), dmz_cidr=["10.128.0.0/24"], metadata={"host": "192.0.2.50", "port": 8775})
    meaning = intent(plan)
    assert meaning.metadata == Metadata("192.0.2.50", 8775)
    for cidr in ("10.0.0.0/24", "10.0.1.0/24"):
        assert Untranslated(cidr, "192.0.2.50/32", inside=False) in meaning.untranslated


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_metadata_here_needs_no_exception(host):
    meaning = intent(routed(metadata={"host": host, "port": 80}))
    assert meaning.metadata == Metadata(None, 80)
    assert meaning.untranslated == intent(routed()).untranslated


def test_no_network_means_nothing():
    assert intent(section()).empty
    assert not intent(section(network(gateway=False, dhcp=False, snat=False))).empty
