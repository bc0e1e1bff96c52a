# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance as planned compared with what a host has of it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .files import CONF, FILES, HOSTS, NAMES, OPTS
from .lease_file import Lease
from .plan import CHECKED_OPTIONS, Instance

#: What the process of an instance needs.
UNCHANGED, RELOAD, RESTART, START, STOP = "unchanged", "reload", "restart", "start", "stop"
DONE = {UNCHANGED: "unchanged", RELOAD: "reloaded", RESTART: "restarted", START: "started", STOP: "stopped"}


@dataclass(frozen=True)
class Have:
    """What a host has of one instance."""

    files: t.Mapping[str, str]
    #: Files whose mode keeps dnsmasq, which runs without privileges, from reading them again.
    unreadable: frozenset[str] = frozenset()
    running: bool = False
    #: What an interrupted run had still to do.
    pending: str = UNCHANGED
    #: systemd starts it at boot; true where there is no systemd.
    enabled: bool = True
    stale: tuple[Lease, ...] = ()
    #: The address of its IPv6 range came after its process, which may have given up advertising by then.
    missed: bool = False


@dataclass(frozen=True)
class Change:
    """What one instance needs."""

    name: str
    process: str
    reason: str
    write: t.Mapping[str, str]
    remove: tuple[str, ...]
    enable: bool
    release: tuple[Lease, ...]

    @property
    def empty(self) -> bool:
        return self.process == UNCHANGED and not (self.write or self.remove or self.enable or self.release)

    @property
    def actions(self) -> list[str]:
        """What is done, in the network's words."""
        lines = []
        if self.process == START:
            lines.append(f"start dnsmasq for {self.name}" + (f": {self.reason}" if self.reason else ""))
        elif self.process != UNCHANGED:
            lines.append(f"{self.process} {self.name}: {self.reason}")
        if self.enable:
            lines.append(f"start {self.name} at boot")
        lines.extend(f"release {lease} on {self.name}" for lease in self.release)
        return lines


def compare(want: Instance, files: t.Mapping[str, str], have: Have) -> Change:
    """What turns `have` into `want`, whose files are `files`."""
    write = {
        file: files[file]
        for file in FILES
        if file in files and (have.files.get(file) != files[file] or file in have.unreadable)
    }
    remove = tuple(file for file in FILES if file in have.files and file not in files)
    process, reason = _process(write, remove, have)
    if process == RELOAD and not reason:
        reason = _what_is_reloaded(files, have)
    return Change(
        name=want.name,
        process=process,
        reason=reason,
        write=write,
        remove=remove,
        enable=not have.enabled,
        release=have.stale,
    )


def wants_test(instance: Instance, change: Change) -> bool:
    """Whether dnsmasq itself is to look at the configuration before it is written.

    It is where an operator's words stand in it, and where a process that runs would be stopped for it. For the others,
    of which every word was checked here, the look would cost nearly as much as the start.
    """
    if CONF not in change.write and OPTS not in change.write:
        return False
    free = instance.config_file is not None or any(each.option not in CHECKED_OPTIONS for each in instance.options)
    return free or change.process == RESTART


def _process(write: t.Mapping[str, str], remove: t.Sequence[str], have: Have) -> tuple[str, str]:
    """What the process needs and why; the reason of a reload is left to the caller."""
    if not have.running:
        return START, "its process has ended" if CONF in have.files and CONF not in write else ""
    if CONF in write:
        return RESTART, "its configuration changes"
    if have.pending == RESTART:
        return RESTART, "an interrupted run left it to do"
    if have.missed:
        return RESTART, "its interface got the IPv6 address after it started"
    # A release by dhcp_release6 would hold dnsmasq up for longer, a second for each lease: it seeks the MAC address of
    # the sender among the neighbours, and this host is not its own neighbour.
    if any(lease.version == 6 for lease in have.stale):
        return RESTART, "a lease of DHCPv6 lost its reservation"
    if write or remove:
        return RELOAD, ""
    if have.pending == RELOAD:
        return RELOAD, "an interrupted run left it to do"
    return UNCHANGED, ""


def _what_is_reloaded(files: t.Mapping[str, str], have: Have) -> str:
    parts = [
        _count(have.files.get(file, ""), files.get(file, ""), word)
        for file, word in ((HOSTS, "reservation"), (OPTS, "option"), (NAMES, "name"))
    ]
    return ", ".join(part for part in parts if part) or "its files become readable"


def _count(before: str, after: str, word: str) -> str:
    old, new = set(before.splitlines()), set(after.splitlines())
    counts = ((sign, len(lines)) for sign, lines in (("+", new - old), ("-", old - new)) if lines)
    return ", ".join(f"{sign}{number} {word}{'' if number == 1 else 's'}" for sign, number in counts)
