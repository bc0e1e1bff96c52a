# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the store holds, as plain values, and the difference between two such states.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing

#: Who made a record: the inventory's declaration, or a command.
ORIGINS = ("inventory", "command")


class Project(t.NamedTuple):
    name: str
    origin: str = "inventory"


class Network(t.NamedTuple):
    """One network, every field derived. Addresses as text, mtu in bytes."""

    label: str
    manager: str
    cidr: str
    gateway: str
    dhcp_server: str
    dhcp_start: str
    bridge: str
    bridge_interface: str | None
    dns1: str | None
    dns2: str | None
    mtu: int | None
    multi_host: bool
    host: str | None
    project: str | None
    origin: str = "inventory"

    @property
    def range(self) -> addressing.Range:
        return addressing.known_network(self.cidr)


class Instance(t.NamedTuple):
    name: str
    project: str
    host: str
    origin: str = "inventory"


class Vif(t.NamedTuple):
    """A NIC: what ties an instance to a network."""

    id: str
    instance: str
    network: str
    mac: str


class FixedIp(t.NamedTuple):
    """An address that somebody holds or once held.

    instance: held by that instance; host: held by that host as its own gateway address (multi_host);
    neither: given back at `released_at` (seconds since the epoch).
    """

    address: str
    network: str
    instance: str | None
    host: str | None
    released_at: float | None


class State(t.NamedTuple):
    """All that the store holds, each kind by its natural key."""

    projects: dict[str, Project]
    networks: dict[str, Network]
    instances: dict[str, Instance]
    vifs: dict[tuple[str, str], Vif]
    fixed_ips: dict[str, FixedIp]


def empty() -> State:
    return State({}, {}, {}, {}, {})


class Change(t.NamedTuple):
    """Rows of one kind: `removed` and `added` by key, `altered` as pairs of old and new."""

    removed: list[t.Any]
    altered: list[tuple[t.Any, t.Any]]
    added: list[t.Any]


def difference(before: State, after: State) -> dict[str, Change]:
    """What has to be written to get from one state to the other; kinds without a change are left out."""
    changes = {}
    for kind in State._fields:
        old: dict[t.Any, t.Any] = getattr(before, kind)
        new: dict[t.Any, t.Any] = getattr(after, kind)
        change = Change(
            [row for key, row in old.items() if key not in new],
            [(old[key], row) for key, row in new.items() if key in old and old[key] != row],
            [row for key, row in new.items() if key not in old],
        )
        if any(change):
            changes[kind] = change
    return changes


def describe(changes: dict[str, Change]) -> list[str]:
    """The changes in the words of the network, one line each, in the order in which they matter to a reader."""
    lines: list[str] = []
    for kind, verbs in _VERBS.items():
        change = changes.get(kind, Change([], [], []))
        lines += [f"{verbs[0]} {_name(row)}" for row in change.removed]
        lines += [f"{verbs[1]} {_name(old)} -> {_name(new, old)}" for old, new in change.altered]
        lines += [f"{verbs[2]} {_name(row)}" for row in change.added]
    return lines


def listing(changes: dict[str, Change]) -> dict[str, str]:
    """The changed records before and after, for Ansible's diff."""
    before, after = [], []
    for kind in _VERBS:
        change = changes.get(kind, Change([], [], []))
        before += [_name(row) for row in change.removed + [old for old, _new in change.altered]]
        after += [_name(row) for row in [new for _old, new in change.altered] + change.added]
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}


#: Words for a removed, an altered and an added record.
_VERBS = {
    "projects": ("remove", "alter", "add"),
    "networks": ("delete", "modify", "create"),
    "instances": ("remove", "alter", "add"),
    "vifs": ("remove", "alter", "add"),
    "fixed_ips": ("forget", "reassign", "allocate"),
}


def _name(row: t.Any, old: t.Any = None) -> str:
    """A record in one line; beside an old one only what differs."""
    if old is not None:
        fields = [field for field in row._fields if getattr(row, field) != getattr(old, field)]
        return " ".join(f"{field}={getattr(row, field)}" for field in fields)
    if isinstance(row, FixedIp):
        return f"fixed IP {row.address} of network {row.network}, {_holder(row)}"
    if isinstance(row, Vif):
        return f"NIC {row.mac} of instance {row.instance} on network {row.network}"
    if isinstance(row, Instance):
        return f"instance {row.name} of project {row.project} on host {row.host}"
    if isinstance(row, Project):
        return f"project {row.name}"
    return f"network {row.label} " + " ".join(
        f"{field}={getattr(row, field)}"
        for field in row._fields[1:]
        if getattr(row, field) is not None and (field, getattr(row, field)) != ("origin", "inventory")
    )


def _holder(row: FixedIp) -> str:
    if row.instance is not None:
        return f"instance {row.instance}"
    return f"gateway of host {row.host}" if row.host is not None else "released"
