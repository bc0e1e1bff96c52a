# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for iptables: rendered as the kernel gives them back, read, compared, composed into one restore.

Everything is compared as text, which converges only because `render` writes what iptables-save prints: matches in
the tool's order, `-m udp` spelled out, 0.0.0.0/0 left out, the target last.

nova kept the rules of all floating IPs in one chain after the other; here they are trees of chains under nova's names,
so that a new flow does not pay for all of them (`rule_tree`). By destination, below `float-to`: what leads to a guest.
By source, below `float-from`: what gives a guest's packets its floating IP.

Security groups are chains that all their members' chains go through, and sets of their members' addresses: neither an
instance nor a member more makes more rules of a group.

A *hook* is a built-in chain in which jumps to our chains stand at the top. A *shared* chain belongs to all
programs of nova: what jumps to another one of them stays in it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import re
import shlex
import typing as t

from . import addressing, guest_rules, rule_tree
from .connections import Ways
from .guest_rules import Guest, Traffic
from .naming import CHAIN_PREFIX
from .packet_filter import METADATA_ADDRESS, METADATA_PORT, FloatingIp, Hairpin, Intent, PortForward
from .rule_tree import Branch

FILTER_TOP = "nova-filter-top"
POSTROUTING_BOTTOM = "nova-postrouting-bottom"
SHARED = frozenset((FILTER_TOP, POSTROUTING_BOTTOM))

FAMILIES = ("ipv4", "ipv6")
TABLES = ("filter", "nat", "mangle")

_TO, _FROM = "float-to", "float-from"
#: Protocols that the kernel's tools call otherwise.
_KERNEL_NAMES = {"icmpv6": "ipv6-icmp"}
_ANYWHERE = "0.0.0.0/0"
_INCOMPATIBLE = re.compile(r"# Table `(\w+)' is incompatible")


def wrapped(name: str) -> str:
    """The chain that nova made of `name` for this component."""
    return f"{CHAIN_PREFIX}-{name}"


def is_ours(chain: str) -> bool:
    """Whether the chain carries our mark; a name that merely contains it does not."""
    return chain in SHARED or chain.startswith(CHAIN_PREFIX + "-")


# -- what should be ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Wanted:
    """One table: our chains with their rules, and for each hook the chains it jumps to first."""

    chains: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    hooks: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def render(meaning: Intent, family: str, checksum: bool = True) -> dict[str, Wanted]:
    """Every table of the family as it should be; without a network each is empty.

    `checksum` False leaves out the rules whose target the kernel lacks.
    """
    if meaning.empty:
        return {table: Wanted() for table in (TABLES if family == "ipv4" else TABLES[:1])}
    tables = {"filter": _filter(meaning, 4 if family == "ipv4" else 6)}
    if family == "ipv4":
        tables["nat"] = _nat(meaning)
        tables["mangle"] = _mangle(meaning if checksum else Intent())
    return tables


def _filter(meaning: Intent, version: int) -> Wanted:
    if version == 6:
        meaning = dataclasses.replace(meaning, metadata=None)
    forward = _metadata_forwarding(meaning) + [
        f"-{side} {entry.bridge} -j {'ACCEPT' if entry.allowed else 'DROP'}"
        for entry in meaning.forwarding
        for side in "io"
    ]
    services = [
        f"-i {bridge} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
        for bridge in meaning.services
        for port in (67, 53)
        for protocol in ("udp", "tcp")
    ]
    services += _metadata_input(meaning)
    groups = _security_groups(meaning.security if version == 4 else meaning.security_v6, version)
    return Wanted(
        chains={
            FILTER_TOP: [_jump(wrapped("local"))],
            wrapped("local"): [_jump(wrapped(name)) for name in ("egress", "ingress") if wrapped(name) in groups],
            **groups,
            wrapped("INPUT"): services,
            wrapped("FORWARD"): forward,
            wrapped("OUTPUT"): [],
        },
        hooks={
            "INPUT": [wrapped("INPUT")],
            "FORWARD": [FILTER_TOP, wrapped("FORWARD")],
            "OUTPUT": [FILTER_TOP, wrapped("OUTPUT")],
        },
    )


