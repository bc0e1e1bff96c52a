# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter of a host, by one of several back ends; what another one had left there goes.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import typing as t

from .._core import packet_filter
from .._core.connections import Connection, Gate, Verdict
from .._core.errors import HostError
from .._core.naming import RUN_DIR
from .._core.outcome import Outcome
from . import conntrack, floating_addresses, iptables, lock, nftables, unfinished

LOCK_FILE = f"{RUN_DIR}/packet_filter.lock"

BACKENDS = {"iptables": iptables.bring, "nftables": nftables.bring}


#: Whether a connection ends.
_Judge = t.Callable[[Connection], bool]


def apply(
    plan: object, *, backend: str = "iptables", check: bool = False, diff: bool = False, wait: int = 20
) -> dict[str, t.Any]:
    """Make the host's rules those of the plan's section; with `check`, only tell what would be done."""
    section = packet_filter.parse(plan)
    own = own_address() if packet_filter.needs_own_address(section) else None
    meaning = packet_filter.intent(section, own)
    options: dict[str, t.Any] = {"check": check, "diff": diff, "wait": wait}
    with contextlib.nullcontext() if check else lock.exclusive(LOCK_FILE, wait) as held:
        note = None
        if not check:
            note = unfinished.Note(os.path.join(os.path.dirname(LOCK_FILE), "packet_filter.unfinished"))
            options["note"] = note.add
            options["holding"] = held
        outcome = BACKENDS[backend](meaning, **options)
        # Afterwards, so that there is no moment without rules.
        for name, other in BACKENDS.items():
            if name != backend:
                outcome += other(packet_filter.Intent(), leaving=True, **options)
        if note is not None:
            _end_connections(meaning, outcome, note)
            note.done()
    return outcome.result(diff)


def own_address() -> str:
    """The address that this host shows to the outside (nova's my_ip); nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))
            return str(probe.getsockname()[0])
        except OSError as error:
            raise HostError(
                f"cannot tell this host's own address, which SNAT needs: it has no route outwards ({error.strerror}); "
                "give the host a default route, or set nova_my_ip or nova_routing_source_ip"
            ) from error


def _end_connections(meaning: packet_filter.Intent, outcome: Outcome, note: unfinished.Note) -> None:
    """What had led to or from a guest by a way that is gone, or had been let in by a rule that is gone, would go on by
    itself: it is ended, and nothing else.
    """
    gone, come, guards = note.with_left(outcome, meaning)
    verdict = Verdict(meaning, gone, come)
    judges: dict[int, list[_Judge]] = {
        version: [verdict.ends] if verdict.concerns(version) else [] for version in (4, 6)
    }
    for version, security in ((4, meaning.security), (6, meaning.security_v6)):
        if security.guests and guards:
            judges[version].append(Gate(security, floating_addresses.own(version)).refuses)
    try:
        for version, of_it in judges.items():
            if of_it:
                conntrack.cut(functools.partial(_any, of_it), version)
    except HostError as error:
        outcome.warnings.append(f"{error}; those that the plan no longer allows go on until they end by themselves")


def _any(judges: list[_Judge], connection: Connection) -> bool:
    return any(ends(connection) for ends in judges)
