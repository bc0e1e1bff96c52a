"""The dnsmasq section of a plan: what is refused, and what the files say."""

from __future__ import annotations

import re

import pytest
from a_dnsmasq import ALONE, DUAL, FULL, IPV4, OPTIONAL, item, parsed, rendered
from ansible_collections.tenantnet.nova.plugins.module_utils._core import dnsmasq as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

# --- files -----------------------------------------------------------------------------------------------------------


def test_the_whole_configuration():
    assert (
        rendered()["dnsmasq.conf"]
        == """\
# Written by tenantnet.nova; changes by hand do not last.
strict-order
bind-interfaces
except-interface=lo
interface=br100
listen-address=10.0.0.1
dhcp-range=set:blue,10.0.0.2,static,255.255.255.0,86400s
dhcp-lease-max=256
dhcp-hostsfile=/etc/tenantnet/dnsmasq/br100/hosts
dhcp-optsfile=/etc/tenantnet/dnsmasq/br100/opts
no-hosts
domain=novalocal
addn-hosts=/etc/tenantnet/dnsmasq/br100/names
no-resolv
server=192.0.2.53
server=2001:db8::53
pid-file=/run/tenantnet/dnsmasq/br100.pid
dhcp-leasefile=/var/lib/tenantnet/dnsmasq/br100.leases
# content of config_file: abc
conf-file=/etc/nova-extra.conf
"""
    )


def test_the_other_files():
    files = rendered()
    assert files["hosts"] == (
        "fa:16:3e:01:02:03,web1.novalocal,10.0.0.3\nfa:16:3e:01:02:0c,web10.novalocal,10.0.0.10\n"
    )
    assert files["opts"] == "3,10.0.0.1\n26,1450\n"
    assert files["names"] == "10.0.0.9\tfar1.novalocal\n10.0.0.100\tfar2.novalocal\n"


def test_what_is_empty_leaves_no_line():
    files = rendered(domain="", servers=[], config_file=None, hosts=[], options=[], names=[])
    for word in ("domain", "addn-hosts", "no-resolv", "server", "conf-file"):
        assert not re.search(f"^{word}", files["dnsmasq.conf"], re.MULTILINE)
    assert (files["hosts"], files["opts"]) == ("", "") and "names" not in files


def test_empty_domain_leaves_no_dot():
    files = rendered(domain="")
    assert ",web1,10.0.0.3\n" in files["hosts"] and "\tfar1\n" in files["names"]


def test_the_whole_configuration_with_ipv6():
    """Beside IPv4 the difference, alone the lines of IPv4 less."""
    four, both, six = (rendered(**each)["dnsmasq.conf"].splitlines() for each in (FULL, DUAL, ALONE))
    assert sorted(set(both) - set(four)) == [
        "bind-dynamic",
        "dhcp-lease-max=512",
        "dhcp-option=option6:domain-search,novalocal",
        "dhcp-range=set:blue,fd00::,static,slaac,64,600s",
        "enable-ra",
        "ra-param=br100,10,60",
    ]
    assert sorted(set(four) - set(both)) == ["bind-interfaces", "dhcp-lease-max=256"]
    assert sorted(set(six) - set(both)) == ["dhcp-lease-max=256"]
    assert sorted(set(both) - set(six)) == [
        "dhcp-lease-max=512",
        "dhcp-range=set:blue,10.0.0.2,static,255.255.255.0,86400s",
        "listen-address=10.0.0.1",
    ]


def test_the_other_files_with_ipv6():
    files = rendered(**DUAL)
    assert files["hosts"].splitlines() == [
        "fa:16:3e:01:02:03,web1.novalocal,10.0.0.3",
        "fa:16:3e:01:02:0c,web10.novalocal,10.0.0.10,[fd00::f816:3eff:fe01:20c]",
        "fa:16:3e:01:02:05,six.novalocal,[fd00::f816:3eff:fe01:205]",
    ]
    assert files["names"].splitlines() == [
        "10.0.0.9\tfar1.novalocal",
        "10.0.0.100\tfar2.novalocal",
        "fd00::9\tfar1.novalocal",
        "fd00::f816:3eff:fe01:205\tsix.novalocal",
        "fd00::f816:3eff:fe01:20c\tweb10.novalocal",
    ]


def test_a_name_of_a_host_may_be_given_again():
    names = [{"address": "fd00::f816:3eff:fe01:205", "hostname": "six"}]
    assert rendered(**{**ALONE, "names": names})["names"] == "fd00::f816:3eff:fe01:205\tsix.novalocal\n"


def test_ipv6_without_domain_guests_and_a_long_lease():
    files = rendered(**{**ALONE, "domain": "", "hosts": [], "names": [], "lease_time": 300})
    assert files["names"] == "" and "addn-hosts=" in files["dnsmasq.conf"]
    assert "option6" not in files["dnsmasq.conf"] and ",slaac,64,300s\n" in files["dnsmasq.conf"]


