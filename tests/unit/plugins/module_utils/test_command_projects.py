# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Projects and their security groups by command, on a store."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_record import fixed_ip, network
from a_store import content, dump, file_of, keep
from ansible_collections.tenantnet.nova.plugins.module_utils import _projects
from ansible_collections.tenantnet.nova.plugins.module_utils._core import invariants
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.kinds import rows_of
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FloatingIp,
    Instance,
    Membership,
    Project,
    SecurityGroup,
)

QUOTAS = ("quota_networks", "quota_fixed_ips", "quota_floating_ips", "quota_security_groups")


def run(url: str, name: t.Any = "acme", check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """The module project; what is not given is null, as in a module's parameters."""
    parameters = {**dict.fromkeys(QUOTAS), "network_manager": None, "state": "present", "settings": {}}
    author = {"run": "4711", "user": "alice"}
    return _projects.operate({**parameters, **author, "state_url": url, "name": name, **options}, check_mode)


def listed(url: str, name: str | None = None, **settings: t.Any) -> dict[str, t.Any]:
    return _projects.info({"state_url": url, "name": name, "settings": settings})


def group(url: str, name: t.Any = "web", check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """The module security_group."""
    parameters = {"state": "present", "project": "acme", "network": None, "subnet": None, "subnet_size": None}
    author = {"settings": {}, "run": "4711", "user": "alice"}
    return _projects.operate_group({**parameters, **author, "state_url": url, "name": name, **options}, check_mode)


def groups(url: str, project: str | None = None, name: str | None = None) -> dict[str, t.Any]:
    return _projects.groups({"state_url": url, "project": project, "name": name})


def alone(*rows: t.Any) -> t.Any:
    return a_record.state_of(Project("acme", origin="command"), Project("other"), *rows)


# --- projects --------------------------------------------------------------------------------------------------------


def test_a_project_is_created_and_changed_where_something_is_said(url: str) -> None:
    foretold = run(url, check_mode=True, network_manager="nova.network.manager.VlanManager", quota_networks="2")
    made = run(url, network_manager="vlan", quota_networks=2)
    expected = {
        "name": "acme", "network_manager": "vlan", "quota_networks": 2, "quota_fixed_ips": None,
        "quota_floating_ips": None, "quota_security_groups": None, "origin": "command",
    }  # fmt: skip
    assert foretold == made
    assert (made["project"], made["changed"]) == (expected, True)
    assert made["actions"] == ["add project acme network_manager=vlan quota_networks=2 origin=command"]
    changed = run(url, quota_floating_ips=-1)
    assert changed["project"] == {**expected, "quota_floating_ips": -1}
    again = run(url, network_manager="vlan", quota_networks=2, quota_floating_ips=-1)
    assert (again["changed"], again["project"]) == (False, changed["project"])


def test_a_command_does_not_take_a_project_over(sqlite_url: str) -> None:
    keep(sqlite_url, alone())
    run(sqlite_url, "other", quota_networks=2)
    assert content(sqlite_url).projects["other"] == Project("other", quota_networks=2, origin="inventory")


BAD: list[tuple[dict[str, t.Any], tuple[str, ...]]] = [
    ({"name": ""}, ("name: ''", "printable")),
    ({"name": ["acme"]}, ("name: ['acme'] is not a text",)),
    ({"network_manager": "quantum"}, ("project 'acme'.network_manager: 'quantum'", "known: flat, flatdhcp, vlan")),
    ({"settings": {"nova_quota": 1}}, ("settings: unknown key 'nova_quota'", "nova_quota_networks")),
    ({"settings": {"nova_quota_networks": -2}}, ("nova_quota_networks: -2 is not from -1",)),
    *(({quota: -2}, (f"project 'acme'.{quota}: -2 is not from -1 to",)) for quota in QUOTAS),
    *(({quota: "many"}, (f"project 'acme'.{quota}: 'many' is not a whole number",)) for quota in QUOTAS),
    ({"state": "scrubbed", "name": "acm"}, ("name: 'acm' is no known project; known: acme, other",)),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_bad_input_is_one_message_and_nothing_is_written(
    options: dict[str, t.Any], words: tuple[str, ...], sqlite_url: str
) -> None:
    keep(sqlite_url, alone())
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError) as caught:
        run(sqlite_url, **options)
    assert "\n" not in str(caught.value)
    for each in words:
        assert each in str(caught.value)
    assert file_of(sqlite_url).read_bytes() == before


def test_a_project_is_deleted_once(url: str) -> None:
    keep(url, alone())
    foretold = run(url, state="absent", check_mode=True)
    gone = run(url, state="absent")
    assert foretold == gone
    assert (gone["changed"], gone["project"], gone["actions"]) == (True, None, ["remove project acme origin=command"])
    assert set(content(url).projects) == {"other"}
    assert not run(url, state="absent")["changed"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Instance("web1", "acme", "h1"), "has instance 'web1'; remove them first"),
        (FloatingIp("192.0.2.8", "nova", None, "acme", allocated_by="command"), "has floating IP '192.0.2.8'; remove"),
        (SecurityGroup("acme", "web"), "has security group 'web'; remove them first"),
        (
            network("blue", "10.0.0.0/24", project="acme", project_origin="command"),
            "has network 'blue'; scrub the project first",
        ),
    ],
)
def test_a_project_that_has_something_is_not_deleted(row: t.Any, message: str, sqlite_url: str) -> None:
    keep(sqlite_url, alone(row))
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError) as caught:
        run(sqlite_url, state="absent")
    assert str(caught.value).startswith("project 'acme' is to be deleted, but has ")
    assert message in str(caught.value)
    assert file_of(sqlite_url).read_bytes() == before


