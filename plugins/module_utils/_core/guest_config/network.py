# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of the network inside a guest.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ..errors import InputError
from .ports import Family, Nic, read_nics

#: nova's `virt_type`, as far as it matters here: containers get their IPv6 addresses by commands.
VIRT_TYPES = ("kvm", "qemu", "lxc")

# `default` as a destination is newer than some guests' cloud-init.
_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def interfaces_file(ports: object, virt_type: object = "kvm") -> str:
    """/etc/network/interfaces of a Debian guest, as nova injected it."""
    if virt_type not in VIRT_TYPES:
        raise InputError(f"virt_type: {virt_type!r} is none of {', '.join(VIRT_TYPES)}")
    blocks = [["auto lo", "iface lo inet loopback"]]
    for nic in read_nics(ports):
        blocks.extend(_stanzas(nic, virt_type == "lxc"))
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def _stanzas(nic: Nic, container: bool) -> list[list[str]]:
    """The NIC's stanzas, one for each family. What is of the link itself stands in the first one."""
    by_command = [family for family in nic.families if container and family.interface.version == 6]
    static = [family for family in nic.families if family not in by_command]
    link, mtu = [f"hwaddress ether {nic.mac}"], [] if nic.mtu is None else [f"mtu {nic.mtu}"]
    commands = [line for family in by_command for line in _commands(family)]
    blocks = []
    for family in static:
        version = family.interface.version
        dns = nic.dns if len(static) == 1 else _of_version(nic.dns, version)
        options = link + _static(family) + _resolvers(dns) + mtu + commands
        blocks.append([f"iface {nic.name} {'inet' if version == 4 else 'inet6'} static", *_indented(options)])
        link, mtu, commands = [], [], []
    if not static:
        blocks.append([f"iface {nic.name} inet manual", *_indented(link + _resolvers(nic.dns) + mtu + commands)])
    blocks[0].insert(0, f"auto {nic.name}")
    return blocks


def _static(family: Family) -> list[str]:
    network = family.interface.network
    lines = [f"address {family.address}"]
    if network.version == 4:
        lines += [f"netmask {network.netmask}", f"broadcast {network.broadcast_address}"]
    else:
        lines += [f"netmask {network.prefixlen}"]
    return lines if family.gateway is None else [*lines, f"gateway {family.gateway}"]


def _commands(family: Family) -> list[str]:
    lines = [f"post-up ip -6 addr add {family.interface} dev ${{IFACE}}"]
    if family.gateway is not None:
        lines.append(f"post-up ip -6 route add default via {family.gateway} dev ${{IFACE}}")
    return lines


def _resolvers(dns: t.Sequence[str]) -> list[str]:
    return [f"dns-nameservers {' '.join(dns)}"] if dns else []


def _of_version(addresses: t.Iterable[str], version: int) -> list[str]:
    return [address for address in addresses if ipaddress.ip_address(address).version == version]


def _indented(lines: t.Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def network_config(ports: object) -> dict[str, t.Any]:
    """cloud-init's network configuration, version 2; without the key `network` that netplan wants around it."""
    return {"version": 2, "ethernets": {nic.name: _ethernet(nic) for nic in read_nics(ports)}}


def _ethernet(nic: Nic) -> dict[str, t.Any]:
    # Some of cloud-init's renderers take the entry's own name for the device's unless one is set.
    entry: dict[str, t.Any] = {
        "match": {"macaddress": nic.mac},
        "set-name": nic.name,
        "dhcp4": False,
        "dhcp6": False,
        "addresses": [str(family.interface) for family in nic.families],
    }
    routes = [
        {"to": _EVERYWHERE[family.interface.version], "via": family.gateway}
        for family in nic.families
        if family.gateway
    ]
    if routes:
        entry["routes"] = routes
    if nic.dns:
        entry["nameservers"] = {"addresses": list(nic.dns)}
    if nic.mtu is not None:
        entry["mtu"] = nic.mtu
    return entry
