# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances: their NICs, MAC addresses and fixed IPs, kept for their life; one of them, or all of a declaration.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import address_pairs, addressing, fixed_ips, floating_ips, network, projects
from .addressing import Range
from .errors import InputError
from .instance_request import ANY, InstanceRequest, PortRequest
from .ledger import Ledger, quarantined
from .settings import Settings
from .state import FixedIp, FloatingIp, Instance, Membership, Network, Project, SecurityGroup, Vif

#: (instance, network) -> what is asked of that NIC
_Ports = dict[tuple[str, str], PortRequest]


class Settling(t.NamedTuple):
    """What settling instances rests on. `now` is in seconds since the epoch; `origin` is who asks."""

    ledger: Ledger
    settings: Settings
    now: float
    origin: str


def settle(work: Settling, requests: t.Sequence[InstanceRequest]) -> None:
    """Give these instances what they ask for.

    Who holds an address keeps it; what is no longer wanted is given back first; then come addresses asked for by name,
    then the hosts' own gateway addresses, then whatever is free, in the order of the requests. InputError when
    something does not fit.
    """
    before = _holdings(work, requests)
    there = [request.name for request in requests if _record(work, request)]
    wanted = _wanted_ports(work, requests)
    kept = []
    for name in there:
        for vif in work.ledger.where(Vif, instance=name):
            if (vif.instance, vif.network) in wanted:
                kept.append((vif.instance, vif.network))
            else:
                remove_vif(work, vif)
    _vifs(work.ledger, wanted)
    book = _AddressBook(work, wanted)
    book.give_back(kept)
    book.request()
    book.host_gateways()
    book.fill()
    _check_pairs(work.ledger, wanted)
    _check_fixed_quota(work, before)


def complete(work: Settling, label: str) -> None:
    """The network has become another: who is on it, asked for or not, gets what a NIC of it has."""
    path = f"network {label!r}"
    vifs = work.ledger.where(Vif, network=label)
    wanted = {(vif.instance, label): PortRequest(path, label, None, None, None) for vif in vifs}
    book = _AddressBook(work, wanted)
    book.keep()
    book.host_gateways()
    book.fill()


def remove(work: Settling, instance: Instance) -> None:
    """The instance is gone: its addresses go back, floating IPs lead to it no more."""
    for vif in work.ledger.where(Vif, instance=instance.name):
        remove_vif(work, vif)
    for membership in work.ledger.where(Membership, instance=instance.name):
        work.ledger.drop(membership)
    work.ledger.drop(instance)


def _record(work: Settling, request: InstanceRequest) -> bool:
    """Note the instance and its groups; whether it was there already."""
    ledger = work.ledger
    project = projects.known(ledger, request.project, f"{request.path}.project")
    old = ledger.get(Instance, request.name)
    if old is not None and old.project != project.name:
        # Its groups and addresses are the former project's.
        remove(work, old)
        old = None
    row = Instance(request.name, project.name, request.host, old.origin if old else work.origin)
    if row != old:
        ledger.put(row)
    if old is None and not request.security_groups:
        return False
    wanted = set(request.security_groups)
    if wanted == {projects.DEFAULT_GROUP}:
        wanted = set()  # who is in no other is in that one
    there = {membership.security_group: membership for membership in ledger.where(Membership, instance=row.name)}
    for group in request.security_groups:
        if group in wanted - there.keys():
            if group == projects.DEFAULT_GROUP:
                projects.default_group(ledger, project.name, work.origin)
            elif ledger.get(SecurityGroup, (project.name, group)) is None:
                known = [each.name for each in ledger.where(SecurityGroup, project=project.name)]
                raise InputError(
                    projects.unknown(
                        f"{request.path}.security_groups",
                        group,
                        f"security group of project {project.name!r}",
                        [projects.DEFAULT_GROUP, *known],
                    )
                )
            ledger.put(Membership(row.name, group, project.name))
    for name in there.keys() - wanted:
        ledger.drop(there[name])
    return old is not None


