# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be known to go wrong before anything is written: programs, operator's files, dnsmasq's own opinion.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os

from ..._core import dnsmasq as core
from ..._core.errors import InputError, first_line
from .. import programs
from .work import Work


def check(work: Work, paths: core.Paths, check_mode: bool) -> None:
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
