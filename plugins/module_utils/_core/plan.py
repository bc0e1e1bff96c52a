# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Composing host plans: from the state of the store and the hosts' own settings to one document per host.

The document is described by docs/host_plan.schema.json. Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import address_pairs, addressing, naming, plan_floating, port_forwards
from .addressing import stable_mac
from .declaration import Declaration, Host
from .errors import InputError
from .guests import Guest, guests, host_gateway_v6, host_gateways
from .links import sysctl
from .plan_security import Groups
from .settings import Settings
from .state import FloatingIp, Network, PortForward, State

VERSION = 1

#: DHCP option numbers (RFC 2132).
OPTION_ROUTER = 3
OPTION_INTERFACE_MTU = 26
#: Leases of a network of IPv6 alone, whose range has more addresses than any number of guests.
LEASES_V6 = 65536

Plan = dict[str, t.Any]


class _Site(t.NamedTuple):
    """The state once more, looked up by host and by network."""

    state: State
    settings: Settings
    by_host: dict[str, list[Guest]]
    by_network: dict[str, list[Guest]]
    gateways: dict[tuple[str, str], str]
    #: Labels of the networks that a host serves, by host; the one of a single-host network or its own in multi_host.
    served: dict[str, set[str]]
    #: Floating IPs that lead to a guest, by the host that is its gateway, in order of address.
    floating_ips: dict[str, list[FloatingIp]]
    #: Port forwards in the same way, and the floating IPs that have them.
    port_forwards: dict[str, list[PortForward]]
    groups: Groups


def compose(state: State, declaration: Declaration) -> dict[str, Plan]:
    """The plan of every declared host. InputError where a host cannot do what falls to it."""
    site = _look_up(state, declaration.settings)
    _check_pairs(site)
    return {name: _host_plan(host, site) for name, host in declaration.hosts.items()}


def _look_up(state: State, settings: Settings) -> _Site:
    nics = guests(state)
    site = _Site(state, settings, {}, {}, host_gateways(state), {}, {}, {}, Groups(state, nics))
    for network in state.networks.values():
        if network.manager != "flat" and network.host is not None:
            site.served.setdefault(network.host, set()).add(network.label)
    for host, label in site.gateways:
        site.served.setdefault(host, set()).add(label)
    for guest in nics:
        site.by_host.setdefault(guest.instance.host, []).append(guest)
        site.by_network.setdefault(guest.network.label, []).append(guest)
    for row in _leading(state):
        gateway_host = _gateway_host(t.cast(str, row.fixed_address), state)
        if gateway_host is not None:
            site.floating_ips.setdefault(gateway_host, []).append(row)
    _look_up_forwards(site)
    return site


def _check_pairs(site: _Site) -> None:
    """Also against gateways that hosts have got, or will have by their names, since the pairs were allowed."""
    own: dict[str, dict[str, str | None]] = {}
    for (host, label), address in site.gateways.items():
        own.setdefault(label, {})[host] = address
    for label, members in site.by_network.items():
        paired = [guest for guest in members if guest.allowed_address_pairs]
        if paired:
            network = site.state.networks[label]
            hosts = {**dict.fromkeys(guest.instance.host for guest in members), **own.get(label, {})}
            gateways = [*hosts.values(), *(host_gateway_v6(host, network) for host in hosts)]
            for guest in paired:
                path = f"instance {guest.instance.name!r}"
                address_pairs.check(guest.allowed_address_pairs, network, filter(None, gateways), path)


def _look_up_forwards(site: _Site) -> None:
    """One host has a floating IP: so all that its ports lead to has to be behind that one."""
    first: dict[str, tuple[str, PortForward]] = {}
    for row in sorted(site.state.port_forwards.values(), key=port_forwards.order):
        gateway_host = _gateway_host(row.fixed_address, site.state)
        if gateway_host is None:
            continue
        other_host, other = first.setdefault(row.address, (gateway_host, row))
        if other_host != gateway_host:
            raise InputError(
                f"floating IP {row.address}: {row.protocol} {row.from_port} leads to {row.fixed_address}, whose "
                f"gateway is host {gateway_host!r}, but {other.protocol} {other.from_port} to {other.fixed_address} "
                f"behind {other_host!r}; one host has a floating IP, so take another one for either"
            )
        site.port_forwards.setdefault(gateway_host, []).append(row)


