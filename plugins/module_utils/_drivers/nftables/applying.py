# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our tables of nftables compared with what is meant, and changed in one transaction.

The kernel keeps rules in a form of its own, which depends on the versions of the tool and of the kernel. So the wanted
rules are loaded into a network namespace that nobody is in, and read back there: rules are equal where these are.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import re
import typing as t

from ..._core import nftables as core
from ..._core.connections import Ways
from ..._core.errors import HostError, first_line
from ..._core.outcome import Outcome
from ..._core.packet_filter import Intent, Step
from .. import programs
from ..filter_options import BY_DEFAULT, Options
from .kernel import Kernel

_ATTEMPTS = 3
_CLONE_NEWNET = 0x40000000

Tables = dict[str, core.HeldTable]


@dataclasses.dataclass
class _Run:
    """What is wanted of each family, and the warnings that the run gathers."""

    meaning: Intent
    wanted: dict[str, core.Table]
    options: Options
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Difference:
    """What is to change in each family that differs."""

    changes: list[core.Change]

    def __bool__(self) -> bool:
        return bool(self.changes)

    @functools.cached_property
    def concerned(self) -> tuple[Ways, Ways, bool]:
        """Ways that go and that come, and whether guards differ."""
        return (*core.ways(self.changes), core.guards_differ(self.changes))


def bring(meaning: Intent, options: Options = BY_DEFAULT, leaving: bool = False) -> Outcome:
    """Make the host's rules what is meant.

    `leaving`: another back end has the rules, and what is left here goes. There is no lock to wait for: each change is
    one transaction, which the kernel refuses where another one came in between.
    """
    families = ["ipv4", *(["ipv6"] if os.path.isdir("/proc/sys/net/ipv6") else [])]
    run = _Run(meaning, {family: core.render(meaning, family) for family in families}, options)
    with Kernel() as kernel:
        if meaning.empty and not _has_any(kernel, leaving):
            return Outcome()
        if programs.find("nft") is None:
            if not options.check:
                programs.need("nft", "nftables")
            # In a rehearsal the package may be what an earlier task would have installed.
            run.warnings.append("nft is not installed; the prediction is that of a host without any rules")
            return _outcome(run, _compare(run, {}), {})
        held = kernel.tables()
        difference = _compare(run, held)
        spoken = _spoken(difference.changes)
        if not options.check:
            difference = _converge(run, kernel, held, difference)
        if difference and not leaving:
            _warn_of_closed_chains(run, kernel)
    return _outcome(run, difference, spoken)


def counted() -> bool:
    """Whether nf_tables counts what is written."""
    return True


def bring_step(step: Step, options: Options = BY_DEFAULT) -> Outcome | None:
    """Make the host's rules what a step leads to, reading none; None where that cannot be: nothing was changed."""
    changes = []
    for version, family in ((4, "ipv4"), (6, "ipv6")):
        if step.few.concerns(version):
            change = core.between(family, core.render(step.before, family), core.render(step.after, family))
            if change is None:
                return None
            changes.append(change)
    run = _Run(step.after, {}, options)
    difference = _Difference([change for change in changes if change])
    if difference and not options.check:
        if programs.find("nft") is None:
            return None
        options.note(*difference.concerned)
        if _nft(core.compose(difference.changes), options.inherits).status:
            return None
    with Kernel() as kernel:
        _warn_of_closed_chains(run, kernel)
    return _outcome(run, difference, {})


def _has_any(kernel: Kernel, leaving: bool) -> bool:
    try:
        return kernel.has_any()
    except HostError:
        if leaving:  # a kernel without nftables has nothing of ours there
            return False
        raise


def _outcome(run: _Run, difference: _Difference, spoken: t.Mapping[str, t.Mapping[str, list[str]]]) -> Outcome:
    labels = core.labels(run.meaning)
    changes = difference.changes
    gone, come, guards = difference.concerned
    outcome = Outcome(
        changed=bool(changes),
        commits=0 if run.options.check or not changes else 1,
        actions=[
            action for change in changes for action in core.actions(change, spoken.get(change.family, {}), labels)
        ],
        chains=core.names(changes),
        warnings=run.warnings,
        gone=gone,
        come=come,
        guards=guards,
    )
    if run.options.diff:
        for change in changes:
            words = spoken.get(change.family, {})
            outcome.show(
                f"packet filter, {change.family}",
                core.text(change, words, after=False),
                core.text(change, words, after=True),
            )
    return outcome


# -- reading and comparing --------------------------------------------------------------------------------------


def _compare(run: _Run, held: Tables) -> _Difference:
    both = {family: wanted for family, wanted in run.wanted.items() if wanted and family in held}
    reference = _as_the_kernel_writes(both) if both else {}
    changes = (
        core.compare(family, held.get(family), reference.get(family, core.HeldTable()), wanted)
        for family, wanted in run.wanted.items()
    )
    return _Difference([change for change in changes if change])


