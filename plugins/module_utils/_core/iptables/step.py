# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a few floating IPs more or less change: of the trees of nat the chains that lead to them, and no others.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import itertools
import operator
import typing as t

from ..packet_filter import Intent, Step
from ..packet_filter.since import Entry
from . import trees
from .difference import Change, compare
from .nat import nat, port_forwards
from .table import Table, Wanted
from .trees import Chains

_BITS = {4: 32, 6: 128}
_ADDRESS, _FIXED = operator.itemgetter("address"), operator.itemgetter("fixed_address")


def step(wanted: Step, version: int) -> list[Change] | None:
    """The changes of the family, as `compare` finds them of the whole; None where they are not of the trees alone."""
    before, after = (meaning.of_version(version) for meaning in (wanted.before, wanted.after))
    if _beside_trees(before, version) != _beside_trees(after, version):
        return None
    old: Chains = {}
    new: Chains = {}
    for was, is_to_be in _differences(wanted, before, after, version):
        old.update(was)
        new.update(is_to_be)
    return compare({"nat": Table(old)}, {"nat": Wanted(new)})


def _beside_trees(meaning: Intent, version: int) -> dict[str, list[str]]:
    """Of the table all but the trees; of these there are the first chains here, and no others."""
    return {name: rules for name, rules in nat(meaning, version).chains.items() if not trees.is_of_one(name)}


def _differences(wanted: Step, before: Intent, after: Intent, version: int) -> t.Iterator[tuple[Chains, Chains]]:
    """Of each tree the chains that may differ, as they were and as they are to be."""
    bits, public = _BITS[version], wanted.after.public_interface
    entries, changed = (_of_version(rows, version) for rows in (wanted.few.entries, wanted.few.gone + wanted.few.come))
    inwards = {row.address: row.fixed_address for row in before.floating_ips}
    were = {address: inwards.get(address) for address in map(_ADDRESS, changed)}
    ways = dict(zip(map(_ADDRESS, entries), map(_FIXED, entries)))
    yield trees.to_guests(bits).differ(ways, were, port_forwards(after, bits))
    outwards = list(map(operator.methodcaller("get", "interface"), entries if wanted.few.several else entries[:1]))
    # In the order of `Intent.sources`.
    interfaces = sorted({str(name or public) for name in set(outwards)}, key=lambda name: (name != public, name))
    for interface, tree in trees.from_guests(interfaces, bits).items():
        own = entries
        if len(interfaces) > 1:
            own = [entry for entry, name in zip(entries, outwards) if (name or public) == interface]
        # Of several for one fixed address the first one counts.
        sources = dict(zip(map(_FIXED, reversed(own)), map(_ADDRESS, reversed(own))))
        held = before.sources().get(interface, {})
        were = {fixed: held.get(fixed) for fixed in map(_FIXED, changed) if held.get(fixed) != sources.get(fixed)}
        if were:
            yield tree.differ(sources, were)


def _of_version(entries: list[Entry], version: int) -> list[Entry]:
    addresses = list(map(_ADDRESS, entries))
    if version == 4 and ":" not in "".join(addresses):
        return entries
    are = [":" in address for address in addresses]
    return list(itertools.compress(entries, are if version == 6 else map(operator.not_, are)))
