# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The declaration: what the operator asks for, read from untyped variables into checked values.

Everything that can be refused without looking at the store is refused here.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import difflib
import typing as t

from . import addressing, naming
from .errors import InputError
from .fields import Fields, items, text

#: The managers that can be declared, in nova's words without `Manager`.
MANAGERS = ("flatdhcp",)

#: Groups of hosts by what the host does: nova's node names.
NODES = ("bridging", "addressing", "routing")

#: Variables that hold for the whole site.
SITE_OPTIONS = (
    "nova_dhcp_domain",
    "nova_dhcp_lease_time",
    "nova_dmz_cidr",
    "nova_dns_server",
    "nova_dnsmasq_config_file",
    "nova_fixed_range",
    "nova_flat_network_bridge",
    "nova_flat_network_dns",
    "nova_force_snat_range",
    "nova_gateway",
    "nova_multi_host",
    "nova_network_device_mtu",
    "nova_network_host",
    "nova_network_label",
    "nova_network_manager",
    "nova_teardown_unused_network_gateway",
    "nova_use_network_dns_servers",
)

#: Variables that each host may have its own value of.
HOST_OPTIONS = (
    "nova_bridge_interfaces",
    "nova_flat_interface",
    "nova_my_ip",
    "nova_public_interface",
    "nova_routing_source_ip",
)

#: Variables that the roles read beside these.
OTHER_OPTIONS = (
    "nova_instances",
    "nova_manage_packages",
    "nova_networks",
    "nova_projects",
    "nova_run",
    "nova_state_url",
    "nova_user",
)

LEAST_MTU, GREATEST_MTU = 68, 65535
DEFAULT_LEASE_TIME = 86400


def select(variables: t.Mapping[str, t.Any], options: tuple[str, ...]) -> dict[str, t.Any]:
    """The values of those options that are set."""
    return {name: variables[name] for name in options if name in variables}


def check_names(variables: t.Iterable[str], owner: str) -> None:
    """Ansible takes a misspelt variable for one of nobody's; refuse what is nearly, but not quite, one of ours."""
    known = SITE_OPTIONS + HOST_OPTIONS + OTHER_OPTIONS
    for name in variables:
        if name.startswith("nova_") and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.85)
            if near:
                raise InputError(f"{owner}: {name!r} is no known variable; {near[0]!r} is. Rename or remove it")


class Settings(t.NamedTuple):
    """Options that hold for the whole site, under nova's names. Times in seconds."""

    network_manager: str
    multi_host: bool
    network_host: str | None
    teardown_unused_network_gateway: bool
    dhcp_domain: str
    dhcp_lease_time: int
    dns_server: tuple[str, ...]
    use_network_dns_servers: bool
    dnsmasq_config_file: str | None
    dmz_cidr: tuple[str, ...]
    force_snat_range: tuple[str, ...]


class DeclaredNetwork(t.NamedTuple):
    """A network as asked for; None where a field is to be derived."""

    path: str
    label: str
    manager: str
    range: addressing.Range
    bridge: str
    bridge_interface: str | None
    gateway: str | None
    dhcp_server: str | None
    dns1: str | None
    dns2: str | None
    mtu: int | None
    multi_host: bool
    host: str | None
    project: str | None


class DeclaredPort(t.NamedTuple):
    """One NIC of an instance: network None means all networks that the project may use."""

    path: str
    network: str | None
    address: str | None
    mac: str | None


class DeclaredInstance(t.NamedTuple):
    path: str
    name: str
    project: str
    host: str
    ports: tuple[DeclaredPort, ...]


class Host(t.NamedTuple):
    """A host and its own settings. routing_source_ip: None is the host's own address, empty is no SNAT."""

    name: str
    nodes: tuple[str, ...]
    flat_interface: str | None
    bridge_interfaces: dict[str, str]
    public_interface: str | None
    routing_source_ip: str | None


class Declaration(t.NamedTuple):
    settings: Settings
    networks: dict[str, DeclaredNetwork]
    projects: tuple[str, ...]
    instances: dict[str, DeclaredInstance]
    hosts: dict[str, Host]


def parse(
    settings: dict[str, t.Any],
    networks: list[t.Any] | None,
    projects: list[t.Any],
    instances: list[t.Any],
    hosts: dict[str, t.Any],
) -> Declaration:
    """Read the whole declaration; the paths in messages are the names of the variables.

    `networks` None stands for nova's own form: one network described by the settings alone.
    """
    site = Fields(settings, "nova")
    defaults = _Defaults(site)
    read = _settings(site)
    entries = [("nova", defaults.whole_range())] if networks is None else items(networks, "nova_networks")
    known_hosts = _hosts(hosts)
    declared = _networks(entries, read, defaults)
    names = _projects(projects)
    site.done()
    _check_networks(declared, names, known_hosts, read)
    guests = _instances(instances)
    _check_instances(guests, declared, names, known_hosts)
    return Declaration(read, declared, names, guests, known_hosts)


