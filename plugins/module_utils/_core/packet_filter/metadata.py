# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways to the metadata service: of guests whose gateway is this host, and of those in flat networks.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .. import addressing, naming
from ..errors import InputError
from ..fields import Fields, items
from . import readers
from .readers import PATH
from .ways import host_address

#: Where guests ask for their metadata, and the port.
METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80


class Metadata(t.NamedTuple):
    """Where the metadata service is; `host` None is this host itself. Who is on the bridges `elsewhere` asks others."""

    host: str | None
    port: int
    elsewhere: tuple[str, ...] = ()


class Flat(t.NamedTuple):
    """A network whose gateway is the operator's, and the ports of its guests on this host."""

    bridge: str
    cidr: str
    ports: tuple[str, ...]


class FlatMetadata(t.NamedTuple):
    """Where guests of flat networks are led by their own host; `host` None is this host itself. False for none."""

    host: str | None = None
    port: int = 8775
    networks: tuple[Flat, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.networks)

    @property
    def bridges(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(network.bridge for network in self.networks))

    @property
    def here(self) -> tuple[str, ...]:
        """The bridges whose guests ask this host itself."""
        return self.bridges if self.host is None else ()


NO_FLAT_METADATA = FlatMetadata()


def metadata(value: object, path: str) -> Metadata | None:
    """`metadata` of the section; None where there is none."""
    if value is None:
        return None
    fields = Fields(value, path)
    host, port = _service(fields)
    elsewhere = tuple(
        naming.interface_name(name, place)
        for place, name in items(fields.raw("elsewhere", ()), fields.where("elsewhere"))
    )
    fields.done()
    return Metadata(host, port, tuple(sorted(set(elsewhere))))


def flat_metadata(value: object, path: str = f"{PATH}.flat_metadata") -> FlatMetadata:
    """`flat_metadata` of the section, which may be absent."""
    if value is None:
        return NO_FLAT_METADATA
    fields = Fields(value, path)
    host, port = _service(fields)
    networks = tuple(_flat(Fields(entry, place)) for place, entry in fields.items("networks"))
    fields.done()
    first: dict[str, str] = {}
    for number, network in enumerate(networks):
        for place, port_name in enumerate(network.ports):
            where = f"{path}.networks[{number}].ports[{place}]"
            if port_name in first:
                raise InputError(
                    f"{where}: {port_name!r} is that of {first[port_name]} already; a port stands here once"
                )
            first[port_name] = where
    _refuse_overlaps(networks, path)
    return FlatMetadata(host, port, tuple(network for network in networks if network.ports))


def _refuse_overlaps(networks: tuple[Flat, ...], path: str) -> None:
    """A host could not tell over which bridge to answer."""
    spans = sorted((addressing.known_network(network.cidr), place) for place, network in enumerate(networks))
    for (one, earlier), (two, later) in zip(spans, spans[1:]):
        if two.first <= one.last:
            first, second = sorted((earlier, later))
            raise InputError(
                f"{path}.networks[{second}].cidr: {networks[second].cidr} overlaps {networks[first].cidr} of "
                f"networks[{first}]; give each network a range of its own"
            )


def _flat(fields: Fields) -> Flat:
    network = Flat(
        bridge=readers.interface(fields.required("bridge"), fields.where("bridge")),
        cidr=readers.cidr(fields.required("cidr"), fields.where("cidr")),
        ports=tuple(readers.interface(name, place) for place, name in fields.items("ports")),
    )
    fields.done()
    return network


def _service(fields: Fields) -> tuple[str | None, int]:
    host = fields.optional_address("host")
    port = fields.integer("port", 8775, 1, 65535)
    if host is None or addressing.is_loopback(host):
        return None, port
    host_address(fields, "host")
    if host == METADATA_ADDRESS:
        raise InputError(f"{fields.where('host')}: {host!r} is what guests ask; give the address of the service itself")
    return host, port
