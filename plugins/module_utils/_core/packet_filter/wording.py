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

    def tell(self, verb: str, facts: t.Iterable[tuple[str, str]]) -> None:
        """What is removed or added: whom it concerns, and what it is for."""
        told = self._told[verb]
        for subject, purpose in facts:
            self._order[subject] = None
            told.setdefault(subject, {})[purpose] = None

    def lines(self, family: str) -> list[str]:
        """A line for each subject."""
        removed, added = (self._told[verb] for verb in ("remove", "add"))
        end = suffix(family)
        both = removed.keys() & added.keys()
        lines = []
        for subject in self._order:
            if subject in both:
                lines.append(f"{subject}: remove {', '.join(removed[subject])}; add {', '.join(added[subject])}{end}")
            elif subject in added:
                lines.append(f"{subject}: add {', '.join(added[subject])}{end}")
            else:
                lines.append(f"{subject}: remove {', '.join(removed[subject])}{end}")
        return lines
