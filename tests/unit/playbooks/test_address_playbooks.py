# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of fixed IPs, floating IPs, instances and leases as an operator runs them, options as key=value."""

from __future__ import annotations

import pathlib

import pytest
from a_controller import Controller


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    """The one addressing node that is there is this machine."""
    nodes = {"net1": {}, "net2": {"ansible_connection": "ssh", "ansible_port": 1}}
    options = {"nova_default_floating_pool": "public", "nova_force_dhcp_release": False}
    return Controller(tmp_path, {"addressing_nodes": nodes}, **options)


FIXED = "network IP address hostname host state"
FLOATING = "project address instance pool interface"
FORWARDS = "project address protocol ports instance fixed_address fixed_ports"


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
def test_single_ports_of_a_floating_ip_lead_to_an_instance(controller: Controller) -> None:
    controller.run("network", "command=create", "label=blue", "fixed_range=10.0.0.0/24")
    controller.run("project", "command=create", "project=acme")
    controller.run("instance", "command=create", "instance=web1", "project=acme", "host=compute1")
    controller.run("floating", "command=create", "ip_range=198.51.100.0/29")
    controller.run("floating", "command=allocate", "project=acme")
    ports = ("address=198.51.100.1", "protocol=tcp", "ports=80")
    assert controller.run("port_forward", "command=create", *ports, "instance=web1", "fixed_port=8080").changed == 1
    assert controller.run("port_forward", "project=acme").after(FORWARDS) == [
        ["acme", "198.51.100.1", "tcp", "80", "web1", "10.0.0.2", "8080"]
    ]
    assert controller.run("port_forward", "command=delete", *ports).changed == 1
    assert any("No port forwards found" in line for line in controller.run("port_forward").lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "options", "message"),
    [
        ("fixed", ["command=free"], "command: 'free' is none of list, reserve, unreserve"),
        ("fixed", ["command=reserve"], "which addresses? Give -e address=ADDRESS"),
        ("floating", ["command=drop"], "command: 'drop' is none of allocate, associate, create, delete, disassociate"),
        ("floating", ["command=create"], "which range? Give -e ip_range=RANGE"),
        ("floating", ["command=release"], "state is released but all of the following are missing: address"),
        ("port_forward", ["command=drop"], "command: 'drop' is none of create, delete, list"),
        ("port_forward", ["command=create"], "which floating IP? Give -e address=ADDRESS"),
        ("instance", ["command=boot"], "command: 'boot' is none of create, delete, list"),
        ("instance", ["command=create"], "which instance? Give -e instance=NAME"),
        ("instance", ["command=create", "instance=web1"], "missing: project, host"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(
    playbook: str, options: list[str], message: str, controller: Controller
) -> None:
    controller.refuses(playbook, options, message)
