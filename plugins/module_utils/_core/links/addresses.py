# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The addresses of one bridge: from those it has to those planned, in the fewest steps.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import socket
import typing as t

from .kernel import SCOPE_GLOBAL, SECONDARY, Address
from .operations import Step


@dataclasses.dataclass
class AddressChange:
    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    #: The addresses afterwards, in the kernel's order.
    result: list[Address]
    #: Those that leave, be it for a moment.
    away: list[Address]
    added: list[Address]
    removed: list[Address]
    mended: list[Address]
    #: The one that becomes the first.
    first: Address | None

    def describe(self, bridge: str) -> tuple[str, ...]:
        """What it does, in the network's words."""
        texts = [f"add address {address.text} to {bridge}" for address in self.added]
        texts += [f"mend address {address.text} of {bridge}" for address in self.mended]
        texts += [f"remove address {address.text} from {bridge}" for address in self.removed]
        if self.first is not None:
            texts.append(f"make {self.first.text} the first address of {bridge}")
        return tuple(texts)


def settled(have: list[Address], want: t.Sequence[Address], owned: frozenset[str]) -> bool:
    """Whether `readdress` has nothing to do: what it would find out too, in a tenth of the time."""
    present = {address.text: address for address in have}
    planned = {address.text: address for address in want}
    for text, address in planned.items():
        found = present.get(text)
        if found is None or _visible(found) != _visible(address):
            return False
    if not owned.difference(planned).isdisjoint(present):
        return False
    first = next((address.text for address in want if address.is_ipv4), None)
    top = next((address.text for address in have if address.is_ipv4 and address.scope == SCOPE_GLOBAL), None)
    return first is None or first == top


def readdress(have: list[Address], want: t.Sequence[Address], owned: t.Container[str]) -> AddressChange:
    """The steps from the present addresses of a bridge to the planned ones; foreign ones stay.

    Only where the first planned IPv4 address is not the bridge's first one are those before it taken away and put
    back, with all they had, in the same datagram.
    """
    have4 = [address for address in have if address.is_ipv4]
    have6 = [address for address in have if not address.is_ipv4]
    want4 = [address for address in want if address.is_ipv4]
    want6 = [address for address in want if not address.is_ipv4]
    kernel = _readdress4(have4, want4, owned)
    steps6, undo6, result6 = _readdress6(have6, want6, owned)
    steps = (*kernel.steps, *steps6)
    if any(not step.add for step in kernel.steps):
        undo4 = [Step(False, address) for address in reversed(kernel.addresses)]
        undo4 += [Step(True, address) for address in have4]
    else:
        present = {address.text: address for address in have4}
        undo4 = [
            Step(True, present[step.address.text]) if step.address.text in present else Step(False, step.address)
            for step in reversed(kernel.steps)
        ]
    result = kernel.addresses + result6
    return _summary(have, result, steps, (*undo4, *undo6), want4)


def _readdress4(have: list[Address], want: list[Address], owned: t.Container[str]) -> IPv4List:
    kernel = IPv4List(have)
    wanted = {address.text: address for address in want}
    stale, wrong = [], []
    for address in have:
        planned = wanted.get(address.text)
        if planned is None:
            if address.text in owned:
                stale.append(address)
        elif (address.broadcast, address.scope) != (planned.broadcast, planned.scope):
            wrong.append(address)
        elif not address.permanent:
            kernel.add(planned)
    present = {address.text for address in have}
    for address in want:
        if address.text not in present:
            kernel.add(address)
    back: list[Address] = []
    for address in reversed(stale + wrong):
        _take_away(kernel, address, back)
    first = wanted[want[0].text] if want else None
    _put_back(kernel, want, [address for address in back if address not in stale])
    top = kernel.first_global()
    if first is not None and top is not None and top.text != first.text:
        back = []
        before = []
        for address in kernel.addresses:
            if address.text == first.text:
                break
            if address.scope == SCOPE_GLOBAL:
                before.append(address)
        for address in reversed(before):
            _take_away(kernel, address, back)
        _put_back(kernel, [first], [*before, *back])
    return kernel


def _take_away(kernel: IPv4List, address: Address, back: list[Address]) -> None:
    if any(present is address for present in kernel.addresses):
        back.extend(kernel.remove(address))


