# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether other programs' nftables rules keep guests from what they need.

Every base chain of a hook has to let a packet through: no rule of ours can save what a chain of another table drops. So
packets as guests send them are led through those chains, on paper. What a rule asks that is not known of such a packet
counts as undecided, and only what is dropped whatever that answer is called blocked.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .packet_filter import METADATA_ADDRESS

#: One table, as nft(8) with -j lists it: chains, rules, sets.
Listing = t.Sequence[t.Mapping[str, t.Any]]
_Fields = t.Mapping[tuple[str, str], t.Any]

ACCEPT, DROP, ON = "accept", "drop", "on"
_VERDICTS = {"accept": ACCEPT, "drop": DROP, "reject": DROP}
#: What is no condition and no verdict.
_HARMLESS = ("counter", "log", "comment", "mangle", "ct helper", "set", "notrack")


@dataclasses.dataclass(frozen=True)
class Probe:
    """A packet that has to get through, `purpose` saying what it is for."""

    purpose: str
    bridge: str
    hook: str
    fields: _Fields


@dataclasses.dataclass(frozen=True)
class Block:
    """A base chain that drops probes: for which purposes, and of which bridges."""

    family: str
    table: str
    chain: str
    hook: str
    by_policy: bool
    purposes: tuple[str, ...]
    bridges: tuple[str, ...]


def gateway_probes(bridge: str, public: str | None, dhcp: bool, floating: bool) -> list[Probe]:
    """What passes through a host that is the gateway of the bridge's network."""
    probes = []
    if dhcp:
        for port, purpose in ((67, "DHCP"), (53, "DNS")):
            probes.append(Probe(purpose, bridge, "input", _packet(bridge, None, "udp", port)))
    if public is not None:
        probes.append(Probe("the way outwards", bridge, "forward", _packet(bridge, public, "tcp", 443)))
        if floating:
            dnat = {("ct", "status"): ("dnat", "confirmed")}
            inwards = {**_packet(public, bridge, "tcp", 443), **dnat}
            probes.append(Probe("floating IPs", bridge, "forward", inwards))
    return probes


def metadata_probe(bridge: str, port: int) -> Probe:
    """What guests of a flat network ask the host itself."""
    asked = {("ip", "daddr"): METADATA_ADDRESS}
    return Probe("metadata", bridge, "input", {**_packet(bridge, None, "tcp", port), **asked})


def bridged_probes(bridge: str) -> list[Probe]:
    """What guests of one bridge send to each other, where bridged packets meet the rules for IP."""
    return [Probe("traffic within the bridge", bridge, "forward", _packet(bridge, bridge, "tcp", 443))]


def _packet(inwards: str, outwards: str | None, protocol: str, port: int) -> dict[tuple[str, str], t.Any]:
    fields: dict[tuple[str, str], t.Any] = {
        ("meta", "iifname"): inwards,
        ("meta", "nfproto"): "ipv4",
        ("meta", "protocol"): "ip",
        ("meta", "l4proto"): protocol,
        ("ip", "protocol"): protocol,
        ("th", "dport"): port,
        (protocol, "dport"): port,
        ("ct", "state"): ("new",),
        ("ct", "status"): (),
    }
    if outwards is not None:
        fields["meta", "oifname"] = outwards
    return fields


def blocks(tables: t.Iterable[Listing], probes: t.Sequence[Probe]) -> list[Block]:
    """The base chains that certainly drop some of the probes, in the order of the tables."""
    found: list[Block] = []
    for listing in tables:
        table = _Table(listing)
        for chain in table.base_chains():
            caught = [probe for probe in probes if probe.hook == chain["hook"] and table.drops(chain, probe)]
            if caught:
                found.append(
                    Block(
                        chain["family"],
                        chain["table"],
                        chain["name"],
                        chain["hook"],
                        chain.get("policy") == DROP and all(table.falls_through(chain, probe) for probe in caught),
                        tuple(dict.fromkeys(probe.purpose for probe in caught)),
                        tuple(dict.fromkeys(probe.bridge for probe in caught)),
                    )
                )
    return found


