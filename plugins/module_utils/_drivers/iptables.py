# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter by iptables: one save for each family, and a restore for each step of a change (`iptables.switch`).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import typing as t

from .._core import addressing, packet_filter
from .._core import iptables as core
from .._core.connections import Ways
from .._core.errors import HostError
from .._core.iptables import sets, switch
from .._core.outcome import Outcome
from . import programs

_PREFIX = {"ipv4": "iptables", "ipv6": "ip6tables"}
_LOCK_HELD = 4
_ATTEMPTS = 3

#: Is told of ways gone and come, and whether guards differ, before that is written.
Note = t.Callable[[Ways, Ways, bool], None]


@dataclasses.dataclass
class _Run:
    """What one run was asked, and the warnings that it gathers."""

    meaning: packet_filter.Intent
    check: bool
    wait: int
    leaving: bool
    note: Note | None = None
    #: What programs that write inherit.
    inherits: t.Sequence[int] = ()
    #: Whether sets were written, be it in an attempt that was refused afterwards.
    wrote_sets: bool = False
    #: Tables that were committed.
    commits: int = 0
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


@dataclasses.dataclass
class _Family:
    """One family as it is, with what is to change in it."""

    name: str
    tables: dict[str, core.Table]
    changes: list[core.Change] = dataclasses.field(default_factory=list)
    #: What makes it so, where a killed run has left a switch.
    resolving: str = ""


@dataclasses.dataclass
class _Difference:
    """The families that are managed, and what is to change in our sets."""

    families: list[_Family]
    sets: sets.Difference = sets.UNCHANGED
    left: switch.Left = dataclasses.field(default_factory=switch.Left)

    @functools.cached_property
    def concerned(self) -> tuple[Ways, Ways, bool]:
        """Ways that go and that come, and whether guards differ."""
        changes = [change for family in self.families for change in family.changes]
        return (*core.ways(changes), bool(self.sets) or core.guards_differ(changes))


def bring(
    meaning: packet_filter.Intent,
    *,
    check: bool = False,
    diff: bool = False,
    wait: int = 20,
    leaving: bool = False,
    note: Note | None = None,
    holding: int | None = None,
) -> Outcome:
    """Make the host's rules what is meant; with `check`, only tell what would be done.

    `leaving`: another back end has the rules, and what is left here goes. `note` is told what is about to change.
    `holding` is the descriptor of a lock, which programs that write hold on to.
    """
    inherits = () if holding is None else (holding,)
    run = _Run(meaning, check, wait, leaving, note, inherits)
    difference = _difference(run) if check else _converge(run)
    _warn_of_other_variant(run)
    return _outcome(run, difference, diff)


def counted() -> bool:
    """Whether nf_tables counts what the programs write, which that of the legacy variant is not."""
    program = programs.find("iptables-save")
    return program is not None and _is_nft(program)


def bring_step(
    step: packet_filter.Step,
    *,
    check: bool = False,
    diff: bool = False,
    wait: int = 20,
    note: Note | None = None,
    holding: int | None = None,
) -> Outcome | None:
    """Make the host's rules what a step leads to, reading none; None where that cannot be: nothing was changed."""
    run = _Run(step.after, check, wait, False, note, () if holding is None else (holding,))
    if not _sets_are_as_wanted(run):
        return None
    families = []
    for name, version in (("ipv4", 4), ("ipv6", 6)):
        if step.few.concerns(version):
            changes = core.step(step, version)
            if changes is None:
                return None
            families.append(_Family(name, {}, changes))
    difference = _Difference(families)
    if not check:
        if note is not None:
            note(*difference.concerned)
        try:
            _write(run, families)
        except _Refused:
            return None
    _warn_of_other_variant(run)
    return _outcome(run, difference, diff)


def _sets_are_as_wanted(run: _Run) -> bool:
    """Members of sets are not of nf_tables, which does not count what becomes of them."""
    security, security_v6 = run.meaning.security, run.meaning.security_v6
    wanted = {**core.member_sets(security, 4), **core.member_sets(security_v6, 6)}
    held = _read_sets(run) if wanted else {}
    return all(held.get(name, held.get(sets.other(name))) == members for name, members in wanted.items())