def test_scrubbing_frees_the_networks(url: str) -> None:
    own = {"project": "acme", "project_origin": "command"}
    blue, red = network("blue", "10.0.0.0/24", **own), network("red", "10.1.0.0/16", **own)
    keep(url, alone(blue, red, network("green", "10.2.0.0/24", project="other", project_origin="inventory")))
    before = dump(url)
    foretold = run(url, state="scrubbed", check_mode=True)
    assert dump(url) == before
    scrubbed = run(url, state="scrubbed")
    assert foretold == scrubbed
    assert (scrubbed["changed"], scrubbed["networks"]) == (True, ["blue", "red"])
    assert {label: row.project for label, row in content(url).networks.items()} == {
        "blue": None, "green": "other", "red": None
    }  # fmt: skip
    again = run(url, state="scrubbed")
    assert (again["changed"], again["networks"]) == (False, [])
    assert run(url, state="absent")["changed"]


def test_a_project_whose_networks_are_in_use_is_not_scrubbed(sqlite_url: str) -> None:
    held = a_record.site(1, fixed_ip("10.0.0.5", instance="i0"), fixed_ip("10.1.0.5", instance="i0"))
    held.networks["blue"] = held.networks["blue"]._replace(project="acme", project_origin="command")
    keep(sqlite_url, held)
    with pytest.raises(InputError, match="project 'acme': its networks are in use by instance 'i0'; remove them first"):
        run(sqlite_url, state="scrubbed")


def test_quotas_their_source_and_their_use(url: str) -> None:
    held = a_record.site(
        3,  # i0 and i2 are acme's
        *(fixed_ip(f"10.{net}.0.{9 + number}", instance=f"i{number}") for number in range(3) for net in (0, 1)),
        FloatingIp("192.0.2.20", "nova", project="acme", allocated_by="command", origin="command"),
        FloatingIp("192.0.2.21", "nova", None, "acme", "10.0.0.9", True, "command", "command", "command"),
        SecurityGroup("acme", "web", origin="command"),
        network("violet", "10.7.0.0/24", project="acme", project_origin="command"),
        Project("acme", "vlan", quota_fixed_ips=50, quota_floating_ips=-1, origin="command"),
    )
    keep(url, held)
    found = listed(url, nova_quota_networks=3, nova_network_manager="flat")
    assert [project["name"] for project in found["projects"]] == ["acme", "other"]
    assert found["projects"][0] == {
        "name": "acme",
        "origin": "command",
        "network_manager": "vlan",
        "network_manager_source": "project",
        "quotas": {
            "networks": {"limit": 3, "source": "site", "used": 1},
            "fixed_ips": {"limit": 50, "source": "project", "used": 4},
            "floating_ips": {"limit": -1, "source": "project", "used": 1},  # an auto-assigned one does not count
            "security_groups": {"limit": 10, "source": "site", "used": 1},  # nor does the group default
        },
    }
    assert found["table"][:5] == [
        "project  network manager  quota            limit      in use  source",
        "acme     vlan             networks         3          1       site",
        "acme     vlan             fixed_ips        50         4       project",
        "acme     vlan             floating_ips     unlimited  1       project",
        "acme     vlan             security_groups  10         1       site",
    ]
    other = found["projects"][1]
    assert (other["network_manager"], other["network_manager_source"]) == ("flat", "site")
    assert listed(url, "other", nova_quota_networks=3, nova_network_manager="flat")["projects"] == [other]
    assert listed(url, "none")["table"] == ["No projects found"]


