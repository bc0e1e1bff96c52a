# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""User-Mode Linux: a kernel that is a program, with 802.1Q but without nf_tables for IPv4 and for bridges."""

from __future__ import annotations

import os
import shutil

from .errors import LabError
from .guest_kernel import GuestKernelHost
from .host import INSTALLED

MEMORY = os.environ.get("NOVALAB_UML_MEMORY", "192M")


class UmlHost(GuestKernelHost):
    """Its root is the host's disk by hostfs."""

    def _make_disk(self) -> None:
        super()._make_disk()
        installed = self.directory / "disk/upper" / INSTALLED
        renames = [f"link set vec{index} name {i.device}" for index, i in enumerate(self.spec.interfaces)]
        (installed / "network").write_text("\n".join(renames + self.spec.network_commands()) + "\n")

    def _unshare(self) -> list[str]:
        if not shutil.which("linux.uml"):
            raise LabError("kind uml needs the program linux.uml (Debian package user-mode-linux)")
        return super()._unshare()

    def _init_arguments(self) -> list[str]:
        cards = [
            f"vec{index}:transport=tap,ifname={i.port},depth=64,gro=1,mac={i.mac}"
            for index, i in enumerate(self.spec.interfaces)
        ]
        # All threads on one processor: handing over between idle ones makes this kernel four times slower.
        processors = sorted(os.sched_getaffinity(0))
        processor = processors[self.spec.number % len(processors)]
        kernel = [
            *("taskset", "-c", str(processor), "linux.uml", f"mem={MEMORY}"),
            *("rootfstype=hostfs", "rootflags=/", "rw", f"init=/{INSTALLED}/kernel-init.sh", "quiet", "panic=1"),
            *("con=null", "con0=null,fd:1", "ssl=null", f"umid={self.mark.replace(':', '-').replace('/', '-')}"),
        ]
        return [*super()._init_arguments(), *kernel, *cards]
