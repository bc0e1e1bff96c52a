# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter of a host, by one of several back ends; what another one had left there goes.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import os
import socket
import typing as t

from .._core import packet_filter
from .._core.connections import Connection, Gate, Verdict
from .._core.errors import HostError
from .._core.naming import RUN_DIR
from .._core.outcome import Outcome
from . import conntrack, floating_addresses, iptables, lock, nftables, unfinished
from .filter_options import Options
from .known import Known

LOCK_FILE = f"{RUN_DIR}/packet_filter.lock"

BACKENDS = {"iptables": iptables.bring, "nftables": nftables.bring}
#: The same, for a few floating IPs more or less than the rules are known to have.
STEPS = {"iptables": iptables.bring_step, "nftables": nftables.bring_step}
#: Whether nf_tables counts what the back end writes.
COUNTED: dict[str, t.Callable[[], bool]] = {"iptables": iptables.counted, "nftables": nftables.counted}


#: Whether a connection ends.
_Judge = t.Callable[[Connection], bool]


class _Work(t.NamedTuple):
    """What a run has to bring about, and the host's own address where that is needed."""

    meaning: packet_filter.Intent
    own: str | None
    #: Whether it may be known to the next run.
    plain: bool
    #: From what the rules are known to be, where few floating IPs lead from there to what is meant.
    step: packet_filter.Step | None = None


@contextlib.contextmanager
def _uncollected() -> t.Iterator[None]:
    """Without looks for unreachable cycles: ten thousand entries have none, and each look goes through them all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def apply(
    plan: object, *, backend: str = "iptables", check: bool = False, diff: bool = False, wait: int = 20
) -> dict[str, t.Any]:
    """Make the host's rules those of the plan's section; with `check`, only tell what would be done."""
    folder = os.path.dirname(LOCK_FILE)
    known = Known(os.path.join(folder, "packet_filter.known"), backend, COUNTED[backend](), plan)
    work = _few(known) or _whole(plan)
    options = Options(check, diff, wait)
    with contextlib.nullcontext() if check else lock.exclusive(LOCK_FILE, wait) as held:
        note = None
        if held is not None:
            note = unfinished.Note(os.path.join(folder, "packet_filter.unfinished"))
            options = dataclasses.replace(options, note=note.add, inherits=(held,))
            if work.step and (note.left or not known.holds()):
                work = _whole(plan)
        count = known.count()
        outcome = STEPS[backend](work.step, options) if work.step else None
        if outcome is None:
            work = _whole(plan) if work.step else work
            outcome = _bring(work.meaning, backend, options)
        if note is not None:
            _end_connections(work.meaning, outcome, note)
            note.done()
            if work.plain and count is not None:
                known.keep(work.own, count + outcome.commits)
    return outcome.result(diff)


def _whole(plan: object) -> _Work:
    section = packet_filter.parse(plan)
    own = own_address() if packet_filter.needs_own_address(section) else None
    entries = (plan.get("floating_ips") if isinstance(plan, dict) else None) or []
    return _Work(packet_filter.intent(section, own), own, packet_filter.is_plain(entries, section))


def _few(known: Known) -> _Work | None:
    """The work where the rules are known and few floating IPs differ from them."""
    few = known.few()
    step = packet_filter.step(few, own_address) if few else None
    return _Work(step.after, step.own, True, step) if step and step.own == known.own else None


def _bring(meaning: packet_filter.Intent, backend: str, options: Options) -> Outcome:
    outcome = BACKENDS[backend](meaning, options)
    # Afterwards, so that there is no moment without rules.
    for name, other in BACKENDS.items():
        if name != backend:
            outcome += other(packet_filter.Intent(), options, leaving=True)
    return outcome


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
    if conntrack.none():
        return
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
