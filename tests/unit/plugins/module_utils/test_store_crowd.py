"""Many runs on one store at once, some of them killed: nothing is given twice, lost or half-made."""

from __future__ import annotations

import collections
import itertools
import pathlib
import typing as t

import a_crowd
import a_record
import pytest
from a_site import allocate, instance, multi_host
from a_store import content, is_sqlite, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, history, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import engines, store, upkeep

WORKERS = 8
#: What a worker does in one transaction: it gives back two instances and adds two, so that it has four.
EACH, KEPT = 2, 4
HOSTS = ("net1", "compute1", "compute2")


def names(worker: int, turn: int) -> set[str]:
    """The worker's own instances after that turn."""
    last = (turn + 1) * EACH
    return {f"w{worker}-{number}" for number in range(max(0, last - KEPT), last)}


def work(url: str, worker: int, first: int, turns: int, journal: pathlib.Path) -> None:
    """Each turn is a run of the whole site, of which this worker changes its own instances alone."""
    with open(journal, "a", encoding="ascii", buffering=1) as done:
        for turn in range(first, turns):

            def decide(before: state.State, turn: int = turn) -> state.State:
                others = [row for name, row in before.instances.items() if not name.startswith(f"w{worker}-")]
                own = [instance(name, HOSTS[len(name) % 3]) for name in sorted(names(worker, turn))]
                return allocate(
                    multi_host(instances=[*(instance(row.name, row.host) for row in others), *own]), before, turn
                )

            while True:
                try:
                    store.reconcile(url, decide, False, history.Author(f"w{worker}-{turn}", "crowd", float(turn)))
                    break
                except StoreError as error:
                    if "serialize" not in str(error):
                        raise
            done.write(f"{turn}\n")


def last_turn(journal: pathlib.Path) -> int:
    return int(journal.read_text().split()[-1]) if journal.exists() and journal.stat().st_size else -1


def crowd(
    url: str,
    folder: pathlib.Path,
    turns: int,
    workers: int = WORKERS,
    kills: int = 0,
    work: t.Callable[..., None] = work,
) -> None:
    """Let them work, kill some at any moment, and have each killed one go on where it left off."""
    journals = [folder / f"journal-{worker}" for worker in range(workers)]

    def arguments(worker: int) -> tuple[t.Any, ...]:
        first = last_turn(journals[worker]) + 1
        return url, worker, first, turns, journals[worker]

    a_crowd.work(work, arguments, workers, kills, (0.1, 0.5))


def proved(url: str, turns: int, workers: int = WORKERS) -> None:
    assert upkeep.fsck(url) == []
    held = content(url)
    assert set(held.instances) == set().union(*(names(worker, turns - 1) for worker in range(workers)))
    addresses = [row.address for row in held.fixed_ips.values() if row.instance]
    assert len(addresses) == len(set(addresses)) == len(held.instances)
    # Each turn that changed something did so in one transaction, whole: two taken away, two added.
    transactions = collections.defaultdict(set)
    kinds = collections.Counter()
    for event in upkeep.read(url).events:
        transactions[event.run].add(event.change)
        if event.kind in ("instances", "vifs"):
            kinds[event.run, event.kind, event.after is None] += 1
    for worker, turn in itertools.product(range(workers), range(turns)):
        run = f"w{worker}-{turn}"
        assert len(transactions[run]) == 1, run
        gone = 0 if turn * EACH < KEPT else EACH
        for kind in ("instances", "vifs"):
            assert (kinds[run, kind, False], kinds[run, kind, True]) == (EACH, gone), run


def test_a_crowd_with_kills(url: str, tmp_path: pathlib.Path) -> None:
    """On SQLite 8 x 160 transactions with 5,088 allocations and releases, on PostgreSQL half as many."""
    turns = 160 if is_sqlite(url) else 80
    crowd(url, tmp_path, turns, kills=12)
    proved(url, turns)


# --- commands ---------------------------------------------------------------------------------------------------------

NETWORK = addressing.known_network("10.1.0.0/16")


