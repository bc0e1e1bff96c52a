# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host plan says of floating IPs: whom they lead to, as a whole or by ports, and where they are bound.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .declaration import Host
from .errors import InputError
from .settings import Settings
from .state import FloatingIp, PortForward


def public_interface(host: Host, row: FloatingIp) -> str:
    """The host's own, else the one of the floating IP's range."""
    interface = host.public_interface or row.interface
    if interface is None:
        raise InputError(
            f"host {host.name!r} is to have floating IP {row.address} of pool {row.pool!r}, but no interface is named "
            "for it; set nova_public_interface of the host, or the interface of its range"
        )
    return interface


def floating_ips(host: Host, places: list[tuple[FloatingIp, str]]) -> dict[str, t.Any]:
    for row, _interface in places:
        if row.address == host.routing_source_ip:
            raise InputError(
                f"host {host.name!r}: {row.address} is its nova_routing_source_ip or nova_my_ip, but also a floating "
                f"IP that leads to {row.fixed_address}, and all that comes for the host would go there; "
                "take another address for one of the two"
            )
    entries = [
        {"address": row.address, "fixed_address": row.fixed_address, "interface": interface}
        for row, interface in places
    ]
    return {"floating_ips": entries} if entries else {}


def port_forwards(host: Host, forwards: list[PortForward]) -> dict[str, t.Any]:
    for row in forwards:
        if row.address == host.routing_source_ip:
            raise InputError(
                f"host {host.name!r}: {row.address} is its nova_routing_source_ip or nova_my_ip, but also a floating "
                "IP with port forwards, and would go with these; take another address for one of the two"
            )
    entries = [
        {
            "address": row.address,
            "protocol": row.protocol,
            "ports": str(row.from_port) if row.from_port == row.to_port else f"{row.from_port}:{row.to_port}",
            "fixed_address": row.fixed_address,
            "fixed_port": row.fixed_port,
        }
        for row in forwards
    ]
    return {"port_forwards": entries} if entries else {}


def floating_addresses(places: list[tuple[FloatingIp, str]], settings: Settings) -> dict[str, t.Any]:
    if not places:
        return {}
    section: dict[str, t.Any] = {
        "addresses": [{"address": row.address, "interface": interface} for row, interface in places]
    }
    if settings.send_arp_for_ha:
        section["send_arp"] = settings.send_arp_for_ha_count
    return {"floating_addresses": section}
