# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance with IPv6 needs that dnsmasq does not do: say that it cannot serve, see its bridge come back, and
say good-bye.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import typing as t

from ..._core import dnsmasq as core
from ..._core.addressing import known_network
from ..netlink import wire

_RTM_GETADDR, _IFA_ADDRESS, _IFA_CACHEINFO = 22, 1, 6
#: Flag of an address that another machine has (IFA_F_DADFAILED).
_DUPLICATE = 0x08
#: Parts of a second in which the kernel tells when an address was made.
_HUNDREDTHS = 100
_ALL_NODES = "ff02::1"
_ROUTER_ADVERTISEMENT, _PREFIX_INFORMATION = 134, 3
_ON_LINK_AND_AUTONOMOUS = 0xC0


class Address(t.NamedTuple):
    """A usable IPv6 address of this host, and how many seconds after the boot it was made."""

    interface: int
    value: int
    created: float


def addresses() -> list[Address]:
    """All usable IPv6 addresses of this host."""
    found = []
    with wire.Socket() as kernel:
        for buffer in kernel.dump(_RTM_GETADDR, wire.ADDRESS.pack(socket.AF_INET6, 0, 0, 0, 0), bytes):
            family, _prefix, flags, _scope, interface = wire.ADDRESS.unpack_from(buffer)
            at = wire.attributes(buffer, wire.ADDRESS.size, len(buffer))
            if family == socket.AF_INET6 and not flags & _DUPLICATE:
                value = int.from_bytes(wire.value(buffer, at[_IFA_ADDRESS]), "big")
                created = struct.unpack_from("=8xI", wire.value(buffer, at[_IFA_CACHEINFO]))[0] / _HUNDREDTHS
                found.append(Address(interface, value, created))
    return found


def unready(instance: core.Instance, present: t.Sequence[Address]) -> str | None:
    """Why the instance could not serve; bound to what comes and goes, dnsmasq would start and serve nobody."""
    if instance.range_v6 is None:
        return None
    if _index(instance.interface) is None:
        return f"the interface {instance.interface} is not there"
    if instance.listen_address is not None and not _is_own(instance.listen_address):
        return f"no interface has the listen_address {instance.listen_address}"
    if not _of_range(instance, present):
        cidr = instance.range_v6
        return f"{instance.interface} has no usable address in {cidr}, which dnsmasq needs to advertise that range"
    return None


def has_missed(instance: core.Instance, present: t.Sequence[Address], started: float) -> bool:
    """Whether the process, started so many seconds after the boot, is older than the addresses it advertises from.

    When it is time to advertise and there is no such address, dnsmasq gives up for ever: of a bridge that comes back
    it answers the guests that ask, and lets the routes of all others run out.
    """
    own = _of_range(instance, present)
    return bool(own) and all(address.created > started for address in own)


def _of_range(instance: core.Instance, present: t.Sequence[Address]) -> list[Address]:
    if instance.range_v6 is None:
        return []
    wanted, index = known_network(instance.range_v6), _index(instance.interface)
    return [address for address in present if address.interface == index and address.value in wanted]


def _index(interface: str) -> int | None:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def _is_own(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


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
