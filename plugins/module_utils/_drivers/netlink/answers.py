# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host's own metadata service answers from, and by: an address, and a way to the guests of flat networks.

The host has no address of such a network, or one of the operator's, and its own routes say how it reaches the network
otherwise. So what comes from the address alone is looked up in a table of its own.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import errno
import socket
import typing as t

from ..._core import addressing
from ..._core.errors import HostError
from ..._core.packet_filter import METADATA_ADDRESS
from .wire import (
    ADDRESS,
    NLM_F_REQUEST,
    ROUTE,
    U32,
    Socket,
    attribute,
    attributes,
    message,
    string,
    u32,
    value,
)

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_CREATE, _REPLACE = 0x600, 0x500
#: linux/if_addr.h, rtnetlink.h and fib_rules.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 2, 6, 15, 21
_SCOPE_LINK, _RTN_UNICAST, _RTN_LOCAL, _TO_TABLE = 253, 1, 2, 1
#: systemd-networkd, when it starts, removes rules that it did not make, unless they are the kernel's.
_KERNEL, _STATIC = 2, 4

#: Of the table, and of the rule that leads there: before those of the kernel itself.
NUMBER = 16925
#: Tells our address from others'.
LABEL = "nova:metadata"
_LOCAL = socket.inet_aton(METADATA_ADDRESS)


class Answers(t.NamedTuple):
    """Whether the host has the address, by us; ranges of guests with the number of their bridge; and the rule."""

    address: bool = False
    ranges: frozenset[tuple[str, int]] = frozenset()
    rule: bool = False
    #: The host has the address by somebody else: that will do, and stays.
    given: bool = False


def read(kernel: Socket) -> Answers:
    """`kernel` is a strict socket: a host may have a great many routes and addresses, of which only ours are listed."""
    rule = any(kernel.dump(_GETRULE, ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), _is_ours))
    address = any(kernel.dump(_GETADDR, ADDRESS.pack(socket.AF_INET, 0, 0, 0, _loopback()), _is_our_address))
    given = not address and _is_local(kernel)
    # Without either no route is of any use.
    ranges = frozenset(filter(None, _routes(kernel))) if rule or address else frozenset()
    return Answers(address, ranges, rule, given)


def bring(kernel: Socket, before: Answers, after: Answers) -> dict[int, str]:
    """One datagram, so that no killed run leaves it half done; the reasons of what was refused."""
    messages = []
    if after.rule and not before.rule:
        messages.append(_rule(_NEWRULE))
    messages += [_way(_NEWROUTE, *route) for route in sorted(after.ranges - before.ranges)]
    if after.address != before.address:
        messages.append(_address(_NEWADDR if after.address else _DELADDR))
    messages += [_way(_DELROUTE, *route) for route in sorted(before.ranges - after.ranges)]
    if before.rule and not after.rule:
        messages.append(_rule(_DELRULE))
    return kernel.request(messages) if messages else {}


def _routes(kernel: Socket) -> list[tuple[str, int] | None]:
    body = ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_TABLE, U32.pack(NUMBER))
    try:
        return kernel.dump(_GETROUTE, body, _route)
    except HostError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENOENT:
            return []  # nothing has been in the table yet
        raise


def _flags(kind: int) -> int:
    return NLM_F_REQUEST | (_CREATE if kind in (_NEWADDR, _NEWRULE) else 0)


def _is_ours(body: bytes) -> bool:
    _family, _to, length, _tos, _table, _one, _two, action, _flags = ROUTE.unpack_from(body)
    at = attributes(body, ROUTE.size, len(body))
    return (
        (length, action) == (32, _TO_TABLE)
        and value(body, at[_FRA_SRC]) == _LOCAL
        and _FRA_TABLE in at
        and u32(body, at[_FRA_TABLE]) == NUMBER
    )


def _rule(kind: int) -> bytearray:
    body = ROUTE.pack(socket.AF_INET, 0, 32, 0, 0, 0, 0, _TO_TABLE, 0)
    body += attribute(_FRA_SRC, _LOCAL)
    body += attribute(_FRA_PRIORITY, U32.pack(NUMBER))
    body += attribute(_FRA_TABLE, U32.pack(NUMBER))
    body += attribute(_FRA_PROTOCOL, bytes([_KERNEL]))
    return message(kind, _flags(kind), body)


def _loopback() -> int:
    """The interface in which nova had the address."""
    return socket.if_nametoindex("lo")


def _is_our_address(body: bytes) -> bool:
    at = attributes(body, ADDRESS.size, len(body))
    return (
        _IFA_LOCAL in at
        and value(body, at[_IFA_LOCAL]) == _LOCAL
        and _IFA_LABEL in at
        and string(body, at[_IFA_LABEL]) == LABEL
    )


def _is_local(kernel: Socket) -> bool:
    """Whether the host has the address, in whatever interface."""
    body = ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, _LOCAL)
    found = kernel.ask(_GETROUTE, body)
    return found is not None and ROUTE.unpack_from(found)[7] == _RTN_LOCAL


def _address(kind: int) -> bytearray:
    body = ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_LINK, _loopback())
    body += attribute(_IFA_LOCAL, _LOCAL)
    body += attribute(_IFA_ADDRESS, _LOCAL)
    body += attribute(_IFA_LABEL, LABEL.encode() + b"\0")
    return message(kind, _flags(kind), body)


def _route(body: bytes) -> tuple[str, int] | None:
    """The range and its bridge, where this is a route of our table."""
    family, length, *_rest = ROUTE.unpack_from(body)
    at = attributes(body, ROUTE.size, len(body))
    if family != socket.AF_INET or _RTA_TABLE not in at or u32(body, at[_RTA_TABLE]) != NUMBER:
        return None
    destination = socket.inet_ntoa(value(body, at[_RTA_DST])) if _RTA_DST in at else "0.0.0.0"
    return f"{destination}/{length}", u32(body, at[_RTA_OIF]) if _RTA_OIF in at else 0


def _way(kind: int, cidr: str, index: int) -> bytearray:
    span = addressing.known_network(cidr)
    body = ROUTE.pack(socket.AF_INET, span.prefix, 0, 0, 0, _STATIC, _SCOPE_LINK, _RTN_UNICAST, 0)
    body += attribute(_RTA_DST, socket.inet_aton(cidr.partition("/")[0]))
    body += attribute(_RTA_OIF, U32.pack(index))
    body += attribute(_RTA_TABLE, U32.pack(NUMBER))
    # One that was left without its rule is in the way of none.
    return message(kind, NLM_F_REQUEST | (_REPLACE if kind == _NEWROUTE else 0), body)
