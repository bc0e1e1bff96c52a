"""Any sequence of steps on a ledger: in memory and on either database the same answers, and the same records."""

from __future__ import annotations

import os
import tempfile
import typing as t

import a_record
from a_ledger import (
    BASE,
    BY,
    LOOKS,
    AddFloating,
    AllocateFloating,
    Forget,
    Hold,
    Holdings,
    LetGo,
    MoveInstance,
    Released,
    ReleaseFloating,
    RemoveInstance,
    Reserve,
    Step,
    TakeNext,
    Untouched,
    trace,
    unsound,
)
from a_record import fixed_ip, site
from a_store import content, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core import addressing, history, state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp, State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Few addresses, so that they meet; on both sides of where a page or a look at single numbers ends.
SPOTS = st.one_of(st.integers(0, 12), st.sampled_from([255, 256, 257, 600]))


ADDRESSES = st.one_of(
    SPOTS.map(lambda number: addressing.text(BASE + number)),
    st.integers(2, 6).map(lambda number: f"10.0.0.{number}"),
    st.integers(2, 4).map(lambda number: f"fd00::{number}"),
)


TIMES = st.sampled_from([1.0, 2.0, 3.5, 7.0, 1234567890.123456])


NAMES = st.integers(0, 5).map(lambda number: f"i{number}")


PROJECTS = st.sampled_from(a_record.PROJECTS)


POOLS = st.sampled_from(["nova", "ext"])


FLOATING = st.one_of(
    st.integers(8, 14).map(lambda number: f"192.0.2.{number}"),
    st.sampled_from(["fd00:1::2", "fd00:1::10", "fd00:1::a"]),
)


SPANS = st.tuples(SPOTS, SPOTS).map(lambda pair: (BASE + min(pair), BASE + max(pair)))


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Hold, ADDRESSES, NAMES),
    st.builds(LetGo, ADDRESSES, TIMES, st.sampled_from([None, 50.0, 150.0])),
    st.builds(Reserve, ADDRESSES, st.sampled_from([None, "inventory", "command"])),
    st.builds(Forget, ADDRESSES),
    st.builds(lambda name, span: TakeNext(name, *span), NAMES, SPANS),
    st.builds(lambda span: Untouched("red", *span), SPANS),
    st.just(Untouched("blue", addressing.number("10.0.0.2"), addressing.number("10.0.0.254"))),
    st.builds(
        Released, st.sampled_from(["red", "blue"]), st.sampled_from([0.0, 100.0, 200.0]), st.sampled_from([1, 99])
    ),
    st.builds(AddFloating, FLOATING, POOLS),
    st.builds(AllocateFloating, POOLS, st.one_of(st.none(), PROJECTS)),
    st.builds(ReleaseFloating, PROJECTS),
    st.builds(MoveInstance, NAMES, PROJECTS),
    st.builds(RemoveInstance, NAMES),
    st.builds(Holdings, PROJECTS),
    st.sampled_from(LOOKS),
)


#: Transactions, each of some steps.
SEQUENCES = st.lists(st.lists(STEPS, min_size=1, max_size=12), min_size=1, max_size=4)


def live(url: str, held: State, sequence: list[list[Step]]) -> None:
    recorded = len(upkeep.read(url).events)
    for steps in sequence:

        def work(ledger: Ledger, steps: list[Step] = steps) -> list[t.Any]:
            return [step(ledger) for step in steps]

        memory = MemoryLedger(held)
        answers = work(memory)
        after = memory.state()
        changes = state.difference(held, after)
        before = trace(url)
        assert store.operate(url, work, True, BY) == (answers, changes, None)
        assert trace(url) == before
        assert store.operate(url, work, False, BY) == (answers, changes, None)
        _version, there, events = upkeep.read(url)
        assert there == after
        events, recorded = events[recorded:], len(events)
        assert [(event.kind, event.key, event.before is None, event.after is None) for event in events] == [
            (event.kind, event.key, event.before is None, event.after is None)
            for event in history.events(changes, "x", BY)
        ]
        held = after
    whole = MemoryLedger(held)
    for look in LOOKS:
        assert upkeep.query(url, look) == look(whole)
    assert unsound(url) == []


def fuller(held: State) -> State:
    """With addresses side by side, more than a page of them that were given back, and of floating IPs."""
    memory = MemoryLedger(held)
    for number in range(6):
        memory.put(fixed_ip(addressing.text(BASE + 2 + number), instance=f"i{number}"))
        memory.put(fixed_ip(f"10.0.0.{2 + number}", instance=f"i{number}"))
    for number in range(30):
        memory.put(fixed_ip(addressing.text(BASE + 256 + number), released_at=float(number % 3)))
        memory.put(FloatingIp(f"198.51.100.{number + 1}", "ext", origin="command"))
    return memory.state()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=SEQUENCES, full=st.booleans())
def test_any_sequence_of_steps(sequence: list[list[Step]], full: bool) -> None:
    held = fuller(site()) if full else site()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        url = f"sqlite:///{folder}/nova.sqlite"
        keep(url, held)
        live(url, held, sequence)


def test_any_sequence_of_steps_on_postgresql(postgresql_url: str) -> None:
    """The store lives on from one sequence to the next."""
    keep(postgresql_url, fuller(site()))

    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(sequence=SEQUENCES)
    def more(sequence: list[list[Step]]) -> None:
        live(postgresql_url, content(postgresql_url), sequence)

    more()
