# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table nat: addresses that lead to guests, and those by which guests leave.

nova kept the rules of all floating IPs in one chain after the other; here they are trees of chains under nova's names,
so that a new flow does not pay for all of them (`rule_tree`). By destination, below `float-to`: what leads to a guest.
By source, below `float-from`: what gives a guest's packets its floating IP.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .. import addressing, rule_tree
from ..packet_filter import METADATA_ADDRESS, METADATA_PORT, Hairpin, Intent, PortForward
from ..rule_tree import Branch
from . import trees
from .table import POSTROUTING_BOTTOM, Wanted, jump, wrapped

_ANYWHERE = "0.0.0.0/0"


def nat(meaning: Intent, version: int) -> Wanted:
    """For an intent of that version. IPv6 needs the table only where addresses lead to guests."""
    if version == 6 and not (meaning.floating_ips or meaning.port_forwards):
        return Wanted()
    bits = 32 if version == 4 else 128
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
    redirection = _metadata_redirection(meaning)
    ports, whole = port_forwards(meaning, bits), {entry[0]: entry[1] for entry in meaning.floating_ips}
    inwards = trees.to_guests(bits)
    to_guests = [jump(inwards.root)] if ports or whole else []
    sources = meaning.sources()
    outwards = trees.from_guests(sources, bits)
    roots = {interface: tree.root for interface, tree in outwards.items()}
    # Whoever asks for a floating IP from within is seen by his own one, if he has one. Then the rest of what was
    # led back to where it came from.
    postrouting += [f"-m conntrack --ctstate DNAT -j {root}" for root in roots.values()]
    hairpins = _hairpins(meaning.hairpins, bits)
    postrouting += hairpins.pop(wrapped("POSTROUTING"))
    return Wanted(
        chains={
            **redirection,
            wrapped("PREROUTING"): redirection[wrapped("PREROUTING")] + to_guests,
            wrapped("OUTPUT"): to_guests,
            wrapped("POSTROUTING"): postrouting,
            POSTROUTING_BOTTOM: [jump(wrapped("snat"))],
            wrapped("snat"): [jump(wrapped("float-snat")), *snat],
            wrapped("float-snat"): [f"-o {interface} -j {root}" for interface, root in roots.items()],
            **(inwards.whole(whole, ports) if to_guests else {}),
            **{
                name: rules
                for interface, tree in outwards.items()
                for name, rules in tree.whole(sources[interface]).items()
            },
            **hairpins,
        },
        hooks={
            "PREROUTING": [wrapped("PREROUTING")],
            "OUTPUT": [wrapped("OUTPUT")],
            "POSTROUTING": [wrapped("POSTROUTING"), POSTROUTING_BOTTOM],
        },
    )


def port_forwards(meaning: Intent, bits: int) -> dict[str, list[str]]:
    """The rules for single ports of each address; they come before that for all the rest of it."""
    ports: dict[str, list[str]] = {}
    for forward in meaning.port_forwards:
        ports.setdefault(forward.address, []).append(_port_forward(forward, bits))
    return ports


def _port_forward(forward: PortForward, bits: int) -> str:
    to = forward.fixed_address
    if forward.to_first != forward.first:
        to = to if bits == 32 else f"[{to}]"
        to += f":{forward.to_first}"
        if forward.last != forward.first:
            to += f"-{forward.to_first + forward.last - forward.first}/{forward.first}"
    return (
        f"-d {forward.address}/{bits} -p {forward.protocol} -m {forward.protocol} --dport {forward.ports}"
        f" -j DNAT --to-destination {to}"
    )


def _hairpins(hairpins: t.Sequence[Hairpin], bits: int) -> dict[str, list[str]]:
    branches = []
    for hairpin in hairpins:
        span = addressing.known_network(hairpin.cidr)
        rule = f"-s {span.cidr} -d {span.cidr} -o {hairpin.bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
        branches.append(Branch(span.first, span.prefix, (rule,)))
    return rule_tree.grow(wrapped("POSTROUTING"), wrapped("within-"), "-s", rule_tree.leaves(branches), bits)


def _metadata_redirection(meaning: Intent) -> dict[str, list[str]]:
    """The rule, which is of a chain of its own where it has exceptions: only who asks pays for these."""
    if meaning.metadata is None:
        return {wrapped("PREROUTING"): []}
    host, port, elsewhere = meaning.metadata
    asked = f"-d {METADATA_ADDRESS}/32 -p tcp -m tcp --dport {METADATA_PORT}"
    to = f"REDIRECT --to-ports {port}" if host is None else f"DNAT --to-destination {host}:{port}"
    if not elsewhere:
        return {wrapped("PREROUTING"): [f"{asked} -j {to}"]}
    passing = [f"-i {bridge} -j RETURN" for bridge in elsewhere]
    chain = wrapped("to-metadata")
    return {wrapped("PREROUTING"): [f"{asked} -j {chain}"], chain: [*passing, f"{asked} -j {to}"]}


def _towards(destination: str | None) -> str:
    return "" if destination in (None, _ANYWHERE) else f" -d {destination}"
