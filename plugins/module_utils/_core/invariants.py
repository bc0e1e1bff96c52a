# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must hold of everything in a store, checked from the rows alone.

First what each kind says of itself (`kinds`): types, keys, uniqueness, references. Then what networks and addresses
are about. Each violation is one line that names the rows. Private to the collection; may change at any time.
"""

from __future__ import annotations

import collections
import typing as t

from . import address_pairs, addressing, carving, guest_rules, naming, network, projects, security_rules
from .addressing import Range
from .errors import InputError
from .fields import Fields
from .kinds import KINDS, Kind, Rows
from .settings import MANAGERS
from .state import ORIGINS, SecurityGroupRule
from .state import Network as NetworkRecord

Row = dict[str, t.Any]


def violations(rows: Rows) -> list[str]:
    """All violations. Where a row has not even the right types, only those are told: nothing else can be judged."""
    found = [line for kind in KINDS for line in _types(kind, rows)]
    if found:
        return found
    for kind in KINDS:
        found += _doubles(kind, rows)
        found += _orphans(kind, rows)
    found += _origins(rows)
    found += _networks(rows)
    found += _groups(rows)
    found += _rules(rows)
    found += _nics(rows)
    found += _addresses(rows)
    found += _floating(rows)
    found += _forwards(rows)
    return found


def _called(kind: Kind, row: Row) -> str:
    return f"{kind.name} {'/'.join(str(row.get(name)) for name in kind.key)}"


def _types(kind: Kind, rows: Rows) -> t.Iterator[str]:
    for row in rows[kind.name]:
        for column in kind.columns:
            value = row.get(column.name)
            if value is None:
                if not column.optional:
                    yield f"{_called(kind, row)}: {column.name} is missing"
            elif not column.takes(value):
                yield f"{_called(kind, row)}: {column.name} {value!r} is no {column.type.__name__}"


def _doubles(kind: Kind, rows: Rows) -> t.Iterator[str]:
    for columns in dict.fromkeys((kind.primary or kind.key, kind.key, *kind.unique)):
        holders: dict[tuple[t.Any, ...], Row] = {}
        for row in rows[kind.name]:
            value = tuple(row[name] for name in columns)
            if None in value:
                continue
            if value in holders:
                named = ", ".join(f"{name} {row[name]!r}" for name in columns)
                yield f"{_called(kind, holders[value])} and {_called(kind, row)} have the same {named}"
            holders.setdefault(value, row)


def _orphans(kind: Kind, rows: Rows) -> t.Iterator[str]:
    for columns, other, key in kind.references:
        there = {tuple(row[name] for name in key) for row in rows[other]}
        for row in rows[kind.name]:
            value = tuple(row[name] for name in columns)
            if None not in value and value not in there:
                yield f"{_called(kind, row)} refers to {other} {'/'.join(map(str, value))}, which is not there"


def _origins(rows: Rows) -> t.Iterator[str]:
    for kind in KINDS:
        for row in rows[kind.name]:
            for name in ("origin", "reserved_by", "allocated_by", "associated_by"):
                if row.get(name) is not None and row[name] not in ORIGINS:
                    yield f"{_called(kind, row)}: {name} {row[name]!r} is not one of {', '.join(ORIGINS)}"


def _networks(rows: Rows) -> t.Iterator[str]:
    ranges: dict[int, list[tuple[Range, str]]] = {4: [], 6: []}
    bridges: dict[str, Row] = {}
    for row in rows["networks"]:
        label = row["label"]
        for column, version in (("cidr", 4), ("cidr_v6", 6)):
            if row[column] is None:
                continue
            try:
                subnet = _RANGE[version](row[column], f"networks {label}: {column}")
            except InputError as error:
                yield str(error)
                continue
            ranges[version].append((subnet, label))
            if subnet.cidr != row[column]:
                yield f"networks {label}: {column} {row[column]} is not in its canonical form {subnet.cidr}"
            yield from _own_addresses(row, subnet)
        yield from _manager(row)
        other = bridges.setdefault(row["bridge"], row)
        if other is not row and not row["manager"] == other["manager"] == "flat":
            yield f"networks {label}: bridge {row['bridge']} already belongs to network {other['label']}"
        if row["multi_host"] and row["host"] is not None:
            yield f"networks {label}: host is {row['host']!r}, but as it is multi_host it has no host of its own"
    for known in ranges.values():
        yield from _overlaps(known)


_RANGE = {4: addressing.network, 6: addressing.network_v6}


def _readable(cidr: str | None) -> Range | None:
    """The range, unless it is none: that was said of its network."""
    try:
        return None if cidr is None else addressing.any_network(cidr, "cidr")
    except InputError:
        return None


def _overlaps(ranges: list[tuple[Range, str]]) -> t.Iterator[str]:
    """Against the one that reaches furthest so far: a range may lie within one that is not its neighbour."""
    furthest: tuple[Range, str] | None = None
    for subnet, label in sorted(ranges):
        if furthest and subnet.overlaps(furthest[0]):
            yield f"networks {label}: {subnet.cidr} overlaps {furthest[0].cidr} of network {furthest[1]}"
        if furthest is None or subnet.last > furthest[0].last:
            furthest = (subnet, label)


_OF_V4 = ("gateway", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end")


def _own_addresses(row: Row, subnet: Range) -> t.Iterator[str]:
    names = (*_OF_V4, "vpn_private_address") if subnet.version == 4 else ("gateway_v6",)
    read = addressing.address if subnet.version == 4 else addressing.address_v6
    numbers = {}
    for name in names:
        what = f"networks {row['label']}: {name}"
        if row[name] is None:
            if name != "vpn_private_address":
                yield f"{what} is missing"
            continue
        try:
            numbers[name] = addressing.number(read(row[name], what))
        except InputError as error:
            yield str(error)
            continue
        if numbers[name] not in subnet:
            yield f"{what} {row[name]} lies outside {subnet.cidr}"
    if numbers.get("allowed_start", 0) > numbers.get("allowed_end", 1 << 32):
        yield f"networks {row['label']}: allowed_start {row['allowed_start']} is above allowed_end {row['allowed_end']}"
    if numbers.get("vpn_private_address", -1) in (numbers.get("gateway"), numbers.get("dhcp_server")):
        yield f"networks {row['label']}: vpn_private_address {row['vpn_private_address']} is the gateway or DHCP server"


def _manager(row: Row) -> t.Iterator[str]:
    """A VLAN network has a VLAN, and its bridge is named after it; others have neither VLAN nor VPN."""
    name = f"networks {row['label']}"
    if row["manager"] not in MANAGERS:
        yield f"{name}: manager {row['manager']!r} is not one of {', '.join(MANAGERS)}"
    elif row["manager"] == "vlan":
        if row["vlan"] is None:
            yield f"{name}: it is a VLAN network without a VLAN"
        elif row["bridge"] != naming.vlan_bridge_name(row["vlan"]):
            yield f"{name}: bridge {row['bridge']} is not {naming.vlan_bridge_name(row['vlan'])} as derived"
        if (row["cidr"] is None) != (row["vpn_public_port"] is None):
            yield f"{name}: vpn_public_port is {row['vpn_public_port']}, but a VPN goes with an IPv4 range"
    elif any(row[column] is not None for column in ("vlan", "vpn_private_address", "vpn_public_port")):
        yield f"{name}: it is a {row['manager']} network with a VLAN or VPN"
    if (row["project"] is None) != (row["project_origin"] is None):
        yield f"{name}: project is {row['project']}, but project_origin {row['project_origin']}"


def _groups(rows: Rows) -> t.Iterator[str]:
    """Their subnets lie in their network, each apart from the others, in a network that the project may use."""
    networks = {row["label"]: row for row in rows["networks"]}
    subnets: dict[str, list[tuple[Range, str]]] = {}
    for row in rows["security_groups"]:
        name = f"security_groups {row['project']}/{row['name']}"
        found = networks.get(row["network"])
        if found is None or row["subnet"] is None:
            continue
        if found["project"] not in (None, row["project"]):
            yield f"{name}: its network {found['label']} belongs to project {found['project']}"
        try:
            subnet = addressing.network(row["subnet"], f"{name}: subnet")
            whole = addressing.network(found["cidr"], name)
        except InputError as error:
            yield str(error)
            continue
        if subnet.first not in whole or subnet.last not in whole:
            yield f"{name}: subnet {subnet.cidr} lies outside its network {found['label']} {whole.cidr}"
        subnets.setdefault(found["label"], []).append((subnet, f"security group {row['name']}"))
    for known in subnets.values():
        ordered = sorted(known)
        for (lower, one), (upper, other) in zip(ordered, ordered[1:]):
            if lower.overlaps(upper):
                yield f"subnet {upper.cidr} of {other} overlaps {lower.cidr} of {one}"
    instances = {row["name"]: row for row in rows["instances"]}
    for row in rows["memberships"]:
        owner = instances.get(row["instance"])
        if owner is not None and owner["project"] != row["project"]:
            yield (
                f"memberships {row['instance']}/{row['security_group']}: the group belongs to project "
                f"{row['project']}, "
                f"the instance to {owner['project']}"
            )


def _rules(rows: Rows) -> t.Iterator[str]:
    """Each is what it would be if it were read today, and names a group of its project."""
    groups = {(row["project"], row["name"]) for row in rows["security_groups"]}
    for row in rows["security_group_rules"]:
        name = f"security_group_rules {row['id']} of {row['project']}/{row['security_group']}"
        record = SecurityGroupRule(**row)
        if security_rules.identified(record) != row["id"]:
            yield f"{name}: its id is not {security_rules.identified(record)} as derived"
        words = security_rules.written(record)
        try:
            direction, traffic = guest_rules.group_rule(Fields(words, name))
        except InputError as error:
            yield str(error)
            continue
        canonical = {**guest_rules.written(traffic), "direction": direction, "group": traffic.group}
        for key, value in canonical.items():
            if words[key] != value:
                yield f"{name}: {key} {words[key]!r} is not in its canonical form {value!r}"
        remote = row["remote_group"]
        if remote not in (None, projects.DEFAULT_GROUP) and (row["project"], remote) not in groups:
            yield f"{name} refers to security group {remote} of its project, which is not there"


def _forwards(rows: Rows) -> t.Iterator[str]:
    """Each port of a floating IP leads to one guest, of the floating IP's project."""
    floating = {row["address"]: row for row in rows["floating_ips"]}
    holders = {row["address"]: row["instance"] for row in rows["fixed_ips"]}
    instances = {row["name"]: row for row in rows["instances"]}
    ordered = sorted(rows["port_forwards"], key=lambda row: (row["address"], row["protocol"], row["from_port"]))
    previous: Row | None = None
    for row in ordered:
        name = f"port_forwards {row['address']}/{row['protocol']}/{row['from_port']}"
        if row["protocol"] not in ("tcp", "udp") or not 1 <= row["from_port"] <= row["to_port"] <= 65535:
            yield f"{name}: {row['protocol']} {row['from_port']}:{row['to_port']} are no ports"
        if not 1 <= row["fixed_port"] <= 65535 - (row["to_port"] - row["from_port"]):
            yield f"{name}: from fixed_port {row['fixed_port']} on there are not as many ports"
        if (
            previous is not None
            and (previous["address"], previous["protocol"]) == (row["address"], row["protocol"])
            and row["from_port"] <= previous["to_port"]
        ):
            yield f"{name} overlaps {previous['from_port']}:{previous['to_port']} of the same address"
        previous = row
        whole = floating.get(row["address"])
        if whole is None:
            continue
        if whole["fixed_address"] is not None:
            yield f"{name}: all of the floating IP leads to {whole['fixed_address']}"
        holder = instances.get(holders.get(row["fixed_address"]))
        if holder is None:
            yield f"{name} leads to {row['fixed_address']}, which no instance holds"
        elif holder["project"] != whole["project"]:
            yield f"{name} of project {whole['project']} leads to instance {holder['name']} of {holder['project']}"
        if (":" in row["address"]) != (":" in row["fixed_address"]):
            yield f"{name} leads to {row['fixed_address']}, which is of the other version"