def _leading(state: State) -> list[FloatingIp]:
    """Floating IPs that are associated, in an order that does not depend on how they came to be there."""
    rows = [row for row in state.floating_ips.values() if row.fixed_address]
    return sorted(rows, key=lambda row: addressing.order(row.address))


def _gateway_host(fixed_address: str, state: State) -> str | None:
    """The host that leads a floating IP there: the one of the network, in multi_host that of the instance."""
    fixed = state.fixed_ips.get(fixed_address)
    if fixed is None or fixed.instance is None:
        return None
    network = state.networks[fixed.network]
    if network.manager == "flat":
        return None  # somebody else routes it
    return state.instances[fixed.instance].host if network.multi_host else network.host


def _host_plan(host: Host, site: _Site) -> Plan:
    present = site.by_host.get(host.name, [])
    carried = _carried(host, present, site)
    served = [network for network in carried if network.label in site.served.get(host.name, ())]
    _check_nodes(host, carried, served)
    places = [(row, plan_floating.public_interface(host, row)) for row in site.floating_ips.get(host.name, ())]
    forwards = site.port_forwards.get(host.name, [])
    shared = [site.state.floating_ips[address] for address in dict.fromkeys(row.address for row in forwards)]
    bound = places + [(row, plan_floating.public_interface(host, row)) for row in shared]
    bound.sort(key=lambda place: addressing.order(place[0].address))
    return {
        "version": VERSION,
        "host": host.name,
        "networks": [_network(network) for network in carried],
        "instances": _instances(present),
        "links": {
            "vlans": _vlans(host, carried),
            "bridges": _bridges(host, carried, served, site),
            **({"move_addresses": list(host.allow_move_addresses)} if host.allow_move_addresses else {}),
            "ports": [_port(host, guest) for guest in present],
            "sysctl": _sysctl(host, carried, served),
        },
        "port_filter": _port_filter(host, present, served, site),
        "dnsmasq": {"instances": [_dnsmasq(host, network, site) for network in served]},
        "packet_filter": {
            **_packet_filter(host, served, site.settings),
            **plan_floating.floating_ips(host, places),
            **plan_floating.port_forwards(host, forwards),
            **_metadata(carried, served, site.settings),
            **_flat_metadata(host, present, site.settings),
            **site.groups.section(present, _dhcp_servers(host, carried, site), site.settings),
        },
        **plan_floating.floating_addresses(bound, site.settings),
    }


def _port_filter(host: Host, present: list[Guest], served: list[Network], site: _Site) -> Plan:
    """In multi_host each host is the DHCP server of its own guests alone, so DHCP does not pass its uplinks."""
    if not host.port_security:
        return {"ports": [], "uplinks": []}
    return {
        "ports": [guest.filtered(_dhcp_server(host, guest.network, site)) for guest in present],
        "uplinks": sorted(filter(None, (_interface(host, each) for each in served if each.multi_host))),
    }


def _carried(host: Host, present: list[Guest], site: _Site) -> list[Network]:
    """Networks that the host has a bridge of: those of its guests and those that it serves."""
    labels = {guest.network.label for guest in present} | site.served.get(host.name, set())
    return [site.state.networks[label] for label in sorted(labels)]


def _check_nodes(host: Host, carried: list[Network], served: list[Network]) -> None:
    for role, networks, does in (
        ("bridging", carried, "carries"),
        ("addressing", served, "is the DHCP server of"),
        ("routing", served, "is the gateway of"),
    ):
        if networks and role not in host.nodes:
            raise InputError(
                f"host {host.name!r} {does} network {networks[0].label!r} but is no {role} node; "
                f"put it into the group {role}_nodes"
            )