def group_chain(name: str) -> str:
    """The chain of a group's rules, and the set of its members: its name may be longer than theirs can be."""
    return wrapped(f"sg-{hashlib.sha256(name.encode()).hexdigest()[:12]}")


def members_set(name: str, version: int = 4) -> str:
    """The set of a group's members, which is of one version."""
    return group_chain(name) if version == 4 else group_chain(name).replace("-sg-", "-sg6-")


def sets(meaning: Intent) -> dict[str, frozenset[str]]:
    """The sets of addresses that the rules refer to."""
    found = {}
    for version, security in ((4, meaning.security), (6, meaning.security_v6)):
        rules = [rule for group in security.groups for rule in (*group.ingress, *group.egress)]
        named = {rule.group for rule in rules if rule.group is not None}
        found.update(
            {members_set(group.name, version): group.members for group in security.groups if group.name in named}
        )
    return found


def _security_groups(security: guest_rules.Section, version: int) -> dict[str, list[str]]:
    """Trees of the guests by their addresses, and the chains of guests and groups."""
    if not security.guests:
        return {}
    by_name = {group.name: group for group in security.groups}
    chains = {wrapped("sg-fallback"): ["-j DROP"]}
    if security.provider:
        chains[wrapped("provider")] = [_traffic(rule, "s", "DROP", version) for rule in security.provider]
    bits = 32 if version == 4 else 128
    marks = _marks(security.guests, version)
    into, out = [], []
    for guest in security.guests:
        number = addressing.number(guest.address)
        chain = wrapped(f"inst-{marks[guest.address]}")
        chains[chain] = _into(guest, bool(security.provider), version)
        into.append(Branch(number, bits, (f"-d {guest.address}/{bits} -g {chain}",)))
        if any(by_name[name].limited for name in guest.groups):
            allowed = dict.fromkeys(rule for name in guest.groups for rule in by_name[name].egress)
            chain = wrapped(f"egress-{marks[guest.address]}")
            # Whoever the traffic is for may still refuse it: so it only returns.
            chains[chain] = [
                "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
                *(_OF_A_LINK_OUT if version == 6 else ()),
                *(_traffic(rule, "d", "RETURN", version) for rule in allowed),
                _jump(wrapped("sg-fallback")),
            ]
            out.append(Branch(number, bits, (f"-s {guest.address}/{bits} -g {chain}",)))
    for name in dict.fromkeys(name for guest in security.guests for name in guest.groups):
        chains[group_chain(name)] = [_traffic(rule, "s", "ACCEPT", version) for rule in by_name[name].ingress]
    chains.update(rule_tree.grow(wrapped("ingress"), wrapped("in-"), "-d", into, bits))
    if out:
        # A hash in a name leaves room for no longer a stem.
        stem = wrapped("out-" if version == 4 else "ou-")
        chains.update(rule_tree.grow(wrapped("egress"), stem, "-s", out, bits))
    return chains


#: What IPv6 cannot do without on a link: neighbours, routers, addresses by DHCP. The kernel tracks no connection of it.
_OF_A_LINK = (
    "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
    "-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j ACCEPT",
    "-s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT",
)
_OF_A_LINK_OUT = (
    *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in (133, 135, 136, 131, 132, 143)),
    "-d ff02::1:2/128 -p udp -m udp --sport 546 --dport 547 -j RETURN",
)


def _marks(guests: t.Iterable[Guest], version: int) -> dict[str, str]:
    """What the chains of each address are called by: its digits; IPv6 has too many for a name, so a `v` and a hash."""
    if version == 4:
        return {guest.address: f"{addressing.number(guest.address):08x}" for guest in guests}
    found: dict[str, str] = {}
    taken: set[str] = set()
    for address in sorted(guest.address for guest in guests):
        attempt, mark = 0, ""
        while not mark or mark in taken:
            mark = "v" + hashlib.sha256(f"{address}#{attempt}".encode()).hexdigest()[:7]
            attempt += 1
        taken.add(mark)
        found[address] = mark
    return found