def command(url: str, worker: int, first: int, turns: int, journal: pathlib.Path) -> None:
    """Each turn releases what the last one took, and gives a new instance a fixed IP and a floating one."""
    with open(journal, "a", encoding="ascii", buffering=1) as done:
        for turn in range(first, turns):

            def work(ledger: Ledger, turn: int = turn) -> None:
                if ledger.get(state.Instance, f"w{worker}-{turn}") is not None:
                    return  # done, but not noted before the worker was killed
                if turn:
                    _release(ledger, f"w{worker}-{turn - 1}", float(turn))
                _allocate(ledger, f"w{worker}-{turn}")

            while True:
                try:
                    store.operate(url, work, False, history.Author(f"w{worker}-{turn}", "crowd", float(turn)))
                    break
                except StoreError as error:
                    if "serialize" not in str(error):
                        raise
            done.write(f"{turn}\n")


def _allocate(ledger: Ledger, name: str) -> None:
    number = ledger.untouched("red", NETWORK.first + 2, NETWORK.first + 9)
    if number is None:
        row = next(ledger.released("red", 1e9))
    else:
        row = a_record.fixed_ip(addressing.text(number))
    floating = ledger.unallocated("nova")
    ledger.put(state.Instance(name, "acme", "h1", "command"))
    ledger.put(a_record.vif(name, "red"))
    ledger.put(row._replace(instance=name, released_at=None))
    given = {"allocated_by": "command", "associated_by": "command", "fixed_address": row.address}
    ledger.put(floating._replace(project="acme", **given))


def _release(ledger: Ledger, name: str, now: float) -> None:
    for row in ledger.where(state.FixedIp, instance=name):
        for floating in ledger.where(state.FloatingIp, fixed_address=row.address):
            nothing = {"allocated_by": None, "associated_by": None, "fixed_address": None}
            ledger.put(floating._replace(project=None, **nothing))
        ledger.put(row._replace(instance=None, released_at=now))
    ledger.drop(ledger.get(state.Vif, (name, "red")))
    ledger.drop(ledger.get(state.Instance, name))


def proved_commands(url: str, turns: int, workers: int = WORKERS) -> None:
    assert upkeep.fsck(url) == []
    held = content(url)
    last = {f"w{worker}-{turns - 1}" for worker in range(workers)}
    assert set(held.instances) == last
    holders = {row.instance: row.address for row in held.fixed_ips.values() if row.instance}
    assert set(holders) == last and len(set(holders.values())) == workers
    assert {row.fixed_address for row in held.floating_ips.values() if row.project} == set(holders.values())
    # As many addresses as were held at once, and as is left: what is given back is given out again.
    assert len(held.fixed_ips) == 8
    transactions = collections.defaultdict(set)
    for event in upkeep.read(url).events:
        transactions[event.run].add(event.change)
    for worker, turn in itertools.product(range(workers), range(turns)):
        assert len(transactions[f"w{worker}-{turn}"]) == 1


def test_a_crowd_of_commands_with_kills(url: str, tmp_path: pathlib.Path) -> None:
    """On SQLite 8 x 160 transactions of four operations, on PostgreSQL half as many."""
    turns = 160 if is_sqlite(url) else 80
    floating = [state.FloatingIp(f"198.51.100.{number}", "nova", origin="command") for number in range(1, 9)]
    keep(url, a_record.site(0, *floating))
    crowd(url, tmp_path, turns, kills=12, work=command)
    proved_commands(url, turns)


def test_isolation_alone_is_enough_for_commands(
    postgresql_url: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    monkeypatch.setattr(engines.PostgreSQL, "PAUSE", 0.01)
    keep(postgresql_url, a_record.site(0))
    crowd(postgresql_url, tmp_path, 10, workers=4, work=command)
    proved_commands(postgresql_url, 10, workers=4)


def test_isolation_alone_is_enough(
    postgresql_url: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock, writers decide in vain more often, but never wrongly."""
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    monkeypatch.setattr(engines.PostgreSQL, "PAUSE", 0.01)
    crowd(postgresql_url, tmp_path, 10, workers=4)
    proved(postgresql_url, 10, workers=4)
