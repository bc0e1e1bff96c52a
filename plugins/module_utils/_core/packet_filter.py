# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan's section `packet_filter` asks of a host, in words that fit every back end.

Two steps: `parse` checks the section and names the path of what is wrong in it; `intent` turns the checked
section into the facts a back end renders (what is translated, what is kept from translation, which bridges
forward, which bridges offer DHCP and DNS).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from . import naming
from .errors import InputError
from .fields import Fields, items

PATH = "packet_filter"

#: The kernel allows more in an interface name, but these are read back from rule text unchanged: no quote, no
#: leading '-' or '!' (an option, a negation), no '+' at the end (a wildcard of iptables).
_PLAIN_INTERFACE = re.compile(r"[A-Za-z0-9_.](?:[A-Za-z0-9_.@+-]*[A-Za-z0-9_.@-])?\Z")


@dataclasses.dataclass(frozen=True)
class Network:
    """One network that this host carries."""

    label: str
    bridge: str
    cidr: str
    gateway: bool
    dhcp: bool
    snat: bool


@dataclasses.dataclass(frozen=True)
class Section:
    """The section, checked and in canonical spelling; `routing_source_ip` None is the host's own address."""

    public_interface: str | None
    routing_source_ip: str | None
    dmz_cidr: tuple[str, ...]
    force_snat_range: tuple[str, ...]
    networks: tuple[Network, ...]


@dataclasses.dataclass(frozen=True)
class Translation:
    """Traffic from `source` leaves with the address `to`; None as destination or `out` sets no limit."""

    source: str
    destination: str | None
    to: str
    out: str | None


@dataclasses.dataclass(frozen=True)
class Untranslated:
    """Traffic from `source` to `destination` keeps its source address.

    `inside`: both ends are one network; then what was redirected (to a floating address) is still translated,
    or the answer would not come back through this host.
    """

    source: str
    destination: str
    inside: bool


@dataclasses.dataclass(frozen=True)
class Forwarding:
    """Whether this host passes packets in and out of a bridge."""

    bridge: str
    allowed: bool


@dataclasses.dataclass(frozen=True)
class Intent:
    """All that a back end needs; each list in the plan's order, without repetition."""

    translations: tuple[Translation, ...] = ()
    untranslated: tuple[Untranslated, ...] = ()
    forwarding: tuple[Forwarding, ...] = ()
    services: tuple[str, ...] = ()
    #: Label of the network, or networks, behind a bridge or a range: for messages alone.
    labels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """No network: nothing of ours has a place on the host."""
        return not self.forwarding


def parse(section: object) -> Section:
    """Check the whole section; InputError names the first value that breaks a rule by its path."""
    fields = Fields(section, PATH)
    public = fields.raw("public_interface")
    if public is not None:
        public = _interface(public, fields.where("public_interface"))
    source = fields.raw("routing_source_ip")
    if source is not None:
        source = _source(source, fields.where("routing_source_ip"))
    networks = tuple(
        _network(entry, path) for path, entry in items(fields.required("networks"), fields.where("networks"))
    )
    dmz, forced = _ranges(fields, "dmz_cidr"), _ranges(fields, "force_snat_range")
    fields.done()
    _refuse_overlaps(networks)
    _refuse_divided_bridges(networks)
    if public is None and source != "":
        _refuse_missing_public_interface(networks)
    return Section(
        public_interface=public,
        routing_source_ip=source,
        dmz_cidr=dmz,
        force_snat_range=forced,
        networks=networks,
    )


def needs_own_address(section: Section) -> bool:
    """Whether `intent` has to be told the host's own address."""
    return section.routing_source_ip is None and any(
        network.snat or section.force_snat_range for network in section.networks
    )