def _into(guest: Guest, provider: bool, version: int) -> list[str]:
    """All that a guest is sent, in nova's order but for the provider's rules, which nothing goes before."""
    rules = [_jump(wrapped("provider"))] if provider else []
    rules += ["-m conntrack --ctstate INVALID -j DROP", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]
    if version == 6:
        rules += _OF_A_LINK
    if guest.dhcp_server is not None:
        rules.append(f"-s {guest.dhcp_server}/32 -p udp -m udp --sport 67 --dport 68 -j ACCEPT")
    if guest.open_to is not None:
        rules.append(f"-s {guest.open_to} -j ACCEPT")
    return [*rules, *(_jump(group_chain(name)) for name in guest.groups), _jump(wrapped("sg-fallback"))]


def _traffic(rule: Traffic, side: str, verdict: str, version: int) -> str:
    """`side` is s or d: where the others are."""
    words = []
    if rule.cidr is not None:
        words.append(f"-{side} {rule.cidr}")
    if rule.protocol is not None:
        words.append(f"-p {_KERNEL_NAMES.get(rule.protocol, rule.protocol)}")
    if rule.ports is not None:
        first, last = rule.ports
        words.append(f"-m {rule.protocol} --dport {first if first == last else f'{first}:{last}'}")
    if rule.icmp_type is not None:
        option = "-m icmp --icmp-type" if version == 4 else "-m icmp6 --icmpv6-type"
        words.append(f"{option} {rule.icmp_type}" + ("" if rule.icmp_code is None else f"/{rule.icmp_code}"))
    if rule.group is not None:
        words.append(f"-m set --match-set {members_set(rule.group, version)} {'src' if side == 's' else 'dst'}")
    return " ".join([*words, f"-j {verdict}"])


def _nat(meaning: Intent) -> Wanted:
    postrouting = [
        f"-s {kept.source}{_towards(kept.destination)} -m conntrack ! --ctstate DNAT -j ACCEPT"
        if kept.inside
        else f"-s {kept.source}{_towards(kept.destination)} -j ACCEPT"
        for kept in meaning.untranslated
    ]
    snat = [
        f"-s {entry.source}{_towards(entry.destination)}{f' -o {entry.out}' if entry.out else ''}"
        f" -j SNAT --to-source {entry.to}"
        for entry in meaning.translations
    ]
    inwards, outwards = _towards_guests(meaning), _from_guests(meaning.floating_ips, meaning.public_interface)
    to_guests = [_jump(chain) for chain in inwards if chain == wrapped(_TO)]
    roots = {interface: next(iter(chains)) for interface, chains in outwards.items()}
    # Whoever asks for a floating IP from within is seen by his own one, if he has one. Then the rest of what was
    # led back to where it came from.
    postrouting += [f"-m conntrack --ctstate DNAT -j {root}" for root in roots.values()]
    hairpins = _hairpins(meaning.hairpins)
    postrouting += hairpins.pop(wrapped("POSTROUTING"))
    return Wanted(
        chains={
            wrapped("PREROUTING"): _metadata_redirection(meaning) + to_guests,
            wrapped("OUTPUT"): to_guests,
            wrapped("POSTROUTING"): postrouting,
            POSTROUTING_BOTTOM: [_jump(wrapped("snat"))],
            wrapped("snat"): [_jump(wrapped("float-snat")), *snat],
            wrapped("float-snat"): [f"-o {interface} -j {root}" for interface, root in roots.items()],
            **inwards,
            **{name: rules for chains in outwards.values() for name, rules in chains.items()},
            **hairpins,
        },
        hooks={
            "PREROUTING": [wrapped("PREROUTING")],
            "OUTPUT": [wrapped("OUTPUT")],
            "POSTROUTING": [wrapped("POSTROUTING"), POSTROUTING_BOTTOM],
        },
    )


def _towards_guests(meaning: Intent) -> dict[str, list[str]]:
    """The tree of what is led to guests: first the single ports of an address, then all the rest of it."""
    rules: dict[str, list[str]] = {}
    for forward in meaning.port_forwards:
        rules.setdefault(forward.address, []).append(_port_forward(forward))
    for entry in meaning.floating_ips:
        rule = f"-d {entry.address}/32 -j DNAT --to-destination {entry.fixed_address}"
        rules.setdefault(entry.address, []).append(rule)
    if not rules:
        return {}
    branches = (Branch(addressing.number(address), 32, of_it) for address, of_it in rules.items())
    return rule_tree.grow(wrapped(_TO), wrapped("to-"), "-d", branches)


