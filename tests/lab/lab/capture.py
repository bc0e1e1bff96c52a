# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listening on a wire, with the 802.1Q tags that the kernel takes off before it hands a frame on."""

from __future__ import annotations

import dataclasses
import fcntl
import socket
import struct
import time
import typing as t

from .process import socket_in

SIOCGIFINDEX = 0x8933
SO_RCVBUFFORCE = 33
BUFFER = 1 << 25  # bytes; what nobody has asked for yet waits there
ETH_P_ALL = 0x0003
ETH_P_8021Q = 0x8100
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_AUXDATA = 8
PACKET_MR_PROMISC = 1
TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct(
    "=IIIHHHH"
)  # status, length, captured length, MAC and network offset, VLAN tag, tag's protocol


@dataclasses.dataclass(frozen=True)
class Frame:
    """An Ethernet frame; ``vlan`` is the 802.1Q number, None if untagged."""

    destination: str
    source: str
    vlan: int | None
    ethertype: int
    payload: bytes


class Capture:
    """Every frame that passes a device in the network namespace of PID, from now until close()."""

    def __init__(self, pid: int, device: str) -> None:
        self._socket = socket_in(pid, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind((device, ETH_P_ALL))
        index = _index(self._socket, device)
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8x", index, PACKET_MR_PROMISC, 0))

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def frames(self, seconds: float) -> t.Iterator[Frame]:
        """The frames since the last call, as they come, until SECONDS from now; 0 gives those that are there."""
        end = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(end - time.monotonic(), 1e-6))
            try:
                data, extra, _flags, _address = self._socket.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size))
            except (TimeoutError, BlockingIOError):
                return
            yield _frame(data, extra)


def _frame(data: bytes, extra: list[tuple[int, int, bytes]]) -> Frame:
    vlan = None
    for level, kind, value in extra:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_sizes, tag, _protocol = _AUXDATA.unpack(value[: _AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                vlan = tag & 0xFFF
    destination, source = (":".join(f"{byte:02x}" for byte in data[i : i + 6]) for i in (0, 6))
    (ethertype,) = struct.unpack("!H", data[12:14])
    if vlan is None and ethertype == ETH_P_8021Q:
        tag, ethertype = struct.unpack("!HH", data[14:18])
        return Frame(destination, source, tag & 0xFFF, ethertype, data[18:])
    return Frame(destination, source, vlan, ethertype, data[14:])


def _index(bound: socket.socket, device: str) -> int:
    """The number of the device in the socket's own namespace, where this process is not."""
    request = struct.pack("16s16x", device.encode())
    index: int = struct.unpack("16xi12x", fcntl.ioctl(bound, SIOCGIFINDEX, request))[0]
    return index
