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


class Kind(t.NamedTuple):
    """`key` is what a record is known by; `primary` the primary key where that is another one.

    `checks` are named conditions in SQL that both engines understand.
    """

    name: str
    record: t.Any
    key: tuple[str, ...]
    primary: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()

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


#: In an order in which each kind comes after those that it refers to.
KINDS = (
    Kind(
        "projects",
        states.Project,
        key=("name",),
        checks=(("projects_origin", "origin IN ('inventory', 'command')"),),
    ),
    Kind(
        "networks",
        states.Network,
        key=("label",),
        unique=(("cidr",),),
        references=(Reference(("project",), "projects", ("name",)),),
        checks=(("networks_origin", "origin IN ('inventory', 'command')"),),
    ),
    Kind(
        "instances",
        states.Instance,
        key=("name",),
        references=(Reference(("project",), "projects", ("name",)),),
        checks=(("instances_origin", "origin IN ('inventory', 'command')"),),
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
    ),
    Kind(
        "fixed_ips",
        states.FixedIp,
        key=("address",),
        unique=(("instance", "network"), ("host", "network")),
        references=(
            Reference(("network",), "networks", ("label",)),
            Reference(("instance", "network"), "vifs", ("instance", "network")),
        ),
        checks=(
            (
                "one_holder_or_released",
                "(instance IS NOT NULL AND host IS NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NOT NULL AND released_at IS NULL)"
                " OR (instance IS NULL AND host IS NULL AND released_at IS NOT NULL)",
            ),
        ),
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
