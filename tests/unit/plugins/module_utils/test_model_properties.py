"""Whatever is declared and commanded, in whatever order: the rules hold, and who holds something keeps it.

More than `make test` tries: TENANTNET_PROPERTY_EXAMPLES=500, each a sequence of steps that is drawn anew.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pathlib
import tempfile
import typing as t

import jsonschema
import pytest
import yaml
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    addressing,
    allocation,
    declaration,
    document,
    fixed_ips,
    floating_ips,
    history,
    instance_request,
    instances,
    invariants,
    kinds,
    network_commands,
    network_request,
    plan,
    projects,
    security_groups,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.fields import Fields
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import Project, State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
MORE = int(os.environ.get("TENANTNET_PROPERTY_EXAMPLES", "0"))

#: Hosts that can do all, so that what is allocated can always be planned.
HOSTS = {
    name: {
        "nodes": ["bridging", "addressing", "routing"],
        "nova_vlan_interface": "eth1",
        "nova_public_interface": "eth2",
    }
    for name in ("h1", "h2", "h3")
}

# Few of everything and small ranges, so that things meet and run out.
HOST = st.sampled_from(sorted(HOSTS))
PROJECT = st.sampled_from(["p1", "p2", "p3"])
LABEL = st.sampled_from(["a", "b", "c", "d"])
NAME = st.sampled_from([f"i{number}" for number in range(6)])
GROUP = st.sampled_from(["web", "db", "default"])
RANGE = st.sampled_from(["10.0.0.0/28", "10.0.0.16/28", "10.0.0.0/27", "10.0.1.0/28", "10.0.2.0/24", "10.0.0.8/29"])
RANGE_V6 = st.sampled_from(["fd00::/64", "fd00:0:0:1::/64", "fd00::/60", "fd00::/60"])
ADDRESS = st.one_of(
    st.integers(0, 31).map(lambda number: f"10.0.0.{number}"),
    st.sampled_from(["10.0.1.3", "10.0.2.3", "fd00::5", "fd00:0:0:1::5"]),
)
FLOATING = st.sampled_from(["192.0.2.0/29", "192.0.2.9", "192.0.2.10-192.0.2.12", "10.0.1.4", "fd00:9::1-fd00:9::3"])
ONE_FLOATING = st.one_of(
    st.integers(1, 12).map(lambda number: f"192.0.2.{number}"), st.sampled_from(["fd00:9::1", "fd00:9::2"])
)
POOL = st.sampled_from(["nova", "ext"])
MAC = st.integers(1, 3).map(lambda number: f"52:54:00:00:00:0{number}")
#: Outside all networks, whose gateways they must not be.
PAIRS = st.lists(
    st.sampled_from(["203.0.113.7", "203.0.113.64/28", "2001:db8:ffff::/64"]).map(lambda each: {"ip_address": each}),
    unique_by=lambda each: each["ip_address"],
)
MANAGER = st.sampled_from(["flat", "flatdhcp", "vlan"])
NOTHING = st.none()
CHANGED = ("project", "multi_host", "gateway", "num_networks", "reserved", "host", "priority", "manager", "mtu")


def maybe(strategy: st.SearchStrategy, often: int = 1) -> st.SearchStrategy:
    """Nothing `often` times as often as something."""
    return st.one_of(*[NOTHING] * often, strategy)


@st.composite
def network_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    manager = draw(MANAGER)
    several = draw(st.sampled_from([1, 1, 1, 2, 3]))
    fields = {
        "manager": manager,
        "fixed_range": draw(st.one_of(RANGE, RANGE, RANGE, RANGE, NOTHING)) if several == 1 else "10.0.3.0/24",
        "fixed_range_v6": draw(maybe(RANGE_V6, 2)),
        "num_networks": several,
        "network_size": 8 if several > 1 else None,
        "multi_host": draw(st.booleans()),
        "project": draw(maybe(PROJECT, 3)),
        "priority": draw(maybe(st.integers(0, 2), 2)),
        "mtu": draw(maybe(st.just(1450), 3)),
        "dns1": draw(maybe(st.just("198.51.100.1"), 3)),
        "host": draw(maybe(HOST, 5)),
    }
    if fields["fixed_range"] is None:
        fields["fixed_range_v6"] = draw(RANGE_V6)
    if fields["multi_host"]:
        fields["host"] = None
    if manager != "vlan":
        fields["bridge"] = draw(st.sampled_from(["br1", "br2", "br3", "br100"]))
    elif several == 1:
        fields["vlan"] = draw(maybe(st.integers(100, 103), 3))
    if several == 1 and fields["fixed_range"] is not None:
        base, offset = fields["fixed_range"].split("/")[0].rsplit(".", 1)
        inside = st.integers(1, 6).map(lambda number: f"{base}.{int(offset) + number}")
        fields["gateway"] = draw(maybe(inside, 4))
        fields["dhcp_server"] = draw(maybe(inside, 6))
        fields["reserved"] = draw(maybe(st.lists(inside, max_size=2), 3))
    return {name: value for name, value in fields.items() if value is not None}


def instance_fields(data: st.DataObject, held: State) -> dict[str, t.Any]:
    """Mostly of what is there, so that it is mostly not refused."""
    draw = data.draw
    project = draw(st.sampled_from(sorted(held.projects) or ["p1"]))
    fields = {"project": project, "host": draw(HOST)}
    if draw(st.integers(0, 2)):
        networks = [label for label, row in held.networks.items() if row.project in (None, project)]
        fields["network"] = draw(st.sampled_from(networks or ["a"]))
        network = held.networks.get(fields["network"])
        if network is not None and network.range is not None and not draw(st.integers(0, 3)):
            fields["address"] = network.range.text(network.range.first + draw(st.integers(1, 7)))
        elif network is not None and network.range_v6 is not None and not draw(st.integers(0, 3)):
            fields["address_v6"] = network.range_v6.text(network.range_v6.first + draw(st.integers(1, 3)))
        if not draw(st.integers(0, 3)):
            fields["mac"] = draw(MAC)
        if not draw(st.integers(0, 3)):
            fields["allowed_address_pairs"] = draw(PAIRS)
    floating = [row.address for row in held.floating_ips.values() if row.project in (None, project)]
    if floating and not draw(st.integers(0, 3)):
        fields["floating_ip"] = draw(st.one_of(st.just(True), st.sampled_from(sorted(floating))))
    groups = [name for owner, name in held.security_groups if owner == project]
    if groups and draw(st.booleans()):
        fields["security_groups"] = [draw(st.sampled_from(groups))]
    return fields


PROJECT_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "network_manager": MANAGER,
        "quota_fixed_ips": st.sampled_from([1, 3, -1]),
        "quota_networks": st.sampled_from([1, 2, -1]),
        "quota_floating_ips": st.sampled_from([0, 2, -1]),
        "floating_ips": st.lists(ONE_FLOATING, max_size=2, unique=True),
    },
)
GROUP_FIELDS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"subnet_size": st.sampled_from([2, 4, 8])}, optional={"network": LABEL}),
    st.fixed_dictionaries({"subnet_size": st.sampled_from([2, 4])}),
    st.fixed_dictionaries({"subnet": st.sampled_from(["10.0.0.4/30", "10.0.2.8/30"])}, optional={"network": LABEL}),
)
OPTIONS = st.one_of(
    st.tuples(st.just("nova_network_manager"), MANAGER),
    st.tuples(st.just("nova_force_dhcp_release"), st.booleans()),
    st.tuples(st.just("nova_auto_assign_floating_ip"), st.booleans()),
    st.tuples(st.just("nova_teardown_unused_network_gateway"), st.booleans()),
    st.tuples(st.just("nova_cnt_vpn_clients"), st.integers(0, 1)),
    st.tuples(st.just("nova_reserved_vlans"), st.lists(st.integers(100, 102), max_size=2)),
)

#: What is declared: by part, and in it by key.
Declared = dict[str, dict[t.Any, dict[str, t.Any]]]


def parsed(declared: Declared) -> declaration.Declaration:
    return declaration.parse(
        settings=declared["settings"][""],
        networks=[{"label": label, **fields} for label, fields in declared["networks"].items()],
        projects=[{"name": name, **fields} for name, fields in declared["projects"].items()],
        instances=[{"name": name, **fields} for name, fields in declared["instances"].items()],
        hosts=HOSTS,
        security_groups=[
            {"project": project, "name": name, **fields}
            for (project, name), fields in declared["security_groups"].items()
        ],
        floating_ranges=[{"range": key, **fields} for key, fields in declared["floating_ranges"].items()],
    )


class Site(RuleBasedStateMachine):
    """`held` is the store's content, `declared` what was last declared and accepted, `asked` what is to be next."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.held = state.empty()
        self.declared: Declared = {
            "settings": {"": {"nova_flat_network_bridge": "br1", "nova_fixed_ip_disassociate_timeout": 20}},
            "networks": {},
            "projects": {},
            "instances": {},
            "security_groups": {},
            "floating_ranges": {},
        }
        self.asked = copy.deepcopy(self.declared)
        self.settings = parsed(self.declared).settings
        self.seen: dict[str, State] = {}

    # --- what is done -------------------------------------------------------------------------------------------------

    def keep(self, after: State) -> None:
        self.held = after

    def run_declared(self) -> None:
        before = State(*map(dict, self.held))
        try:
            wanted = parsed(self.asked)
            after = allocation.allocate(wanted, self.held, self.now)
            plans = plan.compose(after, wanted)
        except InputError as error:
            note(f"refused: {error}")
            assert "\n" not in str(error)
            self.asked = copy.deepcopy(self.declared)
            assert self.held == before
            return
        assert self.held == before
        # What was foreseen is what comes, and once it is there nothing is left to do.
        assert allocation.allocate(wanted, self.held, self.now) == after
        assert allocation.allocate(wanted, after, self.now + 1) == after
        assert set(plans) == set(HOSTS)
        self.check_kept(after, wanted)
        self.keep(after if after != before else self.held)
        self.declared = copy.deepcopy(self.asked)
        self.settings = wanted.settings

    def check_kept(self, after: State, wanted: declaration.Declaration) -> None:
        """Who held something and asks for nothing else has it still; what commands made is still there."""
        for name, row in self.held.instances.items():
            request = wanted.instances.get(name)
            if request is None:
                assert (name in after.instances) == (row.origin == "command")
                if row.origin == "command":
                    assert after.instances[name] == row
            if name in after.instances and after.instances[name].project == row.project:
                self.check_nics(name, after, request)
        for kind in ("networks", "projects", "security_groups", "floating_ips"):
            before, now = getattr(self.held, kind), getattr(after, kind)
            assert [key for key, row in before.items() if row.origin == "command" and key not in now] == []
        for address, row in self.held.fixed_ips.items():
            if row.reserved_by == "command" and row.network in after.networks:
                subnets = after.networks[row.network].range, after.networks[row.network].range_v6
                inside = any(subnet and addressing.number(address) in subnet for subnet in subnets)
                assert not inside or after.fixed_ips[address].reserved_by == "command"

    def check_nics(self, name: str, after: State, request: instance_request.InstanceRequest | None) -> None:
        port = request.ports[0] if request else None
        for key, vif in self.held.vifs.items():
            if vif.instance != name:
                continue
            network = after.networks.get(vif.network)
            if key not in after.vifs:
                # Only by its own wish, or since the project has no right to the network any longer.
                assert port is not None
                named = port.network is not None or port.address is not None or port.address_v6 is not None
                assert named or network is None or network.project != after.instances[name].project
                continue
            assert after.vifs[key].mac == ((port and port.mac) or vif.mac)
            for row in self.held.fixed_ips.values():
                if (row.instance, row.network) == key and (port is None or port.asked(row.version) is None):
                    derived = row.version == 6 and after.vifs[key].mac != vif.mac
                    assert derived or after.fixed_ips[row.address].instance == name

    def command(self, work: t.Callable[[Ledger], t.Any]) -> None:
        before = State(*map(dict, self.held))
        ledger = MemoryLedger(self.held)
        try:
            work(ledger)
        except InputError as error:
            note(f"refused: {error}")
            assert "\n" not in str(error)
            assert self.held == before
            return
        after = ledger.state()
        assert self.held == before
        self.keep(after if after != before else self.held)

    def work(self, ledger: Ledger) -> instances.Settling:
        return instances.Settling(ledger, self.settings, self.now, "command")

    # --- what must hold -----------------------------------------------------------------------------------------------

    def is_new(self, what: str) -> bool:
        """Whether what is held has not been looked at so before; most steps change nothing."""
        before = self.seen.get(what)
        self.seen[what] = self.held
        return before is not self.held

    @invariant()
    def sound(self) -> None:
        assert invariants.violations(kinds.rows_of(self.held)) == []

    @invariant()
    def nobody_gets_what_another_may_still_use(self) -> None:
        held = [row for row in self.held.fixed_ips.values() if row.instance is not None or row.host is not None]
        assert all(row.quarantined_until is None and row.released_at is None for row in held)
        assert all(row.reserved_for in (None, row.instance) for row in held)

    @invariant()
    def exported_and_imported(self) -> None:
        if not self.is_new("export"):
            return
        text = document.write(self.held)
        read = document.scan(text)
        assert read is not None
        assert document.read(read).state == self.held
        assert document.write(document.read(read).state) == text

    @invariant()
    def planned(self) -> None:
        if not self.is_new("plan"):
            return
        made = plan.compose(self.held, parsed({**self.declared, "instances": {}, "networks": {}}))
        for each in made.values():
            VALIDATOR.validate(each)
        ports = [port for each in made.values() for one in each["instances"] for port in one["ports"]]
        assert len(ports) == len(self.held.vifs)

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
