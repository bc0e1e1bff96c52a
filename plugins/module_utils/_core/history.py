# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""History: the changes of records as events, and who held an address when.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import typing as t

from .kinds import KINDS, Rows
from .state import Change


class Author(t.NamedTuple):
    """Who changes the store: a run (a pipeline's number, say), its user, and when, in seconds since the epoch."""

    run: str
    user: str
    at: float


class Event(t.NamedTuple):
    """One record changed: `before` and `after` as JSON, None where there was or is none.

    The events of one transaction have one `change` in common.
    """

    change: str
    at: float
    run: str
    user_name: str
    kind: str
    key: str
    before: str | None
    after: str | None


class Span(t.NamedTuple):
    """A record as it was from one event to another; None where that is not known, or not yet."""

    record: dict[str, t.Any]
    first: Event | None
    last: Event | None


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def events(changes: dict[str, Change], change: str, author: Author) -> list[Event]:
    """The changes as events, in the order of the kinds."""
    made: list[Event] = []
    common = (change, author.at, author.run, author.user)
    for kind in KINDS:
        if kind.name in changes:
            removed, altered, added = changes[kind.name]
            steps = [(row, None) for row in removed] + altered + [(None, row) for row in added]
            made += [Event(*common, kind.name, kind.key_text(old or new), _text(old), _text(new)) for old, new in steps]
    return made


def _text(row: t.Any) -> str | None:
    return None if row is None else _encode(row._asdict())


class Holding(t.NamedTuple):
    """Who held an address: an instance by its NIC, or a host as its gateway.

    Times are in seconds since the epoch; `since` is None where it began before history did, `until` where it lasts.
    """

    address: str
    network: str
    instance: str | None
    host: str | None
    mac: str | None
    since: float | None
    until: float | None
    first: Event | None
    last: Event | None

    def covers(self, at: float) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


def holdings(recorded: t.Sequence[Event], now: Rows) -> list[Holding]:
    """All holdings that the events and today's rows tell of, the latest first, then by address."""
    nics: dict[tuple[str, str], list[Span]] = {}
    for span in _spans(recorded, "vifs", now, ("instance", "network", "mac")):
        nics.setdefault((span.record["instance"], span.record["network"]), []).append(span)
    found = []
    for span in _spans(recorded, "fixed_ips", now, ("network", "instance", "host")):
        record = span.record
        if record["host"] is not None:
            found.append(_holding(span, None, span.first, span.last))
        elif record["instance"] is not None:
            for nic in nics.get((record["instance"], record["network"]), []):
                first = _later(span.first, nic.first)
                last = _earlier(span.last, nic.last)
                if first is None or last is None or first.at < last.at:
                    found.append(_holding(span, nic.record["mac"], first, last))
    return sorted(found, key=lambda each: (-(each.since or 0), each.address))


def _holding(span: Span, mac: str | None, first: Event | None, last: Event | None) -> Holding:
    record = span.record
    since, until = (first and first.at), (last and last.at)
    who = (record["instance"], record["host"], mac)
    return Holding(record["address"], record["network"], *who, since, until, first, last)


def _later(one: Event | None, other: Event | None) -> Event | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda event: event.at)


def _earlier(one: Event | None, other: Event | None) -> Event | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda event: event.at)


def _spans(recorded: t.Sequence[Event], name: str, now: Rows, fields: tuple[str, ...]) -> list[Span]:
    """The times of the records of one kind; changes that leave these fields as they are do not end one."""
    (kind,) = (each for each in KINDS if each.name == name)
    running: dict[str, tuple[dict[str, t.Any], Event | None]] = {}
    found = []
    for event in recorded:
        if event.kind != name:
            continue
        before = None if event.before is None else json.loads(event.before)
        after = None if event.after is None else json.loads(event.after)
        if before is not None:
            record, first = running.pop(event.key, (before, None))
            if after is not None and all(record[field] == after[field] for field in fields):
                running[event.key] = (record, first)
                continue
            found.append(Span(record, first, event))
        if after is not None:
            running[event.key] = (after, event)
    for row in now.get(name, []):
        running.setdefault("/".join(str(row[part]) for part in kind.key), (row, None))
    return found + [Span(record, first, None) for record, first in running.values()]
