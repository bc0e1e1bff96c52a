# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes of dnsmasq instances: found, started and stopped, under systemd or without it.

Which process is an instance's is read from its pid file and /proc under either: no program is called to look.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

from ..._core import dnsmasq as core
from ..._core.errors import HostError, first_line
from .. import files, programs

#: Seconds that a process has to end after SIGTERM, and after SIGKILL.
STOP_WAIT = 5.0
KILL_WAIT = 2.0
#: Units in one call of systemctl: short of the limit of a command line, and of how long a network stands still.
UNITS_AT_ONCE = 50


def pid_of(paths: core.Paths, name: str) -> int | None:
    """The instance's live process: its pid file names it and it runs our configuration file."""
    try:
        with open(paths.pid(name), encoding="ascii") as handle:
            pid = int(handle.read())
    except (OSError, ValueError):
        return None
    return pid if _runs(paths, name, pid) else None


def _runs(paths: core.Paths, name: str, pid: int) -> bool:
    """Whether the process is the instance's: a zombie has no command line, one that got its number has another."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            arguments = handle.read().split(b"\0")
    except OSError:
        return False
    ours = f"--conf-file={paths.file(name, core.CONF)}".encode()
    return os.path.basename(arguments[0]) == b"dnsmasq" and ours in arguments


def started(pid: int) -> float | None:
    """How many seconds after the boot the process was started; None where it has ended."""
    ticks = _start_of(pid)
    return None if ticks is None else int(ticks) / os.sysconf("SC_CLK_TCK")


def stop_processes(paths: core.Paths, names: t.Iterable[str]) -> dict[str, str]:
    """End the processes together: asked first, then forced; the names of those that stay, with the reason."""
    # Kept by number: dnsmasq removes its pid file some time before it lets its sockets go.
    found = ((name, pid_of(paths, name)) for name in names)
    left = {name: (pid, _start_of(pid)) for name, pid in found if pid is not None}
    for number, patience in ((signal.SIGTERM, STOP_WAIT), (signal.SIGKILL, KILL_WAIT)):
        for pid, _start in left.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        left = _wait_for_end(left, patience)
    return {name: f"its process {pid} does not end, not even by SIGKILL" for name, (pid, _start) in left.items()}


def _start_of(pid: int) -> str | None:
    """When the process started, which tells it from a later one of that number; None once it has let go of all it had.

    A missing command line is no sign of that: the kernel takes it away before it closes the sockets.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            words = handle.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if not words or words[0] in "ZX" else words[19]


def _wait_for_end(left: dict[str, tuple[int, str | None]], patience: float) -> dict[str, tuple[int, str | None]]:
    deadline, pause = time.monotonic() + patience, 0.001
    while True:
        left = {name: (pid, start) for name, (pid, start) in left.items() if start and _start_of(pid) == start}
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


class Direct:
    """A host without systemd: dnsmasq puts itself into the background."""

    #: Instances that are restarted together: each of them is away while the others of its group start.
    at_once = 16
    #: Whether what was started may not run yet.
    starts_later = False

    def __init__(self, paths: core.Paths) -> None:
        self.paths = paths

    def put_unit(self, text: str) -> None:
        """Nothing stands between us and the process."""

    def enabled(self) -> set[str] | None:
        """None: nothing starts an instance at boot, whatever its name."""
        return None

    def unit_change(self, wanted: bool) -> tuple[str, str] | None:
        return None

    def enable(self, names: t.Sequence[str]) -> None:
        """Nothing to be done: the next run after a boot starts what is not there."""

    def disable(self, names: t.Sequence[str]) -> None:
        pass

    def start(self, names: t.Sequence[str]) -> dict[str, str]:
        binary = programs.need("dnsmasq", "dnsmasq-base")
        calls = {name: programs.Call((binary, f"--conf-file={self.paths.file(name, core.CONF)}")) for name in names}
        return {
            name: first_line(done.said or f"dnsmasq ended with status {done.status}")
            for name, done in programs.run_all(calls).items()
            if done.status
        }

    def stop(self, names: t.Sequence[str]) -> dict[str, str]:
        return stop_processes(self.paths, names)


