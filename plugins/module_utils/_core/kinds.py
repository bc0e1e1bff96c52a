# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of records that the store holds: the one place where a kind says how it is kept.

From here the drivers make their tables, the export its sections, and the check of a store its rules. A kind's columns
are the fields of its record, in their order, with the types of their annotations.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing
from . import state as states
from .state import State


class Column(t.NamedTuple):
    name: str
    type: type
    optional: bool

    def takes(self, value: object) -> bool:
        """Whether the value is of the column's type; a truth value is no number here."""
        return isinstance(value, self.type) and isinstance(value, bool) == (self.type is bool)


class Reference(t.NamedTuple):
    """Columns that, where none of them is null, name a record of another kind."""

    columns: tuple[str, ...]
    kind: str
    key: tuple[str, ...]


class Derived(t.NamedTuple):
    """A column beside the record's own that the database is searched by, computed from the record."""

    name: str
    type: type
    of: t.Callable[[t.Any], t.Any]


class Kind(t.NamedTuple):
    """`key` is what a record is known by; `primary` the primary key where that is another one.

    `checks` are named conditions in SQL that both engines understand; `indexes` are the columns that records are
    searched by beside their keys and what is unique.
    """

    name: str
    record: t.Any
    key: tuple[str, ...]
    primary: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    derived: tuple[Derived, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(_column(name, note) for name, note in self.record.__annotations__.items())

    def key_of(self, row: t.Any) -> t.Any:
        """What the record is known by in the state: one value, or a tuple of several."""
        parts = tuple(getattr(row, name) for name in self.key)
        return parts[0] if len(parts) == 1 else parts

    def by_key(self, rows: t.Iterable[t.Any]) -> dict[t.Any, t.Any]:
        return {self.key_of(row): row for row in rows}

    def key_text(self, row: t.Any) -> str:
        """The key in one text, for history and messages."""
        return "/".join(str(getattr(row, name)) for name in self.key)


_ORIGIN = "IN ('inventory', 'command')"


def _number(row: t.Any) -> int | None:
    """An IPv4 address as a number, in whose order addresses are given out."""
    return addressing.number(row.address) if ":" not in row.address else None


#: In an order in which each kind comes after those that it refers to.
KINDS = (
    Kind(
        "projects",
        states.Project,
        key=("name",),
        checks=(("projects_origin", f"origin {_ORIGIN}"),),
    ),
    Kind(
        "networks",
        states.Network,
        key=("label",),
        unique=(("uuid",), ("cidr",), ("cidr_v6",), ("vlan",), ("vpn_public_port",)),
        references=(Reference(("project",), "projects", ("name",)),),
        checks=(
            ("networks_origin", f"origin {_ORIGIN}"),
            ("networks_project_origin", "project_origin IN ('inventory', 'command', 'need')"),
            ("networks_range", "cidr IS NOT NULL OR cidr_v6 IS NOT NULL"),
            ("networks_vlan", "vlan BETWEEN 1 AND 4094"),
        ),
        indexes=(("project",), ("bridge",)),
    ),
    Kind(
        "security_groups",
        states.SecurityGroup,
        key=("project", "name"),
        unique=(("network", "subnet"),),
        references=(
            Reference(("project",), "projects", ("name",)),
            Reference(("network",), "networks", ("label",)),
        ),
        checks=(
            ("security_groups_origin", f"origin {_ORIGIN}"),
            ("security_groups_subnet", "(network IS NULL) = (subnet IS NULL)"),
        ),
    ),
    Kind(
        "security_group_rules",
        states.SecurityGroupRule,
        key=("id",),
        references=(Reference(("project", "security_group"), "security_groups", ("project", "name")),),
        checks=(
            ("security_group_rules_origin", f"origin {_ORIGIN}"),
            ("security_group_rules_direction", "direction IN ('ingress', 'egress')"),
            ("security_group_rules_ports", "(from_port IS NULL) = (to_port IS NULL) AND from_port <= to_port"),
            ("security_group_rules_others", "cidr IS NULL OR remote_group IS NULL"),
        ),
        indexes=(("project", "security_group"), ("project", "remote_group")),
    ),
    Kind(
        "instances",
        states.Instance,
        key=("name",),
        references=(Reference(("project",), "projects", ("name",)),),
        checks=(("instances_origin", f"origin {_ORIGIN}"),),
        indexes=(("project",), ("host",)),
    ),
    Kind(
        "memberships",
        states.Membership,
        key=("instance", "security_group"),
        references=(
            Reference(("instance",), "instances", ("name",)),
            Reference(("project", "security_group"), "security_groups", ("project", "name")),
        ),
        indexes=(("project", "security_group"),),
    ),
    Kind(
        "vifs",
        states.Vif,
        key=("instance", "network"),
        primary=("id",),
        unique=(("mac",), ("instance", "network")),
        references=(
            Reference(("instance",), "instances", ("name",)),
            Reference(("network",), "networks", ("label",)),
        ),
        indexes=(("network",),),
    ),
    Kind(
        "fixed_ips",
        states.FixedIp,
        key=("address",),
        unique=(("instance", "network", "version"), ("host", "network", "version")),
        references=(
            Reference(("network",), "networks", ("label",)),
            Reference(("instance", "network"), "vifs", ("instance", "network")),
        ),
        checks=(
            (
                "one_holder_or_none",
                "(instance IS NOT NULL AND host IS NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NULL AND (released_at IS NOT NULL OR reserved_by IS NOT NULL))",
            ),
            ("fixed_ips_version", "version IN (4, 6)"),
            ("fixed_ips_reserved", f"reserved_by {_ORIGIN}"),
            ("fixed_ips_reserved_for", "reserved_for IS NULL OR reserved_by IS NOT NULL"),
            ("fixed_ips_quarantined", "quarantined_until IS NULL OR released_at IS NOT NULL"),
        ),
        derived=(Derived("number", int, _number),),
        indexes=(("network", "number"), ("network", "released_at", "number"), ("network", "reserved_for")),
    ),
    Kind(
        "floating_ips",
        states.FloatingIp,
        key=("address",),
        references=(
            Reference(("project",), "projects", ("name",)),
            Reference(("fixed_address",), "fixed_ips", ("address",)),
        ),
        checks=(
            ("floating_ips_origin", f"origin {_ORIGIN}"),
            ("floating_ips_allocated", f"(project IS NULL) = (allocated_by IS NULL) AND allocated_by {_ORIGIN}"),
            (
                "floating_ips_associated",
                f"(fixed_address IS NULL) = (associated_by IS NULL) AND associated_by {_ORIGIN}"
                " AND (fixed_address IS NULL OR project IS NOT NULL)",
            ),
        ),
        derived=(Derived("number", int, _number),),
        indexes=(("pool", "project", "number"), ("project",), ("fixed_address",)),
    ),
    Kind(
        "port_forwards",
        states.PortForward,
        key=("address", "protocol", "from_port"),
        references=(
            Reference(("address",), "floating_ips", ("address",)),
            Reference(("fixed_address",), "fixed_ips", ("address",)),
        ),
        checks=(
            ("port_forwards_origin", f"origin {_ORIGIN}"),
            ("port_forwards_protocol", "protocol IN ('tcp', 'udp')"),
            ("port_forwards_ports", "from_port BETWEEN 1 AND to_port AND to_port <= 65535"),
        ),
        indexes=(("fixed_address",),),
    ),
)

#: Records as mappings, by the name of their kind: the form in which they are migrated and exported.
Rows = dict[str, list[dict[str, t.Any]]]

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def _column(name: str, note: t.Any) -> Column:
    """NamedTuple keeps annotations as forward references; `str | None` is as far as a column goes."""
    words = str(getattr(note, "__forward_arg__", note)).split(" | ")
    return Column(name, _TYPES[words[0]], words[1:] == ["None"])


def rows_of(state: State) -> Rows:
    return {kind.name: [row._asdict() for row in getattr(state, kind.name).values()] for kind in KINDS}


def state_of(rows: Rows) -> State:
    """The state of rows that are known to be complete and of this version."""
    return State(**{kind.name: kind.by_key(kind.record(**row) for row in rows.get(kind.name, [])) for kind in KINDS})
