# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Operations as netlink messages, encoded by pyroute2: it knows the attributes and how they nest.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import socket
import traceback
import typing as t

from ..._core.errors import HostError
from ..._core.links import Address, operations, ways
from ..._core.links.kernel import FOREVER
from .wire import ATTRIBUTE, HALF, IFA_METRIC, IFF_UP, LINK, MESSAGE, NLM_F_REQUEST, U32, attribute

_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR = 16, 17, 20, 21
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE, _NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
#: Flags of an address that whoever added it chose; the others are the kernel's.
_IFA_GIVEN_FLAGS = 0x02 | 0x100 | 0x200 | 0x400


_IFA_NODAD = 0x02
_REPLACING = _NLM_F_CREATE | _NLM_F_REPLACE
#: The message that makes one (the next number takes it away), and whether beside its equals or in their place.
_WAYS = {
    ways.ROUTE: (24, _NLM_F_CREATE | _NLM_F_APPEND),
    ways.RULE: (32, _NLM_F_CREATE | _NLM_F_EXCL),
    ways.NEIGHBOUR: (28, _REPLACING),
}


#: IFLA_LINKINFO with IFLA_INFO_SLAVE_KIND and IFLA_BRPORT_MODE, which pyroute2 0.7 does not encode.
_HAIRPIN = {
    on: attribute(18, attribute(4, b"bridge\0") + attribute(5, attribute(4, bytes([on])))) for on in (False, True)
}


class LibraryMissing(HostError):
    """pyroute2 cannot be imported; `trace` says why."""

    def __init__(self, trace: str) -> None:
        super().__init__("the Python library pyroute2 cannot be imported; nothing was changed")
        self.trace = trace


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


class InterfaceGone(Exception):
    """The operation names an interface that is not there."""


