# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The news that addresses are on this host now, to its neighbours: whoever knows another place forgets it.

By gratuitous ARP (RFC 5227), and by unsolicited neighbour advertisements (RFC 4861, 7.2.6).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import typing as t

from .._core import addressing
from .._core.floating_addresses import Place

#: Seconds between one round of news and the next.
INTERVAL = 0.2

#: ARPHRD_ETHER.
_ETHERNET = 1
_FRAME = struct.Struct("!6s6sH")
_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_EVERYBODY, _NOBODY = b"\xff" * 6, b"\0" * 6

_IPV6 = struct.Struct("!IHBB16s16s")
_ICMPV6 = 58
#: Routers let none of another hop limit count.
_HOP_LIMIT = 255
#: All nodes, and the frames that they get.
_ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
_ALL_NODES_FRAMES = b"\x33\x33" + _ALL_NODES[-4:]
#: Type, code, checksum, flags, the address, and the option of the sender's own place.
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")
_NEIGHBOUR_ADVERTISEMENT, _TARGET_LINK_ADDRESS = 136, 2
#: Who has floating addresses forwards; and what he says goes before what was known.
_ROUTER, _OVERRIDE = 1 << 31, 1 << 29


def announce(places: t.Sequence[Place], rounds: int) -> None:
    """Tell the neighbours of each interface of its addresses, so many times."""
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
                time.sleep(INTERVAL)
            for sender, own, addresses in senders:
                for address in addresses:
                    with contextlib.suppress(OSError):
                        for frame in _news(own, address):
                            sender.send(frame)


def _news(own: bytes, address: str) -> t.Iterator[bytes]:
    if addressing.version(address) == 6:
        yield _advertisement(own, socket.inet_pton(socket.AF_INET6, address))
        return
    packed = socket.inet_aton(address)
    # Once as a request and once as an answer, as some listen only to the one and some to the other.
    for operation, target in ((_REQUEST, _NOBODY), (_REPLY, _EVERYBODY)):
        yield _FRAME.pack(_EVERYBODY, own, _ETH_P_ARP) + _ARP.pack(
            _ETHERNET, 0x0800, 6, 4, operation, own, packed, target, packed
        )


def _advertisement(own: bytes, address: bytes) -> bytes:
    def message(checksum: int) -> bytes:
        flags = _ROUTER | _OVERRIDE
        return _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, checksum, flags, address, _TARGET_LINK_ADDRESS, 1, own)

    pseudo = address + _ALL_NODES + struct.pack("!II", _ADVERTISEMENT.size, _ICMPV6)
    said = message(_checksum(pseudo + message(0)))
    header = _IPV6.pack(6 << 28, len(said), _ICMPV6, _HOP_LIMIT, address, _ALL_NODES)
    return _FRAME.pack(_ALL_NODES_FRAMES, own, _ETH_P_IPV6) + header + said


def _checksum(data: bytes) -> int:
    """That of the internet (RFC 1071), of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
