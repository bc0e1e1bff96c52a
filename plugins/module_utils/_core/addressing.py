# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Address arithmetic: ranges, reserved addresses, next free address, MAC addresses.

Addresses travel as text ("10.0.0.5"); arithmetic is done on integers.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import typing as t
import uuid

from .errors import InputError

#: Organisational prefix of the MAC addresses that nova gave out.
MAC_PREFIX = "fa:16:3e"

#: A DHCP network needs its own address, a gateway, one guest and the broadcast address.
SMALLEST_PREFIX = 30

#: A MAC address in its one spelling.
MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_UUID_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "tenantnet.nova")


class Range(t.NamedTuple):
    """An IPv4 network: first and last address as integers, prefix length in bits."""

    first: int
    last: int
    prefix: int

    @property
    def cidr(self) -> str:
        return f"{text(self.first)}/{self.prefix}"

    @property
    def netmask(self) -> str:
        return text(0xFFFFFFFF ^ ((1 << (32 - self.prefix)) - 1))

    @property
    def broadcast(self) -> str:
        return text(self.last)

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.first <= value <= self.last

    def overlaps(self, other: Range) -> bool:
        return self.first <= other.last and other.first <= self.last


def number(value: str) -> int:
    """The integer of an address that is known to be one."""
    a, b, c, d = value.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def text(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def address(value: object, what: str) -> str:
    """Return the address in its canonical form; InputError names `what`."""
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ipaddress.IPv4Address(value.strip()))
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv4 address such as '10.0.0.5'") from None


def network(value: object, what: str) -> Range:
    """Read a range in CIDR form; host bits are cleared, as nova did."""
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        parsed = ipaddress.IPv4Network(value.strip(), strict=False)
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv4 range such as '10.0.0.0/24'") from None
    return Range(int(parsed.network_address), int(parsed.broadcast_address), parsed.prefixlen)


def known_network(cidr: str) -> Range:
    """The range of a CIDR text that is known to be canonical."""
    base, prefix = cidr.split("/")
    first = number(base)
    return Range(first, first | ((1 << (32 - int(prefix))) - 1), int(prefix))


def mac(value: object, what: str) -> str:
    """Return a unicast MAC address in lower case with colons; InputError names `what`."""
    word = value.strip().lower().replace("-", ":") if isinstance(value, str) else ""
    if not MAC.match(word):
        raise InputError(f"{what}: {value!r} is not a MAC address such as '{MAC_PREFIX}:00:00:01'")
    if int(word[:2], 16) & 1 or word == "00:00:00:00:00:00":
        raise InputError(f"{what}: {value!r} is a group or zero address; a NIC needs a unicast MAC address")
    return word


def stable_mac(owner: str, taken: t.Container[str]) -> str:
    """A MAC address that depends on its owner's name alone, unless another owner already has it."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{owner}#{attempt}".encode()).digest()
        candidate = f"{MAC_PREFIX}:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"
        if candidate not in taken:
            return candidate
        attempt += 1


def stable_uuid(owner: str) -> str:
    """An id that depends on its owner's name alone, so that a prediction names the very same one."""
    return str(uuid.uuid5(_UUID_SPACE, owner))


def reserved(subnet: Range, *others: str | None) -> frozenset[int]:
    """Addresses that no guest gets: network, first host address, broadcast, and the `others` given."""
    extra = [number(other) for other in others if other is not None]
    return frozenset([subnet.first, subnet.first + 1, subnet.last, *extra])


class Pool:
    """The free addresses of one range, given out in nova's order.

    Addresses that were never used come first, lowest first; then the one that has been unused longest.
    """

    def __init__(self, subnet: Range, unavailable: t.Iterable[int], released: t.Iterable[tuple[float, int]]) -> None:
        self._last = subnet.last
        self._cursor = subnet.first
        self._unavailable = set(unavailable)
        self._released = sorted(released, reverse=True)
        self._once_used = {value for _time, value in self._released}

    def take(self) -> int | None:
        """The next free address, or None when the range is exhausted."""
        while self._cursor <= self._last:
            value = self._cursor
            self._cursor += 1
            if value not in self._unavailable and value not in self._once_used:
                return value
        while self._released:
            _time, value = self._released.pop()
            if value not in self._unavailable:
                return value
        return None
