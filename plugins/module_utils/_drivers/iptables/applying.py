# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our rules of iptables compared with what is meant, and changed.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from ..._core import iptables as core
from ..._core import packet_filter
from ..._core.errors import HostError
from ..._core.iptables import sets
from ..._core.outcome import Outcome
from .. import programs
from ..filter_options import BY_DEFAULT, Options
from . import reading, variants, writing
from .run import PREFIX, Difference, Family, Run, at_once

_ATTEMPTS = 3


def bring(meaning: packet_filter.Intent, options: Options = BY_DEFAULT, leaving: bool = False) -> Outcome:
    """Make the host's rules what is meant. `leaving`: another back end has the rules, and what is left here goes."""
    run = Run(meaning, options, leaving)
    difference = reading.look(run) if options.check else _converge(run)
    variants.warn_of_other_variant(run)
    return _outcome(run, difference)


def counted() -> bool:
    """Whether nf_tables counts what the programs write, which that of the legacy variant is not."""
    found = [program for program in (programs.find(f"{prefix}-save") for prefix in PREFIX.values()) if program]
    return bool(found) and all(map(variants.is_nft, found))


def bring_step(step: packet_filter.Step, options: Options = BY_DEFAULT) -> Outcome | None:
    """Make the host's rules what a step leads to, reading none; None where that cannot be: nothing was changed."""
    run = Run(step.after, options)
    if not _sets_are_as_wanted(run):
        return None
    families = []
    for name, version in (("ipv4", 4), ("ipv6", 6)):
        if step.few.concerns(version):
            changes = core.step(step, version)
            if changes is None:
                return None
            families.append(Family(name, {}, changes))
    difference = Difference(families)
    if not options.check:
        options.note(*difference.concerned)
        try:
            writing.write(run, families)
        except writing.Refused:
            return None
    variants.warn_of_other_variant(run)
    return _outcome(run, difference)


def _sets_are_as_wanted(run: Run) -> bool:
    """Members of sets are not of nf_tables, which does not count what becomes of them."""
    security, security_v6 = run.meaning.security, run.meaning.security_v6
    wanted = {**core.member_sets(security, 4), **core.member_sets(security_v6, 6)}
    held = reading.read_sets(run) if wanted else {}
    return all(held.get(name, held.get(sets.other(name))) == members for name, members in wanted.items())


def _outcome(run: Run, difference: Difference) -> Outcome:
    families = [family for family in difference.families if family.changes]
    labels = core.labels(run.meaning)
    gone, come, guards = difference.concerned
    outcome = Outcome(
        changed=bool(families or difference.sets or difference.left or run.wrote_sets),
        actions=[
            *([f"{'finish' if difference.left.on else 'take back'} what a run had begun"] if difference.left else []),
            *(action for family in families for action in core.actions(family.changes, family.name, labels)),
            *difference.sets.actions(labels),
        ],
        chains=[f"{family.name} {chain}" for family in families for chain in core.chain_names(family.changes)],
        warnings=run.warnings,
        gone=gone,
        come=come,
        guards=guards or run.wrote_sets,
        commits=run.commits,
    )
    if run.options.diff:
        for family in families:
            outcome.show(
                f"packet filter, {family.name}",
                core.text(family.changes, after=False),
                core.text(family.changes, after=True),
            )
    return outcome


def _converge(run: Run) -> Difference:
    """Read, compare, write; again when another program changed the tables in between."""
    difference = reading.look(run)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if at_once(run, difference.families):
                programs.need("ipset", "ipset")
            run.options.note(*difference.concerned)
            writing.resolve(run, difference.families, difference.left, writing.NOTHING_CHANGED)
            writing.write_sets(run, difference.sets.before_rules())
            writing.write(run, difference.families)
            writing.write_sets(run, difference.sets.after_rules())
            return difference
        except writing.Refused as refused:
            again = reading.look(run)
            tables = ([family.tables for family in one.families] for one in (difference, again))
            if attempt == _ATTEMPTS or next(tables) == next(tables):
                raise HostError(str(refused)) from refused
            difference = again
    raise AssertionError("unreachable")
