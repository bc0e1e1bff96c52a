# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the store holds, as plain values, and the difference between two such states.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import datetime
import typing as t

from . import addressing

#: Who made a record: the inventory's declaration, or a command.
ORIGINS = ("inventory", "command")


class Project(t.NamedTuple):
    """network_manager None is the site's; a quota of None is the site's, -1 is none at all."""

    name: str
    network_manager: str | None = None
    quota_networks: int | None = None
    quota_fixed_ips: int | None = None
    quota_floating_ips: int | None = None
    quota_security_groups: int | None = None
    origin: str = "inventory"


class Network(t.NamedTuple):
    """One network, every field derived. Addresses as text, mtu in bytes.

    Fixed IPs lie from `allowed_start` to `allowed_end`. A network has an IPv4 range, an IPv6 range (a /64), or both;
    the fields of a range that it has not are None. `project_origin` says who gave it to its project.
    """

    label: str
    uuid: str
    manager: str
    cidr: str | None
    gateway: str | None
    dhcp_server: str | None
    dhcp_start: str | None
    allowed_start: str | None
    allowed_end: str | None
    cidr_v6: str | None
    gateway_v6: str | None
    vlan: int | None
    bridge: str
    bridge_interface: str | None
    vpn_private_address: str | None
    vpn_public_address: str | None
    vpn_public_port: int | None
    dns1: str | None
    dns2: str | None
    mtu: int | None
    multi_host: bool
    host: str | None
    priority: int | None
    project: str | None
    project_origin: str | None = None
    origin: str = "inventory"

    @property
    def range(self) -> addressing.Range | None:
        return None if self.cidr is None else addressing.known_network(self.cidr)

    @property
    def range_v6(self) -> addressing.Range | None:
        return None if self.cidr_v6 is None else addressing.known_network(self.cidr_v6)

    @property
    def ranges(self) -> str:
        """Its ranges in one text, for messages."""
        return " and ".join(cidr for cidr in (self.cidr, self.cidr_v6) if cidr is not None)


class SecurityGroup(t.NamedTuple):
    """A project's group of instances; `subnet` is the part of `network` that its instances get their addresses from."""

    project: str
    name: str
    network: str | None = None
    subnet: str | None = None
    origin: str = "inventory"
    description: str | None = None


class SecurityGroupRule(t.NamedTuple):
    """What a group lets in or out. None sets no limit; `remote_group` is another group of the project, or itself.

    `id` follows from all other fields but the origin (`security_rules.identified`).
    """

    id: str
    project: str
    security_group: str
    direction: str
    protocol: str | None = None
    from_port: int | None = None
    to_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    cidr: str | None = None
    remote_group: str | None = None
    origin: str = "inventory"


class Instance(t.NamedTuple):
    name: str
    project: str
    host: str
    origin: str = "inventory"


class Membership(t.NamedTuple):
    """An instance in a security group; one without any is in its project's group `default`."""

    instance: str
    security_group: str
    project: str


class Vif(t.NamedTuple):
    """A NIC: what ties an instance to a network. allowed_address_pairs is in the form of `address_pairs.text`."""

    id: str
    instance: str
    network: str
    mac: str
    allowed_address_pairs: str | None = None


class FixedIp(t.NamedTuple):
    """An address that somebody holds or once held, or that is kept out of the pool. `version` is 4 or 6.

    instance: held by that instance; host: held by that host as its own gateway address (multi_host);
    neither: given back at `released_at`, and nobody's before `quarantined_until` (seconds since the epoch).
    leased: the last that was heard of its DHCP lease. reserved_by: the origin that keeps it out of the pool, so that it
    goes to nobody, or to the instance `reserved_for` alone.
    """

    address: str
    version: int
    network: str
    instance: str | None = None
    host: str | None = None
    leased: bool = False
    reserved_by: str | None = None
    reserved_for: str | None = None
    released_at: float | None = None
    quarantined_until: float | None = None


