# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps systemd-networkd away from our interfaces, by one file of ours in its folder, where it runs.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import typing as t

from .._core import networkd as core
from .._core.errors import HostError
from .._core.links import Plan
from . import files, programs

#: systemd has this link while the unit is active.
_RUNS = "/run/systemd/units/invocation:systemd-networkd.service"


class Change(t.NamedTuple):
    """The file as it is and as it has to be; None is none."""

    before: str | None
    after: str | None

    def __bool__(self) -> bool:
        return self.before != self.after

    def back(self) -> Change:
        """What takes the change back."""
        return Change(self.after, self.before)

    @property
    def actions(self) -> list[str]:
        return core.actions(self.before, self.after) if self else []

    @property
    def diff(self) -> list[dict[str, str]]:
        if not self:
            return []
        return [
            {
                "before_header": core.FILE,
                "after_header": core.FILE,
                "before": self.before or "",
                "after": self.after or "",
            }
        ]


def look(want: Plan) -> Change:
    """What has to change so that the interfaces of the plan are left alone. A file once written is kept up to date."""
    before = files.read(core.FILE)
    wanted = core.text(core.ours(want)) if before is not None or os.path.lexists(_RUNS) else None
    return Change(before, wanted)


def write(change: Change) -> None:
    """Make the change, and let systemd-networkd know of it. HostError where either fails."""
    if not change:
        return
    if change.after is None:
        files.remove(core.FILE)
    else:
        files.write(core.FILE, change.after)
    program = programs.find("networkctl")
    if program is None or not os.path.lexists(_RUNS):
        return
    done = programs.run([program, "reload"])
    if done.status:
        raise HostError(
            f"cannot tell systemd-networkd to leave our interfaces alone: networkctl reload failed: "
            f"{' '.join(done.said.split()) or 'it gave no reason'}; {core.FILE} is written, so restart systemd-networkd"
        )
