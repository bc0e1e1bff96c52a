# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules around fixed IPs, floating IPs, instances and leases do, each in one call.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import time
import typing as t

from . import _command
from ._core import (
    addressing,
    fixed_ips,
    floating_ips,
    guests,
    instance_request,
    instances,
    moments,
    naming,
    network,
    projects,
)
from ._core.errors import InputError
from ._core.fields import Fields, boolean, text
from ._core.guests import Guest
from ._core.instances import Settling
from ._core.ledger import Ledger
from ._core.state import FixedIp, FloatingIp, Instance, Membership, Network, State, Vif, empty
from ._core.tables import table
from ._drivers import upkeep

#: From so many records on, all of a kind are looked up at once instead of each on its own.
_MANY = 256


# --- fixed IPs: reserve and unreserve --------------------------------------------------------------------------------


def reserve(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module fixed_ip documents."""
    values, instance = parameters["addresses"], parameters["instance"]
    reserved = parameters["state"] == "reserved"
    if instance is not None:
        naming.host_name(instance, "instance")
        if not reserved:
            raise InputError(f"instance: {instance!r} is given, but state unreserved is for everybody; leave it out")

    def work(ledger: Ledger) -> dict[str, t.Any]:
        if reserved:
            return {"addresses": fixed_ips.reserve(ledger, values, _command.ORIGIN, instance)}
        return {"addresses": fixed_ips.unreserve(ledger, values, _command.ORIGIN)}

    return _command.apply(parameters, check_mode, work)


# --- fixed IPs: list -------------------------------------------------------------------------------------------------

_FIXED_HEADERS = ("network", "IP address", "hostname", "host", "state")


def fixed(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module fixed_ip_info documents."""
    wanted = _command.given(parameters, ("address", "network", "instance", "project", "host", "state"))
    if "address" in wanted:
        wanted["address"] = addressing.any_address(wanted["address"], "address")
    now = time.time()

    def work(ledger: Ledger) -> list[tuple[dict[str, t.Any], str | None]]:
        rows = sorted(_fixed_rows(ledger, wanted), key=lambda row: addressing.order(row.address))
        if len(rows) > _MANY:
            ledger.where(Instance)
            ledger.where(Vif)
        found = []
        for row in rows:
            told = _told(ledger, row, now)
            if all(told.get(name, value) == value for name, value in wanted.items() if name != "project"):
                subnet = t.cast(Network, ledger.get(Network, row.network))
                found.append((told, subnet.cidr if row.version == 4 else subnet.cidr_v6))
        return found

    found = upkeep.query(parameters["state_url"], work)
    lines = [(cidr, row["address"], row["instance"], row["host"], row["state"]) for row, cidr in found]
    return {
        "changed": False,
        "fixed_ips": [row for row, _cidr in found],
        "table": table(_FIXED_HEADERS, lines) if lines else ["No fixed IPs found"],
    }


def _fixed_rows(ledger: Ledger, wanted: dict[str, t.Any]) -> list[FixedIp]:
    """The records that may be wanted, by what leads to the fewest; the project is seen to here."""
    if "address" in wanted:
        row = ledger.get(FixedIp, wanted["address"]) or _unrecorded(ledger, wanted["address"])
        rows = [] if row is None else [row]
    elif "instance" in wanted:
        rows = ledger.where(FixedIp, instance=wanted["instance"])
    elif "network" in wanted:
        rows = ledger.where(FixedIp, network=wanted["network"])
    elif "project" in wanted:
        rows = _held_by(ledger, ledger.where(Instance, project=wanted["project"]))
    elif "host" in wanted:
        rows = _held_by(ledger, ledger.where(Instance, host=wanted["host"]))
        rows += ledger.where(FixedIp, host=wanted["host"])
    elif wanted.get("state") in ("free", "quarantined", "reserved"):
        rows = ledger.where(FixedIp, instance=None, host=None)
    else:
        rows = ledger.where(FixedIp)
    if "project" not in wanted:
        return rows
    names = {row.name for row in ledger.where(Instance, project=wanted["project"])}
    return [row for row in rows if row.instance in names]


def _held_by(ledger: Ledger, holders: list[Instance]) -> list[FixedIp]:
    if len(holders) <= _MANY:
        return [row for holder in holders for row in ledger.where(FixedIp, instance=holder.name)]
    names = {holder.name for holder in holders}
    return [row for row in ledger.where(FixedIp) if row.instance in names]


def _unrecorded(ledger: Ledger, address: str) -> FixedIp | None:
    """An address that nobody ever had, as if it were recorded; None where it is of no network."""
    version, number = addressing.order(address)
    for each in ledger.where(Network):
        subnet = each.range if version == 4 else each.range_v6
        if subnet is not None and number in subnet:
            try:
                network.check_guest(each, address, "address")
            except InputError:
                return FixedIp(address, version, each.label, reserved_by="network")
            return FixedIp(address, version, each.label, released_at=0.0)
    return None


def _told(ledger: Ledger, row: FixedIp, now: float) -> dict[str, t.Any]:
    instance = None if row.instance is None else ledger.get(Instance, row.instance)
    vif = None if row.instance is None else ledger.get(Vif, (row.instance, row.network))
    state = fixed_ips.state_of(row, now)
    return {
        "network": row.network,
        "address": row.address,
        "version": row.version,
        "state": state,
        "instance": row.instance,
        "mac": None if vif is None else vif.mac,
        "host": row.host if instance is None else instance.host,
        "reserved_by": row.reserved_by,
        "reserved_for": row.reserved_for,
        "quarantined_until": moments.text(row.quarantined_until) if state == "quarantined" else None,
    }


# --- floating IPs: ranges of a pool ----------------------------------------------------------------------------------


def floating_range(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module floating_range documents."""
    site = _command.site(parameters)
    values, present = parameters["range"], parameters["state"] == "present"
    pool, interface = parameters["pool"], parameters["interface"]
    pool = site.default_floating_pool if pool is None else text(pool, "pool")
    interface = None if interface is None else naming.interface_name(interface, "interface")
    addresses = [address for value in values for address in floating_ips.expand(value, "range")]

    def work(ledger: Ledger) -> dict[str, t.Any]:
        there = floating_ips.find(ledger, values)
        if not present:
            if parameters["pool"] is not None:
                _check_pool(there, pool)
            rows = floating_ips.delete(ledger, [row.address for row in there], parameters["force"])
        elif len(there) == len(set(addresses)) and all(
            row.pool == pool and interface in (None, row.interface) for row in there
        ):
            rows = []
        else:
            rows = floating_ips.create(ledger, values, pool, interface, _command.ORIGIN)
        return {"addresses": [row.address for row in rows]}

    return _command.apply(parameters, check_mode, work)


def _check_pool(rows: list[FloatingIp], pool: str) -> None:
    for row in rows:
        if row.pool != pool:
            raise InputError(
                f"pool: floating IP {row.address} is of pool {row.pool!r}, not {pool!r}; name its own pool"
            )


# --- floating IPs: of projects and instances -------------------------------------------------------------------------


def floating_ip(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module floating_ip documents."""
    site = _command.site(parameters)
    state = parameters["state"]
    options = _command.given(parameters, _FLOATING)
    for name in options:
        if name not in _TAKEN[state]:
            raise InputError(
                f"{name}: {options[name]!r} is not for state {state}, which takes {', '.join(_TAKEN[state])}"
            )
    address: t.Any = options.get("address")
    project: t.Any = options.get("project")
    force = parameters["force"]

    def work(ledger: Ledger) -> dict[str, t.Any]:
        if state == "allocated":
            pool = options.get("pool")
            if pool is None and address is None:
                pool = site.default_floating_pool
            quota = projects.quota(projects.known(ledger, project, "project"), "floating_ips", site)
            row = floating_ips.allocate(ledger, project, pool, quota, _command.ORIGIN, address)
        else:
            row = floating_ips.known(ledger, address)
            if state == "associated":
                target = options.get("fixed_address") or floating_ips.fixed_address_of(
                    ledger, options["instance"], options.get("network"), addressing.version(row.address)
                )
                row = floating_ips.associate(ledger, row.address, target, project, by=_command.ORIGIN)
            elif state == "disassociated" and row.fixed_address is not None:
                row = floating_ips.disassociate(ledger, row.address, project, force)
            elif state == "released" and row.project is not None:
                row = floating_ips.release(ledger, row.address, project, force)
        return {"floating_ip": _floating(ledger, row)}

    return _command.apply(parameters, check_mode, work)


_FLOATING = ("address", "pool", "project", "instance", "network", "fixed_address")

#: What each state takes of these.
_TAKEN = {
    "allocated": ("address", "pool", "project"),
    "associated": ("address", "project", "instance", "network", "fixed_address"),
    "disassociated": ("address", "project"),
    "released": ("address", "project"),
}

_FLOATING_HEADERS = ("project", "address", "instance", "pool", "interface")


def floating(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module floating_ip_info documents."""
    values = parameters["range"]

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        rows = floating_ips.find(ledger, values, parameters["pool"], parameters["project"])
        if sum(row.fixed_address is not None for row in rows) > _MANY:
            ledger.where(FixedIp)
        return [_floating(ledger, row) for row in rows]

    found = upkeep.query(parameters["state_url"], work)
    lines = [tuple(row[name] for name in _FLOATING_HEADERS) for row in found]
    return {
        "changed": False,
        "floating_ips": found,
        "table": table(_FLOATING_HEADERS, lines) if lines else ["No floating IP addresses have been defined."],
    }


def _floating(ledger: Ledger, row: FloatingIp) -> dict[str, t.Any]:
    target = None if row.fixed_address is None else ledger.get(FixedIp, row.fixed_address)
    return {
        **row._asdict(),
        "instance": None if target is None else target.instance,
        "network": None if target is None else target.network,
    }


# --- instances -------------------------------------------------------------------------------------------------------

_INSTANCE = (
    "name",
    "project",
    "host",
    "network",
    "address",
    "address_v6",
    "mac",
    "allowed_address_pairs",
    "networks",
    "security_groups",
    "floating_ip",
    "floating_pool",
)


def instance(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module instance documents."""
    site = _command.site(parameters)
    options = _command.given(parameters, _INSTANCE)
    if "floating_ip" in options:
        options["floating_ip"] = _any_or_address(options["floating_ip"])
    absent = parameters["state"] == "absent"
    name = naming.host_name(options["name"], "name")
    request = None if absent else instance_request.read(Fields(options, ""))
    now = time.time()

    def work(ledger: Ledger) -> dict[str, t.Any]:
        settling = Settling(ledger, site, now, _command.ORIGIN)
        if request is not None:
            instances.settle(settling, [request])
            instances.settle_floating(settling, request)
        else:
            row = ledger.get(Instance, name)
            if row is not None:
                _check_is(row, options)
                instances.remove(settling, row)
        row = ledger.get(Instance, name)
        return {"instance": None if row is None else _guest(ledger, [row])[0]}

    return _command.apply(parameters, check_mode, work)


def _any_or_address(value: object) -> object:
    """An address stays what it is; a truth value, however it is spelt, asks for any or for none."""
    try:
        return boolean(value, "floating_ip")
    except InputError:
        return value


def _check_is(row: Instance, options: dict[str, t.Any]) -> None:
    """Whether it is the one that is meant to go."""
    for name in ("project", "host"):
        has, asked = getattr(row, name), options.get(name)
        if asked not in (None, has):
            of = "belongs to project" if name == "project" else "runs on host"
            raise InputError(f"{name}: instance {row.name!r} {of} {has!r}, not {asked!r}; name its own, or none")


_INSTANCE_HEADERS = ("instance", "project", "host", "network", "mac", "address", "address_v6", "floating_ips")


def instance_list(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module instance_info documents."""
    columns = _command.given(parameters, ("name", "project", "host"))
    label = parameters["network"]

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        if label is None or "name" in columns:
            rows = ledger.where(Instance, **columns)
        else:
            vifs = ledger.where(Vif, network=label)
            if len(vifs) > _MANY:
                ledger.where(Instance)
            named = [t.cast(Instance, ledger.get(Instance, vif.instance)) for vif in vifs]
            rows = [row for row in named if all(getattr(row, name) == columns[name] for name in columns)]
        found = _guest(ledger, rows)
        if label is None:
            return found
        return [row for row in found if any(port["network"] == label for port in row["ports"])]

    found = upkeep.query(parameters["state_url"], work)
    lines = [
        (
            *(row[name] for name in ("name", "project", "host")),
            *(port[name] for name in ("network", "mac", "address", "address_v6")),
            ", ".join(port["floating_ips"]) or None,
        )
        for row in found
        for port in row["ports"]
    ]
    return {
        "changed": False,
        "instances": found,
        "table": table(_INSTANCE_HEADERS, lines) if lines else ["No instances found"],
    }


def _guest(ledger: Ledger, rows: list[Instance]) -> list[dict[str, t.Any]]:
    """The instances with their ports, by no more records than theirs."""
    nics: dict[str, list[Guest]] = {row.name: [] for row in rows}
    part = _part(ledger, rows)
    for guest in guests.guests(part):
        nics[guest.instance.name].append(guest)
    leading: dict[str, list[str]] = {}
    for address in part.floating_ips.values():
        leading.setdefault(t.cast(str, address.fixed_address), []).append(address.address)
    return [
        {
            **row._asdict(),
            "security_groups": list(nics[row.name][0].groups) if nics[row.name] else [],
            "ports": [
                {
                    **nic.port(),
                    "allowed_address_pairs": nic.pairs(),
                    "floating_ips": leading.get(nic.address or "", []) + leading.get(nic.address_v6 or "", []),
                }
                for nic in nics[row.name]
            ],
        }
        for row in rows
    ]


def _part(ledger: Ledger, rows: list[Instance]) -> State:
    """The part of the store that these instances are."""
    part = empty()
    part.instances.update({row.name: row for row in rows})
    for vif in _of_each(ledger, Vif, "instance", part.instances):
        part.vifs[vif.instance, vif.network] = vif
    for membership in _of_each(ledger, Membership, "instance", part.instances):
        part.memberships[membership.instance, membership.security_group] = membership
    for held in _of_each(ledger, FixedIp, "instance", part.instances):
        part.fixed_ips[held.address] = held
    for leading in _of_each(ledger, FloatingIp, "fixed_address", list(part.fixed_ips)):
        part.floating_ips[leading.address] = leading
    for label in {vif.network for vif in part.vifs.values()}:
        part.networks[label] = t.cast(Network, ledger.get(Network, label))
    for host, label in {(part.instances[vif.instance].host, vif.network) for vif in part.vifs.values()}:
        if part.networks[label].multi_host:
            for gateway in ledger.where(FixedIp, host=host, network=label):
                part.fixed_ips[gateway.address] = gateway
    return part


_Each = t.TypeVar("_Each", Vif, Membership, FixedIp, FloatingIp)


def _of_each(ledger: Ledger, record: type[_Each], column: str, values: t.Collection[str]) -> list[_Each]:
    """The records whose column is one of the values."""
    if len(values) > _MANY:
        return [row for row in ledger.where(record) if getattr(row, column) in values]
    return [row for value in values for row in ledger.where(record, **{column: value})]


# --- leases ----------------------------------------------------------------------------------------------------------


class _Report(t.NamedTuple):
    """What a host says: the ranges of the networks that it serves, and the leases that it has given in them."""

    host: str
    networks: list[str]
    leases: list[tuple[str, fixed_ips.Lease]]


def record_leases(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module leases documents."""
    reports = [_report(host, value) for host, value in sorted(parameters["reports"].items())]

    def work(ledger: Ledger) -> dict[str, t.Any]:
        odd = []
        for report in reports:
            labels = {}
            for cidr in report.networks:
                found = ledger.where(Network, cidr=cidr)
                if found:
                    labels[cidr] = found[0].label
                else:
                    odd.append(f"host {report.host} serves {cidr}, which is no network of the store")
            leases = [lease for cidr, lease in report.leases if cidr in labels]
            odd += fixed_ips.report(ledger, report.host, list(labels.values()), leases)
        return {"odd": odd}

    return _command.apply(parameters, check_mode, work)


def _report(host: str, value: object) -> _Report:
    """What leases_info has found on the host; what Ansible adds to the result of a module is passed over."""
    path = f"reports[{host}]"
    fields = Fields(value, path)
    fields.required("networks")
    networks = [addressing.network(cidr, where).cidr for where, cidr in fields.items("networks")]
    fields.required("leases")
    leases = []
    for where, entry in fields.items("leases"):
        lease = Fields(entry, where)
        cidr = addressing.network(lease.required("network"), lease.where("network")).cidr
        if cidr not in networks:
            raise InputError(f"{lease.where('network')}: {cidr} is none of the networks that the host serves")
        mac = addressing.mac(lease.required("mac"), lease.where("mac"))
        leases.append((cidr, fixed_ips.Lease(lease.address("address"), mac)))
    return _Report(host, networks, leases)
