# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading links with their addresses off the kernel's raw answers (linux/if_link.h, if_addr.h).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import functools
import socket
import struct
import sys
import typing as t

from ..._core.links import Address, Link, State
from ..._core.links.kernel import FOREVER, PERMANENT
from . import rules, sysctl
from .layout import BYTE, RAW, TEXT, U32, Reader, Wanted
from .wire import ADDRESS, ATTRIBUTE, IFA_METRIC, IFF_UP, LINK, Socket

_RTM_GETLINK, _RTM_GETADDR = 18, 22
_IFF_LOOPBACK, _ARPHRD_ETHER = 0x8, 1
_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS = 29, 8
#: In the list of further names.
_IFLA_ALT_IFNAME = 53
_ETH_P_8021Q = b"\x81\x00"

#: Attributes of a link by their numbers (IFLA_...).
_LINK_ATTRIBUTES: Wanted = {
    1: ("mac", RAW),
    3: ("name", TEXT),
    4: ("mtu", U32),
    5: ("link", U32),
    10: ("master", U32),
    18: {
        1: ("kind", TEXT),
        # What these are depends on the kind: of a bridge its forward delay, STP, root and own id (IFLA_BR_...), of a
        # VLAN interface its number and protocol (IFLA_VLAN_...).
        2: {1: ("data 1", RAW), 5: ("data 5", RAW), 10: ("data 10", RAW), 11: ("data 11", RAW)},
        4: ("slave kind", TEXT),
        # Of a bridge's port: whether it is in hairpin mode (IFLA_BRPORT_MODE).
        5: {4: ("slave data 4", RAW)},
    },
    20: ("alias", TEXT),
    33: ("carrier", BYTE),
    37: ("link namespace", RAW),
    54: ("permanent mac", RAW),
    # With its flag of being nested: it is younger than the rule that attributes have no such flag.
    0x8000 | 52: ("names", RAW),
}

#: Attributes of an address by their numbers (IFA_...).
_ADDRESS_ATTRIBUTES: Wanted = {
    1: ("address", RAW),
    2: ("local", RAW),
    3: ("label", TEXT),
    4: ("broadcast", RAW),
    6: ("lifetimes", RAW),
    8: ("flags", U32),
    IFA_METRIC: ("metric", U32),
}

#: Kinds of links that the kernel takes away with the link below them.
_STANDING = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec")


def read(sysctl_keys: t.Iterable[str] = ()) -> State:
    """The links with their addresses, the settings named, and our udev rules."""
    with Socket() as kernel:
        question = LINK.pack(0, 0, 0, 0, 0) + struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        seen = kernel.dump(_RTM_GETLINK, question, functools.partial(_link, Reader(LINK.size, _LINK_ATTRIBUTES)))
        links = {link.index: link for link, _master, _parent in seen}
        for link, master, parent in seen:
            if master:
                # A master in another namespace cannot be: it would not be shown.
                link.master = links[master].name if master in links else f"#{master}"
            if parent:
                link.parent = links[parent].name if parent in links else None
        question = ADDRESS.pack(0, 0, 0, 0, 0)
        reader = functools.partial(_address, Reader(ADDRESS.size, _ADDRESS_ATTRIBUTES))
        for index, address in kernel.dump(_RTM_GETADDR, question, reader):
            if index in links:
                links[index].addresses.append(address)
    settings = sysctl.read(sysctl_keys)
    return State(
        {link.name: link for link in links.values()},
        settings,
        sysctl.advertised(settings),
        rules=rules.read(),
    )


def _link(read: Reader, message: bytes) -> tuple[Link, int, int]:
    """The link, and the numbers of its master and of the link that it stands on."""
    _family, hardware, index, flags, _change = LINK.unpack_from(message)
    found = read(message)
    get = found.get
    kind = get("kind", "")
    link = Link(
        name=found["name"],
        index=index,
        kind=kind,
        ethernet=hardware == _ARPHRD_ETHER,
        loopback=bool(flags & _IFF_LOOPBACK),
        up=bool(flags & IFF_UP),
        mtu=found["mtu"],
        mac=get("mac", b"").hex(":"),
        permanent_mac=get("permanent mac", b"").hex(":"),
        alias=get("alias", ""),
    )
    if "names" in found:
        link.alternatives = tuple(_alternatives(found["names"]))
    if kind == "bridge":
        link.stp = any(get("data 5", b""))
        # Without an id of its own it is one of an old kernel, which has none for the root either.
        same_root = get("data 10") == get("data 11")
        link.forward_delay = int.from_bytes(get("data 1", b""), sys.byteorder) if same_root else None
    elif kind == "vlan":
        if get("data 5") == _ETH_P_8021Q:
            link.vlan_id = int.from_bytes(found["data 1"], sys.byteorder)
    elif kind == "tun":
        link.carrier = get("carrier", 0) != 0
    if get("slave kind") == "bridge":
        link.hairpin = any(get("slave data 4", b""))
    # A number of another namespace's says nothing here.
    standing = kind in _STANDING and "link namespace" not in found
    return link, get("master", 0), get("link", 0) if standing else 0


def _alternatives(listed: bytes) -> t.Iterator[str]:
    """A list of attributes of one kind."""
    position = 0
    while position < len(listed):
        length, kind = ATTRIBUTE.unpack_from(listed, position)
        if kind == _IFLA_ALT_IFNAME:
            yield listed[position + ATTRIBUTE.size : position + length].rstrip(b"\0").decode("utf-8", "replace")
        position += (length + 3) & -4


def _address(read: Reader, message: bytes) -> tuple[int, Address]:
    """The number of its link, and the address."""
    family, prefix, flags, scope, index = ADDRESS.unpack_from(message)
    found = read(message)
    remote = found.get("address")
    if remote is None:
        return index, Address("::", prefix, scope=255)
    local = found.get("local", remote)
    broadcast = found.get("broadcast")
    flags = found.get("flags", flags)
    preferred = valid = FOREVER
    if not flags & PERMANENT and "lifetimes" in found:
        preferred, valid = struct.unpack_from("=II", found["lifetimes"])
    return index, Address(
        socket.inet_ntop(family, local),
        prefix,
        broadcast=socket.inet_ntop(family, broadcast) if broadcast is not None else None,
        peer=socket.inet_ntop(family, remote) if remote != local else None,
        scope=scope,
        flags=flags,
        label=found.get("label"),
        preferred=preferred,
        valid=valid,
        metric=found.get("metric", 0),
    )
