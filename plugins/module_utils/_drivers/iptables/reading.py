# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables and sets of a host read and compared with what is meant.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os

from ..._core import addressing
from ..._core import iptables as core
from ..._core.errors import HostError
from ..._core.iptables import sets, switch
from .. import programs
from . import variants
from .run import PREFIX, Difference, Family, Run, at_once, call, last_line


def look(run: Run) -> Difference:
    """Read the host and compare it with what is meant."""
    held, left = switch.part(read_sets(run))
    families = read_families(run, left)
    checksum = any(family.name == "ipv4" and _has_checksum(run, family.tables) for family in families)
    tables = {family.name: family.tables for family in families}
    changes, of_sets = core.compare_all(run.meaning, tables, held, checksum)
    for family in families:
        family.changes = changes[family.name]
    if run.options.check and at_once(run, families) and programs.find("ipset") is None:
        run.warn("ipset is not installed; without it this would be refused")
    return Difference(families, of_sets, left)


def read_families(run: Run, left: switch.Left) -> list[Family]:
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


def _read(run: Run, name: str) -> Family | None:
    """The family as it is; None where there is no such family to be managed."""
    program = f"{PREFIX[name]}-save"
    path = programs.find(program)
    if path is None:
        if run.meaning.empty:
            return None
        if not run.options.check:
            raise HostError(f"cannot read the packet filter: {program} is not installed; install the package iptables")
        # In a rehearsal the package may be what an earlier task would have installed.
        run.warn(f"{program} is not installed; the prediction is that of a host without any rules")
        return Family(name, {})
    try:
        # Where there are no tables, nothing is left; the program would take longer to say so.
        nothing = run.leaving and not variants.has_tables(PREFIX[name], variants.is_nft(path))
        tables = {} if nothing else _save(program, run.leaving)
    except HostError as error:
        if name != "ipv6":
            raise
        _leave_out_v6(run, str(error))
        return None
    if name == "ipv6" and not run.meaning.empty and "filter" not in tables and _works(run, name, "filter") is False:
        _leave_out_v6(run, "ip6tables does not work with this kernel")
        return None
    return Family(name, tables)


def _leave_out_v6(run: Run, reason: str) -> None:
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
    done = call(program)
    if done.status:
        raise HostError(f"cannot read the packet filter: {program} failed: {last_line(done.errors)}")
    try:
        return core.parse_save(done.output)
    except core.Unreadable as error:
        if leaving:  # what iptables cannot read it has not written
            return {}
        raise HostError(
            f"cannot read the packet filter: {program} cannot show table {error}, because it holds rules that nft "
            "put there; move those rules to a table of another name"
        ) from error


def read_sets(run: Run) -> dict[str, frozenset[str]]:
    """Our sets; without the program there are none, and none may be needed."""
    needed = bool(run.meaning.security.named or run.meaning.security_v6.named)
    if programs.find("ipset") is None:
        if needed and not run.options.check:
            programs.need("ipset", "ipset")
        if needed:
            run.warn("ipset is not installed; the prediction is that of a host without any sets")
        return {}
    # Other people's sets may be long: these are read only where some of ours are, or have to be.
    if not needed and not sets.any_ours(call("ipset", "list", "-name").output):
        return {}
    done = call("ipset", "save")
    if done.status:
        raise HostError(f"cannot read the sets of addresses: ipset save failed: {last_line(done.errors)}")
    return sets.parse_save(done.output)


def _has_checksum(run: Run, tables: dict[str, core.Table]) -> bool:
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


def _works(run: Run, family: str, table: str, rule: str = "") -> bool | None:
    """Whether the kernel takes the rule, tried in a network namespace that lives as long as the attempt.

    `iptables-restore --test` does not ask the kernel. None where no namespace can be made, or a rule-less
    table fails as well while a rule was asked about.
    """
    program = programs.find(f"{PREFIX[family]}-restore")
    unshare = programs.find("unshare")
    if program is None or unshare is None:
        return None

    def loads(lines: list[str]) -> bool:
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        return programs.run([unshare, "--net", program, "--noflush", "--wait", str(run.options.wait)], text).status == 0

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
