"""What ledgers look addresses up by, in memory and on either database; and operations on a store."""

from __future__ import annotations

import typing as t

import pytest
from a_ledger import BASE, BY, LetGo, Look, Released, Step, TakeNext, Untouched, trace, unsound
from a_record import fixed_ip, site
from a_store import content, dump, keep, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FixedIp, Instance, Project, State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import engines, runs, schema, store, upkeep

# --- what an address is looked for by ---------------------------------------------------------------------------------


def runs_of(url: str) -> list[tuple[str, str, str]]:
    rows = sql(url, "SELECT network, first, last FROM fixed_ip_runs ORDER BY first")
    return [(label, addressing.text(first), addressing.text(last)) for label, first, last in rows]


def holding(*addresses: str) -> State:
    return site(6, *(fixed_ip(address, released_at=1.0) for address in addresses))


def test_what_is_derived_is_beside_the_record_and_never_in_it(url: str) -> None:
    held = holding("10.0.0.7", "10.1.2.3", "fd00::7")
    keep(url, held)
    numbers = sql(url, "SELECT address, number FROM fixed_ips ORDER BY address")
    assert numbers == [("10.0.0.7", 0x0A000007), ("10.1.2.3", 0x0A010203), ("fd00::7", None)]
    assert sql(url, "SELECT number FROM floating_ips WHERE address = '192.0.2.8'") == [(0xC0000208,)]
    assert content(url) == held
    # A truth value is one on either engine, not a number that is equal to it.
    assert upkeep.query(url, lambda ledger: ledger.get(FixedIp, "10.1.2.3")).leased is False
    assert "number" not in upkeep.export(url)
    store.operate(url, lambda ledger: ledger.put(fixed_ip("10.1.2.4", instance="i1")), False)
    assert sql(url, "SELECT number FROM fixed_ips WHERE instance = 'i1'") == [(0x0A010204,)]


def test_runs_join_and_part(url: str) -> None:
    keep(url, holding("10.1.0.2", "10.1.0.3", "10.1.0.5", "10.1.0.9", "10.0.0.4", "fd00::1"))
    assert runs_of(url) == [
        ("blue", "10.0.0.4", "10.0.0.4"),
        ("red", "10.1.0.2", "10.1.0.3"),
        ("red", "10.1.0.5", "10.1.0.5"),
        ("red", "10.1.0.9", "10.1.0.9"),
    ]

    def change(ledger: Ledger) -> None:
        for number in (4, 8, 6):
            ledger.put(fixed_ip(f"10.1.0.{number}", instance=f"i{number // 2}"))
        ledger.drop(ledger.get(FixedIp, "10.1.0.3"))

    store.operate(url, change, False)
    assert runs_of(url)[1:] == [
        ("red", "10.1.0.2", "10.1.0.2"),
        ("red", "10.1.0.4", "10.1.0.6"),
        ("red", "10.1.0.8", "10.1.0.9"),
    ]
    keep(url, state.empty())
    assert runs_of(url) == []


def test_what_is_put_and_dropped_counts_at_once(url: str) -> None:
    keep(url, holding("10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.8"))

    def work(ledger: Ledger) -> list[int | None]:
        found = []

        def ask(first: int = 2, last: int = 9) -> None:
            number = ledger.untouched("red", BASE + first, BASE + last)
            found.append(None if number is None else number - BASE)

        ask()
        ledger.drop(ledger.get(FixedIp, "10.1.0.3"))
        ask()
        ask(last=2)
        ask(first=4)
        ledger.put(fixed_ip("10.1.0.3", instance="i0"))
        ask()
        for number in (5, 6, 7):
            ledger.put(fixed_ip(f"10.1.0.{number}", released_at=1.0))
        ask()
        ask(last=8)
        ledger.drop(ledger.get(FixedIp, "10.1.0.6"))
        ask()
        ask(first=7, last=8)
        return found

    wanted = [5, 3, None, 5, 5, 9, None, 6, None]
    assert store.operate(url, work, True).result == work(MemoryLedger(content(url))) == wanted
    store.operate(url, work, False)
    assert runs_of(url) == [("red", "10.1.0.2", "10.1.0.5"), ("red", "10.1.0.7", "10.1.0.8")]


