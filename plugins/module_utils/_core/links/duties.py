# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host itself needs of its links, and the refusal of a difference that would take it away.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import re
import socket
import typing as t

from ..errors import HostError, InputError
from .difference import Difference

#: A name that may stand where an address could; with a last label of digits it is a mistyped address.
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[0-9_-]*[A-Za-z][A-Za-z0-9_-]*\.?\Z")


@dataclasses.dataclass(frozen=True)
class Duties:
    """What the host itself needs of its interfaces."""

    #: Interface -> what it carries, in words ("the default route via 192.0.2.1").
    carried: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Addresses by which the host is reached now.
    reached_by: frozenset[str] = frozenset()
    #: (interface, address): routes other than the kernel's own that name the address as their source.
    route_sources: frozenset[tuple[str, str]] = frozenset()
    #: Those that carry nothing but a default route from router advertisements.
    advertised: frozenset[str] = frozenset()
    #: Interface -> who looks after its addresses and would put them back, in words; read where addresses move.
    keepers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def needed(difference: Difference, duties: Duties) -> dict[str, str]:
    """What is carried by each interface, but for the way out by a router that is forgotten as one of our networks'."""
    forgotten = duties.advertised.intersection(one.interface for one in difference.forgets)
    return {name: what for name, what in duties.carried.items() if name not in forgotten}


def guard(difference: Difference, duties: Duties) -> None:
    """Refuse, in one message, what stands in the way and what would cut the host off. Nothing is written yet."""
    problems = list(difference.problems)
    for move in difference.moves:
        port = move.join
        if port is not None and port.interface in duties.keepers:
            problems.append(
                f"bridge {move.target}: the addresses of {port.interface} are to move to it and would not stay there: "
                f"{duties.keepers[port.interface]}"
            )
    carried = needed(difference, duties)
    for risk in difference.risks:
        reached = sorted(duties.reached_by.intersection(risk.addresses))
        sources = sorted(a for a in risk.addresses if (risk.interface, a) in duties.route_sources)
        if risk.interface in carried:
            carries = carried[risk.interface]
        elif reached:
            carries = f"the address {reached[0]}, by which this host is reached"
        elif sources:
            carries = f"routes with the source address {sources[0]}"
        else:
            continue
        problems.append(
            f"{risk.what}: {risk.interface} carries {carries}, and that would cut the host off; "
            "give the host another way in first, or correct the plan"
        )
    if problems:
        raise HostError("\n".join(problems))


def parse_connection(value: object, what: str) -> str | None:
    """The plain address; None for a host name, since the controller alone knows what it stands for."""
    if isinstance(value, str) and _HOST_NAME.match(value):
        return None
    return _address(value, what)


def _address(value: object, what: str) -> str:
    """Return the plain IP address in its one spelling, or raise InputError."""
    if isinstance(value, str):
        host, _percent, _zone = value.partition("%")
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                return socket.inet_ntop(family, socket.inet_pton(family, host))
            except (OSError, ValueError):
                continue
    raise InputError(f"{what}: {value!r} is not an IP address; give one such as '192.0.2.10'")
