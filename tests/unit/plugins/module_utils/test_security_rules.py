# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of security groups from the declaration over the store to the hosts' plans."""

from __future__ import annotations

import cProfile
import typing as t

import pytest
from a_model import refused, sound
from a_site import allocate, instance, multi_host, plans, site
from ansible_collections.tenantnet.nova.plugins.module_utils._core import invariants, kinds, packet_filter, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import SecurityGroup

DUAL = [{"label": "blue", "fixed_range": "10.0.0.0/24", "fixed_range_v6": "fd00::/64"}]


def group(name: str, *rules: dict[str, t.Any], project: str = "acme", **more: t.Any) -> dict[str, t.Any]:
    return {"project": project, "name": name, "rules": list(rules), **more}


def port(number: t.Any, **more: t.Any) -> dict[str, t.Any]:
    return {"protocol": "tcp", "ports": number, **more}


def filters(declared: dict[str, t.Any], host: str = "compute1") -> dict[str, t.Any]:
    return plans(declared)[host]["packet_filter"]


def said(section: dict[str, t.Any], name: str) -> list[dict[str, t.Any]]:
    """The rules of a group in a plan, without what is null."""
    (found,) = [entry for entry in section["security_groups"] if entry["name"] == name]
    return [{key: value for key, value in rule.items() if value is not None} for rule in found["rules"]]


def test_a_guest_of_no_group_is_in_the_default_one_which_has_no_rules() -> None:
    section = filters(site(instances=[instance("a")]))
    (v4, link) = section["instances"]
    assert v4 == {
        "address": "10.0.0.2",
        "cidr": "10.0.0.0/24",
        "dhcp_server": "10.0.0.1",
        "security_groups": ["acme/default"],
    }
    assert link["address"].startswith("fe80::") and link["security_groups"] == ["acme/default"]
    assert section["security_groups"] == [{"name": "acme/default", "members": [], "rules": []}]
    assert "instances" not in filters(site(instances=[instance("a")]), "net1")


def test_rules_and_sources_reach_the_hosts_that_need_them() -> None:
    declared = site(
        networks=DUAL,
        projects=["acme", "other"],
        security_groups=[
            group("web", port(80), port("8000:8010", cidr="192.0.2.9/24"), port(22, group="admin")),
            group("admin", {"protocol": "icmp", "icmp_type": -1}),
            group("db", port(5432, group="web")),
            group("web", port(1), project="other"),
        ],
        instances=[
            instance("w1", security_groups=["web"]),
            instance("w2", "compute2", security_groups=["web", "default"]),
            instance("a1", "compute2", security_groups=["admin"]),
            instance("o1", "compute2", project="other", security_groups=["web"]),
        ],
    )
    held = sound(allocate(declared))
    first, second = filters(declared), filters(declared, "compute2")
    assert [entry["name"] for entry in first["security_groups"]] == ["acme/admin", "acme/web"]
    assert said(first, "acme/web") == [
        {"direction": "ingress", "protocol": "tcp", "ports": "22", "group": "acme/admin"},
        {"direction": "ingress", "protocol": "tcp", "ports": "80"},
        {"direction": "ingress", "protocol": "tcp", "ports": "8000:8010", "cidr": "192.0.2.0/24"},
    ]
    members = {entry["name"]: entry["members"] for entry in first["security_groups"]}
    of_a1 = [row.address for row in held.fixed_ips.values() if row.instance == "a1"]
    assert members["acme/web"] == [] and sorted(members["acme/admin"]) == sorted(of_a1) and len(of_a1) == 2
    assert said(second, "acme/admin") == [{"direction": "ingress", "protocol": "icmp"}]
    assert said(second, "other/web") == [{"direction": "ingress", "protocol": "tcp", "ports": "1"}]
    groups = {entry["address"]: entry["security_groups"] for entry in second["instances"]}
    assert groups[address_of_v4(held, "w2")] == ["acme/default", "acme/web"]
    for section in (first, second):
        packet_filter.parse(section)


def address_of_v4(held: state.State, name: str) -> str:
    (address,) = [row.address for row in held.fixed_ips.values() if row.instance == name and row.version == 4]
    return address


def test_in_multi_host_each_guest_knows_its_own_hosts_server() -> None:
    section = filters(multi_host(instances=[instance("a"), instance("b", "compute2")]), "compute2")
    assert section["instances"][0]["dhcp_server"] == "10.0.0.3"


def test_what_is_no_longer_declared_goes_in_whatever_order_it_depends() -> None:
    one, two = group("one", port(1, group="two")), group("two", port(2, group="one"))
    held = sound(allocate(site(security_groups=[one, two])))
    assert len(held.security_group_rules) == 2
    assert allocate(site(security_groups=[one, two]), held) == held
    less = sound(allocate(site(security_groups=[group("two", port("2"))]), held))
    assert less.security_groups.keys() == {("acme", "two")} and len(less.security_group_rules) == 1
    assert sound(allocate(site(), held)).security_groups == {}
    with refused("'one'", "no longer declared", "security group 'two' name it"):
        allocate(site(security_groups=[two]), held)


