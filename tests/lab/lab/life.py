# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of first processes: start them, find them again, leave nothing of them behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import subprocess

from .errors import LabError
from .process import ENVIRONMENT, Process, wait_until

BOOT = pathlib.Path(__file__).resolve().parent.parent / "boot"

_children: list[subprocess.Popen[bytes]] = []


def start(mark: str, directory: pathlib.Path, unshare: list[str], arguments: list[str], init: str = "") -> Process:
    """Start a first process under MARK and return it once it said that it is ready.  Raises LabError."""
    shell = ["sh", "-c", init, "sh", mark] if init else ["sh", str(BOOT / "host-init.sh"), mark]
    namespaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private", "--"]
    reap_children()
    with open(directory / "log", "ab") as log:
        outer = subprocess.Popen(
            [*unshare, *namespaces, *shell, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=ENVIRONMENT | {"TMPDIR": "/dev/shm"},
        )
    assert outer.stdout is not None
    with outer.stdout as said:
        ready = select.select([said], [], [], 60)[0] and said.readline() == b"ready\n"
    children = pathlib.Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    try:
        process = Process.find(int(children.read_text().split()[0])) if ready else None
    except (OSError, IndexError):
        process = None
    if process is None:
        outer.kill()
        outer.wait()
        raise LabError(f"{mark} did not start: {log_tail(directory)}")
    _children.append(outer)
    return process


def log_tail(directory: pathlib.Path) -> str:
    """The last words of a host's log, in one line."""
    with contextlib.suppress(OSError):
        return " / ".join((directory / "log").read_text(errors="replace")[-500:].split("\n")).strip(" /")
    return ""


def reap_children() -> None:
    """Forget first processes of ours that have ended, so that they do not stay as zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


def kill_marked(prefix: str) -> None:
    """End every first process whose mark begins with PREFIX, whoever started it and whatever is recorded of it."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = path.read_bytes().split(b"\0")
            if os.path.basename(argv[0]) in (b"unshare", b"sh") and any(a.startswith(prefix.encode()) for a in argv):
                process = Process.find(int(path.parent.name))
                inner = [int(p) for p in (path.parent / "task" / path.parent.name / "children").read_text().split()]
                for child in filter(None, [*map(Process.find, inner), process]):
                    child.kill()


def unmount_below(directory: pathlib.Path) -> None:
    """Take off every mount below DIRECTORY.  Raises LabError if one stays."""

    def mounts() -> list[str]:
        lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
        return [line.split()[1] for line in lines if line.split()[1].startswith(f"{directory}/")]

    for path in reversed(mounts()):
        subprocess.run(["umount", "--lazy", path], check=False, stderr=subprocess.DEVNULL)
    wait_until(lambda: not mounts(), 5, f"a file system stays mounted below {directory}")
