# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of networks, projects and VPN endpoints as an operator runs them, with options under nova's names."""

from __future__ import annotations

import pathlib

import pytest
from a_controller import Controller


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    options = {"nova_vlan_start": 200, "nova_vpn_ip": "192.0.2.1", "nova_quota_networks": 2}
    return Controller(tmp_path, {"others": {"away": {}}}, **options)


@pytest.mark.slow
def test_networks_come_and_go_by_nova_s_words(controller: Controller) -> None:
    create = (
        "command=create", "label=blue", "fixed_range_v4=10.1.0.0/16", "num_networks=2", "network_size=256",
        "multi_host=T", "dns1=192.0.2.53",
    )  # fmt: skip
    assert controller.run("network", *create, check=True).changed == 1
    assert not controller.store.exists()
    created = controller.run("network", *create)
    assert (created.changed, created.failed) == (1, 0)
    assert any("create network blue_1 manager=flatdhcp cidr=10.1.1.0/24" in line for line in created.lines)
    assert controller.run("project", "command=create", "project=acme").changed == 1
    one = ("command=create", "label=red", "manager=vlan", "fixed_range=10.2.0.0/24", "project_id=acme", "vpn=5000")
    assert controller.run("network", *one).changed == 1

    listed = [line.split() for line in controller.run("network").lines]
    first = listed.index(["label", "IPv4", "IPv6", "start", "address", "DNS1", "DNS2", "VlanID", "project", "uuid"])
    assert [row[:-1] for row in listed[first + 1 : first + 4]] == [
        ["blue_0", "10.1.0.0/24", "None", "10.1.0.2", "192.0.2.53", "None", "None", "None"],
        ["blue_1", "10.1.1.0/24", "None", "10.1.1.2", "192.0.2.53", "None", "None", "None"],
        ["red", "10.2.0.0/24", "None", "10.2.0.3", "None", "None", "200", "acme"],
    ]
    as_json = [line for line in controller.run("network", shown_as="json").lines if "10.1." in line]
    assert [line.split()[:2] for line in as_json] == [['"blue_0', "10.1.0.0/24"], ['"blue_1', "10.1.1.0/24"]]
    vpns = controller.run("vpn").lines
    header = vpns.index("project  ip:port         private_ip  state")
    assert vpns[header + 1] == "acme     192.0.2.1:5000  10.2.0.2    None"

    modify = ("command=modify", "fixed_range=10.1.1.0/24", "project=acme", "mtu=1400")
    assert controller.run("network", *modify).changed == 1
    refused = controller.run("network", "command=delete", "label=blue_1")
    assert refused.failed == 1
    assert any("'blue_1' 10.1.1.0/24 belongs to project 'acme'; scrub the project" in line for line in refused.lines)
    assert controller.run("network", "command=modify", "label=blue_1", "disassociate_project=true").changed == 1
    delete = ("command=delete", "fixed_range=10.1.1.0/24")
    assert controller.run("network", *delete).changed == 1
    again = controller.run("network", *delete)
    assert again.changed == 0
    assert "msg: nothing to do" in again.lines


@pytest.mark.slow
def test_projects_come_and_go_by_nova_s_words(controller: Controller) -> None:
    assert controller.run("project", "command=create", "project=acme", "quota_floating_ips=-1").changed == 1
    listed = controller.run("project").lines
    header = listed.index("project  network manager  quota            limit      in use  source")
    assert listed[header + 1 : header + 4] == [
        "acme     flatdhcp         networks         2          0       site",
        "acme     flatdhcp         fixed_ips        unlimited  0       site",
        "acme     flatdhcp         floating_ips     unlimited  0       project",
    ]
    controller.run("network", "command=create", "label=red", "fixed_range=10.2.0.0/24", "project=acme")
    assert controller.run("project", "command=scrub", "project=acme").changed == 1
    assert controller.run("project", "command=delete", "project=acme").changed == 1
    assert "msg: No projects found" in controller.run("project").lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "options", "message"),
    [
        ("network", ["command=drop"], "command: 'drop' is none of create, delete, list, modify"),
        ("project", ["command=scrub"], "which project? Give -e project=NAME"),
        ("vpn", ["command=run"], "command: 'run' is not list"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(
    playbook: str, options: list[str], message: str, controller: Controller
) -> None:
    controller.refuses(playbook, options, message)
