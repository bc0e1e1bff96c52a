# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a back end of the packet filter did, or would do.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .connections import Ways


@dataclasses.dataclass
class Outcome:
    """What a reader is told, and what it means for connections that there are."""

    changed: bool = False
    actions: list[str] = dataclasses.field(default_factory=list)
    chains: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    diffs: list[dict[str, str]] = dataclasses.field(default_factory=list)
    #: Ways between addresses and guests that went, and those that came.
    gone: Ways = dataclasses.field(default_factory=Ways)
    come: Ways = dataclasses.field(default_factory=Ways)
    #: Whether anything differed that says what guests let in and out.
    guards: bool = False
    #: Transactions of nf_tables.
    commits: int = 0

    def show(self, header: str, before: str, after: str) -> None:
        self.diffs.append({"before_header": header, "after_header": header, "before": before, "after": after})

    def __add__(self, other: Outcome) -> Outcome:
        """Both, one after the other."""
        return Outcome(
            self.changed or other.changed,
            self.actions + other.actions,
            self.chains + other.chains,
            list(dict.fromkeys(self.warnings + other.warnings)),
            self.diffs + other.diffs,
            _both(self.gone, other.gone),
            _both(self.come, other.come),
            self.guards or other.guards,
            self.commits + other.commits,
        )

    def result(self, diff: bool) -> dict[str, t.Any]:
        """As the module returns it."""
        told: dict[str, t.Any] = {
            "changed": self.changed,
            "actions": self.actions,
            "chains": self.chains,
            "warnings": self.warnings,
        }
        return {**told, "diff": self.diffs} if diff else told


def _both(one: Ways, two: Ways) -> Ways:
    if not any(one) or not any(two):
        return one if any(one) else two
    return Ways(one.to_guests | two.to_guests, one.from_guests | two.from_guests)
