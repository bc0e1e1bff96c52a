# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters on networks and addresses: the collection's own arithmetic under Jinja names."""

from __future__ import annotations

import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    addressing,
    carving,
    fields,
    fixed_ips,
    naming,
    network,
    network_request,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core import settings as site_settings
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.settings import GREATEST_COUNT, GREATEST_VLAN
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import Network
from ansible_collections.tenantnet.nova.plugins.plugin_utils import _filters


def carve(value: t.Any, num_networks: t.Any = 1, network_size: t.Any = None, used: t.Any = ()) -> list[str]:
    """The networks that `network create` would carve out of a range; of IPv6, each is a /64."""
    number = fields.integer(num_networks, "num_networks", 1, GREATEST_COUNT)
    whole = addressing.any_network(value, "range")
    known = [addressing.any_network(cidr, path) for path, cidr in fields.items(used, "used")]
    taken = carving.Taken(each for each in known if each.version == whole.version)
    if whole.version == 6:
        if network_size is not None:
            raise InputError(f"network_size {network_size}: an IPv6 network is a /{addressing.PREFIX_V6}; leave it out")
        return [network.cidr for network in carving.carve_v6(whole, number, taken)]
    size = None if network_size is None else fields.integer(network_size, "network_size", 1, GREATEST_COUNT)
    return [network.cidr for network in carving.carve(whole, number, size, taken)]


def network_fields(value: t.Any, settings: t.Any = None) -> list[dict[str, t.Any]]:
    """The fields of the networks that `network create` would make of a request, where nothing else is there."""
    site = fields.Fields({} if settings is None else settings, "")
    read = site_settings.read(site)
    request = network_request.read(fields.Fields(value, ""), read)
    made = network.create(request, read, network.Taken(()), {}, "command")
    return [each._asdict() for each in made]


def reserved_addresses(
    value: t.Any,
    gateway: t.Any = None,
    dhcp_server: t.Any = None,
    manager: t.Any = "flatdhcp",
    cnt_vpn_clients: t.Any = 0,
) -> list[str]:
    """The addresses of a network that no guest gets: outside the guests' range, or the network's own."""
    made = _network(value, gateway, dhcp_server, manager, cnt_vpn_clients)
    first, last = network.allowed(made)
    own = network.own_numbers(made)
    subnet = t.cast(addressing.Range, made.range)
    outside = {*range(subnet.first, first), *range(last + 1, subnet.last + 1)}
    return [addressing.text(number) for number in sorted(outside | own)]


def free_address(
    value: t.Any,
    nth: t.Any = 1,
    used: t.Any = (),
    gateway: t.Any = None,
    dhcp_server: t.Any = None,
    manager: t.Any = "flatdhcp",
    cnt_vpn_clients: t.Any = 0,
) -> str:
    """The nth address of a network that is neither reserved nor in use."""
    made = _network(value, gateway, dhcp_server, manager, cnt_vpn_clients)
    first, last = network.allowed(made)
    count = fields.integer(nth, "nth", 1, GREATEST_COUNT)
    taken = {addressing.number(addressing.address(one, path)) for path, one in fields.items(used, "used")}
    parts = fixed_ips.subtract(first, last, [(number, number) for number in taken | network.own_numbers(made)])
    for low, high in parts:
        if count <= high - low + 1:
            return addressing.text(low + count - 1)
        count -= high - low + 1
    raise InputError(f"network {made.cidr} has fewer than {nth} free addresses; give a larger range")


def _network(value: t.Any, gateway: t.Any, dhcp_server: t.Any, manager: t.Any, cnt_vpn_clients: t.Any) -> Network:
    read = site_settings.read(fields.Fields({"nova_cnt_vpn_clients": cnt_vpn_clients}, ""))
    asked = {"label": "range", "manager": manager, "gateway": gateway, "dhcp_server": dhcp_server}
    bridge = {} if site_settings.manager(str(manager), "manager") == "vlan" else {"bridge": "br100"}
    subnet = addressing.network(value, "range").cidr
    request = network_request.read(fields.Fields({**asked, **bridge, "fixed_range": subnet}, ""), read)
    return network.create(request, read, network.Taken(()), {}, "command")[0]


def vlan_name(value: t.Any) -> str:
    """Device name of a VLAN interface."""
    return naming.vlan_name(fields.integer(value, "vlan", 1, GREATEST_VLAN))


def vlan_bridge_name(value: t.Any) -> str:
    """Name of the bridge over a VLAN interface."""
    return naming.vlan_bridge_name(fields.integer(value, "vlan", 1, GREATEST_VLAN))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return _filters.filters(carve, network_fields, reserved_addresses, free_address, vlan_name, vlan_bridge_name)
