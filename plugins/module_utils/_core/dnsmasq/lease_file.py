# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dnsmasq's lease file: its leases, those that no reservation backs, and the text without them.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from ..addressing import MAC, order, version
from .plan import Instance

_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")
_IAID = re.compile(r"T?[0-9]+\Z")


@dataclass(frozen=True)
class Lease:
    """A line of dnsmasq's lease file. That of an IPv6 lease does not tell the MAC address; client_id is its DUID."""

    expiry: int
    mac: str
    address: str
    client_id: str
    hostname: str = ""

    @property
    def version(self) -> int:
        return version(self.address)

    def __str__(self) -> str:
        return f"{self.address} of {self.mac or self.client_id}"


def leases(text: str) -> list[Lease]:
    """The leases of a lease file; what is not one (dnsmasq's own DUID, a line cut short) is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) != 5 or not words[0].isdigit():
            continue
        expiry, owner, address = int(words[0]), words[1].lower(), words[2]
        name, identity = ("" if word == "*" else word for word in words[3:])
        if MAC.match(owner) and _ADDRESS.match(address):
            found.append(Lease(expiry, owner, address, identity, name))
        elif _IAID.match(words[1]) and _is_ipv6(address):
            found.append(Lease(expiry, "", address, identity, name))
    return found


def _is_ipv6(word: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(word))
    except ValueError:
        return False


def standing_leases(text: str, now: float) -> list[Lease]:
    """The leases that have not run out; dnsmasq drops one that has by itself, and 0 never runs out."""
    return [lease for lease in leases(text) if lease.expiry == 0 or lease.expiry > now]


def stale_leases(instance: Instance, text: str, now: float) -> list[Lease]:
    """Leases that no reservation backs any more; while they stand, dnsmasq refuses their address to its new owner."""
    present = standing_leases(text, now)
    if not present:
        return []
    reserved = {(host.mac, host.address) for host in instance.hosts}
    reserved.update(("", host.address_v6) for host in instance.hosts)
    stale = (lease for lease in present if (lease.mac, lease.address) not in reserved)
    return sorted(stale, key=lambda lease: (order(lease.address), lease.mac))


def without_leases(text: str, stale: t.Iterable[Lease]) -> str:
    """The lease file's text less those leases."""
    gone = {(lease.mac, lease.address) for lease in stale}
    kept = []
    for line in text.splitlines(keepends=True):
        if not any((lease.mac, lease.address) in gone for lease in leases(line)):
            kept.append(line)
    return "".join(kept)
