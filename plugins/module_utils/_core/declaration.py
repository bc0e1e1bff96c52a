# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The declaration: what the operator asks for, read from untyped variables into checked values.

Everything that can be refused without looking at the store is refused here.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, floating_ips, instance_request, naming, network_request, port_forwards
from . import settings as site_options
from .errors import InputError
from .fields import Fields, items, text
from .instance_request import InstanceRequest
from .network_request import NetworkRequest
from .projects import unknown
from .security_groups import Request as GroupRequest
from .security_groups import read as read_group
from .settings import GREATEST_COUNT, UNLIMITED, Settings
from .state import Project

#: Groups of hosts by what the host does: nova's node names.
NODES = ("bridging", "addressing", "routing")


class Host(t.NamedTuple):
    """A host and its own settings. routing_source_ip: None is the host's own address, empty is no SNAT."""

    name: str
    nodes: tuple[str, ...]
    flat_interface: str | None
    vlan_interface: str | None
    bridge_interfaces: dict[str, str]
    public_interface: str | None
    routing_source_ip: str | None
    #: Interfaces whose addresses and routes may be moved to the bridge that takes them.
    allow_move_addresses: tuple[str, ...] = ()
    #: Whether the taps of its guests are made beforehand.
    persistent_taps: bool = False
    #: Whether its guests are kept from spoofing.
    port_security: bool = True
    #: Whether it makes the bridges of flat networks too, which are the operator's else.
    make_flat_bridge: bool = False


class DeclaredProject(t.NamedTuple):
    """`floating_ips` are addresses that the project shall have."""

    path: str
    project: Project
    floating_ips: tuple[str, ...]


class DeclaredPool(t.NamedTuple):
    """Floating IPs of one pool, one by one."""

    path: str
    pool: str
    interface: str | None
    addresses: tuple[str, ...]


class Declaration(t.NamedTuple):
    settings: Settings
    networks: tuple[NetworkRequest, ...]
    projects: dict[str, DeclaredProject]
    security_groups: dict[tuple[str, str], GroupRequest]
    floating_ranges: tuple[DeclaredPool, ...]
    instances: dict[str, InstanceRequest]
    hosts: dict[str, Host]
    port_forwards: tuple[port_forwards.Request, ...] = ()


def parse(
    settings: dict[str, t.Any],
    networks: list[t.Any] | None,
    projects: list[t.Any],
    instances: list[t.Any],
    hosts: dict[str, t.Any],
    security_groups: t.Sequence[t.Any] = (),
    floating_ranges: t.Sequence[t.Any] = (),
    floating_port_forwards: t.Sequence[t.Any] = (),
) -> Declaration:
    """Read the whole declaration; the paths in messages are the names of the variables.

    `networks` None stands for nova's own form: networks described by the settings alone.
    """
    site = Fields(settings, "nova")
    site.path = ""
    read = site_options.read(site)
    whole = _whole(site)
    site.done()
    if networks is None:
        entries = [("nova", whole)] if whole else []
        if not entries:
            raise InputError(
                "no network is declared: set nova_fixed_range for one network, or list networks in nova_networks "
                "(an empty list removes every network)"
            )
    else:
        entries = items(networks, "nova_networks")
    known_hosts = _hosts(hosts)
    requests = _networks(entries, read, known_hosts)
    if read.network_host is not None and read.network_host not in known_hosts:
        raise InputError(unknown("nova_network_host", read.network_host, "host", known_hosts))
    return Declaration(
        read,
        requests,
        _projects(projects),
        _groups(security_groups),
        _pools(floating_ranges, read),
        _instances(instances, known_hosts),
        known_hosts,
        _forwards(floating_port_forwards),
    )


def _whole(site: Fields) -> dict[str, t.Any]:
    """The networks that the settings alone describe, as an entry of nova_networks; empty where they name no range."""
    v4, v6 = site.optional_network("nova_fixed_range"), site.optional_network_v6("nova_fixed_range_v6")
    entry = {
        "label": site.text("nova_network_label", "nova"),
        "fixed_range": v4 and v4.cidr,
        "fixed_range_v6": v6 and v6.cidr,
        "num_networks": site.optional_integer("nova_num_networks", 1, GREATEST_COUNT),
        "gateway": site.optional_address("nova_gateway"),
        "gateway_v6": site.optional_address_v6("nova_gateway_v6"),
    }
    return entry if v4 or v6 else {}


def _networks(entries: list[tuple[str, t.Any]], read: Settings, hosts: dict[str, Host]) -> tuple[NetworkRequest, ...]:
    requests = []
    labels: dict[str, str] = {}
    for path, value in entries:
        request = network_request.read(Fields(value, path), read)
        for label in request.labels:
            if label in labels:
                raise InputError(
                    f"{path}: network {label!r} is declared twice, first as {labels[label]}; labels are unique"
                )
            labels[label] = request.path
        if request.host is not None and request.host not in hosts:
            raise InputError(unknown(f"{request.path}.host", request.host, "host", hosts))
        requests.append(request)
    return tuple(requests)


