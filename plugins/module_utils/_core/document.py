# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The export: all that a store holds as one document, the same text for the same content.

One record a line, in YAML's flow form, which is JSON: a change in the store is a change of its lines alone.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import re
import typing as t

from . import invariants, migrations
from .errors import InputError
from .history import Event
from .kinds import KINDS, Column, Kind, Rows, rows_of, state_of
from .state import State

#: What the document says that it is.
STORE = "tenantnet.nova"

_HISTORY = Kind("history", Event, key=("change",))
_SECTION = re.compile(r"([a-z_]+):( \[\])?\Z")
_NUMBERS = re.compile(r"(\d+)")


class Document(t.NamedTuple):
    """What was read; `history` is None where the document has none."""

    state: State
    history: list[Event] | None


def write(state: State, history: t.Sequence[Event] | None = None) -> str:
    lines = ["---", f"store: {STORE}", f"version: {migrations.SCHEMA_VERSION}"]
    rows = rows_of(state)
    for kind in KINDS:
        lines += _section(kind.name, sorted(rows[kind.name], key=lambda row, kind=kind: _order(kind, row)))  # type: ignore[misc]
    if history is not None:
        lines += _section(_HISTORY.name, [event._asdict() for event in history])
    return "\n".join([*lines, ""])


def _section(name: str, rows: list[dict[str, t.Any]]) -> list[str]:
    if not rows:
        return [f"{name}: []"]
    return [f"{name}:", *(f"  - {json.dumps(row, ensure_ascii=False)}" for row in rows)]


def _order(kind: Kind, row: dict[str, t.Any]) -> tuple[t.Any, ...]:
    """As a reader counts: 10.0.0.9 before 10.0.0.10."""
    key = [str(row[name]) for name in kind.key]
    return ([[_NUMBERS.split(part)[0], *map(_number, _NUMBERS.split(part)[1:])] for part in key], key)


def _number(piece: str) -> tuple[int, str]:
    return (int(piece), "") if piece.isdecimal() else (-1, piece)


def scan(text: str) -> dict[str, t.Any] | None:
    """The document where it is line by line as `write` makes it, for which YAML would take minutes; None otherwise."""
    lines = text.split("\n")
    if lines[:2] != ["---", f"store: {STORE}"] or lines[-1:] != [""] or not lines[2].startswith("version: "):
        return None
    found: dict[str, t.Any] = {"store": STORE}
    section: list[t.Any] | None = None
    try:
        found["version"] = int(lines[2][len("version: ") :])
        for line in lines[3:-1]:
            if section is not None and line.startswith("  - {"):
                section.append(json.loads(line[4:]))
                continue
            name = _SECTION.match(line)
            if name is None or name[1] in found:
                return None
            found[name[1]] = section = []
            section = None if name[2] else section
    except ValueError:
        return None
    return found


def read(loaded: object) -> Document:
    """The document as YAML read it. InputError where it is none, is too new, or breaks a rule of the store."""
    if not isinstance(loaded, dict) or loaded.get("store") != STORE:
        raise InputError(f"the document is no export of a store: it does not begin with 'store: {STORE}'")
    version = loaded.get("version")
    known = migrations.SCHEMA_VERSION
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= known:
        raise InputError(
            f"the document has version {version!r}, but this collection knows 1 to {known}; "
            "update the collection on this controller"
        )
    sections = {name: _records(name, value) for name, value in loaded.items() if name not in ("store", "version")}
    recorded = sections.pop(_HISTORY.name, None)
    unknown = [repr(name) for name in sections if name not in {kind.name for kind in KINDS}]
    if version == known and unknown:
        raise InputError(f"the document has unknown sections: {', '.join(unknown)}")
    rows = migrations.migrate(sections, version)
    checked: Rows = {
        kind.name: [_record(kind, row, f"{kind.name}[{index}]") for index, row in enumerate(rows.get(kind.name, []))]
        for kind in KINDS
    }
    broken = invariants.violations(checked)
    if broken:
        raise InputError(f"the document breaks {len(broken)} rules of the store: {'; '.join(broken[:5])}")
    history = None
    if recorded is not None:
        history = [Event(**_record(_HISTORY, row, f"history[{index}]")) for index, row in enumerate(recorded)]
    return Document(state_of(checked), history)


def _records(name: object, value: object) -> list[dict[str, t.Any]]:
    if not isinstance(value, list):
        raise InputError(f"{name}: {value!r} is not a list of records")
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise InputError(f"{name}[{index}]: {row!r} is not a mapping of names to values")
    return value


def _record(kind: Kind, row: dict[str, t.Any], path: str) -> dict[str, t.Any]:
    columns = kind.columns
    unknown = [repr(name) for name in row if name not in {column.name for column in columns}]
    if unknown:
        raise InputError(f"{path}: unknown {', '.join(unknown)}; a record has {', '.join(kind.record._fields)}")
    return {column.name: _value(kind, column, row, f"{path}.{column.name}") for column in columns}


_WORDS = {str: "a text; put it in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _value(kind: Kind, column: Column, row: dict[str, t.Any], path: str) -> t.Any:
    value = row.get(column.name, kind.record._field_defaults.get(column.name))
    if value is None:
        if not column.optional:
            raise InputError(f"{path} is required")
        return None
    if column.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not column.takes(value):
        raise InputError(f"{path}: {value!r} is not {_WORDS[column.type]}")
    return value
