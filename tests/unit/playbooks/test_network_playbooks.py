# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of networks, projects and VPN endpoints as an operator runs them, with options under nova's names."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Done(t.NamedTuple):
    """What is on the screen, and how many tasks changed or failed."""

    lines: list[str]
    changed: int
    failed: int


class Controller:
    """An inventory with the options of a site, and a store of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.store = folder / "nova.sqlite"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "nova_state_url": f"sqlite:///{self.store}",
            "nova_flat_network_bridge": "br100",
            "nova_vlan_start": 200,
            "nova_vpn_ip": "192.0.2.1",
            "nova_quota_networks": 2,
        }
        hosts = {"network_controller": {"hosts": {"controller": {}}}, "others": {"hosts": {"away": {}}}}
        self._inventory = folder / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"vars": variables, "children": hosts}}))

    def run(self, playbook: str, *options: str, check: bool = False) -> Done:
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        words = [word for option in options for word in ("-e", option)] + ["--check"] * check
        done = subprocess.run(
            [program, "-i", self._inventory, f"tenantnet.nova.{playbook}", *words],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        recap = re.search(r"^controller +: .*changed=(\d+).*failed=(\d+)", done.stdout, re.MULTILINE)
        assert recap, done.stdout + done.stderr
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        return Done(lines, int(recap[1]), int(recap[2]))


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path)


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
    done = controller.run(playbook, *options)
    assert (done.changed, done.failed) == (0, 1)
    assert message in " ".join(done.lines).replace("''", "'")
    assert not controller.store.exists()
