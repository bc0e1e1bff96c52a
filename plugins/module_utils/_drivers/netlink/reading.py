# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading links with their addresses off the kernel's raw answers (linux/if_link.h, if_addr.h).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from ..._core.links import Address, Link, State
from ..._core.links.kernel import PERMANENT
from . import rules, sysctl
from .wire import ADDRESS, HALF, IFA_METRIC, IFF_UP, LINK, Socket, attribute, attributes, nested, string, u32, value

_RTM_GETLINK, _RTM_GETADDR = 18, 22
_IFF_LOOPBACK, _ARPHRD_ETHER = 0x8, 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 18, 20, 29, 37
_IFLA_CARRIER, _IFLA_BRPORT_MODE = 33, 4
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_PERM_ADDRESS, _IFLA_ALT_IFNAME = 54, 53
#: With its flag of being nested: it is younger than the rule that attributes have no such flag.
_IFLA_PROP_LIST = 0x8000 | 52
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE, _IFLA_BR_ROOT_ID, _IFLA_BR_BRIDGE_ID = 1, 5, 10, 11
_IFLA_VLAN_ID, _IFLA_VLAN_PROTOCOL, _ETH_P_8021Q = 1, 5, b"\x81\x00"
#: Kinds of links that the kernel takes away with the link below them.
_STANDING = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec")
_RTEXT_FILTER_SKIP_STATS = 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 4, 6, 8


def read(sysctl_keys: t.Iterable[str] = ()) -> State:
    """The links with their addresses, the settings named, and our udev rules."""
    with Socket() as kernel:
        request = LINK.pack(0, 0, 0, 0, 0) + struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        links: dict[int, Link] = {}
        masters: list[tuple[Link, int]] = []
        parents: list[tuple[Link, int]] = []
        for buffer, start, end in kernel.dump(_RTM_GETLINK, request):
            link, master, parent = _link(buffer, start, end)
            links[link.index] = link
            if master:
                masters.append((link, master))
            if parent:
                parents.append((link, parent))
        for link, master in masters:
            # A master in another namespace cannot be: it would not be shown.
            link.master = links[master].name if master in links else f"#{master}"
        for link, parent in parents:
            link.parent = links[parent].name if parent in links else None
        for buffer, start, end in kernel.dump(_RTM_GETADDR, ADDRESS.pack(0, 0, 0, 0, 0)):
            index = ADDRESS.unpack_from(buffer, start)[4]
            if index in links:
                links[index].addresses.append(_address(buffer, start, end))
    settings = sysctl.read(sysctl_keys)
    return State(
        {link.name: link for link in links.values()},
        settings,
        sysctl.advertised(settings),
        rules=rules.read(),
    )


