# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of security groups as records: read, kept in step with what is asked for, and written into plans.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, guest_rules, projects
from .errors import InputError
from .fields import Fields, items
from .guest_rules import Traffic
from .ledger import Ledger
from .state import SecurityGroup, SecurityGroupRule

#: What a rule is asked for with.
FIELDS = ("direction", "protocol", "ports", "icmp_type", "icmp_code", "cidr", "group")


class Rule(t.NamedTuple):
    """One that is asked for; `path` says where."""

    path: str
    direction: str
    traffic: Traffic


def read(value: object, path: str) -> tuple[Rule, ...]:
    """The rules of one group, each once."""
    found: dict[tuple[str, Traffic], Rule] = {}
    for where, entry in items(value, path):
        direction, traffic = guest_rules.group_rule(Fields(entry, where))
        found.setdefault((direction, traffic), Rule(where, direction, traffic))
    return tuple(found.values())


def put(ledger: Ledger, group: SecurityGroup, rules: t.Sequence[Rule], origin: str) -> None:
    """Make these the group's rules of that origin; those of another origin stay."""
    there = {row.id: row for row in of_group(ledger, group)}
    for rule in rules:
        _check_group(ledger, group, rule)
    wanted = records(group.project, group.name, rules, origin)
    for key, row in there.items():
        if key not in wanted and row.origin == origin:
            ledger.drop(row)
    for key, row in wanted.items():
        if key not in there:
            ledger.put(row)


def records(project: str, group: str, rules: t.Sequence[Rule], origin: str) -> dict[str, SecurityGroupRule]:
    """The rules of a group as records, by their ids."""
    rows = [_record(project, group, rule, origin) for rule in rules]
    return {row.id: row for row in rows}


def of_group(ledger: Ledger, group: SecurityGroup) -> list[SecurityGroupRule]:
    return ledger.where(SecurityGroupRule, project=group.project, security_group=group.name)


def naming(ledger: Ledger, group: SecurityGroup) -> list[str]:
    """The other groups with a rule that names this one."""
    rows = ledger.where(SecurityGroupRule, project=group.project, remote_group=group.name)
    return sorted({row.security_group for row in rows} - {group.name})


def _check_group(ledger: Ledger, group: SecurityGroup, rule: Rule) -> None:
    name = rule.traffic.group
    if name in (None, projects.DEFAULT_GROUP) or ledger.get(SecurityGroup, (group.project, name)) is not None:
        return
    known = [projects.DEFAULT_GROUP, *(each.name for each in ledger.where(SecurityGroup, project=group.project))]
    kind = f"security group of project {group.project!r}"
    raise InputError(projects.unknown(f"{rule.path}.group", name, kind, dict.fromkeys(known)))


def _record(project: str, group: str, rule: Rule, origin: str) -> SecurityGroupRule:
    traffic = rule.traffic
    cidr = guest_rules.written(traffic)["cidr"]
    first, last = traffic.ports or (None, None)
    row = SecurityGroupRule(
        "",
        project,
        group,
        rule.direction,
        traffic.protocol,
        first,
        last,
        traffic.icmp_type,
        traffic.icmp_code,
        cidr,
        traffic.group,
        origin,
    )
    return row._replace(id=identified(row))


def identified(row: SecurityGroupRule) -> str:
    """The id that follows from what the rule says."""
    return addressing.stable_uuid("rule/" + "/".join(map(str, row[1:-1])))


def written(row: SecurityGroupRule) -> dict[str, t.Any]:
    """As a plan and a declaration have it."""
    ports = None
    if row.from_port is not None:
        ports = str(row.from_port) if row.from_port == row.to_port else f"{row.from_port}:{row.to_port}"
    return {
        "direction": row.direction,
        "protocol": row.protocol,
        "ports": ports,
        "icmp_type": row.icmp_type,
        "icmp_code": row.icmp_code,
        "cidr": row.cidr,
        "group": row.remote_group,
    }


def order(row: SecurityGroupRule) -> tuple[str, ...]:
    """Rules of a group in an order that does not depend on how they came to be there."""
    return tuple("" if value is None else f"{value:>5}" for value in row[3:-1])