def _wanted_ports(work: Settling, requests: t.Sequence[InstanceRequest]) -> _Ports:
    wanted: _Ports = {}
    free = projects.FreeNetworks(work.ledger)
    usable: dict[str, list[Network]] = {}
    for request in requests:
        for port in request.ports:
            if port.network is not None:
                # A free network that is named becomes the project's, before it is asked which ones the project has.
                _networks_of(work, port, request, usable, free)
    for request in requests:
        for port in request.ports:
            for label in _networks_of(work, port, request, usable, free):
                if (request.name, label) in wanted:
                    raise InputError(
                        f"{port.path}: network {label!r} is named twice; an instance has one NIC a network"
                    )
                wanted[(request.name, label)] = port
    return wanted


def _networks_of(
    work: Settling,
    port: PortRequest,
    request: InstanceRequest,
    usable: dict[str, list[Network]],
    free: projects.FreeNetworks,
) -> list[str]:
    """Labels of the networks that the port is for; an unnamed network is one that the project may use."""
    ledger, settings = work.ledger, work.settings
    if port.network is not None:
        found = ledger.get(Network, port.network)
        if found is None:
            labels = [each.label for each in ledger.where(Network)]
            raise InputError(projects.unknown(port.path, port.network, "network", labels))
        if found.project != request.project:
            project = t.cast(Project, ledger.get(Project, request.project))
            projects.may_use(ledger, found, project, settings, port.path, request.name)
        return [port.network]
    if request.project not in usable:
        project = t.cast(Project, ledger.get(Project, request.project))
        usable[request.project] = projects.usable_networks(ledger, project, settings, free)
    choice = usable[request.project]
    if not choice:
        manager = projects.manager_of(t.cast(Project, ledger.get(Project, request.project)), settings)
        raise InputError(
            f"{port.path}: no {manager} network is there that project {request.project!r} may use; create one, name "
            "another one for the instance, or give the project another network_manager"
        )
    for asked in (port.address, port.address_v6):
        if asked is not None:
            choice = _holding(choice, asked, port)
    if port.mac is not None and len(choice) > 1:
        raise InputError(
            f"{port.path}.mac: the instance has a NIC on each of {', '.join(repr(each.label) for each in choice)}; "
            "name the networks and their MAC addresses under `networks`"
        )
    if port.allowed_address_pairs and len(choice) > 1:
        raise InputError(
            f"{port.path}.allowed_address_pairs: the instance has a NIC on each of "
            f"{', '.join(repr(each.label) for each in choice)}; name the networks and their pairs under `networks`"
        )
    return [each.label for each in choice]


def _holding(networks: list[Network], address: str, port: PortRequest) -> list[Network]:
    version, number = addressing.order(address)
    fitting = []
    for each in networks:
        subnet = each.range if version == 4 else each.range_v6
        if subnet is not None and number in subnet:
            fitting.append(each)
    if not fitting:
        ranges = ", ".join(f"{each.label!r} {each.ranges}" for each in networks)
        raise InputError(f"{port.path}.address: {address} lies outside the networks of the project: {ranges}")
    return fitting


# --- NICs ------------------------------------------------------------------------------------------------------------


def remove_vif(work: Settling, vif: Vif) -> None:
    """The NIC is gone, and its addresses go back."""
    rows = work.ledger.where(FixedIp, instance=vif.instance, network=vif.network)
    for row in rows:
        _give_back(work, row)
    work.ledger.drop(vif)


def _give_back(work: Settling, row: FixedIp) -> None:
    floating_ips.instance_gone(work.ledger, [row.address])
    fixed_ips.release(work.ledger, row, work.settings, work.now)


