# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the files and processes of a host equal to the dnsmasq section of its plan.

Why a run that is killed anywhere is mended by the next one: the files say what is wanted, and a process has read
them if they did not change after its start or its last SIGHUP. So before the first file of an instance changes, a
mark NAME.pending in /run says what its process will need, and the mark goes only when the process got it. A run that
finds the mark gives the process that, even if every file is right. The mark can err to one side alone: a process that
was restarted by somebody else meanwhile is restarted once more. A boot takes the mark and the process together. The
rest is asked of the kernel and of dnsmasq's lease file at each run, and nothing else is remembered.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import typing as t

from ..._core import dnsmasq as core
from .. import lock
from . import service
from .applying import Apply
from .checking import check
from .leases import Step
from .work import compare, file_diff

#: Seconds that a run waits for another one on this host.
LOCK_WAIT = 120.0


def run(
    plan: object,
    check_mode: bool = False,
    paths: core.Paths | None = None,
    lock_wait: float = LOCK_WAIT,
    step: Step = lambda name: None,
    boot: bool = False,
) -> tuple[dict[str, t.Any], str | None]:
    """Bring the host to its plan. What was done (in check mode: would be), and what failed, as one message or None.

    `step` is told of each thing that was done, right after it. With `boot` this runs in the unit that the units of the
    instances wait for, so these are started and not waited for.
    """
    instances = core.parse(plan)
    paths = paths or core.Paths.under()
    with contextlib.nullcontext() if check_mode else lock.exclusive(paths.lock, lock_wait):
        host = service.of_host(paths, boot)
        work = compare(instances, paths, host)
        check(work, paths, check_mode)
        diff = file_diff(work, paths, host)
        failures = {} if check_mode or not work.changed else Apply(work, paths, host, step).all()
    result = {
        "changed": work.changed,
        "actions": work.actions,
        "instances": {**work.done, **dict.fromkeys(failures, "failed")},
        "diff": diff,
        "warnings": work.warnings,
    }
    return result, _message(failures)


def _message(failures: t.Mapping[str, str]) -> str | None:
    if not failures:
        return None
    each = "; ".join(f"{name}: {failures[name]}" for name in sorted(failures))
    return f"dnsmasq does not serve every network of this host. {each}. The other networks are as planned"
