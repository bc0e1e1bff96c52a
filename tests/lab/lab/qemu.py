# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The distribution's own kernel on an emulated machine: 802.1Q together with nf_tables, whatever this machine has."""

from __future__ import annotations

import os
import pathlib
import shutil

from .errors import LabError
from .guest_kernel import GuestKernelHost
from .host import INSTALLED, PYTHON_FOLDER
from .playbook import CHECKOUT

MEMORY = os.environ.get("NOVALAB_QEMU_MEMORY", "512M")
#: Made by tools/guest-kernel: vmlinuz, initrd and modules/VERSION.
KERNEL = pathlib.Path(os.environ.get("NOVALAB_KERNEL", CHECKOUT / ".cache/guest-kernel"))
PROGRAM = "qemu-system-x86_64"
#: Where distributions have the server of the host's root.
SERVERS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
SOCKET = "/run/novalab/root.socket"


def lacking() -> str | None:
    """What this machine lacks for a host of this kind, None if nothing."""
    if not shutil.which(PROGRAM):
        return f"the program {PROGRAM} (package qemu-system-x86)"
    if not _server():
        return "the program virtiofsd (package virtiofsd or qemu-system-common)"
    if not (KERNEL / "vmlinuz").exists():
        return f"a kernel in {KERNEL} (tools/guest-kernel makes it, on amd64)"
    return None


class QemuHost(GuestKernelHost):
    """Its root is the host's disk by virtiofs.  Emulated: KVM is not to be had everywhere, and hangs in some places."""

    def _unshare(self) -> list[str]:
        if lack := lacking():
            raise LabError(f"kind qemu needs {lack}")
        return super()._unshare()

    def _shared(self) -> dict[str, pathlib.Path]:
        return super()._shared() | {"kernel": KERNEL}

    def _init_arguments(self) -> list[str]:
        kernel = f"{PYTHON_FOLDER}/kernel"
        # Not the kernel's offloads: others on the switch would get frames whose checksums nobody filled in.
        cards = [
            word
            for i in self.spec.interfaces
            for word in (
                *("-netdev", f"tap,id={i.device},ifname={i.port},script=no,downscript=no,vnet_hdr=off"),
                *("-device", f"virtio-net-pci,netdev={i.device},mac={i.mac},romfile="),
            )
        ]
        words = f"console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off novalab=/{INSTALLED}/kernel-init.sh"
        # One processor: several emulated ones take a third more of this machine's time for the same work.
        machine = [
            *(PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
            *("-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-m", MEMORY),
            *("-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory"),
            *("-chardev", f"socket,id=root,path={SOCKET}"),
            *("-device", "vhost-user-fs-pci,chardev=root,tag=root"),
            *("-kernel", f"{kernel}/vmlinuz", "-initrd", f"{kernel}/initrd"),
            *("-append", words),
        ]
        return [*super()._init_arguments(), str(_server()), SOCKET, *machine, *cards]


def _server() -> str | None:
    return next((path for path in SERVERS if os.access(path, os.X_OK)), None)