def _port_forward(forward: PortForward) -> str:
    to = forward.fixed_address
    if forward.to_first != forward.first:
        to += f":{forward.to_first}"
        if forward.last != forward.first:
            to += f"-{forward.to_first + forward.last - forward.first}/{forward.first}"
    return (
        f"-d {forward.address}/32 -p {forward.protocol} -m {forward.protocol} --dport {forward.ports}"
        f" -j DNAT --to-destination {to}"
    )


def _from_guests(floating: t.Sequence[FloatingIp], public: str | None) -> dict[str, dict[str, list[str]]]:
    """For each interface outwards a tree of what leaves with a floating IP, its root first."""
    sources: dict[str, dict[str, str]] = {}
    for entry in floating:
        sources.setdefault(entry.interface, {}).setdefault(entry.fixed_address, entry.address)
    trees = {}
    for number, interface in enumerate(sorted(sources, key=lambda name: (name != public, name)), 1):
        mark = "" if number == 1 else str(number)
        branches = (
            Branch(addressing.number(fixed), 32, (f"-s {fixed}/32 -j SNAT --to-source {address}",))
            for fixed, address in sources[interface].items()
        )
        trees[interface] = rule_tree.grow(wrapped(_FROM + mark), wrapped(f"from{mark}-"), "-s", branches)
    return trees


def _hairpins(hairpins: t.Sequence[Hairpin]) -> dict[str, list[str]]:
    branches = []
    for hairpin in hairpins:
        span = addressing.known_network(hairpin.cidr)
        rule = f"-s {span.cidr} -d {span.cidr} -o {hairpin.bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
        branches.append(Branch(span.first, span.prefix, (rule,)))
    return rule_tree.grow(wrapped("POSTROUTING"), wrapped("within-"), "-s", branches)


def _metadata_redirection(meaning: Intent) -> list[str]:
    if meaning.metadata is None:
        return []
    host, port = meaning.metadata
    to = f"REDIRECT --to-ports {port}" if host is None else f"DNAT --to-destination {host}:{port}"
    return [f"-d {METADATA_ADDRESS}/32 -p tcp -m tcp --dport {METADATA_PORT} -j {to}"]


def _metadata_input(meaning: Intent) -> list[str]:
    """The way in for what asked for the metadata address, though not from outside; the port itself stays as it is."""
    if meaning.metadata is None:
        return []
    host, port = meaning.metadata
    return [
        f"{f'-d {host}/32 ' if host else ''}{_not_from_outside(meaning)}-p tcp -m tcp --dport {port}"
        f" -m conntrack --ctstate DNAT --ctorigdst {METADATA_ADDRESS} -j ACCEPT"
    ]


def _metadata_forwarding(meaning: Intent) -> list[str]:
    """The way to a service on another host and back, for guests of bridges that forward nothing else as well."""
    if meaning.metadata is None or meaning.metadata.host is None:
        return []
    host, port = meaning.metadata
    return [
        f"-d {host}/32 {_not_from_outside(meaning)}-p tcp -m tcp --dport {port}"
        f" -m conntrack --ctstate DNAT --ctorigdst {METADATA_ADDRESS} -j ACCEPT",
        f"-s {host}/32 -p tcp -m tcp --sport {port}"
        f" -m conntrack --ctstate DNAT --ctorigdst {METADATA_ADDRESS} --ctdir REPLY -j ACCEPT",
    ]


def _not_from_outside(meaning: Intent) -> str:
    return f"! -i {meaning.public_interface} " if meaning.public_interface else ""


def _mangle(meaning: Intent) -> Wanted:
    # Answers of a DHCP server on this host leave without a checksum, and some guests refuse them.
    fill = [f"-o {bridge} -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill" for bridge in meaning.services]
    return Wanted(chains={wrapped("POSTROUTING"): fill}, hooks={"POSTROUTING": [wrapped("POSTROUTING")]})


def _jump(chain: str) -> str:
    return f"-j {chain}"


def _towards(destination: str | None) -> str:
    return "" if destination in (None, _ANYWHERE) else f" -d {destination}"


