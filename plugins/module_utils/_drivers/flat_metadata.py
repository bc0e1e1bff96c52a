# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leads guests of flat networks to the metadata service (`_core.metadata_table` says how).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t

from .._core import bridge_table as tables
from .._core import metadata_table as core
from .._core import packet_filter
from .._core.errors import HostError
from .._core.naming import RUN_DIR
from .._core.packet_filter import METADATA_ADDRESS, FlatMetadata
from . import bridge_table, lock, programs
from .netlink import answers
from .netlink.answers import Answers
from .netlink.wire import Socket
from .nftables.kernel import Kernel

LOCK_FILE = f"{RUN_DIR}/flat_metadata.lock"

_UNABLE = "its kernel does not change bridged frames by nftables; use one with nf_tables for bridges"


class Result(t.NamedTuple):
    """What was done, or in check mode would be; its difference in words; and what cannot be served."""

    actions: list[str]
    diff: dict[str, str]
    warnings: list[str]


class _Work(t.NamedTuple):
    """What differs: the table, and the host's answers by the numbers of interfaces."""

    table: core.Difference
    before: Answers
    after: Answers
    warnings: list[str]

    @property
    def changed(self) -> bool:
        return bool(self.table.script) or self.before != self.after


def apply(want: FlatMetadata, *, check: bool = False, wait: float = 20) -> Result:
    """Make the host lead these guests and no others. HostError with nothing changed."""
    with Socket(strict=True) as kernel:
        work = _look(kernel, want, check)
        if work.changed and not check:
            with lock.exclusive(LOCK_FILE, wait) as held:
                # Another run may have been at work until now.
                work = _look(kernel, want, check)
                _execute(kernel, work, held)
    return Result(_actions(work), _diff(work), work.warnings)


def _look(kernel: Socket, want: FlatMetadata, check: bool) -> _Work:
    warnings: list[str] = []
    numbers = {name: _index(name) for name in want.here}
    absent = [name for name in want.here if not numbers[name]]
    # In check mode a bridge may be one that a task before this one would have made.
    if absent and not check:
        warnings.append(_said(f"there is no bridge {', '.join(absent)}"))
        want = want._replace(networks=tuple(each for each in want.networks if numbers[each.bridge]))
    try:
        table = _compare(want, check)
    except bridge_table.Unable as error:
        # Everything else that the guests have from this host, they keep.
        warnings.append(_said(str(error)))
        want = packet_filter.NO_FLAT_METADATA
        table = _compare(want, check)
    before = answers.read(kernel)
    return _Work(table, before, _answers(want, numbers, before.given), warnings)


def _said(reason: str) -> str:
    # Ansible shows warnings without the host, and equal ones once.
    return f"host {os.uname().nodename}: guests of flat networks get no metadata: {reason}"


def _bridge_tables() -> list[str]:
    try:
        with Kernel() as kernel:
            return kernel.bridge_tables()
    except HostError:  # a kernel without nftables
        return []


def _answers(want: FlatMetadata, numbers: t.Mapping[str, int], given: bool) -> Answers:
    networks = want.networks if want.here else ()
    ranges = frozenset((network.cidr, numbers[network.bridge]) for network in networks)
    return Answers(bool(networks) and not given, ranges, bool(networks), given)


def _compare(want: FlatMetadata, check: bool) -> core.Difference:
    there = core.NAME in _bridge_tables()
    nft = programs.find("nft")
    if nft is None and want and not check:
        programs.need("nft", "nftables")
    if nft is None or not (there or want):
        # What is not there yet a task before this one would have installed.
        return core.compare(want, None, tables.NOTHING)
    found = bridge_table.look(nft, core.table(want), wanted=bool(want), unable=_UNABLE)
    return core.compare(want, found.present, found.model)


def _execute(kernel: Socket, work: _Work, held: int) -> None:
    """The host answers before it is asked, and no more only when nobody is led to it."""
    before, after = work.before, work.after
    union = before._replace(
        address=before.address or after.address, ranges=before.ranges | after.ranges, rule=before.rule or after.rule
    )
    _bring(kernel, before, union)
    if work.table.script:
        bridge_table.load(programs.need("nft", "nftables"), work.table.script, held)
    _bring(kernel, union, after)


def _bring(kernel: Socket, before: Answers, after: Answers) -> None:
    refused = answers.bring(kernel, before, after)
    if refused:
        raise HostError(
            f"the kernel does not let this host answer as {METADATA_ADDRESS}: {refused[min(refused)]}; guests of flat "
            "networks get no metadata from it"
        )


def _actions(work: _Work) -> list[str]:
    said = list(work.table.actions())
    for before, after, verb in ((work.before, work.after, "answer"), (work.after, work.before, "no longer answer")):
        said += [
            f"{verb} {cidr} over {_name(index)} as {METADATA_ADDRESS}"
            for cidr, index in sorted(after.ranges - before.ranges)
        ]
    if work.changed and not said:
        said.append(f"answer as {METADATA_ADDRESS} as planned")
    return said


def _diff(work: _Work) -> dict[str, str]:
    header = "guests of flat networks led to their metadata"

    def lines(ports: t.Iterable[str], answering: Answers) -> str:
        rows = [f"{port}\n" for port in ports]
        rows += [f"answers to {cidr} over {_name(index)}\n" for cidr, index in sorted(answering.ranges)]
        return "".join(rows)

    return {
        "before_header": header,
        "after_header": header,
        "before": lines(work.table.before, work.before),
        "after": lines(work.table.after, work.after),
    }


def _index(name: str) -> int:
    """Zero where there is none of that name."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def _name(index: int) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return "a bridge that comes"
