# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading links, addresses and routes from the kernel, and executing the operations of `_core.links`.

What is measured and decided here (1,000 bridges with a port each):

- Reading goes over a plain socket and takes just the attributes that are needed off the raw answer. pyroute2's parsed
  dump costs 3 s, `ip -json` 0.18 s, this 0.05 s, half of which is the kernel's own work. So a run with nothing to do
  does not even import pyroute2, which costs a quarter of a second.
- Writing has pyroute2 encode the messages (it knows the attributes and how they nest), many of them in one datagram.
  The kernel handles all messages of a datagram within the one system call, which makes a datagram atomic against a
  kill of this process; operations that must not be seen half done are therefore never split over two.
- Sending is left to a plain socket too: the sockets of pyroute2 0.7 and 0.9 differ, those of Python do not.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import traceback
import typing as t

from .._core.errors import HostError, first_line
from .._core.links import (
    FOREVER,
    PERMANENT,
    Address,
    ChangeBridge,
    CreateBridge,
    Difference,
    Duties,
    Enslave,
    Link,
    Operation,
    Readdress,
    RemoveBridge,
    SetAlias,
    SetSysctl,
    State,
    snapshot,
    sysctl,
)

#: Requests a datagram. More gains nothing, and a socket's send buffer takes about 200 kB.
BATCH = 150

# linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h: what the reading side needs before (or without) pyroute2.
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_GETROUTE = 26
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_IFF_UP, _IFF_LOOPBACK, _ARPHRD_ETHER = 0x1, 0x8, 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_EXT_MASK = 18, 20, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE, _IFLA_BR_ROOT_ID, _IFLA_BR_BRIDGE_ID = 1, 5, 10, 11
_RTEXT_FILTER_SKIP_STATS = 8

_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_METRIC = 1, 2, 3, 4, 6, 8, 9
#: Flags of an address that whoever added it chose; the others are the kernel's.
_IFA_GIVEN_FLAGS = 0x02 | 0x100 | 0x200 | 0x400

_RTN_UNICAST, _RTPROT_KERNEL, _RTNH_SIZE = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 7, 9

_MESSAGE = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_HALF = struct.Struct("=H")
_U32 = struct.Struct("=I")


class LibraryMissing(HostError):
    """pyroute2 cannot be imported; `trace` says why."""

    def __init__(self, trace: str) -> None:
        super().__init__("the Python library pyroute2 cannot be imported; nothing was changed")
        self.trace = trace


# ---------------------------------------------------------------------------------------------------------------
# The socket


class _Interrupted(Exception):
    """The kernel's table changed while it was being dumped."""


