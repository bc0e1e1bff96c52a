# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes the applied plan outlast a reboot: the plan, the code that applied it, and the unit that runs that.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import sys
import typing as t

from .._core import lasting as core
from .._core import naming
from .._core.errors import HostError, first_line
from . import archive, files, host, lock, names, programs, restore

LOCK_FILE = f"{naming.RUN_DIR}/host_plan.lock"
LOCK_WAIT = 60.0

UNITS = "/etc/systemd/system"
SYSTEMD = "/run/systemd/system"

#: An interpreter that keeps its name from one release of the distribution to the next.
_PYTHON = "/usr/bin/python3"


class Need(t.NamedTuple):
    """A file that differs: its path, what it has to be (None: away), how, and in words."""

    path: str
    content: str | bytes | None
    mode: int
    action: str
    before: str | None


def keep(given: host.Plan, *, merge: bool = False, check: bool = False) -> dict[str, t.Any]:
    """Keep the plan for the next boot; with `merge` what is recorded stays where the plan says nothing.

    Returns `changed`, `actions` and `diff`; with `check` nothing is written. HostError with the old plan whole.
    """
    needs, enable = _needs(given, merge)
    if (needs or enable) and not check:
        with lock.exclusive(LOCK_FILE, LOCK_WAIT):
            # Another run may have been at work until now.
            needs, enable = _needs(given, merge)
            files.make_folder(naming.STATE_DIR)
            files.sweep(naming.STATE_DIR)
            # The plan last: whatever is killed before leaves the old one and code that applies it.
            for need in needs:
                files.write(need.path, t.cast("str | bytes", need.content), need.mode)
            if enable:
                systemctl("enable", naming.UNIT)
                # It does nothing now, but restarts and reloads of others reach units that are active alone.
                systemctl("start", naming.UNIT)
    return {
        "changed": bool(needs or enable),
        "actions": [need.action for need in needs] + ([f"enable the unit {naming.UNIT}"] if enable else []),
        "diff": [_difference(need) for need in needs if isinstance(need.content, str)],
    }


def _needs(given: host.Plan, merge: bool) -> tuple[list[Need], bool]:
    """The files that differ, in the order of writing, and whether systemd has to be told."""
    plan = {**(host.recorded() or {}), **given} if merge else given
    needs = []
    program = archive.build(python(), restore.main)
    if _bytes(core.PROGRAM) != program:
        needs.append(Need(core.PROGRAM, program, 0o755, "put the program for the boot beside the plan", None))
    enable = False
    if os.path.isdir(SYSTEMD):
        path = f"{UNITS}/{naming.UNIT}"
        text = core.render_unit(python())
        have = files.read(path)
        if have != text:
            needs.append(Need(path, text, 0o644, f"install the unit {naming.UNIT}", have))
        enable = have != text or not os.path.islink(wanted())
    text, have = names.text_of(plan), files.read(names.FILE)
    if have != text:
        needs.append(Need(names.FILE, text, 0o600, "note which interfaces the plan names", have))
    text, have = host.render(plan), files.read(host.PLAN_FILE)
    if have != text:
        needs.append(Need(host.PLAN_FILE, text, 0o600, "record the plan for the next boot", have))
    return needs, enable


def wanted() -> str:
    """The link by which systemd starts the unit at boot."""
    return f"{UNITS}/{core.WANTED_BY}.wants/{naming.UNIT}"


def python() -> str:
    """The interpreter that will run the program, which has the libraries that this one has."""
    same = os.path.realpath(_PYTHON) == os.path.realpath(sys.executable)
    return _PYTHON if same or not sys.executable else sys.executable


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"cannot read {path}: {first_line(error)}") from error


def _difference(need: Need) -> dict[str, str]:
    after = need.content if isinstance(need.content, str) else ""
    return {"before_header": need.path, "after_header": need.path, "before": need.before or "", "after": after}


def systemctl(*arguments: str, check: bool = True) -> None:
    """HostError where systemctl fails, unless it need not succeed."""
    done = programs.run((programs.need("systemctl", "systemd"), *arguments))
    if done.status and check:
        raise HostError(f"systemctl {arguments[0]} failed: {first_line(done.said)}")
