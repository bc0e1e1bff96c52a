# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes of rules do, gathered by whom they serve.

Private to the collection; may change at any time.
"""

from __future__ import annotations


def suffix(family: str) -> str:
    """What ends a line that speaks of the family."""
    return "" if family == "ipv4" else " (IPv6)"


class Subjects:
    """Networks, guests, groups and addresses, each with what is removed and added for it, in the order of telling."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, dict[str, None]]] = {}

    def tell(self, subject: str, verb: str, purpose: str) -> None:
        self._told.setdefault(subject, {}).setdefault(verb, {})[purpose] = None

    def lines(self, family: str) -> list[str]:
        """A line for each subject."""
        return [
            f"{subject}: "
            + "; ".join(f"{verb} {', '.join(purposes)}" for verb, purposes in verbs.items())
            + suffix(family)
            for subject, verbs in self._told.items()
        ]
