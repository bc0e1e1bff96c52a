# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The control group that a systemd of the lab needs for itself."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time

from .errors import LabError


def root() -> pathlib.Path | None:
    """Where this machine has a cgroup2 that can be written to, if anywhere."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _source, path, kind, options = line.split()[:4]
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(path, os.W_OK):
            return pathlib.Path(path)
    return None


def joining(name: str) -> list[str]:
    """A command prefix: what follows it runs in the control group NAME, which is made.  Raises LabError."""
    base = root()
    if base is None:
        raise LabError("kind systemd needs a writable cgroup2 mount, and this machine has none")
    group = base / "novalab" / name
    group.mkdir(parents=True, exist_ok=True)
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]


def remove(name: str) -> None:
    """Remove the control group NAME and those below it, and the empty ones above it."""
    base = root()
    if base is None:
        return
    group = base / "novalab" / name
    # A group is busy for a moment after its last process has ended.
    for _attempt in range(200):
        for path, _folders, _files in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        if not group.exists():
            break
        time.sleep(0.01)
    for parent in [p for p in group.parents if p != base and base in p.parents]:
        with contextlib.suppress(OSError):
            parent.rmdir()