class _Defaults:
    """Settings that only stand in for what a network leaves out."""

    def __init__(self, site: Fields) -> None:
        site.path = ""
        self._site = site
        self.fixed_range = site.raw("nova_fixed_range")
        self.bridge = site.optional_interface("nova_flat_network_bridge")
        self.dns1 = site.optional_address("nova_flat_network_dns")
        self.gateway = site.optional_address("nova_gateway")
        self.mtu = site.optional_integer("nova_network_device_mtu", LEAST_MTU, GREATEST_MTU)
        self.label = site.text("nova_network_label", "nova")

    def whole_range(self) -> dict[str, t.Any]:
        if self.fixed_range is None:
            raise InputError(
                "no network is declared: set nova_fixed_range for one network, or list networks in nova_networks "
                "(an empty list removes every network)"
            )
        fixed_range = addressing.network(self.fixed_range, "nova_fixed_range").cidr
        return {"label": self.label, "fixed_range": fixed_range, "gateway": self.gateway}


def _settings(site: Fields) -> Settings:
    manager = _manager(site.text("nova_network_manager", "flatdhcp"), "nova_network_manager")
    domain = site.raw("nova_dhcp_domain")
    return Settings(
        network_manager=manager,
        multi_host=site.boolean("nova_multi_host", False),
        network_host=site.optional_text("nova_network_host"),
        teardown_unused_network_gateway=site.boolean("nova_teardown_unused_network_gateway", False),
        dhcp_domain="novalocal" if domain is None else _domain(domain, "nova_dhcp_domain"),
        dhcp_lease_time=site.integer("nova_dhcp_lease_time", DEFAULT_LEASE_TIME, 120, 2**31 - 1),
        dns_server=site.addresses("nova_dns_server"),
        use_network_dns_servers=site.boolean("nova_use_network_dns_servers", False),
        dnsmasq_config_file=site.optional_text("nova_dnsmasq_config_file"),
        dmz_cidr=site.networks("nova_dmz_cidr"),
        force_snat_range=site.networks("nova_force_snat_range"),
    )


def _manager(value: str, path: str) -> str:
    """nova's class names (`nova.network.manager.FlatDHCPManager`) are understood beside the short ones."""
    short = value.rsplit(".", 1)[-1].lower()
    short = short[: -len("manager")] if short.endswith("manager") else short
    if short not in MANAGERS:
        raise InputError(f"{path}: {value!r} is not a network manager; known: {', '.join(MANAGERS)}")
    return short


def _domain(value: t.Any, path: str) -> str:
    if value == "":
        return ""
    for part in text(value, path).split("."):
        naming.host_name(part, path)
    return t.cast(str, value)


def _networks(entries: list[tuple[str, t.Any]], settings: Settings, defaults: _Defaults) -> dict[str, DeclaredNetwork]:
    declared: dict[str, DeclaredNetwork] = {}
    for path, value in entries:
        network = _network(Fields(value, path), settings, defaults)
        if network.label in declared:
            raise InputError(
                f"{path}: network {network.label!r} is declared twice, first as {declared[network.label].path}; "
                "labels are unique"
            )
        declared[network.label] = network
    return declared


def _network(fields: Fields, settings: Settings, defaults: _Defaults) -> DeclaredNetwork:
    label = fields.text("label")
    fields.path = f"{fields.path} ({label})"
    manager = fields.optional_text("manager")
    bridge = fields.optional_interface("bridge") or defaults.bridge
    if bridge is None:
        raise InputError(f"{fields.where('bridge')} is required: name it here or as nova_flat_network_bridge")
    network = DeclaredNetwork(
        path=fields.path,
        label=label,
        manager=settings.network_manager if manager is None else _manager(manager, fields.where("manager")),
        range=fields.network("fixed_range"),
        bridge=bridge,
        bridge_interface=fields.optional_interface("bridge_interface"),
        gateway=fields.optional_address("gateway"),
        dhcp_server=fields.optional_address("dhcp_server"),
        dns1=fields.optional_address("dns1") or defaults.dns1,
        dns2=fields.optional_address("dns2"),
        mtu=fields.optional_integer("mtu", LEAST_MTU, GREATEST_MTU) or defaults.mtu,
        multi_host=fields.boolean("multi_host", settings.multi_host),
        host=fields.optional_text("host"),
        project=fields.optional_text("project"),
    )
    fields.done()
    _check_range(network)
    return network


def _check_range(network: DeclaredNetwork) -> None:
    subnet = network.range
    if subnet.prefix > addressing.SMALLEST_PREFIX:
        raise InputError(
            f"{network.path}: range {subnet.cidr} is too small; a network needs at least "
            f"4 addresses (/{addressing.SMALLEST_PREFIX}): its own, a gateway, a guest and the broadcast"
        )
    for name in ("gateway", "dhcp_server"):
        value = getattr(network, name)
        if value is None:
            continue
        if addressing.number(value) not in subnet:
            raise InputError(f"{network.path}.{name}: {value} lies outside the network's range {subnet.cidr}")
        if addressing.number(value) in (subnet.first, subnet.last):
            raise InputError(
                f"{network.path}.{name}: {value} is the network or broadcast address of {subnet.cidr}; "
                "choose a host address"
            )


