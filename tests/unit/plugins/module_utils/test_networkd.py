# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that keeps systemd-networkd away."""

from __future__ import annotations

import fnmatch

from ansible_collections.tenantnet.nova.plugins.module_utils._core import links, naming, networkd


def test_the_file_names_our_interfaces_once_and_in_one_order() -> None:
    text = networkd.text(["vlan100", "br100", "br100"])
    assert text is not None
    assert text == networkd.text(["br100", "vlan100"])
    assert networkd.names(text) == ["br100", "vlan100"]
    assert text.index("[Match]") < text.index("Name=br100") < text.index("[Link]") < text.index("Unmanaged=yes")
    assert networkd.text([]) is None


def test_guests_ports_are_meant_and_not_those_of_others() -> None:
    assert fnmatch.fnmatchcase(naming.tap_name("1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809"), networkd.PORTS)
    assert not any(fnmatch.fnmatchcase(name, networkd.PORTS) for name in ("tap0", "tapvpn", "tap1a2b3c4d5e-f", "eth0"))
    assert networkd.PORTS in str(networkd.text(["br100"]))
    assert networkd.names(networkd.text(["br100"])) == ["br100"]


def test_a_change_is_told_by_the_interfaces() -> None:
    old, new = networkd.text(["br100", "br101"]), networkd.text(["br101", "br102"])
    assert networkd.actions(old, new) == [
        "keep systemd-networkd away from br102",
        "no longer keep systemd-networkd away from br100",
    ]
    assert networkd.actions(new, None) == ["no longer keep systemd-networkd away from br101, br102"]
    assert len(networkd.actions("# by hand\n" + str(old), old)) == 1


def test_the_interfaces_of_a_plan_but_not_one_that_gives_its_addresses() -> None:
    plan = {
        "vlans": [{"name": "vlan100", "link": "eth1", "id": 100}],
        "bridges": [
            {"name": "br100", "interfaces": ["vlan100"]},
            {"name": "br200", "interfaces": ["eth0", "eth2"]},
        ],
        "ports": [{"name": "web1", "bridge": "br200"}],
        "move_addresses": ["eth0"],
    }
    assert sorted(set(networkd.ours(links.parse(plan)))) == ["br100", "br200", "eth2", "vlan100", "web1"]
