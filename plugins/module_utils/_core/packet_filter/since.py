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
    #: The lines: addresses, and the number of its place where there are several.
    text: str
    #: What a floating IP has beside its addresses: the keys, and the values that there are, by number.
    keys: tuple[str, ...] = ()
    places: tuple[tuple[t.Any, ...], ...] = ()

    def line(self, entry: Entry) -> str:
        words = [entry["address"], entry["fixed_address"]]
        if len(self.places) > 1:
            words.append(str(self.places.index(tuple(entry[key] for key in self.keys))))
        return " ".join(words)

    def entry(self, line: str) -> Entry:
        address, fixed, *place = line.split(" ")
        where = self.places[int(place[0]) if place else 0]
        return {"address": address, "fixed_address": fixed, **dict(zip(self.keys, where))}


class Few(t.NamedTuple):
    """Two sections that differ in few floating IPs, or in none."""

    #: The sections with those floating IPs alone that differ or have to do with these; for each network and
    #: interface concerned there is one in both that does not differ.
    before: dict[str, t.Any]
    after: dict[str, t.Any]
    #: Floating IPs that differ, as they were and as they are.
    gone: list[Entry]
    come: list[Entry]
    #: All that there are now, and whether they leave by several interfaces.
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
        keys, places, numbers = _places(entries)
        pairs = map(" ".join, map(_PAIR, entries))
        lines = pairs if len(places) == 1 else map(" ".join, zip(pairs, numbers))
        text = "\n".join(lines) + "\n"
        others = {key: value for key, value in section.items() if key != _LIST}
        rest = json.dumps([keys, places, others], sort_keys=True)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    if text.count("\n") != len(entries):  # one has it in an address
        return None
    return Kept(hashlib.sha256(rest.encode()).hexdigest(), text, keys, places)


_PAIR = operator.itemgetter("address", "fixed_address")


def _places(entries: list[Entry]) -> tuple[tuple[str, ...], tuple[tuple[t.Any, ...], ...], t.Iterable[str]]:
    """The keys that every floating IP has beside its addresses, their values, each once, and the number of each."""
    keys = tuple(sorted(entries[0].keys() - {"address", "fixed_address"}))
    if set(map(len, entries)) != {len(keys) + 2}:
        raise ValueError
    columns = [map(operator.itemgetter(key), entries) for key in keys]
    if all(len(set(column)) == 1 for column in columns):
        return keys, (tuple(entries[0][key] for key in keys),), ()
    wheres = list(zip(*(map(operator.itemgetter(key), entries) for key in keys)))
    places = tuple(sorted(set(wheres), key=repr))
    numbers = {place: str(number) for number, place in enumerate(places)}
    return keys, places, map(numbers.__getitem__, wheres)


def few(before: Kept, after: Kept, section: dict[str, t.Any]) -> Few | None:
    """What differs in the section, of which `after` is kept; None where it is more than a few floating IPs, or has to
    be looked at closely. `before` may lack keys and places: they are those of `after`, or the rest differs.
    """
    if after.rest != before.rest or not before.text.endswith("\n"):
        return None
    begin, end_before, end = _between_ends(before.text, after.text)
    old, new = before.text[begin:end_before].split("\n")[:-1], after.text[begin:end].split("\n")[:-1]
    differ = set(old).symmetric_difference(new)
    # Of several for one fixed address the first one counts, so order matters.
    if len(differ) > MANY or list(_without(new, differ)) != list(_without(old, differ)):
        return None
    entries: list[Entry] = section[_LIST]
    first = len(entries) - after.text.count("\n", begin)
    last = first + len(new)
    came = {first + place for place, line in enumerate(new) if line in differ}
    several = len({dict(zip(after.keys, place)).get("interface") for place in after.places}) > 1
    try:
        gone = list(map(after.entry, filter(differ.__contains__, old)))
        come = [entries[place] for place in sorted(came)]
        beside = sorted(_beside(section, came, gone + come, several))
        near = differ.union(after.line(entries[place]) for place in beside)
    except (LookupError, StopIteration, TypeError, ValueError, OSError):
        return None
    were = [entries[place] for place in beside if place < first]
    were += map(after.entry, filter(near.__contains__, old))
    were += [entries[place] for place in beside if place >= last]
    are = [entries[place] for place in sorted(came.union(beside))]
    return Few({**section, _LIST: were}, {**section, _LIST: are}, gone, come, entries, several)


def _between_ends(one: str, two: str) -> tuple[int, int, int]:
    """What is between the lines that both texts begin and end with: where it begins, and where it ends in each."""
    begin = one.rfind("\n", 0, _alike(one, two)) + 1
    one, two = one[begin:], two[begin:]
    tail = _alike_at_end(one, two)
    # Not the line that may be alike in part.
    tail -= (one.find("\n", len(one) - tail) + 1 or len(one)) - (len(one) - tail)
    return begin, begin + len(one) - tail, begin + len(two) - tail


def _alike(one: str, two: str) -> int:
    """With how many characters both begin."""
    return _most(min(len(one), len(two)), lambda size: one.startswith(two[:size]))


def _alike_at_end(one: str, two: str) -> int:
    return _most(min(len(one), len(two)), lambda size: one.endswith(two[len(two) - size :]))


def _most(limit: int, holds: t.Callable[[int], bool]) -> int:
    """The largest size up to the limit for which that holds, as it does for all that are smaller."""
    low = 0
    while low < limit:
        size = (low + limit + 1) // 2
        if holds(size):
            low = size
        else:
            limit = size - 1
    return low


def _without(lines: list[str], differ: set[str]) -> t.Iterator[str]:
    return itertools.filterfalse(differ.__contains__, lines)


def _beside(section: t.Mapping[str, t.Any], came: set[int], changed: list[Entry], several: bool) -> set[int]:
    """The places of those that stay and have to do with what changed.

    Those of the same addresses; one for each interface, if there are `several`, for what is rendered counts these; and
    one for each network and interface of what changed, as a witness that it neither comes nor goes. StopIteration where
    there is none.
    """
    entries: list[Entry] = section[_LIST]
    found: set[int] = set()
    for key in ("address", "fixed_address"):
        same = {entry[key] for entry in changed}
        found.update(
            itertools.compress(itertools.count(), map(same.__contains__, map(operator.itemgetter(key), entries)))
        )
    if several:
        staying = ((place, entry) for place, entry in enumerate(entries) if place not in came)
        found.update(
            {(one.get("interface"), addressing.version(one["address"])): place for place, one in staying}.values()
        )
    for where, span in {(_where(entry), _span(section, entry)) for entry in changed}:
        found.add(
            next(
                place
                for place, entry in enumerate(entries)
                if _where(entry) == where and place not in came and _within(entry["fixed_address"], span)
            )
        )
    return found - came


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


def is_plain(entries: t.Sequence[Entry], section: Section) -> bool:
    """Whether the floating IPs are spelled as ours: else one line may be as good as another one."""
    return all(
        list(map(operator.itemgetter(key), entries)) == list(map(operator.itemgetter(place), section.floating_ips))
        for place, key in enumerate(("address", "fixed_address"))
    )


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