def _vifs(ledger: Ledger, wanted: _Ports) -> None:
    """Each wanted NIC with the MAC address that it is given, had before, or derives from its name."""
    given = {port.mac: key for key, port in wanted.items() if port.mac is not None}
    known = {key: ledger.get(Vif, key) for key in wanted}
    for mac, key in given.items():
        for other in ledger.where(Vif, mac=mac):
            holder = (other.instance, other.network)
            if holder != key and (holder not in wanted or wanted[holder].mac is None):
                raise InputError(
                    f"{wanted[key].path}: MAC address {mac} is already that of instance {other.instance!r}; choose "
                    f"another"
                )
    taken: t.Container[str] = _Macs(ledger, given)
    if len(wanted) > _MANY:
        taken = {vif.mac for vif in ledger.where(Vif)} | given.keys()
    for key, port in wanted.items():
        old = known[key]
        owner = f"{key[1]}/{key[0]}"
        mac = port.mac or (old.mac if old else addressing.stable_mac(owner, taken))
        pairs = address_pairs.text(port.allowed_address_pairs)
        if old is None or (old.mac, old.allowed_address_pairs) != (mac, pairs):
            ledger.put(Vif(addressing.stable_uuid(owner), key[0], key[1], mac, pairs))
            if isinstance(taken, set):
                taken.add(mac)


def _check_pairs(ledger: Ledger, wanted: _Ports) -> None:
    gateways: dict[str, list[str]] = {}
    for (_instance, label), port in wanted.items():
        if port.allowed_address_pairs:
            found = t.cast(Network, ledger.get(Network, label))
            if label not in gateways:
                # Networks of a single host are not asked for what nobody holds in them.
                held = ledger.where(FixedIp, network=label, instance=None, released_at=None) if found.multi_host else []
                gateways[label] = [row.address for row in held if row.host is not None]
            address_pairs.check(port.allowed_address_pairs, found, gateways[label], port.path)


#: From so many NICs on, all MAC addresses are looked up at once instead of each on its own.
_MANY = 256


class _Macs:
    """MAC addresses that a further NIC cannot have."""

    def __init__(self, ledger: Ledger, given: t.Container[str]) -> None:
        self._ledger = ledger
        self._given = given

    def __contains__(self, mac: object) -> bool:
        return mac in self._given or bool(self._ledger.where(Vif, mac=mac))


# --- addresses -------------------------------------------------------------------------------------------------------


