# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run is about to change in the packet filter, noted until the connections that this concerns have been ended.

A run that is killed in between leaves its note, and the next one finds no difference in the rules any more: it
ends what the note tells of. The note is kept where a boot empties it, as a boot ends all connections, too.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import json

from .._core.connections import Ways
from .._core.outcome import Outcome
from .._core.packet_filter import Intent
from . import files


class Note:
    """The note in its file; a run holds the lock of the packet filter from reading it to removing it."""

    def __init__(self, path: str) -> None:
        self._path = path
        #: What runs before this one left undone, if any did.
        self.left = _read(path)
        self._told = self.left or Outcome()
        self._written = self.left is not None

    def add(self, gone: Ways, come: Ways, guards: bool) -> None:
        """Before the rules are changed."""
        if not any((*gone, *come, guards)):
            return
        self._told += Outcome(gone=gone, come=come, guards=guards)
        self._written = True
        told = self._told
        text = json.dumps({"gone": _plain(told.gone), "come": _plain(told.come), "guards": told.guards})
        files.write(self._path, text, 0o600)

    def done(self) -> None:
        if self._written:
            files.remove(self._path)

    def with_left(self, outcome: Outcome, meaning: Intent) -> tuple[Ways, Ways, bool]:
        """Ways gone and come, and whether guards differ, in this run and in those that left something undone.

        What these had noted may never have happened, or be undone by this run: of the ways outwards, those that the
        plan has count as come.
        """
        if self.left is None:
            return outcome.gone, outcome.come, outcome.guards
        both = self.left + outcome
        there = frozenset((entry.address, entry.fixed_address) for entry in meaning.floating_ips)
        return both.gone, Ways(both.come.to_guests, there), both.guards


def _plain(ways: Ways) -> list[str]:
    """A line for each way: ten thousand are written before the first rule is."""
    return ["\n".join(map(" ".join, pairs)) for pairs in ways]


def _ways(plain: list[str]) -> Ways:
    to_guests, from_guests = (
        frozenset((one, two) for one, two in (line.split(" ") for line in lines.splitlines())) for lines in plain
    )
    return Ways(to_guests, from_guests)


def _read(path: str) -> Outcome | None:
    text = files.read(path)
    if text is None:
        return None
    try:
        told = json.loads(text)
        return Outcome(gone=_ways(told["gone"]), come=_ways(told["come"]), guards=bool(told["guards"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        # Of another version: the guards at least can be judged without knowing more.
        return Outcome(guards=True)
