# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doing the work: files, processes, leases, each instance for itself.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

from ..._core import dnsmasq as core
from ..._core.errors import HostError
from .. import files
from . import leases, router, service
from .leases import Step
from .work import Work

#: Seconds after which a start that failed is tried once more.
RETRY_AFTER = 0.2


class Apply:
    """Does the work; an instance that fails is noted and the others go on."""

    def __init__(self, work: Work, paths: core.Paths, host: service.Direct, step: Step) -> None:
        self.work, self.paths, self.host, self.step = work, paths, host, step
        self.failures: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        for folder in (self.paths.conf, self.paths.state, self.paths.run):
            files.make_folder(folder)
            files.sweep(folder)
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
        had = {name: files.read(self.paths.file(name, core.CONF)) for name in names}
        self._fail(self.host.stop(names))
        self.step("stop surplus")
        for name, conf in had.items():
            self._withdraw(name, conf)
        for name in names:
            if name in self.failures:
                continue
            with self._noting(name):
                for path in (self.paths.pid(name), self.paths.pending(name), self.paths.leases(name)):
                    files.remove(path)
                    self.step(f"remove {path}")
                files.remove(self.paths.folder(name))
                self.step(f"remove {name}")

    def _withdraw(self, name: str, had: str | None, gets: str | None = None) -> None:
        """Where a stopped process advertised a range that its configuration will not have, tell the guests."""
        old = core.advertised(had or "")
        if old is not None and old != core.advertised(gets or "") and name not in self.failures:
            router.withdraw(*old)

    def _write(self) -> None:
        for change in self.work.changes:
            # A start is marked as well: systemd may start a process that ended by itself while the files change.
            if change.process != core.UNCHANGED:
                with self._noting(change.name):
                    self._write_one(change)

    def _write_one(self, change: core.Change) -> None:
        name = change.name
        need = core.RELOAD if change.process == core.RELOAD else core.RESTART
        files.write(self.paths.pending(name), need)
        self.step(f"{name}: pending")
        files.make_folder(self.paths.folder(name))
        files.sweep(self.paths.folder(name))
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
        # does one whose old process is on its way out since a run that was killed.
        if failed:
            time.sleep(RETRY_AFTER)
            failed = self._start(list(failed))
        self._fail(failed)

    def _start(self, names: list[str]) -> dict[str, str]:
        """Stop what runs, take out the leases that nobody has any more while nobody writes the file, and start."""
        wanted = [self.work.instances[name] for name in names]
        present = router.addresses() if any(each.range_v6 for each in wanted) else []
        said = {each.name: router.unready(each, present) for each in wanted}
        failed = {name: why for name, why in said.items() if why is not None}
        failed.update(self.host.stop([name for name in names if name not in failed]))
        self.step("stop")
        ready = [name for name in names if name not in failed]
        for name in ready:
            gets = files.read(self.paths.file(name, core.CONF))
            self._withdraw(name, self.work.have[name].files.get(core.CONF), gets)
            leases.prune(self.work.instances[name], self.paths, self.step)
        failed.update(self.host.start(ready))
        self.step("start")
        return failed

    def _release(self) -> None:
        """After the reload, as nova did it: before, dnsmasq would give the old owner its address again.

        Who lost its reservation may have got its lease while we were at work; so the file is read once more.
        """
        for change in self._todo(core.UNCHANGED, core.RELOAD):
            if change.release or core.HOSTS in change.write:
                with self._noting(change.name):
                    leases.release(self.work.instances[change.name], self.paths, self.step)

    def _finish(self) -> None:
        """Take away the marks of what runs; one that ended right after its start or reload keeps its own."""
        for change in self._todo(core.RELOAD, core.START, core.RESTART):
            if not self.host.starts_later and service.pid_of(self.paths, change.name) is None:
                self._fail({change.name: "its process ended right after it was started or reloaded"})
                continue
            with self._noting(change.name):
                files.remove(self.paths.pending(change.name))
                self.step(f"{change.name}: done")
