# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose kernel boots anew, with systemd as its first process: its networks are back before its guests are."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from lab.topology import parse
from nova_site import Site

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("linux.uml"), reason="needs a guest kernel (linux.uml)"),
]

# What stands for the hypervisor: its unit notes what guests would find that it starts.
GUESTS = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c '{ ip -br -4 addr; iptables-save; cat /proc/net/vlan/vlan100; } >/var/lib/guests-found'
[Install]
WantedBy=multi-user.target
"""

# As after an update of the kernel, or a card more in the machine.
RENAMING = """\
[Unit]
Before=tenantnet.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set eth1 down && ip link set eth1 name ens5'
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.timeout(600)
def test_after_a_boot_of_its_kernel_a_host_has_its_networks_before_its_guests(lab_factory, tmp_path) -> None:
    """The controller does nothing. Of two cards one has another name than it had."""
    site = Site(lab_factory(parse({"hosts": {"node1": "uml"}})), "all_in_one", tmp_path)
    site.change(
        nova_network_manager="vlan",
        nova_vlan_interface="eth1",
        nova_networks=[{"label": "nova", "fixed_range": "10.0.0.0/16", "num_networks": 2, "network_size": 256}],
        nova_instances=[{"name": "web1", "project": "acme", "host": "node1"}],
    )
    host = site.lab.host("node1")
    host.write("/etc/novalab-systemd", "")
    host.kill()
    host.boot()
    kernel = host.read("/proc/sys/kernel/random/boot_id")
    site.run()
    host.write("/etc/systemd/system/libvirtd.service", GUESTS)
    host.run(["systemctl", "enable", "libvirtd.service"])
    host.write("/etc/systemd/system/rename.service", RENAMING)
    host.run(["systemctl", "enable", "rename.service"])
    plan = json.loads(host.read("/var/lib/tenantnet/plan.json"))

    host.kill()
    host.boot()
    host.run(["systemctl", "is-system-running", "--wait"], check=False)
    assert host.read("/proc/sys/kernel/random/boot_id") != kernel
    journal = host.run(["journalctl", "--unit=tenantnet.service", "--output=cat", "--no-pager"]).stdout
    found = host.read("/var/lib/guests-found")
    assert "br100" in found and "10.0.0.1/24" in found, journal
    assert "-A nova-network-snat" in found, journal
    assert "Device: ens5" in found, journal
    assert "interface eth1 is now called ens5" in journal
    web1 = site.boot_guests({"node1": plan})["web1"]
    lease = web1.dhcp(tries=15)
    assert f"{lease['ip']}/24" == plan["instances"][0]["ports"][0]["address"]
    assert web1.ping("198.51.100.1", wait=10)
