# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allocation: from what the store holds and what is declared to what the store shall hold.

A pure function of its arguments, so a prediction and the run that follows it agree to the address.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing
from . import network as networks
from .declaration import Declaration, DeclaredInstance, DeclaredPort
from .errors import InputError
from .state import FixedIp, Instance, Network, Project, State, Vif


def allocate(declaration: Declaration, before: State, now: float) -> State:
    """The state that the declaration asks for.

    Who holds an address keeps it; an address asked for by name is given first, then the hosts' own gateway
    addresses, then whatever is free, in the order of the declaration. `now` is the time (seconds since the epoch)
    at which addresses count as given back. InputError when something does not fit; nothing is half-decided.
    """
    derived = {
        label: networks.derive(declared, before.networks.get(label), declaration.settings, declaration.hosts)
        for label, declared in declaration.networks.items()
    }
    ports = _wanted_ports(declaration)
    vifs = _vifs(ports, before)
    book = _AddressBook(declaration, derived, ports, before, now)
    book.keep_and_request()
    book.host_gateways()
    book.fill()
    return State(
        projects={name: Project(name) for name in declaration.projects},
        networks=derived,
        instances={
            name: Instance(name, instance.project, instance.host) for name, instance in declaration.instances.items()
        },
        vifs=vifs,
        fixed_ips=book.held,
    )


#: (instance, network) -> what is asked of that NIC
_Ports = dict[tuple[str, str], DeclaredPort]


def _wanted_ports(declaration: Declaration) -> _Ports:
    wanted: _Ports = {}
    for instance in declaration.instances.values():
        for port in instance.ports:
            for label in _networks_of(port, instance, declaration):
                wanted[(instance.name, label)] = port
    return wanted


def _networks_of(port: DeclaredPort, instance: DeclaredInstance, declaration: Declaration) -> list[str]:
    """Labels of the networks that the port is for; an unnamed network is one that the project may use."""
    usable = [label for label, network in declaration.networks.items() if network.project in (None, instance.project)]
    if port.network is not None:
        if port.network not in usable:
            owner = declaration.networks[port.network].project
            raise InputError(
                f"{port.path}: network {port.network!r} belongs to project {owner!r}, "
                f"but instance {instance.name!r} to {instance.project!r}"
            )
        return [port.network]
    if not usable:
        raise InputError(f"{port.path}: no declared network may be used by project {instance.project!r}")
    if port.address is not None:
        number = addressing.number(port.address)
        fitting = [label for label in usable if number in declaration.networks[label].range]
        if not fitting:
            ranges = ", ".join(f"{label!r} {declaration.networks[label].range.cidr}" for label in usable)
            raise InputError(f"{port.path}.address: {port.address} lies outside the networks of the project: {ranges}")
        usable = fitting
    if port.mac is not None and len(usable) > 1:
        raise InputError(
            f"{port.path}.mac: the instance has a NIC on each of {', '.join(map(repr, usable))}; "
            "name the networks and their MAC addresses under `networks`"
        )
    return usable


def _vifs(ports: _Ports, before: State) -> dict[tuple[str, str], Vif]:
    """Each wanted NIC with the MAC address it is given, had before, or derives from its name."""
    holders: dict[str, tuple[str, str]] = {}
    for key, port in ports.items():
        if port.mac is not None:
            holders[port.mac] = key
    for key in ports:
        known = before.vifs.get(key)
        if known is None or ports[key].mac is not None:
            continue
        if known.mac in holders:
            other = holders[known.mac]
            raise InputError(
                f"{ports[other].path}: MAC address {known.mac} is already that of instance {key[0]!r}; choose another"
            )
        holders[known.mac] = key
    mac_of = {key: mac for mac, key in holders.items()}
    vifs = {}
    for key in ports:
        instance, label = key
        owner = f"{label}/{instance}"
        mac = mac_of.get(key)
        if mac is None:
            mac = addressing.stable_mac(owner, holders)
            holders[mac] = key
        vifs[key] = Vif(addressing.stable_uuid(owner), instance, label, mac)
    return vifs


