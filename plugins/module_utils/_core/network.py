# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deriving a network's fields as its manager did. Private to the collection; may change at any time."""

from __future__ import annotations

import typing as t

from . import addressing
from .declaration import DeclaredNetwork, Host, Settings
from .errors import InputError
from .state import Network


def derive(declared: DeclaredNetwork, existing: Network | None, settings: Settings, hosts: dict[str, Host]) -> Network:
    """The network with every field filled in; `existing` is what the store has under this label."""
    own = own_addresses(declared.range, declared.gateway, declared.dhcp_server)
    return Network(
        label=declared.label,
        manager=declared.manager,
        cidr=declared.range.cidr,
        gateway=own.gateway,
        dhcp_server=own.dhcp_server,
        dhcp_start=own.dhcp_start,
        bridge=declared.bridge,
        bridge_interface=declared.bridge_interface,
        dns1=declared.dns1,
        dns2=declared.dns2,
        mtu=declared.mtu,
        multi_host=declared.multi_host,
        host=None if declared.multi_host else _network_host(declared, existing, settings, hosts),
        project=declared.project,
    )


class OwnAddresses(t.NamedTuple):
    gateway: str
    dhcp_server: str
    dhcp_start: str


def own_addresses(subnet: addressing.Range, gateway: str | None, dhcp_server: str | None) -> OwnAddresses:
    """The addresses that a network itself has, from those that were asked for."""
    cursor = subnet.first + 1
    if gateway is None:
        gateway = addressing.text(cursor)
        cursor += 1
    dhcp_server = dhcp_server or gateway
    if cursor == addressing.number(dhcp_server):
        cursor += 1
    return OwnAddresses(gateway, dhcp_server, addressing.text(cursor))


def reserved(network: Network) -> frozenset[int]:
    """The addresses of the network that no guest and no further host gets."""
    return addressing.reserved(network.range, network.gateway, network.dhcp_server)


def _network_host(
    declared: DeclaredNetwork, existing: Network | None, settings: Settings, hosts: dict[str, Host]
) -> str:
    """The one host that serves a single-host network: as asked for, else as before, else the first that can."""
    asked = declared.host or settings.network_host
    if asked is not None:
        return asked
    able = [host.name for host in hosts.values() if {"addressing", "routing"} <= set(host.nodes)]
    if existing is not None and existing.host in able:
        return existing.host
    if not able:
        raise InputError(
            f"{declared.path}: no host is both an addressing and a routing node, so nobody can serve the network; "
            "put a host into both groups, name one as host, or set multi_host"
        )
    return able[0]