class _AddressBook:
    """The fixed IPs of NICs being decided."""

    def __init__(self, work: Settling, wanted: _Ports) -> None:
        self._ledger = work.ledger
        self._work = work
        self._wanted = wanted
        self._networks = {
            label: t.cast(Network, work.ledger.get(Network, label)) for label in {key[1] for key in wanted}
        }
        self._versions = {
            label: [version for version, cidr in ((4, found.cidr), (6, found.cidr_v6)) if cidr is not None]
            for label, found in self._networks.items()
        }
        #: The versions of which each NIC has an address.
        self._held: dict[tuple[str, str], set[int]] = {key: set() for key in wanted}
        self._with_subnets = {label for label in self._networks if fixed_ips.group_subnets(self._ledger, label)}
        self._pieces: dict[tuple[str, Range | None], list[tuple[int, int]]] = {}

    def keep(self) -> None:
        """All that the NICs have."""
        for key in self._wanted:
            rows = self._ledger.where(FixedIp, instance=key[0], network=key[1])
            self._held[key].update(row.version for row in rows)

    def give_back(self, kept: list[tuple[str, str]]) -> None:
        """What a NIC that was there already has, but shall not have any longer."""
        for key in kept:
            port = self._wanted[key]
            rows = self._ledger.where(FixedIp, instance=key[0], network=key[1])
            held = self._held[key]
            for row in rows:
                if row.version not in self._versions[key[1]]:
                    _give_back(self._work, row)
                    continue
                asked = port.asked(row.version)
                if asked is not None and asked != row.address:
                    _give_back(self._work, row)
                elif asked is None and row.version == 6 and self._follows_mac(key, row):
                    _give_back(self._work, row)
                else:
                    held.add(row.version)

    def _follows_mac(self, key: tuple[str, str], row: FixedIp) -> bool:
        """A guest derives its own IPv6 address, so with another MAC address it has another one, unless it asked for "
        "it."""
        derived = addressing.number(row.address) >> 24 & 0xFFFF == 0xFFFE
        return derived and row.address != self._own_v6(key)

    def _own_v6(self, key: tuple[str, str]) -> str:
        subnet = self._networks[key[1]].range_v6
        vif = t.cast(Vif, self._ledger.get(Vif, key))
        return addressing.eui64(t.cast(addressing.Range, subnet), vif.mac)

    def request(self) -> None:
        """Addresses asked for by name, and those kept for their instance."""
        for key, port in self._wanted.items():
            for version in (4, 6):
                asked = port.asked(version)
                if asked is not None and version not in self._held[key]:
                    network.check_guest(self._networks[key[1]], asked, f"{port.path}.address")
                    self._take(key, version, asked, f"{port.path}.address")

    def _take(self, key: tuple[str, str], version: int, address: str, path: str) -> None:
        row = self._ledger.get(FixedIp, address)
        if row is not None:
            self._check_free(row, key[0], path)
        fixed_ips.take(self._ledger, address, key[1], instance=key[0])
        self._held[key].add(version)

    def _check_free(self, row: FixedIp, instance: str, path: str) -> None:
        if row.instance is not None:
            reason = f"instance {row.instance!r} holds it on network {row.network!r}"
        elif row.host is not None:
            reason = f"host {row.host!r} has it as its gateway on network {row.network!r}"
        elif row.reserved_by is not None and row.reserved_for != instance:
            kept = f" for instance {row.reserved_for!r}" if row.reserved_for else ""
            reason = f"it is reserved by the {row.reserved_by}{kept}"
        elif quarantined(row, self._work.now):
            left = int(t.cast(float, row.quarantined_until) - self._work.now) + 1
            reason = f"its former guest may use it for {left} more seconds"
        else:
            return
        raise InputError(
            f"{path}: instance {instance!r}: address {row.address} is already taken: {reason}; choose another"
        )

    def host_gateways(self) -> None:
        """In a multi_host network each host with an instance on it needs an address of its own, as its gateway."""
        ledger = self._ledger
        pairs = dict.fromkeys(
            (t.cast(Instance, ledger.get(Instance, instance)).host, label)
            for instance, label in self._wanted
            if self._networks[label].multi_host
        )
        for host, label in pairs:
            found = self._networks[label]
            if found.manager == "flat" or found.cidr is None or ledger.where(FixedIp, host=host, network=label):
                continue
            address = self._next_free(found, None, f"the gateway of host {host!r}")
            fixed_ips.take(ledger, address, label, host=host)

    def fill(self) -> None:
        """An address of each version for every NIC that has none yet."""
        for key in self._wanted:
            for version in self._versions[key[1]]:
                if version not in self._held[key]:
                    self._fill(key, version)

    def _fill(self, key: tuple[str, str], version: int) -> None:
        ledger, found = self._ledger, self._networks[key[1]]
        if version == 6:
            self._take(key, 6, self._own_v6(key), self._wanted[key].path)
            return
        kept = ledger.where(FixedIp, network=found.label, reserved_for=key[0])
        free = [row.address for row in kept if row.version == 4 and fixed_ips.waits(row, self._work.now)]
        if free:
            fixed_ips.take(ledger, free[0], found.label, instance=key[0])
            return
        within = None
        if found.label in self._with_subnets:
            within = fixed_ips.subnet_of(ledger, t.cast(Instance, ledger.get(Instance, key[0])), found.label)
        fixed_ips.take(ledger, self._next_free(found, within, f"instance {key[0]!r}"), found.label, instance=key[0])

    def _next_free(self, found: Network, within: Range | None, taker: str) -> str:
        if (found.label, within) not in self._pieces:
            self._pieces[found.label, within] = fixed_ips.pieces(self._ledger, found, within)
        return fixed_ips.next_free(self._ledger, found, self._pieces[found.label, within], taker, self._work.now)


def _holdings(work: Settling, requests: t.Sequence[InstanceRequest]) -> dict[str, int]:
    """How many fixed IPs each project with a quota holds now."""
    held = {}
    for name in {request.project for request in requests}:
        project = work.ledger.get(Project, name)
        if project is not None and projects.quota(project, "fixed_ips", work.settings) >= 0:
            held[name] = work.ledger.holdings_of_project(name)
    return held