class FloatingIp(t.NamedTuple):
    """A public address of a pool. `project` has it allocated, `fixed_address` is what it leads to.

    allocated_by and associated_by are origins. An auto-assigned one goes back to the pool with its instance.
    """

    address: str
    pool: str
    interface: str | None = None
    project: str | None = None
    fixed_address: str | None = None
    auto_assigned: bool = False
    allocated_by: str | None = None
    associated_by: str | None = None
    origin: str = "inventory"


class PortForward(t.NamedTuple):
    """The ports from `from_port` to `to_port` of a floating IP lead to those from `fixed_port` on of a fixed one."""

    address: str
    protocol: str
    from_port: int
    to_port: int
    fixed_address: str
    fixed_port: int
    origin: str = "inventory"


class State(t.NamedTuple):
    """All that the store holds, each kind by its natural key."""

    projects: dict[str, Project]
    networks: dict[str, Network]
    security_groups: dict[tuple[str, str], SecurityGroup]
    instances: dict[str, Instance]
    memberships: dict[tuple[str, str], Membership]
    vifs: dict[tuple[str, str], Vif]
    fixed_ips: dict[str, FixedIp]
    floating_ips: dict[str, FloatingIp]
    security_group_rules: dict[str, SecurityGroupRule]
    port_forwards: dict[tuple[str, str, int], PortForward]


def empty() -> State:
    return State(*({} for _kind in State._fields))


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
    "security_groups": ("delete", "modify", "create"),
    "security_group_rules": ("remove", "alter", "add"),
    "instances": ("remove", "alter", "add"),
    "memberships": ("remove", "alter", "add"),
    "vifs": ("remove", "alter", "add"),
    "fixed_ips": ("forget", "reassign", "allocate"),
    "floating_ips": ("delete", "reassign", "create"),
    "port_forwards": ("remove", "redirect", "add"),
}


def _name(row: t.Any, old: t.Any = None) -> str:
    """A record in one line; beside an old one only what differs."""
    if old is not None:
        fields = [field for field in row._fields if getattr(row, field) != getattr(old, field)]
        return " ".join(f"{field}={_shown(getattr(row, field))}" for field in fields if field != "released_at")
    words, known = _CALLED[type(row)]
    extra = [
        f"{field}={_shown(value)}"
        for field, value in row._asdict().items()
        if field not in known and value not in (None, False) and (field, value) != ("origin", "inventory")
    ]
    return " ".join([words.format(**row._asdict(), holder=_holder(row)), *extra])


#: How a record is called, and the fields that this says or that say nothing more.
_CALLED: dict[type, tuple[str, tuple[str, ...]]] = {
    Project: ("project {name}", ("name",)),
    Network: ("network {label}", ("label", "uuid")),
    SecurityGroup: ("security group {name} of project {project}", ("name", "project")),
    SecurityGroupRule: (
        "rule of security group {security_group} of project {project}: {direction}",
        ("id", "project", "security_group", "direction"),
    ),
    Instance: ("instance {name} of project {project} on host {host}", ("name", "project", "host")),
    Membership: (
        "instance {instance} in security group {security_group}",
        ("instance", "security_group", "project"),
    ),
    Vif: ("NIC {mac} of instance {instance} on network {network}", ("id", "instance", "network", "mac")),
    FixedIp: (
        "fixed IP {address} of network {network}, {holder}",
        ("address", "version", "network", "instance", "host", "released_at"),
    ),
    FloatingIp: ("floating IP {address} of pool {pool}", ("address", "pool")),
    PortForward: (
        "port forward {protocol} {from_port}:{to_port} of floating IP {address} to {fixed_address}:{fixed_port}",
        ("address", "protocol", "from_port", "to_port", "fixed_address", "fixed_port"),
    ),
}


def _shown(value: t.Any) -> t.Any:
    """A time in UTC to the second; all else as it is."""
    if not isinstance(value, float):
        return value
    return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _holder(row: t.Any) -> str:
    if not isinstance(row, FixedIp):
        return ""
    if row.instance is not None:
        return f"instance {row.instance}"
    if row.host is not None:
        return f"gateway of host {row.host}"
    return "released" if row.released_at is not None else "reserved"