class _AddressBook:
    """The fixed IPs being decided: `held` maps an address to its record."""

    def __init__(
        self, declaration: Declaration, derived: dict[str, Network], ports: _Ports, before: State, now: float
    ) -> None:
        self._declaration = declaration
        self._networks = derived
        self._ports = ports
        # The hosts that have a guest on a network, in the order of the declaration.
        self._in_use = dict.fromkeys((declaration.instances[instance].host, label) for instance, label in ports)
        self._before = before
        self._now = now
        self._ranges = {label: network.range for label, network in derived.items()}
        self._reserved = {label: networks.reserved(network) for label, network in derived.items()}
        self._pools: dict[str, addressing.Pool] = {}
        self.held: dict[str, FixedIp] = {}
        self._of_port: set[tuple[str, str]] = set()

    def keep_and_request(self) -> None:
        """Addresses asked for, then those that were held already."""
        for key, port in self._ports.items():
            if port.address is not None:
                self._request(key, port)
        for record in self._before.fixed_ips.values():
            if record.instance is not None:
                key = (record.instance, record.network)
                if key in self._ports and key not in self._of_port:
                    self._keep(key, record)
            elif record.host is not None and self._host_stays(record.host, record.network):
                self._hold(record, f"host {record.host!r} has it as its gateway on network {record.network!r}")
        for record in self._before.fixed_ips.values():
            self._remember(record)

    def host_gateways(self) -> None:
        """In a multi_host network each host with an instance on it needs an address of its own."""
        have = {(record.host, record.network) for record in self.held.values() if record.host is not None}
        for host, label in self._in_use:
            if self._networks[label].multi_host and (host, label) not in have:
                address = self._take(label, f"the gateway of host {host!r}")
                self.held[address] = FixedIp(address, label, None, host, None)

    def fill(self) -> None:
        """A free address for every NIC that has none yet."""
        for key in self._ports:
            if key not in self._of_port:
                address = self._take(key[1], f"instance {key[0]!r}")
                self.held[address] = FixedIp(address, key[1], key[0], None, None)

    def _request(self, key: tuple[str, str], port: DeclaredPort) -> None:
        address = t.cast(str, port.address)
        network = self._networks[key[1]]
        number = addressing.number(address)
        if number not in self._ranges[key[1]]:
            raise InputError(
                f"{port.path}.address: {address} lies outside network {network.label!r} {network.cidr}; "
                "choose an address inside it"
            )
        if number in self._reserved[key[1]]:
            raise InputError(
                f"{port.path}.address: {address} is reserved in network {network.label!r} {network.cidr} "
                f"(network, gateway {network.gateway}, DHCP server {network.dhcp_server}, first host address and "
                "broadcast are); choose another"
            )
        self.held[address] = FixedIp(address, key[1], key[0], None, None)
        self._of_port.add(key)

    def _keep(self, key: tuple[str, str], record: FixedIp) -> None:
        """An address is kept for the instance's life; what would take it away is refused."""
        self._hold(record, f"instance {key[0]!r} holds it on network {key[1]!r}")
        self._of_port.add(key)

    def _hold(self, record: FixedIp, holder: str) -> None:
        taker = self.held.get(record.address)
        if taker is not None:
            raise InputError(
                f"instance {taker.instance!r}: address {record.address} is already taken: {holder}; choose another"
            )
        network = self._networks[record.network]
        number = addressing.number(record.address)
        if number not in self._ranges[record.network]:
            raise InputError(
                f"network {network.label!r}: the range {network.cidr} would leave out {record.address}, and {holder}; "
                "keep the range, or remove what holds the address first"
            )
        if number in self._reserved[record.network]:
            raise InputError(
                f"network {network.label!r}: {record.address} would become reserved (gateway {network.gateway}, "
                f"DHCP server {network.dhcp_server}), but {holder}; choose another gateway"
            )
        self.held[record.address] = record

    def _host_stays(self, host: str, label: str) -> bool:
        """nova kept a host's gateway while the network lives, unless told to tear unused ones down."""
        network = self._networks.get(label)
        if network is None or not network.multi_host or host not in self._declaration.hosts:
            return False
        return not self._declaration.settings.teardown_unused_network_gateway or (host, label) in self._in_use

    def _remember(self, record: FixedIp) -> None:
        """An address given back stays known, so that it is the last to be given out again."""
        if record.address in self.held or record.network not in self._networks:
            return
        if addressing.number(record.address) not in self._ranges[record.network]:
            return
        released_at = self._now if record.released_at is None else record.released_at
        self.held[record.address] = FixedIp(record.address, record.network, None, None, released_at)

    def _take(self, label: str, taker: str) -> str:
        """The next free address of the network; the records of released ones are replaced by the caller."""
        if label not in self._pools:
            self._pools[label] = self._pool(label)
        number = self._pools[label].take()
        if number is None:
            network = self._networks[label]
            raise InputError(
                f"network {label!r} {network.cidr} has no free address left for {taker}; "
                "remove an instance or declare a larger network"
            )
        return addressing.text(number)

    def _pool(self, label: str) -> addressing.Pool:
        unavailable = set(self._reserved[label])
        released = []
        for record in self.held.values():
            if record.network != label:
                continue
            number = addressing.number(record.address)
            if record.released_at is None:
                unavailable.add(number)
            else:
                released.append((record.released_at, number))
        return addressing.Pool(self._ranges[label], unavailable, released)