def _check_networks(
    networks: dict[str, DeclaredNetwork], projects: tuple[str, ...], hosts: dict[str, Host], settings: Settings
) -> None:
    ordered = sorted(networks.values(), key=lambda network: network.range)
    for lower, upper in zip(ordered, ordered[1:]):
        if lower.range.overlaps(upper.range):
            raise InputError(
                f"network {upper.range.cidr} ({upper.label!r}) overlaps network {lower.label!r} "
                f"{lower.range.cidr}; give each network a range of its own"
            )
    bridges: dict[str, str] = {}
    for network in networks.values():
        if network.bridge in bridges:
            raise InputError(
                f"{network.path}.bridge: {network.bridge!r} already belongs to network {bridges[network.bridge]!r}; "
                "each network needs a bridge of its own"
            )
        bridges[network.bridge] = network.label
        if network.project is not None and network.project not in projects:
            raise InputError(_unknown(f"{network.path}.project", network.project, "project", projects))
        if network.host is not None and network.host not in hosts:
            raise InputError(_unknown(f"{network.path}.host", network.host, "host", hosts))
    if settings.network_host is not None and settings.network_host not in hosts:
        raise InputError(_unknown("nova_network_host", settings.network_host, "host", hosts))


def _projects(projects: list[t.Any]) -> tuple[str, ...]:
    names: list[str] = []
    for path, value in items(projects, "nova_projects"):
        if isinstance(value, dict):
            fields = Fields(value, path)
            name = fields.text("name")
            fields.done()
        else:
            name = text(value, path)
        if name in names:
            raise InputError(f"{path}: project {name!r} is declared twice")
        names.append(name)
    return tuple(names)


def _instances(instances: list[t.Any]) -> dict[str, DeclaredInstance]:
    declared: dict[str, DeclaredInstance] = {}
    for path, value in items(instances, "nova_instances"):
        fields = Fields(value, path)
        name = naming.host_name(fields.text("name"), fields.where("name"))
        fields.path = f"{path} ({name})"
        instance = DeclaredInstance(fields.path, name, fields.text("project"), fields.text("host"), _ports(fields))
        fields.done()
        if name in declared:
            raise InputError(f"{path}: instance {name!r} is declared twice, first as {declared[name].path}")
        declared[name] = instance
    return declared


def _ports(fields: Fields) -> tuple[DeclaredPort, ...]:
    """Either one port in the instance itself (network, address, mac) or a list of them under `networks`."""
    listed = fields.raw("networks")
    single = DeclaredPort(
        fields.path,
        fields.optional_text("network"),
        fields.optional_address("address"),
        fields.optional_mac("mac"),
    )
    if listed is None:
        return (single,)
    if any((single.network, single.address, single.mac)):
        raise InputError(f"{fields.path}: network, address and mac go into the entries of `networks` where it is given")
    ports = []
    for path, value in items(listed, fields.where("networks")):
        if isinstance(value, str):
            value = {"label": value}
        entry = Fields(value, path)
        ports.append(
            DeclaredPort(path, entry.text("label"), entry.optional_address("address"), entry.optional_mac("mac"))
        )
        entry.done()
    labels = [port.network for port in ports]
    for port in ports:
        if labels.count(port.network) > 1:
            raise InputError(f"{port.path}: network {port.network!r} is named twice; an instance has one NIC a network")
    return tuple(ports)


def _check_instances(
    instances: dict[str, DeclaredInstance],
    networks: dict[str, DeclaredNetwork],
    projects: tuple[str, ...],
    hosts: dict[str, Host],
) -> None:
    macs: dict[str, str] = {}
    addresses: dict[str, str] = {}
    known_projects = frozenset(projects)
    for instance in instances.values():
        if instance.project not in known_projects:
            raise InputError(_unknown(f"{instance.path}.project", instance.project, "project", projects))
        if instance.host not in hosts:
            raise InputError(_unknown(f"{instance.path}.host", instance.host, "host", hosts))
        for port in instance.ports:
            if port.network is not None and port.network not in networks:
                raise InputError(_unknown(f"{port.path}", port.network, "network", networks))
            for kind, value, taken in (("MAC address", port.mac, macs), ("address", port.address, addresses)):
                if value is None:
                    continue
                if value in taken:
                    raise InputError(
                        f"{port.path}: {kind} {value} is already given to instance {taken[value]!r}; "
                        "each belongs to one instance"
                    )
                taken[value] = instance.name


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
            _bridge_interfaces(fields),
            fields.optional_interface("nova_public_interface"),
            own if source is None else source,
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


def _unknown(path: str, value: str, kind: str, known: t.Iterable[str]) -> str:
    names = sorted(known)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{path}: {value!r} is no known {kind}; known: {shown or 'none'}"
