# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recorded plan applied again, as at boot: with what is there, and one message about what is not.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

from .._core import lasting, naming, packet_filter, renamed
from .._core.errors import HostError, NovaError
from .._core.links.mark import is_ours
from . import applied, host, links, names, netlink, programs, recorded
from . import packet_filter as rules

#: Seconds for the cards to come, and for the host's own address.
WAIT = 10.0
ADDRESS_WAIT = 20.0
_PAUSE = 0.1


def main() -> int:
    """Apply the recorded plan. Says what is missing on the standard error; the exit status is 1 then."""
    try:
        done, missing, told = restore()
    except NovaError as error:
        done, missing, told = [], [str(error)], []
    sys.stderr.write("".join(f"{' '.join(text.split())}\n" for text in dict.fromkeys(told)))
    if missing:
        # As systemd reads it: a line with the priority of an error.
        priority = "<3>" if "JOURNAL_STREAM" in os.environ else ""
        said = "; ".join(" ".join(text.split()) for text in missing)
        sys.stderr.write(
            f"{priority}The networks of this host are back in part only: {said}. "
            f"Mend it and run 'systemctl restart {naming.UNIT}' or {lasting.PROGRAM} again, or run the site playbook\n"
        )
    else:
        sys.stderr.write(f"The networks of this host are as last applied ({len(done)} steps)\n")
    return 1 if missing else 0


class Restored(t.NamedTuple):
    """What was done, what could not be, and what else there is to tell."""

    done: list[str]
    missing: list[str]
    told: list[str]


def restore(wait: float = WAIT) -> Restored:
    """Apply the recorded plan; what can be done is done, whatever cannot."""
    while True:
        last = recorded.read()
        if last is None:
            return Restored([], [], [])
        # Of a run that is under way, should it be no boot that calls for this.
        rules = applied.rules()
        missing: list[str] = []
        plan = with_interfaces({**last, **rules}, wait, missing)
        plan = _with_own_address(plan, ADDRESS_WAIT, missing)
        with applied.exclusive(host.WAIT):
            if applied.rules() == rules:
                return _restored(plan, missing)


def _restored(plan: host.Plan, missing: list[str]) -> Restored:
    outcome = host.apply(plan, boot=True, note=False)
    failures = dict(outcome.failures)
    done, told = outcome.actions, outcome.warnings
    if "links" in failures and not any(is_ours(link) for link in netlink.read().links.values()):
        # Nothing of ours stands yet that a smaller plan would take away.
        del failures["links"]
        done += _in_parts(plan, missing)
        again = host.apply({key: value for key, value in plan.items() if key != "links"}, boot=True, note=False)
        failures = dict(again.failures)
        done += again.actions
        told += again.warnings
    missing += [f"{section}: {text}" for section, text in failures.items()]
    return Restored(done, missing, told)


def with_interfaces(plan: host.Plan, wait: float, missing: list[str]) -> host.Plan:
    """Wait for the interfaces that the plan needs; without those that do not come, what needs them is left out."""
    needed = renamed.named(plan)
    udevadm = programs.find("udevadm")
    if needed and wait and udevadm is not None:
        # A card that is about to be renamed must not be taken for another one.
        programs.run((udevadm, "settle", f"--timeout={wait:.0f}"), wait=wait + 5)
    deadline = time.monotonic() + wait
    while True:
        there = netlink.read().links
        again = names.renames(needed, there)
        absent = [name for name in needed if name not in there and name not in again]
        if not absent or time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    if absent:
        missing.append(
            f"{'interface' if len(absent) == 1 else 'interfaces'} {', '.join(absent)}: not there after "
            f"{wait:.0f} seconds, so what needs it was left out"
        )
        return lasting.without(plan, absent)
    return plan


def _with_own_address(plan: host.Plan, wait: float, missing: list[str]) -> host.Plan:
    """Wait until the host has the address that its rules translate to."""
    if "packet_filter" not in plan or not packet_filter.needs_own_address(packet_filter.parse(plan["packet_filter"])):
        return plan
    deadline = time.monotonic() + wait
    while True:
        try:
            rules.own_address()
            return plan
        except HostError as error:
            if time.monotonic() >= deadline:
                missing.append(f"{error}; its guests do not reach the outside until then")
                return {**plan, "packet_filter": {**plan["packet_filter"], "routing_source_ip": ""}}
            time.sleep(_PAUSE)


def _in_parts(plan: host.Plan, missing: list[str]) -> list[str]:
    """As many of the links as can be had: halved where they fail together, so that few attempts find the few culprits.

    On a host that has nothing of ours, as at boot.
    """
    good: list[lasting.Section] = []
    done: list[str] = []

    def attempt(pieces: t.Sequence[lasting.Section]) -> None:
        try:
            done.extend(links.apply(lasting.assemble(plan["links"], [*good, *pieces]))["actions"])
        except NovaError as error:
            if len(pieces) == 1:
                missing.append(f"{lasting.named(pieces[0])}: {error}")
            else:
                attempt(pieces[: len(pieces) // 2])
                attempt(pieces[len(pieces) // 2 :])
        else:
            good.extend(pieces)

    attempt(lasting.parts(plan["links"]))
    return done
