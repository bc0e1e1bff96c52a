# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Projects: their quotas, the networks that they may use, and what they give back.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .errors import InputError
from .ledger import Ledger
from .settings import UNLIMITED, Settings
from .state import FixedIp, FloatingIp, Instance, Membership, Network, Project, SecurityGroup, SecurityGroupRule, Vif

#: The group of an instance that is in no other; every project has it.
DEFAULT_GROUP = "default"


def known(ledger: Ledger, name: str, path: str) -> Project:
    found = ledger.get(Project, name)
    if found is None:
        names = [project.name for project in ledger.where(Project)]
        raise InputError(unknown(path, name, "project", names))
    return found


def unknown(path: str, value: str, kind: str, names: t.Iterable[str]) -> str:
    """The message for a name that nothing has."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:10]) + (", ..." if len(ordered) > 10 else "")
    return f"{path}: {value!r} is no known {kind}; known: {shown or 'none'}"


# --- quotas ----------------------------------------------------------------------------------------------------------


def quota(project: Project, name: str, settings: Settings) -> int:
    """The project's own quota, else the site's; `name` is a field of Quotas."""
    own: int | None = getattr(project, f"quota_{name}")
    return getattr(settings.quotas, name) if own is None else own


def check_quota(project: Project, name: str, settings: Settings, used: int, more: int = 1) -> None:
    """InputError where `more` beside those in use are more than the project may have."""
    check_limit(project.name, name, quota(project, name, settings), used, more)


def check_limit(project: str, name: str, limit: int, used: int, more: int = 1) -> None:
    """The same for a quota that is known already."""
    if limit != UNLIMITED and more > 0 and used + more > limit:
        words = name.replace("_", " ").replace("ips", "IPs")
        raise InputError(
            f"project {project!r}: quota_{name} is {limit}, and {used} {words} are in use, so {more} more cannot be "
            f"had; "
            f"raise the quota of the project or nova_quota_{name}, or give some back"
        )


# --- networks --------------------------------------------------------------------------------------------------------


def manager_of(project: Project, settings: Settings) -> str:
    return project.network_manager or settings.network_manager


def order(network: Network) -> tuple[float, str]:
    """Networks in the order in which an instance has its NICs: by priority, those without last, then by label."""
    return (float("inf") if network.priority is None else network.priority, network.label)


class FreeNetworks:
    """The VLAN networks that no project has, by priority and VLAN; looked up once, however many are assigned."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._found: list[Network] | None = None

    def take(self) -> Network | None:
        if self._found is None:
            free = [network for network in self._ledger.where(Network, project=None) if network.manager == "vlan"]
            self._found = sorted(free, key=lambda network: (*order(network)[:1], network.vlan), reverse=True)
        while self._found:
            network = self._ledger.get(Network, self._found.pop().label)
            if network is not None and network.project is None:
                return network
        return None


def usable_networks(ledger: Ledger, project: Project, settings: Settings, free: FreeNetworks) -> list[Network]:
    """The project's own networks, and those of its manager that all projects share.

    In VLAN mode a project without a network takes one, at its first need, as nova did.
    """
    manager = manager_of(project, settings)
    own = ledger.where(Network, project=project.name)
    if manager == "vlan":
        if not any(network.manager == "vlan" for network in own):
            own = [*own, _assign_free(ledger, project, settings, free)]
        return sorted(own, key=order)
    shared = [network for network in ledger.where(Network, project=None) if network.manager == manager]
    return sorted([*own, *shared], key=order)


def _assign_free(ledger: Ledger, project: Project, settings: Settings, free: FreeNetworks) -> Network:
    network = free.take()
    if network is None:
        raise InputError(
            f"project {project.name!r} needs a VLAN network, but none is free; create more networks "
            "(nova_num_networks, or `network create`), or scrub a project that needs its network no longer"
        )
    return assign(ledger, network, project, settings, "need")


def assign(ledger: Ledger, network: Network, project: Project, settings: Settings, origin: str) -> Network:
    check_quota(project, "networks", settings, len(ledger.where(Network, project=project.name)))
    assigned = network._replace(project=project.name, project_origin=origin)
    ledger.put(assigned)
    return assigned


