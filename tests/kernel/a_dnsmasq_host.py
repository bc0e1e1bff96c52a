"""A host whose networks dnsmasq serves for real: bridges in a namespace, clients in others, files under one root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import dnsmasq as core
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import dnsmasq as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import service

for _program in ("dnsmasq", "dhcp_release", "udhcpc", "ip"):
    if programs.find(_program) is None:
        pytest.skip(f"needs {_program}", allow_module_level=True)

MAC_A, MAC_B, MAC_C = (f"fa:16:3e:00:00:0{n}" for n in "abc")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Host:
    """A host's folders and bridges; and what an operator would look at."""

    def __init__(self, root):
        self.root = root
        self.paths = core.Paths.under(root)
        self.clients = {}

    def bridge(self, name="br100", *addresses):
        ip("link", "add", name, "type", "bridge")
        for address in addresses or ("10.0.0.1/24",):
            ip("address", "add", address, "dev", name)
        ip("link", "set", name, "up")

    def client(self, mac, bridge="br100"):
        """The machine with this MAC on this bridge; made once, for a namespace's end holds up every other one."""
        if (mac, bridge) not in self.clients:
            self.clients[mac, bridge] = Client(mac, bridge, f"v{len(self.clients)}", self.root)
        return self.clients[mac, bridge]

    def run(self, *instances, **arguments):
        """One run of the module's work; it has to succeed."""
        result, failed = driver.run({"instances": list(instances)}, paths=self.paths, **arguments)
        assert failed is None
        return result

    def pid(self, name="br100"):
        return service.pid_of(self.paths, name)

    def leases(self, name="br100"):
        with open(self.paths.leases(name), encoding="ascii") as handle:
            return [(lease.mac, lease.address) for lease in core.leases(handle.read())]

    def file(self, file, name="br100"):
        with open(self.paths.file(name, file), encoding="ascii") as handle:
            return handle.read()

    def extra(self, text, name="extra.conf"):
        """An operator's file with this text."""
        path = f"{self.root}/{name}"
        with open(path, "w", encoding="ascii") as handle:
            handle.write(text)
        return path

    def picture(self):
        """All that a run may leave behind: files with content and mode, and which instances run."""
        found = {}
        for folder, _folders, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if path.startswith((self.paths.conf, self.paths.run, self.paths.state, self.paths.units)):
                    with open(path, encoding="ascii") as handle:
                        found[path] = "" if path.endswith(".pid") else handle.read(), os.stat(path).st_mode
        running = sorted(name[:-4] for name in os.listdir(self.paths.run) if name.endswith(".pid"))
        return found, [name for name in running if self.pid(name)]

    def end(self):
        for client in self.clients.values():
            client.end()
        with contextlib.suppress(FileNotFoundError):
            for file in os.listdir(self.paths.run):
                if file.endswith(".pid") and self.pid(file[:-4]):
                    os.kill(self.pid(file[:-4]), signal.SIGKILL)
        shutil.rmtree(self.root)


class Client:
    """A machine in a namespace of its own, cabled to the bridge."""

    def __init__(self, mac, bridge, port, root):
        self.output = f"{root}/{port}.lease"
        self.script = f"{root}/{port}.sh"
        with open(self.script, "w", encoding="ascii") as handle:
            handle.write(f'#!/bin/sh\n[ "$1" = bound ] && env > {self.output}\nexit 0\n')
        os.chmod(self.script, 0o755)
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        home = os.readlink("/proc/thread-self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == home:
            time.sleep(0.01)
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid), "address", mac)
        ip("link", "set", port, "master", bridge, "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "set", "eth0", "up")

    def inside(self, *command):
        return subprocess.run(
            ["nsenter", "-t", str(self.holder.pid), "-n", *command], capture_output=True, text=True, check=False
        )

    def dhcp(self, tries=20):
        """What the network tells: the variables of udhcpc's script, or None where nobody answers."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.output)
        self.inside(
            "udhcpc",
            "-i",
            "eth0",
            "-f",
            "-q",
            "-n",
            "-t",
            str(tries),
            "-T",
            "1",
            "-A",
            "0",
            "-O",
            "mtu",
            "-s",
            self.script,
        )
        if not os.path.exists(self.output):
            return None
        with open(self.output, encoding="ascii") as handle:
            return dict(line.rstrip("\n").split("=", 1) for line in handle if "=" in line)

    def address(self):
        """The address that it gets. Tried for long: dnsmasq waits when another namespace holds the kernel's lock."""
        lease = self.dhcp()
        return lease and lease["ip"]

    def end(self):
        self.holder.kill()
        self.holder.wait()


@contextlib.contextmanager
def made():
    """A host for one test."""
    # Not pytest's own folder: dnsmasq gives up its privileges and could not enter it.
    root = tempfile.mkdtemp(prefix="nova-dnsmasq-")
    os.chmod(root, 0o755)
    host = Host(root)
    try:
        yield host
    finally:
        host.end()


def reservation(mac=MAC_A, address="10.0.0.3", hostname="web1"):
    return {"mac": mac, "hostname": hostname, "address": address}


def network(name="br100", subnet="10.0.0", **change):
    item = {
        "name": name,
        "network": "blue",
        "interface": name,
        "listen_address": f"{subnet}.1",
        "dhcp_start": f"{subnet}.2",
        "netmask": "255.255.255.0",
        "lease_time": 3600,
        "lease_max": 256,
        "domain": "novalocal",
        "servers": [],
        "config_file": None,
        "hosts": [reservation()],
        "options": [{"option": 3, "value": f"{subnet}.1"}, {"option": 26, "value": "1450"}],
        "names": [],
    }
    item.update(change)
    return item


def file_times(host):
    return {
        os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _folders, names in os.walk(host.root)
        for name in [*names, "."]
    }


def kill_and_wait(pid):
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and proc_lives(pid):
        time.sleep(0.01)
    assert not proc_lives(pid)


def proc_lives(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return bool(handle.read())
    except FileNotFoundError:
        return False
