# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Floating addresses on a host's interfaces, by netlink, and the news of them to the neighbours, by ARP.

The messages are few and simple enough to be packed by hand: so this needs no library on the host.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import typing as t

from .._core import floating_addresses as core
from .._core.errors import HostError, first_line
from .._core.naming import RUN_DIR
from . import lock
from .netlink.wire import ADDRESS, ATTRIBUTE, MESSAGE, NLM_F_REQUEST, Socket, attributes, string, value

LOCK_FILE = f"{RUN_DIR}/floating_addresses.lock"

#: Seconds between one round of news and the next.
ARP_INTERVAL = 0.2

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLM_F_EXCL, _NLM_F_CREATE = 0x200, 0x400
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
#: Addresses a datagram.
_BATCH = 500

_ETHERNET, _ETH_P_ARP = 1, 0x0806
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_EVERYBODY, _NOBODY = b"\xff" * 6, b"\0" * 6


def apply(plan: object, *, check: bool = False, only_unbind: bool = False, wait: int = 20) -> dict[str, t.Any]:
    """Make the host's floating addresses those of the plan's section; with `check`, only tell what would be done."""
    want = core.parse(plan)
    difference = core.compare(want, read(), only_unbind)
    if difference and not check:
        with lock.exclusive(LOCK_FILE, wait):
            # Another run may have been at work until now.
            difference = core.compare(want, read(), only_unbind)
            _execute(difference)
        announce(difference.bind, want.send_arp)
    return {"changed": bool(difference), "actions": difference.actions(), "diff": difference.diff()}


def own(version: int) -> set[str]:
    """The host's addresses of IPv4 or IPv6."""
    if version == 4:
        return {place.address for place in read().places}
    found = set()
    with Socket() as kernel:
        for buffer, start, end in kernel.dump(_RTM_GETADDR, ADDRESS.pack(socket.AF_INET6, 0, 0, 0, 0)):
            at = attributes(buffer, start + ADDRESS.size, end)
            if _IFA_ADDRESS in at:
                found.add(socket.inet_ntop(socket.AF_INET6, value(buffer, at[_IFA_ADDRESS])))
    return found


def read() -> core.State:
    """The interfaces, and their addresses."""
    names = dict(socket.if_nameindex())
    places: dict[core.Place, bool] = {}
    with Socket() as kernel:
        for buffer, start, end in kernel.dump(_RTM_GETADDR, ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
            _family, prefix, _flags, _scope, index = ADDRESS.unpack_from(buffer, start)
            at = attributes(buffer, start + ADDRESS.size, end)
            if index not in names or _IFA_LOCAL not in at:
                continue
            place = core.Place(socket.inet_ntoa(value(buffer, at[_IFA_LOCAL])), names[index])
            marked = _IFA_LABEL in at and string(buffer, at[_IFA_LABEL]) == core.label(place.interface)
            places[place] = marked and prefix == 32
    return core.State(frozenset(names.values()), places)


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
    packed = socket.inet_aton(place.address)
    body = ADDRESS.pack(socket.AF_INET, 32, 0, 0, index)
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    kind, flags = _RTM_DELADDR, NLM_F_REQUEST
    if bind:
        kind, flags = _RTM_NEWADDR, NLM_F_REQUEST | _NLM_F_CREATE | _NLM_F_EXCL
        body += _attribute(_IFA_LABEL, core.label(place.interface).encode() + b"\0")
    return bytearray(MESSAGE.pack(MESSAGE.size + len(body), kind, flags, 0, 0) + body)


def _attribute(kind: int, content: bytes) -> bytes:
    length = ATTRIBUTE.size + len(content)
    return ATTRIBUTE.pack(length, kind) + content + b"\0" * (-length % 4)


def announce(places: t.Sequence[core.Place], rounds: int) -> None:
    """Tell the neighbours of each interface that the addresses are here now: whoever knows another place forgets it.

    Once as a request and once as an answer, as some listen only to the one and some to the other.
    """
    by_interface: dict[str, list[str]] = {}
    for place in places:
        by_interface.setdefault(place.interface, []).append(place.address)
    with contextlib.ExitStack() as stack:
        senders = []
        for interface, addresses in by_interface.items() if rounds else ():
            sender = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))
            # An interface that is down, or went away, has no neighbours to be told.
            with contextlib.suppress(OSError):
                sender.bind((interface, 0))
                _name, _protocol, _type, hardware, own = sender.getsockname()
                if hardware == _ETHERNET:
                    senders.append((sender, own, addresses))
        for number in range(rounds if senders else 0):
            if number:
                time.sleep(ARP_INTERVAL)
            for sender, own, addresses in senders:
                for address in addresses:
                    with contextlib.suppress(OSError):
                        for frame in _news(own, socket.inet_aton(address)):
                            sender.send(frame)


def _news(own: bytes, address: bytes) -> t.Iterator[bytes]:
    for operation, target in ((1, _NOBODY), (2, _EVERYBODY)):
        yield _ARP.pack(_EVERYBODY, own, _ETH_P_ARP, 1, 0x0800, 6, 4, operation, own, address, target, address)
