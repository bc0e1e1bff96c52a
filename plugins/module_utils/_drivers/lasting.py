# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes the applied plan outlast a reboot: the plan, the code that applied it, and the units that run that.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import sys
import typing as t

from .._core import lasting as core
from .._core import naming, units
from .._core.errors import HostError, first_line
from . import applied, archive, files, lock, names, program, programs, recorded, repair, restore, rule_events

LOCK_FILE = f"{naming.RUN_DIR}/host_plan.lock"
LOCK_WAIT = 60.0

UNITS = "/etc/systemd/system"
SYSTEMD = "/run/systemd/system"

#: An interpreter that keeps its name from one release of the distribution to the next.
_PYTHON = "/usr/bin/python3"
#: What the program imports when it needs it: it is packed since it is loaded here.
_LATE = (repair, restore)


class Need(t.NamedTuple):
    """A file that differs: its path, what it has to be (None: away), how, and in words."""

    path: str
    content: str | bytes | None
    mode: int
    action: str
    before: str | None


def keep(given: recorded.Plan, *, merge: bool = False, check: bool = False) -> dict[str, t.Any]:
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
            applied.forget()
            if enable:
                _bring_into_force(enable)
    return {
        "changed": bool(needs or enable),
        "actions": [need.action for need in needs] + [f"enable the unit {name}" for name in enable],
        "diff": [_difference(need) for need in needs if isinstance(need.content, str)],
    }


def _needs(given: recorded.Plan, merge: bool) -> tuple[list[Need], list[str]]:
    """The files that differ, in the order of writing, and the units that systemd has to be told of."""
    plan = {**(recorded.read() or {}), **given} if merge else given
    needs = []
    packed = archive.build(python(), program.main)
    if _bytes(core.PROGRAM) != packed:
        needs.append(Need(core.PROGRAM, packed, 0o755, "put the program for the boot beside the plan", None))
    enable: list[str] = []
    if os.path.isdir(SYSTEMD):
        for name, text in units.render(python(), core.PROGRAM, rule_events.are_told()).items():
            have = files.read(f"{UNITS}/{name}")
            if have != text:
                needs.append(Need(f"{UNITS}/{name}", text, 0o644, f"install the unit {name}", have))
            if name in units.WANTED_BY and (have != text or not all(map(os.path.islink, wanted(name)))):
                enable.append(name)
    text, have = names.text_of(plan), files.read(names.FILE)
    if have != text:
        needs.append(Need(names.FILE, text, 0o600, "note which interfaces the plan names", have))
    text, have = recorded.render(plan), files.read(recorded.PLAN_FILE)
    if have != text:
        needs.append(Need(recorded.PLAN_FILE, text, 0o600, "record the plan for the next boot", have))
    return needs, enable


def _bring_into_force(enable: list[str]) -> None:
    started = [name for name in enable if name != naming.FOLLOWER]
    if naming.FOLLOWER in enable:
        # First: that others start it is known by its links alone.
        systemctl("enable", "--no-reload", naming.FOLLOWER)
    systemctl("daemon-reload")
    if started:
        # The one for the boot does nothing now, but reloads of others reach active units alone.
        systemctl("start", *started)
        # Last: what is not enabled is started by the run after a killed one.
        systemctl("enable", "--no-reload", *started)


def wanted(name: str) -> list[str]:
    """The links by which systemd starts the unit with others."""
    return [f"{UNITS}/{other}.wants/{name}" for other in units.WANTED_BY[name]]


def unit_paths() -> list[str]:
    """The links that start our units, and where these are, in the order of removing; not those of processes."""
    names = units.ALL[::-1]
    links = [path for name in names if name in units.WANTED_BY for path in wanted(name)]
    return [*links, *(f"{UNITS}/{name}" for name in names)]


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