def _outcome(run: _Run, difference: _Difference, diff: bool) -> Outcome:
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
    if diff:
        for family in families:
            outcome.show(
                f"packet filter, {family.name}",
                core.text(family.changes, after=False),
                core.text(family.changes, after=True),
            )
    return outcome


# -- reading and comparing --------------------------------------------------------------------------------------


def _difference(run: _Run) -> _Difference:
    held, left = switch.part(_read_sets(run))
    families = _families(run, left)
    checksum = any(family.name == "ipv4" and _has_checksum(run, family.tables) for family in families)
    tables = {family.name: family.tables for family in families}
    changes, of_sets = core.compare_all(run.meaning, tables, held, checksum)
    for family in families:
        family.changes = changes[family.name]
    if run.check and _several(families) and programs.find("ipset") is None:
        run.warn("ipset is not installed; without it this would be refused")
    return _Difference(families, of_sets, left)


def _families(run: _Run, left: switch.Left) -> list[_Family]:
    """The families that are managed, as they are but for what is left of a switch."""
    families = []
    for name in core.FAMILIES:
        if name == "ipv6" and not os.path.isdir("/proc/sys/net/ipv6"):
            continue
        family = _read(run, name)
        if family is not None:
            if left:
                family.tables, family.resolving = switch.resolve(family.tables, left.on)
            families.append(family)
    return families


def _read(run: _Run, name: str) -> _Family | None:
    """The family as it is; None where there is no such family to be managed."""
    program = f"{_PREFIX[name]}-save"
    if programs.find(program) is None:
        if run.meaning.empty:
            return None
        if not run.check:
            raise HostError(f"cannot read the packet filter: {program} is not installed; install the package iptables")
        # In a rehearsal the package may be what an earlier task would have installed.
        run.warn(f"{program} is not installed; the prediction is that of a host without any rules")
        return _Family(name, {})
    try:
        tables = _save(program, run.leaving)
    except HostError as error:
        if name != "ipv6":
            raise
        _leave_out_v6(run, str(error))
        return None
    if name == "ipv6" and not run.meaning.empty and "filter" not in tables and _works(run, name, "filter") is False:
        _leave_out_v6(run, "ip6tables does not work with this kernel")
        return None
    return _Family(name, tables)


def _leave_out_v6(run: _Run, reason: str) -> None:
    """What is guarded in IPv4 may do without, but an address without its rules would lead to the host itself."""
    meaning = run.meaning
    ways = [(row.address, row.fixed_address) for row in meaning.floating_ips]
    ways += [(row.address, row.fixed_address) for row in meaning.port_forwards]
    for address, fixed in ways:
        if addressing.version(address) == 6:
            raise HostError(
                f"cannot lead {address} to {fixed}: {reason}; mend that, or choose the back end "
                "nftables. Nothing was changed"
            )
    run.warn(f"IPv6 is left out: {reason}")


def _save(program: str, leaving: bool) -> dict[str, core.Table]:
    done = _call(program)
    if done.status:
        raise HostError(f"cannot read the packet filter: {program} failed: {_last_line(done.errors)}")
    try:
        return core.parse_save(done.output)
    except core.Unreadable as error:
        if leaving:  # what iptables cannot read it has not written
            return {}
        raise HostError(
            f"cannot read the packet filter: {program} cannot show table {error}, because it holds rules that nft "
            "put there; move those rules to a table of another name"
        ) from error


def _has_checksum(run: _Run, tables: dict[str, core.Table]) -> bool:
    """Whether this kernel fills in checksums: a rule that does proves it; else it is tried where nobody is."""
    if not run.meaning.services or core.has_target(tables, "mangle", "CHECKSUM"):
        return True
    if programs.find("iptables-restore") is None:  # what is to be installed may well have it
        return True
    answer = _works(run, "ipv4", "mangle", "-A POSTROUTING -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill")
    if answer is None:
        answer = _listed("CHECKSUM")
    if not answer:
        run.warn(
            "this kernel has no CHECKSUM target: answers of the DHCP server leave without a UDP checksum, which "
            "some guests refuse; load xt_CHECKSUM if they do"
        )
    return answer