# --- security groups -------------------------------------------------------------------------------------------------


def test_a_group_is_created_with_a_subnet_and_keeps_it(url: str) -> None:
    keep(url, alone(network("blue", "10.0.0.0/24")))
    foretold = group(url, check_mode=True, subnet_size=16)
    made = group(url, subnet_size=16)
    assert foretold == made
    # The highest sixteen of the network hold its broadcast address, so it is those below.
    expected = {
        "project": "acme", "name": "web", "network": "blue", "subnet": "10.0.0.224/28", "origin": "command",
        "description": None, "rules": [],
    }  # fmt: skip
    assert (made["security_group"], made["changed"]) == (expected, True)
    for same in ({}, {"subnet_size": "16"}, {"subnet": "10.0.0.224/28", "network": "blue"}):
        again = group(url, **same)
        assert (again["security_group"], again["changed"]) == (expected, False)
    assert group(url, subnet="10.0.0.16/28")["security_group"] == {**expected, "subnet": "10.0.0.16/28"}
    assert list(invariants.violations(rows_of(content(url)))) == []


def test_a_group_without_a_subnet(sqlite_url: str) -> None:
    keep(sqlite_url, alone())
    made = group(sqlite_url)
    assert (made["security_group"]["network"], made["security_group"]["subnet"]) == (None, None)
    assert not group(sqlite_url)["changed"]


def test_the_rules_of_a_group_by_command(sqlite_url: str) -> None:
    keep(sqlite_url, alone(SecurityGroup("acme", "admin")))
    rules = [{"protocol": "tcp", "ports": "22", "group": "admin"}, {"protocol": "tcp", "ports": 80}]
    foretold = group(sqlite_url, check_mode=True, rules=rules, description="web servers")
    assert group(sqlite_url, rules=rules, description="web servers") == foretold
    assert foretold["changed"] and [rule["ports"] for rule in foretold["security_group"]["rules"]] == ["22", "80"]
    for same in ({}, {"rules": rules[::-1]}, {"description": "web servers"}):
        assert not group(sqlite_url, **same)["changed"]
    with pytest.raises(InputError, match="security group 'web' name it"):
        group(sqlite_url, "admin", state="absent")
    fewer = group(sqlite_url, rules=rules[1:])
    assert fewer["changed"] and len(groups(sqlite_url, name="web")["security_groups"][0]["rules"]) == 1
    assert list(invariants.violations(rows_of(content(sqlite_url)))) == []
    group(sqlite_url, state="absent")
    assert content(sqlite_url).security_group_rules == {}


def test_a_group_is_deleted_once(sqlite_url: str) -> None:
    keep(sqlite_url, alone(SecurityGroup("acme", "web")))
    gone = group(sqlite_url, state="absent")
    assert (gone["changed"], gone["security_group"]) == (True, None)
    assert not group(sqlite_url, state="absent")["changed"]


def test_a_group_with_instances_is_not_deleted(sqlite_url: str) -> None:
    inside = (Instance("web1", "acme", "h1"), Membership("web1", "web", "acme"))
    keep(sqlite_url, alone(SecurityGroup("acme", "web"), *inside))
    with pytest.raises(InputError, match="security group 'web' of project 'acme' .* instance 'web1' is in it"):
        group(sqlite_url, state="absent")


