# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A dead man's switch: a process of its own that takes a change back unless somebody comes to confirm it.

It is armed before the change, and holds all that it needs in its memory: neither the module, whose files go, nor the
connection, nor the controller has to live. Its deadline and state are in a file below /run, which a power loss takes
with it: the host then starts with the plan that was recorded last. What was taken back is told by a file that stays.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
import time
import typing as t

from .._core import guard as core
from .._core import naming
from .._core.errors import HostError, NovaError
from . import files, lock, programs

#: Guards the change that comes: what the host is reached by, what will be done, and what takes the links back and tells
#: what it could not.
Arm = t.Callable[[t.Iterable[str], t.Iterable[str], t.Callable[[], list[str]]], core.Armed]

#: While it is armed.
STATE_FILE = f"{naming.RUN_DIR}/guard.json"
LOCK_FILE = f"{naming.RUN_DIR}/guard.lock"
#: The last change that was taken back.
REPORT_FILE = f"{naming.STATE_DIR}/guard.json"

#: Seconds between two looks at the file, and that taking back may last.
_PACE, _RETURN_WAIT = 0.2, 180

#: Takes the change back; returns what is not as it was.
Restore = t.Callable[[], list[str]]


def armed() -> core.Armed | None:
    """The guard that waits for its confirmation on this host."""
    found = core.parse(files.read(STATE_FILE), core.Armed)
    return found if found is not None and _begun(found.process) == found.begun else None


def report() -> core.Report | None:
    """The last change that was taken back on this host."""
    return core.parse(files.read(REPORT_FILE), core.Report)


def refuse_if_armed() -> None:
    """HostError where another change waits: what would be taken back then could not be told apart."""
    found = armed()
    if found is not None:
        left = max(0, round(found.deadline - time.monotonic()))
        raise HostError(
            f"a change of {', '.join(found.interfaces)} by another run waits for its confirmation, and is taken back "
            f"in {left} seconds otherwise; nothing was changed. Wait for that run to end, or have the change taken "
            "back now: tenantnet.nova.guard with state=returned"
        )


def arm(timeout: int, interfaces: t.Iterable[str], actions: t.Iterable[str], restore: Restore) -> core.Armed:
    """From now on `restore` is called in a process of its own, unless confirm() comes within `timeout` seconds.

    Whatever `restore` needs must have been imported. HostError where it cannot be armed; nothing was changed then.
    """
    with lock.exclusive(LOCK_FILE, _RETURN_WAIT):
        refuse_if_armed()
        made = core.Armed(
            id=secrets.token_hex(8),
            state=core.ARMED,
            process=0,
            begun=0,
            timeout=timeout,
            deadline=time.monotonic() + timeout,
            interfaces=tuple(interfaces),
            since=_now(),
        )
        reading, writing = os.pipe()
        try:
            child = os.fork()
        except OSError as error:
            raise HostError(f"cannot start the guard of this change: {error.strerror}; nothing was changed") from error
        if child == 0:
            _become_guard(made, tuple(actions), restore, writing)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            ready = pipe.read(1)
        found = armed()
        if not ready or found is None or found.id != made.id:
            raise HostError("the guard of this change did not start; nothing was changed")
    _leave_session(found.process)
    return found


def extend() -> None:
    """The controller has come back, though not yet over a new connection: the whole time runs anew."""
    if not os.path.exists(STATE_FILE):
        return
    with contextlib.suppress(HostError), lock.exclusive(LOCK_FILE, 1):
        found = armed()
        if found is not None and found.state == core.ARMED:
            _keep(dataclasses.replace(found, deadline=time.monotonic() + found.timeout))


def confirm(identity: str | None = None) -> core.Armed | None:
    """The change stays. None where no change waits. HostError where it has been taken back, or another one waits."""
    with lock.exclusive(LOCK_FILE, _RETURN_WAIT):
        found = armed()
        if found is None or (identity is not None and found.id != identity):
            last = report()
            if identity is not None and last is not None and last.id == identity:
                raise HostError(last.text)
            if identity is not None:
                raise HostError(
                    f"the change {identity} does not wait for its confirmation any more; another run has confirmed it, "
                    "or its guard was ended from outside. Run again to see how the host is"
                )
            return None
        _keep(dataclasses.replace(found, state=core.CONFIRMED))
        return found


