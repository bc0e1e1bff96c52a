# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of a site as the store knows them: each NIC with its address, its bridge and its way out.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import address_pairs, addressing, naming
from .address_pairs import Pair
from .projects import DEFAULT_GROUP, order
from .state import Instance, Network, State


class Guest(t.NamedTuple):
    """One NIC of an instance. `device` is its port's name on the host; addresses as text, without prefix length.

    An address or gateway of a version that the network has not is None. `groups` are the security groups.
    """

    instance: Instance
    network: Network
    mac: str
    device: str
    address: str | None
    address_v6: str | None
    gateway: str | None
    groups: tuple[str, ...]
    allowed_address_pairs: tuple[Pair, ...]

    def port(self) -> dict[str, t.Any]:
        """What somebody who provisions the guest has to know, as plans and inventories say it."""
        network = self.network
        return {
            "network": network.label,
            "device": self.device,
            "bridge": network.bridge,
            "mac": self.mac,
            "address": _with_prefix(self.address, network.cidr),
            "gateway": self.gateway,
            "address_v6": _with_prefix(self.address_v6, network.cidr_v6),
            "gateway_v6": host_gateway_v6(self.instance.host, network),
            "dns": [server for server in (network.dns1, network.dns2) if server is not None],
            "vlan": network.vlan,
            "mtu": network.mtu,
        }

    def filtered(self, dhcp_server: str | None) -> dict[str, t.Any]:
        """What the guest may send, and the DHCPv4 server that it may hear, as a port of the plan's `port_filter`."""
        return {
            "name": self.device,
            "mac": self.mac,
            "addresses": self.addresses,
            "allowed_address_pairs": self.pairs(),
            "dhcp_servers": [] if dhcp_server is None else [dhcp_server],
        }

    def pairs(self) -> list[dict[str, t.Any]]:
        """The allowed address pairs, as plans and modules say them."""
        return [pair._asdict() for pair in self.allowed_address_pairs]

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.address, self.address_v6) if address is not None]

    @property
    def first_address(self) -> str:
        return t.cast(str, self.address or self.address_v6)


def _with_prefix(address: str | None, cidr: str | None) -> str | None:
    return None if address is None or cidr is None else f"{address}/{cidr.partition('/')[2]}"


def host_gateways(state: State) -> dict[tuple[str, str], str]:
    """The address that a host has as its own gateway in a multi_host network, by host and network."""
    return {(row.host, row.network): row.address for row in state.fixed_ips.values() if row.host is not None}


def host_gateway_v6(host: str, network: Network) -> str | None:
    """The IPv6 address of the gateway on this host: the network's; in multi_host the host's own, made of its name.

    Hosts of a multi_host network cannot share the address, since each looks whether another one has it.
    """
    if not network.multi_host or network.range_v6 is None:
        return network.gateway_v6
    return addressing.stable_address_v6(network.range_v6, f"{host}/{network.label}")


def guests(state: State) -> list[Guest]:
    """Every NIC, those of an instance in the order of its networks. In multi_host the way out is the guest's own "
    "host."""
    gateways = host_gateways(state)
    address_of = {
        (row.instance, row.network, row.version): row.address
        for row in state.fixed_ips.values()
        if row.instance is not None
    }
    groups: dict[str, list[str]] = {}
    for membership in state.memberships.values():
        groups.setdefault(membership.instance, []).append(membership.security_group)
    place = {network.label: index for index, network in enumerate(sorted(state.networks.values(), key=order))}
    found = []
    for vif in sorted(state.vifs.values(), key=lambda vif: (vif.instance, place[vif.network])):
        instance = state.instances[vif.instance]
        network = state.networks[vif.network]
        found.append(
            Guest(
                instance,
                network,
                vif.mac,
                naming.tap_name(vif.id),
                address_of.get((vif.instance, vif.network, 4)),
                address_of.get((vif.instance, vif.network, 6)),
                gateways.get((instance.host, network.label), network.gateway),
                tuple(groups.get(vif.instance, (DEFAULT_GROUP,))),
                address_pairs.parse(vif.allowed_address_pairs),
            )
        )
    return found
