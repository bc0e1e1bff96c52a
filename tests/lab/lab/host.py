# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host made of namespaces under this machine's own kernel, with or without systemd as its first process."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shlex
import shutil
import subprocess
import typing as t

from . import cgroup
from .errors import CommandFailed, HostOff, LabError
from .guest import TOOL, Guest
from .life import BOOT, start
from .playbook import CHECKOUT
from .process import ENVIRONMENT, Process, first_process, ip_batch, nsenter, ping_command, write_json
from .switch import Switch
from .topology import HostSpec

INSTALLED = "usr/local/lib/novalab"
LAYER = "layer"
#: Where hosts have the packages `ansible` and `ansible_collections` of whoever runs the lab, read-only. They would not
#: find them where they are if that is below /tmp or /root, which are each host's own.
PYTHON_FOLDER = f"/{INSTALLED}/python"
DISK_SIZE = os.environ.get("NOVALAB_DISK", "256m")

# Not the machine's: keys and caches of whoever runs the lab, and what is ours if the collection manages this machine.
EMPTY_FOLDERS = ("root", "etc/tenantnet", "var/lib/tenantnet")


class Host:
    """One host.  ``directory`` holds its state: disk/ (what it writes), pid (while it runs), log.

    Beside it the lab has unpacked its layer, if it has one.

    NAMES are the addresses of all hosts by name, which go into /etc/hosts.
    """

    has_terminal = True

    def __init__(
        self, lab: str, directory: pathlib.Path, spec: HostSpec, switch: Switch, names: dict[str, str]
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.directory = directory
        self.mark = f"novalab:{lab}/{spec.name}"
        self.switch = switch
        self.names = names
        self.cgroup = f"{lab}/{spec.name}"

    # -- life --------------------------------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        try:
            return first_process(self.directory).alive
        except LabError:
            return False

    def power_on(self) -> None:
        """Start the host; boot() also waits for it.  Raises LabError with the log's end if it does not start."""
        self._make_disk()
        process = start(self.mark, self.directory, self._unshare(), self._init_arguments())
        self._connect(process)
        write_json(self.directory / "pid", process)

    def wait(self) -> None:
        """Return when the host is ready for work."""
        if self.spec.kind == "systemd":
            # Not the answer but the waiting counts: a unit that failed shows as "degraded" to those who ask.
            script = "until [ -S /run/systemd/private ]; do sleep 0.05; done; systemctl is-system-running --wait"
            self.run(["sh", "-c", script], check=False)

    def boot(self) -> None:
        """Switch a host on that is off: the disk is as it was, all else is new.  Raises LabError if it is on."""
        if self.is_on:
            raise LabError(f"host {self.name} is on already")
        self._disconnect()  # it may have ended otherwise than by kill()
        self.power_on()
        self.wait()

    def kill(self) -> None:
        """Power loss: processes, guests, /run and the kernel's state are gone, the disk stays.  Raises HostOff."""
        process = first_process(self.directory)
        process.kill()
        self._disconnect()
        (self.directory / "pid").unlink()
        cgroup.remove(self.cgroup)

    # -- use ---------------------------------------------------------------------------------------------------------

    def run(
        self, argv: t.Sequence[str], *, input: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host.

        Raises HostOff, CommandFailed (unless CHECK is false), LabError after TIMEOUT seconds.
        """
        try:
            done = self._run(argv, input or "", timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {shlex.join(argv)} has not ended after {timeout} seconds") from None
        if check and done.returncode:
            raise CommandFailed(self.name, argv, done)
        return done

    def enter(self, argv: t.Sequence[str]) -> t.NoReturn:
        """Become a command in the host, with this process's terminal.  Raises HostOff."""
        command = nsenter(first_process(self.directory).pid, *argv)
        os.execvpe(command[0], command, ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")})

    def read(self, path: str) -> str:
        """The content of a file of the host."""
        return self.run(["cat", path]).stdout

    def write(self, path: str, content: str) -> None:
        """Write a file of the host, making its folder."""
        self.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path], input=content)

    def ping(self, address: str, wait: int = 2) -> bool:
        """Whether ADDRESS answers an echo request, repeated every second, within WAIT seconds."""
        return self.run(ping_command(address, wait), check=False).returncode == 0

    def guest(self, name: str) -> Guest:
        """The guest of that name, which need not exist yet."""
        return Guest(self, name)

    def start_udev(self) -> None:
        """Have udev in the host, as any host outside has it; it ends with the host.  Nothing if it runs already."""
        self.run(["sh", "-c", "[ -e /run/udev/control ] || exec /lib/systemd/systemd-udevd --daemon"])

    def guest_add(self, name: str, bridge: str | None, mac: str, device: str | None = None) -> Guest:
        """Plug a new guest into a bridge.  DEVICE, the host's end, is tapNAME by default (at most 15 characters).

        Without a bridge its device is left unplugged and down, as QEMU alone leaves one.
        Raises CommandFailed if the bridge is missing, or the guest or the device is there already.
        """
        self.run([TOOL, "add", name, device or f"tap{name}"[:15], bridge or "-", mac])
        return Guest(self, name)

    def cable(self, switch: str, plugged: bool) -> None:
        """Pull the cable to a switch or plug it in again; a reboot does not change it.  Raises LabError."""
        ports = {interface.switch: interface.port for interface in self.spec.interfaces}
        if switch not in ports:
            raise LabError(f"host {self.name} has no cable to '{switch}'; it has {', '.join(ports)}")
        pulled = self.directory / f"pulled-{switch}"
        if plugged:
            pulled.unlink(missing_ok=True)
        else:
            pulled.touch()
        if self.is_on:
            self._set_carrier(ports[switch], switch, plugged)

    # -- what another kind of host does differently ------------------------------------------------------------------

    def _run(self, argv: t.Sequence[str], input: str, timeout: float) -> subprocess.CompletedProcess[str]:
        first = first_process(self.directory)
        done = subprocess.run(
            nsenter(first.pid, *argv),
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env=ENVIRONMENT,
        )
        if done.returncode and first.ending:
            raise HostOff(f"host {self.name} was powered off meanwhile")
        return done

    def _unshare(self) -> list[str]:
        fresh = ["unshare", "--net"]
        return [*cgroup.joining(self.cgroup), *fresh, "--cgroup"] if self.spec.kind == "systemd" else fresh

    def _init_arguments(self) -> list[str]:
        return [str(self.directory / "disk"), self.name, self.spec.kind]

    def _connect(self, process: Process) -> None:
        ports = [(i.port, i.switch) for i in self.spec.interfaces]
        cables = [
            f"link add {i.port} type veth peer name {i.device} address {i.mac} netns {process.pid}"
            for i in self.spec.interfaces
        ]
        plugs = [
            f"link set {port} master {switch} {'down' if self._is_pulled(switch) else 'up'}" for port, switch in ports
        ]
        self.switch.batch(cables + plugs)
        ip_batch(process.pid, self.spec.network_commands())

    def _disconnect(self) -> None:
        # The kernel takes a dead namespace's links down in its own time; a host that boots meanwhile needs the names.
        self.switch.remove_links([i.port for i in self.spec.interfaces])

    def _set_carrier(self, port: str, switch: str, plugged: bool) -> None:
        self.switch.batch([f"link set {port} {'up' if plugged else 'down'}"])

    def _is_pulled(self, switch: str) -> bool:
        return (self.directory / f"pulled-{switch}").exists()

    def _make_disk(self) -> None:
        """Once per host: a small file system for what it writes, over the machine's own root."""
        disk = self.directory / "disk"
        if disk.is_mount():
            return
        disk.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "novalab-disk", disk], check=True)
        (disk / "work").mkdir()
        if self.spec.layered:
            (disk / "layer").symlink_to(self.directory.parent / LAYER)
        upper = disk / "upper"
        for folder in EMPTY_FOLDERS:
            (upper / folder).mkdir(parents=True)
            os.setxattr(upper / folder, "trusted.overlay.opaque", b"y")
        for path in (upper, upper / "etc", upper / "var", upper / "var/lib"):
            path.chmod(0o755)
        (upper / "root").chmod(0o700)
        (upper / "etc/hostname").write_text(f"{self.name}\n")
        names = {"localhost": "127.0.0.1"} | self.names
        (upper / "etc/hosts").write_text("".join(f"{address} {name}\n" for name, address in names.items()))
        # The machine's name server is out of reach; asking it would cost Ansible's facts ten seconds.
        (upper / "etc/resolv.conf").write_text("# a lab has no name server of its own\n")
        shutil.copytree(BOOT, upper / INSTALLED)
        (upper / INSTALLED / "network").write_text("\n".join(self.spec.network_commands()) + "\n")
        lines = [f"{place} {folder}\n" for place, folder in self._shared().items()]
        (upper / INSTALLED / "shared").write_text("".join(lines))

    def _shared(self) -> dict[str, pathlib.Path]:
        """What the host has of this machine below PYTHON_FOLDER, read-only."""
        shared = {"ansible": _ansible_folder(), "ansible_collections/tenantnet/nova": CHECKOUT}
        return {place: folder for place, folder in shared.items() if folder}


def _ansible_folder() -> pathlib.Path | None:
    """The folder of the package Ansible."""
    found = importlib.util.find_spec("ansible")
    if not found or not found.submodule_search_locations:
        return None
    return pathlib.Path(found.submodule_search_locations[0])
