# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allocation: from what the store holds and what is declared to what the store shall hold.

A pure function of its arguments, so a prediction and the run that follows it agree to the address.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import (
    addressing,
    fixed_ips,
    floating_ips,
    instances,
    network,
    port_forwards,
    projects,
    security_groups,
    security_rules,
)
from .declaration import Declaration, Host
from .errors import InputError
from .instance_request import ANY, InstanceRequest
from .instances import Settling
from .ledger import MemoryLedger
from .network_request import NetworkRequest
from .state import FixedIp, FloatingIp, Instance, Network, PortForward, Project, SecurityGroup, State, Vif

INVENTORY = "inventory"


def allocate(declaration: Declaration, before: State, now: float) -> State:
    """The state that the declaration asks for.

    What the inventory made and no longer declares goes, unless something that stays is using it; what a command made
    stays. `now` is the time (seconds since the epoch) at which addresses count as given back. InputError when
    something does not fit; nothing is half-decided.
    """
    return _Allocation(declaration, before, now).run()


class _Allocation:
    def __init__(self, declaration: Declaration, before: State, now: float) -> None:
        self._declared = declaration
        self._before = before
        self._ledger = MemoryLedger(before)
        self._settings = declaration.settings
        self._work = Settling(self._ledger, self._settings, now, INVENTORY)
        self._labels = {label: request for request in declaration.networks for label in request.labels}

    def run(self) -> State:
        self._projects()
        self._remove_instances()
        self._floating_ranges()
        self._remove_networks()
        self._networks()
        self._security_groups()
        instances.settle(self._work, list(self._declared.instances.values()))
        self._complete_nics()
        self._associate()
        self._remove_projects()
        instances.give_up_gateways(self._work, self._declared.hosts)
        self._network_hosts()
        return self._ledger.state()

    # --- projects ---

    def _projects(self) -> None:
        for declared in self._declared.projects.values():
            old = self._ledger.get(Project, declared.project.name)
            row = declared.project._replace(origin=old.origin if old else INVENTORY)
            if row != old:
                self._ledger.put(row)

    def _remove_projects(self) -> None:
        """After all else of theirs: what is left of an undeclared project was made by command."""
        for name, project in self._before.projects.items():
            if project.origin != INVENTORY or name in self._declared.projects:
                continue
            for row in self._ledger.where(FloatingIp, project=name):
                if row.allocated_by == INVENTORY and row.fixed_address is None:
                    floating_ips.release(self._ledger, row.address)
            left = [
                ("instance", [row.name for row in self._ledger.where(Instance, project=name)]),
                ("security group", projects.groups(self._ledger, name)),
                ("floating IP", [row.address for row in self._ledger.where(FloatingIp, project=name)]),
            ]
            for kind, names in left:
                if names:
                    raise InputError(
                        f"project {name!r} is no longer declared, but still has {projects.names(kind, names)}; "
                        "remove them first, or declare the project again"
                    )
            for found in self._ledger.where(Network, project=name):
                projects.disassociate(self._ledger, found)
            projects.drop_default_group(self._ledger, name)
            self._ledger.drop(project)

    # --- networks ---

    def _networks(self) -> None:
        """Declared ones as they are declared now; what would cut somebody off is refused."""
        existing = self._before.networks
        staying = [row for row in existing.values() if row.origin != INVENTORY or row.label in self._labels]
        for request in self._declared.networks:
            if request.project is not None:
                owner = projects.known(self._ledger, request.project, f"{request.path}.project")
                if owner.origin == INVENTORY and owner.name not in self._declared.projects:
                    known = sorted(self._declared.projects)
                    raise InputError(projects.unknown(f"{request.path}.project", owner.name, "project", known))
        for created in network.declare(self._declared.networks, self._settings, existing, staying):
            row = self._with_project(created, existing.get(created.label))
            if row.project is not None:
                why = f"network {row.label!r} is declared for project {row.project!r}"
                self._leave(row.label, why, "declare it for the project that uses it", row.project)
            if row != existing.get(created.label):
                self._ledger.put(row)
        gone = set(self._gone)
        staying_ips = [address for address in sorted(self._ledger.all(FloatingIp)) if address not in gone]
        floating_ips.check_outside_networks(self._ledger, staying_ips, "nova_floating_ranges")
        for label in self._labels:
            old = existing.get(label)
            if old is not None:
                new = t.cast(Network, self._ledger.get(Network, label))
                self._check_groups(new)
                self._check_holders(old, new)
        self._reservations()
        self._check_network_quotas()

    def _with_project(self, created: Network, old: Network | None) -> Network:
        """A project that took the network at its need, or by command, keeps it where none is declared.

        So does one that it was declared for, while its instances are on it: they would have to move.
        """
        if created.project is not None or old is None or old.project is None or old.manager != created.manager:
            return created
        if old.project_origin != INVENTORY:
            return created._replace(project=old.project, project_origin=old.project_origin)
        if created.manager == "vlan" and self._ledger.where(Vif, network=old.label):
            return created._replace(project=old.project, project_origin="need")
        return created

    def _check_network_quotas(self) -> None:
        for name in {request.project for request in self._declared.networks if request.project is not None}:
            project = t.cast(Project, self._ledger.get(Project, name))
            used = sum(row.project == name for row in self._before.networks.values())
            now = len(self._ledger.where(Network, project=name))
            projects.check_quota(project, "networks", self._settings, used, now - used)

    def _check_groups(self, new: Network) -> None:
        """The inventory's groups follow their network; others are in the way."""
        for group in self._ledger.where(SecurityGroup, network=new.label):
            if group.origin == INVENTORY or (group.project, group.name) in self._declared.security_groups:
                continue
            subnet = addressing.known_network(t.cast(str, group.subnet))
            named = f"security group {group.name!r} of project {group.project!r}"
            if new.project not in (None, group.project):
                raise InputError(
                    f"network {new.label!r} is declared for project {new.project!r}, but {named} has its subnet there; "
                    "delete the group first"
                )
            if new.range is None or subnet.first not in new.range or subnet.last not in new.range:
                raise InputError(
                    f"network {new.label!r}: the range {new.ranges} would leave out {subnet.cidr} of {named}; "
                    "keep the range, or delete the group first"
                )

    def _check_holders(self, old: Network, new: Network) -> None:
        """Who holds an address keeps it; so a range that leaves it out, or takes it for itself, is refused."""
        same = all(
            getattr(old, name) == getattr(new, name)
            for name in ("cidr", "cidr_v6", "gateway", "dhcp_server", "vpn_private_address", "gateway_v6")
        )
        if same:
            return
        for row in self._ledger.where(FixedIp, network=new.label):
            version, number = addressing.order(row.address)
            subnet = new.range if version == 4 else new.range_v6
            if row.instance is not None:
                holder = f"instance {row.instance!r} holds it"
            elif row.host is not None:
                holder = f"host {row.host!r} has it as its gateway"
            else:
                if subnet is None or number not in subnet:
                    self._ledger.drop(row)
                continue
            declared = self._declared.instances.get(row.instance or "")
            if declared is not None and _asks_anew(declared, row):
                floating_ips.instance_gone(self._ledger, [row.address])
                self._ledger.drop(row)
                continue
            if subnet is None or number not in subnet:
                raise InputError(
                    f"network {new.label!r}: the range {new.ranges} would leave out {row.address}, and {holder}; "
                    "keep the range, or remove what holds the address first"
                )
            if number in network.own_numbers(new, version):
                raise InputError(
                    f"network {new.label!r}: {row.address} would become reserved (gateway {new.gateway}, "
                    f"DHCP server {new.dhcp_server}), but {holder}; choose another gateway"
                )

    def _reservations(self) -> None:
        """Addresses that the inventory keeps out of the pool."""
        wanted: dict[str, str] = {}
        for request in self._declared.networks:
            for span in request.reserved:
                wanted.update(self._reserved(request, *span))
        for row in self._before.fixed_ips.values():
            if row.reserved_by == INVENTORY and row.address not in wanted and self._ledger.get(FixedIp, row.address):
                fixed_ips.lift(self._ledger, t.cast(FixedIp, self._ledger.get(FixedIp, row.address)))
        for address, label in wanted.items():
            old = self._ledger.get(FixedIp, address)
            if old is None:
                self._ledger.put(FixedIp(address, addressing.version(address), label, reserved_by=INVENTORY))
            elif old.reserved_by is None:
                self._ledger.put(old._replace(reserved_by=INVENTORY))

    def _reserved(self, request: NetworkRequest, first: int, last: int, version: int) -> dict[str, str]:
        """Each address of the span, and which of the request's networks it lies in."""
        text = addressing.text if version == 4 else addressing.text_v6
        missing = set(range(first, last + 1))
        found: dict[str, str] = {}
        for label in request.labels:
            row = t.cast(Network, self._ledger.get(Network, label))
            subnet = row.range if version == 4 else row.range_v6
            if subnet is not None:
                inside = range(max(first, subnet.first), min(last, subnet.last) + 1)
                found.update((text(number), label) for number in inside)
                missing.difference_update(inside)
        if missing:
            raise InputError(
                f"{request.path}.reserved: {text(min(missing))} lies in none of its networks; leave it out"
            )
        return found

    def _remove_networks(self) -> None:
        """Before others take their ranges. Refused while somebody stays on one."""
        for label, row in self._before.networks.items():
            if row.origin != INVENTORY or label in self._labels:
                continue
            self._leave(label, f"network {label!r} is no longer declared", "declare the network again")
            for group in self._ledger.where(SecurityGroup, network=label):
                if group.origin != INVENTORY:
                    raise InputError(
                        f"network {label!r} is no longer declared, but it holds the subnet of security group "
                        f"{group.name!r} of project {group.project!r}; delete the group first, or declare the "
                        f"network again"
                    )
                self._ledger.put(group._replace(network=None, subnet=None))
            for held in self._ledger.where(FixedIp, network=label):
                self._ledger.drop(held)
            self._ledger.drop(row)

    def _leave(self, label: str, why: str, remedy: str, project: str | None = None) -> None:
        """Take the NICs off a network of those that name others now; refused where somebody would lose one by this.

        `project` may stay.
        """
        left = []
        for vif in self._ledger.where(Vif, network=label):
            owner = t.cast(Instance, self._ledger.get(Instance, vif.instance))
            request = self._declared.instances.get(vif.instance)
            if owner.project == project:
                continue
            if request is None or any(port.network in (None, label) for port in request.ports):
                left.append(vif.instance)
            else:
                instances.remove_vif(self._work, vif)
        if left:
            raise InputError(
                f"{why}, but {projects.names('instance', left)} still use{'s' if len(left) == 1 else ''} it; "
                f"remove them first, or {remedy}"
            )

    def _network_hosts(self) -> None:
        """The one host that serves a single-host network; of a VLAN network from the moment a project has it."""
        for label, row in self._ledger.all(Network).copy().items():
            request = self._labels.get(label)
            host = self._network_host(row, request)
            if host != row.host:
                self._ledger.put(row._replace(host=host))

    def _network_host(self, row: Network, request: NetworkRequest | None) -> str | None:
        """As asked for, else as before, else the first that can."""
        if row.multi_host or row.manager == "flat" or (row.manager == "vlan" and row.project is None):
            return None
        asked = (request.host if request else None) or self._settings.network_host
        if asked is not None:
            return asked
        able = [host.name for host in self._declared.hosts.values() if _can_serve(host)]
        if row.host in able:
            return row.host
        if not able:
            path = request.path if request else f"network {row.label!r}"
            raise InputError(
                f"{path}: no host is both an addressing and a routing node, so nobody can serve the network; "
                "put a host into both groups, name one as host, or set multi_host"
            )
        return able[0]

    # --- security groups ---

    def _security_groups(self) -> None:
        self._remove_rules()
        for key, group in self._before.security_groups.items():
            if group.origin == INVENTORY and key not in self._declared.security_groups:
                self._remove_group(group)
        # Who asks for a subnet exactly goes before those that any will do for.
        for declared in sorted(self._declared.security_groups.values(), key=lambda group: group.subnet is None):
            security_groups.create(self._ledger, self._settings, declared, INVENTORY)
        # Rules may name groups that come after their own.
        for key, declared in self._declared.security_groups.items():
            group = t.cast(SecurityGroup, self._ledger.get(SecurityGroup, key))
            security_rules.put(self._ledger, group, declared.rules or (), INVENTORY)

    def _remove_rules(self) -> None:
        """What is no longer declared, before the groups that it names."""
        wanted: set[str] = set()
        for key, declared in self._declared.security_groups.items():
            wanted.update(security_rules.records(*key, declared.rules or (), INVENTORY))
        for row in self._before.security_group_rules.values():
            if row.origin == INVENTORY and row.id not in wanted:
                self._ledger.drop(row)

    def _remove_group(self, group: SecurityGroup) -> None:
        """Members that are declared without the group lose it by that; others are still using it."""
        for membership in security_groups.members(self._ledger, group):
            request = self._declared.instances.get(membership.instance)
            if request is not None and group.name not in request.security_groups:
                self._ledger.drop(membership)
        if group.name == projects.DEFAULT_GROUP and (
            security_groups.members(self._ledger, group) or security_rules.of_group(self._ledger, group)
        ):
            return  # every project has it, declared or not
        security_groups.delete(self._ledger, group, "is no longer declared")

    # --- instances ---

    def _remove_instances(self) -> None:
        for name, row in self._before.instances.items():
            if row.origin == INVENTORY and name not in self._declared.instances:
                instances.remove(self._work, row)

    def _complete_nics(self) -> None:
        """Those that a command made are on networks that may have got a further range, or other gateways."""
        for label in self._labels:
            old, new = self._before.networks.get(label), t.cast(Network, self._ledger.get(Network, label))
            if old is not None and _nature(old) != _nature(new):
                instances.complete(self._work, label)

    # --- floating IPs ---

    def _floating_ranges(self) -> None:
        wanted = {
            address: FloatingIp(address, pool.pool, pool.interface)
            for pool in self._declared.floating_ranges
            for address in pool.addresses
        }
        gone = [
            row.address
            for row in self._before.floating_ips.values()
            if row.origin == INVENTORY and row.address not in wanted
        ]
        self._gone = gone
        for address, row in wanted.items():
            old = self._ledger.get(FloatingIp, address)
            if old is None:
                self._ledger.put(row)
            elif (old.pool, old.interface) != (row.pool, row.interface):
                self._ledger.put(old._replace(pool=row.pool, interface=row.interface))

    def _associate(self) -> None:
        """Allocate and associate as declared; what the inventory once did and declares no longer is undone."""
        wanted = self._wanted_associations()
        kept = {address for declared in self._declared.projects.values() for address in declared.floating_ips}
        by_any = self._floating_by_choice()
        forwarded = self._remove_forwards()
        for row in self._ledger.where(FloatingIp, associated_by=INVENTORY):
            if row.address in wanted or row.address in by_any or row.auto_assigned:
                continue
            floating_ips.disassociate(self._ledger, row.address)
        for row in self._ledger.where(FloatingIp, allocated_by=INVENTORY, fixed_address=None):
            if row.address not in wanted and row.address not in kept and row.address not in forwarded:
                floating_ips.release(self._ledger, row.address)
        self._allocate_declared(wanted)
        served = set(by_any.values())
        for request in self._declared.instances.values():
            if request.floating_ip == ANY and request.name not in served:
                instances.associate_any(self._work, request)
            else:
                instances.auto_assign(self._work, request)
        for forward in self._declared.port_forwards:
            project, place = port_forwards.project_of(self._ledger, forward), forward.place
            instances.own_floating(self._work, project, place.address, f"{place.path}.address")
            port_forwards.put(self._ledger, forward, INVENTORY)
        self._remove_floating()

    def _remove_forwards(self) -> set[str]:
        """Those that are no longer declared. The floating IPs that have some, of whomever."""
        wanted = {request.place.key for request in self._declared.port_forwards}
        for row in self._ledger.where(PortForward, origin=INVENTORY):
            if (row.address, row.protocol, row.from_port) not in wanted:
                self._ledger.drop(row)
        left = {row.address for row in self._ledger.where(PortForward)}
        return left | {request.place.address for request in self._declared.port_forwards}

    def _wanted_associations(self) -> dict[str, InstanceRequest]:
        wanted: dict[str, InstanceRequest] = {}
        for request in self._declared.instances.values():
            if request.floating_ip not in (None, ANY):
                address = request.floating_ip
                if address in wanted:
                    raise InputError(
                        f"{request.path}.floating_ip: {address} already leads to instance {wanted[address].name!r}"
                    )
                wanted[address] = request
        return wanted

    def _floating_by_choice(self) -> dict[str, str]:
        """The floating IPs of instances that asked for any and have one already: by address, the instance."""
        found: dict[str, str] = {}
        for row in self._ledger.where(FloatingIp, associated_by=INVENTORY):
            if row.auto_assigned:
                continue
            held = self._ledger.get(FixedIp, t.cast(str, row.fixed_address))
            request = self._declared.instances.get((held and held.instance) or "")
            if request is not None and request.floating_ip == ANY and request.name not in found.values():
                if request.floating_pool in (None, row.pool):
                    found[row.address] = request.name
        return found

    def _allocate_declared(self, wanted: dict[str, InstanceRequest]) -> None:
        owners = {
            address: (declared.project.name, declared.path)
            for declared in self._declared.projects.values()
            for address in declared.floating_ips
        }
        owners.update({address: (request.project, request.path) for address, request in wanted.items()})
        for address, (project, path) in owners.items():
            instances.own_floating(self._work, project, address, path)
        for address, request in wanted.items():
            instances.associate(self._work, request, address)

    def _remove_floating(self) -> None:
        """Ranges that are no longer declared, after all that this run gives back."""
        left = [row for row in (self._ledger.get(FloatingIp, address) for address in self._gone) if row is not None]
        used = [row for row in left if row.project is not None]
        if used:
            owners = ", ".join(f"{row.address} (project {row.project!r})" for row in used[:5])
            more = f" and {len(used) - 5} more" if len(used) > 5 else ""
            raise InputError(
                f"nova_floating_ranges: floating IPs that are no longer declared are allocated: {owners}{more}; "
                "release them first, or declare their range again"
            )
        for row in left:
            self._ledger.drop(row)


def _nature(row: Network) -> tuple[bool, bool, bool, bool]:
    """What decides on the addresses that a NIC of the network needs."""
    return row.cidr is None, row.cidr_v6 is None, row.multi_host, row.manager == "flat"


def _can_serve(host: Host) -> bool:
    return {"addressing", "routing"} <= set(host.nodes)


def _asks_anew(request: InstanceRequest, row: FixedIp) -> bool:
    """Whether the instance asks for another address on that network, so that it gives this one back anyway."""
    for port in request.ports:
        asked = port.asked(row.version)
        if port.network in (None, row.network) and asked is not None and asked != row.address:
            return True
    return False