class Socket:
    """A route netlink socket of this process's network namespace."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._socket.bind((0, 0))
        except OSError as error:
            raise HostError(f"cannot open a netlink socket: {first_line(error)}") from error
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            with contextlib.suppress(OSError):  # an old kernel: its refusals come without words
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[tuple[bytes, int, int]]:
        """All answers, each as (buffer, start of its body, end)."""
        for _attempt in range(5):
            try:
                return self._dump(kind, body)
            except _Interrupted:
                continue
        raise HostError("cannot read the kernel's network tables: they change faster than they can be read; try again")

    def _dump(self, kind: int, body: bytes) -> list[tuple[bytes, int, int]]:
        self._sequence += 1
        request = _MESSAGE.pack(_MESSAGE.size + len(body), kind, _NLM_F_REQUEST | _NLM_F_DUMP, self._sequence, 0) + body
        found: list[tuple[bytes, int, int]] = []
        interrupted = False
        try:
            self._socket.send(request)
            while True:
                buffer = self._socket.recv(1 << 18)
                position, end = 0, len(buffer)
                while position < end:
                    length, answer, flags, sequence, _port = _MESSAGE.unpack_from(buffer, position)
                    if sequence == self._sequence:
                        interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                        if answer == _NLMSG_DONE:
                            if interrupted:
                                raise _Interrupted
                            return found
                        if answer == _NLMSG_ERROR:
                            code = -struct.unpack_from("=i", buffer, position + 16)[0]
                            raise OSError(code, os.strerror(code))
                        found.append((buffer, position + 16, position + length))
                    position += (length + 3) & ~3
        except OSError as error:
            raise HostError(f"cannot read the kernel's network tables: {first_line(error)}") from error

    def ask(self, kind: int, body: bytes) -> tuple[bytes, int, int] | None:
        """The one answer to a question, None where the kernel has none."""
        self._sequence += 1
        request = _MESSAGE.pack(_MESSAGE.size + len(body), kind, _NLM_F_REQUEST, self._sequence, 0) + body
        try:
            self._socket.send(request)
            buffer = self._socket.recv(1 << 16)
        except OSError as error:
            raise HostError(f"cannot ask the kernel: {first_line(error)}") from error
        length, answer = _MESSAGE.unpack_from(buffer)[:2]
        return None if answer == _NLMSG_ERROR else (buffer, 16, length)

    def request(self, messages: t.Sequence[bytearray]) -> dict[int, str]:
        """Send all in one datagram; return the reason for each that was refused, by its number.

        Only the last one asks for an acknowledgement: the kernel answers in order, refusals are always answered,
        and so silence before the last answer means that all others were accepted.
        """
        first = self._sequence + 1
        for number, message in enumerate(messages):
            _length, kind, flags, _sequence, _port = _MESSAGE.unpack_from(message)
            if number == len(messages) - 1:
                flags |= _NLM_F_ACK
            _MESSAGE.pack_into(message, 0, len(message), kind, flags, first + number, 0)
        last = self._sequence = first + len(messages) - 1
        refused: dict[int, str] = {}
        try:
            self._socket.send(b"".join(messages))
            while True:
                buffer = self._socket.recv(1 << 18)
                position = 0
                while position < len(buffer):
                    length, kind, flags, sequence, _port = _MESSAGE.unpack_from(buffer, position)
                    if kind == _NLMSG_ERROR and first <= sequence <= last:
                        code = -struct.unpack_from("=i", buffer, position + 16)[0]
                        if code:
                            refused[sequence - first] = _reason(code, flags, buffer, position, position + length)
                        if sequence == last:
                            return refused
                    position += (length + 3) & ~3
        except OSError as error:
            # Too large a datagram, or no memory for the answers: take all as refused, so that all are put back.
            return {number: first_line(error) for number in range(len(messages))}


def _reason(code: int, flags: int, buffer: bytes, start: int, end: int) -> str:
    """The kernel's refusal, in its own words where it has some."""
    text = os.strerror(code)
    if flags & _NLM_F_ACK_TLVS:
        offset = start + 36
        if not flags & _NLM_F_CAPPED:
            offset = start + 20 + _MESSAGE.unpack_from(buffer, start + 20)[0]
        said = _attributes(buffer, offset, end).get(1)
        if said is not None:
            text += f": {_string(buffer, said)}"
    return text


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _attributes(buffer: bytes, position: int, end: int) -> dict[int, int]:
    """Where each attribute begins.

    Three thousand links have a hundred thousand of them, so this loop is half of a reading. It looks at no flag
    bits: the kernel promises that these old attributes never get any.
    """
    found = {}
    unpack = _ATTRIBUTE.unpack_from
    while position < end:
        length, kind = unpack(buffer, position)
        found[kind] = position
        position += (length + 3) & -4
    return found


def _value(buffer: bytes, position: int) -> bytes:
    return buffer[position + 4 : position + _HALF.unpack_from(buffer, position)[0]]


def _nested(buffer: bytes, position: int) -> dict[int, int]:
    return _attributes(buffer, position + 4, position + _HALF.unpack_from(buffer, position)[0])


def _string(buffer: bytes, position: int) -> str:
    return buffer[position + 4 : buffer.index(0, position + 4)].decode("utf-8", "replace")


def _u32(buffer: bytes, position: int) -> int:
    value: int = _U32.unpack_from(buffer, position + 4)[0]
    return value


def read(sysctl_keys: t.Iterable[str] = ()) -> State:
    """The links with their addresses, and the settings named."""
    with Socket() as kernel:
        request = _LINK.pack(0, 0, 0, 0, 0) + struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        links: dict[int, Link] = {}
        masters: list[tuple[Link, int]] = []
        for buffer, start, end in kernel.dump(_RTM_GETLINK, request):
            link, master = _link(buffer, start, end)
            links[link.index] = link
            if master:
                masters.append((link, master))
        for link, master in masters:
            # A master in another namespace cannot be: it would not be shown.
            link.master = links[master].name if master in links else f"#{master}"
        for buffer, start, end in kernel.dump(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)):
            index = _ADDRESS.unpack_from(buffer, start)[4]
            if index in links:
                links[index].addresses.append(_address(buffer, start, end))
    return State({link.name: link for link in links.values()}, _read_sysctl(sysctl_keys))