def _nics(rows: Rows) -> t.Iterator[str]:
    instances = {row["name"]: row for row in rows["instances"]}
    networks = {row["label"]: row for row in rows["networks"]}
    addresses = collections.Counter((row["instance"], row["network"], row["version"]) for row in rows["fixed_ips"])
    for row in rows["vifs"]:
        name = f"vifs {row['instance']}/{row['network']}"
        instance, net = instances.get(row["instance"]), networks.get(row["network"])
        for version, column in ((4, "cidr"), (6, "cidr_v6")):
            wanted = int(net is not None and net[column] is not None)
            found = addresses[row["instance"], row["network"], version]
            if net is not None and found != wanted:
                yield f"{name} has {found} IPv{version} addresses instead of {wanted}"
        derived = addressing.stable_uuid(f"{row['network']}/{row['instance']}")
        if row["id"] != derived:
            yield f"{name}: id {row['id']} is not {derived} as derived"
        try:
            if addressing.mac(row["mac"], name) != row["mac"]:
                yield f"{name}: mac {row['mac']} is not in its canonical form"
            pairs = row["allowed_address_pairs"]
            if pairs is not None and address_pairs.canonical(pairs, name) != pairs:
                yield f"{name}: allowed_address_pairs {pairs} is not in its canonical form"
        except InputError as error:
            yield str(error)
        if instance and net and net["project"] not in (None, instance["project"]):
            yield f"{name}: the network belongs to project {net['project']}, the instance to {instance['project']}"


