# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances by command: what one gets and gives back, how it is told, and what that costs on a large site."""

from __future__ import annotations

import contextlib
import re
import typing as t

import a_record
import a_site
import pytest
import sqlalchemy as sa
from a_module import refusal, succeed
from a_record import fixed_ip
from a_store import content, dump, file_of, keep, put
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.guests import guests
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp, Membership, SecurityGroup
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import upkeep

AUTO_ASSIGN = {"nova_auto_assign_floating_ip": True}
WEB = {"name": "web1", "project": "acme", "host": "h1"}


def empty_site(*rows: t.Any, **blue: t.Any) -> state.State:
    """Networks blue and red of all projects, served by one host, and no instance; addresses of two pools."""
    held = a_record.site(0, SecurityGroup("acme", "web", origin="command"), *rows)
    held.networks["red"] = held.networks["red"]._replace(multi_host=False, priority=1)
    held.networks["blue"] = held.networks["blue"]._replace(**{"multi_host": False, "dns1": "192.0.2.53", **blue})
    return held


@pytest.fixture
def site(url: str) -> str:
    keep(url, empty_site(FloatingIp("203.0.113.1", "dmz", origin="command")))
    return url


def ports(result: dict[str, t.Any], *names: str) -> list[tuple[t.Any, ...]]:
    return [tuple(port[name] for name in names) for port in result["instance"]["ports"]]


# --- present ---------------------------------------------------------------------------------------------------------


def test_an_instance_gets_a_port_and_keeps_it(site: str) -> None:
    asked = {"state_url": site, **WEB, "network": "blue", "security_groups": ["web"], "floating_ip": "any"}
    before = dump(site)
    foretold = succeed("instance", check_mode=True, **asked)
    assert dump(site) == before
    made = succeed("instance", run="4711", user="alice", **asked)
    identifier = addressing.stable_uuid("blue/web1")
    assert made["instance"] == {
        "name": "web1",
        "project": "acme",
        "host": "h1",
        "origin": "command",
        "security_groups": ["web"],
        "ports": [
            {
                "network": "blue",
                "device": f"tap{identifier[:11]}",
                "bridge": "br-blue",
                "mac": addressing.stable_mac("blue/web1", ()),
                "address": "10.0.0.2/24",
                "gateway": "10.0.0.1",
                "address_v6": None,
                "gateway_v6": None,
                "dns": ["192.0.2.53"],
                "vlan": None,
                "mtu": None,
                "allowed_address_pairs": [],
                "floating_ips": ["192.0.2.8"],
            }
        ],
    }
    assert foretold["instance"] == made["instance"] and foretold["actions"] == made["actions"]
    there = dump(site)
    again = succeed("instance", **asked)
    assert (again["changed"], again["actions"], again["instance"]) == (False, [], made["instance"])
    # What is not said of the floating IP stays.
    assert not succeed("instance", **{name: asked[name] for name in asked if name != "floating_ip"})["changed"]
    assert dump(site) == there
    assert upkeep.fsck(site) == []


def test_a_nic_on_each_network_of_the_project_unless_some_are_named(site: str) -> None:
    both = succeed("instance", state_url=site, **WEB)
    assert ports(both, "network", "address") == [("red", "10.1.0.2/16"), ("blue", "10.0.0.2/24")]
    one = succeed("instance", state_url=site, **WEB, networks=[{"label": "blue", "mac": "FA-16-3E-00-00-09"}])
    assert ports(one, "network", "address", "mac") == [("blue", "10.0.0.2/24", "fa:16:3e:00:00:09")]
    two = succeed("instance", state_url=site, **WEB, networks="red,blue")
    assert ports(two, "network", "address") == [("red", "10.1.0.3/16"), ("blue", "10.0.0.2/24")]


def test_another_address_and_another_host(site: str) -> None:
    succeed("instance", state_url=site, **WEB, network="blue")
    moved = succeed("instance", state_url=site, **{**WEB, "host": "h2"}, network="blue", address="10.0.0.77")
    assert (moved["instance"]["host"], *ports(moved, "address")[0]) == ("h2", "10.0.0.77/24")