class Systemd(Direct):
    """A host that systemd runs: one template unit, an instance of it per network."""

    at_once = UNITS_AT_ONCE

    def __init__(self, paths: core.Paths) -> None:
        super().__init__(paths)
        self.unit = f"{paths.units}/{core.UNIT}"
        self.unread = f"{paths.run}/unit-not-read"

    def enabled(self) -> set[str] | None:
        """The instances that start at boot, by the links that say so."""
        try:
            links = os.listdir(f"{self.paths.units}/multi-user.target.wants")
        except FileNotFoundError:
            return set()
        before, after = core.unit_name("\0").split("\0")
        return {link[len(before) : -len(after)] for link in links if link.startswith(before) and link.endswith(after)}

    def unit_change(self, wanted: bool) -> tuple[str, str] | None:
        """The unit's text before and after (empty: no such file), or None where it is as it should be."""
        have = files.read(self.unit) or ""
        want = core.render_unit(self.paths, programs.find("dnsmasq") or "/usr/sbin/dnsmasq") if wanted else ""
        return None if have == want and not os.path.exists(self.unread) else (have, want)

    def put_unit(self, text: str) -> None:
        """Put the unit's file in its place, or remove it for an empty text, and let systemd read that."""
        # The mark makes the run after a killed one read the file once more: systemd may not have seen it.
        files.write(self.unread, "")
        if text:
            files.write(self.unit, text)
        else:
            files.remove(self.unit)
        self._systemctl("daemon-reload")
        files.remove(self.unread)

    def enable(self, names: t.Sequence[str]) -> None:
        self._each(names, "enable", "--no-reload")

    def disable(self, names: t.Sequence[str]) -> None:
        self._each(names, "disable", "--no-reload")

    def start(self, names: t.Sequence[str]) -> dict[str, str]:
        said = self._each(names, "start", check=False)
        return {name: self._words(name, said) for name in names if pid_of(self.paths, name) is None}

    def stop(self, names: t.Sequence[str]) -> dict[str, str]:
        self._each(names, "stop")
        # Those that were started on this host before systemd had charge of them.
        return stop_processes(self.paths, names)

    def _words(self, name: str, said: str) -> str:
        """Why the instance did not start: dnsmasq's own words stand in the journal."""
        journal = programs.find("journalctl")
        if journal is not None:
            asked = ("--unit", core.unit_name(name), "--lines", "20", "--output", "cat", "--no-pager")
            lines = programs.run((journal, *asked)).output.splitlines()
            own = [line for line in lines if line.startswith("dnsmasq: ")]
            if own:
                return own[-1]
        return first_line(said or "its process ended right after the start")

    def _each(self, names: t.Sequence[str], *verb: str, check: bool = True) -> str:
        said = ""
        for first in range(0, len(names), UNITS_AT_ONCE):
            units = [core.unit_name(name) for name in names[first : first + UNITS_AT_ONCE]]
            said += self._systemctl(*verb, *units, check=check)
        return said

    def _systemctl(self, *arguments: str, check: bool = True) -> str:
        done = programs.run((programs.need("systemctl", "systemd"), *arguments))
        if done.status and check:
            raise HostError(f"systemctl {arguments[0]} failed: {first_line(done.said)}")
        return done.said


class SystemdAtBoot(Systemd):
    """The same while the unit runs that all instances wait for: waiting for them would be waiting for oneself."""

    starts_later = True

    def start(self, names: t.Sequence[str]) -> dict[str, str]:
        # Those that start at boot are on their way; asking for them once more does no harm.
        self._each(names, "start", "--no-block")
        return {}

    def stop(self, names: t.Sequence[str]) -> dict[str, str]:
        return stop_processes(self.paths, names)


def of_host(paths: core.Paths, boot: bool = False) -> Direct:
    """What runs the processes of this host."""
    if not os.path.isdir(paths.systemd):
        return Direct(paths)
    return SystemdAtBoot(paths) if boot else Systemd(paths)
