# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has what bridges' uplinks bring for this host itself routed before it is bridged (`_core.brouting` says why).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import socket
import typing as t

from .._core import brouting as core
from .._core.naming import RUN_DIR
from . import lock
from .netlink import traffic
from .netlink.wire import Socket

LOCK_FILE = f"{RUN_DIR}/brouting.lock"


class Result(t.NamedTuple):
    """What was done, or in check mode would be; and why, by bridge, it cannot be where it is needed."""

    changes: list[core.Change]
    lacking: dict[str, str]


class _Step(t.NamedTuple):
    """An interface on which the filters differ."""

    change: core.Change
    number: int
    found: traffic.Ingress
    wanted: frozenset[core.Filter]


def apply(ways: t.Mapping[str, core.Way], *, check: bool = False, wait: float = 20) -> Result:
    """Make the filters of all interfaces what these ways (by uplink) need; with `check`, only tell what would be."""
    with Socket() as kernel:
        steps, lacking = _look(kernel, ways, check)
        if steps and not check:
            with lock.exclusive(LOCK_FILE, wait):
                # Another run may have been at work until now.
                steps, lacking = _look(kernel, ways, check)
                for step in list(steps):
                    refused = _execute(kernel, step)
                    if refused is not None:
                        steps.remove(step)
                        lacking[ways[step.change.uplink].bridge] = refused
    return Result([step.change for step in steps], lacking)


def _look(kernel: Socket, ways: t.Mapping[str, core.Way], check: bool) -> tuple[list[_Step], dict[str, str]]:
    there = traffic.read(kernel)
    steps: list[_Step] = []
    lacking: dict[str, str] = {}
    wanted = set()
    for uplink, way in sorted(ways.items()):
        index, bridge = _index(uplink), _index(way.bridge)
        mac, master = traffic.link(kernel, index)
        found = there.get(index, traffic.Ingress({}, placed=False))
        wanted.add(index)
        missing = not bridge or master != bridge
        if missing and not check:
            # A run brings the links first. Where they did not come, frames of another wire must not get in here.
            lacking[way.bridge] = f"{uplink} is not in the bridge"
            wanted.discard(index)
            continue
        # In check mode what is missing is told of as if it were there, with the MAC address that it mostly has.
        own = mac if missing else traffic.link(kernel, bridge)[0]
        filters = frozenset() if missing else core.filters(way, bridge, own, own != mac)
        if missing or filters != frozenset(found.ours.values()):
            kinds = [traffic.REDIRECT] + [traffic.RETYPE] * (own != mac)
            unknown = [kind for kind in kinds if not traffic.knows(kernel, kind)]
            if unknown:
                lacking[way.bridge] = f"the kernel has no module act_{unknown[0]}"
                wanted.discard(index)
            else:
                change = core.Change(uplink, way.bridge, _versions(found), way.versions)
                steps.append(_Step(change, index, found, filters))
    for index, found in there.items():
        if found.ours and index not in wanted:
            steps.append(_gone(index, found))
    return steps, lacking


def _gone(index: int, found: traffic.Ingress) -> _Step:
    targets = [one.to for one in found.ours.values() if one.to]
    bridge = _name(targets[0]) if targets else None
    return _Step(core.Change(_name(index) or f"#{index}", bridge, _versions(found), ()), index, found, frozenset())


def _versions(found: traffic.Ingress) -> tuple[int, ...]:
    return tuple(sorted({one.version for one in found.ours.values()}))


def _execute(kernel: Socket, step: _Step) -> str | None:
    """In one datagram, which is done as a whole even where this process is killed; the reason of a refusal, or None."""
    index, found = step.number, step.found
    if not step.wanted:
        kernel.request(traffic.take_all(index, found))
        return None
    made = found.made or not found.placed
    messages = traffic.take(index, found)
    if not found.placed:
        messages.append(traffic.make_place(index))
    messages += [traffic.add(index, one, made) for one in sorted(step.wanted)]
    refused = kernel.request(messages)
    if not refused:
        return None
    left = traffic.read(kernel).get(index)
    if left is not None:
        # One that we made carries no filter yet that says so.
        left = left._replace(made=made)
        kernel.request(traffic.take_all(index, left))
    return f"the kernel does not filter what comes by {step.change.uplink}: {refused[min(refused)]}"


def _index(name: str) -> int:
    """Zero where there is none of that name."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def _name(index: int) -> str | None:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return None
