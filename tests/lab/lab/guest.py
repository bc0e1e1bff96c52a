# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests: what stands for a virtual machine in the lab."""

from __future__ import annotations

import subprocess
import typing as t

from .process import first_process, ip_batch, ping_command

if t.TYPE_CHECKING:
    from .host import Host

TOOL = "/usr/local/lib/novalab/guest.sh"
DHCP_SCRIPT = "/usr/local/lib/novalab/udhcpc.sh"
# Asked for by name, since a DHCP server sends most options only to a client that wants them.
DHCP_OPTIONS = ("subnet", "router", "dns", "hostname", "domain", "broadcast", "mtu", "staticroutes", "ntpsrv", "search")

#: The reverse ARP request by which the switches learn where the guest now is.
ANNOUNCE = """
import socket, struct
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
mac = wire.getsockname()[4]
head = bytes(6 * [255]) + mac + bytes.fromhex("8035" "0001" "0800" "06" "04" "0003")
wire.send((head + 2 * (mac + bytes(4))).ljust(60, bytes(1)))
"""


class Guest:
    """A network namespace whose eth0 is plugged into a bridge of its host; it dies with the host."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name

    def run(self, argv: t.Sequence[str], **options: t.Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest; options and errors are those of Host.run."""
        return self.host.run([TOOL, "run", self.name, *argv], **options)

    @property
    def has_terminal(self) -> bool:
        return self.host.has_terminal

    def enter(self, argv: t.Sequence[str]) -> t.NoReturn:
        """Become a command in the guest, with this process's terminal.  Raises HostOff."""
        self.host.enter([TOOL, "run", self.name, *argv])

    def dhcp(self, tries: int = 5, pause: int = 1) -> dict[str, str]:
        """Ask for a lease on eth0 with udhcpc and apply it, including MTU, host name and resolver.

        Returns what the server gave, as text under udhcpc's names: ip, mask (prefix length), subnet (netmask),
        broadcast, router, dns, domain, hostname, mtu, lease, serverid; several values are set apart by blanks and
        what was not given is absent.  Empty if no server gave a lease.
        """
        requested = [word for option in DHCP_OPTIONS for word in ("-O", option)]
        command = ["udhcpc", "-fqn", "-i", "eth0", "-t", str(tries), "-T", str(pause), "-s", DHCP_SCRIPT, *requested]
        done = self.run(command, check=False, timeout=tries * pause + 30)
        lines = [line.removeprefix("given ") for line in done.stdout.splitlines() if line.startswith("given ")]
        given = dict(line.partition("=")[::2] for line in lines)
        # The rest of the environment is the shell's own and in capitals, apart from the interface asked about.
        return {key: value for key, value in given.items() if key.islower() and key != "interface"}

    def ping(self, address: str, wait: int = 2) -> bool:
        """Whether ADDRESS answers an echo request, repeated every second, within WAIT seconds."""
        return self.run(ping_command(address, wait), check=False).returncode == 0

    def migrate(self, host: Host, bridge: str, through: Host | None = None) -> None:
        """Move the port, live, to a bridge of another host under this machine's kernel, and announce it as QEMU does.

        What is inside the guest, connections too, knows nothing of it. Commands still reach it through the host that
        it was added on, whose power loss would end it. THROUGH is where its port is now, if not there.
        Raises CommandFailed, LabError.
        """
        source, target = first_process((through or self.host).directory).pid, first_process(host.directory).pid
        device = self.host.read(f"/run/novalab/guests/{self.name}").split()[1]
        ip_batch(source, [f"link set {device} netns {target}"])
        ip_batch(target, [f"link set {device} master {bridge} up"])
        self.run(["python3", "-c", ANNOUNCE])

    def remove(self) -> None:
        """Unplug and end the guest.  Raises CommandFailed if there is none of that name."""
        self.host.run([TOOL, "rm", self.name])
