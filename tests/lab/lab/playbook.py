# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible against a lab: its environment, its run, its recap."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

from .errors import LabError

HERE = pathlib.Path(__file__).resolve().parent.parent
CHECKOUT = HERE.parent.parent

_UNREACHABLE = re.compile(r"^(\S+) \| UNREACHABLE!", re.MULTILINE)
_RECAP = re.compile(r"^(\S+)\s+:\s+((?:\w+=\d+\s*)+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run.  ``recap`` is ``{HOST: {"ok": 1, "changed": 0, "unreachable": 0, "failed": 0, ...}}``."""

    returncode: int
    stdout: str
    stderr: str
    recap: dict[str, dict[str, int]]

    def total(self, counter: str) -> int:
        """One counter of the recap, summed over all hosts."""
        return sum(host[counter] for host in self.recap.values())

    @property
    def unreachable(self) -> set[str]:
        """The hosts that could not be reached, of a playbook or of the ansible command."""
        return {host for host, n in self.recap.items() if n["unreachable"]} | set(_UNREACHABLE.findall(self.stdout))

    @property
    def changed(self) -> int:
        return self.total("changed")


def environment() -> dict[str, str]:
    """What Ansible needs to know to reach a lab's hosts and to find this checkout's collection."""
    return {
        "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection_plugins"),
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(CHECKOUT / ".ansible/collections")),
        "ANSIBLE_PIPELINING": "1",
    }


def run_ansible(
    command: str, inventory: pathlib.Path, *arguments: str, check: bool = True, timeout: float = 900
) -> Result:
    """Run an Ansible command in the checkout's root.  Raises LabError (a failure only if CHECK)."""
    beside = pathlib.Path(sys.executable).with_name(command)
    program = str(beside) if beside.exists() else shutil.which(command)
    if program is None:
        raise LabError(f"{command} is neither beside {sys.executable} nor in PATH")
    try:
        done = subprocess.run(
            [program, "-i", str(inventory), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=CHECKOUT,
            env=os.environ | environment() | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"},
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{command} {' '.join(arguments)} has not ended after {timeout} seconds") from None
    recap = {
        host: {key: int(value) for key, value in (pair.split("=") for pair in counters.split())}
        for host, counters in _RECAP.findall(done.stdout)
    }
    if check and done.returncode:
        text = (done.stdout + done.stderr).strip()[-4000:]
        raise LabError(f"{command} {' '.join(arguments)} ended with {done.returncode}:\n{text}")
    return Result(done.returncode, done.stdout, done.stderr, recap)
