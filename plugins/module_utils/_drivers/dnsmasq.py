# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the files and processes of a host equal to the dnsmasq section of its plan.

Why a run that is killed anywhere is mended by the next one: the files say what is wanted, and a process has read
them if they did not change after its start or its last SIGHUP. So before the first file of an instance changes, a
mark NAME.pending in /run says what its process will need, and the mark goes only when the process got it. A run that
finds the mark gives the process that, even if every file is right. The mark can err to one side alone: a process that
was restarted by somebody else meanwhile is restarted once more. A boot takes the mark and the process together. The
rest is asked of the kernel and of dnsmasq's lease file at each run, and nothing else is remembered.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import time
import typing as t
from dataclasses import dataclass, field

from .._core import dnsmasq as core
from .._core.errors import HostError, InputError, first_line
from . import files, lock, programs, service

#: Seconds that a run waits for another one on this host.
LOCK_WAIT = 120.0
#: Seconds that dnsmasq has to give up a lease after it was told, and how often it is told.
RELEASE_WAIT = 2.0
RELEASE_ROUNDS = 5
#: Seconds within which a lease file that was emptied is written.
LEASES_WAIT = 0.1
#: Seconds after which a start that failed is tried once more.
RETRY_AFTER = 0.2

Step = t.Callable[[str], None]


@dataclass
class Work:
    """What a host needs: the difference between its plan and what it has."""

    changes: list[core.Change]
    have: dict[str, core.Have]
    instances: dict[str, core.Instance]
    surplus: list[str]
    unit: tuple[str, str] | None
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.surplus or self.unit) or any(not change.empty for change in self.changes)

    @property
    def actions(self) -> list[str]:
        lines = [f"stop dnsmasq for {name} and remove its files and leases" for name in self.surplus]
        if self.unit:
            lines.append(f"{'install' if self.unit[1] else 'remove'} the unit {core.UNIT}")
        for change in self.changes:
            lines.extend(change.actions)
        return lines

    @property
    def done(self) -> dict[str, str]:
        """What happens to each instance."""
        answer = dict.fromkeys(self.surplus, core.DONE[core.STOP])
        answer.update({change.name: core.DONE[change.process] for change in self.changes})
        return answer


def run(
    plan: object,
    check_mode: bool = False,
    paths: core.Paths | None = None,
    lock_wait: float = LOCK_WAIT,
    step: Step = lambda name: None,
) -> tuple[dict[str, t.Any], str | None]:
    """Bring the host to its plan. What was done (in check mode: would be), and what failed, as one message or None.

    `step` is told of each thing that was done, right after it.
    """
    instances = core.parse(plan)
    paths = paths or core.Paths.under()
    with contextlib.nullcontext() if check_mode else lock.exclusive(paths.lock, lock_wait):
        host = service.of_host(paths)
        work = _compare(instances, paths, host)
        _check(work, paths, check_mode)
        diff = _diff(work, paths, host)
        failures = {} if check_mode or not work.changed else _Apply(work, paths, host, step).all()
    result = {
        "changed": work.changed,
        "actions": work.actions,
        "instances": {**work.done, **dict.fromkeys(failures, "failed")},
        "diff": diff,
        "warnings": work.warnings,
    }
    return result, _message(failures)


def _message(failures: t.Mapping[str, str]) -> str | None:
    if not failures:
        return None
    each = "; ".join(f"{name}: {failures[name]}" for name in sorted(failures))
    return f"dnsmasq does not serve every network of this host. {each}. The other networks are as planned"


def _folder(path: str) -> None:
    """Make the folder and those above it, for everyone to enter: dnsmasq reads in them without privileges."""
    if os.path.isdir(path):
        return
    _folder(os.path.dirname(path))
    try:
        os.mkdir(path)
        os.chmod(path, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"cannot make the folder {path}: {error}") from error


# --- what the host has -----------------------------------------------------------------------------------------------


def _compare(instances: t.Sequence[core.Instance], paths: core.Paths, host: service.Direct) -> Work:
    """Read the host once and name what it needs."""
    enabled = host.enabled()
    present = _present(paths, enabled or set())
    have = {}
    changes = []
    for each in instances:
        have[each.name] = _have(each, paths, present, enabled)
        files_wanted = core.render(each, paths, _digest(each.config_file))
        changes.append(core.compare(each, files_wanted, have[each.name]))
    by_name = {each.name: each for each in instances}
    surplus = sorted(name for name in present if name not in by_name)
    return Work(changes, have, by_name, surplus, host.unit_change(wanted=bool(instances)))


