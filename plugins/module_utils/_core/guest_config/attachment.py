# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What attaches a guest's NIC to the bridge of its port, for those who start guests.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

from .ports import read_attachment


def libvirt_interface(port: object) -> str:
    """The <interface> of a libvirt domain."""
    given = read_attachment(port)
    interface = ElementTree.Element("interface", type="bridge")
    ElementTree.SubElement(interface, "mac", address=given.mac)
    ElementTree.SubElement(interface, "source", bridge=given.bridge)
    ElementTree.SubElement(interface, "target", dev=given.device)
    ElementTree.SubElement(interface, "model", type="virtio")
    if given.mtu is not None:
        ElementTree.SubElement(interface, "mtu", size=str(given.mtu))
    ElementTree.indent(interface)
    return ElementTree.tostring(interface, encoding="unicode") + "\n"


def qemu_arguments(port: object) -> list[str]:
    """Arguments of qemu-system, which makes the tap or takes a persistent one; its bridge is left to the plan."""
    given = read_attachment(port)
    name = f"net-{given.mac.replace(':', '')}"
    netdev = f"tap,id={name},ifname={_escaped(given.device)},script=no,downscript=no"
    device = f"virtio-net-pci,netdev={name},mac={given.mac}"
    if given.mtu is not None:
        device += f",host_mtu={given.mtu}"
    return ["-netdev", netdev, "-device", device]


def lxc_device(port: object) -> dict[str, t.Any]:
    """A device of an Incus or LXD instance; their configuration is made of texts."""
    given = read_attachment(port)
    device = {
        "type": "nic",
        "nictype": "bridged",
        "parent": given.bridge,
        "hwaddr": given.mac,
        "host_name": given.device,
    }
    return device if given.mtu is None else {**device, "mtu": str(given.mtu)}


def _escaped(value: str) -> str:
    """A value inside QEMU's comma-separated options."""
    return value.replace(",", ",,")
