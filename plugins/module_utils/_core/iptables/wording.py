# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The difference, for readers: our chains and jumps that differ, and what that means for networks and guests.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import collections
import re
import typing as t

from .. import addressing
from ..naming import CHAIN_PREFIX
from ..packet_filter import METADATA_ADDRESS, Intent, wording
from .difference import WAYS, Change
from .security import group_chain, marks, members_set
from .sets import plain
from .table import is_ours, target, wrapped


def chain_names(changes: t.Iterable[Change]) -> list[str]:
    """Our chains that differ, as `table chain`."""
    return [f"{change.table} {chain}" for change in changes for chain in change.after]


def text(changes: t.Iterable[Change], after: bool) -> str:
    """The chains and jumps that differ, as they are or as they will be."""
    lines: list[str] = []
    for change in changes:
        lines.append(f"*{change.table}")
        for hook, jumps in (change.jumps_after if after else change.jumps_before).items():
            lines.extend(f"-I {hook} {position} {rule}" for position, rule in jumps)
        for chain, rules in (change.after if after else change.before).items():
            if rules is not None:
                lines.append(f":{chain}")
                lines.extend(f"-A {chain} {rule}" for rule in rules)
    return "".join(f"{line}\n" for line in lines)


_HOST = "/(?:32|128)"
#: An address of either version, with ports or without.
_TARGET = r"(?:\[\S+\]|[0-9.]+)(?::[0-9-]+)?|[0-9a-f]*(?::[0-9a-f]*){2,}"
#: What a rule of ours is for, by its shape: whom it serves, and how. Without a subject it serves the network whose
#: bridge or range is the pattern's first group.
_PURPOSES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern + r"\Z"), subject, purpose)
    for pattern, subject, purpose in (
        (rf"-d {METADATA_ADDRESS}/32 .* -j REDIRECT --to-ports (\d+)", "metadata", "the way to port {1} of this host"),
        (rf"-d {METADATA_ADDRESS}/32 .* -j DNAT --to-destination (\S+)", "metadata", "the way to {1}"),
        (rf"-d {METADATA_ADDRESS}/32 .* -j {wrapped('to-metadata')}", "metadata", "who is led there"),
        (r"-i (\S+) -j RETURN", "bridge {1}", "metadata by its own gateway"),
        (rf".* --ctorigdst {METADATA_ADDRESS} .*-j ACCEPT", "metadata", "leave to pass"),
        (
            rf"-d (\S+){_HOST} -p (\w+) -m \w+ --dport (\S+) -j DNAT --to-destination ({_TARGET})\S*",
            "{2} {3} of {1}",
            "the way to {4}",
        ),
        (r"-s (\S+) -d \1 -o \S+ -m conntrack --ctstate DNAT -j MASQUERADE", "", "the way back inside"),
        (r"-s (\S+) -o (\S+) -j SNAT --to-source (\S+)", "", "SNAT to {3} out of {2}"),
        (r"-s (\S+) -d (\S+) -j SNAT --to-source (\S+)", "", "SNAT to {3} towards {2}"),
        (r"-s (\S+) -j SNAT --to-source (\S+)", "", "SNAT to {2}"),
        (r"-s (\S+) -d \1 -m conntrack ! --ctstate DNAT -j ACCEPT", "", "no SNAT inside"),
        (r"-s (\S+) -d (\S+) -j ACCEPT", "", "no SNAT towards {2}"),
        (r"-s (\S+) -j ACCEPT", "", "no SNAT"),
        (r"-[io] (\S+) -j ACCEPT", "", "forwarding"),
        (r"-[io] (\S+) -j DROP", "", "no forwarding"),
        (r"-i (\S+) -p (?:udp|tcp) -m (?:udp|tcp) --dport (?:67|547) -j ACCEPT", "", "DHCP"),
        (r"-i (\S+) -p (?:udp|tcp) -m (?:udp|tcp) --dport 53 -j ACCEPT", "", "DNS"),
        (r"-o (\S+) -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill", "", "DHCP checksums"),
    )
)
_GUEST_CHAIN = re.compile(wrapped(r"(?:inst|egress)-(v?)([0-9a-f]{7,8})\Z"))
#: Of guests and groups every rule is told.
_TOLD_WHOLE = tuple(map(wrapped, ("inst-", "egress-", "sg-")))
#: What leads from chain to chain of a tree serves nobody by itself.
_BELOW = f" -g {wrapped('')}"
#: Rules of nothing but floating IPs: what leads to a guest, or what a guest leaves by. Elsewhere a rule of this form is
#: a network's, of one address.
_WAY = re.compile(
    rf"\n(?:-d ([^\s/]+){_HOST} -j DNAT --to-destination (\S+)|-s ([^\s/]+){_HOST} -j SNAT --to-source (\S+))(?=\n)"
)