class Encoder:
    """Operations as netlink messages."""

    def __init__(self, library: Library, indexes: dict[str, int]) -> None:
        self._library = library
        self._indexes = indexes
        self._infos: dict[tuple[int | None, int | None], bytes] = {}
        self._vlan_kind = b""

    def messages(self, operation: operations.Operation) -> list[bytearray]:
        return _ENCODE[type(operation)](self, operation)

    def forget(self, name: str) -> None:
        """The link of that name is another one from now on."""
        self._indexes.pop(name, None)

    def _index(self, name: str) -> int:
        index = self._indexes.get(name)
        if index is None:
            # A link of this run. Asking for one name costs microseconds; a dump of all costs milliseconds.
            try:
                index = self._indexes[name] = socket.if_nametoindex(name)
            except OSError:
                raise InterfaceGone(name) from None
        return index

    def _finish(self, message: t.Any, kind: int, flags: int) -> bytearray:
        message["header"]["type"] = kind
        message["header"]["flags"] = NLM_F_REQUEST | flags
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
            message["flags"] = IFF_UP if up else 0
            message["change"] = IFF_UP
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
            self._infos[key] = bytes(self._link([("IFLA_LINKINFO", info)])[MESSAGE.size + LINK.size :])
        return self._infos[key]

    def _vlan_info(self, number: int) -> bytes:
        """As _bridge_info(); the number is the last thing in it, with two bytes that fill up."""
        if not self._vlan_kind:
            data = {"attrs": [("IFLA_VLAN_ID", 0)]}
            info = {"attrs": [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", data)]}
            self._vlan_kind = bytes(self._link([("IFLA_LINKINFO", info)])[MESSAGE.size + LINK.size : -4])
        return self._vlan_kind + HALF.pack(number) + b"\0\0"

    def create(self, operation: operations.CreateBridge) -> list[bytearray]:
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

    def create_vlan(self, operation: operations.CreateVlan) -> list[bytearray]:
        attributes: list[tuple[str, t.Any]] = [
            ("IFLA_IFNAME", operation.name),
            ("IFLA_LINK", self._index(operation.link)),
        ]
        if operation.mac is not None:
            attributes.append(("IFLA_ADDRESS", operation.mac))
        if operation.mtu is not None:
            attributes.append(("IFLA_MTU", operation.mtu))
        self._indexes.pop(operation.name, None)
        return [
            self._link(attributes, flags=_NLM_F_CREATE | _NLM_F_EXCL, tail=self._vlan_info(operation.id)),
            # By name, as with a bridge.
            self._link([("IFLA_IFNAME", operation.name), ("IFLA_IFALIAS", operation.alias)], up=operation.up),
        ]

    def remove(
        self, operation: operations.RemoveBridge | operations.RemoveVlan | operations.RemoveTap
    ) -> list[bytearray]:
        index = self._index(operation.name)
        self._indexes.pop(operation.name, None)
        return [self._link([], index, kind=_RTM_DELLINK)]

    def alias(self, operation: operations.SetAlias) -> list[bytearray]:
        # The kernel wants at least one byte; a zero byte takes the alias away.
        return [self._link([("IFLA_IFALIAS", operation.alias)], self._index(operation.name))]

    def change(self, operation: operations.ChangeLink) -> list[bytearray]:
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

    def enslave(self, operation: operations.Enslave) -> list[bytearray]:
        attributes = []
        if operation.bridge != operation.before:
            attributes.append(("IFLA_MASTER", self._index(operation.bridge) if operation.bridge is not None else 0))
        return [self._link(attributes, self._index(operation.interface), operation.up)]

    def move(self, operation: operations.Move) -> list[bytearray]:
        messages = [] if operation.join is None else self.enslave(operation.join)
        messages += self.items(operation)
        return messages if operation.leave is None else messages + self.enslave(operation.leave)

    def items(self, operation: operations.Move | operations.Forget) -> list[bytearray]:
        messages = []
        for item in operation.items:
            index = self._index(item.interface)
            if isinstance(item.what, Address):
                messages += self._moved_address(item.what, item.add, index)
            else:
                messages.append(self._way(item.what, item.add, item.interface, index))
        return messages

    def _moved_address(self, address: Address, add: bool, index: int) -> list[bytearray]:
        if not add or address.is_ipv4 or address.flags & _IFA_NODAD:
            return [self._address(address, add, index)]
        # Nobody else has it, so it is of use at once; then as it was, for the flag tells more than this moment.
        ready = dataclasses.replace(address, flags=address.flags | _IFA_NODAD)
        return [self._address(ready, True, index), self._address(address, True, index)]

    def _way(self, way: ways.Way, add: bool, interface: str, index: int, how: int = 0) -> bytearray:
        kind, flags = _WAYS[way.kind]
        flags = how or flags
        body = ways.named_anew(way, interface, index)
        return bytearray(MESSAGE.pack(0, kind + (not add), NLM_F_REQUEST | (flags if add else 0), 0, 0) + body)

    def port(self, operation: operations.ChangePort) -> list[bytearray]:
        to, before = operation.to, operation.before
        attributes: list[tuple[str, t.Any]] = []
        # The kernel sets them in this order: what joins a bridge that follows its ports is fit for it by then.
        if to.mac != before.mac and to.mac:
            attributes.append(("IFLA_ADDRESS", to.mac))
        if to.mtu != before.mtu:
            attributes.append(("IFLA_MTU", to.mtu))
        if to.alias != before.alias:
            attributes.append(("IFLA_IFALIAS", to.alias))
        if to.bridge != before.bridge:
            attributes.append(("IFLA_MASTER", self._index(to.bridge) if to.bridge is not None else 0))
        index = self._index(operation.name)
        messages = []
        if attributes or to.up != before.up:
            messages.append(self._link(attributes, index, to.up if to.up != before.up else None))
        # A port that joins a bridge has hairpin mode off.
        if to.bridge is not None and to.hairpin != (before.hairpin and to.bridge == before.bridge):
            messages.append(self._link([], index, tail=_HAIRPIN[to.hairpin]))
        return messages

    def readdress(self, operation: operations.Readdress) -> list[bytearray]:
        index = self._index(operation.bridge)
        messages = [self._address(step.address, step.add, index) for step in operation.steps]
        # Those that went with an address, and in place of themselves those that did not.
        return messages + [self._way(way, True, operation.bridge, index, _REPLACING) for way in operation.ways]

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
            encoded += ATTRIBUTE.pack(8, IFA_METRIC) + U32.pack(address.metric)
        return encoded


_ENCODE: dict[type[operations.Operation], t.Callable[[Encoder, t.Any], list[bytearray]]] = {
    operations.CreateBridge: Encoder.create,
    operations.CreateVlan: Encoder.create_vlan,
    operations.RemoveBridge: Encoder.remove,
    operations.RemoveVlan: Encoder.remove,
    operations.RemoveTap: Encoder.remove,
    operations.SetAlias: Encoder.alias,
    operations.ChangeLink: Encoder.change,
    operations.Enslave: Encoder.enslave,
    operations.Move: Encoder.move,
    operations.Forget: Encoder.items,
    operations.ChangePort: Encoder.port,
    operations.Readdress: Encoder.readdress,
}