def _addresses(rows: Rows) -> t.Iterator[str]:
    networks: dict[str, NetworkRecord] = {}
    for row in rows["networks"]:
        record = NetworkRecord(**row)
        if not any(True for _each in _networks({"networks": [row]})):
            networks[record.label] = record  # what is wrong with another was said of it already
    for row in rows["fixed_ips"]:
        name = f"fixed_ips {row['address']}"
        holders = [row["instance"], row["host"], row["released_at"]]
        if holders.count(None) != 2 and (holders.count(None) != 3 or row["reserved_by"] is None):
            yield f"{name} is not one of: held by an instance, held by a host, released, reserved"
        try:
            version, number = addressing.order(addressing.any_address(row["address"], name))
        except InputError as error:
            yield str(error)
            continue
        if version != row["version"]:
            yield f"{name}: version is {row['version']}"
        if row["network"] not in networks:
            continue
        net = networks[row["network"]]
        subnet = net.range if version == 4 else net.range_v6
        held = row["instance"] is not None or row["host"] is not None
        if subnet is None or number not in subnet:
            yield f"{name} lies outside its network {net.label} {net.ranges}"
        elif held and number in network.own_numbers(net, version):
            yield f"{name} is the network's own in its network {net.label} {net.ranges}"
        elif held and version == 4 and number in (subnet.first, subnet.last):
            yield f"{name} is the network or broadcast address of its network {net.label} {net.ranges}"
        if row["host"] is not None and not net.multi_host:
            yield f"{name} is the gateway of host {row['host']}, but network {net.label} is not multi_host"