def test_allowed_address_pairs(site: str) -> None:
    vrrp = {"ip_address": "10.0.0.64/28", "mac_address": "00:00:5e:00:01:01"}
    asked = {"state_url": site, **WEB, "network": "blue", "allowed_address_pairs": [vrrp, {"ip_address": "10.0.0.50"}]}
    made = succeed("instance", **asked)
    assert ports(made, "allowed_address_pairs") == [([{"ip_address": "10.0.0.50", "mac_address": None}, vrrp],)]
    assert any(
        f"allowed_address_pairs=10.0.0.50,10.0.0.64/28={vrrp['mac_address']}" in line for line in made["actions"]
    )
    assert not succeed("instance", **asked)["changed"]
    assert succeed("instance_info", state_url=site)["instances"] == [made["instance"]]
    assert upkeep.fsck(site) == []
    there = dump(site)
    said = refusal("instance", **{**asked, "allowed_address_pairs": [{"ip_address": "10.0.0.0/26"}]})
    assert "10.0.0.0/26" in said and "10.0.0.1," in said and "'web1'" in said
    assert dump(site) == there
    gone = succeed("instance", **{name: asked[name] for name in asked if name != "allowed_address_pairs"})
    assert ports(gone, "mac", "allowed_address_pairs") == [(made["instance"]["ports"][0]["mac"], [])]
    assert upkeep.fsck(site) == []


def test_both_versions(sqlite_url: str) -> None:
    keep(sqlite_url, empty_site(cidr_v6="fd00::/64", gateway_v6="fd00::1"))
    asked = {"state_url": sqlite_url, **WEB, "network": "blue"}
    made = succeed("instance", **asked, address="10.0.0.9", address_v6="fd00::9")
    assert ports(made, "address", "address_v6", "gateway_v6") == [("10.0.0.9/24", "fd00::9/64", "fd00::1")]
    assert "give one" in refusal("instance", **asked, address="fd00::8", address_v6="fd00::9")


def test_in_multi_host_the_gateway_is_the_host(sqlite_url: str) -> None:
    keep(sqlite_url, empty_site(multi_host=True))
    made = succeed("instance", state_url=sqlite_url, **WEB, network="blue", address="10.0.0.9")
    assert ports(made, "address", "gateway") == [("10.0.0.9/24", "10.0.0.2")]
    (row,) = succeed("fixed_ip_info", state_url=sqlite_url, address="10.0.0.2")["fixed_ips"]
    assert (row["instance"], row["host"]) == (None, "h1")


# --- floating IPs ----------------------------------------------------------------------------------------------------


def floating(url: str) -> dict[str, tuple[t.Any, ...]]:
    return {
        row.address: (row.project, row.fixed_address, row.auto_assigned)
        for row in content(url).floating_ips.values()
        if row.project is not None
    }


@pytest.mark.parametrize("word", ["any", True, "True", "yes"])
def test_any_floating_ip(sqlite_url: str, word: t.Any) -> None:
    keep(sqlite_url, empty_site(FloatingIp("203.0.113.1", "dmz", origin="command")))
    asked = {"state_url": sqlite_url, **WEB, "network": "blue", "floating_ip": word}
    succeed("instance", **asked)
    assert floating(sqlite_url) == {"192.0.2.8": ("acme", "10.0.0.2", False)}
    # It has one already, but not one of this pool.
    succeed("instance", **asked, floating_pool="dmz")
    assert not succeed("instance", **asked, floating_pool="dmz")["changed"]
    assert not succeed("instance", **asked)["changed"]
    assert floating(sqlite_url).keys() == {"192.0.2.8", "203.0.113.1"}


def test_a_floating_ip_that_is_named_is_allocated_and_moves(site: str) -> None:
    asked = {"state_url": site, "network": "blue", "floating_ip": "192.0.2.10"}
    succeed("instance", **WEB, **asked)
    assert floating(site) == {"192.0.2.10": ("acme", "10.0.0.2", False)}
    succeed("instance", **{**WEB, "name": "web2"}, **asked)
    assert floating(site) == {"192.0.2.10": ("acme", "10.0.0.3", False)}