def test_holdings_follow_what_has_changed(url: str) -> None:
    """Of acme are the instances i0, i2 and i4."""
    keep(url, site(6, *(fixed_ip(f"10.1.0.{number}", instance=f"i{number - 2}") for number in range(2, 8))))

    def work(ledger: Ledger) -> list[int]:
        found = [ledger.holdings_of_project("acme")]

        def then(*rows: t.Any) -> None:
            for row in rows:
                ledger.put(row)
            found.append(ledger.holdings_of_project("acme"))

        i1, i2 = ledger.get(Instance, "i1"), ledger.get(Instance, "i2")
        then(fixed_ip("10.0.0.9", instance="i0"), fixed_ip("10.0.0.10", instance="i1"))
        then(i1._replace(project="acme"))
        then(i2._replace(project="other"))
        then(fixed_ip("10.1.0.4", released_at=1.0))
        then(i2)
        ledger.drop(i1)
        then()
        return found

    assert store.operate(url, work, True).result == work(MemoryLedger(content(url))) == [3, 4, 6, 5, 5, 5, 3]


def test_a_command_asks_no_more_of_a_full_network(url: str) -> None:
    """Statements and rows, however many addresses are used."""
    asked = []
    for count in (3, 3000):
        keep(url, holding(*(addressing.text(BASE + 2 + number) for number in range(count))))
        asked.append(traffic(url, TakeNext("i0", BASE + 2, BASE + 0xFFFE)))
        assert addressing.text(BASE + 2 + count) in content(url).fixed_ips
    assert asked[0] == asked[1]
    assert asked[0][1] < 10


def traffic(url: str, work: Step) -> tuple[int, int]:
    """How often the work asks the database, and for how many rows."""
    seen: list[int] = []

    def told(found: list) -> list:
        seen.append(len(found))
        return found

    def counted(ledger: Ledger) -> t.Any:
        select, end_of = schema.select, runs.end_of
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "select", lambda *words: told(select(*words)))
            patch.setattr(runs, "end_of", lambda *words: told([end_of(*words)])[0])
            return work(ledger)

    store.operate(url, counted, False)
    return len(seen), sum(seen)


def test_an_address_with_a_record_is_never_untouched(url: str) -> None:
    """Even where somebody has been at the tables by hand."""
    keep(url, holding("10.1.0.2", "10.1.0.3"))
    sql(url, "DELETE FROM fixed_ip_runs")
    assert upkeep.query(url, Untouched("red", BASE + 2, BASE + 9)) == BASE + 4
    assert "fixed_ip_runs red: 10.1.0.2 to 10.1.0.3 is missing" in upkeep.fsck(url)


def test_the_oldest_of_many_is_first(url: str) -> None:
    """More than is asked for at once, in the order of time and then of number, not of text."""
    spots = [(number, float(number % 3)) for number in range(2, 102)]
    keep(url, site(6, *(fixed_ip(addressing.text(BASE + number), released_at=at) for number, at in spots)))
    wanted = [addressing.text(BASE + number) for number, _at in sorted(spots, key=lambda spot: (spot[1], spot[0]))]
    assert [row.address for row in upkeep.query(url, Released("red", 9.0, 999))] == wanted

    def take_all(ledger: Ledger) -> list[str]:
        taken = []
        for number in range(60):
            row = next(ledger.released("red", 9.0))
            ledger.put(row._replace(released_at=100.0 + number))
            taken.append(row.address)
        return taken

    assert store.operate(url, take_all, True).result == wanted[:60]

    def keep_one_back(ledger: Ledger) -> list[str]:
        """What lies before one that was changed is still there when it is asked for again."""
        ledger.put(ledger.get(FixedIp, wanted[1])._replace(reserved_by="command"))
        assert len(list(ledger.released("red", 9.0))) == 99
        return [row.address for row in ledger.released("red", 9.0)]

    assert store.operate(url, keep_one_back, True).result == [wanted[0], *wanted[2:]]


def test_an_address_given_back_twice_waits_once(url: str) -> None:
    keep(url, holding("10.1.0.2"))

    def work(ledger: Ledger) -> list[str]:
        again = LetGo("10.1.0.2", 1.0, None)
        assert len(list(ledger.released("red", 9.0))) == 1
        again(ledger)
        again(ledger)
        return [row.address for row in ledger.released("red", 9.0)]

    assert store.operate(url, work, True).result == work(MemoryLedger(content(url))) == ["10.1.0.2"]


