# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups of projects, and the part of a network that the instances of one get their addresses from.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, network, projects, security_rules
from .addressing import Range
from .errors import InputError
from .fields import Fields
from .ledger import Ledger
from .security_rules import Rule
from .settings import GREATEST_COUNT, Settings
from .state import FixedIp, Membership, Network, SecurityGroup


class Request(t.NamedTuple):
    """`subnet` as asked for, or `subnet_size` addresses anywhere, in `network` or the project's first one.

    `rules` None leaves those that there are.
    """

    path: str
    project: str
    name: str
    network: str | None = None
    subnet: Range | None = None
    subnet_size: int | None = None
    description: str | None = None
    rules: tuple[Rule, ...] | None = None


def read(fields: Fields) -> Request:
    """Everything that can be refused without looking at the store is refused here."""
    rules = fields.raw("rules")
    request = Request(
        fields.path,
        fields.text("project"),
        fields.text("name"),
        fields.optional_text("network"),
        fields.optional_network("subnet"),
        fields.optional_integer("subnet_size", 1, GREATEST_COUNT),
        fields.optional_text("description"),
        None if rules is None else security_rules.read(rules, fields.where("rules")),
    )
    fields.done()
    size = request.subnet_size
    if request.subnet is not None and size is not None:
        raise InputError(f"{request.path}: give subnet, or subnet_size for one of that size anywhere, but not both")
    if request.network is not None and request.subnet is None and size is None:
        raise InputError(f"{request.path}.network: only a group with a subnet is tied to a network; give subnet_size")
    if size is not None and size & (size - 1):
        raise InputError(
            f"{request.path}.subnet_size: {size} is not the size of a subnet; give a power of two such as "
            f"{1 << size.bit_length()}"
        )
    if request.name == projects.DEFAULT_GROUP and (request.subnet or size):
        raise InputError(
            f"{request.path}: the group {projects.DEFAULT_GROUP!r} has the instances that are in no other, and no "
            "subnet of its own"
        )
    return request


def create(ledger: Ledger, settings: Settings, request: Request, origin: str) -> SecurityGroup:
    """The group, made or as it is, without its rules; a subnet that it has already is kept."""
    project = projects.known(ledger, request.project, f"{request.path}.project")
    old = ledger.get(SecurityGroup, (request.project, request.name))
    if old is None:
        if request.name != projects.DEFAULT_GROUP:
            used = projects.used(ledger, project)["security_groups"]
            projects.check_quota(project, "security_groups", settings, used)
        old = SecurityGroup(request.project, request.name, origin=origin)
        ledger.put(old)
    label, subnet = None, None
    if request.subnet is not None or request.subnet_size is not None:
        found = _network_of(ledger, settings, request, old)
        label, subnet = found.label, _subnet(ledger, request, old, found)
    description = request.description
    if description is None and (old.origin, origin) != ("inventory", "inventory"):
        description = old.description
    row = old._replace(network=label, subnet=subnet, description=description)
    if row != old:
        ledger.put(row)
    return row


def delete(ledger: Ledger, group: SecurityGroup, why: str = "is to be deleted") -> None:
    """With its rules. Refused while instances are in the group, or rules of other groups name it."""
    inside = [membership.instance for membership in members(ledger, group)]
    if inside:
        raise InputError(
            f"security group {group.name!r} of project {group.project!r} {why}, but "
            f"{projects.names('instance', inside)} {'is' if len(inside) == 1 else 'are'} in it; take them out first"
        )
    others = security_rules.naming(ledger, group)
    if others and group.name != projects.DEFAULT_GROUP:
        raise InputError(
            f"security group {group.name!r} of project {group.project!r} {why}, but rules of "
            f"{projects.names('security group', others)} name it; take these out first"
        )
    for rule in security_rules.of_group(ledger, group):
        ledger.drop(rule)
    ledger.drop(group)


def members(ledger: Ledger, group: SecurityGroup) -> list[Membership]:
    return ledger.where(Membership, project=group.project, security_group=group.name)


def _network_of(ledger: Ledger, settings: Settings, request: Request, old: SecurityGroup) -> Network:
    project = projects.known(ledger, request.project, f"{request.path}.project")
    if request.network is None:
        there = ledger.get(Network, old.network)
        if there is not None and there.range is not None and there.project in (None, project.name):
            # Its instances have their addresses there, whichever network is the project's first one by now.
            if request.subnet is None or request.subnet.overlaps(there.range):
                return there
        usable = projects.usable_networks(ledger, project, settings, projects.FreeNetworks(ledger))
        usable = [each for each in usable if each.cidr is not None]
        if not usable:
            raise InputError(
                f"{request.path}: project {project.name!r} has no IPv4 network that a subnet could be part of"
            )
        return usable[0]
    found = ledger.get(Network, request.network)
    if found is None:
        labels = [each.label for each in ledger.where(Network)]
        raise InputError(projects.unknown(f"{request.path}.network", request.network, "network", labels))
    if found.cidr is None:
        raise InputError(
            f"{request.path}.network: network {found.label!r} has no IPv4 range that a subnet could be part of"
        )
    path = f"{request.path}.network"
    return projects.may_use(ledger, found, project, settings, path, request.name, "security group")


def _subnet(ledger: Ledger, request: Request, old: SecurityGroup, found: Network) -> str:
    if old.network == found.label and old.subnet is not None:
        held = addressing.known_network(old.subnet)
        first, last = network.allowed(found)
        if held == request.subnet or (held.size == request.subnet_size and first <= held.first and held.last <= last):
            return old.subnet
    others = [
        addressing.known_network(group.subnet)
        for group in ledger.where(SecurityGroup, network=found.label)
        if group.subnet is not None and (group.project, group.name) != (request.project, request.name)
    ]
    if request.subnet is None:
        return _carved(ledger, request, found, others).cidr
    _check_subnet(request, request.subnet, found, others)
    return request.subnet.cidr


def _check_subnet(request: Request, subnet: Range, found: Network, others: list[Range]) -> None:
    first, last = network.allowed(found)
    if subnet.first < first or subnet.last > last:
        raise InputError(
            f"{request.path}.subnet: {subnet.cidr} is not among the guests' addresses of network {found.label!r}, "
            f"{found.allowed_start} to {found.allowed_end}"
        )
    for other in others:
        if subnet.overlaps(other):
            raise InputError(f"{request.path}.subnet: {subnet.cidr} overlaps {other.cidr} of another security group")


def _carved(ledger: Ledger, request: Request, found: Network, others: list[Range]) -> Range:
    """The highest part that nobody has an address in, since addresses are given out from below."""
    size = t.cast(int, request.subnet_size)
    prefix = 33 - size.bit_length()
    first, last = network.allowed(found)
    own = network.own_numbers(found)
    held = [row for row in ledger.where(FixedIp, network=found.label) if row.version == 4]
    taken = {addressing.number(row.address) // size for row in held if row.instance or row.host or row.reserved_by}
    taken |= {number // size for number in own}
    for other in others:
        taken.update(number // size for number in range(other.first, other.last + 1, min(size, other.size)))
    for block in range((last + 1) // size - 1, (first + size - 1) // size - 1, -1):
        if block not in taken:
            return Range(block * size, block * size + size - 1, prefix)
    raise InputError(
        f"{request.path}.subnet_size: network {found.label!r} {found.cidr} has no {size} free addresses in one piece; "
        "ask for fewer, or use a larger network"
    )
