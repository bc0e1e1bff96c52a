# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which connections a change of the rules ends: the kernel leads one that exists where it always went, and lets it in.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import functools
import itertools
import typing as t

from . import addressing
from .guest_rules import Guest, Section, Traffic
from .packet_filter import Intent, PortForward


class Connection(t.NamedTuple):
    """One that the kernel tracks: who asked whom, and with whom they were really brought together."""

    protocol: str
    source: str
    destination: str
    #: 0 where the protocol has no ports.
    port: int
    #: Who answers, by which port, and whom he answers.
    answered_by: str
    answered_port: int
    answered_to: str
    #: Another connection asked for it, such as that of data for one of control.
    related: bool = False


class Ways(t.NamedTuple):
    """Ways between addresses and guests, as pairs of floating and fixed address."""

    to_guests: t.AbstractSet[tuple[str, str]] = frozenset()
    from_guests: t.AbstractSet[tuple[str, str]] = frozenset()


class Verdict:
    """Whether a connection goes on, after ways have gone and come."""

    def __init__(self, meaning: Intent, gone: Ways, come: Ways) -> None:
        self._touched = {address for address, _fixed in gone.to_guests | come.to_guests}
        self._led: dict[str, set[str]] = {}
        for address, fixed in gone.to_guests:
            self._led.setdefault(address, set()).add(fixed)
        self._left_as = {(fixed, address) for address, fixed in gone.from_guests - come.from_guests}
        self._floating_ips = meaning.floating_ips
        self._ports: dict[tuple[str, str], list[PortForward]] = {}
        for forward in meaning.port_forwards:
            self._ports.setdefault((forward.address, forward.protocol), []).append(forward)

    @functools.cached_property
    def _whole(self) -> dict[str, str]:
        """Where addresses lead as a whole: asked for by the first connection alone, of many addresses."""
        return {address: fixed for address, fixed, _interface in self._floating_ips}

    def concerns(self, version: int) -> bool:
        """Whether any connection of IPv4 or IPv6 can end."""
        left = (address for _fixed, address in self._left_as)
        return any((":" in address) == (version == 6) for address in itertools.chain(self._touched, left))

    def ends(self, connection: Connection) -> bool:
        """Whether the connection would be another one, or none, if it began now."""
        if (connection.source, connection.answered_to) in self._left_as:
            return True
        address = connection.destination
        if address not in self._touched:
            return False
        now = self._way(connection)
        if now is None:
            # Only what a way of ours had led there: the host itself, or somebody else's rules, may go on.
            return connection.answered_by in self._led.get(address, ())
        return now != (connection.answered_by, connection.answered_port)

    def _way(self, connection: Connection) -> tuple[str, int] | None:
        for forward in self._ports.get((connection.destination, connection.protocol), ()):
            if forward.first <= connection.port <= forward.last:
                return forward.fixed_address, forward.to_first + connection.port - forward.first
        fixed = self._whole.get(connection.destination)
        return None if fixed is None else (fixed, connection.port)


class Gate:
    """Whether guests still let a connection in and out, after their security groups have changed."""

    def __init__(self, security: Section, own: t.Container[str]) -> None:
        """`own`: the host's addresses. What a guest sends to these, no group of it concerns."""
        self._own = own
        self._guests = {guest.address: guest for guest in security.guests}
        self._groups = {group.name: group for group in security.groups}
        self._provider = security.provider

    def refuses(self, connection: Connection) -> bool:
        if connection.related:
            return False
        receiver, sender = self._guests.get(connection.answered_by), self._guests.get(connection.source)
        if receiver is not None and not self._lets_in(receiver, connection):
            return True
        return sender is not None and connection.answered_by not in self._own and not self._lets_out(sender, connection)

    def _lets_in(self, guest: Guest, connection: Connection) -> bool:
        source = connection.source
        if any(self._covers(rule, connection, source) for rule in self._provider):
            return False
        if source == guest.dhcp_server and connection.protocol == "udp" and connection.answered_port == 68:
            return True
        if guest.open_to is not None and _within(source, guest.open_to):
            return True
        return any(
            self._covers(rule, connection, source) for name in guest.groups for rule in self._groups[name].ingress
        )

    def _lets_out(self, guest: Guest, connection: Connection) -> bool:
        if not any(self._groups[name].limited for name in guest.groups):
            return True
        rules = [rule for name in guest.groups for rule in self._groups[name].egress]
        return any(self._covers(rule, connection, connection.answered_by) for rule in rules)

    def _covers(self, rule: Traffic, connection: Connection, other: str) -> bool:
        """The kind of an ICMP message is not known of a connection: it counts as the right one."""
        if rule.protocol is not None and rule.protocol != connection.protocol:
            return False
        if rule.ports is not None and not rule.ports[0] <= connection.answered_port <= rule.ports[1]:
            return False
        if rule.cidr is not None and not _within(other, rule.cidr):
            return False
        return rule.group is None or other in self._groups[rule.group].members


def _within(address: str, cidr: str) -> bool:
    return addressing.number(address) in addressing.known_network(cidr)
