# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a section has that the one applied before had not, where that is a few floating IPs of many.

Of the one applied before there is a digest of all but its floating IPs, and these, each as one line of text: ten
thousand lines are compared in no time, and only what differs is looked at closely.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import typing as t

from .. import addressing
from ..errors import InputError
from .meaning import Intent, intent, needs_own_address
from .section import Section, parse

#: More than so many differences are no few: the whole is rendered then.
MANY = 256

_LIST = "floating_ips"

Entry = dict[str, t.Any]


class Kept(t.NamedTuple):
    """What is kept of a section: a line for each floating IP, and a digest of all the rest."""

    rest: str
    lines: list[str]
    #: What a floating IP has beside its addresses: the keys, and the values that there are, by number.
    keys: tuple[str, ...] = ()
    places: tuple[tuple[t.Any, ...], ...] = ()


class Few(t.NamedTuple):
    """Two sections that differ in few floating IPs, or in none."""

    #: The sections with those floating IPs alone that differ or have to do with these; for each network and
    #: interface concerned there is one in both that does not differ.
    before: dict[str, t.Any]
    after: dict[str, t.Any]
    #: Floating IPs that differ, as they were and as they are.
    gone: list[Entry]
    come: list[Entry]
    #: All that there are now, and whether they differ in more than their addresses.
    entries: list[Entry]
    several: bool

    def concerns(self, version: int) -> bool:
        """Whether any that differs is of IPv4 or of IPv6."""
        return any(addressing.version(entry["address"]) == version for entry in (*self.gone, *self.come))


def keep(section: object) -> Kept | None:
    """For a section that was checked; None where it has no floating IPs, or they are not all of one form."""
    entries = section.get(_LIST) if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(entries, list) or not entries:
        return None
    try:
        keys, places, wheres = _places(entries)
        lines = list(map(" ".join, map(_PAIR, entries)))
        if len(places) > 1:
            numbers = {place: str(number) for number, place in enumerate(places)}
            lines = list(map(" ".join, zip(lines, map(numbers.__getitem__, wheres))))
        others = {key: value for key, value in section.items() if key != _LIST}
        rest = json.dumps([keys, places, others], sort_keys=True)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return Kept(hashlib.sha256(rest.encode()).hexdigest(), lines, keys, places)


_PAIR = operator.itemgetter("address", "fixed_address")


def _places(entries: list[Entry]) -> tuple[tuple[str, ...], tuple[tuple[t.Any, ...], ...], list[tuple[t.Any, ...]]]:
    """The keys that every floating IP has beside its addresses, their values, each once, and those of each."""
    keys = tuple(sorted(entries[0].keys() - {"address", "fixed_address"}))
    if set(map(len, entries)) != {len(keys) + 2}:
        raise ValueError
    if not keys:
        return (), ((),), []
    # With one key alone itemgetter would give bare values.
    wheres = list(map(operator.itemgetter(*keys, keys[0]), entries))
    return keys, tuple(sorted(set(wheres), key=repr)), wheres


def few(before: Kept, after: Kept, section: dict[str, t.Any]) -> Few | None:
    """What differs in the section, of which `after` is kept; None where it is more than a few floating IPs, or has to
    be looked at closely.
    """
    if after.rest != before.rest:
        return None
    old, new = _between_ends(before.lines, after.lines)
    differ = set(old).symmetric_difference(new)
    # Of several for one fixed address the first one counts, so order matters.
    if len(differ) > MANY or list(_without(new, differ)) != list(_without(old, differ)):
        return None
    entries: list[Entry] = section[_LIST]
    several = len(after.places) > 1

    def entry(line: str) -> Entry:
        address, fixed, *place = line.split(" ")
        where = after.places[int(place[0]) if place else 0]
        return {"address": address, "fixed_address": fixed, **dict(zip(after.keys, where))}

    try:
        gone, come = (list(map(entry, filter(differ.__contains__, lines))) for lines in (old, new))
        concerned = differ | _beside(section, after.lines, differ, gone + come, several)
    except (LookupError, StopIteration, TypeError, ValueError, OSError):
        return None

    def small(lines: list[str]) -> dict[str, t.Any]:
        return {**section, _LIST: list(map(entry, filter(concerned.__contains__, lines)))}

    return Few(small(before.lines), small(after.lines), gone, come, entries, several)