def _link(buffer: bytes, start: int, end: int) -> tuple[Link, int]:
    _family, hardware, index, flags, _change = _LINK.unpack_from(buffer, start)
    at = _attributes(buffer, start + 16, end)
    link = Link(
        name=_string(buffer, at[_IFLA_IFNAME]),
        index=index,
        ethernet=hardware == _ARPHRD_ETHER,
        loopback=bool(flags & _IFF_LOOPBACK),
        up=bool(flags & _IFF_UP),
        mtu=_u32(buffer, at[_IFLA_MTU]),
    )
    if _IFLA_ADDRESS in at:
        link.mac = _value(buffer, at[_IFLA_ADDRESS]).hex(":")
    if _IFLA_IFALIAS in at:
        link.alias = _string(buffer, at[_IFLA_IFALIAS])
    if _IFLA_LINKINFO in at:
        info = _nested(buffer, at[_IFLA_LINKINFO])
        if _IFLA_INFO_KIND in info:
            link.kind = _string(buffer, info[_IFLA_INFO_KIND])
        if link.kind == "bridge" and _IFLA_INFO_DATA in info:
            _bridge_settings(link, buffer, info[_IFLA_INFO_DATA])
    return link, _u32(buffer, at[_IFLA_MASTER]) if _IFLA_MASTER in at else 0


def _bridge_settings(link: Link, buffer: bytes, position: int) -> None:
    at = _nested(buffer, position)
    link.stp = _IFLA_BR_STP_STATE in at and _u32(buffer, at[_IFLA_BR_STP_STATE]) != 0
    if _value(buffer, at[_IFLA_BR_ROOT_ID]) != _value(buffer, at[_IFLA_BR_BRIDGE_ID]):
        link.forward_delay = None
    elif _IFLA_BR_FORWARD_DELAY in at:
        link.forward_delay = _u32(buffer, at[_IFLA_BR_FORWARD_DELAY])


def _address(buffer: bytes, start: int, end: int) -> Address:
    family, prefix, flags, scope, _index = _ADDRESS.unpack_from(buffer, start)
    at = _attributes(buffer, start + 8, end)
    remote = at.get(_IFA_ADDRESS)
    local = at.get(_IFA_LOCAL, remote)
    if local is None or remote is None:
        return Address("::", prefix, scope=255)
    mine = _value(buffer, local)
    if _IFA_FLAGS in at:
        flags = _u32(buffer, at[_IFA_FLAGS])
    found = Address(socket.inet_ntop(family, mine), prefix, scope=scope, flags=flags)
    if remote != local:
        peer = _value(buffer, remote)
        if peer != mine:
            found.peer = socket.inet_ntop(family, peer)
    if _IFA_BROADCAST in at:
        found.broadcast = socket.inet_ntop(family, _value(buffer, at[_IFA_BROADCAST]))
    if _IFA_LABEL in at:
        found.label = _string(buffer, at[_IFA_LABEL])
    if _IFA_METRIC in at:
        found.metric = _u32(buffer, at[_IFA_METRIC])
    if _IFA_CACHEINFO in at and not flags & PERMANENT:
        found.preferred, found.valid = struct.unpack_from("=II", buffer, at[_IFA_CACHEINFO] + 4)
    return found


# ---------------------------------------------------------------------------------------------------------------
# What the host itself needs


