# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab leaves on the machine, found without the lab's own code where that can be."""

from __future__ import annotations

import pathlib
import time
import typing as t

from lab import Lab
from lab.cgroup import root as cgroup_root

NOVALAB = str(pathlib.Path(__file__).with_name("novalab"))


def traces(name: str) -> list[str]:
    """What is left of a lab: its folder, mounts, control groups, and processes under its mark."""
    found = [f"{pid}: {line}" for pid, line in processes() if f"novalab:{name}/" in line]
    found += [
        line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f"/novalab/{name}/" in line
    ]
    folders = [Lab(name).directory, (cgroup_root() or pathlib.Path("/nowhere")) / "novalab" / name]
    return found + [str(folder) for folder in folders if folder.exists()]


def processes() -> list[tuple[int, str]]:
    """Process numbers and command lines; zombies have none."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")))
        except OSError:
            continue
    return found


def eventually(condition: t.Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition to come true; AssertionError if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "has not come true in time"
        time.sleep(0.01)