def test_values_of_ipv4_may_be_left_out_with_ipv6():
    short = {key: value for key, value in ALONE.items() if key not in IPV4}
    assert core.parse({"instances": [short]}) == core.parse({"instances": [ALONE]})


def test_what_is_null_is_as_today():
    hosts = [{**each, "address_v6": None} for each in FULL["hosts"]]
    assert rendered(range_v6=None, hosts=hosts) == rendered()


@pytest.mark.parametrize(
    ("change", "wanted"), [(FULL, None), (DUAL, ("br100", "fd00::/64")), (ALONE, ("br100", "fd00::/64"))]
)
def test_what_a_configuration_advertises(change, wanted):
    assert core.advertised(rendered(**change)["dnsmasq.conf"]) == wanted
    assert core.advertised("") is None


def test_optional_keys_may_be_left_out():
    short = {key: value for key, value in FULL.items() if key not in OPTIONAL}
    assert core.parse({"instances": [short]})[0].hosts == ()


def test_bare_option_suppresses():
    assert rendered(options=[{"option": 3, "value": ""}])["opts"] == "3\n"


def test_long_host_name_is_shortened_as_nova_did():
    name = "ab" + "c" * 10 + "d" * 60
    files = rendered(hosts=[{"mac": "fa:16:3e:01:02:03", "hostname": name, "address": "10.0.0.3"}])
    assert f",ab-{'d' * 60}.novalocal," in files["hosts"]


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("blue", "blue"),
        ("a b,c", "a-b-c"),
        ("x\ndhcp-script=/bin/sh", "x-dhcp-script-bin-sh"),
        ("\u00e4", "network"),
        ('!#"', "network"),
        ("a_b-9", "a_b-9"),
    ],
)
def test_tag(label, tag):
    assert core.tag(label) == tag
    assert f"set:{tag}," in rendered(network=label)["dnsmasq.conf"]


@given(st.text(min_size=1))
def test_no_label_adds_a_line(label):
    lines = rendered(network=label)["dnsmasq.conf"].splitlines()
    assert len(lines) == 20 and re.fullmatch(r"dhcp-range=set:[A-Za-z0-9_-]+,10\.0\.0\.2,static,.*", lines[6])


@given(st.permutations(FULL["hosts"]), st.permutations(FULL["options"]), st.permutations(FULL["names"]))
def test_order_of_the_plan_does_not_count(hosts, options, names):
    assert rendered(hosts=hosts, options=options, names=names) == rendered()


def test_instances_are_ordered_by_name():
    plan = {
        "instances": [
            item(name="b", interface="b"),
            item(name="a", interface="a", listen_address="10.0.0.200"),
        ]
    }
    assert [each.name for each in core.parse(plan)] == ["a", "b"]


def test_options_are_given_to_the_test():
    text = core.testable(parsed(), rendered()["dnsmasq.conf"])
    assert text.endswith("dhcp-option=3,10.0.0.1\ndhcp-option=26,1450\n")


# --- what is refused -------------------------------------------------------------------------------------------------