def read_duties(state: State, connection_address: str | None = None) -> Duties:
    """Which interfaces carry the default route or the connection that this run came over."""
    names = {link.index: link.name for link in state.links.values()}
    holders = {address.local: link.name for link in state.links.values() for address in link.addresses}
    carried: dict[str, str] = {}
    sources: set[tuple[str, str]] = set()
    with Socket() as kernel:
        for buffer, start, end in kernel.dump(_RTM_GETROUTE, _ROUTE.pack(*[0] * 9)):
            _route(buffer, start, end, names, carried, sources)
    reached_by = {connection_address} if connection_address is not None else set()
    ssh = _ssh_connection()
    if ssh is not None:
        client, server = ssh
        address, _percent, zone = server.partition("%")
        reached_by.add(address)
        if zone in state.links:
            carried[zone] = f"the Ansible connection (to {server})"
        towards = names.get(_route_to(client.partition("%")[0]))
        if towards is not None and not state.links[towards].loopback:
            carried[towards] = f"the Ansible connection (from {client})"
    for address in reached_by:
        # An IPv6 link-local address may stand on several interfaces; the zone above says which one counts.
        if address in holders and not address.startswith("fe80:"):
            carried[holders[address]] = f"the Ansible connection (to {address})"
    return Duties(carried, frozenset(reached_by), frozenset(sources))


def _route(
    buffer: bytes,
    start: int,
    end: int,
    names: dict[int, str],
    carried: dict[str, str],
    sources: set[tuple[str, str]],
) -> None:
    family, length, _from, _tos, _table, protocol, _scope, kind, _flags = _ROUTE.unpack_from(buffer, start)
    if kind != _RTN_UNICAST or (length and protocol == _RTPROT_KERNEL):
        return
    at = _attributes(buffer, start + 12, end)
    ways = [at]
    if _RTA_MULTIPATH in at:
        ways = _hops(buffer, at[_RTA_MULTIPATH])
    for way in ways:
        out = way.get(_RTA_OIF, at.get(_RTA_OIF))
        name = names.get(_u32(buffer, out)) if out is not None else None
        if name is None:
            continue
        if _RTA_PREFSRC in at and protocol != _RTPROT_KERNEL:
            sources.add((name, socket.inet_ntop(family, _value(buffer, at[_RTA_PREFSRC]))))
        if not length and family in (socket.AF_INET, socket.AF_INET6):
            via = way.get(_RTA_GATEWAY)
            towards = f" via {socket.inet_ntop(family, _value(buffer, via))}" if via is not None else ""
            carried.setdefault(name, f"the default route{towards}")


def _hops(buffer: bytes, position: int) -> list[dict[int, int]]:
    """The ways of a route with several; each with its interface in place of RTA_OIF."""
    found = []
    end = position + _HALF.unpack_from(buffer, position)[0]
    position += 4
    while position + _RTNH_SIZE <= end:
        length = _HALF.unpack_from(buffer, position)[0]
        if length < _RTNH_SIZE:
            break
        way = _attributes(buffer, position + _RTNH_SIZE, position + length)
        way[_RTA_OIF] = position  # the index stands in the second word, as in an attribute
        found.append(way)
        position += (length + 3) & ~3
    return found


def _route_to(address: str) -> int:
    """Index of the interface by which this host answers an address; 0 if none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except OSError:
        return 0
    body = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(4 + len(packed), _RTA_DST) + packed
    with Socket() as kernel:
        answer = kernel.ask(_RTM_GETROUTE, body)
    if answer is None:
        return 0
    buffer, start, end = answer
    out = _attributes(buffer, start + 12, end).get(_RTA_OIF)
    return _u32(buffer, out) if out is not None else 0


def _ssh_connection() -> tuple[str, str] | None:
    """Client and server address of the SSH session that this process runs in.

    Asked of the ancestors too: sudo drops the variable.
    """
    text = os.environ.get("SSH_CONNECTION")
    process = os.getpid()
    while not text and process > 1:
        parent = _parent(process)
        if parent == process:
            break
        process = parent
        text = _variable(process, b"SSH_CONNECTION")
    words = (text or "").split()
    return (words[0], words[2]) if len(words) == 4 else None


def _parent(process: int) -> int:
    try:
        with open(f"/proc/{process}/stat", "rb") as handle:
            # The command stands in parentheses and may hold any character, a parenthesis too.
            return int(handle.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _variable(process: int, name: bytes) -> str | None:
    try:
        with open(f"/proc/{process}/environ", "rb") as handle:
            settings = handle.read().split(b"\0")
    except OSError:
        return None
    for setting in settings:
        key, _equals, value = setting.partition(b"=")
        if key == name:
            return value.decode("utf-8", "replace")
    return None


# ---------------------------------------------------------------------------------------------------------------
# Sysctl


def _sysctl_path(key: str) -> str:
    # As sysctl(8): a slash stands for a dot within a name (net.ipv4.conf.eth0/100.rp_filter).
    return "/proc/sys/" + "/".join(part.replace("/", ".") for part in key.split("."))


def _read_sysctl(keys: t.Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for key in keys:
        for each in (key, sysctl.default_key(key)):
            if each is not None and each not in found:
                found[each] = _read_one_sysctl(each)
    return found


def _read_one_sysctl(key: str) -> str | None:
    try:
        with open(_sysctl_path(key), encoding="utf-8") as handle:
            return sysctl.canonical(handle.read())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise HostError(f"cannot read sysctl {key}: {first_line(error)}") from error


def _write_sysctl(operation: SetSysctl) -> str | None:
    """The reason why not, or None."""
    try:
        with open(_sysctl_path(operation.key), "w", encoding="utf-8") as handle:
            handle.write(operation.value + "\n")
    except OSError as error:
        return first_line(error.strerror)
    return None


# ---------------------------------------------------------------------------------------------------------------
# Encoding


class Library(t.NamedTuple):
    link: t.Any
    address: t.Any


def load() -> Library:
    """pyroute2's message classes. Late, as their import takes longer than a run with nothing to do."""
    try:
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    except ImportError as error:
        raise LibraryMissing(traceback.format_exc()) from error
    return Library(ifinfmsg, ifaddrmsg)