def _put_back(kernel: IPv4List, want: list[Address], others: list[Address]) -> None:
    """The planned ones that are missing first, as planned; then the others as they were."""
    planned = {address.text: address for address in want}
    for address in [*want, *others]:
        address = planned.get(address.text, address)
        if all(present.text != address.text for present in kernel.addresses):
            kernel.add(address)


def _readdress6(
    have: list[Address], want: list[Address], owned: t.Container[str]
) -> tuple[list[Step], list[Step], list[Address]]:
    """IPv6 addresses have no order that matters, but one address cannot stand there twice with two prefixes."""
    steps, undo = [], []
    result = list(have)
    present = {address.local: address for address in have}
    wanted = {address.local for address in want}
    for address in want:
        old = present.get(address.local)
        if old is not None and old.prefix == address.prefix and old.permanent:
            continue
        if old is not None:
            result.remove(old)
            if old.prefix != address.prefix:
                steps.append(Step(False, old))
            undo.append(Step(True, old))
        if old is None or old.prefix != address.prefix:
            undo.append(Step(False, address))
        steps.append(Step(True, address))
        result.append(address)
    for address in have:
        if address.text in owned and address.local not in wanted:
            steps.append(Step(False, address))
            undo.append(Step(True, address))
            result.remove(address)
    return steps, undo[::-1], result


def _summary(
    have: list[Address],
    result: list[Address],
    steps: tuple[Step, ...],
    undo: tuple[Step, ...],
    want4: list[Address],
) -> AddressChange:
    before = {address.text for address in have}
    after = {address.text for address in result}
    seen: dict[str, Address] = {step.address.text: step.address for step in steps if not step.add}
    top_before = next((a for a in have if a.is_ipv4 and a.scope == SCOPE_GLOBAL), None)
    reordered = bool(steps and want4 and top_before is not None and top_before.text != want4[0].text)
    old = {address.text: address for address in have}
    return AddressChange(
        steps=steps,
        undo=undo,
        result=result,
        away=[address for text, address in seen.items() if text in before],
        added=[address for address in result if address.text not in before],
        removed=[address for address in have if address.text not in after],
        mended=[a for a in result if a.text in old and _visible(a) != _visible(old[a.text])],
        first=want4[0] if reordered and want4[0].text in before else None,
    )


def _visible(address: Address) -> tuple[t.Any, ...]:
    return (address.broadcast, address.scope, address.permanent)


class IPv4List:
    """The kernel's list of a link's IPv4 addresses, so that the effect of each step is known before it is sent.

    A primary address goes behind the last primary one, a further one of the same subnet is secondary and goes to the
    end; and with a primary its secondaries go (or one is promoted: a setting). Therefore secondaries are taken away
    before their primary and put back after it, which ends the same with either setting.
    """

    def __init__(self, addresses: t.Iterable[Address]) -> None:
        self.entries = [(address, bool(address.flags & SECONDARY)) for address in addresses]
        self.steps: list[Step] = []

    @property
    def addresses(self) -> list[Address]:
        return [address for address, _secondary in self.entries]

    def first_global(self) -> Address | None:
        return next((address for address in self.addresses if address.scope == SCOPE_GLOBAL), None)

    def add(self, address: Address) -> None:
        self.steps.append(Step(True, address))
        for number, (present, secondary) in enumerate(self.entries):
            if present.text == address.text:  # only its lifetime is set
                self.entries[number] = (address, secondary)
                return
        place = 0
        for number, (present, secondary) in enumerate(self.entries):
            if not secondary and address.scope <= present.scope:
                place = number + 1
        if any(_same_subnet(present, address) for present in self.addresses):
            self.entries.append((address, True))
        else:
            self.entries.insert(place, (address, False))

    def remove(self, address: Address) -> list[Address]:
        """Take it away, with the secondaries that would go with it; these are returned."""
        entry = next(entry for entry in self.entries if entry[0] is address)
        with_it = []
        if not entry[1]:
            with_it = [a for a, secondary in self.entries if secondary and _same_subnet(a, address)]
        for victim in [*reversed(with_it), address]:
            self.steps.append(Step(False, victim))
            self.entries = [kept for kept in self.entries if kept[0] is not victim]
        return with_it


def _same_subnet(one: Address, other: Address) -> bool:
    if one.prefix != other.prefix:
        return False
    shift = 32 - one.prefix
    return _number(one) >> shift == _number(other) >> shift


def _number(address: Address) -> int:
    return int.from_bytes(socket.inet_aton(address.peer or address.local), "big")
