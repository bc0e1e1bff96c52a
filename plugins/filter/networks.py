# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters on networks and addresses: the collection's own arithmetic under Jinja names."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, carving, fields, naming
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, NovaError

GREATEST_VLAN = 4094
GREATEST_COUNT = 1 << 24


def carve(value: t.Any, num_networks: t.Any = 1, network_size: t.Any = None, used: t.Any = ()) -> list[str]:
    """The networks that `network create` would carve out of a range."""
    number = fields.integer(num_networks, "num_networks", 1, GREATEST_COUNT)
    size = None if network_size is None else fields.integer(network_size, "network_size", 1, GREATEST_COUNT)
    taken = [addressing.network(cidr, path) for path, cidr in fields.items(used, "used")]
    return [network.cidr for network in carving.carve(addressing.network(value, "range"), number, size, taken)]


def reserved_addresses(value: t.Any, gateway: t.Any = None, dhcp_server: t.Any = None) -> list[str]:
    """The addresses of a flat DHCP network that no guest gets."""
    return [addressing.text(number) for number in sorted(_reserved(value, gateway, dhcp_server))]


def free_address(
    value: t.Any, nth: t.Any = 1, used: t.Any = (), gateway: t.Any = None, dhcp_server: t.Any = None
) -> str:
    """The nth address of a flat DHCP network that is neither reserved nor in use."""
    subnet = addressing.network(value, "range")
    count = fields.integer(nth, "nth", 1, subnet.size)
    taken = [addressing.number(addressing.address(one, path)) for path, one in fields.items(used, "used")]
    pool = addressing.Pool(subnet, _reserved(value, gateway, dhcp_server).union(taken), ())
    found = None
    for _turn in range(count):
        found = pool.take()
        if found is None:
            raise InputError(f"network {subnet.cidr} has fewer than {count} free addresses; give a larger range")
    return addressing.text(t.cast(int, found))


def vlan_name(value: t.Any) -> str:
    """Device name of a VLAN interface."""
    return naming.vlan_name(fields.integer(value, "vlan", 1, GREATEST_VLAN))


def vlan_bridge_name(value: t.Any) -> str:
    """Name of the bridge over a VLAN interface."""
    return naming.vlan_bridge_name(fields.integer(value, "vlan", 1, GREATEST_VLAN))


def _reserved(value: t.Any, gateway: t.Any, dhcp_server: t.Any) -> frozenset[int]:
    others = {"gateway": gateway, "dhcp_server": dhcp_server}
    given = [addressing.address(one, name) for name, one in others.items() if one is not None]
    return addressing.reserved(addressing.network(value, "range"), *given)


def _filter(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """The function as a filter: what is wrong with the input becomes the template's error."""

    @functools.wraps(function)
    def called(*args: t.Any, **options: t.Any) -> t.Any:
        try:
            return function(*args, **options)
        except NovaError as error:
            raise AnsibleFilterError(f"{function.__name__}: {error}") from error

    return called


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        functions = (carve, reserved_addresses, free_address, vlan_name, vlan_bridge_name)
        return {function.__name__: _filter(function) for function in functions}
