# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixed IPs by command: reserved and put back, listed with their states; and the leases that hosts report."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_module import refusal, succeed
from a_record import fixed_ip
from a_store import content, dump, file_of, keep
from ansible.module_utils.basic import AnsibleModule

FAR = 4_000_000_000.0  # seconds since the epoch; not reached by any test


@pytest.fixture
def site(url: str) -> str:
    """Instances i0 to i3 by turns of acme and other, on hosts h0, h1, h2, h0; five addresses in five states."""
    rows = (
        fixed_ip("10.0.0.2", instance="i0", leased=True),
        fixed_ip("10.0.0.3", instance="i1"),
        fixed_ip("10.1.0.7", instance="i0"),
        fixed_ip("fd00::3", instance="i1"),
        fixed_ip("10.0.0.4", released_at=1.0, quarantined_until=FAR),
        fixed_ip("10.0.0.5", released_at=1.0, quarantined_until=2.0),
        fixed_ip("10.0.0.6", reserved_by="inventory"),
        fixed_ip("10.0.0.10", host="h0"),
    )
    state = a_record.site(4, *rows)
    state.networks["blue"] = state.networks["blue"]._replace(cidr_v6="fd00::/64", gateway_v6="fd00::1")
    keep(url, state)
    return url


def listed(url: str, **filters: t.Any) -> list[str]:
    return [row["address"] for row in succeed("fixed_ip_info", state_url=url, **filters)["fixed_ips"]]


# --- reserve, unreserve ----------------------------------------------------------------------------------------------


def test_reserved_and_put_back_once(site: str) -> None:
    asked = {"state_url": site, "addresses": ["10.0.0.20-10.0.0.21", "10.1.0.128/31", "fd00::20"]}
    addresses = ["10.0.0.20", "10.0.0.21", "10.1.0.128", "10.1.0.129", "fd00::20"]
    before = dump(site)
    foretold = succeed("fixed_ip", check_mode=True, **asked)
    assert dump(site) == before
    done = succeed("fixed_ip", run="4711", user="alice", **asked)
    assert done["changed"] and done["addresses"] == addresses
    assert {name: foretold[name] for name in ("actions", "addresses", "diff")} == {
        name: done[name] for name in ("actions", "addresses", "diff")
    }
    assert {content(site).fixed_ips[address].reserved_by for address in addresses} == {"command"}
    there = dump(site)
    again = succeed("fixed_ip", **asked)
    assert (again["changed"], again["addresses"], again["actions"]) == (False, [], [])
    assert dump(site) == there

    back = succeed("fixed_ip", state="unreserved", **asked)
    assert back["changed"] and back["addresses"] == addresses
    assert content(site).fixed_ips.keys().isdisjoint(addresses)
    assert not succeed("fixed_ip", state="unreserved", **asked)["changed"]


def test_a_list_may_be_one_text_as_extra_vars_are(site: str) -> None:
    assert succeed("fixed_ip", state_url=site, addresses="10.0.0.20,10.0.0.30")["addresses"] == [
        "10.0.0.20",
        "10.0.0.30",
    ]


def test_what_is_held_stays_with_its_holder(site: str) -> None:
    succeed("fixed_ip", state_url=site, addresses=["10.0.0.3"])
    (row,) = succeed("fixed_ip_info", state_url=site, address="10.0.0.3")["fixed_ips"]
    assert (row["instance"], row["state"], row["reserved_by"]) == ("i1", "allocated", "command")


