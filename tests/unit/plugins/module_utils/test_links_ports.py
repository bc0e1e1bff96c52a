"""Instances' ports: the plan checked, the difference found, the udev rules, and what takes it back."""

from __future__ import annotations

import json
import pathlib
import typing as t

import jsonschema
import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.plan import Port
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.rules import render_rules

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())
MAC = "fe:16:3e:00:00:01"


def port(name: str = "tap1", bridge: str = "br100", **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "bridge": bridge, "mtu": 1450, "mac": MAC, **keys}


def plan(*ports: dict[str, t.Any], bridges: t.Sequence[str] = ("br100",), **keys: t.Any) -> dict[str, t.Any]:
    return {"bridges": [{"name": name} for name in bridges], "ports": list(ports), **keys}


def our_bridge(name: str = "br100") -> links.Link:
    return links.Link(name, 0, kind="bridge", alias="tenantnet.nova interfaces= addresses=")


def their_bridge(name: str = "br0", **keys: t.Any) -> links.Link:
    return links.Link(name, 0, kind="bridge", mac="02:00:00:00:00:01", **keys)


def device(name: str = "tap1", **keys: t.Any) -> links.Link:
    return links.Link(name, 0, **{"kind": "tun", "mac": "02:00:00:00:00:07", "up": False, **keys})


def plugged(**keys: t.Any) -> links.Link:
    given = {"master": "br100", "alias": "tenantnet.nova port=br100", "mtu": 1450, "mac": MAC, "up": True}
    return device(**{**given, "hairpin": True, **keys})


def state(*found: links.Link, rules: str | None = None) -> links.State:
    return links.State({one.name: one for one in found}, rules=rules)


def compare(section: dict[str, t.Any], have: links.State) -> links.Difference:
    return links.compare(links.parse(section), have)


def done(section: dict[str, t.Any], *found: links.Link) -> list[str]:
    difference = compare(section, state(*found))
    links.guard(difference, links.Duties())
    return difference.actions()


class TestPlan:
    @pytest.mark.parametrize(
        ("section", "message"),
        [
            (plan(ports=None), "links.ports: None is not a list"),
            (plan(t.cast(t.Any, "tap1")), "links.ports[0]: 'tap1' is not a mapping"),
            (plan({"bridge": "br100"}), "links.ports[0].name is required"),
            (plan({"name": "tap1"}), "links.ports[0].bridge is required"),
            (plan(port(vlan=1)), "links.ports[0]: unknown key 'vlan'; known are bridge, hairpin, mac, mtu, name, tap"),
            (plan(port("tap*")), "links.ports[0].name: 'tap*' has a character that a udev rule cannot carry"),
            (plan(port(bridge='br"0')), "links.ports[0].bridge: 'br\"0' has a character"),
            (plan(port(tap=None)), "links.ports[0].tap: None is neither true nor false"),
            (plan(port(mtu=1)), "links.ports[0].mtu: 1 is not an MTU"),
            (plan(port(mac="01:00:5e:00:00:01")), "links.ports[0].mac: '01:00:5e:00:00:01' is a group or zero address"),
            (plan(port(), port()), "links.ports[1].name: 'tap1' is already links.ports[0]; plan it once"),
            (plan(port("br100", "br7")), "links.ports[0].name: 'br100' is already links.bridges[0]"),
            (plan(port(), port("tap2", "tap1")), "links.ports[1].bridge: 'tap1' is not planned as a bridge"),
            (
                {"bridges": [{"name": "br1", "interfaces": ["tap1"]}], "ports": [port()]},
                "links.ports[0].name: 'tap1' is already an interface of bridge br1",
            ),
        ],
    )
    def test_bad_input_is_named_by_its_path(self, section, message):
        with pytest.raises(InputError) as caught:
            links.parse(section)
        assert message in str(caught.value)

    def test_defaults(self):
        assert links.parse(plan({"name": "a", "bridge": "b"})).ports == (Port("a", "b", False, True, None, None),)
        assert links.parse({"bridges": []}).ports == ()

    @pytest.mark.parametrize(
        ("section", "valid"),
        [
            ([port(tap=False, hairpin=True)], True),
            ([port(tap=True, hairpin=False, mtu=None, mac=None)], True),
            ([port(tap=None, hairpin=True)], False),
            ([{"name": "tap1", "bridge": "br100"}], False),
        ],
    )
    def test_schema(self, section, valid):
        validator = jsonschema.Draft202012Validator({**SCHEMA, **SCHEMA["$defs"]["links"]})
        assert validator.is_valid({"bridges": [], "sysctl": {}, "ports": section}) == valid