def _server_address(host: Host, network: Network, site: _Site) -> str:
    """The IPv4 address of the gateway and DHCP server that this host's guests see."""
    return site.gateways.get((host.name, network.label)) or t.cast(str, network.dhcp_server)


def _dhcp_server(host: Host, network: Network, site: _Site) -> str | None:
    """The DHCPv4 server that this host's guests get their addresses from; in a flat network from none."""
    return None if network.manager == "flat" or network.cidr is None else _server_address(host, network, site)


def _router(host: Host, network: Network, site: _Site) -> str:
    """The default route of this host's guests: the host itself in multi_host, else the network's gateway."""
    return site.gateways.get((host.name, network.label)) or t.cast(str, network.gateway)


def _network(network: Network) -> Plan:
    return {
        "label": network.label,
        "manager": network.manager,
        "cidr": network.cidr,
        "cidr_v6": network.cidr_v6,
        "vlan": network.vlan,
        "bridge": network.bridge,
        "gateway": network.gateway,
        "gateway_v6": network.gateway_v6,
        "multi_host": network.multi_host,
        "host": network.host,
    }


def _instances(present: list[Guest]) -> list[Plan]:
    instances: dict[str, Plan] = {}
    for guest in present:
        name = guest.instance.name
        entry = instances.setdefault(name, {"name": name, "project": guest.instance.project, "ports": []})
        entry["ports"].append(guest.port())
    return list(instances.values())


def _vlans(host: Host, carried: list[Network]) -> list[Plan]:
    """One VLAN interface for each VLAN network, on the host's own interface for it."""
    return [
        {
            "name": naming.vlan_name(network.vlan),
            "link": _vlan_link(host, network),
            "id": network.vlan,
            "mtu": network.mtu,
            "mac": stable_mac(f"{host.name}/{naming.vlan_name(network.vlan)}", ()),
        }
        for network in carried
        if network.vlan is not None
    ]


def _vlan_link(host: Host, network: Network) -> str:
    """The host's own word for this network, else its vlan_interface, else the network's bridge_interface."""
    link = host.bridge_interfaces.get(network.label) or host.vlan_interface or network.bridge_interface
    if link is None:
        raise InputError(
            f"host {host.name!r} carries VLAN {network.vlan} of network {network.label!r}, but nova_vlan_interface "
            f"is not "
            "set for it; name the interface that the trunk is on"
        )
    return link


def _bridges(host: Host, carried: list[Network], served: list[Network], site: _Site) -> list[Plan]:
    bridges: list[Plan] = []
    labels = _labels(served)
    taken: dict[str, str] = {}
    for network in carried:
        if network.manager == "flat" and not host.make_flat_bridge:
            continue  # the operator's own
        if network.manager == "flat" and any(bridge["name"] == network.bridge for bridge in bridges):
            continue  # flat networks may share one
        interface = _interface(host, network)
        if interface is not None:
            if interface in taken:
                raise InputError(
                    f"host {host.name!r}: interface {interface!r} would be in the bridges of networks "
                    f"{taken[interface]!r} and {network.label!r}, but it can be in one only; "
                    "give each network its own bridge_interface, or nova_bridge_interfaces for this host"
                )
            taken[interface] = network.label
        # What a card took of it before the host's first run. A VLAN interface is made as the bridge's port.
        heard = {"advertised": [network.cidr_v6]} if _is_heard(network, interface) else {}
        bridges.append(
            {
                "name": network.bridge,
                "interfaces": [] if interface is None else [interface],
                "addresses": _addresses(host, network, site) if network.label in labels else [],
                "mtu": network.mtu,
                "mac": stable_mac(f"{host.name}/{network.bridge}", ()) if interface is None else None,
                "stp": False,
                "forward_delay": 0,
                **heard,
            }
        )
    return bridges


