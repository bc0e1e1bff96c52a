"""Eight processes at once on one store, with all that runs and commands do, some of them killed at any moment.

Most commands are worth one transaction each, looked up by what they need; now and then one hands over its whole
declaration. Nobody waits for anybody but in the database.
"""

from __future__ import annotations

import collections
import itertools
import json
import pathlib
import typing as t

import a_crowd
from a_model import site_settings
from a_site import ALL_NODES, allocate
from a_store import content
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    fixed_ips,
    floating_ips,
    history,
    instance_request,
    instances,
    network_commands,
    network_request,
    projects,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.fields import Fields
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FixedIp,
    FloatingIp,
    Instance,
    Network,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep

WORKERS = 8
#: Operations of all workers together, on either engine.
OPERATIONS = 5000
#: Most commands do several operations of one kind, as the modules do with the items that they are given.
BATCH = 20
#: Every so many turns of a worker its whole declaration is run instead.
DECLARED = 20
KEPT = 4
KILLS = 12

SETTINGS = site_settings(network_manager="vlan", force_dhcp_release=True)
HOSTS = ("net1", "compute1", "compute2")


def project_of(worker: int) -> str:
    """Two workers share a project, its VLAN network and its floating IPs."""
    return f"p{worker // 2}"


def declared(worker: int, turn: int) -> dict[str, t.Any]:
    """What the inventory declares: always the same shared things, and instances by turns."""
    names = [f"site-{turn // DECLARED % 3}-{number}" for number in range(BATCH)]
    return {
        "settings": {"nova_network_manager": "vlan"},
        "networks": [{"label": "v", "fixed_range": "10.0.0.0/16", "network_size": 1024, "num_networks": 6}],
        "projects": [*(f"p{number}" for number in range(WORKERS // 2)), "site"],
        "instances": [{"name": name, "project": "site", "host": HOSTS[worker % 3]} for name in names],
        "hosts": {name: {"nodes": ALL_NODES, "nova_vlan_interface": "eth1"} for name in HOSTS},
        "floating_ranges": ["192.0.2.0/24"],
    }


# --- what a worker does in one transaction ----------------------------------------------------------------------------


def boot(ledger: Ledger, worker: int, turn: int, now: float) -> int:
    """As many new instances of its own as go of its old ones."""
    work = instances.Settling(ledger, SETTINGS, now, "command")
    made = [f"w{worker}-{turn}-{number}" for number in range(BATCH // 2)]
    requests = [
        instance_request.read(Fields({"name": name, "project": project_of(worker), "host": HOSTS[turn % 3]}, ""))
        for name in made
    ]
    instances.settle(work, requests)
    gone = own(ledger, worker)[: -KEPT * BATCH // 2]
    for row in gone:
        instances.remove(work, row)
    return len(made) + len(gone)


def one(ledger: Ledger, worker: int, turn: int, now: float) -> int:
    """A single instance comes, or goes."""
    work = instances.Settling(ledger, SETTINGS, now, "command")
    name = f"one-{worker}"
    there = ledger.get(Instance, name)
    if there is not None:
        instances.remove(work, there)
    else:
        fields = {"name": name, "project": project_of(worker), "host": "net1"}
        instances.settle(work, [instance_request.read(Fields(fields, ""))])
    return 1


def own(ledger: Ledger, worker: int) -> list[Instance]:
    rows = [row for row in ledger.where(Instance, project=project_of(worker)) if row.name.startswith(f"w{worker}-")]
    return sorted(rows, key=lambda row: [int(part) for part in row.name[1:].split("-")])


def associate(ledger: Ledger, worker: int, turn: int, now: float) -> int:
    """A floating IP for each of the newest instances, taken from the older ones; what leads nowhere goes back."""
    count = 0
    project = project_of(worker)
    for row in ledger.where(FloatingIp, project=project, fixed_address=None):
        floating_ips.release(ledger, row.address)
        count += 1
    for instance in own(ledger, worker)[-BATCH // 2 :]:
        target = floating_ips.fixed_address_of(ledger, instance.name)
        if not ledger.where(FloatingIp, fixed_address=target):
            row = floating_ips.allocate(ledger, project, "nova", -1, "command")
            floating_ips.associate(ledger, row.address, target, by="command")
            count += 2
    for instance in own(ledger, worker)[: -BATCH // 2]:
        for held in ledger.where(FixedIp, instance=instance.name):
            for row in ledger.where(FloatingIp, fixed_address=held.address):
                floating_ips.disassociate(ledger, row.address)
                count += 1
    return count


def carve(ledger: Ledger, worker: int, turn: int, now: float) -> int:
    """Some networks of its own, in place of those of its last time; all workers carve the same range."""
    count = 0
    for network in [row for row in ledger.where(Network) if row.label.startswith(f"w{worker}-")]:
        network_commands.delete(ledger, network)
        count += 1
    fields = {
        "label": f"w{worker}-{turn}",
        "manager": "vlan",
        "fixed_range": "10.64.0.0/16",
        "network_size": 64,
        "num_networks": 3,
    }
    request = network_request.read(Fields(fields, ""), SETTINGS)
    return count + len(network_commands.create(ledger, request, SETTINGS, fields))


def reserve(ledger: Ledger, worker: int, turn: int, now: float) -> int:
    """A few addresses out of the shared pool, or back into it."""
    (network,) = ledger.where(Network, project=project_of(worker))
    first = network.range.last - 1 - 8 * (worker + 1)
    span = f"{network.range.text(first)}-{network.range.text(first + 4)}"
    change = fixed_ips.reserve if turn % 2 else fixed_ips.unreserve
    return len(change(ledger, [span], "command"))


TURNS: list[t.Callable[[Ledger, int, int, float], int]] = [
    boot,
    one,
    associate,
    boot,
    carve,
    one,
    boot,
    associate,
    reserve,
]


def work(url: str, worker: int, first: int, journal: pathlib.Path, share: int) -> None:
    """Turn after turn until the worker's share of operations is done; the journal tells what was committed for sure."""
    done = operations(journal)
    with open(journal, "a", encoding="ascii", buffering=1) as written:
        for turn in itertools.count(first):
            if done >= share:
                return
            author = history.Author(f"w{worker}-{turn}", "crowd", float(turn))
            if turn % DECLARED == DECLARED - 1:
                before = lambda held, turn=turn: allocate(declared(worker, turn), held, float(turn))  # noqa: E731
                outcome = store.reconcile(url, before, False, author)
                count = sum(len(part) for part in outcome.changes.get("instances", ()))
            else:
                step = TURNS[turn % len(TURNS)]
                applied = store.operate(
                    url, lambda ledger, turn=turn, step=step: step(ledger, worker, turn, float(turn)), False, author
                )
                count = applied.result
            done += count
            written.write(json.dumps([turn, count]) + "\n")


def turns_of(journal: pathlib.Path) -> list[tuple[int, int]]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [tuple(json.loads(line)) for line in lines]


def operations(journal: pathlib.Path) -> int:
    return sum(count for _turn, count in turns_of(journal))


def crowd(url: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """Let them work; each that is killed is replaced by one that goes on behind where it left off."""
    journals = [folder / f"journal-{worker}" for worker in range(WORKERS)]
    share = OPERATIONS // WORKERS + 1
    ages = collections.Counter()

    def arguments(worker: int) -> tuple[t.Any, ...]:
        last = max([turn for turn, _count in turns_of(journals[worker])], default=-1)
        # The one under way when it was killed may or may not have been committed: its turn is never taken again.
        first = last + 1 + (ages[worker] > 0)
        ages[worker] += 1
        return url, worker, first, journals[worker], share

    a_crowd.work(work, arguments, WORKERS, KILLS, (0.2, 0.7))
    assert sum(ages.values()) > WORKERS
    return journals


def test_a_crowd_of_all_kinds(url: str, tmp_path: pathlib.Path) -> None:
    store.reconcile(url, lambda before: allocate(declared(0, 0), before), False)
    for number in range(WORKERS // 2):
        # In a fixed order, so that it is known whose network is whose.
        store.operate(
            url,
            lambda ledger, number=number: projects.usable_networks(
                ledger, projects.known(ledger, f"p{number}", "p"), SETTINGS, projects.FreeNetworks(ledger)
            ),
            False,
        )
    journals = crowd(url, tmp_path)
    assert sum(operations(journal) for journal in journals) >= OPERATIONS
    proved(url, journals)


def proved(url: str, journals: list[pathlib.Path]) -> None:
    assert upkeep.fsck(url) == []
    held = content(url)
    runs: dict[str, list[history.Event]] = collections.defaultdict(list)
    for event in upkeep.read(url).events:
        runs[event.run].append(event)
    for worker, journal in enumerate(journals):
        for turn, count in turns_of(journal):
            found = runs.pop(f"w{worker}-{turn}", [])
            # Nothing that was committed is lost, and each is one transaction, whole.
            assert len({event.change for event in found}) == (1 if count else len({event.change for event in found}))
            assert bool(found) >= bool(count), (worker, turn)
            whole(worker, turn, found)
    # What is not in a journal was killed in the moment after its commit; it is whole as well.
    left = {run: found for run, found in runs.items() if run.startswith("w")}
    assert len(left) <= KILLS
    for run, found in left.items():
        worker, turn = map(int, run[1:].split("-"))
        assert len({event.change for event in found}) == 1
        whole(worker, turn, found)
    not_given_twice(held)


def whole(worker: int, turn: int, found: list[history.Event]) -> None:
    made = collections.Counter(event.kind for event in found if event.before is None)
    gone = collections.Counter(event.kind for event in found if event.after is None)
    if turn % DECLARED == DECLARED - 1:
        assert made["instances"] in (0, BATCH) and made["vifs"] == made["instances"]
        assert gone["instances"] in (0, BATCH)
        return
    step = TURNS[turn % len(TURNS)]
    if step is boot:
        assert made["instances"] == made["vifs"] == BATCH // 2
        assert gone["instances"] == gone["vifs"]
    elif step is one:
        assert sorted([made["instances"], gone["instances"]]) == [0, 1]
    elif step is carve:
        assert made["networks"] == 3
        assert gone["networks"] in (0, 3)


def not_given_twice(held: state.State) -> None:
    guests = [row for row in held.fixed_ips.values() if row.instance is not None]
    assert len(guests) == len({(row.instance, row.network) for row in guests}) == len(held.instances) == len(held.vifs)
    targets = [row.fixed_address for row in held.floating_ips.values() if row.fixed_address is not None]
    assert all(held.fixed_ips[target].instance is not None for target in targets)
    vlans = [row.vlan for row in held.networks.values()]
    assert len(vlans) == len(set(vlans))
    assert {row.name for row in held.projects.values()} == {*(f"p{number}" for number in range(WORKERS // 2)), "site"}