HOST = FULL["hosts"][1]
BAD = [
    ({"name": "../x"}, r"instances\[0\]\.name: '\.\./x' cannot name"),
    ({"name": "a b"}, r"name: 'a b' cannot name"),
    ({"name": ".hidden"}, r"name"),
    ({"name": "a\n"}, r"name"),
    ({"name": ""}, r"name"),
    ({"name": 7}, r"name"),
    ({"network": ""}, r"network: '' is not a text of at least one character"),
    ({"network": None}, r"network"),
    ({"interface": "br100,lo"}, r"interface: 'br100,lo' cannot be given to dnsmasq"),
    ({"interface": "br*"}, r"interface"),
    ({"interface": "br\n1"}, r"interface"),
    ({"interface": "averyveryverylongname"}, r"interface: .* at most 15"),
    ({"listen_address": "10.0.0.256"}, r"listen_address: '10\.0\.0\.256' is not an IPv4 address"),
    ({"listen_address": 167772161}, r"listen_address"),
    ({"listen_address": "10.0.0.1\nport=5"}, r"listen_address"),
    ({"dhcp_start": "10.0.1.2"}, r"dhcp_start: 10\.0\.1\.2 is outside of 10\.0\.0\.0/24"),
    ({"netmask": "255.0.255.0"}, r"netmask: '255\.0\.255\.0' is not a netmask"),
    ({"netmask": "0.0.0.255"}, r"netmask"),
    ({"netmask": 24}, r"netmask"),
    ({"lease_time": 0}, r"lease_time: 0 is not a whole number from 1"),
    ({"lease_time": "1d"}, r"lease_time"),
    ({"lease_time": True}, r"lease_time"),
    ({"lease_max": 2.5}, r"lease_max"),
    ({"domain": "a b"}, r"domain: 'a b' is not a domain"),
    ({"domain": ".x"}, r"domain"),
    ({"domain": "x\ndhcp-script=/bin/sh"}, r"domain"),
    ({"domain": "x\n"}, r"domain"),
    ({"servers": "192.0.2.53"}, r"servers: '192\.0\.2\.53' is not a list"),
    ({"servers": ["dns.example.org"]}, r"servers\[0\]: 'dns\.example\.org' is not the address of a name server"),
    ({"servers": ["fe80::1%eth0\n"]}, r"servers\[0\]"),
    ({"servers": ["192.0.2.53", "192.0.2.53"]}, r"servers\[1\]\.address: '192\.0\.2\.53' is that of .*servers\[0\]"),
    ({"config_file": "extra.conf"}, r"config_file: 'extra\.conf' is not the full path"),
    ({"config_file": "/etc/a\nb"}, r"config_file"),
    ({"config_file": "/etc/a b"}, r"config_file"),
    ({"config_file": "/etc/"}, r"config_file"),
    ({"hosts": [{**HOST, "mac": "fa:16:3e:01:02"}]}, r"hosts\[0\]\.mac: 'fa:16:3e:01:02' is not a MAC address"),
    ({"hosts": [{**HOST, "mac": "fa:16:3e:01:02:03\n"}]}, r"hosts\[0\]\.mac"),
    ({"hosts": [{**HOST, "address": "10.0.1.3"}]}, r"hosts\[0\]\.address: 10\.0\.1\.3 is outside"),
    ({"hosts": [{**HOST, "address": "10.0.0.1"}]}, r"hosts\[0\]\.address: 10\.0\.0\.1 is the address that dnsmasq"),
    ({"hosts": [{**HOST, "hostname": "a,b"}]}, r"hosts\[0\]\.hostname: 'a,b' is not a host name"),
    ({"hosts": [{**HOST, "hostname": "a\nb"}]}, r"hosts\[0\]\.hostname"),
    ({"hosts": [HOST, {**HOST, "address": "10.0.0.4"}]}, r"hosts\[1\]\.mac: 'fa:16:3e:01:02:03' is that of .*hosts"),
    ({"hosts": [HOST, {**HOST, "mac": "fa:16:3e:01:02:04"}]}, r"hosts\[1\]\.address: '10\.0\.0\.3' is that of"),
    ({"hosts": [HOST, {**HOST, "mac": HOST["mac"].upper(), "address": "10.0.0.5"}]}, r"hosts\[1\]\.mac"),
    ({"hosts": [{**HOST, "vif": 1}]}, r"hosts\[0\]: unknown key 'vif'; known are address, address_v6, hostname, mac"),
    ({"hosts": [{"mac": HOST["mac"]}]}, r"hosts\[0\]\.hostname is required"),
    ({"hosts": ["x"]}, r"hosts\[0\]: 'x' is not a mapping"),
    ({"options": [{"option": 0, "value": "1"}]}, r"options\[0\]\.option: 0 is not a whole number from 1 to 254"),
    ({"options": [{"option": 255, "value": "1"}]}, r"options\[0\]\.option"),
    ({"options": [{"option": "3", "value": "1"}]}, r"options\[0\]\.option"),
    ({"options": [{"option": 42, "value": 5}]}, r"options\[0\]\.value: 5 is not a text"),
    ({"options": [{"option": 42, "value": "a\nb"}]}, r"options\[0\]\.value"),
    ({"options": [{"option": 42, "value": "a #b"}]}, r"options\[0\]\.value"),
    ({"options": [{"option": 42, "value": 'a"b'}]}, r"options\[0\]\.value"),
    ({"options": [{"option": 42, "value": " a"}]}, r"options\[0\]\.value"),
    ({"options": [{"option": 3, "value": "x"}]}, r"options\[0\]\.value: 'x' is not an IPv4 address"),
    ({"options": [{"option": 26, "value": "9"}]}, r"options\[0\]\.value: '9' is not an MTU"),
    ({"options": [{"option": 3, "value": ""}] * 2}, r"options\[1\]\.option: '3' is that of"),
    ({"names": [{"address": "10.0.0.9", "hostname": "a b"}]}, r"names\[0\]\.hostname"),
    ({"names": [{"address": "10.0.0", "hostname": "a"}]}, r"names\[0\]\.address"),
    ({"names": [{"address": "10.0.0.9", "hostname": "a"}] * 2}, r"names\[1\]: 'a' at 10\.0\.0\.9 stands there twice"),
    ({"tag": "x"}, r"dnsmasq\.instances\[0\]: unknown key 'tag'"),
]


