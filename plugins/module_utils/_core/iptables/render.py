# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan asks of a host, as tables of iptables.

Rules stand as iptables-save prints them, so that comparing them as text converges: matches in the tool's order,
`-m udp` spelled out, 0.0.0.0/0 left out, the target last.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from ..packet_filter import METADATA_ADDRESS, Intent
from .nat import nat
from .security import security_groups
from .table import FILTER_TOP, TABLES, Wanted, jump, wrapped


def render(meaning: Intent, family: str, checksum: bool = True) -> dict[str, Wanted]:
    """Every table of the family that may have something of ours, as it should be; without a network each is empty.

    `checksum` False leaves out the rules whose target the kernel lacks. Sets are named by their first generation.
    """
    version = 4 if family == "ipv4" else 6
    if meaning.empty:
        return {table: Wanted() for table in (TABLES if version == 4 else TABLES[:2])}
    meaning = meaning.of_version(version)
    tables = {"filter": _filter(meaning, version), "nat": nat(meaning, version)}
    if version == 4:
        tables["mangle"] = _mangle(meaning if checksum else Intent())
    return tables


#: DHCP and DNS, as nova opened them; DHCPv6 knows UDP alone.
_SERVICES = {4: ((67, ("udp", "tcp")), (53, ("udp", "tcp"))), 6: ((547, ("udp",)), (53, ("udp", "tcp")))}


def _filter(meaning: Intent, version: int) -> Wanted:
    forward = _metadata_forwarding(meaning) + [
        f"-{side} {entry.bridge} -j {'ACCEPT' if entry.allowed else 'DROP'}"
        for entry in meaning.forwarding
        for side in "io"
    ]
    services = [
        f"-i {bridge} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
        for bridge in meaning.services
        for port, protocols in _SERVICES[version]
        for protocol in protocols
    ]
    services += _metadata_input(meaning)
    groups = security_groups(meaning.security, version)
    return Wanted(
        chains={
            FILTER_TOP: [jump(wrapped("local"))],
            wrapped("local"): [jump(wrapped(name)) for name in ("egress", "ingress") if wrapped(name) in groups],
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


def _metadata_input(meaning: Intent) -> list[str]:
    """The way in for what asked for the metadata address, though not from outside; the port itself stays as it is."""
    flat = meaning.flat_metadata
    led = [f"-d {METADATA_ADDRESS}/32 -i {bridge} -p tcp -m tcp --dport {flat.port} -j ACCEPT" for bridge in flat.here]
    if meaning.metadata is None:
        return led
    host, port, _elsewhere = meaning.metadata
    return [
        *led,
        f"{f'-d {host}/32 ' if host else ''}{_not_from_outside(meaning)}-p tcp -m tcp --dport {port}"
        f" -m conntrack --ctstate DNAT --ctorigdst {METADATA_ADDRESS} -j ACCEPT",
    ]


def _metadata_forwarding(meaning: Intent) -> list[str]:
    """The way to a service on another host and back, for guests of bridges that forward nothing else as well."""
    if meaning.metadata is None or meaning.metadata.host is None:
        return []
    host, port, _elsewhere = meaning.metadata
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