def take_back() -> core.Report | None:
    """Have the change that waits taken back at once. None where no change waits."""
    with lock.exclusive(LOCK_FILE, _RETURN_WAIT):
        found = armed()
        if found is None:
            return None
        _keep(dataclasses.replace(found, state=core.RETURN))
    end = time.monotonic() + _RETURN_WAIT
    while _begun(found.process) == found.begun:
        if time.monotonic() >= end:
            raise HostError(f"the change is being taken back for {_RETURN_WAIT} seconds; look at the host's links")
        time.sleep(_PACE)
    return report()


def _keep(guard: core.Armed) -> None:
    files.write(STATE_FILE, core.render(guard), mode=0o600)


def _become_guard(made: core.Armed, actions: tuple[str, ...], restore: Restore, ready: int) -> t.NoReturn:
    """In the child: leave the session and everything that ties this process to it, and watch. It never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        # Locks and pipes of the module go on in every process that has them open.
        os.closerange(3, ready)
        os.closerange(ready + 1, 1 << 16)
        process = os.getpid()
        made = dataclasses.replace(made, process=process, begun=_begun(process))
        _keep(made)
        os.write(ready, b"1")
        os.close(ready)
        _watch(made, actions, restore)
    except BaseException as error:  # noqa: BLE001 - there is nobody to tell but the report
        with contextlib.suppress(BaseException):
            _tell(made, actions, "its guard failed", [f"{type(error).__name__}: {error}"])
    finally:
        os._exit(0)


def _watch(made: core.Armed, actions: tuple[str, ...], restore: Restore) -> None:
    deadline = made.deadline
    while True:
        time.sleep(_PACE)
        found = _found(made)
        deadline = found.deadline if found is not None else deadline
        if found is not None and found.state == core.ARMED and time.monotonic() < deadline:
            continue
        if found is None and time.monotonic() < deadline:
            continue
        with _locked():
            # Somebody may have come at the last moment.
            found = _found(made)
            if found is not None and found.state == core.CONFIRMED:
                files.remove(STATE_FILE)
                return
            if found is not None and found.state == core.ARMED and time.monotonic() < found.deadline:
                continue
            if found is not None and found.state == core.RETURN:
                reason = "that was asked for"
            else:
                reason = f"the controller had not come back over a new connection within {made.timeout} seconds"
            # Before anything: whatever comes between, it was this change that was not confirmed.
            _tell(made, actions, reason, ["taking it back has not come to its end"])
            _tell(made, actions, reason, _restored(restore))
            files.remove(STATE_FILE)
            return


def _found(made: core.Armed) -> core.Armed | None:
    with contextlib.suppress(HostError):
        found = core.parse(files.read(STATE_FILE), core.Armed)
        return found if found is not None and found.id == made.id else None
    return None


@contextlib.contextmanager
def _locked() -> t.Iterator[None]:
    """With the lock, or in the end without: the host may be out of reach."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(HostError):
            stack.enter_context(lock.exclusive(LOCK_FILE, 10))
        yield


def _restored(restore: Restore) -> list[str]:
    try:
        return restore()
    except NovaError as error:
        return [str(error)]


def _tell(made: core.Armed, actions: tuple[str, ...], reason: str, left: list[str]) -> None:
    told = core.Report(made.id, made.interfaces, made.since, _now(), reason, actions, tuple(left))
    with contextlib.suppress(HostError):  # a full disk is no reason to stay out of reach
        files.write(REPORT_FILE, core.render(told))


def _leave_session(process: int) -> None:
    """Out of the login's control group, with which systemd may end what is in it."""
    program = programs.find("busctl")
    if program is None or not os.path.isdir("/run/systemd/system"):
        return
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    unit = ["ssa(sv)a(sa(sv))", f"tenantnet-guard-{process}.scope", "fail", "1", "PIDs", "au", "1", str(process), "0"]
    # Where it is refused the guard stays where it is: by default systemd leaves it alone there too.
    programs.run([program, "call", *manager, "StartTransientUnit", *unit], wait=5)


def _begun(process: int) -> int:
    """When the process began, in the kernel's ticks; 0 where there is none, or it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")
