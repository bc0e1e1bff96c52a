# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Differences written: one commit, or several tables that go over at once.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib

from ..._core import iptables as core
from ..._core.errors import HostError
from ..._core.iptables import switch
from . import reading
from .run import PREFIX, Family, Run, at_once, call

_LOCK_HELD = 4

NOTHING_CHANGED = "nothing was changed"


class Refused(Exception):
    """iptables-restore did not take the rules; perhaps because the tables were no longer what was read."""


def write(run: Run, families: list[Family]) -> None:
    """Make the changes: one commit, or several tables that go over at once."""
    concerned = [family for family in families if family.changes]
    if not at_once(run, families):
        for family in concerned:
            # What leads to guests goes before what guards them.
            changes = sorted(family.changes, key=lambda change: change.table == "filter")
            _restore(run, family.name, core.compose(changes), NOTHING_CHANGED)
        return
    try:
        _ipset(run, switch.make(), NOTHING_CHANGED)
        for family in concerned:
            _restore(run, family.name, switch.prepare(family.changes), NOTHING_CHANGED)
        _ipset(run, switch.turn_on(), NOTHING_CHANGED)
    except (Refused, HostError):
        # What cannot be taken back now has no effect, and the next run does it.
        with contextlib.suppress(Refused, HostError):
            _resolve_left(run, NOTHING_CHANGED)
        raise
    state = "the new rules are in effect, and the next run tidies up after this one"
    try:
        for family in concerned:
            _restore(run, family.name, switch.settle(family.changes), state)
        _ipset(run, switch.destroy(), state)
    except Refused as refused:
        # Another program has been at work meanwhile.
        try:
            _resolve_left(run, state)
        except Refused:
            raise HostError(str(refused)) from refused


def _resolve_left(run: Run, state: str) -> None:
    _sets, left = switch.part(reading.read_sets(run))
    resolve(run, reading.read_families(run, left), left, state)


def resolve(run: Run, families: list[Family], left: switch.Left, state: str) -> None:
    """Make the rules without a switch what they are with the one that is left; packets meet no difference."""
    for family in families:
        if family.resolving:
            _restore(run, family.name, family.resolving, state)
    _ipset(run, switch.destroy(left.sets), state)


def _restore(run: Run, family: str, text: str, state: str) -> None:
    program = f"{PREFIX[family]}-restore"
    done = call(
        program,
        "--noflush",
        "--wait",
        str(run.options.wait),
        text=text,
        wait=run.options.wait,
        inherits=run.options.inherits,
    )
    if done.status == 0:
        run.commits += text.count("\nCOMMIT\n")
        return
    if done.status == _LOCK_HELD and "xtables lock" in done.errors:
        raise HostError(
            f"cannot write the packet filter: another program has held the xtables lock for {run.options.wait} "
            f"seconds; {state}; run again when it is done, or raise the option wait"
        )
    raise Refused(f"cannot write the packet filter: {program} refused the rules: {_quote(done.errors, text)}; {state}")


def _quote(complaint: str, text: str) -> str:
    """The tool's complaint, with the line that it names by number."""
    said = " ".join(complaint.split()) or "it gave no reason"
    lines = text.splitlines()
    for word in said.replace(":", " ").split("line ")[1:]:
        number = word.split(" ")[0]
        if number.isdigit() and 0 < int(number) <= len(lines):
            return f"{said} (that line is '{lines[int(number) - 1]}')"
    return said


def write_sets(run: Run, text: str) -> None:
    if text:
        run.wrote_sets = True
        _ipset(run, text, "they may be changed in part, and the next run repairs that")


def _ipset(run: Run, text: str, state: str) -> None:
    if not text:
        return
    done = call("ipset", "restore", text=text, inherits=run.options.inherits)
    if done.status:
        raise HostError(f"cannot write the sets of addresses: {_quote(done.errors, text)}; {state}")