def test_a_hold_is_for_one_instance_that_gets_it(site: str) -> None:
    succeed("fixed_ip", state_url=site, addresses=["10.0.0.99"], instance="db1")
    (row,) = succeed("fixed_ip_info", state_url=site, address="10.0.0.99")["fixed_ips"]
    assert (row["state"], row["reserved_for"]) == ("reserved", "db1")
    asked = {"project": "acme", "host": "h0", "network": "blue"}
    message = refusal("instance", state_url=site, name="web9", address="10.0.0.99", **asked)
    assert "10.0.0.99 is already taken: it is reserved by the command for instance 'db1'" in message
    made = succeed("instance", state_url=site, name="db1", **asked)
    assert made["instance"]["ports"][0]["address"] == "10.0.0.99/24"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"addresses": ["10.9.0.1"]}, ("addresses: 10.9.0.1 belongs to no network", "'blue' 10.0.0.0/24")),
        ({"addresses": ["10.0.0.30", "10.9.0.1"]}, ("10.9.0.1 belongs to no network",)),
        ({"addresses": ["10.9.0.1"], "state": "unreserved"}, ("10.9.0.1 belongs to no network",)),
        ({"addresses": ["10.0.0.1"]}, ("10.0.0.1 is reserved in network 'blue'", "choose another")),
        ({"addresses": ["10.0.0.256"]}, ("addresses: '10.0.0.256' is not an address such as",)),
        ({"addresses": ["10.0.0.9-10.0.0.8"]}, ("'10.0.0.9-10.0.0.8' does not go from a lower to a higher",)),
        ({"addresses": ["10.0.0.0/33"]}, ("addresses: '10.0.0.0/33' is not a range such as",)),
        ({"addresses": ["10.0.0.0/8"]}, ("'10.0.0.0/8' is more than 65536 addresses", "fewer at once")),
        ({"addresses": ["fd00::/64"]}, ("'fd00::/64' is more than 65536 addresses",)),
        ({"addresses": [7]}, ("addresses: '7' is not an address such as",)),
        ({}, ("missing required arguments: addresses",)),
        ({"addresses": ["10.0.0.3"], "instance": "i0"}, ("10.0.0.3 is held by instance 'i1'",)),
        ({"addresses": ["10.0.0.6"], "state": "unreserved"}, ("10.0.0.6 is reserved by the inventory", "there")),
        ({"addresses": ["10.0.0.9"], "instance": "a b"}, ("instance: 'a b' is not a host name",)),
        (
            {"addresses": ["10.0.0.9"], "instance": "i0", "state": "unreserved"},
            ("instance: 'i0' is given, but state unreserved", "leave it out"),
        ),
        ({"addresses": ["10.0.0.9"], "state": "absent"}, ("value of state must be one of: reserved, unreserved",)),
        ({"addresses": ["10.0.0.9"], "force": True}, ("Unsupported parameters", "force")),
    ],
)
def test_refused_with_nothing_written(sqlite_url: str, options: dict[str, t.Any], words: tuple[str, ...]) -> None:
    keep(
        sqlite_url,
        a_record.site(2, fixed_ip("10.0.0.3", instance="i1"), fixed_ip("10.0.0.6", reserved_by="inventory")),
    )
    before = file_of(sqlite_url).read_bytes()
    message = refusal("fixed_ip", state_url=sqlite_url, **options)
    for word in words:
        assert word in message, message
    assert file_of(sqlite_url).read_bytes() == before


# --- list ------------------------------------------------------------------------------------------------------------


def test_the_states_as_they_are_shown(site: str) -> None:
    rows = succeed("fixed_ip_info", state_url=site)["fixed_ips"]
    assert [(row["address"], row["state"], row["host"]) for row in rows] == [
        ("10.0.0.2", "leased", "h0"),
        ("10.0.0.3", "allocated", "h1"),
        ("10.0.0.4", "quarantined", None),
        ("10.0.0.5", "free", None),
        ("10.0.0.6", "reserved", None),
        ("10.0.0.10", "allocated", "h0"),
        ("10.1.0.7", "allocated", "h0"),
        ("fd00::3", "allocated", "h1"),
    ]
    first, quarantined, free = rows[0], rows[2], rows[3]
    assert first["mac"] == a_record.vif("i0", "blue").mac
    # 4,000,000,000 seconds are 46,296 days, 7 hours, 6 minutes and 40 seconds after the first of January 1970.
    assert quarantined["quarantined_until"] == "2096-10-02T07:06:40.000000Z"
    assert free["quarantined_until"] is None


