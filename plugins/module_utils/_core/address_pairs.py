# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allowed address pairs (Neutron's term): what a guest may send from beside the addresses of its NIC.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import typing as t

from . import addressing, network
from .errors import InputError
from .fields import Fields
from .state import Network


class Pair(t.NamedTuple):
    """`ip_address` is one address, or a range in CIDR form, of either version; mac_address None is that of the NIC."""

    ip_address: str
    mac_address: str | None

    @property
    def range(self) -> addressing.Range:
        """As a range, also where it is of one address."""
        bits = 32 if addressing.version(self.ip_address) == 4 else 128
        return addressing.known_network(self.ip_address if "/" in self.ip_address else f"{self.ip_address}/{bits}")

    def __str__(self) -> str:
        return self.ip_address if self.mac_address is None else f"{self.ip_address}={self.mac_address}"


def read(fields: Fields) -> tuple[Pair, ...]:
    """Those under the key `allowed_address_pairs`, each once, in order of address."""
    found: dict[Pair, str] = {}
    for path, value in fields.items("allowed_address_pairs"):
        entry = Fields(value, path)
        pair = Pair(_ip_address(entry), entry.optional_mac("mac_address"))
        entry.done()
        if pair in found:
            raise InputError(f"{path}: {pair} is that of {found[pair]} already; name each pair once")
        found[pair] = path
    _refuse_all(list(found), fields.where("allowed_address_pairs"))
    return tuple(sorted(found, key=_order))


def _ip_address(entry: Fields) -> str:
    """Bits of the host are not cleared as elsewhere: that would allow more than was written."""
    value = entry.required("ip_address")
    where = entry.where("ip_address")
    if not isinstance(value, str) or "/" not in value:
        return addressing.any_address(value, where)
    read = addressing.any_network(value, where)
    base = addressing.any_address(value.split("/")[0], where)
    if addressing.number(base) != read.first:
        raise InputError(f"{where}: {value!r} begins within the range {read.cidr}; give {read.cidr}, or {base} alone")
    return base if read.size == 1 else read.cidr


def _refuse_all(pairs: list[Pair], path: str) -> None:
    for version in (4, 6):
        ranges = [ipaddress.ip_network(pair.ip_address) for pair in pairs if pair.range.version == version]
        if any(not each.prefixlen for each in ipaddress.collapse_addresses(t.cast(t.Any, ranges))):
            raise InputError(
                f"{path}: {' and '.join(map(str, ranges))} allow every IPv{version} address, with which nothing would "
                "be filtered; name the addresses or ranges that the guest sends from"
            )


def _order(pair: Pair) -> tuple[int, int, int, str]:
    return pair.range.version, pair.range.first, pair.range.prefix, pair.mac_address or ""


def text(pairs: t.Iterable[Pair]) -> str | None:
    """In one text as the store keeps them, such as "10.0.0.50,10.0.0.64/28=00:00:5e:00:01:01"; None for none."""
    return ",".join(map(str, pairs)) or None


def parse(kept: str | None) -> tuple[Pair, ...]:
    """Pairs of a text that `text` has made."""
    if kept is None:
        return ()
    parts = [each.partition("=") for each in kept.split(",")]
    return tuple(Pair(address, mac or None) for address, _sign, mac in parts)


def canonical(kept: str, path: str) -> str | None:
    """The text as it ought to be. InputError, which names `path`, where it is not made of pairs."""
    entries = [{"ip_address": pair.ip_address, "mac_address": pair.mac_address} for pair in parse(kept)]
    return text(read(Fields({"allowed_address_pairs": entries}, path)))


def check(pairs: t.Iterable[Pair], on: Network, host_gateways: t.Iterable[str], path: str) -> None:
    """InputError where a pair holds an address that the network itself has, or a host as its gateway (multi_host).

    Whoever may answer for the gateway gets what all others send. Addresses of other guests are no matter: that one
    guest takes over from another is what pairs are for.
    """
    own = {version: network.own_numbers(on, version) for version in (4, 6)}
    for address in host_gateways:
        own[addressing.version(address)] |= {addressing.number(address)}
    for pair in pairs:
        allowed = pair.range
        held = sorted(number for number in own[allowed.version] if number in allowed)
        if held:
            raise InputError(
                f"{path}: allowed address pair {pair} holds {allowed.text(held[0])}, a gateway, DHCP server or VPN of "
                f"network {on.label!r}, so the guest could take what others send; name addresses or ranges without it"
            )
