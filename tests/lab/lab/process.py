# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes and namespaces: who is alive, and how to get in.

Shared by the lab and its Ansible connection plugin, therefore quick to import.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import typing as t

from .errors import HostOff, LabError

CLONE_NEWNET = 0x40000000
PF_EXITING = 0x4

# What a login would give; nothing of the caller's own environment belongs into a host.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
}

_libc = ctypes.CDLL(None, use_errno=True)


class Process(t.NamedTuple):
    """A process, told apart from a later one that got the same number by its start (clock ticks since boot)."""

    pid: int
    start: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The live process PID; None where there is none, or only a zombie."""
        fields = _stat(pid)
        return None if not fields or fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.find(self.pid) == self

    @property
    def ending(self) -> bool:
        """Whether it is past its end, though the kernel may still be busy with what it leaves."""
        fields = _stat(self.pid)
        return not fields or int(fields[19]) != self.start or bool(int(fields[6]) & PF_EXITING)

    def kill(self, timeout: float = 20) -> None:
        """End it and return when it is gone; nothing happens if it is gone already."""
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.alive, timeout, f"process {self.pid} does not die")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the name; empty if there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def wait_until(condition: t.Callable[[], t.Any], timeout: float, problem: str, pause: float = 0.005) -> t.Any:
    """The first true value of CONDITION; LabError(PROBLEM) after TIMEOUT seconds."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise LabError(problem)
        time.sleep(pause)
    return value


def write_json(path: pathlib.Path, value: t.Any) -> None:
    """Replace PATH in one step, so that a reader or a crash never meets half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value, indent=2) + "\n")
    fresh.rename(path)


def first_process(directory: pathlib.Path) -> Process:
    """The first process of the host with that state directory, read anew since a reboot changes it.

    Raises HostOff.
    """
    try:
        process = Process(*json.loads((directory / "pid").read_text()))
    except FileNotFoundError:
        raise HostOff(f"host {directory.name} is powered off") from None
    if not process.alive:
        raise HostOff(f"host {directory.name} is powered off (its first process has ended)")
    return process


def nsenter(pid: int, *argv: str) -> list[str]:
    """The command that runs ARGV as if started in the host whose first process is PID."""
    enter = "nsenter --target {} --mount --net --uts --ipc --pid --cgroup --root --wdns=/root --"
    return [*enter.format(pid).split(), *argv]


def in_network(pid: int, *argv: str) -> list[str]:
    """The command that runs ARGV in the network namespace of PID, with everything else as it is here."""
    return ["nsenter", "--target", str(pid), "--net", "--", *argv]


def ping_command(address: str, wait: int) -> list[str]:
    """The command that succeeds as soon as ADDRESS has answered, and fails WAIT seconds from now."""
    return ["ping", "-c1", f"-w{wait}", address]


def ip_batch(pid: int, lines: t.Iterable[str]) -> None:
    """Run ip(8) commands in the network namespace of PID; LabError tells which one failed."""
    done = subprocess.run(
        in_network(pid, "ip", "-batch", "-"),
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"ip: {' '.join(done.stderr.split())}")


def socket_in(pid: int, *args: int) -> socket.socket:
    """A socket that belongs to the network namespace of PID; this process stays where it is."""
    with open("/proc/thread-self/ns/net", "rb") as here, open(f"/proc/{pid}/ns/net", "rb") as there:
        _setns(there.fileno())
        try:
            return socket.socket(*args)
        finally:
            _setns(here.fileno())


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: " + os.strerror(ctypes.get_errno()))
