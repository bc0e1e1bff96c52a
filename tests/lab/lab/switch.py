# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The switches of a lab."""

from __future__ import annotations

import contextlib
import ipaddress
import pathlib
import subprocess
import typing as t

from .capture import Capture
from .errors import LabError
from .life import start
from .process import first_process, in_network, ip_batch, write_json


class Switch:
    """The cables' other ends: one bridge per switch, all in a network namespace of their own."""

    def __init__(self, lab: str, directory: pathlib.Path, switches: dict[str, str | None]) -> None:
        self.directory = directory
        self.mark = f"novalab:{lab}/switch"
        self.switches = switches

    @property
    def pid(self) -> int:
        """Raises HostOff."""
        return first_process(self.directory).pid

    def power_on(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        process = start(self.mark, self.directory, ["unshare", "--net"], [], init="echo ready; exec sleep infinity >&2")
        write_json(self.directory / "pid", process)
        quiet = (
            "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done;"
            "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do [ ! -e $f ] || echo 1 > $f; done"
        )
        subprocess.run(in_network(process.pid, "sh", "-c", quiet), check=False)
        self.batch(f"link add {name} up type bridge stp_state 0 forward_delay 0" for name in self.switches)
        # An address on the management network, from which the lab talks to the agents of guest kernels.
        name, cidr = next((name, cidr) for name, cidr in self.switches.items() if cidr)
        self.batch([f"addr add {ipaddress.ip_network(cidr)[-2]}/{cidr.partition('/')[2]} dev {name}"])

    def batch(self, commands: t.Iterable[str]) -> None:
        """Run ip(8) commands in the switch.  Raises LabError, HostOff."""
        ip_batch(self.pid, commands)

    def run(
        self, argv: t.Sequence[str], *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the switch's network namespace.  Raises HostOff, and what subprocess.run raises."""
        return subprocess.run(in_network(self.pid, *argv), capture_output=True, text=True, check=check, timeout=timeout)

    def capture(self, device: str) -> Capture:
        """Listen on a switch ("trunk") or on one of its ports ("h1-trunk")."""
        return Capture(self.pid, device)

    def remove_links(self, names: t.Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(LabError):
                self.batch([f"link del {name}"])
