# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating addresses on a host's interfaces, by netlink.

The messages are few and simple enough to be packed by hand: so this needs no library on the host.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from .._core import addressing
from .._core import floating_addresses as core
from .._core.errors import HostError, first_line
from .._core.naming import RUN_DIR
from . import files, lock, neighbours
from .netlink.wire import (
    ADDRESS,
    IFA_METRIC,
    NLM_F_REQUEST,
    U32,
    Socket,
    attribute,
    attributes,
    message,
    string,
    u32,
    value,
)

LOCK_FILE = f"{RUN_DIR}/floating_addresses.lock"

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLM_F_EXCL, _NLM_F_CREATE = 0x200, 0x400
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 6, 8
#: Nobody else is asked whether he has the address: it may still be on the host that it moves away from. And no route
#: stands beside it.
_NODAD, _NOPREFIXROUTE = 0x02, 0x200
#: For how long it is preferred and valid: never and for ever. So the host takes none as the source of its own traffic,
#: of which the answers would go to the guest.
_LIFETIMES = struct.pack("=IIII", 0, 0xFFFFFFFF, 0, 0)
#: Addresses a datagram.
_BATCH = 500


def apply(plan: object, *, check: bool = False, only_unbind: bool = False, wait: int = 20) -> dict[str, t.Any]:
    """Make the host's floating addresses those of the plan's section; with `check`, only tell what would be done."""
    want = core.parse(plan)
    difference = core.compare(want, read(), only_unbind)
    _check_v6(difference)
    if difference and not check:
        with lock.exclusive(LOCK_FILE, wait):
            # Another run may have been at work until now.
            difference = core.compare(want, read(), only_unbind)
            _execute(difference)
        neighbours.announce(difference.bind, want.send_arp)
    return {"changed": bool(difference), "actions": difference.actions(), "diff": difference.diff()}


def own(version: int) -> set[str]:
    """The host's addresses of IPv4 or IPv6."""
    return {place.address for place in read().places if addressing.version(place.address) == version}


def read() -> core.State:
    """The interfaces, and their addresses."""
    names = dict(socket.if_nameindex())
    places: dict[core.Place, bool] = {}
    with Socket() as kernel:
        for buffer in kernel.dump(_RTM_GETADDR, ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0), bytes):
            family, prefix, _flags, _scope, index = ADDRESS.unpack_from(buffer)
            at = attributes(buffer, ADDRESS.size, len(buffer))
            # The far end of a line as well is told of as an address: then ours is the local one.
            local = at.get(_IFA_LOCAL, at.get(_IFA_ADDRESS))
            if index not in names or local is None or family not in (socket.AF_INET, socket.AF_INET6):
                continue
            place = core.Place(socket.inet_ntop(family, value(buffer, local)), names[index])
            if family == socket.AF_INET:
                marked = _IFA_LABEL in at and string(buffer, at[_IFA_LABEL]) == core.label(place.interface)
                places[place] = marked and prefix == 32
            else:
                marked = IFA_METRIC in at and u32(buffer, at[IFA_METRIC]) == core.METRIC_V6
                places[place] = marked and prefix == 128
    return core.State(frozenset(names.values()), places)


def _check_v6(difference: core.Difference) -> None:
    """HostError where an interface is to get an IPv6 address that has none: the kernel's own words say less."""
    homes = {place.interface: place.address for place in difference.bind if addressing.version(place.address) == 6}
    for interface, address in homes.items():
        if files.read(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6") != "0\n":
            raise HostError(
                f"cannot bind the floating IP {address}: IPv6 is off on interface {interface!r}; set "
                f"net.ipv6.conf.{interface}.disable_ipv6 to 0. Nothing was changed"
            )


def _execute(difference: core.Difference) -> None:
    """First what comes, all or nothing, then what goes."""
    with Socket() as kernel:
        done: list[core.Place] = []
        for places in _batches(difference.bind):
            refused = kernel.request([_message(place, True) for place in places])
            done += [place for number, place in enumerate(places) if number not in refused]
            if refused:
                first = places[min(refused)]
                kernel.request([_message(place, False) for place in done])
                raise HostError(
                    f"cannot bind {first.address} to {first.interface}: {refused[min(refused)]}; "
                    "what had been bound was unbound again, the host is as it was"
                )
        for places in _batches(difference.unbind):
            refused = kernel.request([_message(place, False) for place in places])
            # What another program took away in the meantime is gone as well.
            left = set(read().places) & {places[number] for number in refused} if refused else set()
            if left:
                one = min(left)
                raise HostError(
                    f"cannot unbind {one.address} from {one.interface}; the rest may be done in part, and the next "
                    "run goes on with it"
                )


def _batches(places: t.Sequence[core.Place]) -> t.Iterator[t.Sequence[core.Place]]:
    return (places[start : start + _BATCH] for start in range(0, len(places), _BATCH))


def _message(place: core.Place, bind: bool) -> bytearray:
    try:
        index = socket.if_nametoindex(place.interface)
    except OSError as error:
        raise HostError(f"interface {place.interface!r} went away: {first_line(error)}; run again") from error
    family = socket.AF_INET if addressing.version(place.address) == 4 else socket.AF_INET6
    packed = socket.inet_pton(family, place.address)
    body = ADDRESS.pack(family, len(packed) * 8, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    kind, flags = _RTM_DELADDR, NLM_F_REQUEST
    if bind:
        kind, flags = _RTM_NEWADDR, NLM_F_REQUEST | _NLM_F_CREATE | _NLM_F_EXCL
        if family == socket.AF_INET:
            body += attribute(_IFA_LABEL, core.label(place.interface).encode() + b"\0")
        else:
            body += attribute(_IFA_FLAGS, U32.pack(_NODAD | _NOPREFIXROUTE)) + attribute(_IFA_CACHEINFO, _LIFETIMES)
            body += attribute(IFA_METRIC, U32.pack(core.METRIC_V6))
    return message(kind, flags, body)
