"""Declarations drawn at random: few of everything and small ranges, so that things meet and run out."""

from __future__ import annotations

import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import declaration
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import State
from hypothesis import strategies as st

#: Hosts that can do all, so that what is allocated can always be planned.
HOSTS = {
    name: {
        "nodes": ["bridging", "addressing", "routing"],
        "nova_vlan_interface": "eth1",
        "nova_public_interface": "eth2",
    }
    for name in ("h1", "h2", "h3")
}

HOST = st.sampled_from(sorted(HOSTS))
PROJECT = st.sampled_from(["p1", "p2", "p3"])
LABEL = st.sampled_from(["a", "b", "c", "d"])
NAME = st.sampled_from([f"i{number}" for number in range(6)])
GROUP = st.sampled_from(["web", "db", "default"])
RANGE = st.sampled_from(["10.0.0.0/28", "10.0.0.16/28", "10.0.0.0/27", "10.0.1.0/28", "10.0.2.0/24", "10.0.0.8/29"])
RANGE_V6 = st.sampled_from(["fd00::/64", "fd00:0:0:1::/64", "fd00::/60", "fd00::/60"])
ADDRESS = st.one_of(
    st.integers(0, 31).map(lambda number: f"10.0.0.{number}"),
    st.sampled_from(["10.0.1.3", "10.0.2.3", "fd00::5", "fd00:0:0:1::5"]),
)
FLOATING = st.sampled_from(["192.0.2.0/29", "192.0.2.9", "192.0.2.10-192.0.2.12", "10.0.1.4", "fd00:9::1-fd00:9::3"])
ONE_FLOATING = st.one_of(
    st.integers(1, 12).map(lambda number: f"192.0.2.{number}"), st.sampled_from(["fd00:9::1", "fd00:9::2"])
)
POOL = st.sampled_from(["nova", "ext"])
MAC = st.integers(1, 3).map(lambda number: f"52:54:00:00:00:0{number}")
#: Outside all networks, whose gateways they must not be.
PAIRS = st.lists(
    st.sampled_from(["203.0.113.7", "203.0.113.64/28", "2001:db8:ffff::/64"]).map(lambda each: {"ip_address": each}),
    unique_by=lambda each: each["ip_address"],
)
MANAGER = st.sampled_from(["flat", "flatdhcp", "vlan"])
NOTHING = st.none()
CHANGED = ("project", "multi_host", "gateway", "num_networks", "reserved", "host", "priority", "manager", "mtu")


def maybe(strategy: st.SearchStrategy, often: int = 1) -> st.SearchStrategy:
    """Nothing `often` times as often as something."""
    return st.one_of(*[NOTHING] * often, strategy)


@st.composite
def network_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    manager = draw(MANAGER)
    several = draw(st.sampled_from([1, 1, 1, 2, 3]))
    fields = {
        "manager": manager,
        "fixed_range": draw(st.one_of(RANGE, RANGE, RANGE, RANGE, NOTHING)) if several == 1 else "10.0.3.0/24",
        "fixed_range_v6": draw(maybe(RANGE_V6, 2)),
        "num_networks": several,
        "network_size": 8 if several > 1 else None,
        "multi_host": draw(st.booleans()),
        "project": draw(maybe(PROJECT, 3)),
        "priority": draw(maybe(st.integers(0, 2), 2)),
        "mtu": draw(maybe(st.just(1450), 3)),
        "dns1": draw(maybe(st.just("198.51.100.1"), 3)),
        "host": draw(maybe(HOST, 5)),
    }
    if fields["fixed_range"] is None:
        fields["fixed_range_v6"] = draw(RANGE_V6)
    if fields["multi_host"]:
        fields["host"] = None
    if manager != "vlan":
        fields["bridge"] = draw(st.sampled_from(["br1", "br2", "br3", "br100"]))
    elif several == 1:
        fields["vlan"] = draw(maybe(st.integers(100, 103), 3))
    if several == 1 and fields["fixed_range"] is not None:
        base, offset = fields["fixed_range"].split("/")[0].rsplit(".", 1)
        inside = st.integers(1, 6).map(lambda number: f"{base}.{int(offset) + number}")
        fields["gateway"] = draw(maybe(inside, 4))
        fields["dhcp_server"] = draw(maybe(inside, 6))
        fields["reserved"] = draw(maybe(st.lists(inside, max_size=2), 3))
    return {name: value for name, value in fields.items() if value is not None}


