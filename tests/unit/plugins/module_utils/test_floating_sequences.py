# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any sequence of operations on floating IPs, against sets that are kept beside it."""

from __future__ import annotations

import os
import tempfile
import typing as t

import a_record
import pytest
from a_floating import (
    networks,
)
from a_store import content, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips, invariants, kinds
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FixedIp,
    State,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

# --- any sequence ----------------------------------------------------------------------------------------------------

QUOTAS = {"acme": 2, "other": 4}
OWNER = {"i0": "acme", "i1": "other", "i2": "acme"}
#: Each fixed IP's network and version, in the order of an instance's NICs: red goes before blue, and that before plain.
FIXED = {
    "10.1.0.2": ("red", 4),
    "10.1.0.3": ("red", 4),
    "10.0.0.2": ("blue", 4),
    "10.0.0.3": ("blue", 4),
    "fd00::2": ("blue", 6),
    "10.2.0.2": ("plain", 4),
}
#: Each possible floating IP, in order.
SPACE = [f"192.0.2.{number}" for number in range(16)] + [f"2001:db8::{number}" for number in range(1, 4)]


def v4(number: int) -> str:
    return f"192.0.2.{number}"


def a_cidr(block: int, prefix: int) -> tuple[str, list[str]]:
    size = 1 << (32 - prefix)
    base = block * 4 // size * size
    return f"192.0.2.{base}/{prefix}", [v4(number) for number in range(base + 1, base + size - 1)]


def a_span(ends: tuple[int, int]) -> tuple[str, list[str]]:
    low, high = sorted(ends)
    return f"{v4(low)}-{v4(high)}", [v4(number) for number in range(low, high + 1)]


#: A range, and the addresses that it stands for.
RANGE = st.one_of(
    st.sampled_from(SPACE).map(lambda address: (address, [address])),
    st.tuples(st.integers(0, 15), st.integers(0, 15)).map(a_span),
    st.builds(a_cidr, st.integers(0, 3), st.sampled_from([28, 29, 30])),
)
POOL = st.sampled_from(["nova", "ext"])
PROJECT = st.sampled_from(["acme", "other"])
OPTIONAL_PROJECT = st.one_of(st.none(), PROJECT)
INSTANCE = st.sampled_from(sorted(OWNER))
SELDOM = st.sampled_from([False, False, True])