def test_no_floating_ip_by_itself_unless_the_site_says_so(site: str) -> None:
    asked = {"state_url": site, "network": "blue"}
    succeed("instance", **WEB, **asked, floating_ip=False)
    assert floating(site) == {}
    succeed("instance", **WEB, **asked, settings=AUTO_ASSIGN)
    assert not succeed("instance", **WEB, **asked, settings=AUTO_ASSIGN)["changed"]
    assert floating(site) == {"192.0.2.8": ("acme", "10.0.0.2", True)}
    succeed("instance", state="absent", name="web1", state_url=site)
    assert floating(site) == {}


def test_the_quota_of_floating_ips(sqlite_url: str) -> None:
    keep(sqlite_url, empty_site())
    settings = {"nova_quota_floating_ips": 0}
    for word in ("any", "192.0.2.9"):
        before = file_of(sqlite_url).read_bytes()
        message = refusal("instance", state_url=sqlite_url, **WEB, floating_ip=word, settings=settings)
        assert "quota_floating_ips is 0" in message
        assert file_of(sqlite_url).read_bytes() == before


def timeless(action: str) -> str:
    return re.sub(r" released_at=[0-9.]+", "", action)


# --- absent ----------------------------------------------------------------------------------------------------------


def test_an_instance_gives_everything_back(site: str) -> None:
    succeed("instance", state_url=site, **WEB, security_groups=["web"], floating_ip="192.0.2.10")
    foretold = succeed("instance", check_mode=True, state_url=site, state="absent", name="web1")
    gone = succeed("instance", state_url=site, state="absent", name="web1")
    assert gone["instance"] is None and gone["changed"]
    assert [timeless(line) for line in gone["actions"]] == [timeless(line) for line in foretold["actions"]]
    held = content(site)
    assert (held.instances, held.vifs, held.memberships) == ({}, {}, {})
    assert {row.instance for row in held.fixed_ips.values()} == {None}
    # The project keeps the floating IP that it was given.
    assert floating(site) == {"192.0.2.10": ("acme", None, False)}
    there = dump(site)
    assert not succeed("instance", state_url=site, state="absent", name="web1")["changed"]
    assert dump(site) == there and upkeep.fsck(site) == []


def test_an_address_is_held_back_where_leases_are_left_to_run_out(site: str) -> None:
    succeed("instance", state_url=site, **WEB, network="blue")
    settings = {"nova_force_dhcp_release": False, "nova_fixed_ip_disassociate_timeout": 3600}
    succeed("instance", state_url=site, state="absent", name="web1", settings=settings)
    (row,) = succeed("fixed_ip_info", state_url=site, address="10.0.0.2")["fixed_ips"]
    assert row["state"] == "quarantined" and row["quarantined_until"] is not None


def test_what_the_inventory_makes_anew(sqlite_url: str) -> None:
    """A command takes it away at once; the site's next run goes by the inventory again."""
    declared = a_site.site(instances=[a_site.instance("web1")])
    put(sqlite_url, declared)
    assert succeed("instance", state_url=sqlite_url, state="absent", name="web1")["changed"]
    assert put(sqlite_url, declared).changed
    (row,) = succeed("instance_info", state_url=sqlite_url)["instances"]
    assert (row["name"], row["origin"]) == ("web1", "inventory")


