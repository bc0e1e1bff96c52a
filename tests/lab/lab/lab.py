# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole lab: made from a topology, kept in a folder, found again by its name."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import typing as t

from . import cgroup
from .errors import LabError
from .host import LAYER, Host
from .life import kill_marked, reap_children, unmount_below
from .playbook import Result, run_ansible
from .process import Process, write_json
from .qemu import QemuHost
from .switch import Switch
from .topology import INTERNET, HostSpec, Topology, load, parse
from .uml import UmlHost

STATE = pathlib.Path(os.environ.get("NOVALAB_STATE", "/run/novalab"))


class Lab:
    """The lab of that name, whether or not it exists yet.

    Its folder holds lab.json (the topology with every kind decided, who owns the lab, whether it is complete), a
    folder per host, and inventory.json.  What runs is found by its mark, not by what is recorded, so that down()
    works whatever state a crash has left.
    """

    def __init__(self, name: str = "lab") -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
            raise LabError(f"lab name '{name}': up to 32 of a-z, 0-9, '_' and '-', beginning with a letter or digit")
        self.name = name
        self.directory = STATE / name

    # -- life --------------------------------------------------------------------------------------------------------

    def up(self, topology: str | os.PathLike[str] | Topology, owner: int | None = None) -> Lab:
        """Build the lab and return it when every host is ready for work.

        TOPOLOGY is a file, the name of one in topologies/, or a parsed one.  When the process OWNER ends without
        having taken the lab down, the next reap() does.  What a crash has left under this name goes first.
        Raises LabError, among others if a lab of this name is up.
        """
        plan = topology if isinstance(topology, Topology) else load(os.fspath(topology))
        kinds = {name: _decide(spec.kind) for name, spec in plan.hosts.items()}
        plan = parse(plan.description | {"hosts": kinds})
        owning = Process.find(owner) if owner else None
        if owner and not owning:
            raise LabError(f"owner {owner} is no process")
        self._claim({"topology": plan.description, "owner": owning, "builder": Process.find(os.getpid())})
        try:
            self._build(plan)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End the lab and remove all of it, also what a crash has left; nothing happens if there is nothing."""
        with _lock():
            self._remove()

    def _remove(self) -> None:
        kill_marked(f"novalab:{self.name}/")
        reap_children()
        cgroup.remove(self.name)
        if self.directory.exists():
            unmount_below(self.directory)
            shutil.rmtree(self.directory)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()

    @property
    def state(self) -> str:
        """One of absent, building, up, leftover (of a crash, or of an owner that has ended)."""
        if not self.directory.exists():
            return "absent"
        try:
            record = self._record()
            owner, builder, complete = record["owner"], record["builder"], record.get("complete")
        except (LabError, KeyError):
            return "leftover"
        if owner and not Process(*owner).alive:
            return "leftover"
        if not complete:
            return "building" if Process(*builder).alive else "leftover"
        try:
            return "up" if self.switch.pid else "leftover"
        except LabError:
            return "leftover"

    def _claim(self, record: dict[str, t.Any]) -> None:
        with _lock():
            state = self.state
            if state in ("up", "building"):
                raise LabError(f"lab '{self.name}' is {state} already; take it down first")
            self._remove()
            self.directory.mkdir()
            write_json(self.directory / "lab.json", record)

    def _build(self, plan: Topology) -> None:
        switch = self.switch
        switch.power_on()
        if plan.layer:
            self._unpack(plan.layer)
        everyone = [*self.hosts.values(), self.host(INTERNET)]
        for host in everyone:
            host.power_on()
        for host in everyone:
            host.wait()
        write_json(self.inventory_file, self.inventory())
        write_json(self.directory / "lab.json", self._record() | {"complete": True})

    def _unpack(self, archive: str) -> None:
        # On a file system of its own: an overlay refuses a layer that lies within another one.
        layer = self.directory / LAYER
        layer.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "novalab-layer", layer], check=True)
        subprocess.run(["tar", "-C", layer, "--xattrs", "--xattrs-include=*", "-xf", archive], check=True)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _record(self) -> dict[str, t.Any]:
        try:
            record: dict[str, t.Any] = json.loads((self.directory / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"there is no lab '{self.name}'") from None
        except ValueError as error:
            raise LabError(f"the record of lab '{self.name}' is damaged: {error}") from None
        return record

    @property
    def topology(self) -> Topology:
        """What the lab was made from, with kind auto decided.  Raises LabError if there is no lab."""
        return parse(self._record()["topology"])

    @property
    def switch(self) -> Switch:
        return Switch(self.name, self.directory / "switch", self.topology.switches)

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts by name, without the internet."""
        topology = self.topology
        return {name: self._host(spec, topology) for name, spec in topology.hosts.items()}

    def host(self, name: str) -> Host:
        """A host by name; "internet" is the one outside.  Raises LabError."""
        topology = self.topology
        try:
            return self._host(topology.internet if name == INTERNET else topology.hosts[name], topology)
        except KeyError:
            known = ", ".join([*topology.hosts, INTERNET])
            raise LabError(f"lab '{self.name}' has no host '{name}'; it has {known}") from None

    def _host(self, spec: HostSpec, topology: Topology) -> Host:
        make = {"uml": UmlHost, "qemu": QemuHost}.get(spec.kind, Host)
        names = {peer.name: peer.address for peer in (*topology.hosts.values(), topology.internet)}
        return make(self.name, self.directory / spec.name, spec, self.switch, names)

    # -- Ansible -----------------------------------------------------------------------------------------------------

    @property
    def inventory_file(self) -> pathlib.Path:
        """A JSON inventory of the hosts, fit for ansible-playbook -i."""
        return self.directory / "inventory.json"

    def inventory(self) -> dict[str, t.Any]:
        """The inventory as a value: ``{"all": {"hosts": {...}, "children": {GROUP: {"hosts": {...}}}}}``."""
        topology = self.topology
        hosts = {
            name: {
                "ansible_connection": "novalab",
                "ansible_host": spec.address,
                "ansible_python_interpreter": "/usr/bin/python3",
                "novalab_directory": str(self.directory / name),
                "novalab_kind": spec.kind,
            }
            for name, spec in topology.hosts.items()
        }
        groups: dict[str, t.Any] = {
            group: {"hosts": {member: {} for member in members}} for group, members in topology.groups.items()
        }
        return {"all": {"hosts": hosts, "children": groups}}

    def playbook(self, book: str | os.PathLike[str], *arguments: str, check: bool = True, **options: t.Any) -> Result:
        """Run ansible-playbook against this lab.

        BOOK is a file or the full name of one in a collection; further inventories may be among ARGUMENTS.  CHECK
        means that a failure raises LabError with the output's end; Ansible's check mode is the argument "--check".
        """
        return run_ansible("ansible-playbook", self.inventory_file, os.fspath(book), *arguments, check=check, **options)

    def ansible(self, *arguments: str, check: bool = True, **options: t.Any) -> Result:
        """Run the ansible command, such as ``lab.ansible("all", "-m", "ping")``; otherwise as playbook()."""
        return run_ansible("ansible", self.inventory_file, *arguments, check=check, **options)


def labs() -> list[Lab]:
    """Every lab of this machine, in whatever state."""
    if not STATE.is_dir():
        return []
    return [Lab(path.name) for path in sorted(STATE.iterdir()) if path.is_dir()]


def reap() -> list[str]:
    """Take down the labs whose owner or builder has ended; returns their names."""
    with _lock():
        leftover = [lab for lab in labs() if lab.state == "leftover"]
        for lab in leftover:
            lab._remove()
    return [lab.name for lab in leftover]


@functools.cache
def has_vlan() -> bool:
    """Whether this machine's kernel makes 802.1Q interfaces."""
    probe = "ip link add p0 type veth peer name p1 && ip link add link p0 name p2 type vlan id 2"
    done = subprocess.run(["unshare", "--net", "sh", "-c", probe], capture_output=True, check=False)
    return done.returncode == 0


def _decide(kind: str) -> str:
    return kind if kind != "auto" else "native" if has_vlan() else "uml"


@contextlib.contextmanager
def _lock() -> t.Iterator[None]:
    """Keep others from claiming or removing a lab meanwhile; the kernel lets go if this process dies."""
    try:
        STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = os.open(STATE, os.O_RDONLY)
    except OSError as error:
        raise LabError(f"{STATE}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
