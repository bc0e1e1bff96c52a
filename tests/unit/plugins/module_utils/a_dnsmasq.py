"""A network as dnsmasq is to serve it: help for the tests beside."""

from __future__ import annotations

from ansible_collections.tenantnet.nova.plugins.module_utils._core import dnsmasq as core

PATHS = core.Paths.under()
FULL = {
    "name": "br100",
    "network": "blue",
    "interface": "br100",
    "listen_address": "10.0.0.1",
    "dhcp_start": "10.0.0.2",
    "netmask": "255.255.255.0",
    "lease_time": 86400,
    "lease_max": 256,
    "domain": "novalocal",
    "servers": ["192.0.2.53", "2001:db8::53"],
    "config_file": "/etc/nova-extra.conf",
    "hosts": [
        {"mac": "FA:16:3E:01:02:0C", "hostname": "web10", "address": "10.0.0.10"},
        {"mac": "fa:16:3e:01:02:03", "hostname": "web1", "address": "10.0.0.3"},
    ],
    "options": [{"option": 26, "value": "1450"}, {"option": 3, "value": "10.0.0.1"}],
    "names": [
        {"address": "10.0.0.100", "hostname": "far2"},
        {"address": "10.0.0.9", "hostname": "far1"},
    ],
}
DUAL = {
    **FULL,
    "range_v6": "fd00:0::7/64",
    "hosts": [
        {**FULL["hosts"][0], "address_v6": "fd00::F816:3EFF:fe01:20c"},
        {"mac": "fa:16:3e:01:02:05", "hostname": "six", "address": None, "address_v6": "fd00::f816:3eff:fe01:205"},
        FULL["hosts"][1],
    ],
    "names": [*FULL["names"], {"address": "fd00::9", "hostname": "far1"}],
}
IPV4 = ("listen_address", "dhcp_start", "netmask")
ALONE = {**DUAL, **dict.fromkeys(IPV4), "hosts": DUAL["hosts"][1:2], "options": []}
OPTIONAL = ("domain", "servers", "config_file", "hosts", "options", "names")


def item(**change):
    return {**FULL, **change}


def parsed(**change):
    return core.parse({"instances": [item(**change)]})[0]


def rendered(**change):
    return core.render(parsed(**change), PATHS, "abc")
