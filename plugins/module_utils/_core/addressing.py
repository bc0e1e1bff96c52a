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
import itertools
import re
import socket
import struct
import typing as t
import uuid

from .errors import InputError

#: Organisational prefix of the MAC addresses that nova gave out.
MAC_PREFIX = "fa:16:3e"

#: A network needs its own address, a gateway, one guest and the broadcast address.
SMALLEST_PREFIX = 30

#: The prefix length of every IPv6 network, in which a NIC finds an address of its own.
PREFIX_V6 = 64

#: A MAC address in its one spelling.
MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_UUID_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "tenantnet.nova")


class Range(t.NamedTuple):
    """A network: first and last address as integers, prefix length in bits, version 4 or 6."""

    first: int
    last: int
    prefix: int
    version: int = 4

    @property
    def bits(self) -> int:
        """Length of an address."""
        return 32 if self.version == 4 else 128

    @property
    def cidr(self) -> str:
        return f"{self.text(self.first)}/{self.prefix}"

    @property
    def netmask(self) -> str:
        """Of an IPv4 network, as text."""
        return text(0xFFFFFFFF ^ ((1 << (32 - self.prefix)) - 1))

    @property
    def broadcast(self) -> str:
        return self.text(self.last)

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.first <= value <= self.last

    def overlaps(self, other: Range) -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def text(self, value: int) -> str:
        """The text of an address of the range."""
        return text(value) if self.version == 4 else text_v6(value)


def number(value: str) -> int:
    """The integer of an address that is known to be one."""
    return int.from_bytes(socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value), "big")


def numbers(values: t.Sequence[str], bits: int) -> t.Sequence[int]:
    """The integers of many addresses that are known to be such, of so many bits each."""
    if bits == 128:
        return list(map(number, values))
    packed = b"".join(map(socket.inet_pton, itertools.repeat(socket.AF_INET), values))
    return struct.unpack(f"!{len(values)}I", packed)


def version(value: str) -> int:
    """4 or 6, of an address or a range that is known to be one."""
    return 6 if ":" in value else 4


def order(value: str) -> tuple[int, int]:
    """Addresses of both versions in their order."""
    return version(value), number(value)


def text(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def text_v6(value: int) -> str:
    return str(ipaddress.IPv6Address(value))


def of_a_host(value: str) -> bool:
    """Whether a host can have the address, which is known to be one, and be reached by it from anywhere."""
    whole = number(value)
    if version(value) == 4:
        return whole >> 24 not in (0, 127) and whole >> 24 < 224
    # Neither of one link nor for a group, nor one of IPv4 in disguise.
    return whole >> 118 != 0xFE80 >> 6 and whole >> 120 != 0xFF and whole >> 32 not in (0, 0xFFFF)


def is_loopback(value: str) -> bool:
    """Whether the address, of IPv4, is a host's for itself."""
    return value.startswith("127.")


def address(value: object, what: str) -> str:
    """Return the IPv4 address in its canonical form; InputError names `what`."""
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ipaddress.IPv4Address(value.strip()))
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv4 address such as '10.0.0.5'") from None


def address_v6(value: object, what: str) -> str:
    """Return the IPv6 address in its canonical form; InputError names `what`."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.IPv6Address(value.strip()))
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv6 address such as 'fd00::5'") from None


def any_address(value: object, what: str) -> str:
    """Return the address of either version in its canonical form; InputError names `what`."""
    try:
        return address_v6(value, what) if ":" in str(value) else address(value, what)
    except InputError:
        raise InputError(f"{what}: {value!r} is not an address such as '10.0.0.5' or 'fd00::5'") from None


def network(value: object, what: str) -> Range:
    """Read an IPv4 range in CIDR form; host bits are cleared, as nova did."""
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        parsed = ipaddress.IPv4Network(value.strip(), strict=False)
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv4 range such as '10.0.0.0/24'") from None
    return Range(int(parsed.network_address), int(parsed.broadcast_address), parsed.prefixlen)


def network_v6(value: object, what: str) -> Range:
    """Read an IPv6 range in CIDR form; host bits are cleared."""
    try:
        if not isinstance(value, str) or "/" not in value or "%" in value:
            raise ValueError
        parsed = ipaddress.IPv6Network(value.strip(), strict=False)
    except ValueError:
        raise InputError(f"{what}: {value!r} is not an IPv6 range such as 'fd00::/48'") from None
    return Range(int(parsed.network_address), int(parsed.broadcast_address), parsed.prefixlen, 6)


def any_network(value: object, what: str) -> Range:
    """Read a range of either version."""
    try:
        return network_v6(value, what) if ":" in str(value) else network(value, what)
    except InputError:
        raise InputError(f"{what}: {value!r} is not a range such as '10.0.0.0/24' or 'fd00::/48'") from None


def span(value: object, what: str) -> tuple[int, int, int]:
    """Read one address, a range in CIDR form, or `first-last`: first, last and version."""
    word = value.strip() if isinstance(value, str) else ""
    if "/" in word:
        read = any_network(word, what)
        return read.first, read.last, read.version
    first, dash, last = word.partition("-")
    if not dash:
        one = any_address(value, what)
        return number(one), number(one), version(one)
    ends = [any_address(end.strip(), what) for end in (first, last)]
    low, high = number(ends[0]), number(ends[1])
    if version(ends[0]) != version(ends[1]) or low > high:
        raise InputError(f"{what}: {value!r} does not go from a lower to a higher address of one version")
    return low, high, version(ends[0])


def known_network(cidr: str) -> Range:
    """The range of a CIDR text that is known to be canonical."""
    base, prefix = cidr.split("/")
    first = number(base)
    if ":" in base:
        return Range(first, first | ((1 << (128 - int(prefix))) - 1), int(prefix), 6)
    return Range(first, first | ((1 << (32 - int(prefix))) - 1), int(prefix))


def eui64(subnet: Range, mac_address: str) -> str:
    """The address that a NIC gives itself in a /64 (RFC 4291), which nova took for its fixed IPv6 address."""
    octets = bytes.fromhex(mac_address.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return text_v6(subnet.first | int.from_bytes(identifier, "big"))


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


def stable_address_v6(subnet: Range, owner: str) -> str:
    """An address of a /64 that depends on its owner's name alone, and is none that a NIC makes of its MAC address."""
    identifier = bytearray(hashlib.sha256(owner.encode()).digest()[:8])
    # Not one of the small numbers that are given by hand either; and no ff:fe in the middle.
    identifier[0] = identifier[0] & 0xFC | 0x04
    identifier[3:5] = b"\0\0"
    return text_v6(subnet.first | int.from_bytes(identifier, "big"))


def stable_uuid(owner: str) -> str:
    """An id that depends on its owner's name alone, so that a prediction names the very same one."""
    # uuid.uuid5 spelt out: it is asked for each NIC of a site.
    digest = bytearray(hashlib.sha1(_UUID_SPACE.bytes + owner.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Pool:
    """The free addresses from `first` to `last`, given out in nova's order.

    Addresses that were never used come first, lowest first; then the one that has been unused longest.
    """

    def __init__(
        self, first: int, last: int, unavailable: t.Container[int], released: t.Iterable[tuple[float, int]]
    ) -> None:
        self._last = last
        self._cursor = first
        self._unavailable = unavailable
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