class TestDifference:
    def test_a_device_that_is_not_there_is_none(self):
        assert done(plan(port()), our_bridge()) == []

    def test_is_plugged(self):
        difference = compare(plan(port()), state(our_bridge(), device()))
        (change,) = difference.operations
        assert change == operations.ChangePort(
            "tap1",
            operations.PortState("tenantnet.nova port=br100", "br100", True, 1450, MAC, True),
            operations.PortState("", None, False, 1500, "02:00:00:00:00:07", False),
        )
        assert change.inverse() == [operations.ChangePort("tap1", change.before, change.to)]
        assert "hairpin: true" in difference.diff()["after"] and "bridge: none" in difference.diff()["before"]

    def test_nothing_to_do(self):
        assert done(plan(port()), our_bridge(), plugged()) == []

    @pytest.mark.parametrize(
        ("drift", "action"),
        [
            ({"hairpin": False}, "turn hairpin mode on on tap1"),
            ({"up": False}, "set tap1 up"),
            ({"mtu": 1500}, "set MTU of tap1 to 1450"),
            ({"mac": "02:00:00:00:00:07"}, f"set MAC address of tap1 to {MAC}"),
            ({"alias": ""}, "update the mark of tap1"),
            ({"master": None}, "enslave tap1 to br100"),
        ],
    )
    def test_drift(self, drift, action):
        assert done(plan(port()), our_bridge(), plugged(**drift)) == [action]

    def test_what_is_null_is_left_alone(self):
        assert done(plan(port(mtu=None, mac=None)), our_bridge(), plugged(mtu=1300, mac="02:00:00:00:00:07")) == []

    def test_moves_between_our_bridges_and_leaves_one_that_goes(self):
        section = plan(port(bridge="br200"), bridges=["br200"])
        assert done(section, our_bridge(), plugged()) == [
            "create bridge br200",
            "move tap1 from br100 to br200",
            "remove bridge br100",
        ]

    @pytest.mark.parametrize("kind", ["bridge", "bond"])
    def test_is_not_taken_from_somebody_else(self, kind):
        theirs = links.Link("br0", 0, kind=kind)
        with pytest.raises(HostError, match=f"port tap1: the interface is a port of the {kind} br0 instead of br100"):
            done(plan(port()), our_bridge(), theirs, device(master="br0"))

    def test_is_not_taken_back_from_somebody_who_has_taken_it(self):
        taken = plugged(master="br0", alias="tenantnet.nova port=br100")
        with pytest.raises(HostError, match="is a port of the bridge br0 instead of br100, and we did not plug it in"):
            done(plan(port()), our_bridge(), their_bridge(), taken)

    def test_moves_from_an_operators_bridge_that_it_was_plugged_into_by_us(self):
        was = plugged(master="br0", alias="tenantnet.nova port=br0")
        assert done(plan(port()), our_bridge(), their_bridge(), was) == ["move tap1 from br0 to br100"]

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            ([], "its bridge br0 is neither planned nor on this host"),
            ([links.Link("br0", 0)], "its bridge br0 is no bridge"),
            ([our_bridge("br0")], "its bridge br0 is ours and not planned any more"),
        ],
    )
    def test_a_bridge_that_cannot_be_used_is_told_once(self, found, message):
        with pytest.raises(HostError) as caught:
            done(plan(port("tap1", "br0"), port("tap2", "br0"), bridges=[]), *found)
        assert str(caught.value).startswith(f"port tap1 (and 1 more): {message}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"kind": "bridge"}, "is itself a bridge"),
            ({"kind": "vlan"}, "is a VLAN interface"),
            ({"ethernet": False}, "is not an Ethernet interface"),
            ({"addresses": [links.Address("192.0.2.5", 24)]}, "carries the host's own address 192.0.2.5/24"),
        ],
    )
    def test_what_is_no_port_is_refused(self, keys, message):
        with pytest.raises(HostError, match=message):
            done(plan(port()), our_bridge(), device(**keys))

    def test_the_default_route_is_not_enslaved(self):
        difference = compare(plan(port()), state(our_bridge(), device()))
        with pytest.raises(HostError, match="port tap1: enslaving it to br100: tap1 carries the default route"):
            links.guard(difference, links.Duties({"tap1": "the default route"}))


class TestOperatorsBridge:
    def test_is_used_and_not_altered(self):
        difference = compare(plan(port(bridge="br0"), bridges=[]), state(their_bridge(), device()))
        assert [operation.name for operation in difference.operations] == ["tap1"]

    @pytest.mark.parametrize(
        ("bridge", "uplink", "planned", "expected"),
        [
            (9000, None, 1450, 9000),
            (1400, None, 1450, 1450),
            (1400, None, None, 1400),
            (9000, 9000, 1450, 9000),
            (1500, 9000, None, 9000),  # held down by a port of ours until now
            (9000, 1400, 1450, 1450),
        ],
    )
    def test_its_mtu_is_not_lowered_by_a_port(self, bridge, uplink, planned, expected):
        section = plan(port(bridge="br0", mtu=planned), bridges=[])
        others = [] if uplink is None else [links.Link("eth1", 0, master="br0", mtu=uplink)]
        difference = compare(section, state(their_bridge(mtu=bridge), device(mtu=1300), *others, rules=""))
        change, rules = difference.operations
        assert change.to.mtu == expected
        assert f" mtu {expected} " in rules.text

    def test_is_left_by_a_port_that_is_not_planned(self):
        was = plugged(master="br0", alias="tenantnet.nova port=br0")
        assert done(plan(bridges=[]), their_bridge(), was) == ["release tap1 from br0"]


