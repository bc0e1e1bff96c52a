# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards: single ports of a floating IP that lead to instances, so that several can be behind one address.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, floating_ips, guest_rules, projects
from .errors import InputError
from .fields import Fields
from .ledger import Ledger
from .settings import GREATEST_PORT
from .state import FloatingIp, Instance, PortForward

PROTOCOLS = ("tcp", "udp")


class Place(t.NamedTuple):
    """Ports of an address, as asked for."""

    path: str
    address: str
    protocol: str
    first: int
    last: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.address, self.protocol, self.first

    @property
    def named(self) -> str:
        return f"{self.protocol} {span(self.first, self.last)} of floating IP {self.address}"


class Request(t.NamedTuple):
    """`network` None is the instance's first one; the ports lead to those from `fixed_port` on."""

    place: Place
    instance: str
    network: str | None
    fixed_port: int


def read_place(fields: Fields) -> Place:
    """`done()` is left to the caller."""
    protocol = fields.text("protocol")
    if protocol not in PROTOCOLS:
        raise InputError(f"{fields.where('protocol')}: {protocol!r} has no ports to forward; give 'tcp' or 'udp'")
    first, last = guest_rules.ports(fields.required("ports"), fields.where("ports"))
    return Place(fields.path, fields.any_address("address"), protocol, first, last)


def read(fields: Fields) -> Request:
    place = read_place(fields)
    fixed_port = fields.integer("fixed_port", place.first, 1, GREATEST_PORT)
    most = GREATEST_PORT - (place.last - place.first)
    if fixed_port > most:
        raise InputError(
            f"{fields.where('fixed_port')}: from {fixed_port} on, {place.last - place.first + 1} ports go past "
            f"{GREATEST_PORT}; begin with at most {most}"
        )
    request = Request(place, fields.text("instance"), fields.optional_text("network"), fixed_port)
    fields.done()
    return request


def put(ledger: Ledger, request: Request, origin: str) -> PortForward:
    """The forward, made or changed; the floating IP has to be allocated to the project of the instance."""
    place = request.place
    floating = floating_ips.allocated(ledger, place.address, None, "allocate it first")
    version = addressing.version(place.address)
    fixed = floating_ips.fixed_address_of(ledger, request.instance, request.network, version)
    floating_ips.check_target(ledger, floating, fixed)
    _check_whole(floating, place)
    for other in ledger.where(PortForward, address=place.address):
        if (
            other.protocol == place.protocol
            and other.from_port != place.first
            and other.from_port <= place.last
            and place.first <= other.to_port
        ):
            raise InputError(
                f"{_at(place)}{place.named} overlaps {span(other.from_port, other.to_port)}, which leads to "
                f"{other.fixed_address}; a port leads to one instance"
            )
    old = ledger.get(PortForward, place.key)
    row = PortForward(
        place.address,
        place.protocol,
        place.first,
        place.last,
        fixed,
        request.fixed_port,
        origin if old is None else old.origin,
    )
    if row != old:
        ledger.put(row)
    return row


def remove(ledger: Ledger, place: Place) -> PortForward | None:
    """The forward of exactly these ports goes; None where there is none."""
    row = ledger.get(PortForward, place.key)
    if row is None:
        return None
    if row.to_port != place.last:
        raise InputError(
            f"{_at(place)}the forward from {place.protocol} {place.first} of floating IP {place.address} on is "
            f"{span(row.from_port, row.to_port)}; name these ports"
        )
    ledger.drop(row)
    return row


def project_of(ledger: Ledger, request: Request) -> str:
    """The project that the floating IP has to belong to."""
    instance = ledger.get(Instance, request.instance)
    if instance is None:
        names = [row.name for row in ledger.where(Instance)]
        raise InputError(projects.unknown(f"{request.place.path}.instance", request.instance, "instance", names))
    return instance.project


def _check_whole(floating: FloatingIp, place: Place) -> None:
    if floating.fixed_address is not None:
        raise InputError(
            f"{_at(place)}all of floating IP {floating.address} leads to {floating.fixed_address}, so none of its "
            "ports can lead elsewhere; disassociate it first, or take another one"
        )


def _at(place: Place) -> str:
    return f"{place.path}: " if place.path else ""


def span(first: int, last: int) -> str:
    """Ports as they are written."""
    return str(first) if first == last else f"{first}:{last}"


def order(row: PortForward) -> tuple[tuple[int, int], str, int]:
    return addressing.order(row.address), row.protocol, row.from_port
