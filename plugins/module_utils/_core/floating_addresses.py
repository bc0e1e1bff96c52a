# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which floating addresses a host has on its interfaces: the plan's section, and what differs from the kernel's.

An address of ours is a /32 whose label ends as `MARK` says, or a /128 whose metric is `METRIC_V6`, since an IPv6
address has no label: the kernel keeps either, and every tool shows it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import naming
from .addressing import of_a_host
from .errors import HostError, InputError
from .fields import Fields

PATH = "floating_addresses"

#: The end of the label of an address of ours. A label begins with the interface's name, as far as that fits.
MARK = ":nova"

#: The metric of an IPv6 address of ours: "nova". It has no route of its own that the metric could matter to.
METRIC_V6 = 0x6E6F7661

#: So often neighbours are told of an address at most.
GREATEST_SEND_ARP = 100

_LONGEST_LABEL = naming.INTERFACE_NAME_MAX


class Place(t.NamedTuple):
    """An address on an interface."""

    address: str
    interface: str


@dataclasses.dataclass(frozen=True)
class Section:
    """The section, checked: where each address belongs, and how often its coming is told to the neighbours."""

    places: tuple[Place, ...]
    send_arp: int


@dataclasses.dataclass(frozen=True)
class State:
    """What the kernel has: the names of the interfaces, and the addresses, each with whether it is ours."""

    interfaces: frozenset[str]
    places: t.Mapping[Place, bool]


@dataclasses.dataclass(frozen=True)
class Difference:
    bind: tuple[Place, ...]
    unbind: tuple[Place, ...]

    def __bool__(self) -> bool:
        return bool(self.bind or self.unbind)

    def actions(self) -> list[str]:
        return [
            *(f"bind {place.address} to {place.interface}" for place in self.bind),
            *(f"unbind {place.address} from {place.interface}" for place in self.unbind),
        ]

    def diff(self) -> dict[str, str]:
        return {
            "before_header": "floating addresses",
            "after_header": "floating addresses",
            "before": _lines(self.unbind),
            "after": _lines(self.bind),
        }


def _lines(places: t.Iterable[Place]) -> str:
    return "".join(f"{place.interface} {place.address}\n" for place in places)


def label(interface: str) -> str:
    """The label of our addresses on the interface."""
    return interface[: _LONGEST_LABEL - len(MARK)] + MARK


def parse(section: object) -> Section:
    """Check the whole section; InputError names the first value that breaks a rule by its path."""
    fields = Fields(section, PATH)
    places: dict[str, Place] = {}
    fields.required("addresses")
    for path, value in fields.items("addresses"):
        entry = Fields(value, path)
        place = Place(
            entry.any_address("address"), naming.interface_name(entry.required("interface"), f"{path}.interface")
        )
        entry.done()
        if not of_a_host(place.address):
            raise InputError(f"{path}.address: {place.address!r} is not an address that a host can have")
        if place.address in places:
            raise InputError(
                f"{path}.address: {place.address!r} is already on {places[place.address].interface}; "
                "an address belongs on one interface"
            )
        places[place.address] = place
    send_arp = fields.integer("send_arp", 0, 0, GREATEST_SEND_ARP)
    fields.done()
    return Section(tuple(places.values()), send_arp)


def compare(want: Section, have: State, only_unbind: bool = False) -> Difference:
    """What is to come and to go; what is there but not marked as ours is left as it is.

    HostError where an interface is missing.
    """
    wanted = set(want.places)
    unbind = tuple(place for place, ours in have.places.items() if ours and place not in wanted)
    if only_unbind:
        return Difference((), unbind)
    bind = tuple(place for place in want.places if place not in have.places)
    for place in bind:
        if place.interface not in have.interfaces:
            raise HostError(
                f"cannot bind the floating IP {place.address}: this host has no interface {place.interface!r}; correct "
                "nova_public_interface or the interface of its pool. Nothing was changed"
            )
    return Difference(bind, unbind)
