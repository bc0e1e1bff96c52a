"""Records for a store, made without any allocation: two networks, two projects, instances with NICs on both."""

from __future__ import annotations

import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, kinds
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    Change,
    FixedIp,
    FloatingIp,
    Instance,
    Network,
    Project,
    SecurityGroup,
    State,
    Vif,
    empty,
)

NETWORKS = {"blue": "10.0.0.0/24", "red": "10.1.0.0/16"}
PROJECTS = ("acme", "other")


def network(label: str, cidr: str, **more: t.Any) -> Network:
    subnet = addressing.known_network(cidr)
    fields: dict[str, t.Any] = dict.fromkeys(Network._fields)
    fields.update(
        label=label,
        uuid=addressing.stable_uuid(f"network/{label}"),
        manager="flatdhcp",
        cidr=cidr,
        gateway=addressing.text(subnet.first + 1),
        dhcp_server=addressing.text(subnet.first + 1),
        dhcp_start=addressing.text(subnet.first + 2),
        allowed_start=addressing.text(subnet.first + 2),
        allowed_end=addressing.text(subnet.last - 1),
        bridge=f"br-{label}",
        multi_host=True,
        origin="command",
    )
    return Network(**{**fields, **more})


def vif(instance: str, label: str) -> Vif:
    owner = f"{label}/{instance}"
    return Vif(addressing.stable_uuid(owner), instance, label, addressing.stable_mac(owner, ()))


def fixed_ip(address: str, **more: t.Any) -> FixedIp:
    """In the network that the address is of; IPv6 is in blue."""
    label = "red" if address.startswith("10.1.") else "blue"
    return FixedIp(address, addressing.version(address), label, **more)


def state_of(*rows: t.Any) -> State:
    made: State = empty()
    for kind in kinds.KINDS:
        getattr(made, kind.name).update(kind.by_key(row for row in rows if type(row) is kind.record))
    return made


def site(instances: int = 6, *more: t.Any) -> State:
    """Nobody holds an address yet but by the further rows."""
    names = [f"i{number}" for number in range(instances)]
    return state_of(
        *(Project(name, origin="command") for name in PROJECTS),
        *(network(label, cidr) for label, cidr in NETWORKS.items()),
        *(SecurityGroup(project, "default", origin="command") for project in PROJECTS),
        *(Instance(name, PROJECTS[number % 2], f"h{number % 3}", "command") for number, name in enumerate(names)),
        *(vif(name, label) for name in names for label in NETWORKS),
        *(FloatingIp(f"192.0.2.{number}", "nova", origin="command") for number in range(8, 12)),
        *more,
    )


def count(changes: dict[str, Change]) -> int:
    return sum(len(part) for change in changes.values() for part in change)
