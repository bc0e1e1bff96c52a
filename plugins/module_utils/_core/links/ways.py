# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes, rules and neighbours that name an interface: read off the kernel's messages, and named anew.

A message is kept as the kernel told it, so that metrics, tables, sources and whatever else it holds go along without
being understood here; only its interface is exchanged. Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
import typing as t

ROUTE, RULE, NEIGHBOUR = "route", "rule", "neighbour"

#: struct rtmsg, fib_rule_hdr (of the same form) and ndmsg; of an attribute.
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_INDEX = struct.Struct("=i")
_U32 = struct.Struct("=I")

#: linux/rtnetlink.h
_RTN_UNICAST, _RT_TABLE_MAIN, _RTPROT_KERNEL, _RTNH_F_ONLINK = 1, 254, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 6, 7, 9
_RTA_CACHEINFO, _RTA_TABLE, _RTA_EXPIRES, _RTA_NH_ID = 12, 15, 23, 30
_RTNH = struct.Struct("=HBBi")
#: Expiry of a route is told in hundredths of a second, and taken in seconds.
_EXPIRY_UNIT = 100
#: linux/fib_rules.h
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_OIFNAME, _FRA_INVERT = 3, 6, 17, 0x2
#: linux/neighbour.h
_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_PROBES = 1, 2, 3, 4
_NUD_PERMANENT, _NTF_PROXY = 0x80, 0x08

#: Metric of an IPv6 route that the kernel makes for an address.
_METRIC_V6 = 256
#: IFA_F_NOPREFIXROUTE
_NO_PREFIX_ROUTE = 0x200
_LINK_LOCAL = ("fe80::", 64)


@dataclasses.dataclass(frozen=True)
class Way:
    """A route, rule or neighbour. `index` is that of `interface` in `body`, a message without its netlink header."""

    kind: str
    interface: str
    index: int
    body: bytes
    #: As `ip` would show it, without the interface.
    text: str
    #: Destination and its prefix length; of a rule ("", 0).
    destination: tuple[str, int] = ("", 0)
    #: What the route goes through, or the neighbour itself.
    gateways: tuple[str, ...] = ()
    source: str | None = None
    protocol: int = 0
    table: int = _RT_TABLE_MAIN
    metric: int = 0
    #: It refers to an object of its own that says where it leads.
    by_object: bool = False
    several: bool = False

    @property
    def is_ipv4(self) -> bool:
        return self.body[0] == socket.AF_INET