def _explain(rule: str, chain: str) -> tuple[str, str, str] | None:
    """Whom the rule serves: a subject, or else a network by its bridge or range; and how."""
    if chain.startswith(WAYS):
        ways = _ways([rule])
        if ways:
            return ways[0][0], "", ways[0][1]
    guest = _GUEST_CHAIN.match(chain)
    if guest:
        return "", chain, f"'{rule}'"
    if chain.startswith(wrapped("sg-")):
        return "", chain, f"'{rule}'"
    for pattern, subject, purpose in _PURPOSES:
        found = pattern.match(rule)
        if found:
            words = found.groups()
            return subject.format(None, *words), words[0] if words else "", purpose.format(None, *words)
    return None


def _ways(rules: list[str]) -> list[tuple[str, str]]:
    """The floating IP that each rule serves, and how; none where not all of them do: ten thousand are read at once."""
    found = _WAY.findall("\n".join(("", *rules, "")))
    if len(found) != len(rules):
        return []
    return [
        (f"floating IP {address}", f"the way to {guest}")
        if address
        else (f"floating IP {left_as}", f"the way from {by}")
        for address, guest, by, left_as in found
    ]


def labels(meaning: Intent) -> dict[str, str]:
    """The words for what rules serve: the networks', and those of security groups by their chains."""
    groups = {group_chain(group.name): f"security group {group.name}" for group in meaning.security.groups}
    groups.update({members_set(group.name, 6): f"security group {group.name}" for group in meaning.security_v6.groups})
    for version, security in ((4, meaning.security), (6, meaning.security_v6)):
        for address, mark in marks(security.guests, version).items():
            groups.update(dict.fromkeys((wrapped(f"inst-{mark}"), wrapped(f"egress-{mark}")), f"guest {address}"))
    return {**meaning.labels, **groups, wrapped("sg-fallback"): "security groups"}


def actions(changes: t.Sequence[Change], family: str, labels: t.Mapping[str, str]) -> list[str]:
    """What the changes do, in terms of networks; `labels` names the network behind a bridge or a range."""
    suffix = wording.suffix(family)
    skeleton: list[str] = []
    subjects = wording.Subjects()
    moved: list[str] = []
    for change in changes:
        added = [chain for chain, before in change.before.items() if before is None]
        removed = [chain for chain, after in change.after.items() if after is None]
        for verb, chains in (("add", added), ("remove", removed)):
            if chains:
                skeleton.append(f"{verb} in {change.table} the chains {', '.join(chains)}{suffix}")
        for chain in change.after:
            before, after = (_plain(change.table, chains[chain]) for chains in (change.before, change.after))
            if before is not None and after is not None and before != after:
                moved.append(f"{change.table} {chain}")
            skeleton.extend(_rule_actions(subjects, chain, before or [], after or [], labels, suffix))
        for hook in change.jumps_after:
            skeleton.append(_jump_action(change, hook) + suffix)
    served = subjects.lines(family)
    if moved and not skeleton and not served:
        skeleton.append(f"put back the jumps in {', '.join(moved)}{suffix}")
    return skeleton + served


def _plain(table: str, rules: list[str] | None) -> list[str] | None:
    """Which generation of a set a rule refers to says nothing to a reader: what becomes of the members is told."""
    return list(map(plain, rules)) if rules and table == "filter" else rules


def _rule_actions(
    subjects: wording.Subjects,
    chain: str,
    before: list[str],
    after: list[str],
    labels: t.Mapping[str, str],
    suffix: str,
) -> t.Iterator[str]:
    """Tell `subjects` what rules come and go; yield what serves none."""
    gone, come = before, after
    if before and after:
        old, new = collections.Counter(before), collections.Counter(after)
        if old == new and before != after:
            yield f"put the rules of {chain} in order{suffix}"
        gone, come = list(old - new), list(new - old)
    for verb, rules in (("remove", gone), ("add", come)):
        if not chain.startswith(_TOLD_WHOLE):
            rules = [rule for rule in rules if _BELOW not in rule]
        ways = _ways(rules) if chain.startswith(WAYS) else []
        if ways:
            subjects.tell_ways(verb, ways)
            continue
        for rule in rules:
            known = _explain(rule, chain)
            if known:
                subject, key, purpose = known
                subjects.tell(verb, [(subject or _subject(key, labels), purpose)])
            elif not is_ours(target(rule) or ""):
                yield f"{verb} in {chain} the rule '{rule}'{suffix}"


def _subject(key: str, labels: t.Mapping[str, str]) -> str:
    if key in labels:
        return labels[key] if key.startswith(CHAIN_PREFIX) else f"network {labels[key]}"
    guest = _GUEST_CHAIN.match(key)
    if guest:
        return "an IPv6 guest that is not in the plan" if guest[1] else f"guest {addressing.text(int(guest[2], 16))}"
    if key.startswith(CHAIN_PREFIX):
        return "a security group that is not in the plan"
    return f"{'range' if '/' in key else 'bridge'} {key}, which is not in the plan"


def _jump_action(change: Change, hook: str) -> str:
    before, after = change.jumps_before[hook], change.jumps_after[hook]
    if not after:
        verb = "remove from"
    elif not before:
        verb = "add at the top of"
    else:
        verb = "put back to the top of"
    return f"{verb} {change.table} {hook} the jumps to " + ", ".join(
        dict.fromkeys(target(rule) or rule for _position, rule in after or before)
    )
