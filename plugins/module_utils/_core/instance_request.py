# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked for an instance, by the inventory or by command, read from untyped fields into checked values.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import address_pairs, addressing, naming
from .address_pairs import Pair
from .errors import InputError
from .fields import Fields, items, text

#: A floating IP of the pool's choice.
ANY = "any"


class PortRequest(t.NamedTuple):
    """One NIC of an instance: network None means all networks that the project may use."""

    path: str
    network: str | None
    address: str | None
    address_v6: str | None
    mac: str | None
    allowed_address_pairs: tuple[Pair, ...] = ()

    def asked(self, version: int) -> str | None:
        return self.address if version == 4 else self.address_v6


class InstanceRequest(t.NamedTuple):
    """floating_ip: an address, `any`, or None."""

    path: str
    name: str
    project: str
    host: str
    ports: tuple[PortRequest, ...]
    security_groups: tuple[str, ...]
    floating_ip: str | None
    floating_pool: str | None


def read(fields: Fields) -> InstanceRequest:
    name = naming.host_name(fields.text("name"), fields.where("name"))
    fields.path = f"{fields.path} ({name})" if fields.path else f"instance {name!r}"
    request = InstanceRequest(
        path=fields.path,
        name=name,
        project=fields.text("project"),
        host=fields.text("host"),
        ports=_ports(fields),
        security_groups=_groups(fields),
        floating_ip=_floating_ip(fields),
        floating_pool=fields.optional_text("floating_pool"),
    )
    fields.done()
    return request


def _groups(fields: Fields) -> tuple[str, ...]:
    groups = [text(value, path) for path, value in fields.items("security_groups")]
    for group in groups:
        if groups.count(group) > 1:
            raise InputError(f"{fields.where('security_groups')}: {group!r} is named twice")
    return tuple(groups)


def _floating_ip(fields: Fields) -> str | None:
    """An address, or true for any of the pool."""
    value = fields.raw("floating_ip")
    if value is None or value is False:
        return None
    if value is True or value == ANY:
        return ANY
    return addressing.any_address(value, fields.where("floating_ip"))


def _ports(fields: Fields) -> tuple[PortRequest, ...]:
    """Either one port in the instance itself (network, address, mac and so on) or a list of them under `networks`."""
    listed = fields.raw("networks")
    single = _port(fields, fields.path, fields.optional_text("network"))
    if listed is None:
        return (single,)
    if any(single[1:]):
        raise InputError(
            f"{fields.path}: network, address, mac and allowed_address_pairs go into the entries of `networks` where "
            "it is given"
        )
    ports = []
    for path, value in items(listed, fields.where("networks")):
        if isinstance(value, str):
            value = {"label": value}
        entry = Fields(value, path)
        ports.append(_port(entry, path, entry.text("label")))
        entry.done()
    labels = [port.network for port in ports]
    for port in ports:
        if labels.count(port.network) > 1:
            raise InputError(f"{port.path}: network {port.network!r} is named twice; an instance has one NIC a network")
    return tuple(ports)


def _port(fields: Fields, path: str, network: str | None) -> PortRequest:
    """`address` may be of either version; `address_v6` is for a NIC that asks for both."""
    address = fields.optional_any_address("address")
    address_v6 = fields.optional_address_v6("address_v6")
    if address is not None and addressing.version(address) == 6:
        if address_v6 is not None:
            raise InputError(f"{fields.where('address')}: {address} and {address_v6} are both IPv6; give one")
        address, address_v6 = None, address
    return PortRequest(path, network, address, address_v6, fields.optional_mac("mac"), address_pairs.read(fields))
