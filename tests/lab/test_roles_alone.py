# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A role used alone, beside an operator's own links or rules: its part of the plan is back after a reboot, no other."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from lab import Lab
from lab.cgroup import root as cgroup_root
from lab.host import Host
from lab.topology import parse
from nova_site import snapshot

GATEWAY = "10.0.0.1"
PORT, MAC = "tap1a2b3c4d-5e", "fa:16:3e:00:00:05"

BRIDGE: dict[str, t.Any] = {"name": "br100", "interfaces": ["eth1"], "addresses": [f"{GATEWAY}/24"], "mtu": 1450}
GUARDED = {"name": PORT, "mac": MAC, "addresses": ["10.0.0.5"], "allowed_address_pairs": [], "dhcp_servers": [GATEWAY]}
SERVER = {
    "name": "br100",
    "network": "blue",
    "interface": "br100",
    "listen_address": GATEWAY,
    "dhcp_start": "10.0.0.2",
    "netmask": "255.255.255.0",
    "range_v6": None,
    "lease_time": 600,
    "lease_max": 256,
    "domain": "novalocal",
    "servers": [],
    "config_file": None,
    "hosts": [{"mac": MAC, "hostname": "web1", "address": "10.0.0.5", "address_v6": None}],
    "options": [{"option": 3, "value": GATEWAY}],
    "names": [],
}
NETWORK = {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": True}
NO_RULES: dict[str, t.Any] = {"networks": []}

#: By host: the role that it has, and that role's variables.
ROLES: dict[str, tuple[str, dict[str, t.Any]]] = {
    "carrier": (
        "bridging_node",
        {
            "bridging_node_plan": {"bridges": [BRIDGE], "sysctl": {"net.ipv4.ip_forward": "1"}},
            "bridging_node_port_filter": {"ports": [GUARDED], "uplinks": []},
            "bridging_node_packet_filter": NO_RULES,
        },
    ),
    "server": ("addressing_node", {"addressing_node_plan": {"instances": [SERVER]}}),
    "router": (
        "routing_node",
        {
            "routing_node_plan": {"public_interface": "eth2", "routing_source_ip": None, "networks": [NETWORK]},
            "routing_node_floating_addresses": {"addresses": [{"address": "203.0.113.77", "interface": "eth2"}]},
        },
    ),
}
SECTIONS = {
    "carrier": {"links", "port_filter", "packet_filter"},
    "server": {"dnsmasq"},
    "router": {"packet_filter", "floating_addresses"},
}

#: The bridge of whoever has a role that makes none.
OPERATORS = f"""\
[Unit]
Before=tenantnet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'ip link add br100 address 02:00:00:00:00:01 type bridge; ip addr add {GATEWAY}/24 dev br100; \
ip link set br100 up'
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def lab(lab_factory, tmp_path_factory) -> Lab:
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    made = lab_factory(parse({"hosts": dict.fromkeys(ROLES, "systemd")}))
    for name in ("server", "router"):
        made.host(name).write("/etc/systemd/system/operators.service", OPERATORS)
        made.host(name).run(["systemctl", "enable", "--now", "operators.service"])
    plays = [
        {
            "hosts": name,
            "gather_facts": False,
            "tasks": [{"ansible.builtin.import_role": {"name": f"tenantnet.nova.{role}"}, "vars": variables}],
        }
        for name, (role, variables) in ROLES.items()
    ]
    playbook = pathlib.Path(tmp_path_factory.mktemp("alone")) / "alone.yml"
    playbook.write_text(yaml.safe_dump(plays))
    made.playbook(playbook)
    return made


def state(lab: Lab, name: str) -> dict[str, t.Any]:
    """What the host has of links, rules, files and processes, and which guests' ports are guarded."""
    guarded = lab.host(name).run(["sh", "-c", "nft list table bridge nova-network 2>/dev/null"], check=False).stdout
    # Handed out in the order in which the kernel met them.
    return {**snapshot(lab, name), "guarded": sorted(guarded.splitlines())}


def lease(host: Host) -> str:
    guest = host.guest_add("web1", "br100", MAC, PORT)
    return guest.dhcp(tries=10).get("ip", "")


@pytest.mark.parametrize("name", list(ROLES))
def test_after_a_reboot_the_roles_part_is_back(lab, name: str) -> None:
    host, before = lab.host(name), state(lab, name)
    kept = json.loads(host.read("/var/lib/tenantnet/plan.json"))
    assert SECTIONS[name] <= kept.keys() and not (kept.keys() & set().union(*SECTIONS.values())) - SECTIONS[name]
    host.kill()
    host.boot()
    journal = host.run(["journalctl", "--unit=tenantnet.service", "--output=cat", "--no-pager"]).stdout
    assert state(lab, name) == before, journal
    if name == "carrier":
        assert before["forward"] == "1\n" and "br100" in repr(before["links"]) and PORT in repr(before["guarded"])
    elif name == "server":
        assert len(before["dnsmasq"]) == 1 and not before["guarded"]
        assert lease(host) == "10.0.0.5"
    else:
        assert "nova-network-snat" in repr(before["rules"]) and "203.0.113.77/32" in repr(before["links"])