def test_the_default_group_is_there_whether_or_not_it_is_declared() -> None:
    declared = site(security_groups=[group("default", port(22))], instances=[instance("a")])
    held = sound(allocate(declared))
    assert said(filters(declared), "acme/default") == [{"direction": "ingress", "protocol": "tcp", "ports": "22"}]
    both = site(
        security_groups=[group("web", port(80, group="default"))],
        instances=[instance("a", security_groups=["default", "web"])],
    )
    later = sound(allocate(both, held))
    assert later.memberships.keys() == {("a", "default"), ("a", "web")} and len(later.security_group_rules) == 1
    assert later.security_groups["acme", "default"] == SecurityGroup("acme", "default")
    assert allocate(both, later) == later
    alone = sound(allocate(site(instances=[instance("a")]), later))
    assert alone.security_groups == alone.memberships == alone.security_group_rules == {}
    assert sound(allocate(site(projects=[]), later)).security_groups == {}


def test_site_wide_rules_and_the_metadata_service() -> None:
    declared = site(instances=[instance("a"), instance("b", "net1")])
    declared["settings"].update(
        nova_provider_rules=[{"cidr": "198.51.100.66/32"}, {"protocol": "tcp", "ports": 25, "cidr": "::/0"}],
        nova_allow_same_net_traffic=True,
        nova_metadata_host="192.0.2.30",
    )
    section = filters(declared)
    assert section["allow_same_net_traffic"] is True and "metadata" not in section
    assert [rule["cidr"] for rule in section["provider_rules"]] == ["198.51.100.66/32", "::/0"]
    assert filters(declared, "net1")["metadata"] == {"host": "192.0.2.30", "port": 8775}
    declared["settings"].update(nova_metadata_host=None, nova_metadata_port=80)
    assert filters(declared, "net1")["metadata"] == {"host": None, "port": 80}
    assert "metadata" not in filters(site(instances=[instance("b", "net1")]), "net1")
    meaning = packet_filter.intent(packet_filter.parse(section))
    assert [len(part.provider) for part in (meaning.security, meaning.security_v6)] == [1, 1]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"colour": "red"}, ("rules[0]", "'colour'")),
        (port("90:80"), ("rules[0].ports", "'90:80'")),
        (port(80, group="nobody"), ("rules[0].group", "'nobody'", "project 'acme'", "default, web")),
        (port(80, group="web", cidr="::/0"), ("rules[0]", "both cidr and group")),
        ({"protocol": "icmp", "icmp_code": 1}, ("rules[0].icmp_code", "give icmp_type")),
    ],
)
def test_a_mistake_is_named_by_its_path(rule: dict[str, t.Any], words: tuple[str, ...]) -> None:
    with refused("nova_security_groups[0]", *words):
        allocate(site(security_groups=[group("web", rule)]))


def test_a_rule_that_is_not_as_derived_is_found() -> None:
    held = allocate(site(security_groups=[group("web", port(80))]))
    (rule,) = held.security_group_rules.values()
    for wrong, words in (
        (rule._replace(from_port=81, to_port=81), "as derived"),
        (rule._replace(protocol="gre"), "protocol: 'gre'"),
        (rule._replace(remote_group="gone"), "refers to security group gone"),
        (rule._replace(cidr="10.0.0.1/8"), "not in its canonical form '10.0.0.0/8'"),
    ):
        found = invariants.violations(kinds.rows_of(held._replace(security_group_rules={rule.id: wrong})))
        assert any(words in line for line in found), found


def test_many_members_and_rules_are_planned_in_nearly_linear_time() -> None:
    """Time as calls of functions, built-in ones too, which are as many on any machine."""

    def calls(guests: int) -> int:
        groups = [group(f"g{n}", *(port(1000 + r, group=f"g{(n + r) % 20}") for r in range(20))) for n in range(20)]
        declared = site(
            networks=[{"label": "blue", "fixed_range": "10.0.0.0/16"}],
            security_groups=groups,
            settings={"nova_quota_security_groups": -1},
            instances=[instance(f"i{n}", f"compute{n % 2 + 1}", security_groups=[f"g{n % 20}"]) for n in range(guests)],
        )
        held = allocate(declared)
        profile = cProfile.Profile()
        made = profile.runcall(plans, declared, held)
        assert sum(len(entry["members"]) for entry in made["net1"]["packet_filter"].get("security_groups", [])) == 0
        assert sum(len(entry["members"]) for entry in made["compute1"]["packet_filter"]["security_groups"]) == guests
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(4000) < 6 * calls(1000)
