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

from . import addressing, network
from .errors import InputError
from .kinds import KINDS, Kind, Rows
from .state import ORIGINS
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
    found += _nics(rows)
    found += _addresses(rows)
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
            if "origin" in row and row["origin"] not in ORIGINS:
                yield f"{_called(kind, row)}: origin {row['origin']!r} is not one of {', '.join(ORIGINS)}"


def _networks(rows: Rows) -> t.Iterator[str]:
    ranges = []
    bridges: dict[str, str] = {}
    for row in rows["networks"]:
        label = row["label"]
        try:
            subnet = addressing.network(row["cidr"], f"networks {label}: cidr")
            yield from _own_addresses(row, subnet)
            ranges.append((subnet, label))
            if subnet.cidr != row["cidr"]:
                yield f"networks {label}: cidr {row['cidr']} is not in its canonical form {subnet.cidr}"
        except InputError as error:
            yield str(error)
        if row["bridge"] in bridges:
            yield f"networks {label}: bridge {row['bridge']} already belongs to network {bridges[row['bridge']]}"
        bridges[row["bridge"]] = label
        if row["multi_host"] == (row["host"] is not None):
            wanted = "no host of its own, as it is multi_host" if row["multi_host"] else "a host that serves it"
            yield f"networks {label}: host is {row['host']!r}, but the network has {wanted}"
    # Against the one that reaches furthest so far: a range may lie within one that is not its neighbour.
    furthest: tuple[addressing.Range, str] | None = None
    for subnet, label in sorted(ranges):
        if furthest and subnet.overlaps(furthest[0]):
            yield f"networks {label}: {subnet.cidr} overlaps {furthest[0].cidr} of network {furthest[1]}"
        if furthest is None or subnet.last > furthest[0].last:
            furthest = (subnet, label)


def _own_addresses(row: Row, subnet: addressing.Range) -> t.Iterator[str]:
    label = row["label"]
    for name in ("gateway", "dhcp_server", "dhcp_start"):
        value = addressing.address(row[name], f"networks {label}: {name}")
        if addressing.number(value) not in subnet:
            yield f"networks {label}: {name} {value} lies outside {subnet.cidr}"
            return
    # Whether the gateway was asked for is not kept; either way leads to one first address for guests.
    possible = {network.own_addresses(subnet, row["gateway"], row["dhcp_server"]).dhcp_start}
    if addressing.number(row["gateway"]) == subnet.first + 1:
        possible.add(network.own_addresses(subnet, None, row["dhcp_server"]).dhcp_start)
    if row["dhcp_start"] not in possible:
        yield f"networks {label}: dhcp_start {row['dhcp_start']} is not {' or '.join(sorted(possible))} as derived"


def _nics(rows: Rows) -> t.Iterator[str]:
    instances = {row["name"]: row for row in rows["instances"]}
    networks = {row["label"]: row for row in rows["networks"]}
    addresses = collections.Counter((row["instance"], row["network"]) for row in rows["fixed_ips"])
    for row in rows["vifs"]:
        key = (row["instance"], row["network"])
        name = f"vifs {'/'.join(key)}"
        if addresses[key] != 1:
            yield f"{name} has {addresses[key]} addresses instead of one"
        derived = addressing.stable_uuid(f"{row['network']}/{row['instance']}")
        if row["id"] != derived:
            yield f"{name}: id {row['id']} is not {derived} as derived"
        try:
            if addressing.mac(row["mac"], name) != row["mac"]:
                yield f"{name}: mac {row['mac']} is not in its canonical form"
        except InputError as error:
            yield str(error)
        instance, net = instances.get(row["instance"]), networks.get(row["network"])
        if instance and net and net["project"] not in (None, instance["project"]):
            yield f"{name}: the network belongs to project {net['project']}, the instance to {instance['project']}"


def _addresses(rows: Rows) -> t.Iterator[str]:
    networks: dict[str, tuple[NetworkRecord, addressing.Range, frozenset[int]]] = {}
    for row in rows["networks"]:
        try:
            record = NetworkRecord(**row)
            networks[record.label] = (record, record.range, network.reserved(record))
        except (ValueError, InputError):
            continue  # said of the network already
    for row in rows["fixed_ips"]:
        name = f"fixed_ips {row['address']}"
        if [row["instance"], row["host"], row["released_at"]].count(None) != 2:
            yield f"{name} is not one of: held by an instance, held by a host, released"
        try:
            number = addressing.number(addressing.address(row["address"], name))
        except InputError as error:
            yield str(error)
            continue
        if row["network"] not in networks:
            continue
        net, subnet, reserved = networks[row["network"]]
        if number not in subnet:
            yield f"{name} lies outside its network {net.label} {net.cidr}"
        elif number in reserved and row["released_at"] is None:
            yield f"{name} is reserved in its network {net.label} {net.cidr}"
        if row["host"] is not None and not net.multi_host:
            yield f"{name} is the gateway of host {row['host']}, but network {net.label} is not multi_host"
