# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that somebody took away, brought back: what runs when the kernel has told of a commit to nf_tables.

It runs once and ends; what is told meanwhile starts it again. So it sees its own commits too, finds all in place, and
that is the end of it. Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import sys
import time

from .._core.errors import NovaError
from . import rule_events

#: Seconds without news before the rules are looked at, and at most: whoever changes them has come to an end.
QUIET, QUIET_LIMIT = 0.3, 3.0
#: Seconds to wait for a run that is applying rules, and for the lock of iptables.
LOCK_WAIT, WAIT = 120, 10
#: What could not be had back is tried so often: it may be the network's own restart that has just begun.
ATTEMPTS = 4
#: It takes one part in so many of the time of a CPU. After rules were brought back it rests for
#: so many seconds at least: somebody may be taking them away each time.
SHARE, PAUSE, LONGEST = 5, 5.0, 60.0


def main() -> int:
    """Look at the rules if something of ours is concerned; the exit status is 1 where they could not be had back."""
    descriptor = rule_events.given(os.environ)
    by: list[str] = []
    if descriptor is not None:
        seen = rule_events.Events(descriptor).gather(QUIET, QUIET_LIMIT)
        if not seen.ours:
            return 0
        by = seen.programs
    done, missing = _attempt()
    for _again in range(ATTEMPTS - 1):
        if not missing:
            break
        time.sleep(PAUSE)
        more, missing = _attempt()
        done += more
    if done:
        whose = f" (changed by {', '.join(by)})" if by else ""
        _say(5, f"Rules of the guests were not as applied{whose} and are back: {'; '.join(done)}")
    if missing:
        _say(3, f"Rules of the guests are not as applied, and are not to be had back: {'; '.join(missing)}")
    if descriptor is not None:
        rest = min(sum(os.times()[:4]) * (SHARE - 1), LONGEST)
        time.sleep(max(rest, PAUSE if done or missing else 0))
    return 1 if missing else 0


def _attempt() -> tuple[list[str], list[str]]:
    try:
        return repair()
    except NovaError as error:
        return [], [str(error)]


def repair() -> tuple[list[str], list[str]]:
    """Make the rules those that were applied last. What was done, and what could not be."""
    # Late: most of what others do in the packet filter does not lead here.
    from . import applied, host, restore

    with applied.exclusive(LOCK_WAIT):
        missing: list[str] = []
        plan = restore.with_interfaces(applied.rules(), 0, missing)
        outcome = host.apply(plan, wait=WAIT, note=False)
    return outcome.actions, missing + [f"{section}: {text}" for section, text in outcome.failures.items()]


def _say(priority: int, text: str) -> None:
    """To the journal, with the priority that systemd reads off the line."""
    mark = f"<{priority}>" if "JOURNAL_STREAM" in os.environ else ""
    sys.stderr.write(f"{mark}{' '.join(text.split())}\n")
    sys.stderr.flush()