# -- what is ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Table:
    """One table as iptables-save printed it: the rules of every chain, in order."""

    chains: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    builtin: set[str] = dataclasses.field(default_factory=set)


class Unreadable(ValueError):
    """A table that the tool cannot show: not to be taken for an empty one."""


def parse_save(text: str) -> dict[str, Table]:
    """Read the output of iptables-save without counters; Unreadable names a table that it could not print."""
    tables: dict[str, Table] = {}
    table = Table()
    # Not splitlines: a comment may hold characters that Python takes for the end of a line.
    for line in text.split("\n"):
        if line.startswith("-A "):
            chain, _blank, rule = line[3:].partition(" ")
            table.chains.setdefault(chain, []).append(rule)
        elif line.startswith(":"):
            chain, policy = line[1:].split(" ")[:2]
            table.chains[chain] = []
            if policy != "-":
                table.builtin.add(chain)
        elif line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), Table())
        elif line.startswith("# Table"):
            found = _INCOMPATIBLE.match(line)
            if found and found.group(1) in TABLES:
                raise Unreadable(found.group(1))
    return tables


def target(rule: str) -> str | None:
    """The chain or target that the rule leads to."""
    words = rule.split()
    if '"' in rule or "'" in rule or "\\" in rule:
        with contextlib.suppress(ValueError):
            words = shlex.split(rule)
    # From the end: a match's own value may look like an option.
    for index in range(len(words) - 2, -1, -1):
        if words[index] in ("-j", "-g"):
            return words[index + 1]
    return None


def our_chains(tables: t.Mapping[str, Table]) -> list[str]:
    """Our chains in what was read, as `table chain`."""
    return [f"{name} {chain}" for name, table in tables.items() for chain in table.chains if is_ours(chain)]


def has_target(tables: t.Mapping[str, Table], table: str, name: str) -> bool:
    """Whether any rule of the table uses the target, which proves that the kernel has it."""
    needle = f"-j {name}"
    chains = tables[table].chains.values() if table in tables else ()
    return any(needle in rule and target(rule) == name for rules in chains for rule in rules)


# -- the difference ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Change:
    """What turns one table into the wanted one; `before` and `after` hold the chains of ours that differ."""

    table: str
    before: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)
    after: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)
    #: Rules outside our chains, as (chain, rule), and jumps as (chain, position, rule).
    deletions: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    insertions: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    #: Our jumps in every hook that differs, with their positions, before and after.
    jumps_before: dict[str, list[tuple[int, str]]] = dataclasses.field(default_factory=dict)
    jumps_after: dict[str, list[tuple[int, str]]] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.jumps_before or self.jumps_after)


def compare(have: t.Mapping[str, Table], want: t.Mapping[str, Wanted]) -> list[Change]:
    """The tables that differ; an absent table counts as an empty one."""
    changes = (_compare_table(name, have.get(name, Table()), wanted) for name, wanted in want.items())
    return [change for change in changes if change]


def _compare_table(name: str, have: Table, want: Wanted) -> Change:
    want = _with_neighbours(have, want)
    change = Change(name)
    for chain, rules in want.chains.items():
        if have.chains.get(chain) != rules:
            change.before[chain] = have.chains.get(chain)
            change.after[chain] = rules
    for chain, rules in have.chains.items():
        if is_ours(chain) and chain not in want.chains:
            change.before[chain] = rules
            change.after[chain] = None
    hooks = [*want.hooks, *(chain for chain in have.chains if chain not in want.hooks and not is_ours(chain))]
    for hook in hooks:
        _compare_hook(change, hook, have, want)
    return change


def _with_neighbours(have: Table, want: Wanted) -> Wanted:
    """The wanted table with what nova's other programs keep in the shared chains, and their way into these."""
    chains, hooks = dict(want.chains), dict(want.hooks)
    for shared in SHARED & have.chains.keys():
        kept = [rule for rule in have.chains[shared] if _is_neighbour(target(rule))]
        if not kept:
            continue
        if shared not in chains:
            for hook, rules in have.chains.items():
                if hook in have.builtin and _jump(shared) in rules:
                    hooks[hook] = [shared]
        chains[shared] = [*chains.get(shared, ()), *kept]
    return Wanted(chains, hooks)


def _is_neighbour(chain: str | None) -> bool:
    return chain is not None and chain.startswith("nova-") and not is_ours(chain)


