"""Whatever is declared and commanded, in whatever order: the rules hold, and who holds something keeps it.

More than `make test` tries: TENANTNET_PROPERTY_EXAMPLES=500, each a sequence of steps that is drawn anew.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import typing as t

import pytest
import yaml
from a_declaration import (
    CHANGED,
    FLOATING,
    GROUP,
    GROUP_FIELDS,
    HOST,
    LABEL,
    MANAGER,
    NAME,
    NOTHING,
    ONE_FLOATING,
    OPTIONS,
    POOL,
    PROJECT,
    PROJECT_FIELDS,
    instance_fields,
    maybe,
    network_fields,
    parsed,
)
from a_held_site import HeldSite
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    addressing,
    allocation,
    document,
    fixed_ips,
    floating_ips,
    history,
    instance_request,
    instances,
    network_commands,
    network_request,
    projects,
    security_groups,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.fields import Fields
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import Project, State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

MORE = int(os.environ.get("TENANTNET_PROPERTY_EXAMPLES", "0"))


class Site(HeldSite):
    """What is declared is changed, and commands are given."""

    # --- the inventory ------------------------------------------------------------------------------------------------

    def change(self, part: str, key: t.Any, fields: dict[str, t.Any] | None, go: bool) -> None:
        if fields is None:
            self.asked[part].pop(key, None)
        else:
            self.asked[part][key] = fields
        if go:
            self.run_declared()

    @initialize(manager=MANAGER, more=st.lists(network_fields(), max_size=2))
    def begin(self, manager: str, more: list[dict[str, t.Any]]) -> None:
        """A site with something on it."""
        self.asked["settings"][""]["nova_network_manager"] = manager
        for name in ("p1", "p2"):
            self.asked["projects"][name] = {}
        self.asked["floating_ranges"]["192.0.2.0/29"] = {"pool": "nova"}
        first = {"manager": manager, "fixed_range": "10.0.2.0/24"}
        if manager == "vlan":
            first.update(num_networks=2, network_size=32)
        self.asked["networks"]["c"] = first
        self.asked["security_groups"]["p1", "web"] = {"subnet_size": 4}
        self.asked["instances"]["i0"] = {"project": "p1", "host": "h1"}
        self.run_declared()
        assert self.held.instances
        for label, each in zip("ab", more):
            self.change("networks", label, each, True)

    @rule(label=LABEL, fields=st.one_of(network_fields(), network_fields(), NOTHING), go=st.booleans())
    def declare_network(self, label: str, fields: dict[str, t.Any] | None, go: bool) -> None:
        self.change("networks", label, fields, go)

    @rule(label=LABEL, name=st.sampled_from(["project", "fixed_range_v6", "multi_host", "vlan", "num_networks"]))
    def declare_less(self, label: str, name: str) -> None:
        fields = self.asked["networks"].get(label)
        if fields is not None:
            self.change("networks", label, {key: value for key, value in fields.items() if key != name}, True)

    @rule(label=LABEL, fields=network_fields(), name=st.sampled_from(["fixed_range", "fixed_range_v6", *CHANGED]))
    def declare_another_field(self, label: str, fields: dict[str, t.Any], name: str) -> None:
        there = self.asked["networks"].get(label)
        if there is not None and name in fields:
            self.change("networks", label, {**there, name: fields[name]}, True)

    @rule(name=NAME, data=st.data(), go=st.booleans())
    def declare_instance(self, name: str, data: st.DataObject, go: bool) -> None:
        self.change("instances", name, instance_fields(data, self.held), go)

    @rule(name=NAME, data=st.data(), field=st.sampled_from(["host", "network", "address", "mac", "floating_ip"]))
    def declare_another_field_of_an_instance(self, name: str, data: st.DataObject, field: str) -> None:
        there = self.asked["instances"].get(name)
        if there is not None:
            fields = instance_fields(data, self.held)
            kept = {key: value for key, value in there.items() if key != field}
            self.change("instances", name, {**kept, **({field: fields[field]} if field in fields else {})}, True)

    @rule(name=NAME, host=HOST, project=st.sampled_from(["p1", "p2"]))
    def declare_plain_instance(self, name: str, host: str, project: str) -> None:
        self.change("instances", name, {"project": project, "host": host}, True)

    @rule(name=NAME)
    def declare_no_instance(self, name: str) -> None:
        self.change("instances", name, None, True)

    @rule(name=PROJECT, fields=st.one_of(PROJECT_FIELDS, PROJECT_FIELDS, NOTHING), go=st.booleans())
    def declare_project(self, name: str, fields: dict[str, t.Any] | None, go: bool) -> None:
        self.change("projects", name, fields, go)

    @rule(project=PROJECT, name=GROUP, fields=st.one_of(GROUP_FIELDS, GROUP_FIELDS, NOTHING), go=st.booleans())
    def declare_group(self, project: str, name: str, fields: dict[str, t.Any] | None, go: bool) -> None:
        self.change("security_groups", (project, name), fields, go)

    @rule(key=FLOATING, pool=maybe(POOL), go=st.booleans())
    def declare_range(self, key: str, pool: str | None, go: bool) -> None:
        self.change("floating_ranges", key, None if pool is None else {"pool": pool}, go)

    @rule(option=OPTIONS)
    def declare_option(self, option: tuple[str, t.Any]) -> None:
        self.asked["settings"][""][option[0]] = option[1]
        self.run_declared()

    @rule(order=st.randoms(use_true_random=False))
    def declare_in_another_order(self, order: t.Any) -> None:
        """Changes nothing where nothing else is asked for."""
        self.asked = copy.deepcopy(self.declared)
        for part in ("networks", "projects", "instances", "security_groups", "floating_ranges"):
            items = list(self.asked[part].items())
            order.shuffle(items)
            self.asked[part] = dict(items)
        self.run_declared()

    @rule(seconds=st.sampled_from([1, 30]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    # --- commands -----------------------------------------------------------------------------------------------------

    @rule(label=LABEL, fields=network_fields())
    def network_create(self, label: str, fields: dict[str, t.Any]) -> None:
        def work(ledger: Ledger) -> None:
            given = {"label": label, **fields}
            request = network_request.read(Fields(given, ""), self.settings)
            network_commands.create(ledger, request, self.settings, given)

        self.command(work)

    @rule(label=LABEL, project=maybe(PROJECT), host=maybe(HOST), less=st.booleans())
    def network_modify(self, label: str, project: str | None, host: str | None, less: bool) -> None:
        found = self.held.networks.get(label) or self.held.networks.get(f"{label}_0")
        if found is not None:
            self.command(
                lambda ledger: network_commands.modify(
                    ledger, found, self.settings, "modify", project, host, less and not project, less and not host
                )
            )

    @rule(label=LABEL)
    def network_delete(self, label: str) -> None:
        found = self.held.networks.get(label) or self.held.networks.get(f"{label}_1")
        if found is not None:
            self.command(lambda ledger: network_commands.delete(ledger, found))

    @rule(name=st.sampled_from(["p3", "p4"]))
    def project_create(self, name: str) -> None:
        self.command(lambda ledger: ledger.get(Project, name) or ledger.put(Project(name, origin="command")))

    @rule(name=PROJECT)
    def project_scrub(self, name: str) -> None:
        self.command(lambda ledger: projects.scrub(ledger, projects.known(ledger, name, "project")))

    @rule(name=NAME, data=st.data())
    def boot(self, name: str, data: st.DataObject) -> None:
        before = self.held
        fields = instance_fields(data, before)

        def work(ledger: Ledger) -> None:
            instances.settle(self.work(ledger), [instance_request.read(Fields({"name": name, **fields}, ""))])

        self.command(work)
        others = [row for row in before.fixed_ips.values() if row.instance not in (None, name) or row.host]
        assert [row for row in others if self.held.fixed_ips[row.address] != row] == []
        assert {key: row for key, row in before.vifs.items() if key[0] != name}.items() <= self.held.vifs.items()

    @rule(name=NAME)
    def terminate(self, name: str) -> None:
        found = self.held.instances.get(name)
        if found is not None:
            self.command(lambda ledger: instances.remove(self.work(ledger), found))

    @rule(data=st.data(), instance=maybe(NAME))
    def fixed_reserve(self, data: st.DataObject, instance: str | None) -> None:
        address = self.some_address(data)
        self.command(lambda ledger: fixed_ips.reserve(ledger, [address], "command", instance))

    @rule(data=st.data())
    def fixed_unreserve(self, data: st.DataObject) -> None:
        address = self.some_address(data)
        self.command(lambda ledger: fixed_ips.unreserve(ledger, [address], "command"))

    def some_address(self, data: st.DataObject) -> str:
        """One of the first of a network, or one that is known."""
        known = sorted(self.held.fixed_ips)
        for network in self.held.networks.values():
            for subnet in (network.range, network.range_v6):
                if subnet is not None:
                    known += [subnet.text(subnet.first + number) for number in range(1, 7)]
        return data.draw(st.sampled_from(known or ["10.0.0.3"]))

    def some_floating(self, data: st.DataObject, **fields: bool) -> str:
        """One of which these fields have something, or have nothing."""
        rows = self.held.floating_ips.values()
        known = [row.address for row in rows if all(bool(getattr(row, name)) == has for name, has in fields.items())]
        return data.draw(st.sampled_from(known or ["192.0.2.1"]))

    @rule(host=HOST, every=st.integers(1, 3))
    def report_leases(self, host: str, every: int) -> None:
        macs = {key: vif.mac for key, vif in self.held.vifs.items()}
        leases = [
            fixed_ips.Lease(row.address, macs.get((row.instance, row.network), "52:54:00:00:00:99"))
            for row in list(self.held.fixed_ips.values())[::every]
            if row.version == 4
        ]
        self.command(lambda ledger: fixed_ips.report(ledger, host, list(self.held.networks), leases))

    @rule(project=PROJECT, name=GROUP, fields=GROUP_FIELDS)
    def group_create(self, project: str, name: str, fields: dict[str, t.Any]) -> None:
        subnet = addressing.known_network(fields["subnet"]) if "subnet" in fields else None
        asked = security_groups.Request(
            "group", project, name, fields.get("network"), subnet, fields.get("subnet_size")
        )
        self.command(lambda ledger: security_groups.create(ledger, self.settings, asked, "command"))

    @rule(project=PROJECT, name=GROUP)
    def group_delete(self, project: str, name: str) -> None:
        group = self.held.security_groups.get((project, name))
        if group is not None:
            self.command(lambda ledger: security_groups.delete(ledger, group))

    @rule(values=FLOATING, pool=POOL)
    def floating_create(self, values: str, pool: str) -> None:
        self.command(lambda ledger: floating_ips.create(ledger, [values], pool, None, "command"))

    @rule(values=FLOATING, force=st.booleans())
    def floating_delete(self, values: str, force: bool) -> None:
        self.command(lambda ledger: floating_ips.delete(ledger, [values], force))

    @rule(
        project=PROJECT,
        pool=st.sampled_from(["nova", "nova", "ext"]),
        address=maybe(ONE_FLOATING, 2),
        quota=st.sampled_from([-1, 2]),
    )
    def floating_allocate(self, project: str, pool: str, address: str | None, quota: int) -> None:
        def work(ledger: Ledger) -> None:
            floating_ips.allocate(ledger, project, None if address else pool, quota, "command", address)

        self.command(work)

    @rule(data=st.data(), force=st.booleans())
    def floating_release(self, data: st.DataObject, force: bool) -> None:
        address = self.some_floating(data, project=True)
        self.command(lambda ledger: floating_ips.release(ledger, address, force=force))

    @rule(data=st.data(), name=NAME)
    def floating_associate(self, data: st.DataObject, name: str) -> None:
        address = self.some_floating(data, project=True)

        def work(ledger: Ledger) -> None:
            target = floating_ips.fixed_address_of(ledger, name, version=addressing.version(address))
            floating_ips.associate(ledger, address, target, by="command")

        self.command(work)

    @rule(data=st.data(), force=st.booleans())
    def floating_disassociate(self, data: st.DataObject, force: bool) -> None:
        address = self.some_floating(data, fixed_address=True)
        self.command(lambda ledger: floating_ips.disassociate(ledger, address, force=force))

    @rule(name=NAME)
    def floating_attach(self, name: str) -> None:
        """One of the pool to an instance that is there, in one command."""
        found = self.held.instances.get(name)
        if found is None:
            return

        def work(ledger: Ledger) -> None:
            row = floating_ips.allocate(ledger, found.project, "nova", -1, "command")
            target = floating_ips.fixed_address_of(ledger, name, version=addressing.version(row.address))
            floating_ips.associate(ledger, row.address, target, by="command")

        self.command(work)


class StoredSite(Site):
    """The same with a database: each step through it as well, with the same result."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.url = f"sqlite:///{self.folder.name}/nova.sqlite"

    def author(self) -> history.Author:
        return history.Author("r", "x", self.now)

    def content(self) -> State:
        return store.reconcile(self.url, lambda before: before, True).before

    def run_declared(self) -> None:
        asked = self.asked
        super().run_declared()
        if self.asked is asked:
            wanted = parsed(asked)

            def decide(found: State) -> State:
                return allocation.allocate(wanted, found, self.now)

            foreseen = store.reconcile(self.url, decide, True, self.author())
            done = store.reconcile(self.url, decide, False, self.author())
            assert foreseen.after == done.after == self.held
            assert foreseen.actions == done.actions

    def command(self, work: t.Callable[[Ledger], t.Any]) -> None:
        before = self.held
        super().command(work)
        with contextlib.suppress(InputError):
            assert store.operate(self.url, work, False, self.author()).changed == (self.held is not before)
            return
        assert self.held is before

    @invariant()
    def stored(self) -> None:
        assert self.content() == self.held
        if not self.is_new("fsck"):
            return
        assert upkeep.fsck(self.url) == []

    @invariant()
    def exported_and_imported(self) -> None:
        if not self.is_new("export"):
            return
        text = upkeep.export(self.url)
        assert upkeep.parse(text, "x").state == self.held
        assert document.scan(text) == yaml.safe_load(text)

    def teardown(self) -> None:
        self.folder.cleanup()


@pytest.mark.parametrize(("site", "examples", "steps"), [(Site, 30, 40), (StoredSite, 4, 25)])
def test_any_sequence_of_declarations_and_commands(site: type[Site], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        site,
        settings=settings(
            max_examples=MORE or examples,
            stateful_step_count=steps,
            derandomize=not MORE,
            database=None,
            deadline=None,
            # What fails is made small only where somebody has asked for more: it takes minutes.
            phases=[Phase.generate, Phase.shrink] if MORE else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
