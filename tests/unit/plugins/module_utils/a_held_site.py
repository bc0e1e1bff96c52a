"""What a store holds in memory, the ways in which it changes, and what must hold of it whatever was done."""

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import jsonschema
from a_declaration import HOSTS, Declared, parsed
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    addressing,
    allocation,
    declaration,
    document,
    instance_request,
    instances,
    invariants,
    kinds,
    plan,
    state,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import State
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, invariant

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


class HeldSite(RuleBasedStateMachine):
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
