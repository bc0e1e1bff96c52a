# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deriving a network's fields as its manager did. Private to the collection; may change at any time."""

from __future__ import annotations

from . import addressing
from .declaration import DeclaredNetwork, Host, Settings
from .errors import InputError
from .state import Network


def derive(declared: DeclaredNetwork, existing: Network | None, settings: Settings, hosts: dict[str, Host]) -> Network:
    """The network with every field filled in; `existing` is what the store has under this label."""
    subnet = declared.range
    cursor = subnet.first + 1
    gateway = declared.gateway
    if gateway is None:
        gateway = addressing.text(cursor)
        cursor += 1
    dhcp_server = declared.dhcp_server or gateway
    if cursor == addressing.number(dhcp_server):
        cursor += 1
    return Network(
        label=declared.label,
        manager=declared.manager,
        cidr=subnet.cidr,
        gateway=gateway,
        dhcp_server=dhcp_server,
        dhcp_start=addressing.text(cursor),
        bridge=declared.bridge,
        bridge_interface=declared.bridge_interface,
        dns1=declared.dns1,
        dns2=declared.dns2,
        mtu=declared.mtu,
        multi_host=declared.multi_host,
        host=None if declared.multi_host else _network_host(declared, existing, settings, hosts),
        project=declared.project,
    )


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