def test_the_inventory_leaves_alone_what_a_command_made(sqlite_url: str) -> None:
    declared = a_site.site(instances=[a_site.instance("web1")])
    put(sqlite_url, declared)
    asked = {"name": "web2", "project": "acme", "host": "compute2", "state_url": sqlite_url}
    succeed("instance", settings=a_site.SITE["settings"], **asked)
    assert not put(sqlite_url, declared).changed
    assert [row["name"] for row in succeed("instance_info", state_url=sqlite_url)["instances"]] == ["web1", "web2"]


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "web 1"}, ("name: 'web 1' is not a host name",)),
        ({"name": None}, ("missing required arguments: name",)),
        ({"project": None}, ("state is present but all of the following are missing: project",)),
        ({"host": None}, ("state is present but all of the following are missing: host",)),
        ({"project": "nobody"}, ("'web9'.project: 'nobody' is no known project", "known: acme, other")),
        ({"host": ""}, ("'web9'.host: '' is not a name",)),
        ({"network": "green"}, ("'green' is no known network", "known: blue, red")),
        ({"address": "10.0.0.2"}, ("10.0.0.2 is already taken: instance 'web1' holds it", "choose another")),
        ({"address": "10.0.0.1"}, ("10.0.0.1 is reserved in network 'blue'",)),
        ({"address": "10.9.0.1"}, ("10.9.0.1 lies outside the networks of the project",)),
        ({"address": "ten"}, ("'web9'.address: 'ten' is not an address",)),
        ({"address_v6": "10.0.0.9"}, ("'web9'.address_v6: '10.0.0.9' is not an IPv6 address",)),
        ({"network": "blue", "mac": "01:00:00:00:00:01"}, ("is a group or zero address",)),
        ({"network": "blue", "mac": "fa:16"}, ("'web9'.mac: 'fa:16' is not a MAC address",)),
        ({"mac": "fa:16:3e:00:00:09"}, ("the instance has a NIC on each of 'red', 'blue'",)),
        ({"networks": ["blue"], "network": "red"}, ("go into the entries of `networks`",)),
        ({"networks": ["blue", "blue"]}, ("network 'blue' is named twice",)),
        ({"networks": [{"name": "blue"}]}, ("'web9'.networks[0].label is required",)),
        ({"networks": [{"label": "blue", "ip": "10.0.0.9"}]}, ("networks[0]: unknown key 'ip'", "known are address")),
        ({"security_groups": ["db"]}, ("'db' is no known security group of project 'acme'", "default, web")),
        ({"security_groups": ["web", "web"]}, ("'web' is named twice",)),
        ({"floating_ip": "8.8.8.8"}, ("'web9'.floating_ip: 8.8.8.8 is no floating IP", "create it")),
        ({"floating_ip": "some"}, ("'web9'.floating_ip: 'some' is not an address",)),
        ({"floating_ip": "any", "floating_pool": "p"}, ("'p' is no known pool",)),
        ({"floating_ip": "192.0.2.11"}, ("192.0.2.11 belongs to project 'other', not 'acme'",)),
        ({"state": "absent", "name": "web1", "project": "other"}, ("belongs to project 'acme', not 'other'",)),
        ({"state": "absent", "name": "web1", "host": "h2"}, ("runs on host 'h1', not 'h2'",)),
        ({"state": "gone"}, ("value of state must be one of: present, absent",)),
        ({"settings": {"nova_force_dhcp_release": "perhaps"}}, ("nova_force_dhcp_release: 'perhaps' is neither",)),
        ({"flavor": "m1.tiny"}, ("Unsupported parameters", "flavor")),
    ],
)
def test_refused_with_nothing_written(sqlite_url: str, options: dict[str, t.Any], words: tuple[str, ...]) -> None:
    keep(sqlite_url, empty_site())
    succeed("instance", state_url=sqlite_url, **WEB)
    succeed("floating_ip", state_url=sqlite_url, state="allocated", project="other", address="192.0.2.11")
    before = file_of(sqlite_url).read_bytes()
    given = {"name": "web9", "project": "acme", "host": "h1", **options}
    message = refusal(
        "instance", state_url=sqlite_url, **{name: value for name, value in given.items() if value is not None}
    )
    for word in words:
        assert word in message, message
    assert file_of(sqlite_url).read_bytes() == before


# --- list ------------------------------------------------------------------------------------------------------------


def crowd(instances: int) -> state.State:
    """So many instances with a NIC on each of two networks; addresses in red, every tenth with a floating IP."""
    return a_record.site(
        instances,
        *(fixed_ip(f"10.1.{number // 200}.{number % 200 + 9}", instance=f"i{number}") for number in range(instances)),
        *(fixed_ip(f"10.1.255.{number}", host=f"h{number}") for number in range(3)),
        *(fixed_ip(f"10.0.0.{number + 10}", instance=f"i{number}") for number in range(min(instances, 200))),
        *(
            FloatingIp(f"198.51.{number // 200}.{number % 200}", "public", None, a_record.PROJECTS[number % 2],
                       f"10.1.{number // 200}.{number % 200 + 9}", False, "command", "command", "command")
            for number in range(0, instances, 10)
        ),
        *(Membership(f"i{number}", "default", a_record.PROJECTS[number % 2]) for number in range(0, instances, 7)),
    )  # fmt: skip


