# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other programs' nftables rules on this host, read and never written: what of them keeps guests from the network.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._core import foreign_rules as core
from .._core import packet_filter
from .._core.errors import HostError
from . import programs
from .nftables import Kernel

#: The tables that iptables keeps by nftables, and the names of ours.
_IPTABLES = ("filter", "nat", "mangle", "raw", "security")
_OURS = ("nova-", "tenantnet")

_BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables"


def at_gateway(plan: t.Mapping[str, t.Any], in_iptables: bool) -> list[str]:
    """Warnings about what blocks the networks of the checked section `packet_filter`.

    Where our own rules are `in_iptables`, they stand above what others have in its tables, which are left out.
    """
    public = plan.get("public_interface")
    floating = bool(plan.get("floating_ips"))
    probes = [
        probe
        for network in plan["networks"]
        for probe in core.gateway_probes(
            network["bridge"], public if network["gateway"] else None, network["dhcp"], floating
        )
    ]
    flat = packet_filter.flat_metadata(plan.get("flat_metadata"))
    probes += [core.metadata_probe(bridge, flat.port) for bridge in flat.here]
    return _judge(probes, with_iptables=not in_iptables)


def at_bridges(bridges: t.Iterable[str]) -> list[str]:
    """Warnings about what blocks bridged traffic where this host has bridges alone and no rules of ours."""
    try:
        with open(_BRIDGED, encoding="ascii") as handle:
            bridged = handle.read().strip() == "1"
    except OSError:
        bridged = False
    if not bridged:
        return []
    return _judge([probe for bridge in bridges for probe in core.bridged_probes(bridge)], with_iptables=True)


def _judge(probes: t.Sequence[core.Probe], with_iptables: bool) -> list[str]:
    nft = programs.find("nft") if probes else None
    if nft is None:
        return []
    foreign = [
        (family, name)
        for family, name in _tables()
        if family in ("ip", "inet")
        and not name.startswith(_OURS)
        and (with_iptables or not (family == "ip" and name in _IPTABLES))
    ]
    calls = {
        f"{family} {name}": programs.Call([nft, "-j", "-t", "list", "table", family, name]) for family, name in foreign
    }
    tables = [_listing(done) for done in programs.run_all(calls).values()]
    # Ansible shows warnings without the host, and equal ones once.
    host = os.uname().nodename
    return [f"host {host}: {core.describe(block)}" for block in core.together(core.blocks(tables, probes))]


def _tables() -> list[tuple[str, str]]:
    """Family and name of each. To list them, nft itself reads all rules there are."""
    try:
        with Kernel() as kernel:
            return kernel.table_names()
    except HostError:  # a kernel without nftables
        return []


def _listing(done: programs.Done) -> core.Listing:
    """What nft said; nothing where it could not tell, for this is a look at what is others'."""
    try:
        listing = json.loads(done.output)["nftables"] if done.status == 0 else []
    except (ValueError, KeyError, TypeError):
        return []
    return listing if isinstance(listing, list) else []