def _check_fixed_quota(work: Settling, before: dict[str, int]) -> None:
    for name, used in before.items():
        project = t.cast(Project, work.ledger.get(Project, name))
        projects.check_quota(project, "fixed_ips", work.settings, used, work.ledger.holdings_of_project(name) - used)


def give_up_gateways(work: Settling, hosts: t.Container[str] | None = None) -> None:
    """Host gateways that are not needed: of hosts that are not among `hosts`, and unused ones where that is asked for.

    nova kept a host's gateway while the network lives, unless told to tear unused ones down.
    """
    ledger = work.ledger
    present: set[tuple[str, str]] | None = None
    for row in [row for row in ledger.where(FixedIp, instance=None) if row.host is not None]:
        found = ledger.get(Network, row.network)
        gone = found is None or not found.multi_host or (hosts is not None and row.host not in hosts)
        if not gone and work.settings.teardown_unused_network_gateway:
            if present is None:
                present = {
                    (t.cast(Instance, ledger.get(Instance, vif.instance)).host, vif.network)
                    for vif in ledger.where(Vif)
                }
            gone = (row.host, row.network) not in present
        if gone:
            fixed_ips.release(ledger, row, work.settings, work.now)


# --- floating IPs ----------------------------------------------------------------------------------------------------


def settle_floating(work: Settling, request: InstanceRequest) -> None:
    """Lead the floating IP to the instance that it asks for, or that it has without asking (auto-assign).

    An instance that has one of the pool already has its `any`. What it does not ask for stays as it is.
    """
    if request.floating_ip == ANY:
        held = work.ledger.where(FixedIp, instance=request.name)
        leading = [row for fixed in held for row in work.ledger.where(FloatingIp, fixed_address=fixed.address)]
        if not any(not row.auto_assigned and request.floating_pool in (None, row.pool) for row in leading):
            associate_any(work, request)
    elif request.floating_ip is not None:
        own_floating(work, request.project, request.floating_ip, f"{request.path}.floating_ip")
        associate(work, request, request.floating_ip)
    else:
        auto_assign(work, request)


def own_floating(work: Settling, project: str, address: str, path: str) -> None:
    """The floating IP of that address is the project's, from now on if it was nobody's."""
    row = work.ledger.get(FloatingIp, address)
    if row is None:
        raise InputError(
            f"{path}: {address} is no floating IP; declare its range in nova_floating_ranges, or create it by command"
        )
    if row.project is None:
        _allocate(work, project, row.pool, address)
    elif row.project != project:
        raise InputError(f"{path}: floating IP {address} belongs to project {row.project!r}, not {project!r}")


def associate(work: Settling, request: InstanceRequest, address: str) -> None:
    target = floating_ips.fixed_address_of(work.ledger, request.name, version=addressing.version(address))
    floating_ips.associate(work.ledger, address, target, by=work.origin)


def associate_any(work: Settling, request: InstanceRequest) -> None:
    row = _allocate(work, request.project, request.floating_pool or work.settings.default_floating_pool)
    associate(work, request, row.address)


def auto_assign(work: Settling, request: InstanceRequest) -> None:
    """Where the site says so, an instance that asks for no floating IP gets one for as long as it lives.

    One without an address that it could lead to (by flat networks alone, or of the other version) goes without.
    """
    if not work.settings.auto_assign_floating_ip or request.floating_ip is not None:
        return
    pool = request.floating_pool or work.settings.default_floating_pool
    next_one = work.ledger.unallocated(pool)
    if _reachable(work, request.name, 4 if next_one is None else addressing.version(next_one.address)):
        floating_ips.auto_assign(work.ledger, request.name, request.project, pool, work.origin)


def _allocate(work: Settling, project: str, pool: str, address: str | None = None) -> FloatingIp:
    quota = projects.quota(projects.known(work.ledger, project, "project"), "floating_ips", work.settings)
    return floating_ips.allocate(work.ledger, project, pool, quota, work.origin, address=address)


def _reachable(work: Settling, instance: str, version: int) -> bool:
    held = [row for row in work.ledger.where(FixedIp, instance=instance) if row.version == version]
    return any(t.cast(Network, work.ledger.get(Network, row.network)).manager != "flat" for row in held)
