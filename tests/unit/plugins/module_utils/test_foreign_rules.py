# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other programs' rules keep guests from, told from rules as nft listed them on hosts that run these programs.

recorded/: nft 1.0.6 with firewalld 1.3.3 as installed and with br100 in its zone trusted, Docker 20.10, ufw 0.36, and a
rule set as administrators write one.
"""

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import foreign_rules as rules

RECORDED = pathlib.Path(__file__).parent / "recorded"
GATEWAY = rules.gateway_probes("br100", "eth2", dhcp=True, floating=True)
ALL = [*GATEWAY, *rules.bridged_probes("br100")]


def recorded(name: str) -> list[dict[str, t.Any]]:
    return json.loads((RECORDED / f"nft-{name}.json").read_text())["nftables"]


def found(name: str, probes: list[rules.Probe] | None = None) -> list[tuple[str, bool, tuple[str, ...]]]:
    return [
        (b.chain, b.by_policy, b.purposes) for b in rules.blocks([recorded(name)], ALL if probes is None else probes)
    ]


def table(*chains: tuple[str, str, list[t.Any]], **hooked: str) -> list[dict[str, t.Any]]:
    """A table of the family inet; of each chain its name, its policy ("" for one without a hook) and its rules."""
    listing: list[dict[str, t.Any]] = []
    for name, policy, _rules in chains:
        chain = {"family": "inet", "table": "t", "name": name}
        listing.append({"chain": {**chain, "hook": "forward", "policy": policy} if policy else chain})
    for name, _policy, bodies in chains:
        listing += [{"rule": {"family": "inet", "table": "t", "chain": name, "expr": body}} for body in bodies]
    return listing


def meets(key: str, right: t.Any, op: str = "==") -> dict[str, t.Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def port(protocol: str, right: t.Any) -> dict[str, t.Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}}


DROP, ACCEPT = {"drop": None}, {"accept": None}
UNKNOWN = meets("mark", 7)


def drops(*chains: tuple[str, str, list[t.Any]]) -> bool:
    """Whether the way outwards is blocked."""
    return bool(rules.blocks([table(*chains)], [probe for probe in GATEWAY if probe.purpose == "the way outwards"]))


def test_firewalld_refuses_a_bridge_of_no_zone_but_leaves_floating_ips() -> None:
    assert found("firewalld") == [
        ("filter_INPUT", False, ("DHCP", "DNS")),
        ("filter_FORWARD", False, ("the way outwards", "traffic within the bridge")),
    ]


def test_firewalld_lets_a_trusted_bridge_through_and_no_other() -> None:
    assert found("firewalld-trusted") == []
    other = rules.gateway_probes("br101", "eth2", dhcp=True, floating=False)
    assert [chain for chain, _policy, _purposes in found("firewalld-trusted", other)] == [
        "filter_INPUT",
        "filter_FORWARD",
    ]


def test_metadata_of_a_flat_network_comes_to_the_host_itself() -> None:
    probe = [rules.metadata_probe("br100", 8775)]
    assert found("firewalld", probe) == [("filter_INPUT", False, ("metadata",))]
    assert found("firewalld-trusted", probe) == found("docker", probe) == []
    [block] = rules.blocks([recorded("handmade")], probe)
    assert "nft 'insert rule inet filter input iifname { \"br100\" } accept'" in rules.describe(block)


def test_docker_drops_what_is_forwarded_and_not_its_own() -> None:
    assert found("docker") == [("FORWARD", True, ("the way outwards", "floating IPs", "traffic within the bridge"))]
    assert found("docker", rules.gateway_probes("docker0", "eth2", dhcp=True, floating=False)) == []


def test_what_cannot_be_told_is_not_called_blocked() -> None:
    """ufw asks by extensions of iptables, which nft does not show."""
    assert found("ufw") == []


def test_rules_of_an_administrator() -> None:
    assert found("handmade") == [
        ("input", True, ("DHCP", "DNS")),
        ("forward", True, ("the way outwards", "floating IPs", "traffic within the bridge")),
    ]
    ours = copy.deepcopy(recorded("handmade"))
    for chain in ("input", "forward"):
        place = next(i for i, entry in enumerate(ours) if entry.get("rule", {}).get("chain") == chain)
        ours.insert(place, {"rule": {"chain": chain, "expr": [meets("iifname", "br100"), ACCEPT]}})
    left = [(block.chain, block.purposes) for block in rules.blocks([ours], ALL)]
    assert left == [("forward", ("floating IPs",))]


@pytest.mark.parametrize(
    "conditions, blocked",
    [
        ([], True),
        ([meets("iifname", "br100")], True),
        ([meets("iifname", "br101")], False),
        ([meets("iifname", "br*")], True),
        ([meets("iifname", {"set": ["eth0", "br100"]})], True),
        ([meets("iifname", {"set": ["eth0", "br101"]})], False),
        ([meets("iifname", "@ours")], False),
        ([meets("iifname", "br100", "!=")], False),
        ([meets("oifname", "eth0", "!=")], True),
        ([meets("nfproto", "ipv6")], False),
        ([UNKNOWN], False),
        ([{"limit": {"rate": 5, "per": "second"}}], False),
        ([{"counter": {"packets": 0, "bytes": 0}}], True),
        ([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}], False),
        ([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}], True),
        ([port("tcp", {"range": [1, 500]})], True),
        ([port("tcp", 80)], False),
        ([port("udp", 443)], False),
    ],
)  # fmt: skip
def test_a_rule_that_drops_blocks_only_what_it_certainly_meets(conditions: list[t.Any], blocked: bool) -> None:
    assert drops(("f", "accept", [[*conditions, DROP]])) is blocked


def test_the_way_through_chains() -> None:
    assert drops(("f", "drop", [[{"jump": {"target": "c"}}]]), ("c", "", [[{"return": None}], [ACCEPT]]))
    assert not drops(("f", "drop", [[{"jump": {"target": "c"}}], [ACCEPT]]), ("c", "", [[{"return": None}], [DROP]]))
    # After a goto it is the policy's turn, not the next rule's.
    assert drops(("f", "drop", [[{"goto": {"target": "c"}}], [ACCEPT]]), ("c", "", []))
    assert drops(("f", "accept", [[{"goto": {"target": "c"}}], [ACCEPT]]), ("c", "", [[DROP]]))
    # What may have been accepted below is not certain to be dropped.
    assert not drops(("f", "drop", [[{"jump": {"target": "c"}}]]), ("c", "", [[UNKNOWN, ACCEPT]]))
    assert not drops(("f", "drop", [[UNKNOWN, {"goto": {"target": "c"}}]]), ("c", "", [[ACCEPT]]))
    assert drops(("f", "drop", [[UNKNOWN, {"jump": {"target": "c"}}]]), ("c", "", [[DROP]]))
    # Rules that lead in a circle, which no kernel takes, end as well.
    assert not drops(("f", "drop", [[{"jump": {"target": "c"}}]]), ("c", "", [[{"jump": {"target": "c"}}]]))


def test_maps_of_verdicts() -> None:
    def by_map(entries: list[t.Any], policy: str) -> bool:
        body = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": entries}}}
        return drops(("f", policy, [[body]]))

    assert by_map([["eth0", ACCEPT], ["br100", DROP]], "accept")
    assert not by_map([["br100", ACCEPT]], "drop")
    assert by_map([["eth0", ACCEPT]], "drop")
    named = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}
    assert not drops(("f", "drop", [[named]]))


def test_one_message_for_a_table_with_the_commands() -> None:
    probes = [*GATEWAY, *rules.gateway_probes("br101", "eth2", dhcp=True, floating=True)]
    [block] = rules.together(rules.blocks([recorded("firewalld")], probes))
    text = rules.describe(block)
    assert text.startswith("guests of bridges br100, br101 are kept from DHCP, DNS and the way outwards: ")
    assert text.endswith(
        "firewall-cmd --permanent --zone=trusted --add-interface=br100 --add-interface=br101 && "
        "firewall-cmd --zone=trusted --add-interface=br100 --add-interface=br101"
    )
    inputs, forwards = map(rules.describe, rules.together(rules.blocks([recorded("handmade")], GATEWAY)))
    assert "nft 'insert rule inet filter input iifname { \"br100\" } udp dport { 53, 67 } accept'" in inputs
    assert 'insert rule inet filter forward oifname { "br100" } accept\'' in forwards
    [docker] = map(rules.describe, rules.together(rules.blocks([recorded("docker")], GATEWAY)))
    assert docker.endswith("iptables -I DOCKER-USER -i br100 -j ACCEPT && iptables -I DOCKER-USER -o br100 -j ACCEPT")
