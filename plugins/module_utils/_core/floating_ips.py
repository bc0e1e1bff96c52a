# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating IPs: which pools there are, which project has an address, and which fixed IP it leads to.

Each operation checks everything before it puts anything. Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, carving, projects
from .addressing import Range
from .errors import InputError
from .ledger import Ledger
from .settings import UNLIMITED
from .state import FixedIp, FloatingIp, Instance, Network, PortForward

#: A range in CIDR form has a network address, a broadcast address, and hosts between them.
SMALLEST_CIDR = 4

#: nova took no range of this size or larger.
TOO_MANY = 1_000_000

#: From so many addresses on, one question for all floating IPs costs less than one for each.
_ALL_AT_ONCE = 50

#: How many addresses a message names.
_NAMED = 5


# --- the addresses of a pool -----------------------------------------------------------------------------------------


def expand(value: object, path: str) -> list[str]:
    """The addresses of a range as nova read it: one address, `first-last` with all between, or the hosts of a CIDR.

    Not hosts are the first and the last address of an IPv4 range, and the first one of an IPv6 range, which is that of
    its routers (RFC 4291).
    """
    first, last, version = addressing.span(value, path)
    size = last - first + 1
    if size >= TOO_MANY:
        # Nobody splits a /64 up: of such one only takes a part.
        instead = "split it" if version == 4 else f"give a part of it, such as '{addressing.text_v6(first)}/112'"
        raise InputError(f"{path}: {value!r} has {size} addresses, but a range has less than {TOO_MANY}; {instead}")
    if "/" in str(value):
        if size < SMALLEST_CIDR:
            raise InputError(
                f"{path}: {value!r} has less than {SMALLEST_CIDR} addresses, too few for a range in CIDR form, of "
                "which only the hosts are taken; give single addresses"
            )
        first, last = first + 1, last - (version == 4)
    text = addressing.text if version == 4 else addressing.text_v6
    return [text(number) for number in range(first, last + 1)]


def create(
    ledger: Ledger, values: t.Iterable[str], pool: str, interface: str | None, origin: str, path: str = "range"
) -> list[FloatingIp]:
    """Add the addresses of the ranges to the pool, all or none."""
    addresses = _expand_all(values, path)
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for address in addresses:
        if address in seen:
            twice[address] = None
        seen.add(address)
    if twice:
        raise InputError(f"{path}: {_some(list(twice))} given more than once; give each address once")
    there = _stored(ledger, addresses)
    if there:
        found = [f"{row.address} (pool {row.pool!r})" for row in there.values()]
        raise InputError(f"{path}: {_some(found)} there already; leave out what is there, or delete it first")
    check_outside_networks(ledger, addresses, path)
    rows = [FloatingIp(address, pool, interface, origin=origin) for address in addresses]
    for row in rows:
        ledger.put(row)
    return rows


def check_outside_networks(ledger: Ledger, addresses: t.Iterable[str], path: str) -> None:
    """InputError where one of them lies in a network, where it could be somebody's fixed IP."""
    owners = {
        subnet: network.label
        for network in ledger.where(Network)
        for subnet in (network.range, network.range_v6)
        if subnet is not None
    }
    taken = {version: carving.Taken(each for each in owners if each.version == version) for version in (4, 6)}
    for address in addresses:
        version, number = addressing.order(address)
        inside = taken[version].conflict(Range(number, number, 32 if version == 4 else 128, version))
        if inside is not None:
            raise InputError(
                f"{path}: {address} lies inside network {owners[inside]!r} {inside.cidr}, whose addresses are fixed "
                "IPs; choose addresses outside of all networks"
            )


def delete(ledger: Ledger, values: t.Iterable[str], force: bool = False, path: str = "range") -> list[FloatingIp]:
    """Take the addresses of the ranges out of their pools, all or none; those in use only by force."""
    addresses = list(dict.fromkeys(_expand_all(values, path)))
    there = _stored(ledger, addresses)
    unknown = [address for address in addresses if address not in there]
    if unknown:
        raise InputError(
            f"{path}: {_some(unknown)} no floating IP{'s' if len(unknown) > 1 else ''}; leave out what is not there"
        )
    rows = [there[address] for address in addresses]
    used = [f"{row.address} ({_use(ledger, row)})" for row in rows if row.project is not None]
    if used and not force:
        raise InputError(f"{path}: {_some(used)} in use; release what is in use first, or delete it by force")
    for row in rows:
        _drop_forwards(ledger, row)
        ledger.drop(row)
    return rows


