# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who would put an interface's addresses back, told by processes and by what network managers write."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core.keepers import STATE, Process, keeper, parse_keys

OTHERS = ("lo", "eth0", "eth1")

#: As systemd-networkd 252 and NetworkManager 1.42 write them.
NETWORKD = """\
# This is private data. Do not parse.
ADMIN_STATE=configured
OPER_STATE=routable
NETWORK_FILE=/etc/systemd/network/10-lan.network
"""
MANAGER = """\
[device]
managed=true
connection-uuid=2f1b9a6e-5d1c-3a55-9a1d-7b3a4e0c2d11
nm-owned=false
"""


def looked_after(*processes: Process, networkd: str = "", manager: str = "") -> str | None:
    return keeper("eth0", OTHERS, processes, parse_keys(networkd), parse_keys(manager))


def process(name: str, *words: str) -> Process:
    return Process(77, name, words)


@pytest.mark.parametrize(
    "client",
    [
        process("dhclient", "/sbin/dhclient", "-4", "-pf", "/run/dhclient.eth0.pid", "eth0", ""),
        process("dhclient", "dhclient", ""),
        process("udhcpc", "udhcpc", "-i", "eth0", ""),
        process("busybox", "/bin/busybox", "udhcpc", "-ieth0", ""),
        process("dhcpcd", "dhcpcd: eth0 [ip4]", ""),
        process("dhcpcd", "dhcpcd: [manager] [ip4] [ip6]", ""),
    ],
)
def test_a_dhcp_client_of_this_interface(client: Process) -> None:
    said = looked_after(client)
    assert said is not None and "(process 77) renews them" in said


@pytest.mark.parametrize(
    "other",
    [
        process("dhclient", "/sbin/dhclient", "eth1", ""),
        process("udhcpc", "udhcpc", "-i", "eth1", ""),
        process("busybox", "busybox", "sh", "udhcpc", ""),
        process("dhcpcd", "dhcpcd: eth1 [ip4]", ""),
    ],
)
def test_a_client_of_another_interface(other: Process) -> None:
    assert looked_after(other) is None


def test_the_managers() -> None:
    networkd, manager = process("systemd-network", "/lib/systemd/systemd-networkd"), process("NetworkManager", "nm")
    said = looked_after(networkd, networkd=NETWORKD)
    assert said is not None and "(/etc/systemd/network/10-lan.network)" in said and "Unmanaged=yes" in said
    assert "NetworkManager" in t.cast(str, looked_after(manager, manager=MANAGER))
    # What they left behind when they ended says nothing, and neither does what they leave alone.
    assert looked_after(networkd=NETWORKD, manager=MANAGER) is None
    assert looked_after(networkd, networkd=NETWORKD.replace("configured", "unmanaged")) is None
    assert looked_after(manager, manager=MANAGER.replace("true", "false")) is None


@pytest.mark.parametrize("said, keeps", [("100 (connected)", True), ("10 (unmanaged)", False), ("", True)])
def test_what_networkmanager_says_counts_more_than_what_it_wrote_before_its_restart(said: str, keeps: bool) -> None:
    keys = {**parse_keys(MANAGER), STATE: said}
    assert (keeper("eth0", OTHERS, [process("NetworkManager", "nm")], {}, keys) is not None) is keeps