# --- an operation on a store ------------------------------------------------------------------------------------------


def take(ledger: Ledger) -> t.Any:
    return TakeNext("i0", BASE + 2, BASE + 0xFFFE)(ledger)


def add_project(ledger: Ledger) -> str:
    ledger.put(Project("new", origin="command"))
    return "made"


def refuse(ledger: Ledger) -> None:
    ledger.put(Project("new", origin="command"))
    raise InputError("no")


def test_an_operation_tells_what_it_did(url: str) -> None:
    keep(url, site())
    done = store.operate(url, take, False, BY)
    assert done.result == "10.1.0.2" and done.changed and done.migrated is None
    assert done.actions == ["allocate fixed IP 10.1.0.2 of network red, instance i0"]
    assert content(url).fixed_ips == {"10.1.0.2": fixed_ip("10.1.0.2", instance="i0")}
    assert unsound(url) == []
    event = upkeep.read(url).events[-1]
    assert (event.kind, event.key, event.before) == ("fixed_ips", "10.1.0.2", None)
    assert (event.run, event.user_name, event.at) == BY


def test_check_mode_and_refusals_and_nothing_to_do_leave_no_trace(url: str) -> None:
    keep(url, site())
    before = trace(url)
    assert store.operate(url, take, True).result == "10.1.0.2"
    with pytest.raises(InputError, match="no"):
        store.operate(url, refuse, False)
    same = store.operate(url, lambda ledger: ledger.put(ledger.get(Instance, "i0")), False)
    assert not same.changed and same.actions == []
    away = store.operate(url, lambda ledger: (add_project(ledger), ledger.drop(Project("new"))), False)
    assert not away.changed
    assert trace(url) == before


def test_an_operation_without_a_store(url: str) -> None:
    before = trace(url)
    foreseen = store.operate(url, add_project, True)
    with pytest.raises(InputError, match="no"):
        store.operate(url, refuse, False)
    assert store.operate(url, Look(Project), False) == ([], {}, None)
    assert trace(url) == before
    with pytest.raises(StoreError, match="there is no store at .* yet"):
        upkeep.query(url, Look(Project))
    assert store.operate(url, add_project, False) == foreseen
    assert list(content(url).projects) == ["new"]
    assert upkeep.fsck(url) == []


def test_the_database_refuses_what_an_operation_must_never_do(url: str) -> None:
    keep(url, site(6, fixed_ip("10.1.0.2", instance="i0")))
    before = dump(url)
    with pytest.raises(StoreError, match="cannot be used"):
        store.operate(url, lambda ledger: ledger.put(fixed_ip("10.1.0.9", instance="i0")), False)
    assert dump(url) == before


def test_two_commands_without_a_lock_take_two_addresses(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found the same address free; the later one looks again."""
    keep(postgresql_url, site())
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    asked = []

    def slow(ledger: Ledger) -> t.Any:
        found = take(ledger)
        asked.append(found)
        if len(asked) == 1:
            store.operate(postgresql_url, TakeNext("i1", BASE + 2, BASE + 9), False)
        return found

    assert store.operate(postgresql_url, slow, False).result == "10.1.0.3"
    assert asked == ["10.1.0.2", "10.1.0.3"]
    assert [row.instance for row in content(postgresql_url).fixed_ips.values()] == ["i1", "i0"]
    assert unsound(postgresql_url) == []


def test_two_commands_that_change_different_rows_on_one_another_without_a_lock(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row and no constraint is common to the two: isolation alone sees that each counted without the other."""
    keep(postgresql_url, site())
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    asked = []

    def within_quota(address: str, instance: str, meanwhile: t.Callable[[], object]) -> Step:
        def work(ledger: Ledger) -> bool:
            asked.append(address)
            if ledger.holdings_of_project("acme"):
                return False
            if len(asked) == 1:
                meanwhile()
            ledger.put(fixed_ip(address, instance=instance))
            return True

        return work

    other = within_quota("10.0.0.9", "i2", lambda: None)
    work = within_quota("10.1.0.9", "i0", lambda: store.operate(postgresql_url, other, False))
    assert store.operate(postgresql_url, work, False).result is False
    assert asked == ["10.1.0.9", "10.0.0.9", "10.1.0.9"]
    assert list(content(postgresql_url).fixed_ips) == ["10.0.0.9"]