def find(
    ledger: Ledger,
    values: t.Iterable[str] | None = None,
    pool: str | None = None,
    project: str | None = None,
    path: str = "range",
) -> list[FloatingIp]:
    """The floating IPs of these ranges, this pool and this project, in the order of their addresses."""
    columns = {name: value for name, value in (("pool", pool), ("project", project)) if value is not None}
    if values is None:
        rows = ledger.where(FloatingIp, **columns)
    else:
        there = _stored(ledger, list(dict.fromkeys(_expand_all(values, path))))
        rows = [row for row in there.values() if all(getattr(row, name) == columns[name] for name in columns)]
    return sorted(rows, key=lambda row: addressing.order(row.address))


def _expand_all(values: t.Iterable[str], path: str) -> list[str]:
    return [address for value in values for address in expand(value, path)]


def _stored(ledger: Ledger, addresses: list[str]) -> dict[str, FloatingIp]:
    """Those of the addresses that are floating IPs, in the given order."""
    if len(addresses) < _ALL_AT_ONCE:
        found = {address: ledger.get(FloatingIp, address) for address in addresses}
    else:
        every = {row.address: row for row in ledger.where(FloatingIp)}
        found = {address: every.get(address) for address in addresses}
    return {address: row for address, row in found.items() if row is not None}