def _link(buffer: bytes, start: int, end: int) -> tuple[Link, int, int]:
    """The link, and the numbers of its master and of the link that it stands on."""
    _family, hardware, index, flags, _change = LINK.unpack_from(buffer, start)
    at = attributes(buffer, start + 16, end)
    link = Link(
        name=string(buffer, at[_IFLA_IFNAME]),
        index=index,
        ethernet=hardware == _ARPHRD_ETHER,
        loopback=bool(flags & _IFF_LOOPBACK),
        up=bool(flags & IFF_UP),
        mtu=u32(buffer, at[_IFLA_MTU]),
    )
    if _IFLA_ADDRESS in at:
        link.mac = value(buffer, at[_IFLA_ADDRESS]).hex(":")
    if _IFLA_PERM_ADDRESS in at:
        link.permanent_mac = value(buffer, at[_IFLA_PERM_ADDRESS]).hex(":")
    if _IFLA_PROP_LIST in at:
        link.alternatives = tuple(_alternatives(buffer, at[_IFLA_PROP_LIST]))
    if _IFLA_IFALIAS in at:
        link.alias = string(buffer, at[_IFLA_IFALIAS])
    if _IFLA_LINKINFO in at:
        info = nested(buffer, at[_IFLA_LINKINFO])
        if _IFLA_INFO_KIND in info:
            link.kind = string(buffer, info[_IFLA_INFO_KIND])
        if link.kind == "bridge" and _IFLA_INFO_DATA in info:
            _bridge_settings(link, buffer, info[_IFLA_INFO_DATA])
        elif link.kind == "vlan" and _IFLA_INFO_DATA in info:
            data = nested(buffer, info[_IFLA_INFO_DATA])
            if value(buffer, data[_IFLA_VLAN_PROTOCOL]) == _ETH_P_8021Q:
                link.vlan_id = HALF.unpack_from(buffer, data[_IFLA_VLAN_ID] + 4)[0]
        elif link.kind == "tun":
            link.carrier = _IFLA_CARRIER in at and buffer[at[_IFLA_CARRIER] + 4] != 0
        if _IFLA_INFO_SLAVE_DATA in info and string(buffer, info[_IFLA_INFO_SLAVE_KIND]) == "bridge":
            mode = attribute(buffer, info[_IFLA_INFO_SLAVE_DATA], _IFLA_BRPORT_MODE)
            link.hairpin = mode is not None and buffer[mode + 4] != 0
    parent = 0
    # A number of another namespace's says nothing here.
    if link.kind in _STANDING and _IFLA_LINK in at and _IFLA_LINK_NETNSID not in at:
        parent = u32(buffer, at[_IFLA_LINK])
    return link, u32(buffer, at[_IFLA_MASTER]) if _IFLA_MASTER in at else 0, parent


def _alternatives(buffer: bytes, position: int) -> t.Iterator[str]:
    """A list of attributes of one kind, which a mapping would lose."""
    end = position + HALF.unpack_from(buffer, position)[0]
    position += 4
    while position < end:
        length, kind = HALF.unpack_from(buffer, position)[0], HALF.unpack_from(buffer, position + 2)[0]
        if kind == _IFLA_ALT_IFNAME:
            yield string(buffer, position)
        position += (length + 3) & -4


def _bridge_settings(link: Link, buffer: bytes, position: int) -> None:
    at = nested(buffer, position)
    link.stp = _IFLA_BR_STP_STATE in at and u32(buffer, at[_IFLA_BR_STP_STATE]) != 0
    if value(buffer, at[_IFLA_BR_ROOT_ID]) != value(buffer, at[_IFLA_BR_BRIDGE_ID]):
        link.forward_delay = None
    elif _IFLA_BR_FORWARD_DELAY in at:
        link.forward_delay = u32(buffer, at[_IFLA_BR_FORWARD_DELAY])


def _address(buffer: bytes, start: int, end: int) -> Address:
    family, prefix, flags, scope, _index = ADDRESS.unpack_from(buffer, start)
    at = attributes(buffer, start + 8, end)
    remote = at.get(_IFA_ADDRESS)
    local = at.get(_IFA_LOCAL, remote)
    if local is None or remote is None:
        return Address("::", prefix, scope=255)
    mine = value(buffer, local)
    if _IFA_FLAGS in at:
        flags = u32(buffer, at[_IFA_FLAGS])
    found = Address(socket.inet_ntop(family, mine), prefix, scope=scope, flags=flags)
    if remote != local:
        peer = value(buffer, remote)
        if peer != mine:
            found.peer = socket.inet_ntop(family, peer)
    if _IFA_BROADCAST in at:
        found.broadcast = socket.inet_ntop(family, value(buffer, at[_IFA_BROADCAST]))
    if _IFA_LABEL in at:
        found.label = string(buffer, at[_IFA_LABEL])
    if IFA_METRIC in at:
        found.metric = u32(buffer, at[IFA_METRIC])
    if _IFA_CACHEINFO in at and not flags & PERMANENT:
        found.preferred, found.valid = struct.unpack_from("=II", buffer, at[_IFA_CACHEINFO] + 4)
    return found