def _labels(networks: list[Network]) -> set[str]:
    """By which thousands of networks are told apart at once."""
    return {network.label for network in networks}


def _is_heard(network: Network, interface: str | None) -> bool:
    """Whether a network card of the host's is on a wire on which router advertisements of the network pass."""
    return interface is not None and network.vlan is None and network.cidr_v6 is not None and network.manager != "flat"


def _port(host: Host, guest: Guest) -> Plan:
    """The host's end of a guest's NIC."""
    return {
        "name": guest.device,
        "bridge": guest.network.bridge,
        "tap": host.persistent_taps,
        # nova's, so that a guest reaches itself by its floating IP.
        "hairpin": True,
        "mtu": guest.network.mtu,
        # As libvirt's: a bridge without a MAC address of its own takes the lowest of its ports, which this is never.
        "mac": "fe" + guest.mac[2:],
    }


def _interface(host: Host, network: Network) -> str | None:
    """The VLAN's, or the host's own word for this network, else the network's, else the host's flat_interface."""
    if network.vlan is not None:
        return naming.vlan_name(network.vlan)
    return host.bridge_interfaces.get(network.label) or network.bridge_interface or host.flat_interface


def _addresses(host: Host, network: Network, site: _Site) -> list[str]:
    """What the gateway of the network has on its bridge."""
    found = []
    if network.range is not None:
        found.append(f"{_server_address(host, network, site)}/{network.range.prefix}")
    if network.range_v6 is not None:
        found.append(f"{host_gateway_v6(host.name, network)}/{network.range_v6.prefix}")
    return found


def _sysctl(host: Host, carried: list[Network], served: list[Network]) -> dict[str, str]:
    """Forwarding, and whether the host itself takes part in its IPv6 networks.

    Where it is not their gateway it must not: it would heed the gateway's advertisements, take an address that guests
    can reach and send its own traffic through their network. Nor may an interface that is out of the bridge for a time.
    """
    settings = {}
    if any(network.cidr is not None for network in served):
        settings["net.ipv4.ip_forward"] = "1"
    if any(network.cidr_v6 is not None for network in served):
        settings[sysctl.FORWARDING_V6] = "1"
    labels = _labels(served)
    for network in carried:
        if network.cidr_v6 is None or network.manager == "flat":
            continue
        settings[sysctl.ipv6_key(network.bridge, "disable_ipv6")] = "0" if network.label in labels else "1"
        interface = _interface(host, network)
        if interface is not None and _is_heard(network, interface):
            settings[sysctl.ipv6_key(interface, "accept_ra")] = "0"
    return settings


def _dnsmasq(host: Host, network: Network, site: _Site) -> Plan:
    subnet = network.range
    members = site.by_network.get(network.label, [])
    local = [guest for guest in members if not network.multi_host or guest.instance.host == host.name]
    options = [] if subnet is None else [{"option": OPTION_ROUTER, "value": _router(host, network, site)}]
    if network.mtu is not None:
        options.append({"option": OPTION_INTERFACE_MTU, "value": str(network.mtu)})
    servers = list(site.settings.dns_server)
    if site.settings.use_network_dns_servers:
        servers += [server for server in (network.dns1, network.dns2) if server is not None]
    return {
        "name": network.bridge,
        "network": network.label,
        "interface": network.bridge,
        "listen_address": None if subnet is None else _server_address(host, network, site),
        "dhcp_start": network.dhcp_start,
        "netmask": None if subnet is None else subnet.netmask,
        "range_v6": network.cidr_v6,
        "lease_time": site.settings.dhcp_lease_time,
        "lease_max": LEASES_V6 if subnet is None else subnet.size,
        "domain": site.settings.dhcp_domain,
        "servers": servers,
        "config_file": site.settings.dnsmasq_config_file,
        "hosts": [
            {
                "mac": guest.mac,
                "hostname": naming.host_label(guest.instance.name),
                "address": guest.address,
                **({} if guest.address_v6 is None else {"address_v6": guest.address_v6}),
            }
            for guest in local
        ],
        "options": options,
        "names": [
            {"address": address, "hostname": guest.instance.name}
            for guest in members
            if network.multi_host
            for address in (guest.address, guest.address_v6)
            if address is not None
        ],
    }


