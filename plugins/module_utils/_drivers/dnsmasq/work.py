# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of its instances, and the work that makes it equal to the plan.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t
from dataclasses import dataclass, field

from ..._core import dnsmasq as core
from ..._core.errors import HostError
from .. import files
from . import leases, router, service


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


def compare(instances: t.Sequence[core.Instance], paths: core.Paths, host: service.Direct) -> Work:
    """Read the host once and name what it needs."""
    enabled = host.enabled()
    present = _present(paths, enabled or set())
    addresses = router.addresses() if any(each.range_v6 and each.name in present for each in instances) else []
    have = {}
    changes = []
    for each in instances:
        have[each.name] = _have(each, paths, present, enabled, addresses)
        files_wanted = core.render(each, paths, _digest(each.config_file))
        changes.append(core.compare(each, files_wanted, have[each.name]))
    by_name = {each.name: each for each in instances}
    surplus = sorted(name for name in present if name not in by_name)
    return Work(changes, have, by_name, surplus, host.unit_change(wanted=bool(instances)))


def file_diff(work: Work, paths: core.Paths, host: service.Direct) -> list[dict[str, str]]:
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


def _present(paths: core.Paths, enabled: set[str]) -> dict[str, set[str]]:
    """Every instance of which the host has anything, with the kinds of what it has in the folders of state."""
    found: dict[str, set[str]] = {name: set() for name in enabled}
    for name in files.names_in(paths.conf):
        found.setdefault(name, set())
    for folder in (paths.state, paths.run):
        for file in files.names_in(folder):
            name, dot, kind = file.rpartition(".")
            if dot and kind in ("leases", "pid", "pending"):
                found.setdefault(name, set()).add(kind)
    return found


def _have(
    want: core.Instance,
    paths: core.Paths,
    present: t.Mapping[str, set[str]],
    enabled: set[str] | None,
    addresses: t.Sequence[router.Address],
) -> core.Have:
    name = want.name
    if name not in present:
        return core.Have(files={}, enabled=enabled is None)
    kinds = present[name]
    texts, unreadable = _read_files(paths, name)
    pid = service.pid_of(paths, name) if "pid" in kinds else None
    return core.Have(
        files=texts,
        unreadable=frozenset(unreadable),
        running=pid is not None,
        missed=pid is not None and want.range_v6 is not None and _has_missed(want, addresses, pid),
        pending=_pending(paths, name) if "pending" in kinds else core.UNCHANGED,
        enabled=enabled is None or name in enabled,
        stale=tuple(leases.stale(want, paths)) if "leases" in kinds else (),
    )


def _has_missed(want: core.Instance, addresses: t.Sequence[router.Address], pid: int) -> bool:
    started = service.started(pid)
    return started is not None and router.has_missed(want, addresses, started)


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
