"""Steps that are taken on one ledger after the other: help for the tests beside."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import typing as t

import a_record
from a_record import fixed_ip
from a_store import dump, file_of, is_sqlite
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, history
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FixedIp,
    FloatingIp,
    Instance,
    Membership,
    Network,
    Project,
    SecurityGroup,
    Vif,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import upkeep

BY = history.Author("r", "somebody", 1000.0)
BASE = addressing.number("10.1.0.0")

#: What a step answers is compared.
Step = t.Callable[[Ledger], t.Any]


def let_go(ledger: Ledger, row: FixedIp, at: float, quarantined: float | None = None) -> None:
    ledger.put(row._replace(instance=None, host=None, released_at=at, quarantined_until=quarantined))


@dataclasses.dataclass(frozen=True)
class Hold:
    address: str
    instance: str

    def __call__(self, ledger: Ledger) -> t.Any:
        wanted = fixed_ip(self.address)
        others = ledger.where(FixedIp, instance=self.instance, network=wanted.network, version=wanted.version)
        if ledger.get(Instance, self.instance) is None:
            return others
        for other in others:
            let_go(ledger, other, 5.0)
        row = ledger.get(FixedIp, self.address) or wanted
        ledger.put(row._replace(instance=self.instance, host=None, released_at=None, quarantined_until=None))
        return others


@dataclasses.dataclass(frozen=True)
class LetGo:
    address: str
    at: float
    quarantined: float | None

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(FixedIp, self.address)
        if row is not None:
            let_go(ledger, row, self.at, self.quarantined)
        return row


@dataclasses.dataclass(frozen=True)
class Reserve:
    address: str
    origin: str | None

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(FixedIp, self.address) or fixed_ip(self.address)
        row = row._replace(reserved_by=self.origin, reserved_for="i1" if self.origin == "command" else None)
        if row.reserved_by or row.instance or row.released_at is not None:
            ledger.put(row)
        elif ledger.get(FixedIp, self.address) is not None:
            Forget(self.address)(ledger)
        return ledger.where(FixedIp, network=row.network, reserved_for="i1")


@dataclasses.dataclass(frozen=True)
class Forget:
    address: str

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(FixedIp, self.address)
        if row is not None:
            for floating in ledger.where(FloatingIp, fixed_address=self.address):
                ledger.put(floating._replace(fixed_address=None, associated_by=None))
            ledger.drop(row)
        return row


@dataclasses.dataclass(frozen=True)
class TakeNext:
    """As a command does: an untouched address, else the one unused longest."""

    instance: str
    first: int
    last: int

    def __call__(self, ledger: Ledger) -> t.Any:
        number = ledger.untouched("red", self.first, self.last)
        if number is not None:
            address = addressing.text(number)
        else:
            row = next(iter(ledger.released("red", 100.0)), None)
            if row is None:
                return None
            address = row.address
        Hold(address, self.instance)(ledger)
        return address


@dataclasses.dataclass(frozen=True)
class Untouched:
    network: str
    first: int
    last: int

    def __call__(self, ledger: Ledger) -> t.Any:
        return ledger.untouched(self.network, self.first, self.last)


@dataclasses.dataclass(frozen=True)
class Released:
    network: str
    now: float
    most: int

    def __call__(self, ledger: Ledger) -> t.Any:
        return list(itertools.islice(ledger.released(self.network, self.now), self.most))


@dataclasses.dataclass(frozen=True)
class AddFloating:
    address: str
    pool: str

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(FloatingIp, self.address)
        if row is None:
            ledger.put(FloatingIp(self.address, self.pool, origin="command"))
        elif row.project is None:
            ledger.drop(row)
        return row


@dataclasses.dataclass(frozen=True)
class AllocateFloating:
    pool: str
    project: str | None

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.unallocated(self.pool)
        if row is not None and self.project is not None:
            held = ledger.where(FixedIp, instance="i0", network="blue", version=4)
            ledger.put(
                row._replace(
                    project=self.project,
                    allocated_by="command",
                    fixed_address=held[0].address if held else None,
                    associated_by="command" if held else None,
                )
            )
        return row


@dataclasses.dataclass(frozen=True)
class ReleaseFloating:
    project: str

    def __call__(self, ledger: Ledger) -> t.Any:
        rows = ledger.where(FloatingIp, project=self.project)
        for row in rows[:1]:
            ledger.put(row._replace(project=None, allocated_by=None, fixed_address=None, associated_by=None))
        return rows


@dataclasses.dataclass(frozen=True)
class MoveInstance:
    name: str
    project: str

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(Instance, self.name)
        if row is not None:
            ledger.put(row._replace(project=self.project))
        return row


@dataclasses.dataclass(frozen=True)
class RemoveInstance:
    name: str

    def __call__(self, ledger: Ledger) -> t.Any:
        row = ledger.get(Instance, self.name)
        if row is None:
            ledger.put(Instance(self.name, "acme", "h9", "command"))
            for label in a_record.NETWORKS:
                ledger.put(a_record.vif(self.name, label))
            return None
        for held in ledger.where(FixedIp, instance=self.name):
            let_go(ledger, held, 7.0)
        vifs = ledger.where(Vif, instance=self.name)
        for each in vifs:
            ledger.drop(each)
        ledger.drop(row)
        return vifs


@dataclasses.dataclass(frozen=True)
class Look:
    record: type
    columns: tuple[tuple[str, t.Any], ...] = ()

    def __call__(self, ledger: Ledger) -> t.Any:
        return ledger.where(self.record, **dict(self.columns))


@dataclasses.dataclass(frozen=True)
class Holdings:
    project: str

    def __call__(self, ledger: Ledger) -> t.Any:
        return ledger.holdings_of_project(self.project)


LOOKS = [
    Look(Network),
    Look(FixedIp),
    Look(FloatingIp),
    Look(Instance),
    Look(Vif, (("network", "blue"),)),
    Look(Membership, (("instance", "i1"),)),
    Look(SecurityGroup, (("network", None), ("project", "acme"))),
    Look(FixedIp, (("network", "red"), ("leased", False))),
    Look(FixedIp, (("released_at", 3.5),)),
    Look(FixedIp, (("instance", None), ("version", 4))),
    Look(Network, (("multi_host", True),)),
    Look(Project, (("quota_networks", None),)),
]


def unsound(url: str) -> list[str]:
    """What the check says of all that follows from the records; they themselves need not make sense here."""
    return [line for line in upkeep.fsck(url) if re.search("as derived|history|runs", line)]


def trace(url: str) -> t.Any:
    """All that is there, the very bytes of a file."""
    if not is_sqlite(url):
        return dump(url)
    path = file_of(url)
    if not path.parent.exists():
        return None
    stat = path.stat()
    return path.read_bytes(), stat.st_mtime_ns, stat.st_ino, sorted(os.listdir(path.parent))