def _packet_filter(host: Host, served: list[Network], settings: Settings) -> Plan:
    networks = [
        {
            "label": network.label,
            "bridge": network.bridge,
            "cidr": network.cidr,
            **({} if network.cidr_v6 is None else {"cidr_v6": network.cidr_v6}),
            **_uplinks(host, network),
            "gateway": True,
            "dhcp": True,
            # A DHCP server beside the gateway means that somebody else routes the network outwards.
            "snat": network.cidr is not None and (network.multi_host or network.dhcp_server == network.gateway),
        }
        for network in served
    ]
    outwards = [network["label"] for network in networks if network["snat"]]
    for network in served:
        if host.public_interface is not None and network.vlan is None:
            _check_public_interface(host, network)
    if outwards and host.routing_source_ip != "" and host.public_interface is None:
        raise InputError(
            f"host {host.name!r} routes network {outwards[0]!r} outwards, but nova_public_interface is not set for it; "
            "name the interface, or set nova_routing_source_ip to an empty text for no SNAT"
        )
    return {
        "public_interface": host.public_interface if outwards else None,
        "routing_source_ip": host.routing_source_ip if outwards else "",
        "dmz_cidr": list(settings.dmz_cidr),
        "force_snat_range": list(settings.force_snat_range),
        "networks": networks,
    }


def _uplinks(host: Host, network: Network) -> Plan:
    """Where guests of other hosts come in that have this host as their gateway; in multi_host none do."""
    interface = None if network.multi_host else _interface(host, network)
    return {} if interface is None else {"uplinks": [interface]}


def _check_public_interface(host: Host, network: Network) -> None:
    """What goes out over a bridge's port goes out over the bridge, as far as rules can see."""
    if host.public_interface == _interface(host, network):
        raise InputError(
            f"host {host.name!r}: nova_public_interface {host.public_interface!r} becomes a port of the bridge "
            f"{network.bridge!r} of network {network.label!r}, over which its traffic goes then; set "
            f"nova_public_interface to {network.bridge!r}, or give the network another interface"
        )


def _dhcp_servers(host: Host, carried: list[Network], site: _Site) -> dict[str, str]:
    """Who gives the guests of this host their IPv4 addresses, by network."""
    return {
        network.label: _server_address(host, network, site)
        for network in carried
        if network.cidr is not None and network.manager != "flat"
    }


def _metadata(carried: list[Network], served: list[Network], settings: Settings) -> Plan:
    if settings.metadata is None or not served:
        return {}
    host, port = settings.metadata
    # Where bridged packets pass the packet filter, those of networks with another gateway are to get to that.
    labels = _labels(served)
    # Flat networks may share a bridge.
    elsewhere = list(dict.fromkeys(network.bridge for network in carried if network.label not in labels))
    return {"metadata": {"host": host, "port": port, **({"elsewhere": elsewhere} if elsewhere else {})}}


def _flat_metadata(host: Host, present: list[Guest], settings: Settings) -> Plan:
    """Their gateway is the operator's, so their host leads them; to a service of its own if it is a routing node."""
    if settings.metadata is None:
        return {}
    to, port = settings.metadata
    if (to is None or addressing.is_loopback(to)) and "routing" not in host.nodes:
        return {}
    networks: dict[str, Plan] = {}
    for guest in present:
        network = guest.network
        if network.manager == "flat" and guest.address is not None:
            empty: Plan = {"bridge": network.bridge, "cidr": network.cidr, "ports": []}
            networks.setdefault(network.label, empty)["ports"].append(guest.device)
    if not networks:
        return {}
    return {"flat_metadata": {"host": to, "port": port, "networks": list(networks.values())}}