class TestLeaving:
    def test_a_guests_device_is_unplugged_and_loses_our_mark(self):
        difference = compare(plan(), state(our_bridge(), plugged()))
        (change,) = difference.operations
        assert (change.to.bridge, change.to.alias) == (None, "")
        assert done(plan(), our_bridge(), device()) == []

    def test_what_somebody_has_plugged_elsewhere_stays_there(self):
        difference = compare(plan(), state(our_bridge(), their_bridge(), plugged(master="br0")))
        (change,) = difference.operations
        assert (change.to.bridge, change.to.alias) == ("br0", "")

    def test_one_that_becomes_an_interface_of_the_bridge_stays(self):
        section = {"bridges": [{"name": "br100", "interfaces": ["tap1"], "mac": MAC}]}
        found = our_bridge()
        found.mac = MAC
        assert done(section, found, plugged()) == [
            "update the mark of bridge br100",
            "take our mark off tap1",
        ]

    def test_a_mark_on_a_bridge_makes_no_port(self):
        theirs = links.Link("br0", 0, kind="bridge", alias="tenantnet.nova port=br100")
        assert done(plan(bridges=["br0"]), theirs) != ["take our mark off br0"]

    def test_with_the_bridge(self):
        actions = done(plan(bridges=[]), our_bridge(), plugged(), device("tap9", master="br100"))
        assert actions == ["release tap1 from br100", "remove bridge br100 (releases tap9)"]


class TestTaps:
    MADE: t.ClassVar = {"alias": "tenantnet.nova tap=br100"}

    def test_is_made(self):
        difference = compare(plan(port(tap=True)), state(our_bridge()))
        create, change = difference.operations
        assert difference.actions() == ["create tap tap1", "enslave tap1 to br100"]
        assert create.inverse() == [operations.RemoveTap("tap1")]
        assert change.to.alias == "tenantnet.nova tap=br100"

    def test_one_that_is_there_is_used_and_never_removed(self):
        (change,) = compare(plan(port(tap=True)), state(our_bridge(), device())).operations
        assert change.to.alias == "tenantnet.nova port=br100"

    def test_stays(self):
        assert done(plan(port(tap=True)), our_bridge(), plugged(**self.MADE)) == []

    @pytest.mark.parametrize("section", [plan(), plan(port(tap=False))])
    def test_goes(self, section):
        difference = compare(section, state(our_bridge(), plugged(**self.MADE)))
        assert difference.actions() == ["remove tap tap1"]
        create, change = difference.operations[0].inverse()
        assert (create.name, change.to.bridge, change.to.alias) == ("tap1", "br100", self.MADE["alias"])

    def test_that_a_guest_has_open_is_unplugged_and_goes_after_it(self):
        running = plugged(**self.MADE, carrier=True)
        (change,) = compare(plan(), state(our_bridge(), running)).operations
        assert (change.to.bridge, change.to.alias) == (None, "tenantnet.nova tap=")
        left = device(alias="tenantnet.nova tap=", carrier=True)
        assert done(plan(), our_bridge(), left) == []
        left.carrier = False
        assert done(plan(), our_bridge(), left) == ["remove tap tap1"]
        assert done(plan(port(tap=False)), our_bridge(), running) == []

    def test_only_a_tap_goes(self):
        assert done(plan(), our_bridge(), plugged(**self.MADE, kind="veth")) == ["release tap1 from br100"]


class TestRules:
    def test_a_line_a_port(self):
        text = render_rules([Port("tap2", "br1", True, False), Port("tap1", "br0", mtu=1450, mac=MAC)])
        lines = [line for line in text.splitlines() if line.startswith("KERNEL")]
        assert lines == [
            f'KERNEL=="tap1", ENV{{.TENANTNET_PORT}}="master br0 mtu 1450 address {MAC}", '
            'ENV{.TENANTNET_HAIRPIN}="on", ENV{.TENANTNET_MARK}="tenantnet.nova port=br0"',
            'KERNEL=="tap2", ENV{.TENANTNET_PORT}="master br1", ENV{.TENANTNET_HAIRPIN}="off"',
        ]
        assert render_rules([]) == ""

    def test_are_written_only_when_they_differ(self):
        difference = compare(plan(port()), state(our_bridge(), rules=""))
        assert difference.actions() == ["write the udev rules of the ports"]
        (write,) = difference.operations
        assert write.inverse() == [operations.WriteRules("", write.text)]
        assert "KERNEL==" in difference.diff()["after"]
        assert not compare(plan(port()), state(our_bridge(), rules=write.text)).changed
        assert compare(plan(), state(our_bridge(), rules=write.text)).actions() == [
            "remove the udev rules of the ports"
        ]

    def test_not_without_udev(self):
        assert done(plan(port()), our_bridge()) == []
