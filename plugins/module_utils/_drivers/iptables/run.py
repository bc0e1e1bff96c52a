# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run of the back end iptables is asked and finds, and its way to call programs.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ..._core import iptables as core
from ..._core import packet_filter
from ..._core.connections import Ways
from ..._core.errors import HostError
from ..._core.iptables import sets, switch
from .. import programs
from ..filter_options import Options

PREFIX = {"ipv4": "iptables", "ipv6": "ip6tables"}


@dataclasses.dataclass
class Run:
    """What one run was asked, and the warnings that it gathers."""

    meaning: packet_filter.Intent
    options: Options
    #: Another back end has the rules.
    leaving: bool = False
    #: Whether sets were written, be it in an attempt that was refused afterwards.
    wrote_sets: bool = False
    #: Tables that were committed.
    commits: int = 0
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


@dataclasses.dataclass
class Family:
    """One family as it is, with what is to change in it."""

    name: str
    tables: dict[str, core.Table]
    changes: list[core.Change] = dataclasses.field(default_factory=list)
    #: What makes it so, where a killed run has left a switch.
    resolving: str = ""


@dataclasses.dataclass
class Difference:
    """The families that are managed, and what is to change in our sets."""

    families: list[Family]
    sets: sets.Difference = sets.UNCHANGED
    left: switch.Left = dataclasses.field(default_factory=switch.Left)

    @functools.cached_property
    def concerned(self) -> tuple[Ways, Ways, bool]:
        """Ways that go and that come, and whether guards differ."""
        changes = [change for family in self.families for change in family.changes]
        return (*core.ways(changes), bool(self.sets) or core.guards_differ(changes))


def at_once(run: Run, families: list[Family]) -> bool:
    """Whether several tables have to go over together. Where all goes, and ipset has gone before, they need not."""
    several = sum(len(family.changes) for family in families) > 1
    return several and not (run.meaning.empty and programs.find("ipset") is None)


def call(program: str, *arguments: str, text: str = "", wait: int = 0, inherits: t.Sequence[int] = ()) -> programs.Done:
    """Run a program; what it waits for itself comes on top of what a program may take."""
    words = [programs.need(program, "iptables"), *arguments]
    done = programs.run(words, text, programs.WAIT + wait, inherits=inherits)
    if done.status == -1:
        raise HostError(f"{program}: {done.errors}")
    return done


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it gave no reason"
