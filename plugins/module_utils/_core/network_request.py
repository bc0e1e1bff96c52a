# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `network create` is asked for, by the inventory or by command, read from untyped fields into checked values.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t
import uuid

from . import addressing, carving, settings
from .addressing import Range
from .errors import InputError
from .fields import Fields, text
from .settings import GREATEST_COUNT, GREATEST_MTU, GREATEST_PORT, GREATEST_VLAN, LEAST_MTU, Settings

#: The smallest MTU that IPv6 allows (RFC 8200).
LEAST_MTU_V6 = 1280

#: Addresses below the first guest: the network's own and its gateway, in VLAN mode the VPN's too.
BOTTOM = {"flat": 2, "flatdhcp": 2, "vlan": 3}

GREATEST_PRIORITY = 1 << 31

#: What holds for one network alone, so it cannot be given to several.
_OF_ONE = ("gateway", "gateway_v6", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end", "fixed_cidr", "uuid")
_OF_VLAN = ("vlan", "vlan_start", "vpn_start")


class NetworkRequest(t.NamedTuple):
    """One or several networks as asked for; None where a field is to be derived. `reserved` are first and last "
    "numbers."""

    path: str
    label: str
    manager: str
    range: Range | None
    range_v6: Range | None
    num_networks: int
    network_size: int | None
    uuid: str | None
    vlan: int | None
    vlan_start: int
    vpn_start: int
    bridge: str | None
    bridge_interface: str | None
    gateway: str | None
    gateway_v6: str | None
    dhcp_server: str | None
    dhcp_start: str | None
    allowed_start: str | None
    allowed_end: str | None
    fixed_cidr: Range | None
    dns1: str | None
    dns2: str | None
    mtu: int | None
    multi_host: bool
    host: str | None
    priority: int | None
    project: str | None
    reserved: tuple[tuple[int, int, int], ...]

    @property
    def labels(self) -> list[str]:
        """The labels of its networks, in order."""
        if self.num_networks == 1:
            return [self.label]
        return [f"{self.label}_{index}" for index in range(self.num_networks)]


def read(fields: Fields, site: Settings) -> NetworkRequest:
    """Everything that can be refused without looking at the store is refused here."""
    label = fields.text("label")
    fields.path = f"{fields.path} ({label})" if fields.path else f"network {label!r}"
    given = fields.optional_text("manager")
    manager = site.network_manager if given is None else settings.manager(given, fields.where("manager"))
    several = fields.integer("num_networks", 1, 1, GREATEST_COUNT)
    _check_combination(fields, manager, several)
    start, end, part = _allowed(fields, manager, site)
    request = NetworkRequest(
        path=fields.path,
        label=label,
        manager=manager,
        range=fields.optional_network("fixed_range"),
        range_v6=fields.optional_network_v6("fixed_range_v6"),
        num_networks=several,
        network_size=fields.optional_integer("network_size", 1, GREATEST_COUNT) or _size(site, manager, several),
        uuid=_uuid(fields),
        vlan=fields.optional_integer("vlan", 1, GREATEST_VLAN),
        vlan_start=fields.integer("vlan_start", site.vlan_start, 1, GREATEST_VLAN),
        vpn_start=fields.integer("vpn_start", site.vpn_start, 1, GREATEST_PORT),
        bridge=fields.optional_interface("bridge") or (None if manager == "vlan" else site.flat_network_bridge),
        bridge_interface=fields.optional_interface("bridge_interface"),
        gateway=fields.optional_address("gateway"),
        gateway_v6=fields.optional_address_v6("gateway_v6"),
        dhcp_server=fields.optional_address("dhcp_server"),
        dhcp_start=fields.optional_address("dhcp_start"),
        allowed_start=start,
        allowed_end=end,
        fixed_cidr=part,
        dns1=fields.optional_address("dns1") or site.flat_network_dns,
        dns2=fields.optional_address("dns2"),
        mtu=fields.optional_integer("mtu", LEAST_MTU, GREATEST_MTU) or site.network_device_mtu,
        multi_host=fields.boolean("multi_host", site.multi_host),
        host=fields.optional_text("host"),
        priority=fields.optional_integer("priority", 0, GREATEST_PRIORITY),
        project=fields.optional_text("project"),
        reserved=tuple(addressing.span(value, path) for path, value in fields.items("reserved")),
    )
    fields.done()
    text(request.labels[-1], fields.where("label"))
    _check(request)
    return request


def _size(site: Settings, manager: str, several: int) -> int | None:
    """nova's own size is for what is cut up; a network asked for alone takes its range."""
    return site.network_size if several > 1 or manager == "vlan" else None


def _check_combination(fields: Fields, manager: str, several: int) -> None:
    if several > 1:
        for name in _OF_ONE:
            if fields.raw(name) is not None:
                raise InputError(
                    f"{fields.where(name)}: it cannot hold for {several} networks at once; create that network alone"
                )
        if fields.raw("vlan") is not None:
            raise InputError(
                f"{fields.where('vlan')}: {several} networks cannot have one VLAN; give vlan_start, from which each "
                "takes the next free one"
            )
    if manager == "vlan":
        if fields.raw("bridge") is not None:
            raise InputError(
                f"{fields.where('bridge')}: the bridge of a VLAN network is named br and its VLAN; leave it out"
            )
    else:
        for name in _OF_VLAN:
            if fields.raw(name) is not None:
                raise InputError(f"{fields.where(name)}: a {manager} network has no VLAN and no VPN; leave it out")


def _allowed(fields: Fields, manager: str, site: Settings) -> tuple[str | None, str | None, Range | None]:
    """The ends of the guests' addresses, or the part of the range that they are in."""
    start, end = fields.optional_address("allowed_start"), fields.optional_address("allowed_end")
    part = fields.optional_network("fixed_cidr")
    if part is None:
        return start, end, None
    if start or end:
        raise InputError(f"{fields.where('fixed_cidr')}: give it, or allowed_start and allowed_end, but not both")
    first, last = guests_of(part, manager, site.cnt_vpn_clients)
    if first > last:
        raise InputError(f"{fields.where('fixed_cidr')}: {part.cidr} leaves no address for a guest; give a larger part")
    whole = fields.optional_network("fixed_range")
    if whole is not None and (part.first not in whole or part.last not in whole):
        raise InputError(f"{fields.where('fixed_cidr')}: {part.cidr} lies outside the network's range {whole.cidr}")
    return None, None, part


def guests_of(subnet: Range, manager: str, vpn_clients: int) -> tuple[int, int]:
    """The first and the last address for guests in a subnet; in VLAN mode VPN clients are kept room below the "
    "broadcast."""
    return subnet.first + BOTTOM[manager], subnet.last - 1 - (vpn_clients if manager == "vlan" else 0)


def _uuid(fields: Fields) -> str | None:
    value = fields.optional_text("uuid")
    try:
        return None if value is None else str(uuid.UUID(value))
    except ValueError:
        raise InputError(f"{fields.where('uuid')}: {value!r} is not a UUID") from None


def _check(request: NetworkRequest) -> None:
    if request.range is None and request.range_v6 is None:
        raise InputError(f"{request.path}.fixed_range is required, or fixed_range_v6 for a network of IPv6 alone")
    if request.bridge is None and request.manager != "vlan":
        raise InputError(f"{request.path}.bridge is required: name it here or as nova_flat_network_bridge")
    if request.multi_host and request.host is not None:
        raise InputError(f"{request.path}.host: a multi_host network is served by every host; leave out one of the two")
    for span in request.reserved:
        _check_reserved(request, span)
    _check_v4(request)
    _check_v6(request)


def _check_reserved(request: NetworkRequest, span: tuple[int, int, int]) -> None:
    first, last, version = span
    whole = request.range if version == 4 else request.range_v6
    if whole is None or first not in whole or last not in whole:
        shown = addressing.text(first) if version == 4 else addressing.text_v6(first)
        raise InputError(f"{request.path}.reserved: {shown} lies outside the network")
    if last - first >= 1 << 16:
        raise InputError(
            f"{request.path}.reserved: more than 65536 addresses at once; use allowed_start and allowed_end"
        )


def _check_v4(request: NetworkRequest) -> None:
    subnet = request.range
    if subnet is None:
        for name in ("network_size", "gateway", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end"):
            if getattr(request, name) is not None and name != "network_size":
                raise InputError(f"{request.path}.{name}: a network without fixed_range has no IPv4 addresses")
        return
    prefix = carving.prefix_of(subnet, request.num_networks, request.network_size)
    if prefix > addressing.SMALLEST_PREFIX:
        raise InputError(
            f"{request.path}: range {subnet.cidr} is too small; a network needs at least "
            f"4 addresses (/{addressing.SMALLEST_PREFIX}): its own, a gateway, a guest and the broadcast"
        )
    whole = subnet if prefix == subnet.prefix else None
    for name in ("gateway", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end"):
        value = getattr(request, name)
        if value is None:
            continue
        if addressing.number(value) not in subnet:
            raise InputError(f"{request.path}.{name}: {value} lies outside the network's range {subnet.cidr}")
        if whole and addressing.number(value) in (subnet.first, subnet.last):
            raise InputError(
                f"{request.path}.{name}: {value} is the network or broadcast address of {subnet.cidr}; "
                "choose a host address"
            )


def _check_v6(request: NetworkRequest) -> None:
    subnet = request.range_v6
    if subnet is None:
        if request.gateway_v6 is not None:
            raise InputError(f"{request.path}.gateway_v6: the network has no fixed_range_v6")
        return
    if subnet.prefix > addressing.PREFIX_V6:
        raise InputError(
            f"{request.path}.fixed_range_v6: range {subnet.cidr} is too small; an IPv6 network is a "
            f"/{addressing.PREFIX_V6}"
        )
    if request.gateway_v6 is not None and addressing.number(request.gateway_v6) not in subnet:
        raise InputError(
            f"{request.path}.gateway_v6: {request.gateway_v6} lies outside the network's range {subnet.cidr}"
        )
    if request.mtu is not None and request.mtu < LEAST_MTU_V6:
        raise InputError(f"{request.path}.mtu: {request.mtu} is less than the {LEAST_MTU_V6} bytes that IPv6 needs")
