# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules around networks and their VPNs do, each in one call.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import time
import typing as t

from . import _command
from ._core import addressing, fixed_ips, network, network_commands, network_request, projects, settings
from ._core.errors import InputError
from ._core.fields import Fields, boolean
from ._core.ledger import Ledger
from ._core.settings import Settings
from ._core.state import FixedIp, Instance, Network
from ._core.tables import table
from ._drivers import upkeep

#: What a network may be asked for with.
REQUEST = (
    "label",
    "manager",
    "fixed_range",
    "fixed_range_v6",
    "num_networks",
    "network_size",
    "uuid",
    "vlan",
    "vlan_start",
    "vpn_start",
    "bridge",
    "bridge_interface",
    "gateway",
    "gateway_v6",
    "dhcp_server",
    "dhcp_start",
    "allowed_start",
    "allowed_end",
    "fixed_cidr",
    "dns1",
    "dns2",
    "mtu",
    "multi_host",
    "host",
    "priority",
    "project",
    "reserved",
)

#: Options that a network is found by, in this order.
_NAMES = ("label", "uuid", "fixed_range", "fixed_range_v6")


def operate(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module network documents."""
    site = _command.site(parameters)
    options = _command.given(parameters, REQUEST)
    apart = {name: boolean(parameters[name] or False, name) for name in ("disassociate_project", "disassociate_host")}
    if not any(name in options for name in _NAMES):
        raise InputError("which network? Name it by its label, fixed_range, fixed_range_v6 or uuid")
    _check_names(Fields(options, ""))
    state = parameters["state"]
    if state != "present" and str(options.get("num_networks", 1)) != "1":
        raise InputError(
            f"num_networks: networks are {'deleted' if state == 'absent' else state} one at a time; name each by its "
            f"label, such as '{options.get('label', 'nova')}_0'"
        )

    def work(ledger: Ledger) -> dict[str, t.Any]:
        if state == "absent":
            rows = _delete(ledger, options)
        else:
            rows = _create(ledger, site, options, apart, must_exist=state == "modified")
        return {"networks": [row._asdict() for row in rows]}

    return _command.apply(parameters, check_mode, work)


def _check_names(fields: Fields) -> None:
    fields.optional_text("label")
    fields.optional_text("uuid")
    fields.optional_network("fixed_range")
    fields.optional_network_v6("fixed_range_v6")


def _create(
    ledger: Ledger, site: Settings, options: dict[str, t.Any], apart: dict[str, bool], must_exist: bool
) -> list[Network]:
    found = None
    if must_exist or str(options.get("num_networks", 1)) == "1":
        found = _find(ledger, options)
    if must_exist and found is None:
        name = next(name for name in _NAMES if name in options)
        networks = ledger.where(Network)
        known = [row.label if name in ("label", "uuid") else row.ranges for row in networks]
        raise InputError(projects.unknown(name, options[name], "network", known))
    request = network_request.read(Fields(_completed(options, found), ""), site)
    rows = network_commands.create(ledger, request, site, options)
    if any(apart.values()):
        project, host = (request.project if "project" in options else None), options.get("host")
        rows = [
            network_commands.modify(ledger, row, site, request.path, project=project, host=host, **apart)
            for row in rows
        ]
    return rows


def _completed(options: dict[str, t.Any], found: Network | None) -> dict[str, t.Any]:
    """The options; what they leave out of a network that is there stays as it is."""
    if found is None:
        return options
    manager = settings.manager(str(options.get("manager", found.manager)), "manager")
    return {
        "label": found.label,
        "manager": found.manager,
        "fixed_range": found.cidr,
        "fixed_range_v6": found.cidr_v6,
        "multi_host": found.multi_host,
        **({} if manager == "vlan" else {"bridge": found.bridge}),
        **options,
    }


def _delete(ledger: Ledger, options: dict[str, t.Any]) -> list[Network]:
    found = _find(ledger, options)
    if found is None:
        return []
    for name, has in (("fixed_range", found.range), ("fixed_range_v6", found.range_v6)):
        if name in options:
            asked = addressing.any_network(options[name], name)
            if has is None or has.first not in asked or has.prefix < asked.prefix:
                raise InputError(
                    f"{name}: network {found.label!r} is {found.ranges}, not in {asked.cidr}; leave one out"
                )
    if "uuid" in options and network_commands.find(ledger, identifier=options["uuid"]) != found:
        raise InputError(f"uuid: network {found.label!r} has {found.uuid}, not {options['uuid']}; leave one out")
    network_commands.delete(ledger, found)
    return [found]


def _find(ledger: Ledger, options: dict[str, t.Any]) -> Network | None:
    if "label" in options:
        return network_commands.find(ledger, label=options["label"])
    if "uuid" in options:
        return network_commands.find(ledger, identifier=options["uuid"])
    return network_commands.find(ledger, fixed_range=options.get("fixed_range", options.get("fixed_range_v6")))


# --- network list ----------------------------------------------------------------------------------------------------

_HEADERS = ("label", "IPv4", "IPv6", "start address", "DNS1", "DNS2", "VlanID", "project", "uuid")


def info(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module network_info documents."""
    columns = _command.given(parameters, ("label", "project", "manager"))
    if "manager" in columns:
        columns["manager"] = settings.manager(columns["manager"], "manager")
    now = time.time()

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        networks = sorted(ledger.where(Network, **columns), key=_order)
        records = _records(ledger, networks)
        return [
            {
                **row._asdict(),
                "addresses": _counts(row, 4, records[row.label], now),
                "addresses_v6": _counts(row, 6, records[row.label], now),
            }
            for row in networks
        ]

    found = upkeep.query(parameters["state_url"], work)
    lines = [
        tuple(
            row[name] for name in ("label", "cidr", "cidr_v6", "dhcp_start", "dns1", "dns2", "vlan", "project", "uuid")
        )
        for row in found
    ]
    return {
        "changed": False,
        "networks": found,
        "table": table(_HEADERS, lines) if lines else ["No networks found"],
    }


def _order(row: Network) -> tuple[int, int]:
    subnet = row.range or row.range_v6
    return (0, 0) if subnet is None else (subnet.version, subnet.first)


def _records(ledger: Ledger, networks: list[Network]) -> dict[str, list[FixedIp]]:
    """What is known of the addresses of each network; of several, in one question."""
    found: dict[str, list[FixedIp]] = {row.label: [] for row in networks}
    rows = ledger.where(FixedIp, network=networks[0].label) if len(networks) == 1 else ledger.where(FixedIp)
    for row in rows:
        if row.network in found:
            found[row.network].append(row)
    return found


def _counts(found: Network, version: int, rows: list[FixedIp], now: float) -> dict[str, int] | None:
    """How many addresses that guests may have are in which state; None where the network has none of the version."""
    subnet = found.range if version == 4 else found.range_v6
    if subnet is None:
        return None
    first, last = network.allowed(found) if version == 4 else (subnet.first + 1, subnet.last)
    own = network.own_numbers(found, version)
    counts = dict.fromkeys(fixed_ips.STATES, 0)
    for row in rows:
        number = addressing.number(row.address)
        if row.version == version and first <= number <= last and number not in own:
            counts[fixed_ips.state_of(row, now)] += 1
    taken = sum(count for state, count in counts.items() if state != "free")
    counts["free"] = last - first + 1 - sum(first <= number <= last for number in own) - taken
    return counts


# --- vpn list --------------------------------------------------------------------------------------------------------


def vpns(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module vpn_info documents."""
    site = _command.site(parameters)
    columns = {"manager": "vlan", **_command.given(parameters, ("project",))}
    now = time.time()

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        networks = [row for row in ledger.where(Network, **columns) if row.project is not None and row.cidr is not None]
        return [_vpn(ledger, site, row, now) for row in sorted(networks, key=lambda row: (row.project, _order(row)))]

    found = upkeep.query(parameters["state_url"], work)
    lines = [
        (
            vpn["project"],
            f"{vpn['vpn_public_address'] or vpn['host']}:{vpn['vpn_public_port']}",
            vpn["vpn_private_address"],
            None if vpn["instance"] is None else f"{vpn['instance']} on {vpn['instance_host']}, {vpn['state']}",
        )
        for vpn in found
    ]
    return {"changed": False, "vpns": found, "table": table(("project", "ip:port", "private_ip", "state"), lines)}


def _vpn(ledger: Ledger, site: Settings, found: Network, now: float) -> dict[str, t.Any]:
    # An instance on a network that a project has is of that project.
    name = f"{found.project}-vpn"
    held = [row for row in ledger.where(FixedIp, instance=name, network=found.label) if row.version == 4]
    instance = ledger.get(Instance, name) if held else None
    return {
        "project": found.project,
        "network": found.label,
        "host": found.host,
        "vpn_public_address": site.vpn_ip or found.vpn_public_address,
        "vpn_public_port": found.vpn_public_port,
        "vpn_private_address": found.vpn_private_address,
        "instance": instance and instance.name,
        "instance_host": instance and instance.host,
        "state": fixed_ips.state_of(held[0], now) if held else None,
    }