def _works(run: _Run, family: str, table: str, rule: str = "") -> bool | None:
    """Whether the kernel takes the rule, tried in a network namespace that lives as long as the attempt.

    `iptables-restore --test` does not ask the kernel. None where no namespace can be made, or a rule-less
    table fails as well while a rule was asked about.
    """
    program = programs.find(f"{_PREFIX[family]}-restore")
    unshare = programs.find("unshare")
    if program is None or unshare is None:
        return None

    def loads(lines: list[str]) -> bool:
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        return programs.run([unshare, "--net", program, "--noflush", "--wait", str(run.wait)], text).status == 0

    if loads([rule] if rule else []):
        return True
    if rule:
        return False if loads([]) else None
    return False if programs.run([unshare, "--net", "true"]).status == 0 else None


def _listed(target: str) -> bool:
    """Whether the kernel names the target among those that it has loaded."""
    try:
        with open("/proc/net/ip_tables_targets", encoding="ascii") as handle:
            return target in handle.read().split()
    except OSError:
        return False


# -- writing ----------------------------------------------------------------------------------------------------


def _converge(run: _Run) -> _Difference:
    """Read, compare, write; again when another program changed the tables in between."""
    difference = _difference(run)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if _several(difference.families):
                programs.need("ipset", "ipset")
            if run.note is not None:
                run.note(*difference.concerned)
            _resolve(run, difference.families, difference.left, _NOTHING_CHANGED)
            _write_sets(run, difference.sets.before_rules())
            _write(run, difference.families)
            _write_sets(run, difference.sets.after_rules())
            return difference
        except _Refused as refused:
            again = _difference(run)
            tables = ([family.tables for family in one.families] for one in (difference, again))
            if attempt == _ATTEMPTS or next(tables) == next(tables):
                raise HostError(str(refused)) from refused
            difference = again
    raise AssertionError("unreachable")


class _Refused(Exception):
    """iptables-restore did not take the rules; perhaps because the tables were no longer what was read."""


_NOTHING_CHANGED = "nothing was changed"


def _several(families: list[_Family]) -> bool:
    """Whether one commit will not do."""
    return sum(len(family.changes) for family in families) > 1


def _write(run: _Run, families: list[_Family]) -> None:
    """Make the changes: one commit, or several tables that go over at once."""
    concerned = [family for family in families if family.changes]
    if not _several(families):
        for family in concerned:
            _restore(run, family.name, core.compose(family.changes), _NOTHING_CHANGED)
        return
    try:
        _ipset(run, switch.make(), _NOTHING_CHANGED)
        for family in concerned:
            _restore(run, family.name, switch.prepare(family.changes), _NOTHING_CHANGED)
        _ipset(run, switch.turn_on(), _NOTHING_CHANGED)
    except (_Refused, HostError):
        # What cannot be taken back now has no effect, and the next run does it.
        with contextlib.suppress(_Refused, HostError):
            _resolve_left(run, _NOTHING_CHANGED)
        raise
    state = "the new rules are in effect, and the next run tidies up after this one"
    try:
        for family in concerned:
            _restore(run, family.name, switch.settle(family.changes), state)
        _ipset(run, switch.destroy(), state)
    except _Refused as refused:
        # Another program has been at work meanwhile.
        try:
            _resolve_left(run, state)
        except _Refused:
            raise HostError(str(refused)) from refused


def _resolve_left(run: _Run, state: str) -> None:
    _sets, left = switch.part(_read_sets(run))
    _resolve(run, _families(run, left), left, state)


def _resolve(run: _Run, families: list[_Family], left: switch.Left, state: str) -> None:
    """Make the rules without a switch what they are with the one that is left; packets meet no difference."""
    for family in families:
        if family.resolving:
            _restore(run, family.name, family.resolving, state)
    _ipset(run, switch.destroy(left.sets), state)


