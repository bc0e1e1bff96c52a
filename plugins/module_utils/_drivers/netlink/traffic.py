# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of ours on what comes in by an interface: the kernel's traffic control (linux/pkt_sched.h, pkt_cls.h).

A filter is ours by its class, a number that means nothing to the kernel here. It tells as well whether the interface
had a place for filters (a qdisc `clsact` or `ingress`) before we came: one that we made goes with our last filter.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t

from ..._core.brouting import Filter, Key
from ..._core.errors import HostError
from .wire import LINK, NLM_F_REQUEST, U32, Socket, attribute, attributes, message, nested, string, u32, value

_RTM_GETLINK, _IFLA_ADDRESS, _IFLA_MASTER = 18, 1, 10
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER, _RTM_NEWACTION = 44, 45, 46, 48
_CREATE = NLM_F_REQUEST | 0x200 | 0x400

#: struct tcmsg, tc_u32_sel, tc_u32_key, tc_mirred and tc_skbedit, which is the beginning of the one before.
_TC = struct.Struct("=BxxxiIII")
_SELECTOR = struct.Struct("=BBBxHHhhI")
_MATCH, _OFFSET = struct.Struct("!II"), struct.Struct("=ii")
_ACTION, _MIRRED = struct.Struct("=IIiii"), struct.Struct("=IIiiiiI")

_PLACE, _HANDLE = 0xFFFFFFF1, 0xFFFF0000
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_TCA_KIND, _TCA_OPTIONS = 1, 2
_CLASS, _SEL, _ACT, _FLAGS = 1, 5, 7, 11
_ACT_KIND, _ACT_OPTIONS, _PARMS, _PTYPE = 1, 2, 2, 7
_TERMINAL, _SKIP_HARDWARE = 1, 1
_PIPE, _STOLEN, _INGRESS_REDIRECT = 3, 4, 3
#: The names of the kinds; a kernel may have some and lack others.
REDIRECT, RETYPE = "mirred", "skbedit"

#: "nova", and "novq" where the place is ours.
_OURS = {0x6E6F7661: False, 0x6E6F7671: True}
_CLASSES = {made: number for number, made in _OURS.items()}
#: Where ours stand among others' filters (their preference), and the kind of frame: one for each version of IP.
_PREFERENCES = {6: 28271, 4: 28272}
_PROTOCOLS = {6: 0x86DD, 4: 0x0800}
_VERSIONS = {number: version for version, number in _PROTOCOLS.items()}


class Ingress(t.NamedTuple):
    """What an interface has: filters of ours by the numbers that the kernel gave them."""

    ours: dict[tuple[int, int], Filter]
    #: There is a place for filters; we made it; others have filters there as well.
    placed: bool = True
    made: bool = False
    shared: bool = False
    #: Lists (of one preference and kind of frame) in which ours are that hold filters of others, too.
    mixed: frozenset[int] = frozenset()


def read(kernel: Socket) -> dict[int, Ingress]:
    """The interfaces that have a place for filters, by number. None has one where the kernel knows nothing of that."""
    try:
        places = kernel.dump(_RTM_GETQDISC, _TC.pack(0, 0, 0, 0, 0), _place)
    except HostError as error:
        if getattr(error.__cause__, "errno", None) == errno.EOPNOTSUPP:
            return {}
        raise
    return {index: _ingress(kernel, index) for index in places if index}


def _place(body: bytes) -> int:
    """The number of the interface, where this is a place for filters."""
    _family, index, _handle, parent, _info = _TC.unpack_from(body)
    return index if parent == _PLACE else 0


def _ingress(kernel: Socket, index: int) -> Ingress:
    ours: dict[tuple[int, int], Filter] = {}
    made, lists, others = False, set(), set()
    for body in kernel.dump(_RTM_GETTFILTER, _TC.pack(0, index, 0, _INGRESS, 0), bytes):
        _family, _index, handle, _parent, info = _TC.unpack_from(body)
        lists.add(info)
        one = _filter(body, handle, socket.ntohs(info & 0xFFFF))
        if one is not None:
            ours[info, handle], place_made = one
            made = made or place_made
        elif handle & 0xFFF:
            others.add(info)
    of_ours = {info for info, _handle in ours}
    shared = lists != of_ours or not of_ours.isdisjoint(others)
    if made and not shared:
        shared = bool(kernel.dump(_RTM_GETTFILTER, _TC.pack(0, index, 0, _EGRESS, 0), bytes))
    return Ingress(ours, True, made, shared, frozenset(of_ours & others))


