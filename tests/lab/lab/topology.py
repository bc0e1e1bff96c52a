# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab consists of: the YAML description and the plain values made from it."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import re
import typing as t

from .errors import LabError

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "topologies"
#: Those with a kernel of their own.
GUEST_KERNELS = ("uml", "qemu")
KINDS = ("native", "systemd", *GUEST_KERNELS, "auto")
INTERNET = "internet"
INTERNET_ADDRESS = "198.51.100.1/32"  # somewhere beyond the first router, for tests of NAT and routing

_SWITCHES = {"mgmt": "192.0.2.0/24", "trunk": None, "ext": "203.0.113.0/24"}
_FIRST_HOST = 11
_LINK_NAME_MAX = 15


@dataclasses.dataclass(frozen=True)
class Interface:
    """A network card of a host and the switch that its cable leads to."""

    device: str
    switch: str
    port: str  # name of the cable's other end, in the switch
    mac: str
    address: str | None  # with prefix length


@dataclasses.dataclass(frozen=True)
class HostSpec:
    """A host before it is switched on."""

    name: str
    kind: str
    number: int
    interfaces: tuple[Interface, ...]
    gateway: str | None = None
    loopback: str | None = None
    layered: bool = False  # what the topology's layer holds lies over the machine's root

    @property
    def address(self) -> str:
        """The management address: the first one that the host has."""
        return next(i.address.partition("/")[0] for i in self.interfaces if i.address)

    def network_commands(self) -> list[str]:
        """The ip(8) commands that configure the host's own network cards."""
        commands = ["link set lo up"]
        for interface in self.interfaces:
            commands.append(f"link set {interface.device} up")
            if interface.address:
                commands.append(f"addr add {interface.address} dev {interface.device}")
        if self.loopback:
            commands.append(f"addr add {self.loopback} dev lo")
        if self.gateway:
            commands.append(f"route add default via {self.gateway}")
        return commands


@dataclasses.dataclass(frozen=True)
class Topology:
    """A whole lab.  ``description`` is what it was made from, with every default filled in."""

    switches: dict[str, str | None]
    hosts: dict[str, HostSpec]
    groups: dict[str, list[str]]
    internet: HostSpec
    layer: str | None  # a tar archive of what the hosts have beyond this machine
    description: dict[str, t.Any]


def load(source: str | pathlib.Path) -> Topology:
    """The topology in a file, or the one of that name in this folder's topologies/.  Raises LabError."""
    try:
        import yaml
    except ImportError:
        raise LabError("PyYAML is missing: use the Python that runs Ansible") from None
    path = pathlib.Path(source)
    if not path.is_file():
        path = FOLDER / f"{path.stem}.yml"
    try:
        return parse(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yml")))
        raise LabError(f"no topology '{source}': neither a file nor one of {known}") from None
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"topology {path}: {' '.join(str(error).split())}") from None
    except LabError as error:
        raise LabError(f"topology {path}: {error}") from None


def parse(description: t.Any) -> Topology:
    """Make a Topology from its description.  Raises LabError.

    ``{switches: {NAME: CIDR or null}, internet: SWITCH, hosts: {NAME: KIND}, groups: {NAME: [HOST]}, layer: ARCHIVE}``,
    of which all but hosts may be left out.
    """
    if not isinstance(description, dict):
        raise LabError("a topology is a mapping with the key hosts")
    if unknown := sorted(set(description) - {"switches", "internet", "hosts", "groups", "layer"}):
        raise LabError(f"unknown key '{unknown[0]}'; known are switches, internet, hosts, groups, layer")
    switches = dict(description.get("switches") or _SWITCHES)
    kinds = {name: kind or "auto" for name, kind in _mapping(description, "hosts").items()}
    groups = {name: list(members or []) for name, members in _mapping(description, "groups").items()}
    uplink = description.get("internet", "ext")
    layer = description.get("layer")
    if layer is not None and not (isinstance(layer, str) and pathlib.Path(layer).is_file()):
        raise LabError(f"layer is {layer!r}; give a tar archive that is there")
    if not kinds:
        raise LabError("hosts is empty; a lab has at least one host")
    for name, cidr in switches.items():
        _check_switch(name, cidr)
    if not switches.get(uplink):
        raise LabError(f"internet is '{uplink}', which is no switch with addresses")
    for name, kind in kinds.items():
        _check_host(name, kind, switches)
    for name, members in groups.items():
        if strangers := [member for member in members if member not in kinds]:
            raise LabError(f"group '{name}' has the member '{strangers[0]}', which is no host")

    gateway = str(ipaddress.ip_network(switches[uplink])[1])
    hosts = {
        name: HostSpec(name, kind, number, _interfaces(name, number, switches), gateway, layered=layer is not None)
        for number, (name, kind) in enumerate(kinds.items(), _FIRST_HOST)
    }
    internet = HostSpec(
        INTERNET, "native", 1, _interfaces(INTERNET, 1, {uplink: switches[uplink]}), loopback=INTERNET_ADDRESS
    )
    filled_in = {"switches": switches, "internet": uplink, "hosts": kinds, "groups": groups} | (
        {"layer": layer} if layer else {}
    )
    return Topology(switches, hosts, groups, internet, layer, filled_in)


def _interfaces(host: str, number: int, switches: dict[str, str | None]) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            device=f"eth{index}",
            switch=switch,
            port=f"{host}-{switch}",
            mac=f"52:54:00:{index:02x}:00:{number:02x}",
            address=f"{ipaddress.ip_network(cidr)[number]}/{cidr.partition('/')[2]}" if cidr else None,
        )
        for index, (switch, cidr) in enumerate(switches.items())
    )


def _mapping(description: dict[str, t.Any], key: str) -> dict[str, t.Any]:
    value = description.get(key) or {}
    if not isinstance(value, dict):
        raise LabError(f"{key} is {type(value).__name__}, not a mapping")
    return value


def _check_switch(name: str, cidr: t.Any) -> None:
    try:
        if cidr is not None and ipaddress.ip_network(cidr).prefixlen > 24:
            raise LabError(f"switch '{name}' has {cidr}; hosts need a /24 or wider")
    except ValueError as error:
        raise LabError(f"switch '{name}': {error}") from None


def _check_host(name: str, kind: t.Any, switches: dict[str, str | None]) -> None:
    if kind not in KINDS:
        raise LabError(f"host '{name}' has the kind '{kind}'; known are {', '.join(KINDS)}")
    longest = _LINK_NAME_MAX - 1 - max(map(len, switches))
    if not re.fullmatch(r"[a-z][a-z0-9-]*", str(name)) or len(name) > longest:
        raise LabError(f"host '{name}': a name is made of a-z, 0-9 and '-', and no longer than {longest} here")
    if name in (INTERNET, "switch"):
        raise LabError(f"host '{name}': this name is the lab's own")