SIX = ALONE["hosts"][0]
BAD += [
    ({**DUAL, "range_v6": "fd00::/48"}, r"range_v6: fd00::/48 is not a /64"),
    ({**DUAL, "range_v6": "fd00::1"}, r"range_v6: 'fd00::1' is not an IPv6 range"),
    ({**DUAL, "range_v6": "10.0.0.0/24"}, r"range_v6: '10\.0\.0\.0/24' is not an IPv6 range"),
    ({**DUAL, "range_v6": "fd00::/64\nserver=1"}, r"range_v6"),
    ({**DUAL, "range_v6": 64}, r"range_v6"),
    ({**DUAL, "range_v6": "fe80::/64"}, r"range_v6: fe80::/64 cannot be advertised"),
    ({**DUAL, "range_v6": "ff02::/64"}, r"range_v6: ff02::/64 cannot be advertised"),
    ({**DUAL, "range_v6": "::/64"}, r"range_v6: ::/64 cannot be advertised"),
    ({**DUAL, "netmask": None}, r"netmask is required with the other values of IPv4"),
    ({**ALONE, "listen_address": "10.0.0.1"}, r"dhcp_start is required with the other values of IPv4"),
    ({"listen_address": None}, r"listen_address is required$"),
    ({**ALONE, "range_v6": None}, r"listen_address is required$"),
    ({**ALONE, "hosts": [{**SIX, "address": "10.0.0.3"}]}, r"hosts\[0\]\.address: 10\.0\.0\.3 has no place in .*IPv6"),
    ({"hosts": [{**HOST, "address_v6": "fd00::3"}]}, r"hosts\[0\]\.address_v6: fd00::3 has no place in .*without IPv6"),
    ({"hosts": [{**HOST, "address": None}]}, r"hosts\[0\]\.address is required"),
    ({**DUAL, "hosts": [{**SIX, "address_v6": None}]}, r"hosts\[0\]: neither address nor address_v6"),
    ({**DUAL, "hosts": [{**SIX, "address_v6": "fd01::5"}]}, r"hosts\[0\]\.address_v6: fd01::5 is outside of fd00::/64"),
    ({**DUAL, "hosts": [{**SIX, "address_v6": "fd00::"}]}, r"address_v6: fd00:: is the address of every router"),
    ({**DUAL, "hosts": [{**SIX, "address_v6": "10.0.0.5"}]}, r"address_v6: '10\.0\.0\.5' is not an IPv6 address"),
    ({**DUAL, "hosts": [SIX, {**SIX, "mac": HOST["mac"]}]}, r"hosts\[1\]\.address_v6: 'fd00::f816.*' is that of"),
    ({**DUAL, "names": [{"address": "fd00::g", "hostname": "a"}]}, r"names\[0\]\.address: 'fd00::g' is not an address"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(change)[:60] for change, _ in BAD])
def test_refused_with_its_place(change, message):
    with pytest.raises(InputError, match=r"dnsmasq\.instances\[0\].*") as caught:
        parsed(**change)
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "dnsmasq: None is not a mapping"),
        ([], r"dnsmasq: \[\] is not a mapping"),
        ({}, r"dnsmasq\.instances is required"),
        ({"instances": {}}, r"dnsmasq\.instances: \{\} is not a list"),
        ({"instances": [1]}, r"dnsmasq\.instances\[0\]: 1 is not a mapping"),
        ({"instances": [], "more": 1}, "dnsmasq: unknown key 'more'; known are instances"),
        ({"instances": [{}]}, r"dnsmasq\.instances\[0\]\.name is required"),
    ],
)
def test_refused_plan(plan, message):
    with pytest.raises(InputError, match=message):
        core.parse(plan)


@pytest.mark.parametrize("key", ["name", "interface", "listen_address", "range_v6"])
def test_two_instances_share_nothing(key):
    other = item(name="br101", interface="br101", listen_address="10.0.0.200", range_v6="fd01::/64")
    other[key] = DUAL[key]
    with pytest.raises(InputError, match=rf"instances\[1\]\.{key}: .* is that of dnsmasq\.instances\[0\] already"):
        core.parse({"instances": [DUAL, other]})


def test_any_number_of_instances_may_lack_a_version():
    bridges = [{**ALONE, "name": name, "interface": name, "hosts": []} for name in ("a", "b")]
    six = [{**each, "range_v6": f"fd0{n}::/64"} for n, each in enumerate(bridges)]
    four = [item(name=f"c{n}", interface=f"c{n}", listen_address=f"10.0.0.20{n}") for n in range(2)]
    assert len(core.parse({"instances": [*six, *four]})) == 4