class _Table:
    """The chains of one table of family ip or inet; a packet of IPv4 meets no others here."""

    def __init__(self, listing: Listing) -> None:
        self.chains = [entry["chain"] for entry in listing if "chain" in entry]
        self.rules: dict[str, list[t.Any]] = {}
        for entry in listing:
            if "rule" in entry:
                self.rules.setdefault(entry["rule"]["chain"], []).append(entry["rule"]["expr"])

    def base_chains(self) -> list[t.Any]:
        return [chain for chain in self.chains if "hook" in chain and chain["family"] in ("ip", "inet")]

    def drops(self, chain: t.Any, probe: Probe) -> bool:
        ends = self._walk(chain["name"], probe.fields, ())
        if ON in ends:
            ends = (ends - {ON}) | {chain.get("policy", ACCEPT)}
        return ends == {DROP}

    def falls_through(self, chain: t.Any, probe: Probe) -> bool:
        return ON in self._walk(chain["name"], probe.fields, ())

    def _walk(self, chain: str, fields: _Fields, way: tuple[str, ...]) -> set[str]:
        """What may become of the packet in the chain: ACCEPT, DROP, or ON where its caller or the policy decides."""
        if chain in way:
            return {ACCEPT, DROP, ON}
        ends: set[str] = set()
        for expression in self.rules.get(chain, ()):
            certain, result = self._rule(expression, fields, (*way, chain))
            if result is None:
                continue
            outcome, returns = result
            ends |= outcome - {ON}
            if returns:
                ends.add(ON)
            if certain and (returns or ON not in outcome):
                return ends
        return ends | {ON}

    def _rule(
        self, expression: t.Any, fields: _Fields, way: tuple[str, ...]
    ) -> tuple[bool, tuple[set[str], bool] | None]:
        """Whether the rule's verdict is certain, and the verdict: outcomes, and whether its chain ends with them."""
        certain = True
        for statement in expression:
            kind, body = next(iter(statement.items()))
            if kind == "match":
                answer = _match(body, fields)
                if answer is False:
                    return True, None
                certain = certain and answer is True
            elif kind == "vmap":
                return self._vmap(body, fields, certain, way)
            else:
                verdict = self._verdict(kind, body, fields, way)
                if verdict is not None:
                    return certain, verdict
                if kind not in _HARMLESS:
                    certain = False
        return True, None

    def _vmap(
        self, body: t.Any, fields: _Fields, certain: bool, way: tuple[str, ...]
    ) -> tuple[bool, tuple[set[str], bool] | None]:
        data = body["data"]
        known = fields.get(_field(body["key"]))
        if not isinstance(data, dict) or known is None:
            return False, ({ACCEPT, DROP, ON}, False)
        for key, verdict in data.get("set", ()):
            if _equals(known, key):
                kind, target = next(iter(verdict.items()))
                return certain, self._verdict(kind, target, fields, way)
        return True, None

    def _verdict(self, kind: str, body: t.Any, fields: _Fields, way: tuple[str, ...]) -> tuple[set[str], bool] | None:
        if kind in _VERDICTS:
            return {_VERDICTS[kind]}, False
        if kind == "return":
            return {ON}, True
        if kind in ("jump", "goto"):
            ends = self._walk(body["target"], fields, way)
            return ends, kind == "goto" and ON in ends
        if kind == "queue":
            return {ACCEPT, DROP, ON}, False
        if kind == "xt" and isinstance(body, dict) and body.get("type") == "target":
            return ({DROP} if body.get("name") in ("REJECT", "DROP") else {ACCEPT, DROP, ON}), False
        return None


def _match(body: t.Any, fields: _Fields) -> bool | None:
    """Whether the packet has what is asked; None where that is not known of it."""
    field = _field(body["left"])
    if field[0] in ("ip6", "icmpv6") or (field[0] in ("tcp", "udp", "icmp") and field[0] != fields["meta", "l4proto"]):
        return False
    known = fields.get(field)
    if known is None:
        return None
    answer = _equals(known, body["right"])
    if answer is None or body["op"] not in ("==", "!=", "in"):
        return None
    return answer if body["op"] != "!=" else not answer


