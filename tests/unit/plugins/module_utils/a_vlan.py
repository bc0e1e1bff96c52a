"""Plans with VLAN interfaces, and links as a kernel shows them: help for the tests beside."""

from __future__ import annotations

import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import links

MARK = "tenantnet.nova"


def vlan(name: str = "vlan100", link: str = "eth1", number: object = 100, **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "link": link, "id": number, **keys}


def bridge(name: str = "br100", *interfaces: str, **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "interfaces": list(interfaces), **keys}


def plan(*vlans: dict[str, t.Any], bridges: t.Sequence[dict[str, t.Any]] = (), **sysctl: str) -> dict[str, t.Any]:
    return {"bridges": list(bridges), "vlans": list(vlans), "sysctl": sysctl}


def nic(name: str = "eth1", **keys: t.Any) -> links.Link:
    return links.Link(name, 0, **{"mac": "02:00:00:00:00:01", **keys})


def ours(name: str = "vlan100", parent: str = "eth1", number: int | None = 100, **keys: t.Any) -> links.Link:
    given = {"kind": "vlan", "alias": MARK, "mac": "02:00:00:00:00:01", "parent": parent, "vlan_id": number, **keys}
    return links.Link(name, 0, **given)


def our_bridge(name: str = "br100", interfaces: str = "vlan100", **keys: t.Any) -> links.Link:
    alias = f"{MARK} interfaces={interfaces} addresses="
    return links.Link(name, 0, **{"kind": "bridge", "alias": alias, "mac": "02:00:00:00:00:01", **keys})


def state(*found: links.Link, **sysctl: str | None) -> links.State:
    return links.State({one.name: one for one in found}, dict(sysctl))


def compare(section: dict[str, t.Any], have: links.State) -> links.Difference:
    return links.compare(links.parse(section), have)
