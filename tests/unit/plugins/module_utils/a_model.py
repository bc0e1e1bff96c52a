"""The allocation model by hand: operations on a ledger in memory, and what must hold of every state."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    addressing,
    instance_request,
    instances,
    invariants,
    kinds,
    network,
    network_commands,
    network_request,
    settings,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.fields import Fields
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FixedIp, Network, Project, State


def site_settings(**options: t.Any) -> settings.Settings:
    """nova's options without their prefix; flat networks are on br100 where nothing else is said."""
    words = {f"nova_{name}": value for name, value in options.items()}
    return settings.read(Fields({"nova_flat_network_bridge": "br100", **words}, ""))


def asked(site: settings.Settings | None = None, **fields: t.Any) -> network_request.NetworkRequest:
    return network_request.read(Fields(fields, ""), site or site_settings())


def derived(site: settings.Settings | None = None, among: t.Iterable[Network] = (), **fields: t.Any) -> list[Network]:
    """What `network create` makes of these arguments beside the networks that are there."""
    site = site or site_settings()
    there = {row.label: row for row in among}
    request = asked(site, **{"label": "blue", **fields})
    others = [row for row in there.values() if row.label not in request.labels]
    return network.create(request, site, network.Taken(others), there, "command")


class Model:
    """A store in memory that is changed by commands, each all or nothing."""

    def __init__(self, held: State | None = None, **options: t.Any) -> None:
        self.settings = site_settings(**options)
        self.held = held or state.empty()
        self.now = 1000.0

    @contextlib.contextmanager
    def command(self) -> t.Iterator[MemoryLedger]:
        ledger = MemoryLedger(self.held)
        yield ledger
        after = ledger.state()
        assert invariants.violations(kinds.rows_of(after)) == []
        self.held = after

    def create(self, **fields: t.Any) -> list[Network]:
        given = {"label": "blue", **fields}
        with self.command() as ledger:
            return network_commands.create(ledger, asked(self.settings, **given), self.settings, given)

    def project(self, name: str, **more: t.Any) -> None:
        with self.command() as ledger:
            ledger.put(Project(name, origin="command", **more))

    def boot(self, name: str, project: str = "acme", host: str = "compute1", **more: t.Any) -> None:
        self.boot_all([{"name": name, "project": project, "host": host, **more}])

    def boot_all(self, wanted: list[dict[str, t.Any]]) -> None:
        requests = [instance_request.read(Fields(each, "")) for each in wanted]
        with self.command() as ledger:
            instances.settle(instances.Settling(ledger, self.settings, self.now, "command"), requests)

    def terminate(self, name: str) -> None:
        with self.command() as ledger:
            work = instances.Settling(ledger, self.settings, self.now, "command")
            instances.remove(work, self.held.instances[name])

    def addresses(self, name: str, version: int = 4) -> list[str]:
        rows = [row for row in self.held.fixed_ips.values() if (row.instance, row.version) == (name, version)]
        return sorted((row.address for row in rows), key=addressing.order)

    def address(self, name: str, version: int = 4) -> str:
        (address,) = self.addresses(name, version)
        return address

    def row(self, address: str) -> FixedIp:
        return self.held.fixed_ips[address]

    def network(self, label: str = "blue") -> Network:
        return self.held.networks[label]


@contextlib.contextmanager
def refused(*named: str) -> t.Iterator[None]:
    """Refused in one line that names all of these."""
    with pytest.raises(InputError) as error:
        yield
    message = str(error.value)
    assert "\n" not in message
    for word in named:
        assert word in message, message


def sound(held: State) -> State:
    assert invariants.violations(kinds.rows_of(held)) == []
    return held
