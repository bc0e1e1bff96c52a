# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixed IPs: the states that one goes through, and which one is given out next.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, network
from .addressing import Range
from .errors import InputError
from .ledger import Ledger, quarantined
from .settings import Settings
from .state import FixedIp, Instance, Membership, Network, SecurityGroup, Vif

#: The states of an address, as they are shown.
STATES = ("free", "allocated", "leased", "quarantined", "reserved")


def state_of(row: FixedIp, now: float) -> str:
    if row.instance is not None or row.host is not None:
        return "leased" if row.leased else "allocated"
    if quarantined(row, now):
        return "quarantined"
    return "reserved" if row.reserved_by is not None else "free"


def waits(row: FixedIp, now: float) -> bool:
    """Whether nobody has the address, nor may still use it."""
    return row.instance is None and row.host is None and not quarantined(row, now)


def release(ledger: Ledger, row: FixedIp, settings: Settings, now: float) -> None:
    """The holder is gone. The address stays known, so that it is the last to be given out again.

    A guest that had it by DHCP may use it until its lease is taken from it: at once by `force_dhcp_release`, else when
    `fixed_ip_disassociate_timeout` is over or its host reports the end of the lease.
    """
    found = t.cast(Network, ledger.get(Network, row.network))
    by_dhcp = row.instance is not None and row.version == 4 and found.manager != "flat"
    held_back = by_dhcp and not settings.force_dhcp_release
    ledger.put(
        row._replace(
            instance=None,
            host=None,
            leased=row.leased and held_back,
            released_at=now,
            quarantined_until=now + settings.fixed_ip_disassociate_timeout if held_back else None,
        )
    )


def take(
    ledger: Ledger,
    address: str,
    label: str,
    instance: str | None = None,
    host: str | None = None,
) -> None:
    """Give the address to its holder; what was reserved stays so."""
    old = ledger.get(FixedIp, address)
    version = addressing.version(address)
    if old is None:
        ledger.put(FixedIp(address, version, label, instance, host))
    else:
        ledger.put(
            old._replace(
                network=label, instance=instance, host=host, leased=False, released_at=None, quarantined_until=None
            )
        )


def next_free(ledger: Ledger, found: Network, parts: list[tuple[int, int]], taker: str, now: float) -> str:
    """Addresses that were never used come first, lowest first; then the one that has been unused longest.

    `parts` are the `pieces` of the network that it may lie in.
    """
    for first, last in parts:
        number = ledger.untouched(found.label, first, last)
        if number is not None:
            return addressing.text(number)
    for row in ledger.released(found.label, now):
        number = addressing.number(row.address)
        if any(first <= number <= last for first, last in parts):
            return row.address
    ends = f", {addressing.text(parts[0][0])} to {addressing.text(parts[-1][1])}," if parts else ""
    raise InputError(
        f"network {found.label!r} {found.cidr}{ends} has no free address left for {taker}; "
        "remove an instance or declare a larger network"
    )


def pieces(ledger: Ledger, found: Network, within: Range | None) -> list[tuple[int, int]]:
    """First and last numbers of the runs of addresses that may be given out, in order.

    `within` is the subnet of a security group; without it those of all groups are left out.
    """
    first, last = network.allowed(found)
    if within is not None:
        first, last = max(first, within.first), min(last, within.last)
        holes = []
    else:
        holes = [(subnet.first, subnet.last) for subnet in group_subnets(ledger, found.label)]
    holes += [(number, number) for number in network.own_numbers(found)]
    return subtract(first, last, holes)