def _field(left: t.Any) -> tuple[str, str]:
    if isinstance(left, dict):
        kind, body = next(iter(left.items()))
        if kind in ("meta", "ct") and isinstance(body, dict):
            return kind, str(body.get("key"))
        if kind == "payload" and isinstance(body, dict):
            return str(body.get("protocol")), str(body.get("field"))
    return "", ""


def _equals(known: t.Any, asked: t.Any) -> bool | None:
    """Whether the packet's value is the one asked for, or among those; None where that is not to be told."""
    if isinstance(asked, dict):
        (kind, body), *_rest = asked.items()
        if kind == "set":
            asked = body
        elif kind == "range":
            return isinstance(known, int) and body[0] <= known <= body[1]
        else:
            return None
    if isinstance(asked, list):
        answers = [_equals(known, each) for each in asked]
        return True if True in answers else None if None in answers else False
    if isinstance(asked, str) and asked.startswith("@"):
        return None
    if isinstance(known, tuple):
        return asked in known
    if isinstance(asked, str) and asked.endswith("*") and isinstance(known, str):
        return known.startswith(asked[:-1])
    return bool(known == asked)


# -- in words ---------------------------------------------------------------------------------------------------


def describe(block: Block) -> str:
    """What is blocked, by whom, and the commands that let it through."""
    one = len(block.bridges) == 1
    who = f"bridge {block.bridges[0]}" if one else f"bridges {', '.join(block.bridges)}"
    which = "policy drop" if block.by_policy else "a rule"
    return (
        f"guests of {who} are kept from {_listed(block.purposes)}: what other programs keep in table {block.family} "
        f"{block.table}, chain {block.chain}, drops it ({which}), and nothing in nova's own rules can prevent that. "
        f"{_remedy(block)}"
    )


def _remedy(block: Block) -> str:
    if block.table == "firewalld":
        interfaces = " ".join(f"--add-interface={name}" for name in block.bridges)
        return (
            "Put "
            + ("it" if len(block.bridges) == 1 else "them")
            + f" into firewalld's zone trusted: firewall-cmd --permanent --zone=trusted {interfaces} && "
            f"firewall-cmd --zone=trusted {interfaces}"
        )
    names = ", ".join(f'"{name}"' for name in block.bridges)
    where = f"{block.family} {block.table} {block.chain}"
    if (block.family, block.table) == ("ip", "filter") and block.chain in ("INPUT", "FORWARD"):
        chain = "DOCKER-USER" if block.chain == "FORWARD" else "INPUT"
        commands = [
            f"iptables -I {chain} {way} {name} -j ACCEPT"
            for name in block.bridges
            for way in (("-i", "-o") if block.hook == "forward" else ("-i",))
        ]
        hint = " (chain DOCKER-USER where Docker is, else FORWARD)" if block.hook == "forward" else ""
        return f"Let it through{hint}: {' && '.join(commands)}"
    rule = f"Let it through, here and in the file that loads that table: nft 'insert rule {where} iifname {{ {names} }}"
    if block.hook == "input":
        # Of the service's port no more is known here.
        ports = "" if "metadata" in block.purposes else " udp dport { 53, 67 }"
        return f"{rule}{ports} accept'"
    return f"{rule} accept; insert rule {where} oifname {{ {names} }} accept'"


def _listed(words: t.Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def together(found: t.Iterable[Block]) -> list[Block]:
    """One block for each table that one remedy opens (firewalld's chains), the others as they are."""
    kept: dict[tuple[str, ...], Block] = {}
    for block in found:
        chain = "" if block.table == "firewalld" else block.chain
        key = (block.family, block.table, chain)
        if key in kept:
            first = kept[key]
            block = dataclasses.replace(
                first,
                purposes=tuple(dict.fromkeys((*first.purposes, *block.purposes))),
                bridges=tuple(dict.fromkeys((*first.bridges, *block.bridges))),
            )
        kept[key] = block
    return list(kept.values())
