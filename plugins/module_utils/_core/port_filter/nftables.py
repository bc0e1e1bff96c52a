# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The port filter as one table of nftables' bridge family.

The rules are the same on every host; ports, MAC addresses and addresses are elements of sets, so a frame costs the same
whatever the number of ports. Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ..bridge_table import Elements, Kind, Listing, Table
from ..naming import CHAIN_PREFIX
from .difference import Difference
from .plan import Plan

_TARGET = "typeof iifname . ether saddr . @th,64,128"
#: By name. Ranges are apart, because looking one up costs more.
_SETS: dict[str, Kind] = {
    "ports": Kind("type ifname"),
    "uplinks": Kind("type ifname"),
    "macs": Kind("type ifname . ether_addr"),
    "addresses": Kind("type ifname . ether_addr . ipv4_addr"),
    "addresses6": Kind("type ifname . ether_addr . ipv6_addr"),
    "targets6": Kind(_TARGET, target=True),
    "ranges": Kind("type ifname . ether_addr . ipv4_addr; flags interval"),
    "ranges6": Kind("type ifname . ether_addr . ipv6_addr; flags interval"),
    "target_ranges6": Kind(f"{_TARGET}; flags interval", target=True),
    "dhcp_servers": Kind("type ifname . ipv4_addr"),
}

#: Prerouting comes before br_netfilter hands frames to iptables, so what is dropped here is seen nowhere.
#: icmpv6 type 137 is a redirect, which a router alone sends.
_CHAINS = """\
  chain prerouting {
    type filter hook prerouting priority -250; policy accept;
    iifname @ports jump from-guest
    iifname @uplinks jump of-this-host
  }
  chain postrouting {
    type filter hook postrouting priority -250; policy accept;
    oifname @ports jump to-guest
    oifname @uplinks jump of-this-host
  }
  chain from-guest {
    iifname . ether saddr != @macs drop
    ether type ip goto from-guest-ip
    ether type arp goto from-guest-arp
    ether type ip6 goto from-guest-ip6
    drop
  }
  chain from-guest-ip {
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    udp sport 67 drop
    udp dport 68 drop
    iifname . ether saddr . ip saddr @addresses accept
    iifname . ether saddr . ip saddr @ranges accept
    drop
  }
  chain from-guest-arp {
    arp saddr ip 0.0.0.0 arp operation request iifname . arp saddr ether @macs accept
    iifname . arp saddr ether . arp saddr ip @addresses accept
    iifname . arp saddr ether . arp saddr ip @ranges accept
    drop
  }
  chain from-guest-ip6 {
    icmpv6 type { nd-router-advert, 137 } drop
    udp sport 547 drop
    udp dport 546 drop
    icmpv6 type nd-neighbor-advert jump about-itself
    ip6 saddr :: icmpv6 type nd-neighbor-solicit goto about-itself-alone
    ip6 saddr :: icmpv6 type { nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report } accept
    iifname . ether saddr . ip6 saddr @addresses6 accept
    iifname . ether saddr . ip6 saddr @ranges6 accept
    drop
  }
  chain about-itself {
    iifname . ether saddr . @th,64,128 @targets6 return
    iifname . ether saddr . @th,64,128 @target_ranges6 return
    drop
  }
  chain about-itself-alone {
    jump about-itself
    accept
  }
  chain to-guest {
    ether type ip udp sport 67 udp dport 68 oifname . ip saddr != @dhcp_servers drop
    ether daddr 33:33:00:00:00:00-33:33:ff:ff:ff:ff oifname . ether saddr @macs drop
  }
  chain of-this-host {
    udp dport { 67, 68, 546, 547 } drop
    icmpv6 type { nd-router-solicit, nd-router-advert } drop
  }
"""


TABLE = Table(CHAIN_PREFIX, _SETS, _CHAINS)


def elements(plan: Plan) -> dict[str, Elements]:
    """The elements of every set; empty sets too."""
    found: dict[str, set[tuple[str, ...]]] = {name: set() for name in _SETS}
    found["uplinks"].update((name,) for name in plan.uplinks)
    for port in plan.ports:
        found["ports"].add((port.name,))
        found["macs"].update((port.name, mac) for mac in port.macs)
        found["dhcp_servers"].update((port.name, server) for server in port.dhcp_servers)
        for address in port.own:
            _add(found, "", port.name, port.mac, address)
        for pair in port.pairs:
            if "/" in pair.cidr:
                _add(found, "range", port.name, pair.mac, pair.cidr)
            else:
                _add(found, "", port.name, pair.mac, pair.cidr)
    return {name: frozenset(rows) for name, rows in found.items()}


def _add(found: dict[str, set[tuple[str, ...]]], kind: str, port: str, mac: str, text: str) -> None:
    version6 = ":" in text
    if kind:
        found["ranges6" if version6 else "ranges"].add((port, mac, text))
        if version6:
            found["target_ranges6"].add((port, mac, text))
    else:
        found["addresses6" if version6 else "addresses"].add((port, mac, text))
        if version6:
            found["targets6"].add((port, mac, text))


def compare(plan: Plan, present: Listing | None, model: Listing) -> Difference:
    """`present` is the host's table, None where there is none; `model` is TABLE without elements as nft lists it."""
    if not plan.ports and not plan.uplinks:
        if present is None:
            return Difference({}, {}, "")
        return Difference(_permits(present.elements), {}, TABLE.removal(), "remove the rules that all ports share")
    wanted = elements(plan)
    after = _permits(wanted)
    if present is None:
        return Difference({}, after, TABLE.replacement(wanted), "load the rules that all ports share")
    before = _permits(present.elements)
    if present.skeleton != model.skeleton:
        return Difference(before, after, TABLE.replacement(wanted), "restore the rules that all ports share")
    return Difference(before, after, TABLE.amendment(wanted, present.elements))


def _permits(present: t.Mapping[str, Elements]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in sorted(present):
        for name, *rest in sorted(present[kind]):
            found.setdefault(name, []).append(" ".join([kind, *rest]))
    return found
