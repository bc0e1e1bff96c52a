# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which addresses lead to guests of other hosts, and which uplinks that concerns."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import brouting
from ansible_collections.tenantnet.nova.plugins.module_utils._core.brouting import Change, Led, Way

NETWORKS = [
    {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "cidr_v6": "fd00::/64", "uplinks": ["eth1", "eth5"]},
    {"label": "red", "bridge": "br101", "cidr": "10.0.1.0/24", "uplinks": ["vlan7"]},
    {"label": "old", "bridge": "br102", "cidr": None, "cidr_v6": "fd00:0:0:1::/64"},
]


def rules(*leading: tuple[str, str], own: tuple[str, ...] = (), **more):
    floating = [{"address": one, "fixed_address": two} for one, two in leading]
    return {"networks": NETWORKS, "floating_ips": floating, "instances": [{"address": each} for each in own], **more}


@pytest.mark.parametrize(
    ("plan", "led", "ways"),
    [
        ({"networks": []}, [], {}),
        (rules(), [], {}),
        (rules(("192.0.2.7", "10.0.0.3"), own=("10.0.0.3",)), [], {}),
        (
            rules(("192.0.2.7", "10.0.0.3"), ("192.0.2.8", "10.0.0.4"), own=("10.0.0.3",)),
            [Led("192.0.2.8", 4, "br100")],
            {"eth1": Way("br100", (4,)), "eth5": Way("br100", (4,))},
        ),
        (
            rules(("2001:db8::7", "fd00::3"), ("192.0.2.10", "10.0.0.0"), ("192.0.2.9", "10.0.1.255")),
            [Led("2001:db8::7", 6, "br100"), Led("192.0.2.10", 4, "br100"), Led("192.0.2.9", 4, "br101")],
            {"eth1": Way("br100", (4, 6)), "eth5": Way("br100", (4, 6)), "vlan7": Way("br101", (4,))},
        ),
        # Of a network without uplinks, of none, and of one that the entry itself names.
        (rules(("2001:db8::7", "fd00:0:0:1::3")), [Led("2001:db8::7", 6, "br102")], {}),
        (rules(("192.0.2.7", "10.0.2.1")), [Led("192.0.2.7", 4, None)], {}),
        (rules(("192.0.2.7", "9.255.255.255")), [Led("192.0.2.7", 4, None)], {}),
        (
            {
                "networks": NETWORKS,
                "floating_ips": [{"address": "192.0.2.7", "fixed_address": "10.9.0.1", "bridge": "br101"}],
            },
            [Led("192.0.2.7", 4, "br101")],
            {"vlan7": Way("br101", (4,))},
        ),
        # Many ports of one address are one.
        (
            rules(port_forwards=[{"address": "192.0.2.7", "fixed_address": "10.0.1.3"}] * 2),
            [Led("192.0.2.7", 4, "br101")],
            {"vlan7": Way("br101", (4,))},
        ),
    ],
)
def test_who_is_led_where(plan, led, ways):
    found = brouting.led_elsewhere(plan)
    assert found == led
    assert brouting.ways(plan, found) == ways


def test_what_is_told():
    added = Change("eth1", "br100", (4,), (4, 6))
    assert added.action() == (
        "bridge br100: route IPv4 and IPv6 that comes by eth1 for this host itself before bridging it"
    )
    gone = Change("eth1", None, (4,), ())
    assert gone.action() == "bridge again what comes by eth1 for this host itself"
    assert brouting.diff([gone])["before"] == "eth1: IPv4 for this host itself is routed\n"
    assert brouting.diff([gone])["after"] == ""