def instance_fields(data: st.DataObject, held: State) -> dict[str, t.Any]:
    """Mostly of what is there, so that it is mostly not refused."""
    draw = data.draw
    project = draw(st.sampled_from(sorted(held.projects) or ["p1"]))
    fields = {"project": project, "host": draw(HOST)}
    if draw(st.integers(0, 2)):
        networks = [label for label, row in held.networks.items() if row.project in (None, project)]
        fields["network"] = draw(st.sampled_from(networks or ["a"]))
        network = held.networks.get(fields["network"])
        if network is not None and network.range is not None and not draw(st.integers(0, 3)):
            fields["address"] = network.range.text(network.range.first + draw(st.integers(1, 7)))
        elif network is not None and network.range_v6 is not None and not draw(st.integers(0, 3)):
            fields["address_v6"] = network.range_v6.text(network.range_v6.first + draw(st.integers(1, 3)))
        if not draw(st.integers(0, 3)):
            fields["mac"] = draw(MAC)
        if not draw(st.integers(0, 3)):
            fields["allowed_address_pairs"] = draw(PAIRS)
    floating = [row.address for row in held.floating_ips.values() if row.project in (None, project)]
    if floating and not draw(st.integers(0, 3)):
        fields["floating_ip"] = draw(st.one_of(st.just(True), st.sampled_from(sorted(floating))))
    groups = [name for owner, name in held.security_groups if owner == project]
    if groups and draw(st.booleans()):
        fields["security_groups"] = [draw(st.sampled_from(groups))]
    return fields


PROJECT_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "network_manager": MANAGER,
        "quota_fixed_ips": st.sampled_from([1, 3, -1]),
        "quota_networks": st.sampled_from([1, 2, -1]),
        "quota_floating_ips": st.sampled_from([0, 2, -1]),
        "floating_ips": st.lists(ONE_FLOATING, max_size=2, unique=True),
    },
)
GROUP_FIELDS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"subnet_size": st.sampled_from([2, 4, 8])}, optional={"network": LABEL}),
    st.fixed_dictionaries({"subnet_size": st.sampled_from([2, 4])}),
    st.fixed_dictionaries({"subnet": st.sampled_from(["10.0.0.4/30", "10.0.2.8/30"])}, optional={"network": LABEL}),
)
OPTIONS = st.one_of(
    st.tuples(st.just("nova_network_manager"), MANAGER),
    st.tuples(st.just("nova_force_dhcp_release"), st.booleans()),
    st.tuples(st.just("nova_auto_assign_floating_ip"), st.booleans()),
    st.tuples(st.just("nova_teardown_unused_network_gateway"), st.booleans()),
    st.tuples(st.just("nova_cnt_vpn_clients"), st.integers(0, 1)),
    st.tuples(st.just("nova_reserved_vlans"), st.lists(st.integers(100, 102), max_size=2)),
)

#: What is declared: by part, and in it by key.
Declared = dict[str, dict[t.Any, dict[str, t.Any]]]


def parsed(declared: Declared) -> declaration.Declaration:
    return declaration.parse(
        settings=declared["settings"][""],
        networks=[{"label": label, **fields} for label, fields in declared["networks"].items()],
        projects=[{"name": name, **fields} for name, fields in declared["projects"].items()],
        instances=[{"name": name, **fields} for name, fields in declared["instances"].items()],
        hosts=HOSTS,
        security_groups=[
            {"project": project, "name": name, **fields}
            for (project, name), fields in declared["security_groups"].items()
        ],
        floating_ranges=[{"range": key, **fields} for key, fields in declared["floating_ranges"].items()],
    )
