# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance with IPv6 needs that dnsmasq does not do: say that it cannot serve, and say good-bye.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct

from ..._core import dnsmasq as core

_IF_INET6 = "/proc/net/if_inet6"
#: Flag of an address that another machine has (IFA_F_DADFAILED).
_DUPLICATE = 0x08
_ALL_NODES = "ff02::1"
_ROUTER_ADVERTISEMENT, _PREFIX_INFORMATION = 134, 3
_ON_LINK_AND_AUTONOMOUS = 0xC0


def unready(instance: core.Instance) -> str | None:
    """Why the instance could not serve; bound to what comes and goes, dnsmasq would start and serve nobody."""
    if instance.range_v6 is None:
        return None
    try:
        socket.if_nametoindex(instance.interface)
    except OSError:
        return f"the interface {instance.interface} is not there"
    if instance.listen_address is not None and not _is_own(instance.listen_address):
        return f"no interface has the listen_address {instance.listen_address}"
    network = ipaddress.IPv6Network(instance.range_v6)
    if not any(address in network for address in _addresses(instance.interface)):
        return f"{instance.interface} has no usable address in {network}, which dnsmasq needs to advertise that range"
    return None


def _is_own(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _addresses(interface: str) -> list[ipaddress.IPv6Address]:
    try:
        with open(_IF_INET6, encoding="ascii") as handle:
            rows = [line.split() for line in handle]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [
        ipaddress.IPv6Address(int(row[0], 16))
        for row in rows
        if row[5] == interface and not int(row[4], 16) & _DUPLICATE
    ]


def withdraw(interface: str, cidr: str) -> None:
    """Tell the guests that this host is no router of the range any more (RFC 4861, 6.2.5); dnsmasq just ends.

    Where the interface has gone meanwhile there is nobody to be told.
    """
    network = ipaddress.IPv6Network(cidr)
    router = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)
    prefix = struct.pack(
        "!BBBBIII16s",
        _PREFIX_INFORMATION,
        4,
        network.prefixlen,
        _ON_LINK_AND_AUTONOMOUS,
        0,
        0,
        0,
        network.network_address.packed,
    )
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as link:
        index = socket.if_nametoindex(interface)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        link.sendto(router + prefix, (_ALL_NODES, 0, 0, index))
