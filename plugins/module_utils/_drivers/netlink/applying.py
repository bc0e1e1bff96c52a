# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Executing the operations, many in one datagram; after a failure everything is put back.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import typing as t

from ..._core.errors import HostError
from ..._core.links import Difference, State, lost, snapshot
from ..._core.links.operations import ChangePort, CreateTap, CreateVlan, Operation, SetSysctl, WriteRules
from . import rules, sysctl, taps, traffic
from .encoding import Encoder, InterfaceGone, Library, load
from .reading import read
from .ways import read_ways
from .wire import Socket

#: Requests a datagram. More gains nothing, and a socket's send buffer takes about 200 kB.
BATCH = 150


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
        encoder = Encoder(library, {link.name: link.index for link in before.links.values()})
        run = _Run(kernel, encoder, batch, after_step)
        traffic.let_go(kernel, difference.rebridged)
        try:
            for operations in difference.batches():
                run.execute(operations)
        except _Failure as failure:
            left = _put_back(kernel, encoder, run.undo(), difference, before)
            if left:
                raise HostError(f"{failure}; the rest was put back, but not this: {'; '.join(left)}") from failure
            raise PutBack(f"{failure}; everything was put back, the host is as it was") from failure


def take_back(difference: Difference, before: State, library: Library | None = None) -> list[str]:
    """Undo the whole difference, done, half done or not done at all; return what is not as it was, a line each.

    What leads over the links, others' addresses and routes as well, is put back where it went along.
    """
    undo = [step for operation in reversed(difference.operations) for step in operation.inverse()]
    with Socket() as kernel:
        encoder = Encoder(library or load(), {link.name: link.index for link in read().links.values()})
        traffic.let_go(kernel, difference.rebridged)
        _undo(kernel, encoder, undo)
        _undo(kernel, encoder, lost(before, _look(before), difference.touched))
    was, found = snapshot(before, difference), snapshot(_look(before), difference)
    return [f"{old} (now {new.partition(': ')[2]})" for old, new in zip(was, found) if old != new]


def _look(before: State) -> State:
    now = read(before.sysctl)
    now.ways = read_ways(now)
    return now


def _undo(kernel: Socket, encoder: Encoder, undo: t.Iterable[Operation]) -> None:
    for operation in undo:
        # One by one, and on after a refusal: perhaps it had not been done. What counts is what is found in the end.
        with contextlib.suppress(_Failure):
            _Run(kernel, encoder, BATCH, None).execute([operation])


def _put_back(
    kernel: Socket, encoder: Encoder, undo: list[Operation], difference: Difference, before: State
) -> list[str]:
    """Take everything back, last first, whatever fails meanwhile; then look whether the host is as it was."""
    _undo(kernel, encoder, undo)
    now = read(before.sysctl)
    if difference.moves:
        now.ways = read_ways(now)
    was, found = snapshot(before, difference), snapshot(now, difference)
    return [f"{old} (now {new.partition(': ')[2]})" for old, new in zip(was, found) if old != new]


class PutBack(HostError):
    """It failed, and the host is as it was."""


class _Failure(Exception):
    """An operation was refused."""


class _Run:
    """Operations on their way, with what is needed to take them back."""

    def __init__(self, kernel: Socket, encoder: Encoder, batch: int, after_step: t.Callable[[], None] | None) -> None:
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
            if isinstance(operation, (CreateTap, SetSysctl, WriteRules)):
                self._send(waiting)
                waiting, size = [], 0
                self._without_netlink(operation)
                continue
            try:
                try:
                    messages = self._encoder.messages(operation)
                except InterfaceGone:
                    # It may be what the waiting ones make.
                    self._send(waiting)
                    waiting, size = [], 0
                    messages = self._encoder.messages(operation)
            except InterfaceGone as gone:
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

    def _without_netlink(self, operation: CreateTap | SetSysctl | WriteRules) -> None:
        if isinstance(operation, CreateTap):
            reason = taps.make(operation.name, functools.partial(self._mark, operation))
            self._encoder.forget(operation.name)
        elif isinstance(operation, SetSysctl):
            reason = sysctl.write(operation)
        else:
            reason = rules.write(operation.text)
        if reason is not None:
            raise _Failure(_refusal(operation, reason))
        self.done.append((operation, ()))
        self._step()

    def _mark(self, tap: CreateTap) -> str | None:
        """Mark a tap that is being made; the reason why it could not be, or None."""
        self._encoder.forget(tap.name)
        try:
            nothing = dataclasses.replace(tap.born, alias="", mac="")
            messages = self._encoder.messages(ChangePort(tap.name, tap.born, nothing))
        except InterfaceGone:
            return "it is gone again"
        return self._kernel.request(messages).get(0)

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
    if isinstance(operation, CreateVlan) and reason.startswith(os.strerror(errno.EOPNOTSUPP)):
        reason += " (the kernel makes VLAN interfaces with its module 8021q)"
    return f"cannot {what[0]}: {reason}"
