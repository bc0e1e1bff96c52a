# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host plan says of security groups: the guests of a host, their groups, and those that these name.

Whatever the number of hosts, all rules and members are looked at once.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import addressing, guest_rules, security_rules
from .guests import Guest
from .settings import Settings
from .state import SecurityGroupRule, State

Plan = dict[str, t.Any]

#: Project and name.
_Key = tuple[str, str]

#: What a NIC gives itself beside its addresses (RFC 4291).
_LINK_LOCAL = addressing.known_network("fe80::/64")


class Groups:
    """The groups of a site: their rules, and the addresses of their members on every host."""

    def __init__(self, state: State, guests: t.Iterable[Guest]) -> None:
        self._rules: dict[_Key, list[SecurityGroupRule]] = {}
        for row in state.security_group_rules.values():
            self._rules.setdefault((row.project, row.security_group), []).append(row)
        for rows in self._rules.values():
            rows.sort(key=security_rules.order)
        named = {
            (row.project, row.remote_group)
            for row in state.security_group_rules.values()
            if row.remote_group is not None
        }
        self._members: dict[_Key, list[str]] = {key: [] for key in named}
        for guest in guests if named else ():
            for name in guest.groups:
                members = self._members.get((guest.instance.project, name))
                if members is not None:
                    members.extend(address for address in (guest.address, guest.address_v6) if address is not None)
        for addresses in self._members.values():
            addresses.sort(key=addressing.order)

    def section(self, present: list[Guest], dhcp_servers: t.Mapping[str, str], settings: Settings) -> Plan:
        """What the section `packet_filter` of a host has with these guests; `dhcp_servers` by network."""
        if not present:
            return {}
        used = dict.fromkeys((guest.instance.project, name) for guest in present for name in guest.groups)
        named = dict.fromkeys(
            (row.project, row.remote_group)
            for key in used
            for row in self._rules.get(key, ())
            if row.remote_group is not None
        )
        entries = [
            {
                "name": f"{project}/{name}",
                "members": self._members.get((project, name), []) if (project, name) in named else [],
                "rules": [_rule(row) for row in self._rules.get((project, name), ())]
                if (project, name) in used
                else [],
            }
            for project, name in sorted({**used, **named})
        ]
        section: Plan = {
            "instances": [entry for guest in present for entry in _addresses(guest, dhcp_servers)],
            "security_groups": entries,
        }
        if settings.allow_same_net_traffic:
            section["allow_same_net_traffic"] = True
        if settings.provider_rules:
            section["provider_rules"] = [guest_rules.written(rule) for rule in settings.provider_rules]
        return section


def _rule(row: SecurityGroupRule) -> Plan:
    """Groups are named with their projects, of which a host has several."""
    rule = security_rules.written(row)
    return rule if row.remote_group is None else {**rule, "group": f"{row.project}/{row.remote_group}"}


def _addresses(guest: Guest, dhcp_servers: t.Mapping[str, str]) -> t.Iterator[Plan]:
    """Each address of the NIC."""
    groups = [f"{guest.instance.project}/{name}" for name in guest.groups]
    if guest.address is not None:
        yield {
            "address": guest.address,
            "cidr": guest.network.cidr,
            "dhcp_server": dhcp_servers.get(guest.network.label),
            "security_groups": groups,
        }
    if guest.address_v6 is not None:
        yield {"address": guest.address_v6, "cidr": guest.network.cidr_v6, "security_groups": groups}
    # Whoever is on its network reaches the NIC so, whether or not the network has IPv6.
    yield {
        "address": addressing.eui64(_LINK_LOCAL, guest.mac),
        "cidr": _LINK_LOCAL.cidr,
        "security_groups": groups,
    }