def _projects(projects: list[t.Any]) -> dict[str, DeclaredProject]:
    declared: dict[str, DeclaredProject] = {}
    for path, value in items(projects, "nova_projects"):
        fields = Fields(value if isinstance(value, dict) else {"name": text(value, path)}, path)
        name = fields.text("name")
        addresses = [addressing.any_address(each, where) for where, each in fields.items("floating_ips")]
        declared_project = DeclaredProject(path, project(fields, name), tuple(addresses))
        fields.done()
        if name in declared:
            raise InputError(f"{path}: project {name!r} is declared twice")
        declared[name] = declared_project
    return declared


def project(fields: Fields, name: str, origin: str = "inventory") -> Project:
    """A project with its own network manager and quotas."""
    manager = fields.optional_text("network_manager")

    def quota(kind: str) -> int | None:
        return fields.optional_integer(f"quota_{kind}", UNLIMITED, GREATEST_COUNT)

    return Project(
        name,
        None if manager is None else site_options.manager(manager, fields.where("network_manager")),
        quota("networks"),
        quota("fixed_ips"),
        quota("floating_ips"),
        quota("security_groups"),
        origin,
    )


def _groups(groups: t.Sequence[t.Any]) -> dict[tuple[str, str], GroupRequest]:
    declared: dict[tuple[str, str], GroupRequest] = {}
    for path, value in items(groups, "nova_security_groups"):
        group = read_group(Fields(value, path))
        if (group.project, group.name) in declared:
            raise InputError(f"{path}: security group {group.name!r} of project {group.project!r} is declared twice")
        declared[group.project, group.name] = group
    return declared


def _pools(ranges: t.Sequence[t.Any], read: Settings) -> tuple[DeclaredPool, ...]:
    declared: list[DeclaredPool] = []
    pool_of: dict[str, str] = {}
    for path, value in items(ranges, "nova_floating_ranges"):
        fields = Fields(value if isinstance(value, dict) else {"range": value}, path)
        pool = DeclaredPool(
            path,
            fields.text("pool", read.default_floating_pool),
            fields.optional_interface("interface"),
            tuple(floating_ips.expand(fields.text("range"), fields.where("range"))),
        )
        fields.done()
        for address in pool.addresses:
            if address in pool_of:
                raise InputError(f"{path}.range: {address} is declared twice, first in {pool_of[address]}")
            pool_of[address] = path
        declared.append(pool)
    return tuple(declared)


def _forwards(forwards: t.Sequence[t.Any]) -> tuple[port_forwards.Request, ...]:
    declared: dict[tuple[str, str, int], port_forwards.Request] = {}
    for path, value in items(forwards, "nova_floating_port_forwards"):
        request = port_forwards.read(Fields(value, path))
        if request.place.key in declared:
            raise InputError(f"{path}: {request.place.named} is declared twice; a port leads to one instance")
        declared[request.place.key] = request
    return tuple(declared.values())


def _instances(instances: list[t.Any], hosts: dict[str, Host]) -> dict[str, InstanceRequest]:
    declared: dict[str, InstanceRequest] = {}
    taken: dict[str, str] = {}
    for path, value in items(instances, "nova_instances"):
        request = instance_request.read(Fields(value, path))
        if request.name in declared:
            first = declared[request.name].path
            raise InputError(f"{path}: instance {request.name!r} is declared twice, first as {first}")
        if request.host not in hosts:
            raise InputError(unknown(f"{request.path}.host", request.host, "host", hosts))
        for port in request.ports:
            named = (("MAC address", port.mac), ("address", port.address), ("address", port.address_v6))
            for kind, asked in named:
                if asked is None:
                    continue
                if asked in taken:
                    raise InputError(
                        f"{port.path}: {kind} {asked} is already given to instance {taken[asked]!r}; "
                        "each belongs to one instance"
                    )
                taken[asked] = request.name
        declared[request.name] = request
    return declared


def _hosts(hosts: dict[str, t.Any]) -> dict[str, Host]:
    read = {}
    for name, value in hosts.items():
        fields = Fields(value, f"host {name}")
        nodes = tuple(text(node, path) for path, node in fields.items("nodes"))
        for node in nodes:
            if node not in NODES:
                raise InputError(f"host {name}.nodes: {node!r} is not one of {', '.join(NODES)}")
        source = fields.raw("nova_routing_source_ip")
        if source not in (None, ""):
            source = addressing.address(source, fields.where("nova_routing_source_ip"))
        own = fields.optional_address("nova_my_ip")
        read[name] = Host(
            name,
            nodes,
            fields.optional_interface("nova_flat_interface"),
            fields.optional_interface("nova_vlan_interface"),
            _bridge_interfaces(fields),
            fields.optional_interface("nova_public_interface"),
            own if source is None else source,
            tuple(naming.interface_name(each, path) for path, each in fields.items("nova_allow_move_addresses")),
            fields.boolean("nova_persistent_taps", False),
            fields.boolean("nova_port_security", True),
            fields.boolean("nova_make_flat_bridge", False),
        )
        fields.done()
    return read


def _bridge_interfaces(fields: Fields) -> dict[str, str]:
    value = fields.raw("nova_bridge_interfaces")
    path = fields.where("nova_bridge_interfaces")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: {value!r} is not a mapping of network labels to interfaces")
    return {text(label, path): naming.interface_name(name, f"{path}.{label}") for label, name in value.items()}
