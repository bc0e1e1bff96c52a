# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guarded change: what is kept of it while it waits to be confirmed, and what is told after it was taken back.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .errors import InputError

#: Seconds.
LEAST_TIMEOUT, GREATEST_TIMEOUT, DEFAULT_TIMEOUT = 5, 3600, 120

#: States of a guard: it waits; it may end; it shall take the change back at once.
ARMED, CONFIRMED, RETURN = "armed", "confirmed", "return"


@dataclasses.dataclass(frozen=True)
class Armed:
    """A guard that is armed."""

    id: str
    state: str
    #: The process that keeps it, and when that began, in the kernel's ticks: numbers of processes are used again.
    process: int
    begun: int
    #: Seconds.
    timeout: int
    #: On the clock that counts from the host's start.
    deadline: float
    #: What the host is reached by that changes.
    interfaces: tuple[str, ...]
    #: Time of day, for people.
    since: str


@dataclasses.dataclass(frozen=True)
class Report:
    """A change that was taken back. Times of day are for people."""

    id: str
    interfaces: tuple[str, ...]
    since: str
    returned: str
    reason: str
    #: What was done, and was taken back.
    actions: tuple[str, ...]
    #: What is not as it was.
    left: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole of it, for whoever made the change."""
        rest = "the host is as it was before"
        if self.left:
            rest = f"but not all is as it was: {'; '.join(self.left)}"
        return (
            f"the change of {', '.join(self.interfaces)} from {self.since} was taken back by the host at "
            f"{self.returned}, because {self.reason}; {rest}"
        )


_Kept = t.TypeVar("_Kept", Armed, Report)


def render(kept: Armed | Report) -> str:
    return json.dumps(dataclasses.asdict(kept), indent=1) + "\n"


def parse(text: str | None, kind: type[_Kept]) -> _Kept | None:
    """What render() wrote; None for anything else."""
    try:
        values = json.loads(text or "")
        names = {field.name: field for field in dataclasses.fields(kind)}
        if not isinstance(values, dict) or values.keys() != names.keys():
            return None
        plain: dict[str, t.Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in values.items()}
        return kind(**plain)
    except ValueError:
        return None


def parse_timeout(value: object, what: str) -> int:
    """Seconds; InputError names `what`."""
    if not isinstance(value, int) or isinstance(value, bool) or not LEAST_TIMEOUT <= value <= GREATEST_TIMEOUT:
        raise InputError(
            f"{what}: {value!r} is no time to wait for the controller; give whole seconds from {LEAST_TIMEOUT} to "
            f"{GREATEST_TIMEOUT} (nova_guard_timeout), more than pass between two tasks on a host"
        )
    return value