def test_groups_are_listed_with_who_is_in_them(sqlite_url: str) -> None:
    rows = (
        network("blue", "10.0.0.0/24"),
        SecurityGroup("acme", "web", "blue", "10.0.0.16/28", "command"),
        SecurityGroup("other", "web"),
        SecurityGroup("acme", "db"),
        Instance("web1", "acme", "h1"),
        Membership("web1", "web", "acme"),
    )
    keep(sqlite_url, alone(*rows))
    found = groups(sqlite_url)
    assert found["security_groups"][1] == {
        "project": "acme", "name": "web", "network": "blue", "subnet": "10.0.0.16/28", "origin": "command",
        "description": None, "rules": [],
        "instances": ["web1"],
    }  # fmt: skip
    assert found["table"] == [
        "project  security group  network  subnet        instances",
        "acme     db              None     None          0",
        "acme     web             blue     10.0.0.16/28  1",
        "other    web             None     None          0",
    ]
    assert [each["name"] for each in groups(sqlite_url, "acme")["security_groups"]] == ["db", "web"]
    assert [each["project"] for each in groups(sqlite_url, name="web")["security_groups"]] == ["acme", "other"]
    assert groups(sqlite_url, "none")["table"] == ["No security groups found"]


BAD_GROUP: list[tuple[dict[str, t.Any], tuple[str, ...]]] = [
    ({"name": " web"}, ("name: ' web'", "blanks")),
    ({"project": "acm"}, ("project: 'acm' is no known project; known: acme, other",)),
    ({"project": 7}, ("project: 7 is not a text",)),
    ({"network": "blue"}, ("network: only a group with a subnet is tied to a network; give subnet_size",)),
    ({"network": "green", "subnet_size": 8}, ("network: 'green' is no known network; known: blue, red",)),
    ({"network": "red", "subnet_size": 8}, ("'red' belongs to project 'other', but security group 'web' to 'acme'",)),
    ({"subnet": "10.0.0.0"}, ("subnet: '10.0.0.0' is not an IPv4 range",)),
    ({"subnet": "10.0.9.0/28"}, ("subnet: 10.0.9.0/28 is not among the guests' addresses of network 'blue'",)),
    ({"subnet": "10.0.0.32/27"}, ("subnet: 10.0.0.32/27 overlaps 10.0.0.48/28 of another security group",)),
    ({"subnet": "10.0.0.32/28", "subnet_size": 16}, ("give subnet, or subnet_size", "not both")),
    ({"subnet_size": 12}, ("subnet_size: 12 is not the size of a subnet", "power of two such as 16")),
    ({"subnet_size": 0}, ("subnet_size: 0 is not from 1",)),
    ({"subnet_size": "few"}, ("subnet_size: 'few' is not a whole number",)),
    ({"subnet_size": 512}, ("subnet_size: network 'blue' 10.0.0.0/24 has no 512 free addresses in one piece",)),
    ({"name": "default", "subnet_size": 8}, ("the group 'default'", "no subnet of its own")),
    ({"settings": {"nova_quota_security_groups": 0}}, ("quota_security_groups is 0", "raise the quota")),
]


@pytest.mark.parametrize(("options", "words"), BAD_GROUP)
def test_a_bad_group_is_one_message_and_nothing_is_written(
    options: dict[str, t.Any], words: tuple[str, ...], sqlite_url: str
) -> None:
    rows = (
        network("blue", "10.0.0.0/24"),
        network("red", "10.1.0.0/16", project="other", project_origin="inventory"),
        SecurityGroup("other", "db", "blue", "10.0.0.48/28"),
    )
    keep(sqlite_url, alone(*rows))
    before = file_of(sqlite_url).read_bytes()
    with pytest.raises(InputError) as caught:
        group(sqlite_url, **options)
    assert "\n" not in str(caught.value)
    for each in words:
        assert each in str(caught.value)
    assert file_of(sqlite_url).read_bytes() == before
