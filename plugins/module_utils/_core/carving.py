# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carving networks out of a range, as `network create` did. Private to the collection; may change at any time."""

from __future__ import annotations

import bisect

from .addressing import SMALLEST_PREFIX, Range
from .errors import InputError


def carve(whole: Range, num_networks: int, network_size: int | None, used: list[Range]) -> list[Range]:
    """The first `num_networks` networks of `network_size` addresses in the range, those in use left out.

    A candidate that is in use, or that holds a smaller network in use, is replaced by the next free one above; the
    replacements come last, as they did in nova. Without a size one network takes the whole range. InputError where the
    size is no power of two, a candidate lies inside a network in use, or the range does not suffice.
    """
    prefix = _prefix(whole, num_networks, network_size)
    size = 1 << (32 - prefix)
    if num_networks * size > whole.size:
        raise InputError(
            f"range {whole.cidr} has {whole.size} addresses, but {num_networks} networks of {size} need "
            f"{num_networks * size}; give a larger range, or fewer or smaller networks"
        )
    taken = _Taken(used)
    first, last = [], whole.first + num_networks * size
    for base in range(whole.first, last, size):
        candidate = Range(base, base + size - 1, prefix)
        if taken.conflict(candidate) is None:
            first.append(candidate)
    return first + _replacements(whole, last, num_networks - len(first), prefix, taken)


def _prefix(whole: Range, num_networks: int, network_size: int | None) -> int:
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


def _replacements(whole: Range, base: int, missing: int, prefix: int, taken: _Taken) -> list[Range]:
    found: list[Range] = []
    size = 1 << (32 - prefix)
    while len(found) < missing:
        candidate = Range(base, base + size - 1, prefix)
        if candidate.last > whole.last:
            raise InputError(
                f"range {whole.cidr} has no room left for {missing - len(found)} more "
                f"network{'s' if missing - len(found) > 1 else ''} of {size} addresses beside those in use"
            )
        if taken.conflict(candidate) is None:
            found.append(candidate)
        base += size
    return found


class _Taken:
    """Networks in use, which do not overlap each other, in order."""

    def __init__(self, used: list[Range]) -> None:
        self._ranges = sorted(used)
        self._firsts = [taken.first for taken in self._ranges]

    def conflict(self, candidate: Range) -> Range | None:
        """A network in use that overlaps the candidate. InputError where the candidate lies inside a larger one."""
        place = bisect.bisect_right(self._firsts, candidate.last) - 1
        if place < 0 or not self._ranges[place].overlaps(candidate):
            return None
        taken = self._ranges[place]
        if taken.prefix < candidate.prefix:
            raise InputError(
                f"network {candidate.cidr} lies inside {taken.cidr}, which is in use; choose another range"
            )
        return taken
