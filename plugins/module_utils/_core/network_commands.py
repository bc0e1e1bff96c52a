# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks by command: `network create`, `modify` and `delete` on a ledger.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t
import uuid

from . import addressing, carving, fixed_ips, network, network_request, projects
from .addressing import Range
from .errors import InputError
from .ledger import Ledger
from .network_request import NetworkRequest
from .settings import Settings
from .state import FixedIp, FloatingIp, Instance, Network, SecurityGroup, Vif

COMMAND = "command"

#: What of a network that is there may be changed; whatever else depends on it would have to follow.
CHANGEABLE = ("bridge_interface", "dns1", "dns2", "mtu", "priority")


def create(ledger: Ledger, request: NetworkRequest, settings: Settings, given: t.Container[str]) -> list[Network]:
    """The networks of the request, made where they are not there yet; all or none.

    Of one that is there, the fields that are `given` and may be changed are; others have to be as they are.
    """
    there = [found for found in (ledger.get(Network, label) for label in request.labels) if found is not None]
    if request.project is not None:
        project = projects.known(ledger, request.project, f"{request.path}.project")
        used = len(ledger.where(Network, project=project.name))
        projects.check_quota(project, "networks", settings, used, request.num_networks - len(there))
    existing = {found.label: found for found in there}
    made = there
    if len(there) < request.num_networks:
        taken = network.Taken(found for found in ledger.where(Network) if found.label not in existing)
        made = network.create(request, settings, taken, existing, COMMAND)
    _check_floating(ledger, [row for row in made if row.label not in existing], request.path)
    rows = []
    for row in made:
        old = existing.get(row.label)
        if old is None:
            ledger.put(row)
        rows.append(row if old is None else _alter(ledger, old, request, settings, given))
    reserved = [_span(span) for span in request.reserved]
    fixed_ips.reserve(ledger, reserved, COMMAND, path=f"{request.path}.reserved")
    return rows


def _span(span: tuple[int, int, int]) -> str:
    first, last, version = span
    text = addressing.text if version == 4 else addressing.text_v6
    return f"{text(first)}-{text(last)}"


def _check_floating(ledger: Ledger, made: list[Network], path: str) -> None:
    """A floating IP is nobody's fixed one."""
    taken = network.Taken(made)
    for floating in ledger.where(FloatingIp):
        version, number = addressing.order(floating.address)
        inside = taken.ranges(version).conflict(Range(number, number, 32 if version == 4 else 128, version))
        if inside is not None:
            raise InputError(
                f"{path}: {inside.cidr} would hold {floating.address}, a floating IP of pool {floating.pool!r}; "
                "choose another range"
            )


#: Fields that have to be as they are, where they are given for a network that is there.
_FIXED = (
    "manager",
    "uuid",
    "vlan",
    "gateway",
    "gateway_v6",
    "dhcp_server",
    "dhcp_start",
    "allowed_start",
    "allowed_end",
    "multi_host",
)


def _alter(
    ledger: Ledger, found: Network, request: NetworkRequest, settings: Settings, given: t.Container[str]
) -> Network:
    """What is given for a network that is there."""
    for option, name, asked in _fixed(request, settings):
        has = getattr(found, name)
        if option in given and asked is not None and asked != has:
            raise InputError(
                f"{request.path}.{option}: network {found.label!r} is there with {has}, and {asked} would move its "
                f"guests; only {', '.join(CHANGEABLE)}, project and host can be changed. Delete it and create it anew"
            )
    _check_range(found, request, given)
    row = found._replace(**{name: getattr(request, name) for name in CHANGEABLE if name in given})
    if row != found:
        ledger.put(row)
    return modify(
        ledger,
        row,
        settings,
        request.path,
        project=request.project if "project" in given else None,
        host=request.host if "host" in given else None,
    )


def _fixed(request: NetworkRequest, settings: Settings) -> t.Iterator[tuple[str, str, t.Any]]:
    """What has to be as it is: the option, the field that follows from it, and its value as asked for."""
    for name in _FIXED:
        yield name, name, getattr(request, name)
    if request.num_networks == 1 or request.manager == "flat":
        yield "bridge", "bridge", request.bridge  # of several, each has one that follows from it
    if request.fixed_cidr is not None:
        low, high = network_request.guests_of(request.fixed_cidr, request.manager, settings.cnt_vpn_clients)
        yield "fixed_cidr", "allowed_start", addressing.text(low)
        yield "fixed_cidr", "allowed_end", addressing.text(high)