def _present(paths: core.Paths, enabled: set[str]) -> dict[str, set[str]]:
    """Every instance of which the host has anything, with the kinds of what it has in the folders of state."""
    found: dict[str, set[str]] = {name: set() for name in enabled}
    for name in _names_in(paths.conf):
        found.setdefault(name, set())
    for folder in (paths.state, paths.run):
        for file in _names_in(folder):
            name, dot, kind = file.rpartition(".")
            if dot and kind in ("leases", "pid", "pending"):
                found.setdefault(name, set()).add(kind)
    return found


def _names_in(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HostError(f"cannot list {folder}: {error}") from error


def _have(
    want: core.Instance, paths: core.Paths, present: t.Mapping[str, set[str]], enabled: set[str] | None
) -> core.Have:
    name = want.name
    if name not in present:
        return core.Have(files={}, enabled=enabled is None)
    kinds = present[name]
    texts, unreadable = _read_files(paths, name)
    return core.Have(
        files=texts,
        unreadable=frozenset(unreadable),
        running="pid" in kinds and service.pid_of(paths, name) is not None,
        pending=_pending(paths, name) if "pending" in kinds else core.UNCHANGED,
        enabled=enabled is None or name in enabled,
        stale=tuple(core.stale_leases(want, _lease_text(paths, name), time.time())) if "leases" in kinds else (),
    )


def _read_files(paths: core.Paths, name: str) -> tuple[dict[str, str], set[str]]:
    texts, unreadable = {}, set()
    for file in core.FILES:
        path = paths.file(name, file)
        text = files.read(path)
        if text is not None:
            texts[file] = text
            if stat.S_IMODE(os.stat(path).st_mode) != 0o644:
                unreadable.add(file)
    return texts, unreadable


def _pending(paths: core.Paths, name: str) -> str:
    """What an interrupted run left to do; a mark that cannot be understood asks for the stronger thing."""
    return core.RELOAD if files.read(paths.pending(name)) == core.RELOAD else core.RESTART


def _lease_text(paths: core.Paths, name: str) -> str:
    """The lease file, read when dnsmasq is not at it: it empties the file in place, then writes it."""
    path = paths.leases(name)
    deadline = time.monotonic() + LEASES_WAIT
    while True:
        try:
            # A client's host name stands in there.
            with open(path, encoding="utf-8", errors="replace") as handle:
                text = handle.read()
                age = time.time() - os.fstat(handle.fileno()).st_mtime
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise HostError(f"cannot read {path}: {error}") from error
        # Empty for long, or ended by a whole line: that is how it stands.
        if text.endswith("\n") or abs(age) > LEASES_WAIT or time.monotonic() > deadline:
            return text
        time.sleep(0.005)


def _digest(path: str | None) -> str | None:
    """A short name for the content of an operator's file; None where it is not there."""
    if path is None:
        return None
    try:
        with open(path, "rb") as handle:
            return hashlib.sha256(handle.read()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"cannot read {path}: {error}; nothing was changed") from error


# --- before anything is written --------------------------------------------------------------------------------------


def _check(work: Work, paths: core.Paths, check_mode: bool) -> None:
    """Everything that can be known beforehand to go wrong, in one message."""
    missing = []
    if any(_signals_a_release(change) for change in work.changes):
        missing.append(("dhcp_release", "dnsmasq-utils"))
    if any(change.process in (core.START, core.RESTART) for change in work.changes):
        missing.append(("dnsmasq", "dnsmasq-base"))
    for name, package in missing:
        if programs.find(name) is None and check_mode:
            # A task before this one would have installed it.
            work.warnings.append(f"{name} of the package {package} is not installed; a real run needs it")
        else:
            programs.need(name, package)
    faults = _extra_files(work, check_mode)
    faults.update(_refused(work, paths, set(faults)))
    if faults and not check_mode or any(said for said in faults.values()):
        each = "; ".join(f"{name}: {said}" for name, said in sorted(faults.items()) if said)
        raise InputError(f"dnsmasq would refuse its configuration. {each}. Nothing was changed")


def _signals_a_release(change: core.Change) -> bool:
    """Leases are taken out of the file while the process is away, and asked for while it runs."""
    return bool(change.release) and change.process in (core.UNCHANGED, core.RELOAD)


def _extra_files(work: Work, check_mode: bool) -> dict[str, str]:
    """Operator's files that are not there; in check mode the task that writes them may not have run: no fault yet."""
    faults = {}
    for name, each in work.instances.items():
        if each.config_file is not None and not os.path.exists(each.config_file):
            faults[name] = "" if check_mode else f"config_file {each.config_file} is not there on this host"
            if check_mode:
                work.warnings.append(f"{name}: config_file {each.config_file} is not there yet; a real run needs it")
    return faults


def _refused(work: Work, paths: core.Paths, skip: set[str]) -> dict[str, str]:
    """What dnsmasq says of the configurations that are to change; it reads them from its standard input."""
    binary = programs.find("dnsmasq")
    if binary is None:
        return {}
    calls = {}
    for change in work.changes:
        each = work.instances[change.name]
        if change.name not in skip and core.wants_test(each, change):
            conf = core.render(each, paths, "")[core.CONF]
            calls[change.name] = programs.Call((binary, "--test", "--conf-file=-"), core.testable(each, conf))
    return {name: first_line(done.said) for name, done in programs.run_all(calls).items() if done.status}


def _diff(work: Work, paths: core.Paths, host: service.Direct) -> list[dict[str, str]]:
    """The files that differ in their text, before and after."""
    diff = []
    if work.unit and isinstance(host, service.Systemd):
        diff.append(_difference(host.unit, *work.unit))
    for name in work.surplus:
        for file in core.FILES:
            text = files.read(paths.file(name, file))
            if text is not None:
                diff.append(_difference(paths.file(name, file), text, ""))
    for change in work.changes:
        have = work.have[change.name].files
        for file in core.FILES:
            if file in change.write or file in change.remove:
                diff.append(_difference(paths.file(change.name, file), have.get(file, ""), change.write.get(file, "")))
    return [each for each in diff if each["before"] != each["after"]]


def _difference(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


# --- doing it --------------------------------------------------------------------------------------------------------


class _Apply:
    """Does the work; an instance that fails is noted and the others go on."""

    def __init__(self, work: Work, paths: core.Paths, host: service.Direct, step: Step) -> None:
        self.work, self.paths, self.host, self.step = work, paths, host, step
        self.failures: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        for folder in (self.paths.conf, self.paths.state, self.paths.run):
            _folder(folder)
            _sweep(folder)
        self._remove(self.work.surplus)
        if self.work.unit:
            self.host.put_unit(self.work.unit[1])
            self.step("unit")
        self.host.enable([change.name for change in self.work.changes if change.enable])
        self._write()
        self._reload()
        self._start_all()
        self._release()
        self._finish()
        return self.failures

    def _todo(self, *processes: str) -> list[core.Change]:
        return [each for each in self.work.changes if each.process in processes and each.name not in self.failures]

    def _fail(self, failures: t.Mapping[str, str]) -> None:
        self.failures.update(failures)

    @contextlib.contextmanager
    def _noting(self, name: str) -> t.Iterator[None]:
        try:
            yield
        except HostError as error:
            self._fail({name: str(error)})

    def _remove(self, names: list[str]) -> None:
        """Stop what is not planned, then forget it. Its folder goes last: as long as it stands, a run finds it."""
        if not names:
            return
        self.host.disable(names)
        self._fail(self.host.stop(names))
        self.step("stop surplus")
        for name in names:
            if name in self.failures:
                continue
            with self._noting(name):
                for path in (self.paths.pid(name), self.paths.pending(name), self.paths.leases(name)):
                    files.remove(path)
                    self.step(f"remove {path}")
                _remove_folder(self.paths.folder(name))
                self.step(f"remove {name}")

    def _write(self) -> None:
        for change in self.work.changes:
            # A start is marked as well: systemd may start a process that ended by itself while the files change.
            if change.process != core.UNCHANGED:
                with self._noting(change.name):
                    self._write_one(change)

    def _write_one(self, change: core.Change) -> None:
        name = change.name
        need = core.RELOAD if change.process == core.RELOAD else core.RESTART
        need = core.stronger(need, self.work.have[name].pending)
        files.write(self.paths.pending(name), need)
        self.step(f"{name}: pending")
        _folder(self.paths.folder(name))
        _sweep(self.paths.folder(name))
        for file, text in change.write.items():
            files.write(self.paths.file(name, file), text)
            self.step(f"{name}: write {file}")
        for file in change.remove:
            files.remove(self.paths.file(name, file))
            self.step(f"{name}: remove {file}")

    def _reload(self) -> None:
        """A signal from here under systemd as well: that is all that its reload would do."""
        for change in self._todo(core.RELOAD):
            pid = service.pid_of(self.paths, change.name)
            try:
                if pid is None:
                    raise ProcessLookupError
                os.kill(pid, signal.SIGHUP)
            except ProcessLookupError:
                self._fail({change.name: "its process ended while its files were written; run again"})
            self.step(f"{change.name}: reload")

    def _start_all(self) -> None:
        names = [change.name for change in self._todo(core.START, core.RESTART)]
        failed: dict[str, str] = {}
        for first in range(0, len(names), self.host.at_once):
            failed.update(self._start(names[first : first + self.host.at_once]))
        # Once more: of two networks that exchange their addresses the first one finds its own still in use, and so
        # does one whose old process is on its way out since an interrupted run.
        if failed:
            time.sleep(RETRY_AFTER)
            failed = self._start(list(failed))
        self._fail(failed)

    def _start(self, names: list[str]) -> dict[str, str]:
        """Stop what runs, take out the leases that nobody has any more while nobody writes the file, and start."""
        failed = self.host.stop(names)
        self.step("stop")
        ready = [name for name in names if name not in failed]
        for name in ready:
            self._prune(name)
        failed.update(self.host.start(ready))
        self.step("start")
        return failed

    def _prune(self, name: str) -> None:
        text = _lease_text(self.paths, name)
        stale = core.stale_leases(self.work.instances[name], text, time.time())
        if stale:
            files.write(self.paths.leases(name), core.without_leases(text, stale))
            self.step(f"{name}: prune")

    def _release(self) -> None:
        """After the reload, as nova did it: before, dnsmasq would give the old owner its address again.

        Who lost its reservation may have got its lease while we were at work; so the file is read once more.
        """
        for change in self._todo(core.UNCHANGED, core.RELOAD):
            if change.release or core.HOSTS in change.write:
                with self._noting(change.name):
                    self._release_one(self.work.instances[change.name])

    def _release_one(self, instance: core.Instance) -> None:
        said = ""
        for _round in range(RELEASE_ROUNDS):
            for lease in self._standing(instance, 0):
                binary = programs.need("dhcp_release", "dnsmasq-utils")
                identity = (lease.client_id,) if lease.client_id else ()
                said = programs.run((binary, instance.interface, lease.address, lease.mac, *identity)).said or said
                self.step(f"{instance.name}: release {lease.address}")
            if not self._standing(instance, RELEASE_WAIT):
                return
        left = ", ".join(str(lease) for lease in self._standing(instance, 0))
        raise HostError(f"dnsmasq does not give up the lease {left}" + (f": {first_line(said)}" if said else ""))

    def _standing(self, instance: core.Instance, patience: float) -> list[core.Lease]:
        """The stale leases that stand after at most so long."""
        deadline = time.monotonic() + patience
        while True:
            text = _lease_text(self.paths, instance.name)
            stale = core.stale_leases(instance, text, time.time())
            if not stale or time.monotonic() >= deadline:
                return stale
            time.sleep(0.01)

    def _finish(self) -> None:
        """Take away the marks of what runs; one that ended right after its start or reload keeps its own."""
        for change in self._todo(core.RELOAD, core.START, core.RESTART):
            if service.pid_of(self.paths, change.name) is None:
                self._fail({change.name: "its process ended right after it was started or reloaded"})
                continue
            with self._noting(change.name):
                files.remove(self.paths.pending(change.name))
                self.step(f"{change.name}: done")


def _sweep(folder: str) -> None:
    """Remove what a killed writer left beside the files."""
    for name in os.listdir(folder):
        if name.startswith(".new-"):
            files.remove(f"{folder}/{name}")


def _remove_folder(path: str) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HostError(f"cannot remove {path}: {error}") from error