class _Gone(Exception):
    """The operation names an interface that is not there."""


class _Encoder:
    """Operations as netlink messages."""

    def __init__(self, library: Library, indexes: dict[str, int]) -> None:
        self._library = library
        self._indexes = indexes
        self._infos: dict[tuple[int | None, int | None], bytes] = {}

    def messages(self, operation: Operation) -> list[bytearray]:
        return _ENCODE[type(operation)](self, operation)

    def _index(self, name: str) -> int:
        index = self._indexes.get(name)
        if index is None:
            # A bridge of this run. Asking for one name costs microseconds; a dump of all costs milliseconds.
            try:
                index = self._indexes[name] = socket.if_nametoindex(name)
            except OSError:
                raise _Gone(name) from None
        return index

    def _finish(self, message: t.Any, kind: int, flags: int) -> bytearray:
        message["header"]["type"] = kind
        message["header"]["flags"] = _NLM_F_REQUEST | flags
        message.encode()
        return bytearray(message.data)

    def _link(
        self,
        attributes: list[tuple[str, t.Any]],
        index: int = 0,
        up: bool | None = None,
        kind: int = _RTM_NEWLINK,
        flags: int = 0,
        tail: bytes = b"",
    ) -> bytearray:
        message = self._library.link()
        message["index"] = index
        if up is not None:
            message["flags"] = _IFF_UP if up else 0
            message["change"] = _IFF_UP
        message["attrs"] = attributes
        # The length in the header is set when it is sent.
        return self._finish(message, kind, flags) + tail

    def _bridge_info(self, forward_delay: int | None = None, stp_state: int | None = None) -> bytes:
        """The attribute IFLA_LINKINFO: encoding it costs as much as all the rest, and most bridges have the same."""
        key = (forward_delay, stp_state)
        if key not in self._infos:
            settings = [("IFLA_BR_FORWARD_DELAY", forward_delay), ("IFLA_BR_STP_STATE", stp_state)]
            data = {"attrs": [(name, value) for name, value in settings if value is not None]}
            info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
            self._infos[key] = bytes(self._link([("IFLA_LINKINFO", info)])[_MESSAGE.size + _LINK.size :])
        return self._infos[key]

    def create(self, operation: CreateBridge) -> list[bytearray]:
        attributes: list[tuple[str, t.Any]] = [("IFLA_IFNAME", operation.name)]
        mark: list[tuple[str, t.Any]] = [("IFLA_IFNAME", operation.name), ("IFLA_IFALIAS", operation.alias)]
        if operation.mac is not None:
            attributes.append(("IFLA_ADDRESS", operation.mac))
        if operation.mtu is not None:
            # An MTU given at birth, or equal to the present one, still follows the ports; only a change pins it.
            attributes.append(("IFLA_MTU", operation.mtu + 1 if operation.mtu < 65535 else operation.mtu - 1))
            mark.append(("IFLA_MTU", operation.mtu))
        self._indexes.pop(operation.name, None)
        return [
            self._link(
                attributes,
                flags=_NLM_F_CREATE | _NLM_F_EXCL,
                tail=self._bridge_info(operation.forward_delay, int(operation.stp)),
            ),
            # By name: the index is not known before the first message has been handled.
            self._link(mark, up=operation.up),
        ]

    def remove(self, operation: RemoveBridge) -> list[bytearray]:
        index = self._index(operation.name)
        self._indexes.pop(operation.name, None)
        return [self._link([], index, kind=_RTM_DELLINK)]

    def alias(self, operation: SetAlias) -> list[bytearray]:
        # The kernel wants at least one byte; a zero byte takes the alias away.
        return [self._link([("IFLA_IFALIAS", operation.alias)], self._index(operation.name))]

    def change(self, operation: ChangeBridge) -> list[bytearray]:
        to, index = operation.to, self._index(operation.name)
        messages = []
        delay = to.forward_delay
        if to.stp is False and delay is not None:
            # Within a message the kernel sets the delay first, and refuses a short one while STP is still on.
            messages.append(self._link([], index, tail=self._bridge_info(stp_state=0)))
            messages.append(self._link([], index, tail=self._bridge_info(delay)))
        elif to.stp is not None or delay is not None:
            state = None if to.stp is None else int(to.stp)
            messages.append(self._link([], index, tail=self._bridge_info(delay, state)))
        attributes: list[tuple[str, t.Any]] = []
        if to.mac is not None:
            attributes.append(("IFLA_ADDRESS", to.mac))
        if to.mtu is not None:
            attributes.append(("IFLA_MTU", to.mtu))
        if attributes or to.up is not None:
            messages.append(self._link(attributes, index, to.up))
        return messages

    def enslave(self, operation: Enslave) -> list[bytearray]:
        attributes = []
        if operation.bridge != operation.before:
            attributes.append(("IFLA_MASTER", self._index(operation.bridge) if operation.bridge is not None else 0))
        return [self._link(attributes, self._index(operation.interface), operation.up)]

    def readdress(self, operation: Readdress) -> list[bytearray]:
        index = self._index(operation.bridge)
        return [self._address(step.address, step.add, index) for step in operation.steps]

    def _address(self, address: Address, add: bool, index: int) -> bytearray:
        message = self._library.address()
        message["family"] = socket.AF_INET if address.is_ipv4 else socket.AF_INET6
        message["prefixlen"] = address.prefix
        message["index"] = index
        attributes: list[tuple[str, t.Any]] = [
            ("IFA_LOCAL", address.local),
            ("IFA_ADDRESS", address.peer or address.local),
        ]
        if not add:
            message["attrs"] = attributes
            return self._finish(message, _RTM_DELADDR, 0)
        message["scope"] = address.scope
        if address.broadcast is not None:
            attributes.append(("IFA_BROADCAST", address.broadcast))
        if address.label is not None:
            attributes.append(("IFA_LABEL", address.label))
        if address.flags & _IFA_GIVEN_FLAGS:
            attributes.append(("IFA_FLAGS", address.flags & _IFA_GIVEN_FLAGS))
        if address.valid != FOREVER:
            lifetimes = {"ifa_preferred": address.preferred, "ifa_valid": address.valid}
            attributes.append(("IFA_CACHEINFO", lifetimes))
        message["attrs"] = attributes
        # Replacing, so that an address that came meanwhile is no failure.
        encoded = self._finish(message, _RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_REPLACE)
        if address.metric:
            # pyroute2 0.7 does not know this attribute, and drops it without a word.
            encoded += _ATTRIBUTE.pack(8, _IFA_METRIC) + _U32.pack(address.metric)
        return encoded


