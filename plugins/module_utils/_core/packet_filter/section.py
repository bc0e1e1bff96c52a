# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's section, checked: whatever is wrong in it is named by its path.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from .. import addressing, guest_rules, naming
from ..errors import InputError
from ..fields import Fields, items
from . import readers
from .metadata import NO_FLAT_METADATA, FlatMetadata, Metadata, flat_metadata, metadata
from .readers import PATH
from .ways import FloatingIp, Hairpin, Homes, PortForward, floating_ips, port_forwards


@dataclasses.dataclass(frozen=True)
class Network:
    """One network that this host carries, with a range of IPv4, of IPv6, or of both."""

    label: str
    bridge: str
    cidr: str | None
    gateway: bool
    dhcp: bool
    snat: bool
    cidr_v6: str | None = None
    #: Interfaces in the bridge that lead to other hosts.
    uplinks: tuple[str, ...] = ()

    @property
    def cidrs(self) -> tuple[str, ...]:
        return tuple(cidr for cidr in (self.cidr, self.cidr_v6) if cidr is not None)


@dataclasses.dataclass(frozen=True)
class Section:
    """The section, checked and in canonical spelling; `routing_source_ip` None is the host's own address."""

    public_interface: str | None
    routing_source_ip: str | None
    dmz_cidr: tuple[str, ...]
    force_snat_range: tuple[str, ...]
    networks: tuple[Network, ...]
    floating_ips: tuple[FloatingIp, ...] = ()
    port_forwards: tuple[PortForward, ...] = ()
    hairpins: tuple[Hairpin, ...] = ()
    metadata: Metadata | None = None
    flat_metadata: FlatMetadata = NO_FLAT_METADATA
    security: guest_rules.Section = guest_rules.NONE


def parse(section: object) -> Section:
    """Check the whole section; InputError names the first value that breaks a rule by its path."""
    fields = Fields(section, PATH)
    public = fields.raw("public_interface")
    if public is not None:
        public = readers.interface(public, fields.where("public_interface"))
    source = fields.raw("routing_source_ip")
    if source is not None:
        source = _source(source, fields.where("routing_source_ip"))
    networks = tuple(
        _network(entry, path) for path, entry in items(fields.required("networks"), fields.where("networks"))
    )
    dmz, forced = _ranges(fields, "dmz_cidr"), _ranges(fields, "force_snat_range")
    _refuse_overlaps(networks)
    homes = Homes((cidr, network.bridge) for network in networks for cidr in network.cidrs)
    floating = floating_ips(fields.raw("floating_ips", ()), fields.where("floating_ips"), homes, public)
    forwards = port_forwards(fields.items("port_forwards"), homes)
    asked = metadata(fields.raw("metadata"), fields.where("metadata"))
    asked_in_flat = flat_metadata(fields.raw("flat_metadata"), fields.where("flat_metadata"))
    security = guest_rules.parse(fields)
    fields.done()
    _refuse_divided_bridges(networks)
    _refuse_shared_uplinks(networks)
    if public is None and source != "":
        _refuse_missing_public_interface(networks)
    return Section(
        public_interface=public,
        routing_source_ip=source,
        dmz_cidr=dmz,
        force_snat_range=forced,
        networks=networks,
        floating_ips=floating,
        port_forwards=forwards,
        hairpins=tuple(homes.used),
        metadata=asked,
        flat_metadata=asked_in_flat,
        security=security,
    )


_T = t.TypeVar("_T")


def unique(facts: t.Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(facts))


def _source(value: object, path: str) -> str:
    if value == "":
        return ""
    try:
        address = ipaddress.IPv4Address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise InputError(
            f"{path}: {value!r} is not the IPv4 address of a host; give one such as '192.0.2.1', "
            "null for the host's own address, or '' for no SNAT"
        )
    return str(address)


def _ranges(fields: Fields, key: str) -> tuple[str, ...]:
    return unique(readers.cidr(entry, path) for path, entry in fields.items(key))


def _own_range(fields: Fields, key: str, version: int) -> str | None:
    value = fields.raw(key)
    if value is None:
        return None
    cidr = readers.cidr(value, fields.where(key), version)
    if cidr.endswith("/0"):
        raise InputError(f"{fields.where(key)}: '{cidr}' is every address there is; give the network's own range")
    return cidr


def _network(value: object, path: str) -> Network:
    fields = Fields(value, path)
    network = Network(
        label=fields.text("label"),
        bridge=readers.interface(fields.required("bridge"), fields.where("bridge")),
        cidr=_own_range(fields, "cidr", 4),
        gateway=fields.flag("gateway"),
        dhcp=fields.flag("dhcp"),
        snat=fields.flag("snat"),
        cidr_v6=_own_range(fields, "cidr_v6", 6),
        uplinks=unique(naming.interface_name(name, place) for place, name in fields.items("uplinks")),
    )
    fields.done()
    if not network.cidrs:
        raise InputError(f"{path}.cidr is required, or cidr_v6 where the network has IPv6 alone")
    if network.cidr is None and network.snat:
        raise InputError(f"{path}.snat: only IPv4 is source-translated, and the network has IPv6 alone; give false")
    return network


def _refuse_overlaps(networks: tuple[Network, ...]) -> None:
    """Sorted by first address, two ranges can only overlap where a neighbour does."""
    spans = sorted(
        (span.version, span.first, span.last, index, span.cidr)
        for index, network in enumerate(networks)
        for span in map(addressing.known_network, network.cidrs)
    )
    for one, two in zip(spans, spans[1:]):
        if one[0] == two[0] and two[1] <= one[2]:
            (earlier, other), (later, cidr) = sorted((one[3:], two[3:]))
            key = "cidr" if one[0] == 4 else "cidr_v6"
            raise InputError(
                f"{PATH}.networks[{later}].{key}: network {networks[later].label!r} {cidr} overlaps network "
                f"{networks[earlier].label!r} {other}; give each network a range of its own"
            )


def _refuse_divided_bridges(networks: tuple[Network, ...]) -> None:
    """Forwarding is decided for a bridge as a whole: its networks have to agree."""
    first: dict[str, Network] = {}
    for index, network in enumerate(networks):
        known = first.setdefault(network.bridge, network)
        if known.gateway != network.gateway:
            raise InputError(
                f"{PATH}.networks[{index}].gateway: networks {known.label!r} and {network.label!r} share bridge "
                f"{network.bridge!r}, so either both have a gateway or neither has"
            )


def _refuse_shared_uplinks(networks: tuple[Network, ...]) -> None:
    bridges: dict[str, str] = {}
    for index, network in enumerate(networks):
        for place, uplink in enumerate(network.uplinks):
            if bridges.setdefault(uplink, network.bridge) != network.bridge:
                raise InputError(
                    f"{PATH}.networks[{index}].uplinks[{place}]: {uplink!r} is in bridge {bridges[uplink]!r} already; "
                    "an interface is in one bridge"
                )


def _refuse_missing_public_interface(networks: tuple[Network, ...]) -> None:
    for index, network in enumerate(networks):
        if network.snat:
            raise InputError(
                f"{PATH}.public_interface: network {network.label!r} ({PATH}.networks[{index}]) asks for SNAT, which "
                "needs the interface that leads outwards; set nova_public_interface, or set nova_routing_source_ip "
                "to '' for no SNAT"
            )
