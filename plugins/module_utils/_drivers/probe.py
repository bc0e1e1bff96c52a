# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks the wire whether somebody has an address already (ARP probes, RFC 5227).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
import typing as t

from .._core.links import Link

#: Seconds that answers may take.
WAIT = 0.3

_ETH_P_ARP, _REQUEST, _REPLY = 0x0806, 1, 2
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def holders(
    asked: t.Sequence[tuple[Link, str]], own: t.Container[str], wait: float = WAIT
) -> dict[tuple[str, str], str]:
    """(interface, IPv4 address) -> MAC address of the first who answers for it there, but for the `own` ones.

    One wait for all. What cannot be asked is left out.
    """
    found: dict[tuple[str, str], str] = {}
    wanted = {(link.index, socket.inet_aton(address)): (link.name, address) for link, address in asked}
    if not wanted:
        return found
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
    except OSError:
        return found
    with wire:
        for link, address in asked:
            mac = bytes.fromhex(link.mac.replace(":", ""))
            header = (b"\xff" * 6, mac, _ETH_P_ARP, 1, 0x0800, 6, 4, _REQUEST)
            frame = _FRAME.pack(*header, mac, b"\0" * 4, b"\0" * 6, socket.inet_aton(address))
            with contextlib.suppress(OSError):
                wire.sendto(frame, (link.name, 0))
        end = time.monotonic() + wait
        names = {link.name: link.index for link, _address in asked}
        while len(found) < len(wanted):
            if not select.select([wire], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            with contextlib.suppress(OSError, struct.error):
                data, (name, *_rest) = wire.recvfrom(256)
                fields = _FRAME.unpack_from(data)
                key = wanted.get((names.get(name, 0), fields[9]))
                mac_text = fields[8].hex(":")
                if fields[7] == _REPLY and key is not None and mac_text not in own:
                    found.setdefault(key, mac_text)
    return found
