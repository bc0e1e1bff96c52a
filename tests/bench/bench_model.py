"""The allocation model in bulk: networks carved, and host plans composed, against the cheapest known ways."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
import typing as t

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.filter.networks import FilterModule
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    allocation,
    declaration,
    network_commands,
    network_request,
    plan,
    settings,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.fields import Fields
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store

sys.path.insert(0, os.path.dirname(__file__))

import bench_allocation

FOLDER = tempfile.TemporaryDirectory(prefix="bench-model-")

VLANS = 4094
ALL: dict[str, t.Any] = {
    "label": "v",
    "manager": "vlan",
    "fixed_range": "10.0.0.0/8",
    "num_networks": VLANS,
    "network_size": 256,
    "vlan_start": 1,
}


def fresh() -> str:
    """The name of a file that is not there."""
    return os.path.join(FOLDER.name, f"{os.getpid()}-{time.monotonic_ns()}.sqlite")


# --- VLAN networks ----------------------------------------------------------------------------------------------------


def declare(path: str) -> None:
    wanted = declaration.parse({}, [ALL], [], [], {})
    store.reconcile(f"sqlite:///{path}", lambda before: allocation.allocate(wanted, before, 0.0), False)


def command(path: str) -> None:
    site = settings.read(Fields({}, ""))
    request = network_request.read(Fields(ALL, ""), site)

    def work(ledger: Ledger) -> int:
        return len(network_commands.create(ledger, request, site, ALL))

    assert store.operate(f"sqlite:///{path}", work, False).result == VLANS


def carve() -> None:
    made = FilterModule().filters()["carve"]("10.0.0.0/8", VLANS, 256)
    assert len(made) == VLANS and made[-1] == "10.15.253.0/24"


def networks() -> list[harness.Case]:
    path = fresh()
    declare(path)
    schema, rows = bench_allocation._read(path)
    filled = bench_allocation.Filled(path, {}, schema, rows)
    return [
        harness.Case(
            f"{VLANS} VLAN networks",
            floor=lambda: bench_allocation.insert(filled, fresh()),
            ours=[
                harness.Ours("declared", lambda: declare(fresh()), aim=4),
                harness.Ours("by command", lambda: command(fresh()), aim=4),
                harness.Ours("declared again", lambda: declare(path)),
            ],
            own_network=False,
        ),
    ]


def filter_in_time() -> None:
    """An aim in seconds rather than against a floor."""
    best = min(_seconds(carve) for _turn in range(5))
    print(f"filter carve, {VLANS} subnets: {best * 1000:.1f} ms of 100 ms{'' if best <= 0.1 else ' (missed)'}")


def _seconds(work: t.Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# --- host plans -------------------------------------------------------------------------------------------------------


def site(hosts: int, each: int, multi_host: bool) -> tuple[declaration.Declaration, state.State]:
    """A site with so many instances on each host, in one /15 that one host or every host serves, some with groups."""
    nodes = {"nodes": ["bridging", "addressing", "routing"], "nova_public_interface": "eth2"}
    wanted = declaration.parse(
        {"nova_flat_network_bridge": "br100", "nova_multi_host": multi_host},
        [{"label": "blue", "fixed_range": "10.0.0.0/15"}],
        ["acme"],
        [{"name": f"i{number}", "project": "acme", "host": f"h{number % hosts}"} for number in range(hosts * each)],
        {f"h{number}": nodes for number in range(hosts)},
    )
    return wanted, allocation.allocate(wanted, state.empty(), 0.0)


def plans(hosts: int, each: int, multi_host: bool) -> harness.Case:
    wanted, held = site(hosts, each, multi_host)
    made = plan.compose(held, wanted)
    return harness.Case(
        f"{hosts} plans, {hosts * each} guests, {'multi' if multi_host else 'single'}-host",
        floor=lambda: [json.dumps(one) for one in made.values()] and None,
        ours=[harness.Ours("", functools.partial(_compose, held, wanted))],
        own_network=False,
    )


def _compose(held: state.State, wanted: declaration.Declaration) -> None:
    plan.compose(held, wanted)


def main() -> None:
    harness.run(networks())
    filter_in_time()
    harness.run([plans(100, 50, False), plans(1000, 50, False), plans(100, 50, True)])
