# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of fixed IPs, floating IPs, instances and leases as an operator runs them, options as key=value."""

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
    """What is on the screen, and how many of the controller's tasks changed or failed."""

    lines: list[str]
    changed: int
    failed: int

    def after(self, header: str) -> list[list[str]]:
        """The words of the lines of a table."""
        place = next(index for index, line in enumerate(self.lines) if line.split() == header.split())
        rows = self.lines[place + 1 :]
        return [line.split() for line in rows[: rows.index("")]]


class Controller:
    """An inventory with the options of a site, and a store of its own. The one addressing node is this machine."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.store = folder / "nova.sqlite"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "nova_state_url": f"sqlite:///{self.store}",
            "nova_flat_network_bridge": "br100",
            "nova_default_floating_pool": "public",
            "nova_force_dhcp_release": False,
        }
        groups = {
            "network_controller": {"hosts": {"controller": {}}},
            "addressing_nodes": {"hosts": {"net1": {}, "net2": {"ansible_connection": "ssh", "ansible_port": 1}}},
        }
        self._inventory = folder / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"vars": variables, "children": groups}}))

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


FIXED = "network IP address hostname host state"
FLOATING = "project address instance pool interface"


@pytest.mark.slow
def test_addresses_come_and_go_by_nova_s_words(controller: Controller) -> None:
    controller.run("network", "command=create", "label=blue", "fixed_range=10.0.0.0/24")
    controller.run("project", "command=create", "project=acme")

    reserve = ("command=reserve", "address=10.0.0.2,10.0.0.9", "instance=web1")
    assert controller.run("fixed", *reserve, check=True).changed == 1
    assert controller.run("fixed", *reserve).changed == 1
    assert "msg: nothing to do" in controller.run("fixed", *reserve).lines
    assert controller.run("fixed", "command=unreserve", "address=10.0.0.9").changed == 1
    assert controller.run("fixed").after(FIXED) == [["10.0.0.0/24", "10.0.0.2", "None", "None", "reserved"]]

    assert controller.run("floating", "command=create", "ip_range=198.51.100.0/29", "interface=eth2").changed == 1
    boot = ("command=create", "instance=web1", "project=acme", "host=compute1", "floating_ip=true")
    booted = controller.run("instance", *boot)
    assert booted.changed == 1
    assert any(line.endswith("address: 10.0.0.2/24") for line in booted.lines)
    assert controller.run("instance", *boot).changed == 0
    assert controller.run("fixed", "host=compute1").after(FIXED) == [
        ["10.0.0.0/24", "10.0.0.2", "web1", "compute1", "allocated"]
    ]
    ((*named, _mac, address, _address_v6, floating),) = controller.run("instance").after(
        "instance project host network mac address address_v6 floating_ips"
    )
    assert (named, address, floating) == (["web1", "acme", "compute1", "blue"], "10.0.0.2/24", "198.51.100.1")

    assert controller.run("floating", "command=allocate", "project=acme").changed == 1
    move = ("command=associate", "address=198.51.100.2", "instance=web1")
    assert controller.run("floating", *move).changed == 1
    assert controller.run("floating", "project=acme").after(FLOATING) == [
        ["acme", "198.51.100.1", "web1", "public", "eth2"],
        ["acme", "198.51.100.2", "web1", "public", "eth2"],
    ]
    assert controller.run("floating", "command=disassociate", "address=198.51.100.2").changed == 1
    assert controller.run("floating", "command=release", "address=198.51.100.1", "force=true").changed == 1
    refused = controller.run("floating", "command=delete", "ip_range=198.51.100.0/29")
    assert refused.failed == 1
    assert any("198.51.100.2 (project 'acme')" in line for line in refused.lines)
    assert controller.run("floating", "command=delete", "ip_range=198.51.100.0/29", "force=yes").changed == 1
    assert "msg: nothing to do" in controller.run("floating", "command=delete", "ip_range=198.51.100.0/29").lines
    assert any("No floating IP addresses have been defined." in line for line in controller.run("floating").lines)

    assert controller.run("fixed", "command=unreserve", "address=10.0.0.2").changed == 1
    assert controller.run("instance", "command=delete", "instance=web1").changed == 1
    # One of the two hosts cannot be reached, and the other one serves nothing.
    recorded = controller.run("leases")
    assert (recorded.changed, recorded.failed) == (0, 0)
    assert recorded.after(FIXED) == [["10.0.0.0/24", "10.0.0.2", "None", "None", "quarantined"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "options", "message"),
    [
        ("fixed", ["command=free"], "command: 'free' is none of list, reserve, unreserve"),
        ("fixed", ["command=reserve"], "which addresses? Give -e address=ADDRESS"),
        ("floating", ["command=drop"], "command: 'drop' is none of allocate, associate, create, delete, disassociate"),
        ("floating", ["command=create"], "which range? Give -e ip_range=RANGE"),
        ("floating", ["command=release"], "state is released but all of the following are missing: address"),
        ("instance", ["command=boot"], "command: 'boot' is none of create, delete, list"),
        ("instance", ["command=create"], "which instance? Give -e instance=NAME"),
        ("instance", ["command=create", "instance=web1"], "missing: project, host"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(
    playbook: str, options: list[str], message: str, controller: Controller
) -> None:
    done = controller.run(playbook, *options)
    assert (done.changed, done.failed) == (0, 1)
    assert message in " ".join(done.lines).replace("''", "'")
    assert not controller.store.exists()
