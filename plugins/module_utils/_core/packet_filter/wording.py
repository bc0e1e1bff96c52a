# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes of rules do, gathered by whom they serve.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t


def suffix(family: str) -> str:
    """What ends a line that speaks of the family."""
    return "" if family == "ipv4" else " (IPv6)"


class Subjects:
    """Networks, guests, groups and addresses, each with what is removed and added for it, in the order of telling."""

    def __init__(self) -> None:
        self._order: dict[str, None] = {}
        self._told: dict[str, dict[str, dict[str, None]]] = {"remove": {}, "add": {}}
        self._ways: dict[str, dict[str, str]] = {"remove": {}, "add": {}}

    def tell(self, verb: str, facts: t.Iterable[tuple[str, str]]) -> None:
        """What is removed or added: whom it concerns, and what it is for. What is told twice stands once."""
        told = self._told[verb]
        for subject, purpose in facts:
            self._order[subject] = None
            told.setdefault(subject, {})[purpose] = None

    def tell_ways(self, verb: str, facts: t.Iterable[tuple[str, str]]) -> None:
        """The same of floating IPs. There may be ten thousand, each with few ways, and no way is told twice."""
        told, order = self._ways[verb], self._order
        for subject, purpose in facts:
            if subject in told:
                told[subject] += f", {purpose}"
            else:
                order[subject] = None
                told[subject] = purpose

    def lines(self, family: str) -> list[str]:
        """A line for each subject."""
        removed, added = map(self._purposes, ("remove", "add"))
        end = suffix(family)
        lines = []
        for subject in self._order:
            gone, come = removed.get(subject), added.get(subject)
            if gone is None:
                lines.append(f"{subject}: add {come}{end}")
            elif come is None:
                lines.append(f"{subject}: remove {gone}{end}")
            else:
                lines.append(f"{subject}: remove {gone}; add {come}{end}")
        return lines

    def _purposes(self, verb: str) -> dict[str, str]:
        found = dict(self._ways[verb])
        for subject, purposes in self._told[verb].items():
            found[subject] = ", ".join([*purposes, found[subject]] if subject in found else purposes)
        return found
