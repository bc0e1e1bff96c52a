"""Whatever is declared one after the other: the store breaks no rule, and its export is the whole of it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile

import yaml
from a_site import allocate, multi_host
from a_store import content
from ansible_collections.tenantnet.nova.plugins.module_utils._core import document, history, invariants, kinds
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = ("a", "b", "c", "d", "web-10", "web-9")
HOSTS = ("net1", "compute1", "compute2")
#: Project names may be anything printable.
PROJECTS = ("acme", "Ümläut & Co: \"x\" 'y' {z} # n", "日本 🙂", "no", "1e3")


def networks(small: bool, gateway: bool, projects: list[str]) -> list[dict]:
    blue = {"label": "blue", "fixed_range": "10.0.0.0/28" if small else "10.0.0.0/24", "bridge": "br1"}
    red = {"label": "red: [x]", "fixed_range": "10.0.9.0/24", "bridge": "br2", "multi_host": False, "mtu": 1400}
    if gateway:
        blue["gateway"] = "10.0.0.14"
    return [blue, {**red, "project": projects[-1]}]


@st.composite
def declarations(draw: st.DrawFn) -> dict:
    projects = draw(st.lists(st.sampled_from(PROJECTS), min_size=1, unique=True))
    instances = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        made = {"name": name, "project": draw(st.sampled_from(projects)), "host": draw(st.sampled_from(HOSTS))}
        if draw(st.booleans()):
            made["address"] = f"10.0.0.{draw(st.integers(2, 12))}"
            made["network"] = "blue"
        elif draw(st.booleans()):
            made["network"] = "blue"
            made["mac"] = f"02:00:00:00:00:{draw(st.integers(1, 4)):02x}"
        instances.append(made)
    made = multi_host(instances=instances, projects=projects)
    made["networks"] = networks(draw(st.booleans()), draw(st.booleans()), projects)
    return made


def live(url: str, other: str, sequence: list[dict], clock: itertools.count) -> None:
    for declared in sequence:
        now = float(next(clock))
        before = content(url)
        try:
            foreseen = allocate(declared, before, now)
        except InputError:
            foreseen = before
        with contextlib.suppress(InputError):
            author = history.Author(str(now), "x", now)
            store.reconcile(url, functools.partial(allocate, declared, now=now), False, author)
        held = content(url)
        assert held == foreseen
        assert invariants.violations(kinds.rows_of(held)) == []
        assert upkeep.fsck(url) == []
        text = upkeep.export(url)
        author = history.Author("import", "x", now)
        upkeep.load(other, upkeep.parse(text, "x"), True, False, author)
        assert content(other) == held
        assert upkeep.export(other) == text
        assert upkeep.fsck(other) == []
        full = upkeep.export(url, with_history=True)
        assert upkeep.parse(full, "x").history == upkeep.read(url).events
        # The short way of reading and YAML's agree.
        assert document.scan(full) == yaml.safe_load(full)
        for row in held.fixed_ips.values():
            now_held = upkeep.holdings(url, address=row.address, at=now + 0.5)
            assert [(each.instance, each.host) for each in now_held] == (
                [] if row.released_at is not None else [(row.instance, row.host)]
            )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(declarations(), min_size=1, max_size=5))
def test_any_sequence_of_declarations(sequence: list[dict]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        one, two = f"sqlite:///{folder}/one.sqlite", f"sqlite:///{folder}/two.sqlite"
        live(one, two, [multi_host(), *sequence], itertools.count(1000))


def test_any_sequence_of_declarations_on_postgresql(postgresql_url: str, sqlite_url: str) -> None:
    """The stores live on from one sequence to the next."""
    clock = itertools.count(1000)
    live(postgresql_url, sqlite_url, [multi_host()], clock)

    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(sequence=st.lists(declarations(), min_size=1, max_size=4))
    def more(sequence: list[dict]) -> None:
        live(postgresql_url, sqlite_url, sequence, clock)

    more()