class Book(RuleBasedStateMachine):
    """Each operation beside what it has to do with plain dictionaries and sets."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.target: dict[str, str] = {}
        self.auto: set[str] = set()
        #: Which instance holds a fixed IP.
        self.holder: dict[str, str] = {}
        self.ledger = MemoryLedger(self.beginning())

    def beginning(self) -> State:
        rows = [a_record.vif(name, "plain") for name in OWNER]
        held = a_record.site(3, *networks(), *rows)
        return held._replace(floating_ips={})

    def run(self, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        return work(self.ledger)

    def attempt(self, allowed: bool, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        if allowed:
            return self.run(work)
        with pytest.raises(InputError):
            self.run(work)
        return None

    def some_of(self, data: st.DataObject, known: t.Iterable[str], otherwise: list[str]) -> str:
        """Mostly one that is in use, since that is where the rules are."""
        within = sorted(known)
        return data.draw(st.sampled_from(within if within and data.draw(st.integers(0, 5)) else otherwise))

    def in_use(self) -> list[str]:
        """The more is done with one, the more often."""
        return [*self.owner, *self.target, *self.auto, *self.auto]

    def free(self, pool: str) -> str | None:
        return next((each for each in SPACE if self.pool.get(each) == pool and each not in self.owner), None)

    def mine(self, address: str, project: str | None) -> bool:
        return address in self.owner and project in (None, self.owner[address])

    def forget(self, address: str) -> None:
        self.owner.pop(address, None)
        self.target.pop(address, None)
        self.auto.discard(address)

    def fits(self, address: str, project: str, fixed: str) -> bool:
        network, version = FIXED[fixed]
        holds = fixed in self.holder and OWNER[self.holder[fixed]] == project
        return holds and network != "plain" and version == (6 if ":" in address else 4)

    # Enough to begin with, so that few steps go far.
    @initialize(pool=POOL, ends=st.tuples(st.integers(0, 15), st.integers(0, 15)))
    def some(self, pool: str, ends: tuple[int, int]) -> None:
        self.create([a_span(ends), (SPACE[-1], [SPACE[-1]])], pool)
        for fixed, instance in (
            ("10.0.0.2", "i0"),
            ("10.1.0.2", "i0"),
            ("10.1.0.3", "i1"),
            ("fd00::2", "i0"),
            ("10.2.0.2", "i2"),
        ):
            self.hold(fixed, instance)
        self.auto_assign("i0", pool)
        self.allocate("acme", pool)
        self.allocate("other", pool)
        for address in sorted(self.owner.keys() - self.auto):
            self.lead(address, "10.0.0.2", None)

    @rule(ranges=st.lists(RANGE, max_size=2), pool=POOL)
    def create(self, ranges: list[tuple[str, list[str]]], pool: str) -> None:
        addresses = [address for _text, each in ranges for address in each]
        allowed = len(set(addresses)) == len(addresses) and not self.pool.keys() & set(addresses)
        values = [text for text, _each in ranges]
        self.attempt(allowed, lambda held: floating_ips.create(held, values, pool, None, "command"))
        if allowed:
            self.pool.update(dict.fromkeys(addresses, pool))

    @rule(ranges=st.lists(RANGE, max_size=2), force=SELDOM)
    def delete(self, ranges: list[tuple[str, list[str]]], force: bool) -> None:
        addresses = {address for _text, each in ranges for address in each}
        allowed = addresses <= self.pool.keys() and (force or not addresses & self.owner.keys())
        values = [text for text, _each in ranges]
        self.attempt(allowed, lambda held: floating_ips.delete(held, values, force))
        if allowed:
            for address in addresses:
                self.forget(address)
                del self.pool[address]

    @rule(data=st.data(), force=SELDOM)
    def delete_one(self, data: st.DataObject, force: bool) -> None:
        address = self.some_of(data, [*self.pool, *self.in_use()], SPACE)
        self.delete([(address, [address])], force)

    @rule(project=PROJECT, pool=POOL)
    def allocate(self, project: str, pool: str) -> None:
        counted = [each for each in self.owner if self.owner[each] == project and each not in self.auto]
        wanted = self.free(pool)
        allowed = len(counted) < QUOTAS[project] and wanted is not None
        row = self.attempt(allowed, lambda held: floating_ips.allocate(held, project, pool, QUOTAS[project], "command"))
        if allowed and wanted is not None:
            assert row.address == wanted
            self.owner[wanted] = project

    @rule(data=st.data(), project=PROJECT, pool=st.one_of(st.none(), POOL))
    def allocate_named(self, data: st.DataObject, project: str, pool: str | None) -> None:
        address = self.some_of(data, [*self.pool, *self.in_use()], SPACE)
        counted = [each for each in self.owner if self.owner[each] == project and each not in self.auto]
        there = address in self.pool and pool in (None, self.pool.get(address))
        if address in self.owner:
            allowed = there and self.owner[address] == project and address not in self.auto
        else:
            allowed = there and len(counted) < QUOTAS[project]
        quota = QUOTAS[project]
        self.attempt(
            allowed, lambda held: floating_ips.allocate(held, project, pool, quota, "command", address=address)
        )
        if allowed:
            self.owner[address] = project

    @rule(data=st.data(), project=OPTIONAL_PROJECT, force=SELDOM)
    def release(self, data: st.DataObject, project: str | None, force: bool) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        allowed = self.mine(address, project) and (force or address not in self.target)
        self.attempt(allowed, lambda held: floating_ips.release(held, address, project, force))
        if allowed:
            self.forget(address)

    @rule(data=st.data(), project=OPTIONAL_PROJECT)
    def associate(self, data: st.DataObject, project: str | None) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        self.lead(address, self.some_of(data, self.holder, sorted(FIXED)), project)

    def lead(self, address: str, fixed: str, project: str | None) -> None:
        allowed = self.mine(address, project) and (
            self.target.get(address) == fixed
            or (address not in self.auto and self.fits(address, self.owner[address], fixed))
        )
        self.attempt(allowed, lambda held: floating_ips.associate(held, address, fixed, project, by="command"))
        if allowed:
            self.target[address] = fixed

    @rule(data=st.data(), instance=INSTANCE)
    def associate_own(self, data: st.DataObject, instance: str) -> None:
        """As a command that names an instance; what may be is tried more often so."""
        own = sorted(each for each in self.owner if self.owner[each] == OWNER[instance])
        if own:
            address = data.draw(st.sampled_from(own))
            version = 6 if ":" in address else 4
            choice = [each for each in FIXED if self.holder.get(each) == instance and FIXED[each][1] == version]
            found = self.attempt(
                bool(choice), lambda held: floating_ips.fixed_address_of(held, instance, version=version)
            )
            if choice:
                assert found == choice[0]
                self.lead(address, choice[0], None)

    @rule(data=st.data(), project=OPTIONAL_PROJECT, force=SELDOM)
    def disassociate(self, data: st.DataObject, project: str | None, force: bool) -> None:
        address = self.some_of(data, self.in_use(), SPACE)
        allowed = self.mine(address, project) and address in self.target and (force or address not in self.auto)
        self.attempt(allowed, lambda held: floating_ips.disassociate(held, address, project, force))
        if allowed:
            self.unlink(address)

    def unlink(self, address: str) -> None:
        if address in self.auto:
            self.forget(address)
        else:
            del self.target[address]

    @rule(fixed=st.sampled_from(sorted(FIXED)), instance=INSTANCE)
    def hold(self, fixed: str, instance: str) -> None:
        """One address of each version on each network."""
        network, version = FIXED[fixed]
        mine = [each for each in self.holder if self.holder[each] == instance]
        if fixed not in self.holder and (network, version) not in [FIXED[each] for each in mine]:
            self.run(lambda held: held.put(FixedIp(fixed, version, network, instance)))
            self.holder[fixed] = instance

    @rule(instance=INSTANCE)
    def gone(self, instance: str) -> None:
        """All that it held is given back."""
        mine = sorted(each for each in self.holder if self.holder[each] == instance)

        def work(held: Ledger) -> None:
            floating_ips.instance_gone(held, mine)
            for fixed in mine:
                held.put(FixedIp(fixed, FIXED[fixed][1], FIXED[fixed][0], released_at=1.0))

        self.run(work)
        for address, fixed in list(self.target.items()):
            if fixed in mine:
                self.unlink(address)
        for fixed in mine:
            del self.holder[fixed]

    @rule(instance=INSTANCE, pool=POOL)
    def auto_assign(self, instance: str, pool: str) -> None:
        project = OWNER[instance]
        has = [each for each in self.auto if self.holder[self.target[each]] == instance]
        wanted = has[0] if has else self.free(pool)
        version = 6 if wanted is not None and ":" in wanted else 4
        choice = [each for each in FIXED if self.holder.get(each) == instance and FIXED[each][1] == version]
        allowed = bool(has) or (wanted is not None and bool(choice) and self.fits(wanted, project, choice[0]))
        row = self.attempt(allowed, lambda held: floating_ips.auto_assign(held, instance, project, pool, "command"))
        if allowed and wanted is not None:
            assert row.address == wanted
            if not has:
                self.owner[wanted] = project
                self.target[wanted] = choice[0]
                self.auto.add(wanted)

    @rule(ranges=st.one_of(st.none(), st.lists(RANGE, max_size=2)), pool=POOL, project=OPTIONAL_PROJECT)
    def find(self, ranges: list[tuple[str, list[str]]] | None, pool: str, project: str | None) -> None:
        within = SPACE if ranges is None else [address for _text, each in ranges for address in each]
        values = None if ranges is None else [text for text, _each in ranges]
        wanted = [
            each
            for each in SPACE
            if each in within and self.pool.get(each) == pool and project in (None, self.owner.get(each))
        ]
        assert [row.address for row in self.run(lambda held: floating_ips.find(held, values, pool, project))] == wanted

    @invariant()
    def as_the_book_says(self) -> None:
        rows = self.run(lambda held: floating_ips.find(held))
        assert [row.address for row in rows] == [each for each in SPACE if each in self.pool]
        assert {row.address: row.pool for row in rows} == self.pool
        assert {row.address: row.project for row in rows if row.project is not None} == self.owner
        assert {row.address: row.fixed_address for row in rows if row.fixed_address is not None} == self.target
        assert {row.address for row in rows if row.auto_assigned} == self.auto
        for row in rows:
            assert (row.project is None) == (row.allocated_by is None)
            assert (row.fixed_address is None) == (row.associated_by is None)

    @invariant()
    def nothing_is_broken(self) -> None:
        """Whatever the operations made of it, and the book as well."""
        rows = self.run(lambda held: floating_ips.find(held))
        for row in rows:
            if row.fixed_address is not None:
                fixed = self.run(lambda held, row=row: held.get(FixedIp, row.fixed_address))
                assert OWNER[fixed.instance] == row.project
                assert fixed.network != "plain"
                assert (":" in row.address) == (":" in fixed.address)
        for project, quota in QUOTAS.items():
            assert len([row for row in rows if row.project == project and not row.auto_assigned]) <= quota

    def content(self) -> State:
        return self.ledger.state()

    def teardown(self) -> None:
        lines = invariants.violations(kinds.rows_of(self.content()))
        assert [line for line in lines if line.startswith("floating_ips")] == []


class StoredBook(Book):
    """The same on a database, each operation in a transaction of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._url = f"sqlite:///{self._folder.name}/nova.sqlite"
        super().__init__()
        keep(self._url, self.beginning())

    def run(self, work: t.Callable[[Ledger], t.Any]) -> t.Any:
        return store.operate(self._url, work, False).result

    def content(self) -> State:
        return content(self._url)

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


class TestAnySequence(Book.TestCase):
    settings = settings(
        max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


class TestAnySequenceOnAStore(StoredBook.TestCase):
    settings = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