def read_route(body: bytes, names: t.Mapping[int, str]) -> list[Way]:
    """The route, once for each interface that it names; empty for what the kernel makes by itself for any interface."""
    family, length, _source, _tos, table, protocol, _scope, kind, flags = _ROUTE.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6) or kind != _RTN_UNICAST:
        return []
    found = dict(_split(body[_ROUTE.size :]))
    kept = []
    for number, value in found.items():
        if number == _RTA_CACHEINFO:
            expires = _INDEX.unpack_from(value, 8)[0] if family == socket.AF_INET6 and len(value) >= 12 else 0
            if expires > 0:
                kept.append((_RTA_EXPIRES, _U32.pack(max(1, expires // _EXPIRY_UNIT))))
        else:
            kept.append((number, value))
    destination = (_ip(found[_RTA_DST]) if _RTA_DST in found else _any(family), length)
    if family == socket.AF_INET6 and protocol == _RTPROT_KERNEL and destination == _LINK_LOCAL:
        return []
    header = bytearray(body[: _ROUTE.size])
    _U32.pack_into(header, 8, flags & _RTNH_F_ONLINK)
    hops = _hops(found[_RTA_MULTIPATH]) if _RTA_MULTIPATH in found else []
    gateways = [gateway for _index, gateway in hops if gateway]
    if _RTA_GATEWAY in found:
        gateways.append(_ip(found[_RTA_GATEWAY]))
    indexes = [index for index, _gateway in hops]
    if _RTA_OIF in found:
        indexes.append(_INDEX.unpack(found[_RTA_OIF])[0])
    metric = _U32.unpack(found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0
    table = _U32.unpack(found[_RTA_TABLE])[0] if _RTA_TABLE in found else table
    source = _ip(found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else None
    words = ["default" if not length else f"{destination[0]}/{length}", *(f"via {gateway}" for gateway in gateways)]
    words += [f"src {source}"] if source else []
    words += [f"metric {metric}"] if metric else []
    words += [f"table {table}"] if table != _RT_TABLE_MAIN else []
    return [
        Way(
            kind=ROUTE,
            interface=names[index],
            index=index,
            body=bytes(header) + _join(kept),
            text=" ".join(words),
            destination=destination,
            gateways=tuple(gateways),
            source=source,
            protocol=protocol,
            table=table,
            metric=metric,
            by_object=_RTA_NH_ID in found,
            several=bool(hops),
        )
        for index in dict.fromkeys(indexes)
        if index in names
    ]


def read_rule(body: bytes) -> list[Way]:
    """The rule, once for each interface that it names."""
    header = bytearray(body[: _ROUTE.size])
    _U32.pack_into(header, 8, _U32.unpack_from(header, 8)[0] & _FRA_INVERT)
    found = dict(_split(body[_ROUTE.size :]))
    metric = _U32.unpack(found[_FRA_PRIORITY])[0] if _FRA_PRIORITY in found else 0
    named = dict.fromkeys(_text(found[number]) for number in (_FRA_IIFNAME, _FRA_OIFNAME) if number in found)
    body = bytes(header) + _join(found.items())
    return [Way(RULE, name, 0, body, f"with priority {metric}") for name in named]


def read_neighbour(body: bytes, names: t.Mapping[int, str]) -> Way | None:
    """A neighbour that somebody entered; None for one that the kernel found out by itself."""
    family, index, state, flags, _kind = _NEIGHBOUR.unpack_from(body)
    found = dict(_split(body[_NEIGHBOUR.size :]))
    if family not in (socket.AF_INET, socket.AF_INET6) or index not in names or _NDA_DST not in found:
        return None
    if not (state & _NUD_PERMANENT or flags & _NTF_PROXY):
        return None
    address = _ip(found[_NDA_DST])
    what = "proxy" if flags & _NTF_PROXY else f"lladdr {found.get(_NDA_LLADDR, b'').hex(':')}"
    kept = [(number, value) for number, value in found.items() if number not in (_NDA_CACHEINFO, _NDA_PROBES)]
    header = body[: _NEIGHBOUR.size]
    return Way(NEIGHBOUR, names[index], index, header + _join(kept), f"{address} {what}", gateways=(address,))


def named_anew(way: Way, interface: str, index: int) -> bytes:
    """The message's body with another interface in the place of its own."""
    if interface == way.interface and index == way.index:
        return way.body
    if way.kind == NEIGHBOUR:
        body = bytearray(way.body)
        _INDEX.pack_into(body, 4, index)
        return bytes(body)
    kept = []
    for number, value in _split(way.body[_ROUTE.size :]):
        if way.kind == RULE and number in (_FRA_IIFNAME, _FRA_OIFNAME) and _text(value) == way.interface:
            value = interface.encode() + b"\0"
        elif way.kind == ROUTE and number == _RTA_OIF and _INDEX.unpack(value)[0] == way.index:
            value = _INDEX.pack(index)
        elif way.kind == ROUTE and number == _RTA_MULTIPATH:
            value = _hops_anew(value, way.index, index)
        kept.append((number, value))
    return way.body[: _ROUTE.size] + _join(kept)


def same(one: Way, other: Way) -> bool:
    """Whether they differ in their interface at most."""
    return one.kind == other.kind and named_anew(one, other.interface, other.index) == other.body


def made_for(way: Way, local: str, prefix: int, peer: str | None, flags: int, metric: int) -> bool:
    """Whether the kernel makes this route by itself for the address."""
    if way.protocol != _RTPROT_KERNEL or way.gateways or flags & _NO_PREFIX_ROUTE or way.table != _RT_TABLE_MAIN:
        return False
    if way.is_ipv4 == (":" in local):
        return False
    expected = metric if way.is_ipv4 else metric or _METRIC_V6
    return way.metric == expected and way.destination[1] == prefix and inside(way.destination[0], peer or local, prefix)


def inside(address: str, network: str, prefix: int) -> bool:
    """Whether the address is in the subnet of that prefix length around `network`."""
    if (":" in address) != (":" in network):
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    shift = (128 if family == socket.AF_INET6 else 32) - prefix
    numbers = [int.from_bytes(socket.inet_pton(family, each), "big") >> shift for each in (address, network)]
    return numbers[0] == numbers[1]


def _hops(value: bytes) -> list[tuple[int, str | None]]:
    found = []
    position = 0
    while position + _RTNH.size <= len(value):
        length, _flags, _weight, index = _RTNH.unpack_from(value, position)
        inner = dict(_split(value[position + _RTNH.size : position + length]))
        found.append((index, _ip(inner[_RTA_GATEWAY]) if _RTA_GATEWAY in inner else None))
        position += max(_RTNH.size, (length + 3) & ~3)
    return found


def _hops_anew(value: bytes, old: int, new: int) -> bytes:
    changed = bytearray(value)
    position = 0
    while position + _RTNH.size <= len(value):
        length, flags, weight, index = _RTNH.unpack_from(value, position)
        _RTNH.pack_into(changed, position, length, flags & _RTNH_F_ONLINK, weight, new if index == old else index)
        position += max(_RTNH.size, (length + 3) & ~3)
    return bytes(changed)


def _split(attributes: bytes) -> t.Iterator[tuple[int, bytes]]:
    position = 0
    while position + _ATTRIBUTE.size <= len(attributes):
        length, number = _ATTRIBUTE.unpack_from(attributes, position)
        yield number, attributes[position + _ATTRIBUTE.size : position + length]
        position += max(_ATTRIBUTE.size, (length + 3) & ~3)


def _join(attributes: t.Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + b"\0" * (-len(value) % 4)
        for number, value in attributes
    )


def _ip(value: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def _any(family: int) -> str:
    return "0.0.0.0" if family == socket.AF_INET else "::"


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
