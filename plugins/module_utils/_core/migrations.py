# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an older form of the records to today's, one version at a time.

A migration is a pure function on the rows of all kinds, so one and the same brings up to date a store of either
engine and an old export. Where only a table's keys, references or checks change, its function does nothing: the
tables are made anew for every version. Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing
from .kinds import Rows

#: Written into each store and export.
SCHEMA_VERSION = 5


def _origin(rows: Rows) -> None:
    """Version 1 knew no commands: all was made by the inventory."""
    for name in ("projects", "networks", "instances"):
        for row in rows.get(name, []):
            row["origin"] = "inventory"


def _managers(rows: Rows) -> None:
    """Version 2 knew flat DHCP networks of IPv4 alone, whose guests had all addresses but two below and one above."""
    for row in rows.get("projects", []):
        row.update(dict.fromkeys(("network_manager", *_QUOTAS)))
    for row in rows.get("networks", []):
        base, prefix = row["cidr"].split("/")
        first = addressing.number(base)
        row.update(
            uuid=addressing.stable_uuid(f"network/{row['label']}"),
            allowed_start=addressing.text(first + 2),
            allowed_end=addressing.text(first + (1 << (32 - int(prefix))) - 2),
            project_origin=None if row["project"] is None else "inventory",
            **dict.fromkeys(_LATER_OF_A_NETWORK),
        )
    for row in rows.get("fixed_ips", []):
        row.update(version=4, leased=False, reserved_by=None, reserved_for=None, quarantined_until=None)


def _address_pairs(rows: Rows) -> None:
    """Version 3 knew no allowed address pairs."""
    for row in rows.get("vifs", []):
        row["allowed_address_pairs"] = None


def _rules(rows: Rows) -> None:
    """Version 4 knew no rules of security groups, and no port forwards."""
    for row in rows.get("security_groups", []):
        row["description"] = None


_QUOTAS = ("quota_networks", "quota_fixed_ips", "quota_floating_ips", "quota_security_groups")
_LATER_OF_A_NETWORK = (
    "cidr_v6",
    "gateway_v6",
    "vlan",
    "vpn_private_address",
    "vpn_public_address",
    "vpn_public_port",
    "priority",
)

#: From each version to the next one.
MIGRATIONS: dict[int, t.Callable[[Rows], None]] = {1: _origin, 2: _managers, 3: _address_pairs, 4: _rules}

#: Kinds that a version had and today's has not; their tables go with the migration.
FORMER_KINDS: tuple[str, ...] = ()


def migrate(rows: Rows, version: int) -> Rows:
    """The rows, which are changed in place, as today's version has them."""
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](rows)
    return rows