@pytest.mark.parametrize(
    ("filters", "addresses"),
    [
        ({"network": "red"}, ["10.1.0.7"]),
        ({"instance": "i1"}, ["10.0.0.3", "fd00::3"]),
        ({"project": "acme"}, ["10.0.0.2", "10.1.0.7"]),
        ({"project": "other", "network": "red"}, []),
        ({"host": "h0"}, ["10.0.0.2", "10.0.0.10", "10.1.0.7"]),
        ({"host": "h0", "project": "acme", "network": "blue"}, ["10.0.0.2"]),
        ({"host": "h0", "project": "other"}, []),
        ({"state": "quarantined"}, ["10.0.0.4"]),
        ({"state": "free"}, ["10.0.0.5"]),
        ({"state": "allocated", "network": "blue"}, ["10.0.0.3", "10.0.0.10", "fd00::3"]),
        ({"address": "10.0.0.6"}, ["10.0.0.6"]),
        ({"address": "10.0.0.6", "instance": "i0"}, []),
        ({"address": "FD00:0::3"}, ["fd00::3"]),
        ({"network": "green"}, []),
        ({"project": "nobody"}, []),
    ],
)
def test_filters(site: str, filters: dict[str, str], addresses: list[str]) -> None:
    assert listed(site, **filters) == addresses


def test_an_address_that_nobody_ever_had(site: str) -> None:
    for address, told in (
        ("10.0.0.200", [("blue", "free", None)]),
        ("10.0.0.1", [("blue", "reserved", "network")]),
        ("10.0.0.255", [("blue", "reserved", "network")]),
        ("10.9.0.1", []),
    ):
        rows = succeed("fixed_ip_info", state_url=site, address=address)["fixed_ips"]
        assert [(row["network"], row["state"], row["reserved_by"]) for row in rows] == told
    assert listed(site, address="10.0.0.200", state="reserved") == []


def test_the_table(site: str) -> None:
    assert succeed("fixed_ip_info", state_url=site, host="h1")["table"] == [
        "network      IP address  hostname  host  state",
        "10.0.0.0/24  10.0.0.3    i1        h1    allocated",
        "fd00::/64    fd00::3     i1        h1    allocated",
    ]
    assert succeed("fixed_ip_info", state_url=site, host="h9")["table"] == ["No fixed IPs found"]


@pytest.mark.parametrize(
    ("filters", "word"),
    [
        ({"address": "10.0.0.300"}, "address: '10.0.0.300' is not an address such as"),
        ({"address": "10.0.0.0/24"}, "address: '10.0.0.0/24' is not an address such as"),
        ({"state": "used"}, "value of state must be one of: free, allocated"),
        ({"label": "blue"}, "Unsupported parameters"),
    ],
)
def test_bad_filters(sqlite_url: str, filters: dict[str, str], word: str) -> None:
    keep(sqlite_url, a_record.site(0))
    assert word in refusal("fixed_ip_info", state_url=sqlite_url, **filters)


def test_more_than_are_looked_up_one_by_one(sqlite_url: str) -> None:
    held = [fixed_ip(f"10.1.{number // 200}.{number % 200 + 3}", instance=f"i{number}") for number in range(600)]
    keep(sqlite_url, a_record.site(600, *held))
    rows = succeed("fixed_ip_info", state_url=sqlite_url, project="acme")["fixed_ips"]
    assert [row["instance"] for row in rows] == [f"i{number}" for number in range(0, 600, 2)]
    assert {row["host"] for row in rows} == {"h0", "h1", "h2"}
    assert len({row["mac"] for row in rows}) == 300


# --- leases ----------------------------------------------------------------------------------------------------------


def served(*leases: tuple[str, str], cidr: str = "10.0.0.0/24") -> dict[str, t.Any]:
    """What leases_info returns, with what Ansible adds to it."""
    told = [
        {"network": cidr, "address": address, "mac": mac, "hostname": None, "expires": None} for address, mac in leases
    ]
    return {"networks": [cidr], "leases": told, "changed": False, "failed": False}


