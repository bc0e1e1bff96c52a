# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many floating IPs looked at together.

Ten thousand entries differ in little but their addresses. So the addresses are looked at by column, at the speed of
what Python has built in; and of all entries that agree in the rest whoever asks reads one with care, the *sample*.
This look knows one answer alone: that all is well. For whatever it does not know or like, each entry has to be read:
what is wrong, and where, is said there.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import operator
import socket
import struct
import typing as t

from .. import addressing

_REST = ("interface", "bridge", "fixed_cidr")
_KNOWN = frozenset(("address", "fixed_address", *_REST))

#: First octets with which no host has an address.
_NO_HOST = frozenset(octet for octet in range(256) if not addressing.of_a_host(f"{octet}.0.0.1"))


@dataclasses.dataclass(frozen=True)
class Many:
    """Entries with addresses of hosts, IPv4 in its one spelling, of which no floating one is there twice."""

    addresses: t.Sequence[str]
    fixed: t.Sequence[str]
    _numbers: t.Sequence[int]
    #: What else there is to each entry, and where an entry with that stands first.
    _rest: t.Sequence[tuple[object, ...]]
    _first: t.Mapping[tuple[object, ...], int]

    @property
    def samples(self) -> list[int]:
        """Places of entries, in their order, that each stand for all that agree with them."""
        return list(self._first.values())

    def all_within(self, homes: t.Sequence[addressing.Range]) -> bool:
        """Whether each fixed address lies in the network of its sample; `homes` has those of the samples."""
        if len(set(homes)) == 1:
            return min(self._numbers) in homes[0] and max(self._numbers) in homes[0]
        home = dict(zip(self._first, homes))
        return all(
            span[0] <= number <= span[1] for number, span in zip(self._numbers, map(home.__getitem__, self._rest))
        )

    def rows(self, interfaces: t.Sequence[str]) -> t.Iterator[tuple[str, str, str]]:
        """Address, fixed address and interface of each; `interfaces` has those of the samples."""
        named = dict(zip(self._first, interfaces))
        return zip(self.addresses, self.fixed, map(named.__getitem__, self._rest))


def look(entries: object, networks: t.Sequence[int]) -> Many | None:
    """The entries, where nothing in them has to be read closely but the samples.

    `networks` are the first addresses of those that an entry may leave unnamed, in their order.
    """
    if not isinstance(entries, list) or set(map(type, entries)) != {dict}:
        return None
    try:
        if not _KNOWN.issuperset(set().union(*entries)):
            return None
        addresses, fixed = (list(map(operator.itemgetter(key), entries)) for key in ("address", "fixed_address"))
        numbers, fixed_numbers = _of_hosts(addresses), _of_hosts(fixed)
        if numbers is None or fixed_numbers is None or len(set(numbers)) != len(numbers):
            return None
        columns = [list(map(dict.get, entries, itertools.repeat(key))) for key in _REST]
        kinds = list(map(set, columns))
        if None in kinds[1] | kinds[2]:  # who names no network is in one of the section's
            columns.append(list(map(bisect.bisect_right, itertools.repeat(networks), fixed_numbers)))
            kinds.append(set(columns[-1]))
        if max(map(len, kinds)) == 1:
            rest = [tuple(column[0] for column in columns)] * len(entries)
            first = {rest[0]: 0}
        else:
            rest = list(zip(*columns))
            first = dict(zip(reversed(rest), range(len(rest) - 1, -1, -1)))
    except (KeyError, TypeError, ValueError, OSError):
        return None
    return Many(addresses, fixed, fixed_numbers, rest, dict(sorted(first.items(), key=operator.itemgetter(1))))


def _of_hosts(column: list[str]) -> tuple[int, ...] | None:
    """The integers of IPv4 addresses, where all are those of hosts."""
    # It takes no spelling but the one.
    packed = b"".join(map(socket.inet_pton, itertools.repeat(socket.AF_INET), column))
    return struct.unpack(f"!{len(column)}I", packed) if _NO_HOST.isdisjoint(packed[::4]) else None
