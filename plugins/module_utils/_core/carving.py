# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carving networks out of a range, as `network create` did. Private to the collection; may change at any time."""

from __future__ import annotations

import bisect
import typing as t

from .addressing import PREFIX_V6, SMALLEST_PREFIX, Range
from .errors import InputError


class Taken:
    """Networks in use, which do not overlap each other, in order."""

    def __init__(self, used: t.Iterable[Range] = ()) -> None:
        self._ranges = sorted(used)
        self._firsts = [taken.first for taken in self._ranges]

    def add(self, taken: Range) -> None:
        place = bisect.bisect_right(self._firsts, taken.first)
        self._ranges.insert(place, taken)
        self._firsts.insert(place, taken.first)

    def discard(self, taken: Range) -> None:
        place = bisect.bisect_left(self._firsts, taken.first)
        if place < len(self._ranges) and self._ranges[place] == taken:
            del self._ranges[place], self._firsts[place]

    def conflict(self, candidate: Range) -> Range | None:
        """A network in use that overlaps the candidate."""
        place = bisect.bisect_right(self._firsts, candidate.last) - 1
        if place < 0 or not self._ranges[place].overlaps(candidate):
            return None
        return self._ranges[place]


def carve(whole: Range, num_networks: int, network_size: int | None, used: Taken) -> list[Range]:
    """The first `num_networks` networks of `network_size` addresses in the range, those in use left out.

    A candidate that is in use, or that holds a smaller network in use, is replaced by the next free one above; the
    replacements come last, as they did in nova. Without a size one network takes the whole range. InputError where the
    size is no power of two, a candidate lies inside a network in use, or the range does not suffice.
    """
    return _carve(whole, num_networks, prefix_of(whole, num_networks, network_size), used)


def carve_v6(whole: Range, num_networks: int, used: Taken) -> list[Range]:
    """The first `num_networks` networks of the size /64 in an IPv6 range, by the same rules."""
    if whole.prefix > PREFIX_V6:
        raise InputError(f"range {whole.cidr} is too small; an IPv6 network is a /{PREFIX_V6}")
    return _carve(whole, num_networks, PREFIX_V6, used)


def prefix_of(whole: Range, num_networks: int, network_size: int | None) -> int:
    """The prefix length of networks of that size."""
    if network_size is None:
        if num_networks > 1:
            raise InputError(f"network_size is required to carve {num_networks} networks out of {whole.cidr}")
        return whole.prefix
    if network_size < 1 << (32 - SMALLEST_PREFIX) or network_size & (network_size - 1):
        larger = max(1 << (32 - SMALLEST_PREFIX), 1 << network_size.bit_length()) if network_size > 0 else 256
        raise InputError(
            f"network_size {network_size} is not the size of a network; give a power of two from 4 on, such as {larger}"
        )
    return 33 - network_size.bit_length()


def _carve(whole: Range, num_networks: int, prefix: int, used: Taken) -> list[Range]:
    room = 0 if prefix < whole.prefix else 1 << (prefix - whole.prefix)
    if num_networks > room:
        raise InputError(
            f"range {whole.cidr} has room for {room} networks of size /{prefix}, but {num_networks} are asked for; "
            "give a larger range, or fewer or smaller networks"
        )
    size = 1 << (whole.bits - prefix)
    first, last = [], whole.first + num_networks * size
    for base in range(whole.first, last, size):
        candidate = Range(base, base + size - 1, prefix, whole.version)
        if _free(candidate, used):
            first.append(candidate)
    return first + _replacements(whole, last, num_networks - len(first), prefix, used)


def _replacements(whole: Range, base: int, missing: int, prefix: int, used: Taken) -> list[Range]:
    found: list[Range] = []
    size = 1 << (whole.bits - prefix)
    while len(found) < missing:
        candidate = Range(base, base + size - 1, prefix, whole.version)
        if candidate.last > whole.last:
            raise InputError(
                f"range {whole.cidr} has no room left for {missing - len(found)} more "
                f"network{'s' if missing - len(found) > 1 else ''} of size /{prefix} beside those in use"
            )
        if _free(candidate, used):
            found.append(candidate)
        base += size
    return found


def _free(candidate: Range, used: Taken) -> bool:
    """InputError where the candidate lies inside a larger network in use."""
    taken = used.conflict(candidate)
    if taken is not None and taken.prefix < candidate.prefix:
        raise InputError(f"network {candidate.cidr} lies inside {taken.cidr}, which is in use; choose another range")
    return taken is None