def _between_ends(one: list[str], two: list[str]) -> tuple[list[str], list[str]]:
    """Both lists without what they begin and end with alike."""
    head = _alike(one, two)
    one, two = one[head:], two[head:]
    tail = _alike(one[::-1], two[::-1])
    return one[: len(one) - tail], two[: len(two) - tail]


def _alike(one: list[str], two: list[str]) -> int:
    """How many they begin with alike."""
    equal = list(map(operator.eq, one, two))
    return equal.index(False) if False in equal else len(equal)


def _without(lines: list[str], differ: set[str]) -> t.Iterator[str]:
    return itertools.filterfalse(differ.__contains__, lines)


def _beside(
    section: t.Mapping[str, t.Any], lines: list[str], differ: set[str], changed: list[Entry], several: bool
) -> set[str]:
    """The lines of those that stay and have to do with what changed.

    Those of the same addresses; one for each interface, if there are `several`, for what is rendered counts these; and
    one for each network and interface of what changed, as a witness that it neither comes nor goes. StopIteration where
    there is none.
    """
    entries: list[Entry] = section[_LIST]
    found: set[str] = set()
    for key in ("address", "fixed_address"):
        same = {entry[key] for entry in changed}
        found.update(itertools.compress(lines, map(same.__contains__, map(operator.itemgetter(key), entries))))
    if several:
        staying = ((entry, line) for entry, line in zip(entries, lines) if line not in differ)
        found.update({(_where(one), addressing.version(one["address"])): line for one, line in staying}.values())
    for where, span in {(_where(entry), _span(section, entry)) for entry in changed}:
        found.add(
            next(
                line
                for entry, line in zip(entries, lines)
                if _where(entry) == where and line not in differ and _within(entry["fixed_address"], span)
            )
        )
    return found - differ


class Step(t.NamedTuple):
    """From what the rules are to what they shall be, where that is a few floating IPs."""

    before: Intent
    after: Intent
    few: Few
    #: The host's own address, where it is needed.
    own: str | None


def step(few: Few, own: t.Callable[[], str]) -> Step | None:
    """What both sections mean; None where they have to be looked at as a whole. `own` tells the host's own address."""
    if not (few.gone or few.come):
        return None
    try:
        before, after = parse(few.before), parse(few.after)
        source = own() if needs_own_address(after) else None
        for section, entries in ((before, few.before[_LIST]), (after, few.after[_LIST])):
            if not is_plain(entries, section):
                return None
        return Step(intent(before, source), intent(after, source), few, source)
    except InputError:
        return None


def is_plain(entries: t.Iterable[Entry], section: Section) -> bool:
    """Whether the floating IPs are spelled as ours: else one line may be as good as another one."""
    return list(map(_PAIR, entries)) == list(map(operator.itemgetter(0, 1), section.floating_ips))


def _where(entry: Entry) -> tuple[t.Any, ...]:
    return entry.get("interface"), entry.get("bridge"), entry.get("fixed_cidr")


def _span(section: t.Mapping[str, t.Any], entry: Entry) -> addressing.Range:
    """The network of the guest."""
    _interface, bridge, cidr = _where(entry)
    if bridge is not None and cidr is not None:
        return addressing.known_network(cidr)
    if bridge is not None or cidr is not None:
        raise LookupError
    ranges = (network.get(key) for network in section["networks"] for key in ("cidr", "cidr_v6"))
    spans = (addressing.known_network(cidr) for cidr in ranges if cidr is not None)
    return next(span for span in spans if _within(entry["fixed_address"], span))


def _within(address: str, span: addressing.Range) -> bool:
    return addressing.version(address) == span.version and addressing.number(address) in span