def subtract(first: int, last: int, holes: t.Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of the numbers from first to last without the holes, which may overlap."""
    parts = []
    for low, high in sorted(holes):
        if low > last:
            break
        if low > first:
            parts.append((first, low - 1))
        first = max(first, high + 1)
    if first <= last:
        parts.append((first, last))
    return parts


def group_subnets(ledger: Ledger, label: str) -> list[Range]:
    groups = ledger.where(SecurityGroup, network=label)
    return [addressing.known_network(group.subnet) for group in groups if group.subnet is not None]


def subnet_of(ledger: Ledger, instance: Instance, label: str) -> Range | None:
    """The subnet that the instance's addresses of the network come from, by the first of its groups that has one."""
    for membership in ledger.where(Membership, instance=instance.name):
        group = ledger.get(SecurityGroup, (instance.project, membership.security_group))
        if group is not None and group.network == label and group.subnet is not None:
            return addressing.known_network(group.subnet)
    return None


# --- by command ------------------------------------------------------------------------------------------------------


def reserve(
    ledger: Ledger, values: list[str], origin: str, instance: str | None = None, path: str = "addresses"
) -> list[str]:
    """Keep addresses out of the pool, for `instance` alone where one is named. Who holds one keeps it.

    Returns the addresses whose record has changed. InputError for one that belongs to no network.
    """
    changed = []
    for address, found in _known(ledger, values, path):
        network.check_guest(found, address, path)
        old = ledger.get(FixedIp, address)
        row = old or FixedIp(address, addressing.version(address), found.label)
        if instance is not None and row.instance not in (None, instance):
            raise InputError(
                f"{path}: {address} is held by instance {row.instance!r}; it cannot be kept for {instance!r}"
            )
        wanted = row._replace(reserved_by=row.reserved_by or origin, reserved_for=instance or row.reserved_for)
        if wanted != old:
            ledger.put(wanted)
            changed.append(address)
    return changed


def unreserve(ledger: Ledger, values: list[str], origin: str, path: str = "addresses") -> list[str]:
    """Put addresses back into the pool; what the inventory reserves is the inventory's to give back."""
    changed = []
    for address, _found in _known(ledger, values, path):
        row = ledger.get(FixedIp, address)
        if row is None or row.reserved_by is None:
            continue
        if row.reserved_by != origin:
            raise InputError(f"{path}: {address} is reserved by the {row.reserved_by}; take it out there")
        lift(ledger, row)
        changed.append(address)
    return changed


def lift(ledger: Ledger, row: FixedIp) -> None:
    """End a reservation. An address that nobody ever had is forgotten."""
    if row.instance is None and row.host is None and row.released_at is None:
        ledger.drop(row)
    else:
        ledger.put(row._replace(reserved_by=None, reserved_for=None))


def _known(ledger: Ledger, values: list[str], path: str) -> list[tuple[str, Network]]:
    """Each address of the spans with its network."""
    networks = ledger.where(Network)
    found = []
    for value in values:
        first, last, version = addressing.span(value, path)
        if last - first >= 1 << 16:
            raise InputError(f"{path}: {value!r} is more than 65536 addresses; name fewer at once")
        for number in range(first, last + 1):
            address = addressing.text(number) if version == 4 else addressing.text_v6(number)
            found.append((address, _network_of(networks, number, version, address, path)))
    return found


def _network_of(networks: list[Network], number: int, version: int, address: str, path: str) -> Network:
    for each in networks:
        subnet = each.range if version == 4 else each.range_v6
        if subnet is not None and number in subnet:
            return each
    raise InputError(f"{path}: {address} belongs to no network; known: {_shown(networks)}")


def _shown(networks: list[Network]) -> str:
    shown = ", ".join(f"{each.label!r} {each.ranges}" for each in networks[:5])
    return (shown or "none") + (", ..." if len(networks) > 5 else "")


class Lease(t.NamedTuple):
    address: str
    mac: str


def report(ledger: Ledger, host: str, labels: list[str], leases: list[Lease]) -> list[str]:
    """Record what DHCP leases a host has given in these networks, all of them. Returns what was odd.

    An address given back whose lease is over is free at once.
    """
    odd = []
    held = set()
    for lease in leases:
        row = ledger.get(FixedIp, lease.address)
        if row is None or row.network not in labels:
            odd.append(f"host {host} has leased {lease.address} to {lease.mac}, but nobody holds that address")
            continue
        if row.instance is not None and not _reports_on(ledger, host, row):
            odd.append(
                f"host {host} has leased {lease.address} to {lease.mac}, but it does not serve instance {row.instance}"
            )
            continue
        held.add(lease.address)
        vif = ledger.get(Vif, (row.instance, row.network)) if row.instance is not None else None
        if vif is not None and vif.mac != lease.mac:
            odd.append(
                f"host {host} has leased {lease.address} to {lease.mac}, but instance {row.instance} with {vif.mac} "
                f"holds it"
            )
            continue
        if not row.leased:
            ledger.put(row._replace(leased=True))
    for label in labels:
        for row in ledger.where(FixedIp, network=label, leased=True):
            if row.address not in held and _reports_on(ledger, host, row):
                ledger.put(row._replace(leased=False, quarantined_until=None))
    return odd


def _reports_on(ledger: Ledger, host: str, row: FixedIp) -> bool:
    """Whether the host is the one that would know of a lease; of a former one in multi_host nobody says so."""
    found = t.cast(Network, ledger.get(Network, row.network))
    if not found.multi_host:
        return found.host == host
    instance = ledger.get(Instance, row.instance) if row.instance is not None else None
    return instance is not None and instance.host == host
