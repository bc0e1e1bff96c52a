# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How guests of flat networks get to the metadata service: their own host leads them, in its bridges.

The gateway of such a network is the operator's, so nothing of ours routes its packets. They are readdressed at the
guest's port instead, and the answers back there. No connection is tracked for that, so that a service elsewhere is
asked and answers by the operator's gateway, with the guest's own address. A service of the host itself is handed the
frame at once, and answers over the bridge (`netlink.answers`).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .bridge_table import Elements, Kind, Listing, Table
from .naming import CHAIN_PREFIX
from .packet_filter import METADATA_ADDRESS, METADATA_PORT, FlatMetadata

NAME = f"{CHAIN_PREFIX}-metadata"

_ASKED = f"ip daddr {METADATA_ADDRESS} tcp dport {METADATA_PORT}"

# After the port filter, and before br_netfilter hands frames to iptables, which so sees whom they really go to.
_PRIORITY = -220

#: Of the host itself the guests get the service and nothing more by the address, nobody else of their network gets
#: anything, and the guests' question for its MAC address is none of other hosts' affair. What everybody on a bridge is
#: sent, the host is sent as well: so it is, and nobody else, whatever MAC address the bridge has or will get.
_HERE = """\
  chain prerouting {{
    type filter hook prerouting priority {priority}; policy accept;
    iifname @ports {asked} ether daddr set ff:ff:ff:ff:ff:ff meta pkttype set host tcp dport set {port}
  }}
  chain input {{
    type filter hook input priority {priority}; policy accept;
    arp daddr ip {address} arp saddr ip @ranges iifname != @ports drop
    ip daddr {address} ip saddr @ranges goto of-the-host
  }}
  chain of-the-host {{
    iifname @ports tcp dport {port} accept
    iifname @ports icmp type echo-request accept
    drop
  }}
  chain forward {{
    type filter hook forward priority {priority}; policy accept;
    iifname @ports arp operation request arp daddr ip {address} drop
    iifname @ports ip daddr {address} tcp dport {port} drop
  }}
  chain postrouting {{
    type filter hook postrouting priority {priority}; policy accept;
    oifname @ports ip saddr {address} tcp sport {port} tcp sport set {asked_port}
  }}
"""

#: Who asks the service by its own address gets answers from that: so those who did not are remembered, as long as the
#: kernel remembers a connection that is silent for a while.
_ELSEWHERE = """\
  set asking {{ type ifname . ipv4_addr . inet_service; size 262144; flags dynamic,timeout; timeout 5m; }}
  chain prerouting {{
    type filter hook prerouting priority {priority}; policy accept;
    iifname @ports ip daddr {host} tcp dport {port} tcp flags & (syn | ack) == syn \
delete @asking {{ iifname . ip saddr . tcp sport }}
    iifname @ports {asked} update @asking {{ iifname . ip saddr . tcp sport }} ip daddr set {host} tcp dport set {port}
  }}
  chain postrouting {{
    type filter hook postrouting priority {priority}; policy accept;
    oifname @ports ip saddr {host} tcp sport {port} oifname . ip daddr . tcp dport @asking \
ip saddr set {address} tcp sport set {asked_port}
  }}
"""


_PORTS = {"ports": Kind("type ifname")}
_SETS_HERE = {**_PORTS, "ranges": Kind("type ipv4_addr; flags interval")}


def table(want: FlatMetadata) -> Table:
    """The table for this service."""
    words = {"address": METADATA_ADDRESS, "asked_port": METADATA_PORT, "asked": _ASKED, "priority": _PRIORITY}
    sets, rules = (_PORTS, _ELSEWHERE) if want.host else (_SETS_HERE, _HERE)
    return Table(NAME, sets, rules.format(**words, host=want.host, port=want.port))


def elements(want: FlatMetadata) -> dict[str, Elements]:
    found: dict[str, Elements] = {"ports": frozenset((port,) for each in want.networks for port in each.ports)}
    if want.here:
        found["ranges"] = frozenset((each.cidr,) for each in want.networks)
    return found


class Difference(t.NamedTuple):
    """`script` makes the kernel as planned, in one transaction; empty where nothing differs. Ports by name."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    script: str
    #: The rules that are there lead otherwise.
    restored: bool = False

    def actions(self) -> list[str]:
        said = ["restore the rules that lead guests of flat networks to their metadata"] if self.restored else []
        said += [f"lead {port} to the metadata service" for port in self.after if port not in self.before]
        return said + [
            f"no longer lead {port} to the metadata service" for port in self.before if port not in self.after
        ]


def compare(want: FlatMetadata, present: Listing | None, model: Listing) -> Difference:
    """`present` is the host's table, None where there is none; `model` is the planned one listed without elements."""
    before = () if present is None else tuple(sorted(name for (name,) in present.elements.get("ports", ())))
    planned = table(want)
    if not want:
        return Difference(before, (), "" if present is None else planned.removal())
    wanted = elements(want)
    after = tuple(sorted(name for (name,) in wanted["ports"]))
    if present is None or present.skeleton != model.skeleton:
        return Difference(before, after, planned.replacement(wanted), present is not None)
    return Difference(before, after, planned.amendment(wanted, present.elements))
