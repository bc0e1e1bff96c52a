# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the links of a host equal to the section `links` of its plan.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .._core import links, naming
from .._core.errors import NovaError
from .._core.guard import Armed
from . import foreign_rules, guard, keepers, lock, names, netlink, networkd, origin, probe

LOCK_FILE = f"{naming.RUN_DIR}/links.lock"

#: Seconds to wait for another run on the same host.
LOCK_WAIT = 60


def apply(
    plan: object,
    connection_address: str | None = None,
    *,
    check: bool = False,
    wait: float = LOCK_WAIT,
    arm: guard.Arm | None = None,
) -> dict[str, t.Any]:
    """Compare the plan's section with the kernel and, unless only checking, execute the difference.

    systemd-networkd is told first to leave our interfaces alone, for it would undo what it does not know.
    `arm` guards a change of what the host is reached by, which is taken back unless it is confirmed.
    Returns `changed`, `actions`, `diff` and `warnings`, and `guard` where a change waits so. InputError, HostError,
    or its kind LibraryMissing, with nothing changed or all put back.
    """
    plan, warnings = names.present(plan)
    want = links.parse(plan)
    if connection_address is not None:
        connection_address = links.parse_connection(connection_address, "connection_address")
    have, difference = look(want, connection_address)
    actions = difference.actions()
    apart = networkd.look(want)
    warnings += foreign_rules.at_bridges(bridge.name for bridge in want.bridges if not bridge.addresses)
    warnings += _doubles(want, have) if difference.changed else []
    armed = None
    if difference.changed or apart:
        try:
            library = netlink.load()
        except netlink.LibraryMissing:
            if not check:
                raise
            # A task before this one would have installed it.
            warnings.append("the Python library pyroute2 cannot be imported; a real run needs it")
        else:
            if not check:
                with lock.exclusive(LOCK_FILE, wait):
                    apart = networkd.look(want)
                    networkd.write(apart)
                    try:
                        difference, actions, armed = _execute(want, connection_address, library, arm, apart)
                    except NovaError:
                        networkd.write(apart.back())
                        raise
    result = {
        "changed": difference.changed or bool(apart),
        "actions": apart.actions + actions,
        "diff": [*apart.diff, difference.diff()] if apart else difference.diff(),
        "warnings": warnings,
    }
    if armed is not None:
        result["guard"] = {"id": armed.id, "timeout": armed.timeout, "interfaces": list(armed.interfaces)}
    return result


def _arm(
    arm: guard.Arm,
    difference: links.Difference,
    have: links.State,
    connection_address: str | None,
    library: netlink.Library,
    apart: networkd.Change,
) -> Armed | None:
    """The guard of a change that touches what the host is reached by; None for any other change."""
    carried = links.needed(difference, netlink.read_duties(have, connection_address))
    interfaces = difference.touched & carried.keys() | {move.source for move in difference.moves}
    if not interfaces:
        return None
    have.ways = have.ways or netlink.read_ways(have)

    def links_back() -> list[str]:
        left = netlink.take_back(difference, have, library)
        try:
            networkd.write(apart.back())
        except NovaError as error:
            left.append(str(error))
        return left

    return arm(interfaces, difference.actions(), links_back)


def _execute(
    want: links.Plan,
    connection_address: str | None,
    library: netlink.Library,
    arm: guard.Arm | None,
    apart: networkd.Change,
) -> tuple[links.Difference, list[str], Armed | None]:
    """Execute the difference; returns it, all that was done, and the guard that waits."""
    # Another run may have been at work until now.
    have, difference = look(want, connection_address)
    armed = None
    if arm is not None and difference.changed:
        guard.refuse_if_armed()
        armed = _arm(arm, difference, have, connection_address, library, apart)
    origin.note(difference)
    try:
        netlink.apply(difference, have, library)
    except netlink.PutBack:
        if armed is not None:
            guard.confirm(armed.id)
        raise
    guard.extend()
    actions = difference.actions()
    if difference.phases["rules"]:
        # Ports that came after we had looked, and before udev knew of them.
        have, late = look(want, connection_address)
        netlink.apply(late, have, library)
        actions += late.actions()
    return difference, actions, armed


def look(want: links.Plan, connection_address: str | None) -> tuple[links.State, links.Difference]:
    """What the kernel has and what differs from the plan; refused where it would cut the host off."""
    have = netlink.read(key for key, _value in want.sysctl)
    if links.wants_ways(want, have):
        have.ways = netlink.read_ways(have)
    difference = links.compare(want, have)
    if difference.problems or difference.risks or difference.moves:
        joining = {move.join.interface for move in difference.moves if move.join is not None}
        duties = netlink.read_duties(have, connection_address)
        links.guard(difference, dataclasses.replace(duties, keepers=keepers.read(have, joining)))
    return have, difference


def _doubles(want: links.Plan, have: links.State) -> list[str]:
    """What is to be said of planned addresses that somebody else on the wire has already."""
    asked = []
    bridges = {}
    for bridge in want.bridges:
        there = {address.local for address in have.links[bridge.name].addresses} if bridge.name in have.links else ()
        for name in bridge.interfaces:
            link = have.links.get(name)
            if link is not None and link.up:
                new = [each.local for each in bridge.addresses if each.is_ipv4 and each.local not in there]
                asked += [(link, address) for address in new]
                bridges[name] = bridge.name
    found = probe.holders(asked, {link.mac for link in have.links.values()})
    return [
        f"bridge {bridges[name]}: {address} is to be its address, but {mac} on {name} has it already. If that is "
        f"another host that serves this network too, as two all-in-one hosts do that are joined by {name}, the guests "
        "of both reach either by chance: leave nova_flat_interface out on one of them, or give each its own range. "
        "If it is a host that gives the network up in this run, all is well"
        for (name, address), mac in sorted(found.items())
    ]
