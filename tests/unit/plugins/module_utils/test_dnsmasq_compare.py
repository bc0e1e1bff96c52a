"""What a run does about dnsmasq: leases that stand in the way, files and processes that differ, and the unit."""

from __future__ import annotations

import pytest
from a_dnsmasq import DUAL, PATHS, parsed, rendered
from ansible_collections.tenantnet.nova.plugins.module_utils._core import dnsmasq as core

LEASES = """\
2000 fa:16:3e:01:02:03 10.0.0.3 web1 01:fa:16:3e:01:02:03
2000 fa:16:3e:01:02:0c 10.0.0.11 * *
1000 fa:16:3e:01:02:0d 10.0.0.12 gone *
0 fa:16:3e:01:02:0e 10.0.0.13 ever ff:01
2000 06-00:11:22:33:44:55 10.0.0.14 odd *
duid 00:01
200"""
LEASES_V6 = """\
2000 fa:16:3e:01:02:03 10.0.0.3 web1 *
duid 00:01:00:01:32:94:1c:cd:42:d5:5d:23:25:1a
2000 1040187402 fd00::f816:3eff:fe01:205 six 00:01:00:01:32:94:1c:b6:fa:16:3e:00:00:0a
2000 1040187403 fd00::5 * 00:03:00:01:fa:16:3e:00:00:0a
1000 1040187404 fd00::6 over 00:03:00:01:fa:16:3e:00:00:0b
2000 T1040187405 fd00::7 passing 00:03:00:01:fa:16:3e:00:00:0c
2000 1040187406 fd00:::8 broken 00:03:00:01:fa:16:3e:00:00:0c
agent-info fd00::5 00:01
2000 1040187407 fd00::9 cut"""


def test_stale_leases():
    stale = core.stale_leases(parsed(), LEASES, 1500.0)
    assert [(lease.mac, lease.address, lease.client_id) for lease in stale] == [
        ("fa:16:3e:01:02:0c", "10.0.0.11", ""),
        ("fa:16:3e:01:02:0e", "10.0.0.13", "ff:01"),
    ]
    kept = core.without_leases(LEASES, stale)
    assert kept.splitlines() == [line for n, line in enumerate(LEASES.splitlines()) if n not in (1, 3)]


def test_stale_leases_of_dhcpv6():
    instance = parsed(**DUAL)
    stale = core.stale_leases(instance, LEASES_V6, 1500.0)
    assert [str(lease) for lease in stale] == [
        "fd00::5 of 00:03:00:01:fa:16:3e:00:00:0a",
        "fd00::7 of 00:03:00:01:fa:16:3e:00:00:0c",
    ]
    lines = LEASES_V6.splitlines()
    assert core.without_leases(LEASES_V6, stale).splitlines() == [*lines[:3], lines[4], *lines[6:]]
    assert len(core.stale_leases(parsed(hosts=[]), LEASES_V6, 1500.0)) == 4


def have(**change):
    return core.Have(**{"files": rendered(), "running": True, **change})


def without(*files, **other):
    return {**{file: text for file, text in rendered().items() if file not in files}, **other}


@pytest.mark.parametrize(
    ("state", "process", "written", "actions"),
    [
        ({}, "unchanged", [], []),
        (
            {"files": {}, "running": False},
            "start",
            ["hosts", "opts", "names", "dnsmasq.conf"],
            ["start dnsmasq for br100"],
        ),
        ({"running": False}, "start", [], ["start dnsmasq for br100: its process has ended"]),
        ({"files": without("hosts")}, "reload", ["hosts"], ["reload br100: +2 reservations"]),
        ({"files": without("opts", opts="3\n26,1450\n")}, "reload", ["opts"], ["reload br100: +1 option, -1 option"]),
        ({"files": without("names")}, "reload", ["names"], ["reload br100: +2 names"]),
        ({"unreadable": frozenset(["hosts"])}, "reload", ["hosts"], ["reload br100: its files become readable"]),
        ({"files": without("dnsmasq.conf")}, "restart", ["dnsmasq.conf"], ["restart br100: its configuration changes"]),
        (
            {"files": without("hosts"), "pending": "restart"},
            "restart",
            ["hosts"],
            ["restart br100: an interrupted run left it to do"],
        ),
        ({"pending": "restart"}, "restart", [], ["restart br100: an interrupted run left it to do"]),
        ({"pending": "reload"}, "reload", [], ["reload br100: an interrupted run left it to do"]),
        (
            {"pending": "reload", "files": without("dnsmasq.conf")},
            "restart",
            ["dnsmasq.conf"],
            ["restart br100: its configuration changes"],
        ),
        ({"enabled": False}, "unchanged", [], ["start br100 at boot"]),
        ({"stale": (core.Lease(0, "m", "10.0.0.3", ""),)}, "unchanged", [], ["release 10.0.0.3 of m on br100"]),
        ({"missed": True}, "restart", [], ["restart br100: its interface got the IPv6 address after it started"]),
        (
            {"stale": (core.Lease(0, "", "fd00::3", "00:03"),)},
            "restart",
            [],
            ["restart br100: a lease of DHCPv6 lost its reservation", "release fd00::3 of 00:03 on br100"],
        ),
    ],
)
def test_compare(state, process, written, actions):
    change = core.compare(parsed(), rendered(), have(**state))
    assert (change.process, list(change.write), change.actions) == (process, written, actions)
    assert change.empty == (not actions)


def test_names_that_went_are_removed():
    wanted = parsed(names=[])
    change = core.compare(wanted, core.render(wanted, PATHS, "abc"), have())
    assert change.remove == ("names",) and change.process == "restart"


@pytest.mark.parametrize(
    ("change", "running", "wants"),
    [
        ({}, False, True),
        ({"config_file": None}, False, False),
        ({"config_file": None}, True, True),
        ({"config_file": None, "options": [{"option": 42, "value": "10.0.0.7"}]}, False, True),
    ],
)
def test_dnsmasq_is_asked_where_it_is_worth_it(change, running, wants):
    instance = parsed(**change)
    difference = core.compare(instance, core.render(instance, PATHS, "new"), core.Have(files={}, running=running))
    assert core.wants_test(instance, difference) == wants


def test_unit():
    unit = core.render_unit(PATHS, "/usr/sbin/dnsmasq").splitlines()
    for line in (
        "Type=forking",
        "PIDFile=/run/tenantnet/dnsmasq/%i.pid",
        "RuntimeDirectory=tenantnet/dnsmasq",
        "ExecStart=/usr/sbin/dnsmasq --conf-file=/etc/tenantnet/dnsmasq/%i/dnsmasq.conf",
        "Restart=on-failure",
        """ExecStartPre=/bin/sh -c 'test -e "/sys/class/net/$$(sed -n s/^interface=//p """
        """/etc/tenantnet/dnsmasq/%i/dnsmasq.conf)/ifindex"'""",
    ):
        assert line in unit
