# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operations that change links, what each says of itself, and what takes it back.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .kernel import Address
from .ways import Way


@dataclasses.dataclass(frozen=True)
class Operation:
    """One step. `describe` says it in terms of the network, `inverse` is what takes it back."""

    def describe(self) -> list[str]:
        return []

    def inverse(self) -> list[Operation]:
        return []

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        """What takes back the part that may have been done when the messages numbered in `failed` were refused."""
        return []


@dataclasses.dataclass(frozen=True)
class SetSysctl(Operation):
    key: str
    value: str
    #: None: the key belongs to an interface that does not exist yet, and goes with it.
    before: str | None = None

    def describe(self) -> list[str]:
        return [f"set {self.key} to {self.value}"]

    def inverse(self) -> list[Operation]:
        return [] if self.before is None else [SetSysctl(self.key, self.before, self.value)]


@dataclasses.dataclass(frozen=True)
class CreateBridge(Operation):
    """Born with its mark and its settings, and up. The driver sends it as one datagram."""

    name: str
    alias: str
    mac: str | None
    mtu: int | None
    stp: bool
    forward_delay: int
    up: bool = True

    def describe(self) -> list[str]:
        return [f"create bridge {self.name}"]

    def inverse(self) -> list[Operation]:
        return [RemoveBridge(self.name)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        if 0 in failed:
            # Somebody else made a link of that name meanwhile, and our mark may stand on it now: it is theirs.
            return [SetAlias(self.name, "")]
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class RemoveBridge(Operation):
    name: str
    releases: tuple[str, ...] = ()
    restore: tuple[Operation, ...] = ()

    def describe(self) -> list[str]:
        released = f" (releases {', '.join(self.releases)})" if self.releases else ""
        return [f"remove bridge {self.name}{released}"]

    def inverse(self) -> list[Operation]:
        return list(self.restore)


@dataclasses.dataclass(frozen=True)
class CreateVlan(Operation):
    """Born with its mark and its settings, and up. The driver sends it as one datagram."""

    name: str
    link: str
    id: int
    alias: str
    mac: str | None
    mtu: int | None
    up: bool = True

    def describe(self) -> list[str]:
        return [f"create VLAN interface {self.name} with tag {self.id} on {self.link}"]

    def inverse(self) -> list[Operation]:
        return [RemoveVlan(self.name)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        # As with a bridge.
        return [SetAlias(self.name, "")] if 0 in failed else self.inverse()


@dataclasses.dataclass(frozen=True)
class RemoveVlan(Operation):
    name: str
    restore: tuple[Operation, ...] = ()

    def describe(self) -> list[str]:
        return [f"remove VLAN interface {self.name}"]

    def inverse(self) -> list[Operation]:
        return list(self.restore)


@dataclasses.dataclass(frozen=True)
class SetAlias(Operation):
    """The mark. `text` is empty where the mark only goes with another step."""

    name: str
    alias: str
    before: str = ""
    text: str = ""

    def describe(self) -> list[str]:
        return [self.text] if self.text else []

    def inverse(self) -> list[Operation]:
        return [SetAlias(self.name, self.before, self.alias)]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a link, the first two of a bridge alone; None: not touched."""

    stp: bool | None = None
    forward_delay: int | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool | None = None


@dataclasses.dataclass(frozen=True)
class ChangeLink(Operation):
    name: str
    to: Settings
    before: Settings
    quiet: bool = False

    def describe(self) -> list[str]:
        if self.quiet:
            return []
        texts = []
        if self.to.stp is not None:
            texts.append(f"turn STP {'on' if self.to.stp else 'off'} on {self.name}")
        if self.to.forward_delay is not None:
            texts.append(f"set forward delay of {self.name} to {seconds(self.to.forward_delay)} s")
        if self.to.mac is not None:
            texts.append(f"set MAC address of {self.name} to {self.to.mac}")
        if self.to.mtu is not None:
            texts.append(f"set MTU of {self.name} to {self.to.mtu}")
        if self.to.up is not None:
            texts.append(f"set {self.name} {'up' if self.to.up else 'down'}")
        return texts

    def inverse(self) -> list[Operation]:
        return [ChangeLink(self.name, self.before, self.to)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class Enslave(Operation):
    """Make the interface a port of `bridge` (None: of none) and set it up; a move from bridge to bridge is one step."""

    interface: str
    bridge: str | None
    before: str | None = None
    #: None: left as it is.
    up: bool | None = None

    def describe(self) -> list[str]:
        raised = [f"set {self.interface} up"] if self.up else []
        if self.bridge == self.before:
            return raised
        if self.bridge is None:
            return [f"release {self.interface} from {self.before}"]
        if self.before is not None:
            return [f"move {self.interface} from {self.before} to {self.bridge}", *raised]
        return [f"enslave {self.interface} to {self.bridge}", *raised]

    def inverse(self) -> list[Operation]:
        return [t.cast(Enslave, _back(self))]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        # The kernel sets the bridge first and the interface up then: refusing the second leaves the first done.
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class PortState:
    """All that we set of the device of an instance's port."""

    alias: str
    bridge: str | None
    up: bool
    mtu: int
    mac: str
    hairpin: bool


@dataclasses.dataclass(frozen=True)
class ChangePort(Operation):
    """Plug, move, mend or unplug the device of an instance's port; the driver sends it as one datagram."""

    name: str
    to: PortState
    before: PortState

    def describe(self) -> list[str]:
        to, before = self.to, self.before
        texts = []
        if to.bridge is None and before.bridge is not None:
            texts.append(f"release {self.name} from {before.bridge}")
        elif to.bridge is not None and before.bridge is None:
            texts.append(f"enslave {self.name} to {to.bridge}")
        elif to.bridge != before.bridge:
            texts.append(f"move {self.name} from {before.bridge} to {to.bridge}")
        if texts:
            return texts  # its settings go with that
        if to.hairpin != before.hairpin:
            texts.append(f"turn hairpin mode {'on' if to.hairpin else 'off'} on {self.name}")
        if to.mac != before.mac:
            texts.append(f"set MAC address of {self.name} to {to.mac}")
        if to.mtu != before.mtu:
            texts.append(f"set MTU of {self.name} to {to.mtu}")
        if to.up != before.up:
            texts.append(f"set {self.name} {'up' if to.up else 'down'}")
        if not texts:
            texts.append(f"{'update the mark of' if to.alias else 'take our mark off'} {self.name}")
        return texts

    def inverse(self) -> list[Operation]:
        return [ChangePort(self.name, self.before, self.to)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class CreateTap(Operation):
    """A tap that stays without a process, so that a guest started later finds it; born with its mark."""

    name: str
    born: PortState

    def describe(self) -> list[str]:
        return [f"create tap {self.name}"]

    def inverse(self) -> list[Operation]:
        return [RemoveTap(self.name)]


@dataclasses.dataclass(frozen=True)
class RemoveTap(Operation):
    name: str
    restore: tuple[Operation, ...] = ()

    def describe(self) -> list[str]:
        return [f"remove tap {self.name}"]

    def inverse(self) -> list[Operation]:
        return list(self.restore)


@dataclasses.dataclass(frozen=True)
class WriteRules(Operation):
    """The file of udev rules; empty: none."""

    text: str
    before: str

    def describe(self) -> list[str]:
        return ["write the udev rules of the ports" if self.text else "remove the udev rules of the ports"]

    def inverse(self) -> list[Operation]:
        return [WriteRules(self.before, self.text)]


@dataclasses.dataclass(frozen=True)
class Step:
    add: bool
    address: Address


@dataclasses.dataclass(frozen=True)
class Readdress(Operation):
    """Everything that changes among the addresses of one bridge; the driver sends it as one datagram.

    So an address that has to leave for a moment (a secondary one goes with its primary, and the first one cannot
    be put before others) is never lost, whatever happens to this process.
    """

    bridge: str
    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    texts: tuple[str, ...] = ()
    #: Routes of others that may go with an address, and are put back.
    ways: tuple[Way, ...] = ()

    def describe(self) -> list[str]:
        return list(self.texts)

    def inverse(self) -> list[Operation]:
        return [Readdress(self.bridge, self.undo, self.steps, ways=self.ways)]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class Item:
    """An address, route, rule or neighbour that comes to the interface, or leaves it."""

    add: bool
    interface: str
    what: Address | Way


@dataclasses.dataclass(frozen=True)
class Move(Operation):
    """Takes what leads over one interface to another, in one datagram, so that the host is reached all the time.

    What comes is there before what leaves goes. `join` is done first, `leave` last.
    """

    source: str
    target: str
    items: tuple[Item, ...]
    join: Enslave | None = None
    leave: Enslave | None = None
    texts: tuple[str, ...] = ()

    @staticmethod
    def item_text(item: Item) -> str:
        kind = "address" if isinstance(item.what, Address) else item.what.kind
        return f"{kind} {item.what.text}"

    def describe(self) -> list[str]:
        texts = list(self.texts)
        if self.join is not None:
            texts = [*self.join.describe(), *texts]
        return texts + (self.leave.describe() if self.leave is not None else [])

    def inverse(self) -> list[Operation]:
        back = tuple(Item(not item.add, item.interface, item.what) for item in reversed(self.items))
        return [Move(self.target, self.source, back, _back(self.leave), _back(self.join))]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


@dataclasses.dataclass(frozen=True)
class Forget(Operation):
    """Takes from an interface what it took from router advertisements, in one datagram."""

    interface: str
    items: tuple[Item, ...]
    texts: tuple[str, ...] = ()
    #: Those of the items that come back by themselves: the kernel makes temporary addresses of the lasting one.
    followers: tuple[Item, ...] = ()

    def describe(self) -> list[str]:
        return list(self.texts)

    def inverse(self) -> list[Operation]:
        lasting = (item for item in reversed(self.items) if item not in self.followers)
        return [Forget(self.interface, tuple(Item(not item.add, item.interface, item.what) for item in lasting))]

    def inverse_when_failed(self, failed: t.Collection[int]) -> list[Operation]:
        return self.inverse()


def _back(port: Enslave | None) -> Enslave | None:
    if port is None:
        return None
    return Enslave(port.interface, port.before, port.bridge, None if port.up is None else not port.up)


#: The order of the actions over the whole list, and why.
ORDER = (
    "forget",  # what was heard before is forgotten before forwarding makes the kernel forget a part of it
    "sysctl",  # settings of the whole kernel first: new links are born with the defaults that stand then
    "clear",  # VLAN interfaces that stand in the way of others: a link has a tag once, and a name is there once
    "prepare",  # links under VLAN interfaces up, and those of these that stay as they should be: new ones depend on it
    "create",  # VLAN interfaces and bridges with their marks, before anything that refers to them
    "tap",  # taps for guests to come, with their marks
    "widen",  # a mark names what will come before it comes: a killed run leaves nothing unmarked
    "shape",  # a link's own settings, before ports bring traffic
    "enslave",  # ports join, or move in one step, before others leave: what is right is not interrupted
    "address",  # after the ports: duplicate detection and announcements find a wire
    "move",  # after the planned addresses, which are the first on a bridge
    "settle",  # what the kernel may have changed when ports joined (the MTU), and sysctls of new links
    "rules",  # a port that appears finds its bridge from now on, and one that leaves will not come back
    "release",  # what is no longer planned leaves after its replacement has come
    "narrow",  # a mark forgets what has left after it has left
    "remove",  # whole bridges last: the dearest step, and the hardest one to put back
    "untag",  # VLAN interfaces after the bridges over them
)


def seconds(hundredths: int) -> str:
    return f"{hundredths / 100:g}"
