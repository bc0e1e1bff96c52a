# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bridge's uplink brings for the host itself, routed before it is bridged: where that is needed, and by what.

A guest of another host asks for the floating IP of a neighbour, and the frame comes in by the uplink. Where bridged
packets pass the packet filter, the kernel translates it within the bridge: it would have to leave by the port by which
it came, and is dropped. Taken off the uplink before the bridge sees it, it is a packet to be routed like any other.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import bisect
import typing as t

from . import addressing

_Rules = t.Mapping[str, t.Any]


class Led(t.NamedTuple):
    """An address that leads to a guest which this host does not carry, and the bridge of that guest's network."""

    address: str
    version: int
    bridge: str | None


class Way(t.NamedTuple):
    """What comes by an uplink for the host itself goes to this bridge, of these versions of IP."""

    bridge: str
    versions: tuple[int, ...]


def led_elsewhere(rules: _Rules) -> list[Led]:
    """By the plan's section `packet_filter`, which is checked already; of many ports of an address one for a bridge."""
    own = {row["address"] for row in rules.get("instances", ())}
    rows = [
        row
        for key in ("floating_ips", "port_forwards")
        for row in rules.get(key) or ()
        if row["fixed_address"] not in own
    ]
    spans = sorted(
        (span.version, span.first, span.last, network["bridge"])
        for network in (rules["networks"] if rows else ())
        for span in (addressing.known_network(network[key]) for key in ("cidr", "cidr_v6") if network.get(key))
    )
    found: dict[Led, None] = {}
    for row in rows:
        version = addressing.version(row["address"])
        bridge = row.get("bridge") or _bridge(version, addressing.number(row["fixed_address"]), spans)
        found[Led(row["address"], version, bridge)] = None
    return list(found)


def _bridge(version: int, number: int, spans: list[tuple[int, int, int, str]]) -> str | None:
    place = bisect.bisect_right(spans, (version, number + 1)) - 1
    if place < 0 or spans[place][0] != version or number > spans[place][2]:
        return None
    return spans[place][3]


def ways(rules: _Rules, led: t.Iterable[Led]) -> dict[str, Way]:
    """By uplink."""
    versions: dict[str | None, set[int]] = {}
    for each in led:
        versions.setdefault(each.bridge, set()).add(each.version)
    return {
        uplink: Way(network["bridge"], tuple(sorted(versions[network["bridge"]])))
        for network in (rules["networks"] if versions else ())
        if network["bridge"] in versions
        for uplink in network.get("uplinks") or ()
    }


class Key(t.NamedTuple):
    """Four bytes of a frame, counted from its IP header, and what they are under the mask."""

    mask: int
    value: int
    offset: int


class Filter(t.NamedTuple):
    """Frames of one version of IP that match all keys; the first that matches, by its number, decides."""

    version: int
    number: int
    keys: tuple[Key, ...]
    #: The bridge's number, as whose the frame is received; None: it is left to the uplink's bridge.
    to: int | None
    #: It was not meant for the uplink by its MAC address, so it is said to be for the host.
    retype: bool = False


#: Types of ICMPv6, as mask and value: 132 to 135, and 136 to 143.
_NEIGHBOURS = ((0xFC, 132), (0xF8, 136))


def filters(way: Way, bridge: int, mac: str, retype: bool) -> frozenset[Filter]:
    """All that an uplink needs; `mac` and `bridge` are the bridge's MAC address and its number.

    ARP and neighbour discovery stay with the bridge, which learns from them behind which port a guest is. The host
    asks for its guests' MAC addresses often enough that it never forgets, however little else it sees of them.
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    # The Ethernet header is before that of IP.
    own = (
        Key(0x0000FFFF, int.from_bytes(octets[:2], "big"), -16),
        Key(0xFFFFFFFF, int.from_bytes(octets[2:], "big"), -12),
    )
    found = {Filter(version, 3, own, bridge, retype) for version in way.versions}
    if 6 in way.versions:
        icmp = Key(0x0000FF00, 58 << 8, 4)
        for number, (mask, value) in enumerate(_NEIGHBOURS, 1):
            found.add(Filter(6, number, (icmp, Key(mask << 24, value << 24, 40)), None))
    return frozenset(found)


class Change(t.NamedTuple):
    """An uplink on which the filters differ; `bridge` None where that is gone."""

    uplink: str
    bridge: str | None
    before: tuple[int, ...]
    after: tuple[int, ...]

    def action(self) -> str:
        where = f"bridge {self.bridge}: " if self.bridge is not None else ""
        if not self.after:
            return f"{where}bridge again what comes by {self.uplink} for this host itself"
        return f"{where}route {_named(self.after)} that comes by {self.uplink} for this host itself before bridging it"

    def line(self, versions: tuple[int, ...]) -> str:
        return f"{self.uplink}: {_named(versions)} for this host itself is routed\n" if versions else ""


def diff(changes: t.Iterable[Change]) -> dict[str, str]:
    header = "what is routed before it is bridged"
    changes = list(changes)
    return {
        "before_header": header,
        "after_header": header,
        "before": "".join(change.line(change.before) for change in changes),
        "after": "".join(change.line(change.after) for change in changes),
    }


def _named(versions: tuple[int, ...]) -> str:
    return " and ".join(f"IPv{version}" for version in versions)