def mac(instance: str) -> str:
    return a_record.vif(instance, "blue").mac


def test_leases_are_recorded_once(site: str) -> None:
    reports = {"h1": served(("10.0.0.3", mac("i1")))}
    before = dump(site)
    assert succeed("leases", check_mode=True, state_url=site, reports=reports)["changed"]
    assert dump(site) == before
    done = succeed("leases", state_url=site, reports=reports)
    assert done["actions"] == ["reassign fixed IP 10.0.0.3 of network blue, instance i1 -> leased=True"]
    assert listed(site, state="leased") == ["10.0.0.2", "10.0.0.3"]
    again = succeed("leases", state_url=site, reports=reports)
    assert (again["changed"], again["odd"], "warnings" in again) == (False, [], False)


def test_a_lease_that_is_over_ends_the_quarantine(url: str) -> None:
    quarantined = fixed_ip("10.0.0.4", leased=True, released_at=1.0, quarantined_until=FAR)
    state = a_record.site(1, quarantined)
    state.networks["blue"] = state.networks["blue"]._replace(multi_host=False, host="h1")
    keep(url, state)
    elsewhere = succeed("leases", state_url=url, reports={"h2": served()})
    assert (elsewhere["changed"], listed(url, state="quarantined")) == (False, ["10.0.0.4"])
    still = succeed("leases", state_url=url, reports={"h1": served(("10.0.0.4", "fa:16:3e:00:00:01"))})
    assert (still["changed"], listed(url, state="quarantined")) == (False, ["10.0.0.4"])
    succeed("leases", state_url=url, reports={"h1": served()})
    assert listed(url, state="free") == ["10.0.0.4"]


def test_what_is_odd_is_a_warning(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where warnings go to depends on what else of Ansible this process has loaded.
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning, **_more: warned.append(warning))
    reports = {
        "h1": served(("10.0.0.3", mac("i0")), ("10.0.0.77", mac("i1"))),
        "h2": served(("10.8.0.3", mac("i1")), cidr="10.8.0.0/24"),
    }
    done = succeed("leases", state_url=site, reports=reports)
    assert done["odd"] == [
        f"host h1 has leased 10.0.0.3 to {mac('i0')}, but instance i1 with {mac('i1')} holds it",
        f"host h1 has leased 10.0.0.77 to {mac('i1')}, but nobody holds that address",
        "host h2 serves 10.8.0.0/24, which is no network of the store",
    ]
    assert warned == done["odd"]
    assert not done["changed"]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ([], ("reports[h1]: [] is not a mapping",)),
        ({"leases": []}, ("reports[h1].networks is required",)),
        ({"networks": []}, ("reports[h1].leases is required",)),
        ({"networks": "10.0.0.0/24", "leases": []}, ("reports[h1].networks: '10.0.0.0/24' is not a list",)),
        ({"networks": ["blue"], "leases": []}, ("reports[h1].networks[0]: 'blue' is not an IPv4 range",)),
        (served(("10.0.0", "fa:16:3e:00:00:01")), ("leases[0].address: '10.0.0' is not an IPv4 address",)),
        (served(("10.0.0.3", "fa:16")), ("leases[0].mac: 'fa:16' is not a MAC address",)),
        ({**served(), "leases": [7]}, ("reports[h1].leases[0]: 7 is not a mapping",)),
        (
            {**served(("10.0.0.3", "fa:16:3e:00:00:01")), "networks": []},
            ("leases[0].network: 10.0.0.0/24 is none of the networks",),
        ),
    ],
)
def test_a_bad_report_is_refused_with_nothing_written(sqlite_url: str, report: t.Any, words: tuple[str, ...]) -> None:
    keep(sqlite_url, a_record.site(2, fixed_ip("10.0.0.2", instance="i0", leased=True)))
    before = file_of(sqlite_url).read_bytes()
    message = refusal("leases", state_url=sqlite_url, reports={"h0": served(), "h1": report})
    for word in words:
        assert word in message, message
    assert file_of(sqlite_url).read_bytes() == before