def may_use(
    ledger: Ledger,
    network: Network,
    project: Project,
    settings: Settings,
    path: str,
    who: str,
    kind: str = "instance",
) -> Network:
    """The network, which is named for something of the project's; a free VLAN network becomes the project's by that."""
    if network.project not in (None, project.name):
        raise InputError(
            f"{path}: network {network.label!r} belongs to project {network.project!r}, "
            f"but {kind} {who!r} to {project.name!r}"
        )
    if network.project is None and network.manager == "vlan":
        return assign(ledger, network, project, settings, "need")
    return network


def scrub(ledger: Ledger, project: Project) -> list[Network]:
    """Free the project's networks for others. Refused while something of the project's is still on them."""
    freed = ledger.where(Network, project=project.name)
    users = sorted({vif.instance for network in freed for vif in ledger.where(Vif, network=network.label)})
    if users:
        raise InputError(
            f"project {project.name!r}: its networks are in use by {names('instance', users)}; remove them first"
        )
    groups = [group.name for network in freed for group in ledger.where(SecurityGroup, network=network.label)]
    if groups:
        raise InputError(
            f"project {project.name!r}: its networks hold the subnets of {names('security group', groups)}; "
            "delete them first"
        )
    for network in freed:
        disassociate(ledger, network)
    return freed


def disassociate(ledger: Ledger, network: Network) -> None:
    """Take the network from its project. A host that served it for the project's sake serves it no longer."""
    host = None if network.manager == "vlan" else network.host
    ledger.put(network._replace(project=None, project_origin=None, host=host))


def names(kind: str, of: list[str]) -> str:
    """Some names in words, for a message."""
    shown = ", ".join(repr(name) for name in of[:5])
    more = f" and {len(of) - 5} more" if len(of) > 5 else ""
    return f"{kind}{'s' if len(of) > 1 else ''} {shown}{more}"


def used(ledger: Ledger, project: Project) -> dict[str, int]:
    """How much of each quota the project uses; auto-assigned floating IPs do not count, as in nova."""
    return {
        "networks": len(ledger.where(Network, project=project.name)),
        "fixed_ips": ledger.holdings_of_project(project.name),
        "floating_ips": len(ledger.where(FloatingIp, project=project.name, auto_assigned=False)),
        "security_groups": len(groups(ledger, project.name)),
    }


def delete(ledger: Ledger, project: Project) -> None:
    """Refused while it has anything."""
    left = [
        ("instance", [row.name for row in ledger.where(Instance, project=project.name)]),
        ("floating IP", [row.address for row in ledger.where(FloatingIp, project=project.name)]),
        ("security group", groups(ledger, project.name)),
        ("network", [row.label for row in ledger.where(Network, project=project.name)]),
    ]
    for kind, of in left:
        if of:
            remedy = "scrub the project first" if kind == "network" else "remove them first"
            raise InputError(f"project {project.name!r} is to be deleted, but has {names(kind, of)}; {remedy}")
    drop_default_group(ledger, project.name)
    ledger.drop(project)


def groups(ledger: Ledger, project: str) -> list[str]:
    """The project's security groups beside the default one, which goes with the project."""
    return [row.name for row in ledger.where(SecurityGroup, project=project) if row.name != DEFAULT_GROUP]


def default_group(ledger: Ledger, project: str, origin: str) -> SecurityGroup:
    """The record of the group `default`, which is needed where something refers to it."""
    found = ledger.get(SecurityGroup, (project, DEFAULT_GROUP))
    if found is None:
        found = SecurityGroup(project, DEFAULT_GROUP, origin=origin)
        ledger.put(found)
    return found


def drop_default_group(ledger: Ledger, project: str) -> None:
    """With its rules."""
    found = ledger.get(SecurityGroup, (project, DEFAULT_GROUP))
    if found is not None:
        for rule in ledger.where(SecurityGroupRule, project=project, security_group=DEFAULT_GROUP):
            ledger.drop(rule)
        for membership in ledger.where(Membership, project=project, security_group=DEFAULT_GROUP):
            ledger.drop(membership)
        ledger.drop(found)


def holders(ledger: Ledger, network: Network) -> list[str]:
    """The instances with an address on the network."""
    rows = ledger.where(FixedIp, network=network.label)
    return sorted({row.instance for row in rows if row.instance is not None})