def _restore(run: _Run, family: str, text: str, state: str, *options: str) -> None:
    program = f"{_PREFIX[family]}-restore"
    done = _call(
        program, "--noflush", "--wait", str(run.wait), *options, text=text, wait=run.wait, inherits=run.inherits
    )
    if done.status == 0:
        run.commits += text.count("\nCOMMIT\n")
        return
    if done.status == _LOCK_HELD and "xtables lock" in done.errors:
        raise HostError(
            f"cannot write the packet filter: another program has held the xtables lock for {run.wait} seconds; "
            f"{state}; run again when it is done, or raise the option wait"
        )
    raise _Refused(f"cannot write the packet filter: {program} refused the rules: {_quote(done.errors, text)}; {state}")


def _quote(complaint: str, text: str) -> str:
    """The tool's complaint, with the line that it names by number."""
    said = " ".join(complaint.split()) or "it gave no reason"
    lines = text.splitlines()
    for word in said.replace(":", " ").split("line ")[1:]:
        number = word.split(" ")[0]
        if number.isdigit() and 0 < int(number) <= len(lines):
            return f"{said} (that line is '{lines[int(number) - 1]}')"
    return said


# -- sets -------------------------------------------------------------------------------------------------------


def _read_sets(run: _Run) -> dict[str, frozenset[str]]:
    """Our sets; without the program there are none, and none may be needed."""
    needed = bool(run.meaning.security.named or run.meaning.security_v6.named)
    if programs.find("ipset") is None:
        if needed and not run.check:
            programs.need("ipset", "ipset")
        if needed:
            run.warn("ipset is not installed; the prediction is that of a host without any sets")
        return {}
    # Other people's sets may be long: these are read only where some of ours are, or have to be.
    if not needed and not sets.any_ours(_call("ipset", "list", "-name").output):
        return {}
    done = _call("ipset", "save")
    if done.status:
        raise HostError(f"cannot read the sets of addresses: ipset save failed: {_last_line(done.errors)}")
    return sets.parse_save(done.output)


def _write_sets(run: _Run, text: str) -> None:
    if text:
        run.wrote_sets = True
        _ipset(run, text, "they may be changed in part, and the next run repairs that")


def _ipset(run: _Run, text: str, state: str) -> None:
    if not text:
        return
    done = _call("ipset", "restore", text=text, inherits=run.inherits)
    if done.status:
        raise HostError(f"cannot write the sets of addresses: {_quote(done.errors, text)}; {state}")


# -- two variants on one host -----------------------------------------------------------------------------------


def _warn_of_other_variant(run: _Run) -> None:
    """The nft and the legacy variant keep separate tables, and packets meet both."""
    for prefix, names in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
        save = programs.find(f"{prefix}-save")
        if save is None:
            continue
        other = "legacy" if _is_nft(save) else "nft"
        program = programs.find(f"{prefix}-{other}-save")
        if program is None or (other == "legacy" and not _has_lines(f"/proc/thread-self/net/{names}")):
            continue
        try:
            ours = core.our_chains(core.parse_save(_call(program).output))
        except core.Unreadable:
            continue
        if ours:
            run.warn(
                f"chains of nova ({ours[0]} and {len(ours) - 1} more) also stand in the tables of {prefix}-{other}, "
                f"which this run neither reads nor changes and which packets meet as well; remove them with "
                f"{prefix}-{other}, or select that variant on this host"
            )


def _is_nft(program: str) -> bool:
    """Which variant the program is: by the file behind its links, else by its own word."""
    real = os.path.basename(os.path.realpath(program))
    if "nft" in real or "legacy" in real:
        return "nft" in real
    return "nf_tables" in _call(program, "--version").output


def _has_lines(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as handle:
            return bool(handle.read(1))
    except OSError:
        return False


# -- programs and locks -----------------------------------------------------------------------------------------


def _call(
    program: str, *arguments: str, text: str = "", wait: int = 0, inherits: t.Sequence[int] = ()
) -> programs.Done:
    """Run a program; what it waits for itself comes on top of what a program may take."""
    words = [programs.need(program, "iptables"), *arguments]
    done = programs.run(words, text, programs.WAIT + wait, inherits=inherits)
    if done.status == -1:
        raise HostError(f"{program}: {done.errors}")
    return done


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it gave no reason"
