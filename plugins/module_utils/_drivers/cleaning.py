# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes everything of ours off a host, and gives the host's own settings back.

The order lets a killed run be done again: what is needed to know what is left goes last.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import typing as t

from .._core import lasting as core
from .._core import naming, units
from .._core.errors import HostError
from .._core.links import Difference, State
from .._core.links.mark import Mark, is_ours, parse_mark, parse_port_mark
from .._core.links.operations import Enslave
from . import files, guard, host, lasting, lock, names, netlink, origin, recorded

#: What is ours in the folder of state, which may hold the network controller's store as well; what tells of the first
#: state of the host comes last.
_FILES = (core.PROGRAM, guard.REPORT_FILE, names.FILE, recorded.PLAN_FILE, origin.FILE)
_STATE = ("dnsmasq", *map(os.path.basename, _FILES))


def clean(*, force: bool = False, check: bool = False) -> dict[str, t.Any]:
    """Take everything away; with `check`, only tell what would be. Returns `changed`, `actions`, `diff`, `warnings`.

    HostError, with nothing changed, while guests run here (unless `force`), or where something of others would be lost.
    """
    plan, down = _plan()
    foreseen = host.apply(plan, check=True, backwards=True)
    if foreseen.failures:
        raise HostError(f"the host cannot be cleaned: {_said(foreseen.failures)}. Nothing was changed")
    running = guests()
    if running and not force:
        raise HostError(
            f"guests still run on this host: {', '.join(running)}; they would lose their networks. Shut them down or "
            "move them first, or give force. Nothing was changed"
        )
    ours, paths = _units(), _paths()
    result = {
        "changed": bool(foreseen.changed or down or ours or paths),
        "actions": [
            *(f"disable and remove the unit {name}" for name in ours),
            *foreseen.actions,
            *(f"set {name} down" for name in down),
            *(f"remove {path}" for path in paths),
        ],
        "diff": foreseen.diff,
        "warnings": foreseen.warnings,
    }
    if result["changed"] and not check:
        with lock.exclusive(lasting.LOCK_FILE, lasting.LOCK_WAIT):
            if ours:
                # First, or a power loss in between would bring everything back.
                _remove_units(ours)
            done = host.apply(plan, backwards=True)
            if done.failures:
                raise HostError(f"the host is clean in part: {_said(done.failures)}. Mend that and run again")
            _set_down(down)
            for path in paths:
                files.remove(path)
            for folder in (naming.STATE_DIR, naming.CONF_DIR):
                _remove_if_empty(folder)
            # With the lock: whoever waits for it finds nothing to do.
            files.remove(naming.RUN_DIR)
    return result


def guests() -> list[str]:
    """Interfaces of guests that are plugged in here: planned or marked as a guest's port, or on bridges of ours."""
    plan = recorded.read() or {}
    state = netlink.read()
    ports = state.ports()
    of_guests = {port["device"]: one["name"] for one in plan.get("instances", ()) for port in one.get("ports", ())}
    planned = {*of_guests, *(port["name"] for port in plan.get("links", {}).get("ports", ()))}
    found = {link.name for link in state.links.values() if link.name in planned or parse_port_mark(link) is not None}
    for bridge in state.links.values():
        if bridge.kind == "bridge" and is_ours(bridge):
            mark = parse_mark(bridge.alias) or Mark()
            found |= {port.name for port in ports.get(bridge.name, ()) if port.name not in mark.interfaces}
    # A tap that waits for its guest has no carrier.
    plugged = [
        state.links[name] for name in sorted(found) if state.links[name].kind != "tun" or state.links[name].carrier
    ]
    return [f"{of_guests[link.name]} ({link.name})" if link.name in of_guests else link.name for link in plugged]


def _plan() -> tuple[host.Plan, list[str]]:
    """The plan of a host that carries nothing, and interfaces to be set down; both as before the first run."""
    before = origin.read()
    plan: host.Plan = {section.key: dict(section.empty) for section in host.SECTIONS}
    plan["backend"] = (recorded.read() or {}).get("backend", "iptables")
    state: State = netlink.read(before.sysctl)
    # What the kernel has no more, as a module was unloaded, is as it was.
    plan["links"]["sysctl"] = {key: value for key, value in before.sysctl.items() if state.sysctl.get(key) is not None}
    ours = {link.name for link in state.links.values() if link.kind == "bridge" and is_ours(link)}
    down = [
        name
        for name in before.down
        if name in state.links and state.links[name].up and state.links[name].master in {None, *ours}
    ]
    return plan, down


def _set_down(names: list[str]) -> None:
    if names:
        difference = Difference()
        difference.phases["release"] = [Enslave(name, None, None, False) for name in names]
        netlink.apply(difference, netlink.read())


def _units() -> list[str]:
    """Our units that are there."""
    there = {os.path.basename(path) for path in lasting.unit_paths() if os.path.lexists(path)}
    return [name for name in units.ALL if name in there]


def _remove_units(ours: list[str]) -> None:
    if os.path.isdir(lasting.SYSTEMD):
        if enabled := [name for name in ours if name in units.WANTED_BY]:
            lasting.systemctl("disable", *enabled)
        # What brings rules back must not meet their removal.
        lasting.systemctl("stop", *reversed(units.FOR_RULES), check=False)
    for path in lasting.unit_paths():
        files.remove(path)
    if os.path.isdir(lasting.SYSTEMD):
        lasting.systemctl("daemon-reload")
        # It is active since the boot, though it has ended.
        lasting.systemctl("stop", naming.UNIT, check=False)


def _paths() -> list[str]:
    """Our files and folders that are there, in the order of removing."""
    paths = [naming.CONF_DIR, *(f"{naming.STATE_DIR}/{name}" for name in _STATE)]
    return [path for path in paths if os.path.lexists(path)]


def _remove_if_empty(folder: str) -> None:
    try:
        files.sweep(folder)
        os.rmdir(folder)
    except OSError:
        pass  # it is not there, or holds what is not the host's plan: the network controller's store


def _said(failures: t.Mapping[str, str]) -> str:
    return "; ".join(f"{section}: {' '.join(text.split())}" for section, text in failures.items())