def _floating(rows: Rows) -> t.Iterator[str]:
    """Each leads, if anywhere, to an address that an instance of its project holds, and is in no network."""
    fixed = {row["address"]: row for row in rows["fixed_ips"]}
    instances = {row["name"]: row for row in rows["instances"]}
    ranges = {
        version: carving.Taken(each for each in (_readable(row[column]) for row in rows["networks"]) if each)
        for version, column in ((4, "cidr"), (6, "cidr_v6"))
    }
    for row in rows["floating_ips"]:
        name = f"floating_ips {row['address']}"
        try:
            canonical = addressing.any_address(row["address"], name)
        except InputError as error:
            yield str(error)
            continue
        if canonical != row["address"]:
            yield f"{name} is not in its canonical form {canonical}"
        version, number = addressing.order(canonical)
        bits = 32 if version == 4 else 128
        found = ranges[version].conflict(Range(number, number, bits, version))
        if found is not None:
            yield f"{name} lies inside the fixed range {found.cidr}"
        if (row["project"] is None) != (row["allocated_by"] is None):
            yield f"{name}: project is {row['project']}, but allocated_by {row['allocated_by']}"
        if (row["fixed_address"] is None) != (row["associated_by"] is None):
            yield f"{name}: fixed_address is {row['fixed_address']}, but associated_by {row['associated_by']}"
        target = fixed.get(row["fixed_address"])
        if target is None:
            continue
        holder = instances.get(target["instance"])
        if holder is None:
            yield f"{name} leads to {target['address']}, which no instance holds"
        elif holder["project"] != row["project"]:
            yield f"{name} of project {row['project']} leads to instance {holder['name']} of {holder['project']}"
        if addressing.version(target["address"]) != version:
            yield f"{name} leads to {target['address']}, which is of the other version"
