# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the checked section means, in facts that a back end renders.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .. import addressing, guest_rules
from ..errors import InputError
from .metadata import NO_FLAT_METADATA, FlatMetadata, Metadata
from .readers import PATH
from .section import Network, Section, unique
from .ways import FloatingIp, Hairpin, PortForward


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


#: Rows whose first word is an address or a range.
_Row = t.TypeVar("_Row", FloatingIp, PortForward, Hairpin)


@dataclasses.dataclass(frozen=True)
class Intent:
    """All that a back end needs, of both versions; each list in the plan's order, without repetition."""

    translations: tuple[Translation, ...] = ()
    untranslated: tuple[Untranslated, ...] = ()
    forwarding: tuple[Forwarding, ...] = ()
    services: tuple[str, ...] = ()
    #: Those of which the networks have ranges, and of metadata.
    versions: frozenset[int] = frozenset()
    #: Of several for one fixed address and interface, the first gives the source.
    floating_ips: tuple[FloatingIp, ...] = ()
    port_forwards: tuple[PortForward, ...] = ()
    #: What was led back into the network that it came from gets the host's source there: else the answer would
    #: take the short way, and whoever asked would not know it.
    hairpins: tuple[Hairpin, ...] = ()
    metadata: Metadata | None = None
    flat_metadata: FlatMetadata = NO_FLAT_METADATA
    #: Of IPv4, and of IPv6.
    security: guest_rules.Section = guest_rules.NONE
    security_v6: guest_rules.Section = guest_rules.NONE
    #: What comes in here came from outside.
    public_interface: str | None = None
    #: Label of the network, or networks, behind a bridge or a range: for messages alone.
    labels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """No network: nothing of ours has a place on the host."""
        guests = self.security.guests or self.security_v6.guests or self.flat_metadata.here
        return not (self.forwarding or self.floating_ips or guests)

    def of_version(self, version: int) -> Intent:
        """What concerns IPv4 or IPv6: the guards are in `security`. Without addresses to share, IPv6 keeps its own."""

        def fit(rows: tuple[_Row, ...]) -> tuple[_Row, ...]:
            return tuple([row for row in rows if (":" in row[0]) == (version == 6)])

        found = dataclasses.replace(
            self,
            floating_ips=fit(self.floating_ips),
            port_forwards=fit(self.port_forwards),
            hairpins=fit(self.hairpins),
            security=self.security if version == 4 else self.security_v6,
            security_v6=guest_rules.NONE,
        )
        if version == 4:
            return found
        return dataclasses.replace(
            found, translations=(), untranslated=(), metadata=None, flat_metadata=NO_FLAT_METADATA
        )

    def sources(self) -> dict[str, dict[str, str]]:
        """For each interface outwards, the public one first, the floating IPs by which fixed addresses leave there."""
        found: dict[str, dict[str, str]] = {}
        for address, fixed, interface in self.floating_ips:
            found.setdefault(interface, {}).setdefault(fixed, address)
        return {name: found[name] for name in sorted(found, key=lambda name: (name != self.public_interface, name))}


def needs_own_address(section: Section) -> bool:
    """Whether `intent` has to be told the host's own address."""
    return section.routing_source_ip is None and any(
        network.snat or section.force_snat_range for network in section.networks if network.cidr is not None
    )


def intent(section: Section, own_address: str | None = None) -> Intent:
    """What the section means; `own_address` stands in where it names no source of translated traffic."""
    source = own_address if section.routing_source_ip is None else section.routing_source_ip
    for index, entry in enumerate(section.floating_ips):
        if entry.address == source:
            raise InputError(
                f"{PATH}.floating_ips[{index}].address: {source!r} is the host's own address (routing_source_ip), and "
                "all that comes for the host would go to the guest; take another one, or forward single ports"
            )
    labels: dict[str, list[str]] = {}
    for network in section.networks:
        for key in (network.bridge, *network.cidrs):
            labels.setdefault(key, []).append(network.label)
    return Intent(
        translations=unique(
            translation for network in section.networks for translation in _translations(section, network, source)
        ),
        untranslated=unique(kept for network in section.networks for kept in _untranslated(section, network)),
        forwarding=unique(Forwarding(network.bridge, network.gateway) for network in section.networks),
        services=unique(network.bridge for network in section.networks if network.dhcp),
        versions=frozenset(addressing.version(cidr) for network in section.networks for cidr in network.cidrs)
        | frozenset([4] if section.flat_metadata else []),
        floating_ips=section.floating_ips,
        port_forwards=section.port_forwards,
        hairpins=section.hairpins,
        metadata=section.metadata,
        flat_metadata=section.flat_metadata,
        security=guest_rules.of_version(section.security, 4),
        security_v6=guest_rules.of_version(section.security, 6),
        public_interface=section.public_interface,
        labels={key: ", ".join(unique(names)) for key, names in labels.items()},
    )


def _translations(section: Section, network: Network, source: str | None) -> t.Iterator[Translation]:
    if not source or network.cidr is None:
        return
    if network.snat:
        yield Translation(network.cidr, None, source, section.public_interface)
        return
    # Another router leads out of this network; only what the operator names leaves through this host.
    for destination in section.force_snat_range:
        yield Translation(network.cidr, destination, source, None)


def _untranslated(section: Section, network: Network) -> t.Iterator[Untranslated]:
    if network.cidr is None:
        return
    if section.metadata is not None and section.metadata.host is not None:
        # The service tells its clients apart by their addresses.
        yield Untranslated(network.cidr, f"{section.metadata.host}/32", inside=False)
    for destination in section.dmz_cidr:
        yield Untranslated(network.cidr, destination, inside=False)
    yield Untranslated(network.cidr, network.cidr, inside=True)