def _check_range(found: Network, request: NetworkRequest, given: t.Container[str]) -> None:
    """The range asked for has to be that of the network, or one that it is carved out of."""
    for name, asked, has in (
        ("fixed_range", request.range, found.range),
        ("fixed_range_v6", request.range_v6, found.range_v6),
    ):
        if name not in given or asked is None:
            continue
        if asked.version == 4:
            prefix = carving.prefix_of(asked, request.num_networks, request.network_size)
        else:
            prefix = addressing.PREFIX_V6
        if has is None or has.first not in asked or has.prefix != prefix:
            raise InputError(
                f"{request.path}.{name}: network {found.label!r} is there with {found.ranges}, which is no "
                f"/{prefix} of {asked.cidr}; delete it and create it anew"
            )


def modify(
    ledger: Ledger,
    found: Network,
    settings: Settings,
    path: str,
    project: str | None = None,
    host: str | None = None,
    disassociate_project: bool = False,
    disassociate_host: bool = False,
) -> Network:
    """Give the network to a project or a host, or take it from them. nova refused to do both kinds at once."""
    if (project is not None and disassociate_project) or (host is not None and disassociate_host):
        raise InputError(f"{path}: associating and disassociating at once; say one of the two")
    if disassociate_project and found.project is not None:
        _check_users(ledger, found, path, None)
        projects.disassociate(ledger, found)
    elif project is not None and project != found.project:
        owner = projects.known(ledger, project, f"{path}.project")
        _check_users(ledger, found, path, project)
        projects.assign(ledger, found, owner, settings, COMMAND)
    found = t.cast(Network, ledger.get(Network, found.label))
    if host is not None and found.multi_host:
        raise InputError(f"{path}.host: network {found.label!r} is multi_host, so every host serves it; leave it out")
    if (disassociate_host or host is not None) and host != found.host:
        found = found._replace(host=host)
        ledger.put(found)
    return found


def _check_users(ledger: Ledger, found: Network, path: str, project: str | None) -> None:
    """Others than the project's own instances and groups would be cut off."""
    users = []
    for vif in ledger.where(Vif, network=found.label):
        instance = ledger.get(Instance, vif.instance)
        if instance is not None and instance.project != project:
            users.append(vif.instance)
    groups = [group.name for group in ledger.where(SecurityGroup, network=found.label) if group.project != project]
    for kind, of in (("instance", users), ("security group", groups)):
        if of:
            raise InputError(
                f"{path}: network {found.label!r} is in use by {projects.names(kind, of)}"
                + (f" of project {found.project!r}" if found.project else "")
                + "; remove them first"
            )


def delete(ledger: Ledger, found: Network) -> None:
    """nova's rule: not while a project has it, nor while an address is allocated."""
    if found.project is not None:
        raise InputError(
            f"network {found.label!r} {found.ranges} belongs to project {found.project!r}; "
            "scrub the project, or disassociate the network from it, first"
        )
    users = projects.holders(ledger, found)
    groups = [group.name for group in ledger.where(SecurityGroup, network=found.label)]
    for kind, of in (("instance", users), ("security group", groups)):
        if of:
            raise InputError(
                f"network {found.label!r} {found.ranges} is in use by {projects.names(kind, of)}; remove them first"
            )
    for row in ledger.where(FixedIp, network=found.label):
        ledger.drop(row)
    ledger.drop(found)


def find(
    ledger: Ledger, label: str | None = None, fixed_range: str | None = None, identifier: str | None = None
) -> Network | None:
    """The network that is named by its label, its range of either version, or its uuid."""
    if label is not None:
        return ledger.get(Network, label)
    if identifier is not None:
        try:
            rows = ledger.where(Network, uuid=str(uuid.UUID(identifier)))
        except ValueError:
            raise InputError(f"uuid: {identifier!r} is not a UUID") from None
    else:
        subnet = addressing.any_network(fixed_range, "fixed_range")
        rows = ledger.where(Network, **{"cidr" if subnet.version == 4 else "cidr_v6": subnet.cidr})
    return rows[0] if rows else None