_ENCODE: dict[type[Operation], t.Callable[[_Encoder, t.Any], list[bytearray]]] = {
    CreateBridge: _Encoder.create,
    RemoveBridge: _Encoder.remove,
    SetAlias: _Encoder.alias,
    ChangeBridge: _Encoder.change,
    Enslave: _Encoder.enslave,
    Readdress: _Encoder.readdress,
}


# ---------------------------------------------------------------------------------------------------------------
# Executing


class _Failure(Exception):
    """An operation was refused."""


class _Run:
    """Operations on their way, with what is needed to take them back."""

    def __init__(self, kernel: Socket, encoder: _Encoder, batch: int, after_step: t.Callable[[], None] | None) -> None:
        self._kernel = kernel
        self._encoder = encoder
        self._batch = batch
        self._after_step = after_step
        #: What was done, with the numbers of those of its messages that were refused.
        self.done: list[tuple[Operation, t.Collection[int]]] = []

    def execute(self, operations: t.Iterable[Operation]) -> None:
        """Do them in order, many at once; _Failure at the first that is refused, with those of its datagram done."""
        waiting: list[tuple[Operation, list[bytearray]]] = []
        size = 0
        for operation in operations:
            if isinstance(operation, SetSysctl):
                self._send(waiting)
                waiting, size = [], 0
                self._sysctl(operation)
                continue
            try:
                messages = self._encoder.messages(operation)
            except _Gone as gone:
                self._send(waiting)
                raise _Failure(_refusal(operation, f"interface {gone} is not there any more")) from gone
            if waiting and size + len(messages) > self._batch:
                self._send(waiting)
                waiting, size = [], 0
            waiting.append((operation, messages))
            size += len(messages)
        self._send(waiting)

    def undo(self) -> list[Operation]:
        """What takes everything back, the last thing first."""
        steps: list[Operation] = []
        for operation, refused in reversed(self.done):
            steps.extend(operation.inverse_when_failed(refused) if refused else operation.inverse())
        return steps

    def _sysctl(self, operation: SetSysctl) -> None:
        reason = _write_sysctl(operation)
        if reason is not None:
            raise _Failure(_refusal(operation, reason))
        self.done.append((operation, ()))
        self._step()

    def _send(self, waiting: t.Sequence[tuple[Operation, list[bytearray]]]) -> None:
        everything = [message for _operation, messages in waiting for message in messages]
        if not everything:
            return
        refused = self._kernel.request(everything)
        failures = []
        number = 0
        for operation, messages in waiting:
            failed = {place: refused[number + place] for place in range(len(messages)) if number + place in refused}
            number += len(messages)
            if failed:
                self.done.append((operation, failed))
                failures.append(_refusal(operation, failed[min(failed)]))
            else:
                self.done.append((operation, ()))
        self._step()
        if failures:
            raise _Failure(failures[0])

    def _step(self) -> None:
        if self._after_step is not None:
            self._after_step()