def _filter(body: bytes, handle: int, protocol: int) -> tuple[Filter, bool] | None:
    """A filter of ours, and whether its class says that we made the place; None for another one."""
    at = attributes(body, _TC.size, len(body))
    if string(body, at[_TCA_KIND]) != "u32" or _TCA_OPTIONS not in at:
        return None
    options = nested(body, at[_TCA_OPTIONS])
    made = _OURS.get(u32(body, options[_CLASS])) if _CLASS in options else None
    if made is None or _SEL not in options or protocol not in _VERSIONS:
        return None
    place = options[_SEL] + 4
    keys = []
    for _number in range(_SELECTOR.unpack_from(body, place)[2]):
        mask, wanted = _MATCH.unpack_from(body, place + _SELECTOR.size)
        place += _MATCH.size + _OFFSET.size
        keys.append(Key(mask, wanted, _OFFSET.unpack_from(body, place + _SELECTOR.size - _OFFSET.size)[0]))
    to, retype = None, False
    for action in _actions(body, options):
        kind = string(body, action[_ACT_KIND])
        parms = nested(body, action[_ACT_OPTIONS]).get(_PARMS)
        if kind == REDIRECT and parms is not None:
            to = _MIRRED.unpack_from(body, parms + 4)[6]
        retype = retype or kind == RETYPE
    return Filter(_VERSIONS[protocol], handle & 0xFFF, tuple(keys), to, retype), made


def _actions(body: bytes, options: dict[int, int]) -> list[dict[int, int]]:
    return [nested(body, place) for place in nested(body, options[_ACT]).values()] if _ACT in options else []


def link(kernel: Socket, index: int) -> tuple[str, int]:
    """The MAC address of a link, and the number of the bridge or the like that it is in."""
    body = kernel.ask(_RTM_GETLINK, LINK.pack(0, 0, index, 0, 0))
    if body is None:
        return "", 0
    at = attributes(body, LINK.size, len(body))
    mac = value(body, at[_IFLA_ADDRESS]).hex(":") if _IFLA_ADDRESS in at else ""
    return mac, u32(body, at[_IFLA_MASTER]) if _IFLA_MASTER in at else 0


def knows(kernel: Socket, action: str) -> bool:
    """Whether the kernel has that kind of action. It is asked for one that says nothing, which makes none."""
    body = bytes(4) + attribute(1, attribute(1, attribute(_ACT_KIND, action.encode() + b"\0")))
    refused = kernel.request([message(_RTM_NEWACTION, _CREATE, body)]).get(0, "")
    return refused.startswith(os.strerror(errno.EINVAL))


def make_place(index: int) -> bytearray:
    body = _TC.pack(0, index, _HANDLE, _PLACE, 0) + attribute(_TCA_KIND, b"clsact\0")
    return message(_RTM_NEWQDISC, _CREATE, body)


def take_place(index: int) -> bytearray:
    """All filters go with it."""
    return message(_RTM_DELQDISC, NLM_F_REQUEST, _TC.pack(0, index, _HANDLE, _PLACE, 0))


def add(index: int, one: Filter, made: bool) -> bytearray:
    selector = _SELECTOR.pack(_TERMINAL, 0, len(one.keys), 0, 0, 0, 0, 0)
    for key in one.keys:
        selector += _MATCH.pack(key.mask, key.value) + _OFFSET.pack(key.offset, 0)
    options = attribute(_CLASS, U32.pack(_CLASSES[made])) + attribute(_SEL, selector)
    options += attribute(_FLAGS, U32.pack(_SKIP_HARDWARE))
    actions = []
    if one.retype:
        host = _ACTION.pack(0, 0, _PIPE, 0, 0)
        actions.append((RETYPE, attribute(_PARMS, host) + attribute(_PTYPE, struct.pack("=H", 0))))
    if one.to is not None:
        parms = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _INGRESS_REDIRECT, one.to)
        actions.append((REDIRECT, attribute(_PARMS, parms)))
    if actions:
        options += attribute(
            _ACT,
            b"".join(
                attribute(number, attribute(_ACT_KIND, kind.encode() + b"\0") + attribute(_ACT_OPTIONS, parms))
                for number, (kind, parms) in enumerate(actions, 1)
            ),
        )
    info = _PREFERENCES[one.version] << 16 | socket.htons(_PROTOCOLS[one.version])
    body = _TC.pack(0, index, one.number, _INGRESS, info)
    return message(_RTM_NEWTFILTER, _CREATE, body + attribute(_TCA_KIND, b"u32\0") + attribute(_TCA_OPTIONS, options))


def take(index: int, found: Ingress) -> list[bytearray]:
    """Our filters, but not their place."""
    # A list is taken as a whole: emptied one by one it would stay, empty, where others have lists.
    which = dict.fromkeys((info, handle if info in found.mixed else 0) for info, handle in found.ours)
    kind = attribute(_TCA_KIND, b"u32\0")
    return [
        message(_RTM_DELTFILTER, NLM_F_REQUEST, _TC.pack(0, index, handle, _INGRESS, info) + kind)
        for info, handle in which
    ]


def take_all(index: int, found: Ingress) -> list[bytearray]:
    """What leaves nothing of ours on the interface."""
    return [take_place(index)] if found.made and not found.shared else take(index, found)


def let_go(kernel: Socket, names: t.Collection[str]) -> None:
    """Before these interfaces leave their bridge: what they bring for the host would still go there, and be lost."""
    if not names:
        return
    indexes = {number for number, name in socket.if_nameindex() if name in names}
    for index, found in read(kernel).items():
        if index in indexes and found.ours:
            kernel.request(take_all(index, found))
