# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's programs: found wherever the connection's PATH points, run, several at once where there are several.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import typing as t

from .._core.errors import HostError

#: Seconds after which a program that should have come back is given up.
WAIT = 60.0

#: Programs at work at the same time.
AT_ONCE = 16

_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")


class Done(t.NamedTuple):
    """A program that has ended: its exit status, -1 where it did not start or did not come back."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """All that it said, its errors last."""
        return self.output + self.errors


class Call(t.NamedTuple):
    """A program to run: its full path and arguments, and its standard input."""

    arguments: t.Sequence[str]
    text: str = ""
    #: Descriptors that it inherits, such as that of a lock, which is held as long as anybody has it.
    inherits: t.Sequence[int] = ()


def find(name: str) -> str | None:
    """Full path of a program of the host."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM)))


def need(name: str, package: str) -> str:
    path = find(name)
    if path is None:
        raise HostError(f"{name} is not installed on this host; install the package {package}. Nothing was changed")
    return path


def run(arguments: t.Sequence[str], text: str = "", wait: float = WAIT, *, inherits: t.Sequence[int] = ()) -> Done:
    """Run a program to its end."""
    with _input(text) as stdin:
        try:
            done = subprocess.run(
                arguments,
                stdin=stdin,
                capture_output=True,
                env={**os.environ, "LC_ALL": "C", "PATH": os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM))},
                # Out of the connection's session: neither its end nor a signal to its group reaches the program.
                start_new_session=True,
                pass_fds=inherits,
                timeout=wait,
                check=False,
            )
        except OSError as error:
            return Done(-1, "", f"cannot run {arguments[0]}: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Done(-1, "", f"it had not come back after {wait:.0f} seconds")
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def run_all(calls: t.Mapping[str, Call], wait: float = WAIT) -> dict[str, Done]:
    """Run several programs, some at once; each answer under its call's name."""
    if not calls:
        return {}
    from concurrent.futures import ThreadPoolExecutor  # not at the top: few runs need it, and it is dear

    def one(call: Call) -> Done:
        return run(call.arguments, call.text, wait, inherits=call.inherits)

    with ThreadPoolExecutor(min(AT_ONCE, 2 * (os.cpu_count() or 1))) as threads:
        return dict(zip(calls, threads.map(one, calls.values())))


@contextlib.contextmanager
def _input(text: str) -> t.Iterator[int]:
    """Where a program reads the text from: the whole of it is there, even if this process is killed at once."""
    if not text:
        yield subprocess.DEVNULL
        return
    with open(os.memfd_create("input"), "w+b") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.seek(0)
        yield file.fileno()