def intent(section: Section, own_address: str | None = None) -> Intent:
    """What the section means; `own_address` stands in where it names no source of translated traffic."""
    source = own_address if section.routing_source_ip is None else section.routing_source_ip
    labels: dict[str, list[str]] = {}
    for network in section.networks:
        for key in (network.bridge, network.cidr):
            labels.setdefault(key, []).append(network.label)
    return Intent(
        translations=_unique(
            translation for network in section.networks for translation in _translations(section, network, source)
        ),
        untranslated=_unique(kept for network in section.networks for kept in _untranslated(section, network)),
        forwarding=_unique(Forwarding(network.bridge, network.gateway) for network in section.networks),
        services=_unique(network.bridge for network in section.networks if network.dhcp),
        labels={key: ", ".join(_unique(names)) for key, names in labels.items()},
    )


def _translations(section: Section, network: Network, source: str | None) -> t.Iterator[Translation]:
    if not source:
        return
    if network.snat:
        yield Translation(network.cidr, None, source, section.public_interface)
        return
    # Another router leads out of this network; only what the operator names leaves through this host.
    for destination in section.force_snat_range:
        yield Translation(network.cidr, destination, source, None)


def _untranslated(section: Section, network: Network) -> t.Iterator[Untranslated]:
    for destination in section.dmz_cidr:
        yield Untranslated(network.cidr, destination, inside=False)
    yield Untranslated(network.cidr, network.cidr, inside=True)


_T = t.TypeVar("_T")


def _unique(facts: t.Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(facts))


def _interface(value: object, path: str) -> str:
    name = naming.interface_name(value, path)
    if not _PLAIN_INTERFACE.match(name):
        raise InputError(
            f"{path}: {name!r} cannot stand in a packet filter rule; use letters, digits and any of '_.@+-', "
            "beginning with a letter, a digit, '_' or '.', and not ending with '+'"
        )
    return name


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


def _range(value: object, path: str) -> ipaddress.IPv4Network:
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not an IPv4 range; give a string such as '10.0.0.0/24'")
    try:
        return ipaddress.IPv4Network(value)
    except ValueError:
        pass
    try:
        meant = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise InputError(f"{path}: {value!r} is not an IPv4 range; give one such as '10.0.0.0/24'") from None
    raise InputError(f"{path}: {value!r} is not the beginning of its range; did you mean '{meant}'?")


def _ranges(fields: Fields, key: str) -> tuple[str, ...]:
    return _unique(str(_range(entry, path)) for path, entry in fields.items(key))


def _network(value: object, path: str) -> Network:
    fields = Fields(value, path)
    network = Network(
        label=fields.text("label"),
        bridge=_interface(fields.required("bridge"), fields.where("bridge")),
        cidr=str(_range(fields.required("cidr"), fields.where("cidr"))),
        gateway=fields.flag("gateway"),
        dhcp=fields.flag("dhcp"),
        snat=fields.flag("snat"),
    )
    fields.done()
    if network.cidr == "0.0.0.0/0":
        raise InputError(f"{path}.cidr: '{network.cidr}' is every address there is; give the network's own range")
    return network


def _refuse_overlaps(networks: tuple[Network, ...]) -> None:
    """Sorted by first address, two ranges can only overlap where a neighbour does."""
    spans = sorted(
        (int(span.network_address), int(span.broadcast_address), index)
        for index, span in enumerate(ipaddress.IPv4Network(network.cidr) for network in networks)
    )
    previous_end, previous_index = -1, -1
    for start, end, index in spans:
        if start <= previous_end:
            earlier, later = sorted((previous_index, index))
            one, two = networks[later], networks[earlier]
            raise InputError(
                f"{PATH}.networks[{later}].cidr: network {one.label!r} {one.cidr} overlaps network "
                f"{two.label!r} {two.cidr}; give each network a range of its own"
            )
        previous_end, previous_index = end, index


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


def _refuse_missing_public_interface(networks: tuple[Network, ...]) -> None:
    for index, network in enumerate(networks):
        if network.snat:
            raise InputError(
                f"{PATH}.public_interface: network {network.label!r} ({PATH}.networks[{index}]) asks for SNAT, which "
                "needs the interface that leads outwards; set nova_public_interface, or set nova_routing_source_ip "
                "to '' for no SNAT"
            )
