# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests for metadata that pass a routing node on a bridge whose guests have another gateway."""

from __future__ import annotations

import contextlib

import pytest
from a_node import SHAPES, Site, batch
from a_router import run
from ansible_collections.tenantnet.nova.plugins.module_utils._core import allocation, declaration, plan, state
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

pytestmark = pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True)

#: The node is the gateway of one network, and carries guests of another one, whose gateway is another host.
DECLARED = {
    "settings": {"nova_metadata_port": 8775},
    "networks": [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100", "bridge_interface": "eth0", "host": "other"},
        {"label": "red", "fixed_range": "10.0.1.0/24", "bridge": "br101", "bridge_interface": "eth1", "host": "node"},
    ],
    "projects": ["acme"],
    "instances": [
        {"name": "a", "project": "acme", "host": "node", "network": "blue", "address": "10.0.0.2"},
        {"name": "c", "project": "acme", "host": "node", "network": "red", "address": "10.0.1.2"},
    ],
    "hosts": {
        name: {
            "nodes": ["bridging", "addressing", "routing"],
            "nova_public_interface": "eth2",
            "nova_routing_source_ip": source,
        }
        for name, source in (("node", "192.0.2.1"), ("other", "192.0.2.2"))
    },
}


def section():
    declared = declaration.parse(**DECLARED)
    return plan.compose(allocation.allocate(declared, state.empty(), 1000.0), declared)["node"]["packet_filter"]


def test_a_guest_asks_the_host_that_is_its_gateway(variant):
    with contextlib.ExitStack() as stack:
        site = Site(stack)
        site.lay(*SHAPES["bridged through the filter"], 4)
        # The guest b is the other host here.
        batch("addr del 10.0.0.1/24 dev br100\n")
        batch("route replace default via 10.0.0.3\n", *site.inside["a"])
        batch("addr add 169.254.169.254/32 dev lo\n", *site.inside["b"])
        run(*site.inside["b"], "sysctl", "-qw", "net.ipv4.ip_forward=1")
        site.serve("b", 80)
        site.serve("node", 8775)

        driver.apply(section(), backend=variant.backend)
        question = "tcp/169.254.169.254/80"
        assert site.ask("a", question) == ["b:80 sees 10.0.0.2"]
        assert site.ask("c", question) == ["node:8775 sees 10.0.1.2"]