def _refusal(operation: Operation, reason: str) -> str:
    what = operation.describe() or [f"set the mark of {getattr(operation, 'name', 'a bridge')}"]
    return f"cannot {what[0]}: {reason}"


def apply(
    difference: Difference,
    before: State,
    library: Library | None = None,
    batch: int = BATCH,
    after_step: t.Callable[[], None] | None = None,
) -> None:
    """Execute the operations in order. After a failure everything is put back, and HostError says whether it was.

    `after_step` is called after each datagram and each written setting: tests stop the process there.
    """
    library = library or load()
    with Socket() as kernel:
        encoder = _Encoder(library, {link.name: link.index for link in before.links.values()})
        run = _Run(kernel, encoder, batch, after_step)
        try:
            for operations in difference.batches():
                run.execute(operations)
        except _Failure as failure:
            raise HostError(f"{failure}; {_put_back(kernel, encoder, run.undo(), difference, before)}") from failure


def _put_back(kernel: Socket, encoder: _Encoder, undo: list[Operation], difference: Difference, before: State) -> str:
    """Take everything back, last first, whatever fails meanwhile; then look whether the host is as it was."""
    for operation in undo:
        # One by one, and on after a refusal: perhaps it had not been done. What counts is what is found below.
        with contextlib.suppress(_Failure):
            _Run(kernel, encoder, BATCH, None).execute([operation])
    now = read(before.sysctl)
    was, found = snapshot(before, difference), snapshot(now, difference)
    left = [f"{old} (now {new.partition(': ')[2]})" for old, new in zip(was, found) if old != new]
    if not left:
        return "everything was put back, the host is as it was"
    return "the rest was put back, but not this: " + "; ".join(left)
