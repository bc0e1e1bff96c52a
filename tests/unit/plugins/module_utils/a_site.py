"""A small site to declare in tests: three hosts, one flat DHCP network."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import allocation, declaration, plan, state

ALL_NODES = ["bridging", "addressing", "routing"]
V6 = {"label": "blue", "fixed_range_v6": "2001:db8:1::/64"}

SITE: dict[str, t.Any] = {
    "settings": {"nova_flat_network_bridge": "br100"},
    "networks": [{"label": "blue", "fixed_range": "10.0.0.0/24"}],
    "projects": ["acme"],
    "instances": [],
    "hosts": {
        "net1": {"nodes": ALL_NODES, "nova_flat_interface": "eth1", "nova_public_interface": "eth2"},
        "compute1": {"nodes": ["bridging"], "nova_flat_interface": "eth1"},
        "compute2": {"nodes": ["bridging"], "nova_flat_interface": "eth1"},
    },
}


def site(**changes: t.Any) -> dict[str, t.Any]:
    """The site with whole parts replaced; `settings` is merged."""
    made = copy.deepcopy(SITE)
    made["settings"].update(changes.pop("settings", {}))
    made.update(changes)
    return made


def instance(name: str, host: str = "compute1", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "project": "acme", "host": host, **more}


def multi_host(**changes: t.Any) -> dict[str, t.Any]:
    """The same site where each host serves its own guests."""
    made = site(**changes)
    made["settings"]["nova_multi_host"] = True
    for host in made["hosts"].values():
        host.update(nodes=ALL_NODES, nova_public_interface="eth2")
    return made


def allocate(declared: dict[str, t.Any], before: state.State | None = None, now: float = 1000.0) -> state.State:
    return allocation.allocate(declaration.parse(**declared), before or state.empty(), now)


def plans(declared: dict[str, t.Any], before: state.State | None = None) -> dict[str, plan.Plan]:
    return plan.compose(allocate(declared, before), declaration.parse(**declared))


def address_of(held: state.State, name: str, network: str = "blue") -> str:
    (address,) = [
        record.address for record in held.fixed_ips.values() if (record.instance, record.network) == (name, network)
    ]
    return address
