# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest is given so that it has its planned addresses, and what attaches it to its bridges.

From a guest's `ports`, as plans and the inventory plugin `instances` say them, to text and plain values:

    interfaces_file(ports), network_config(ports)        # network: inside the guest
    nocloud_seed(ports, hostname)                        # seed, iso9660: the same on a disk that cloud-init reads
    libvirt_interface(port), qemu_arguments(port), lxc_device(port)      # attachment: on the host

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .attachment import libvirt_interface, lxc_device, qemu_arguments
from .network import interfaces_file, network_config
from .seed import nocloud_seed

__all__ = [
    "interfaces_file",
    "libvirt_interface",
    "lxc_device",
    "network_config",
    "nocloud_seed",
    "qemu_arguments",
]