def _compare_hook(change: Change, hook: str, have: Table, want: Wanted) -> None:
    """Our jumps first and in order, nothing else of ours below; a jump to a chain that goes, goes with it."""
    wanted = [_jump(chain) for chain in want.hooks.get(hook, ())]
    present: list[tuple[int, str]] = []
    for position, rule in enumerate(have.chains.get(hook, ()), 1):
        if "nova-" not in rule:
            continue
        chain = target(rule)
        if chain is None or not is_ours(chain):
            continue
        # A bare jump in a built-in chain is ours. Anything else is somebody's own rule, and stays as long as
        # there is a chain to jump to.
        if chain not in want.chains or (rule == _jump(chain) and hook in have.builtin):
            present.append((position, rule))
    if present == list(enumerate(wanted, 1)):
        return
    change.deletions.extend((hook, rule) for _position, rule in present)
    change.insertions.extend((hook, position, rule) for position, rule in enumerate(wanted, 1))
    change.jumps_before[hook] = present
    change.jumps_after[hook] = list(enumerate(wanted, 1))


def compose(changes: t.Iterable[Change]) -> str:
    """The text for `iptables-restore --noflush` that makes the changes and touches nothing else."""
    lines: list[str] = []
    for change in changes:
        lines.append(f"*{change.table}")
        # To declare a chain makes it, or flushes it; a chain that goes has to be empty.
        lines.extend(f":{chain} - [0:0]" for chain in change.after)
        for chain, rules in change.after.items():
            lines.extend(f"-A {chain} {rule}" for rule in rules or ())
        lines.extend(f"-D {chain} {rule}" for chain, rule in change.deletions)
        lines.extend(f"-I {chain} {position} {rule}" for chain, position, rule in change.insertions)
        lines.extend(f"-X {chain}" for chain, rules in change.after.items() if rules is None)
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


#: Chains with ways between addresses and guests begin so.
_WAYS = tuple(map(wrapped, (_TO, _FROM, "to-", "from")))


def ways(changes: t.Iterable[Change]) -> tuple[Ways, Ways]:
    """The ways between addresses and guests that go with the changes, and those that come."""
    before: set[str] = set()
    after: set[str] = set()
    for change in changes:
        if change.table == "nat":
            for rules, chains in ((before, change.before), (after, change.after)):
                for chain, of_it in chains.items():
                    if of_it and chain.startswith(_WAYS):
                        rules.update(of_it)
    return _ways(before - after), _ways(after - before)


def _ways(rules: t.Iterable[str]) -> Ways:
    to_guests, from_guests = set(), set()
    for rule in rules:
        # Ten thousand may change at once: words are cheaper than patterns.
        words = rule.split(" ")
        target = words[-2] if len(words) > 5 else ""
        if target == "--to-destination":
            to_guests.add((words[1][:-3], words[-1].partition(":")[0]))
        elif target == "--to-source":
            from_guests.add((words[-1], words[1][:-3]))
    return Ways(frozenset(to_guests), frozenset(from_guests))


def guards_differ(changes: t.Iterable[Change]) -> bool:
    """Whether anything differs that says what guests let in and out."""
    guards = tuple(map(wrapped, ("inst-", "egress", "sg-", "provider")))
    return any(chain.startswith(guards) for change in changes if change.table == "filter" for chain in change.after)


# -- the difference, for readers --------------------------------------------------------------------------------


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


