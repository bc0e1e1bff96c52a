# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bridge with another MAC address than its uplink, on a kernel that has all that this needs (`act_skbedit`).

tests/kernel/test_brouting.py has the usual bridge, with guests, and what is said where a kernel lacks it.
"""

from __future__ import annotations

import json
import os
import shutil

import pytest
from lab.topology import parse

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("linux.uml"), reason="needs user-mode-linux"),
]

WIRE = """
ip netns add guest
ip link add uplink type veth peer name eth0 netns guest
ip link add br100 address 02:00:00:00:00:99 type bridge forward_delay 0
ip link set uplink master br100 up
ip link set br100 up
ip addr add 10.0.0.1/24 dev br100
ip addr add fd00::1/64 dev br100 nodad
ip -n guest addr add 10.0.0.2/24 dev eth0
ip -n guest addr add fd00::2/64 dev eth0 nodad
ip -n guest link set eth0 up
"""
#: Twice, as there is nothing left to do then.
APPLY = """
import json, sys
sys.path.insert(0, "/usr/local/lib/novalab/python")
from ansible_collections.tenantnet.nova.plugins.module_utils._core.brouting import Way
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import brouting
ways = {"uplink": Way("br100", (4, 6))} if sys.argv[1] == "on" else {}
done = [brouting.apply(ways), brouting.apply(ways)]
print(json.dumps([[len(one.changes), one.lacking] for one in done]))
"""
ASK = "for each in 10.0.0.1 fd00::1; do ip netns exec guest ping -qc 1 -W 3 $each >/dev/null && echo $each; done; true"


def test_what_is_for_the_bridge_is_the_hosts_whatever_the_uplinks_address(lab_factory) -> None:
    host = lab_factory(parse({"hosts": {"node1": "uml"}})).host("node1")
    host.run(["sh", "-ec", WIRE])

    def apply(how: str) -> list:
        return json.loads(host.run(["python3", "-c", APPLY, how]).stdout)

    def heard() -> list[str]:
        return host.run(["sh", "-c", ASK]).stdout.split()

    assert apply("on") == [[1, {}], [0, {}]]
    assert heard() == ["10.0.0.1", "fd00::1"]
    shown = host.run(["tc", "-statistics", "filter", "show", "dev", "uplink", "ingress"]).stdout
    assert shown.count("skbedit  ptype host") == shown.count("mirred (Ingress Redirect to device br100)") == 2
    assert "Sent 0 bytes" not in shown
    assert apply("off") == [[1, {}], [0, {}]]
    assert "clsact" not in host.run(["tc", "qdisc", "show", "dev", "uplink"]).stdout
    assert heard() == ["10.0.0.1", "fd00::1"]