def _some(words: list[str]) -> str:
    """The first few in words, with the verb that goes with their number."""
    more = len(words) - _NAMED
    shown = ", ".join(words[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{shown} {'is' if len(words) == 1 else 'are'}"


def _use(ledger: Ledger, row: FloatingIp) -> str:
    target = f", leads to {_target(ledger, row)}" if row.fixed_address is not None else ""
    return f"project {row.project!r}{target}"


def _target(ledger: Ledger, row: FloatingIp) -> str:
    """What it leads to, in words."""
    fixed = ledger.get(FixedIp, row.fixed_address)
    return f"{row.fixed_address} of instance {fixed.instance!r}" if fixed is not None else str(row.fixed_address)


# --- allocation to a project -----------------------------------------------------------------------------------------


def allocate(
    ledger: Ledger,
    project: str,
    pool: str | None,
    quota: int,
    by: str,
    address: str | None = None,
    auto_assigned: bool = False,
) -> FloatingIp:
    """Give the project the lowest free floating IP of the pool, or the one that is named, which may be its already.

    A pool beside an address is the one that the address has to be of. The quota counts what was allocated, not what was
    auto-assigned.
    """
    projects.known(ledger, project, "project")
    row = None if address is None else _named(ledger, address, project, pool)
    if row is not None and row.project is not None:
        return row
    if not auto_assigned:
        _check_quota(ledger, project, quota)
    if row is None:
        row = _free(ledger, pool, project)
    row = row._replace(project=project, allocated_by=by, auto_assigned=auto_assigned)
    ledger.put(row)
    return row


def _named(ledger: Ledger, address: str, project: str, pool: str | None) -> FloatingIp:
    """The floating IP, which is the project's or nobody's."""
    row = known(ledger, address)
    if pool is not None and row.pool != pool:
        raise InputError(
            f"floating IP {row.address} is of pool {row.pool!r}, not of {pool!r}; name its own pool, or another address"
        )
    if row.project not in (None, project):
        raise InputError(
            f"floating IP {row.address} is already allocated to project {row.project!r}, so project {project!r} "
            "cannot have it; choose another, or release it there first"
        )
    if row.auto_assigned:
        raise InputError(
            f"floating IP {row.address} is auto-assigned, it leads to {_target(ledger, row)} and goes back to its pool "
            f"with that instance, so project {project!r} cannot have it for good; choose another"
        )
    return row


def _check_quota(ledger: Ledger, project: str, quota: int) -> None:
    if quota != UNLIMITED:
        used = len(ledger.where(FloatingIp, project=project, auto_assigned=False))
        projects.check_limit(project, "floating_ips", quota, used)


def _free(ledger: Ledger, pool: str | None, project: str) -> FloatingIp:
    if pool is None:
        raise InputError(
            f"project {project!r}: neither a pool nor an address is given to allocate a floating IP from; give one"
        )
    row = ledger.unallocated(pool)
    if row is None:
        known_ones = ledger.where(FloatingIp, pool=pool)
        if not known_ones:
            pools = {each.pool for each in ledger.where(FloatingIp)}
            raise InputError(projects.unknown("pool", pool, "pool of floating IPs", pools))
        raise InputError(
            f"pool {pool!r} has no free floating IP left for project {project!r}, all {len(known_ones)} are "
            "allocated; add a range to the pool, or release some"
        )
    return row


def release(ledger: Ledger, address: str, project: str | None = None, force: bool = False) -> FloatingIp:
    """Give the floating IP back to its pool; where a project is named, it has to be its own."""
    row = allocated(ledger, address, project, "there is nothing to release")
    if row.fixed_address is not None and not force:
        raise InputError(
            f"floating IP {row.address} leads to {_target(ledger, row)}; disassociate it first, or release it by force"
        )
    if not force:
        _check_no_forwards(ledger, row, "be released")
    return _put_back(ledger, row)


def _put_back(ledger: Ledger, row: FloatingIp) -> FloatingIp:
    """In its pool, as if nobody had ever had it."""
    _drop_forwards(ledger, row)
    row = FloatingIp(row.address, row.pool, row.interface, origin=row.origin)
    ledger.put(row)
    return row


def known(ledger: Ledger, address: str) -> FloatingIp:
    """The floating IP of that address, however it is spelt."""
    canonical = addressing.any_address(address, "address")
    row = ledger.get(FloatingIp, canonical)
    if row is None:
        raise InputError(f"address: {canonical} is no floating IP; choose one of a pool, or create it first")
    return row


def allocated(ledger: Ledger, address: str, project: str | None, unless: str) -> FloatingIp:
    """The floating IP, which has to be allocated, and to the project where one is named."""
    row = known(ledger, address)
    if row.project is None:
        raise InputError(f"floating IP {row.address} of pool {row.pool!r} is not allocated to any project; {unless}")
    if project is not None and row.project != project:
        raise InputError(
            f"floating IP {row.address} belongs to project {row.project!r}, not to {project!r}; "
            f"choose one that is allocated to {project!r}"
        )
    return row


# --- association with a fixed IP --------------------------------------------------------------------------------------


def associate(ledger: Ledger, address: str, fixed_address: str, project: str | None = None, *, by: str) -> FloatingIp:
    """Let the floating IP lead to the fixed one, which an instance of its project holds; it may move to there."""
    wanted = addressing.any_address(fixed_address, "fixed_address")
    row = allocated(ledger, address, project, f"allocate it to the project of the instance with {wanted} first")
    if row.fixed_address == wanted:
        return row
    if row.auto_assigned and row.fixed_address is not None:
        raise InputError(
            f"floating IP {row.address} is auto-assigned, it stays with {_target(ledger, row)} and cannot be moved "
            f"to {wanted}; allocate another one and associate that"
        )
    return _lead(ledger, row, wanted, by)


def _lead(ledger: Ledger, row: FloatingIp, fixed_address: str, by: str) -> FloatingIp:
    check_target(ledger, row, fixed_address)
    _check_no_forwards(ledger, row, "lead to another as a whole")
    row = row._replace(fixed_address=fixed_address, associated_by=by)
    ledger.put(row)
    return row


def forwards(ledger: Ledger, address: str) -> list[PortForward]:
    return ledger.where(PortForward, address=address)


def _check_no_forwards(ledger: Ledger, row: FloatingIp, what: str) -> None:
    there = forwards(ledger, row.address)
    if there:
        ports = [f"{each.protocol} {each.from_port} leads to {each.fixed_address}" for each in there[:_NAMED]]
        raise InputError(
            f"floating IP {row.address} cannot {what}, because it has port forwards: {', '.join(ports)}; "
            "remove these first, or take another one"
        )


def _drop_forwards(ledger: Ledger, row: FloatingIp) -> None:
    for each in forwards(ledger, row.address):
        ledger.drop(each)


def check_target(ledger: Ledger, row: FloatingIp, fixed_address: str) -> None:
    """InputError unless the floating IP may lead to the fixed one, as a whole or by a port."""
    fixed = ledger.get(FixedIp, fixed_address)
    instance = None if fixed is None or fixed.instance is None else ledger.get(Instance, fixed.instance)
    if fixed is None or instance is None:
        raise InputError(
            f"floating IP {row.address} cannot lead to {fixed_address}, which no instance holds; "
            "choose a fixed IP of an instance"
        )
    whither = f"{fixed_address} of instance {instance.name!r}"
    if instance.project != row.project:
        raise InputError(
            f"floating IP {row.address} belongs to project {row.project!r}, but {whither} to project "
            f"{instance.project!r}; choose one that is allocated to {instance.project!r}"
        )
    if addressing.version(row.address) != fixed.version:
        raise InputError(
            f"floating IP {row.address} cannot lead to {whither}: IPv4 goes to IPv4 and IPv6 to IPv6; "
            "choose addresses of one version"
        )
    network = ledger.get(Network, fixed.network)
    if network is not None and network.manager == "flat":
        raise InputError(
            f"floating IP {row.address} cannot lead to {whither}: floating IPs are not available in flat mode, and "
            f"network {network.label!r} is flat; choose a fixed IP on a flatdhcp or vlan network"
        )


def disassociate(ledger: Ledger, address: str, project: str | None = None, force: bool = False) -> FloatingIp:
    """Let the floating IP lead nowhere; the project keeps it. An auto-assigned one goes back to its pool, by force."""
    row = allocated(ledger, address, project, "there is nothing to disassociate")
    if row.fixed_address is None:
        raise InputError(
            f"floating IP {row.address} of project {row.project!r} is not associated with any fixed IP; "
            "there is nothing to disassociate"
        )
    if row.auto_assigned and not force:
        raise InputError(
            f"floating IP {row.address} is auto-assigned, it stays with {_target(ledger, row)} and cannot be "
            "disassociated; remove the instance, or disassociate it by force, which gives it back to its pool"
        )
    return _let_go(ledger, row)


def _let_go(ledger: Ledger, row: FloatingIp) -> FloatingIp:
    if row.auto_assigned:
        return _put_back(ledger, row)
    row = row._replace(fixed_address=None, associated_by=None)
    ledger.put(row)
    return row


def fixed_address_of(ledger: Ledger, instance: str, network: str | None = None, version: int = 4) -> str:
    """The address of the instance that a floating IP of the version goes to: on the named network, or its first one.

    Flat networks come last, since nothing can lead there.
    """
    if ledger.get(Instance, instance) is None:
        raise InputError(f"instance: {instance!r} is no known instance; choose one that is there, or create it first")
    held = ledger.where(FixedIp, instance=instance)
    labels = dict.fromkeys(row.network for row in held)
    networks = [row for row in (ledger.get(Network, label) for label in labels) if row is not None]
    first_to_last = [
        row.label for row in sorted(networks, key=lambda row: (row.manager == "flat", projects.order(row)))
    ]
    if network is not None and network not in labels:
        shown = ", ".join(map(repr, first_to_last)) or "none"
        raise InputError(f"network: instance {instance!r} has no fixed IP on {network!r}; its networks: {shown}")
    choice = {row.network: row.address for row in held if row.version == version}
    for label in first_to_last if network is None else [network]:
        if label in choice:
            return choice[label]
    others = sorted((row.address for row in held), key=addressing.order)
    where = "" if network is None else f" on network {network!r}"
    raise InputError(
        f"instance {instance!r} has no IPv{version} address{where} for an IPv{version} floating IP to lead to; "
        f"it has {', '.join(others) or 'none at all'}. Choose a floating IP of another version, or another instance"
    )


# --- what follows an instance ----------------------------------------------------------------------------------------


def instance_gone(ledger: Ledger, fixed_addresses: t.Iterable[str]) -> list[FloatingIp]:
    """Nobody holds these addresses any longer, so nothing leads to them; auto-assigned ones go back to their pools."""
    fixed_addresses = list(fixed_addresses)
    for address in fixed_addresses:
        for forward in ledger.where(PortForward, fixed_address=address):
            ledger.drop(forward)
    return [
        _let_go(ledger, row) for address in fixed_addresses for row in ledger.where(FloatingIp, fixed_address=address)
    ]


def auto_assign(ledger: Ledger, instance: str, project: str, pool: str, by: str) -> FloatingIp:
    """The floating IP that the instance has without asking: one of the pool, unless it has one so already."""
    for held in ledger.where(FixedIp, instance=instance):
        for row in ledger.where(FloatingIp, fixed_address=held.address):
            if row.auto_assigned:
                return row
    projects.known(ledger, project, "project")
    row = _free(ledger, pool, project)
    target = fixed_address_of(ledger, instance, version=addressing.version(row.address))
    return _lead(ledger, row._replace(project=project, allocated_by=by, auto_assigned=True), target, by)