#: What a rule of ours is for, by its shape: whom it serves, and how. Without a subject it serves the network whose
#: bridge or range is the pattern's first group.
_PURPOSES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern + r"\Z"), subject, purpose)
    for pattern, subject, purpose in (
        (rf"-d {METADATA_ADDRESS}/32 .* -j REDIRECT --to-ports (\d+)", "metadata", "the way to port {1} of this host"),
        (rf"-d {METADATA_ADDRESS}/32 .* -j DNAT --to-destination (\S+)", "metadata", "the way to {1}"),
        (rf".* --ctorigdst {METADATA_ADDRESS} .*-j ACCEPT", "metadata", "leave to pass"),
        (
            r"-d (\S+)/32 -p (\w+) -m \w+ --dport (\S+) -j DNAT --to-destination ([0-9.]+(?::[0-9-]+)?)\S*",
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
        (r"-i (\S+) -p (?:udp|tcp) -m (?:udp|tcp) --dport 67 -j ACCEPT", "", "DHCP"),
        (r"-i (\S+) -p (?:udp|tcp) -m (?:udp|tcp) --dport 53 -j ACCEPT", "", "DNS"),
        (r"-o (\S+) -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill", "", "DHCP checksums"),
    )
)
_GUEST_CHAIN = re.compile(wrapped(r"(?:inst|egress)-(v?)([0-9a-f]{7,8})\Z"))
_TO_GUEST = re.compile(r"-d (\S+)/32 -j DNAT --to-destination (\S+)\Z")
_FROM_GUEST = re.compile(r"-s (\S+)/32 -j SNAT --to-source (\S+)\Z")


def _explain(rule: str, chain: str) -> tuple[str, str, str] | None:
    """Whom the rule serves: a subject, or else a network by its bridge or range; and how."""
    if chain != wrapped("snat"):
        way = _TO_GUEST.match(rule)
        if way:
            return f"floating IP {way[1]}", "", f"the way to {way[2]}"
        way = _FROM_GUEST.match(rule)
        if way:
            return f"floating IP {way[2]}", "", f"the way from {way[1]}"
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


def labels(meaning: Intent) -> dict[str, str]:
    """The words for what rules serve: the networks', and those of security groups by their chains."""
    groups = {group_chain(group.name): f"security group {group.name}" for group in meaning.security.groups}
    groups.update({members_set(group.name, 6): f"security group {group.name}" for group in meaning.security_v6.groups})
    for version, security in ((4, meaning.security), (6, meaning.security_v6)):
        for address, mark in _marks(security.guests, version).items():
            groups.update(dict.fromkeys((wrapped(f"inst-{mark}"), wrapped(f"egress-{mark}")), f"guest {address}"))
    return {**meaning.labels, **groups, wrapped("sg-fallback"): "security groups"}


def actions(changes: t.Sequence[Change], family: str, labels: t.Mapping[str, str]) -> list[str]:
    """What the changes do, in terms of networks; `labels` names the network behind a bridge or a range."""
    suffix = "" if family == "ipv4" else " (IPv6)"
    skeleton: list[str] = []
    networks: dict[str, dict[str, dict[str, None]]] = {}
    moved: list[str] = []
    for change in changes:
        added = [chain for chain, before in change.before.items() if before is None]
        removed = [chain for chain, after in change.after.items() if after is None]
        for verb, chains in (("add", added), ("remove", removed)):
            if chains:
                skeleton.append(f"{verb} in {change.table} the chains {', '.join(chains)}{suffix}")
        for chain, after in change.after.items():
            before = change.before[chain]
            if before is not None and after is not None:
                moved.append(f"{change.table} {chain}")
            skeleton.extend(_rule_actions(networks, chain, before or [], after or [], labels, suffix))
        for hook in change.jumps_after:
            skeleton.append(_jump_action(change, hook) + suffix)
    if moved and not skeleton and not networks:
        skeleton.append(f"put back the jumps in {', '.join(moved)}{suffix}")
    return skeleton + [
        f"{subject}: " + "; ".join(f"{verb} {', '.join(purposes)}" for verb, purposes in verbs.items()) + suffix
        for subject, verbs in networks.items()
    ]


def _rule_actions(
    networks: dict[str, dict[str, dict[str, None]]],
    chain: str,
    before: list[str],
    after: list[str],
    labels: t.Mapping[str, str],
    suffix: str,
) -> t.Iterator[str]:
    """Collect in `networks` what rules come and go; yield what concerns no network."""
    gone, come = before, after
    if before and after:
        old, new = collections.Counter(before), collections.Counter(after)
        if old == new and before != after:
            yield f"put the rules of {chain} in order{suffix}"
        gone, come = list(old - new), list(new - old)
    for verb, rules in (("remove", gone), ("add", come)):
        for rule in rules:
            known = _explain(rule, chain)
            if known:
                subject, key, purpose = known
                networks.setdefault(subject or _subject(key, labels), {}).setdefault(verb, {})[purpose] = None
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
