# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of a site as the store knows them: each NIC with its address, its bridge and its way out.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import naming
from .state import Instance, Network, State


class Guest(t.NamedTuple):
    """One NIC of an instance. `device` is its port's name on the host; addresses as text, without prefix length."""

    instance: Instance
    network: Network
    mac: str
    device: str
    address: str
    gateway: str

    def port(self) -> dict[str, t.Any]:
        """What somebody who provisions the guest has to know, as plans and inventories say it."""
        return {
            "network": self.network.label,
            "device": self.device,
            "bridge": self.network.bridge,
            "mac": self.mac,
            "address": f"{self.address}/{self.network.range.prefix}",
            "gateway": self.gateway,
            "mtu": self.network.mtu,
        }


def host_gateways(state: State) -> dict[tuple[str, str], str]:
    """The address that a host has as its own gateway in a multi_host network, by host and network."""
    return {(row.host, row.network): row.address for row in state.fixed_ips.values() if row.host is not None}


def guests(state: State) -> list[Guest]:
    """Every NIC, in the order of the state. In multi_host the way out is the guest's own host."""
    gateways = host_gateways(state)
    address_of = {
        (row.instance, row.network): row.address for row in state.fixed_ips.values() if row.instance is not None
    }
    found = []
    for key, vif in state.vifs.items():
        instance = state.instances[vif.instance]
        network = state.networks[vif.network]
        gateway = gateways.get((instance.host, network.label), network.gateway)
        found.append(Guest(instance, network, vif.mac, naming.tap_name(vif.id), address_of[key], gateway))
    return found