@pytest.mark.parametrize("instances", [20, 700])
def test_what_is_told_is_what_plans_are_made_of(sqlite_url: str, instances: int) -> None:
    """One by one or many at once: the same as from the whole state."""
    held = crowd(instances)
    keep(sqlite_url, held)
    expected = {}
    for guest in guests(held):
        leading = [row.address for row in held.floating_ips.values() if row.fixed_address == guest.address]
        ports = expected.setdefault(guest.instance.name, []) if guest.address else []
        leading = leading if guest.address else []
        ports.append({**guest.port(), "allowed_address_pairs": [], "floating_ips": leading})
    for filters, names in (
        ({}, {f"i{number}" for number in range(instances)}),
        ({"project": "other"}, {f"i{number}" for number in range(1, instances, 2)}),
        ({"host": "h2"}, {f"i{number}" for number in range(2, instances, 3)}),
        ({"name": "i10"}, {"i10"}),
        ({"name": "i10", "host": "h1", "project": "acme", "network": "red"}, {"i10"}),
        ({"name": "i10", "host": "h0"}, set()),
        ({"network": "blue", "host": "h2"}, {f"i{number}" for number in range(2, instances, 3)}),
        ({"network": "green"}, set()),
        ({"name": "i10", "network": "green"}, set()),
    ):
        rows = succeed("instance_info", state_url=sqlite_url, **filters)["instances"]
        assert {row["name"] for row in rows} == names
        for row in rows:
            told = [port for port in row["ports"] if port["address"] is not None]
            assert told == expected[row["name"]]


def test_the_table(sqlite_url: str) -> None:
    keep(sqlite_url, empty_site())
    succeed("instance", state_url=sqlite_url, **WEB, floating_ip="any")
    macs = [addressing.stable_mac(f"{label}/web1", ()) for label in ("red", "blue")]
    assert succeed("instance_info", state_url=sqlite_url)["table"] == [
        "instance  project  host  network  mac                address      address_v6  floating_ips",
        f"web1      acme     h1    red      {macs[0]}  10.1.0.2/16  None        192.0.2.8",
        f"web1      acme     h1    blue     {macs[1]}  10.0.0.2/24  None        None",
    ]
    assert succeed("instance_info", state_url=sqlite_url, host="h9")["table"] == ["No instances found"]


# --- cost ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def statements() -> t.Iterator[list[tuple[str, t.Any]]]:
    """What is asked of a database meanwhile."""
    asked: list[tuple[str, t.Any]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many) -> None:
        asked.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)


def scanned(url: str, asked: list[tuple[str, t.Any]]) -> set[str]:
    """Tables that SQLite goes through from end to end for one of the statements."""
    found = set()
    engine = sa.create_engine(url, future=True)
    with engine.connect() as connection:
        for statement, parameters in asked:
            if statement.lstrip().upper().startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                for row in plan:
                    scan = re.match(r"SCAN (?:TABLE )?(\w+)(?! USING COVERING INDEX)", row[-1])
                    found.update(scan.groups() if scan else ())
    engine.dispose()
    return found


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("instance_info", {"name": "i10"}),
        ("fixed_ip_info", {"instance": "i10"}),
        ("fixed_ip_info", {"address": "10.1.0.19"}),
        ("instance", {"name": "i10", "state": "absent"}),
        ("instance", {"name": "web1", "project": "acme", "host": "h1", "network": "red"}),
        ("instance", {"name": "web1", "project": "acme", "host": "h1", "network": "red", "settings": AUTO_ASSIGN}),
        ("floating_ip", {"state": "associated", "address": "198.51.0.0", "instance": "i10"}),
    ],
)
def test_the_cost_of_one_does_not_grow_with_the_site(tmp_path, module: str, options: dict[str, t.Any]) -> None:
    counts = []
    for instances in (20, 600):
        url = f"sqlite:///{tmp_path}/{instances}.sqlite"
        keep(url, crowd(instances))
        with statements() as asked:
            succeed(module, state_url=url, check_mode=True, **options)
        counts.append(len(asked))
        assert not scanned(url, asked) & {"instances", "vifs", "memberships", "fixed_ips", "floating_ips"}
    assert counts[0] == counts[1] > 0