def _as_the_kernel_writes(wanted: t.Mapping[str, core.Table]) -> Tables:
    text = "".join(f"{line}\n" for family, table in wanted.items() for line in core.skeleton(family, table))
    with _nowhere():
        done = _nft(text)
        if done.status:
            raise HostError(f"{_refusal(done, text)}; nothing was changed")
        with Kernel() as kernel:
            return kernel.tables()


@contextlib.contextmanager
def _nowhere() -> t.Iterator[None]:
    """A network namespace of its own for this thread and what it starts, for the length of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"cannot find this process's network namespace: {first_line(error)}") from error
    try:
        if libc.unshare(_CLONE_NEWNET):
            raise HostError(
                "cannot make a network namespace to compare rules in: "
                f"{os.strerror(ctypes.get_errno())}; allow it, or set nova_packet_filter to iptables"
            )
        try:
            yield
        finally:
            if libc.setns(home, _CLONE_NEWNET):
                raise HostError(f"cannot return to the host's network namespace: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(home)


def _spoken(changes: list[core.Change]) -> dict[str, dict[str, list[str]]]:
    """The rules of our chains in the tool's words, for each family in which chains differ."""
    found = {}
    for change in changes:
        if change.held is not None and (change.anew or change.changed_chains or change.old_chains):
            done = programs.run([programs.need("nft", "nftables"), "-t", "list", "table", *_place(change.family)])
            found[change.family] = _chains(done.output)
    return found


def _place(family: str) -> tuple[str, str]:
    return core.FAMILIES[family], core.NAME


def _chains(text: str) -> dict[str, list[str]]:
    """What nft lists of a table: the rules of each chain. For readers alone."""
    found: dict[str, list[str]] = {}
    rules: list[str] | None = None
    for line in text.split("\n"):
        begins = re.match(r"\tchain (\S+) \{$", line)
        if begins:
            rules = found[begins[1]] = []
        elif line == "\t}":
            rules = None
        elif rules is not None and not line.startswith("\t\ttype "):
            rules.append(line.strip())
    return found


# -- writing ----------------------------------------------------------------------------------------------------


def _converge(run: _Run, kernel: Kernel, held: Tables, difference: _Difference) -> _Difference:
    """Write; where another program changed our tables in between, read and compare again."""
    for attempt in range(1, _ATTEMPTS + 1):
        if not difference:
            return difference
        run.options.note(*difference.concerned)
        text = core.compose(difference.changes)
        done = _nft(text, run.options.inherits)
        if done.status == 0:
            return difference
        again = kernel.tables()
        if attempt == _ATTEMPTS or again == held:
            raise HostError(f"{_refusal(done, text)}; nothing was changed")
        held, difference = again, _compare(run, again)
    raise AssertionError("unreachable")


def _nft(text: str, inherits: t.Sequence[int] = ()) -> programs.Done:
    done = programs.run([programs.need("nft", "nftables"), "-f", "-"], text, inherits=inherits)
    if done.status == -1:
        raise HostError(f"nft: {done.errors}")
    return done


def _refusal(done: programs.Done, text: str) -> str:
    """The tool's first complaint, with the line that it names by number."""
    said = done.errors.strip().splitlines()
    first = said[0] if said else "it gave no reason"
    number = re.match(r"\S+?:(\d+):", first)
    lines = text.splitlines()
    if number and 0 < int(number[1]) <= len(lines):
        line = lines[int(number[1]) - 1]
        first += f" (that line is '{line if len(line) < 200 else line[:200] + '...'}')"
    return f"cannot write the packet filter: nft refused the rules: {first}"


# -- other people's chains --------------------------------------------------------------------------------------


def _warn_of_closed_chains(run: _Run, kernel: Kernel) -> None:
    """What we let pass still has to pass these."""
    forwarded = any(entry.allowed for entry in run.meaning.forwarding)
    for found in kernel.closed():
        versions = found.versions & run.meaning.versions
        if found.hook == "forward":
            what = "the guests' traffic" if forwarded and versions else ""
        else:
            what = _asked_of_the_host(run.meaning, versions)
        if what:
            run.warnings.append(
                f"chain {found.chain} of table {found.table} drops what its own rules do not accept, {what} as well: "
                "what the rules of nova let pass in a table of their own has to be accepted there, too"
            )


def _asked_of_the_host(meaning: Intent, versions: t.AbstractSet[int]) -> str:
    """What guests want of it by these versions of IP; an empty text for nothing."""
    found = []
    if 4 in versions and (meaning.services or meaning.metadata or meaning.flat_metadata.here):
        found.append("the guests' DHCP, DNS and metadata requests")
    if 6 in versions and meaning.services:
        found.append("the guests' DHCPv6 requests, neighbour and router discovery")
    return " and ".join(found)
