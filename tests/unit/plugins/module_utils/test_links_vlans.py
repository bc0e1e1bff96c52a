"""VLAN interfaces: the plan checked, the difference found, its order, and what takes it back."""

from __future__ import annotations

import json
import pathlib
import typing as t

import hypothesis
import hypothesis.strategies as st
import jsonschema
import pytest
from a_vlan import bridge, compare, nic, our_bridge, ours, plan, state, vlan
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links, preflight
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())


class TestPlan:
    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"bridges": [], "vlans": None}, "links.vlans: None is not a list"),
            ({"bridges": [], "vlans": {}}, "links.vlans: {} is not a list"),
            (plan("vlan7"), "links.vlans[0]: 'vlan7' is not a mapping"),
            (plan({"link": "eth1", "id": 1}), "links.vlans[0].name is required"),
            (plan({"name": "vlan1", "id": 1}), "links.vlans[0].link is required"),
            (plan({"name": "vlan1", "link": "eth1"}), "links.vlans[0].id is required"),
            (plan(vlan(tag=1)), "links.vlans[0]: unknown key 'tag'; known are id, link, mac, mtu, name"),
            (plan(vlan("a-name-too-long-")), "links.vlans[0].name: 'a-name-too-long-' has 16 characters"),
            (plan(vlan(link="eth/1")), "links.vlans[0].link: 'eth/1' is not an interface name"),
            (plan(vlan(number=0)), "links.vlans[0].id: 0 is not a VLAN number; give a whole number from 1 to 4094"),
            (plan(vlan(number=4095)), "links.vlans[0].id: 4095 is not a VLAN number"),
            (plan(vlan(number="100")), "links.vlans[0].id: '100' is not a VLAN number"),
            (plan(vlan(number=True)), "links.vlans[0].id: True is not a VLAN number"),
            (plan(vlan(mtu=67)), "links.vlans[0].mtu: 67 is not an MTU"),
            (plan(vlan(mac="02:00")), "links.vlans[0].mac: '02:00' is not a MAC address"),
            (plan(vlan("a"), vlan("a", number=2)), "links.vlans[1].name: 'a' is already the name of links.vlans[0]"),
            (
                plan(vlan("a"), bridges=[bridge("a")]),
                "links.vlans[0].name: 'a' is already the name of links.bridges[0]",
            ),
            (plan(vlan("a"), vlan("b")), "links.vlans[1].id: tag 100 on eth1 is already that of a"),
            (
                plan(vlan(link="br7"), bridges=[bridge("br7")]),
                "links.vlans[0].link: 'br7' is a bridge of this plan (links.bridges[0])",
            ),
            (plan(vlan("a", "a")), "links.vlans[0].link: a on a stands on itself"),
            (
                plan(vlan("x", "a"), vlan("a", "b"), vlan("b", "a", 7)),
                "links.vlans[1].link: a on b on a stands on itself",
            ),
            (
                plan(vlan("a"), bridges=[bridge("x", "a"), bridge("y", "a")]),
                "links.bridges[1].interfaces[0]: 'a' is already an interface of bridge x",
            ),
        ],
    )
    def test_bad_input_is_named_by_its_path(self, section, message):
        with pytest.raises(InputError) as caught:
            links.parse(section)
        assert message in str(caught.value)

    def test_may_be_left_out(self):
        assert links.parse({"bridges": []}).vlans == ()

    @pytest.mark.parametrize("number", [1, 4094])
    def test_bounds(self, number):
        assert links.parse(plan(vlan(number=number))).vlans[0].id == number

    def test_same_tag_on_two_links(self):
        assert len(links.parse(plan(vlan("a"), vlan("b", "eth2"))).vlans) == 2

    def test_one_spelling(self):
        assert links.parse(plan(vlan(mac="02:00:00:AA:00:01"))).vlans[0].mac == "02:00:00:aa:00:01"

    @hypothesis.given(st.permutations(["a", "b", "c", "d"]))
    def test_what_stands_on_another_comes_after_it(self, order):
        given = {"a": vlan("a", "b"), "b": vlan("b", "c"), "c": vlan("c", "eth1"), "d": vlan("d", "b", 7)}
        names = [one.name for one in links.parse(plan(*(given[name] for name in order))).vlans]
        assert names.index("c") < names.index("b") < min(names.index("a"), names.index("d"))

    @pytest.mark.parametrize(
        ("section", "valid"),
        [
            (plan(vlan(mtu=1450, mac="02:00:00:aa:00:01")), True),
            (plan(vlan(mtu=None, mac=None)), True),
            ({"bridges": [], "sysctl": {}}, True),
            (plan(vlan(number=0, mtu=None, mac=None)), False),
            (plan(vlan(number=4095, mtu=None, mac=None)), False),
            (plan(bridges=[full_bridge := {**bridge("br1"), "mtu": None, "mac": None, "stp": False}]), False),
            (plan(bridges=[{**full_bridge, "forward_delay": 0, "addresses": ["fd00:0:0:1::1/64"]}]), True),
            (plan(bridges=[{**full_bridge, "forward_delay": 0, "addresses": ["10.0.0.1/24", "fd00::1/129"]}]), False),
            (plan(bridges=[{**full_bridge, "forward_delay": 0, "addresses": ["fd00::1"]}]), False),
        ],
    )
    def test_schema(self, section, valid):
        validator = jsonschema.Draft202012Validator({**SCHEMA, **SCHEMA["$defs"]["links"]})
        assert validator.is_valid(section) == valid


class TestDifference:
    def test_new_network(self):
        section = plan(vlan(mtu=1450), bridges=[bridge("br100", "vlan100", mtu=1450)])
        found = compare(section, state(nic()))
        assert found.actions() == [
            "create VLAN interface vlan100 with tag 100 on eth1",
            "create bridge br100",
            "enslave vlan100 to br100",
        ]
        assert not found.problems
        (create,) = [step for step in found.operations if isinstance(step, operations.CreateBridge)]
        assert create.mac == "02:00:00:00:00:01"  # that of the VLAN interface, which takes its link's
        assert "vlans:\n- name: vlan100\n  mark: tenantnet.nova\n  up: true\n  link: eth1\n" in found.diff()["after"]
        assert "  id: 100\n  mtu: 1450\n  mac: 02:00:00:00:00:01\n" in found.diff()["after"]
        assert found.diff()["before"] == ""

    def test_bridge_takes_the_planned_mac(self):
        section = plan(vlan(mac="02:00:00:aa:00:07"), bridges=[bridge("br100", "vlan100")])
        (create,) = [s for s in compare(section, state(nic())).operations if isinstance(s, operations.CreateBridge)]
        assert create.mac == "02:00:00:aa:00:07"

    def test_nothing_to_do(self):
        have = state(nic(), ours(master="br100"), our_bridge(), nic("eth9", up=False))
        found = compare(plan(vlan(mtu=1500), bridges=[bridge("br100", "vlan100")]), have)
        assert not found.changed and not found.problems and not found.risks
        assert found.diff() == {"before": "", "after": ""}

    def test_a_link_that_is_down_is_set_up_once(self):
        section = plan(vlan(), vlan("vlan200", number=200), bridges=[bridge("flat", "eth1")])
        found = compare(section, state(nic(up=False)))
        assert [text for text in found.actions() if text.endswith(" up")] == ["set eth1 up"]
        assert found.actions()[0] == "set eth1 up"
        assert found.diff()["before"] == "interfaces:\n- name: eth1\n  up: false\n"
        back = [step for done in reversed(found.operations) for step in done.inverse()]
        assert back[-1] == operations.ChangeLink("eth1", operations.Settings(up=False), operations.Settings(up=True))

    def test_only_what_differs_is_set(self):
        have = state(nic(), ours(mtu=1400, up=False))
        assert compare(plan(vlan(mtu=1450)), have).actions() == ["set MTU of vlan100 to 1450", "set vlan100 up"]
        assert compare(plan(vlan(mac="02:00:00:aa:00:07")), state(nic(), ours())).actions() == [
            "set MAC address of vlan100 to 02:00:00:aa:00:07"
        ]

    def test_gone_from_the_plan_bridge_first(self):
        have = state(nic(), ours(master="br100"), our_bridge())
        assert compare(plan(), have).actions() == ["remove bridge br100", "remove VLAN interface vlan100"]

    def test_gone_from_a_bridge_that_stays(self):
        have = state(nic(), ours(master="br100"), our_bridge())
        found = compare(plan(bridges=[bridge()]), have)
        assert found.actions() == ["release vlan100 from br100", "remove VLAN interface vlan100"]
        assert "interfaces: []" in found.diff()["after"]

    def test_wrong_tag_is_made_anew(self):
        have = state(nic(), ours(number=99, master="br100"), our_bridge())
        found = compare(plan(vlan(), bridges=[bridge("br100", "vlan100")]), have)
        assert found.actions() == [
            "remove VLAN interface vlan100",
            "create VLAN interface vlan100 with tag 100 on eth1",
            "enslave vlan100 to br100",
        ]
        assert "id: 99" in found.diff()["before"] and "id: 100" in found.diff()["after"]

    def test_another_kind_of_tag_is_made_anew(self):
        have = state(nic(), ours(number=None))
        assert compare(plan(vlan()), have).actions()[0] == "remove VLAN interface vlan100"

    def test_swapped_tags(self):
        have = state(nic(), ours("a", number=1), ours("b", number=2))
        found = compare(plan(vlan("a", number=2), vlan("b", number=1)), have)
        assert [text.split()[0] for text in found.actions()] == ["remove", "remove", "create", "create"]

    def test_another_name_for_the_same_tag(self):
        have = state(nic(), ours("old"), ours("other", number=7))
        found = compare(plan(vlan("new")), have)
        assert found.actions() == [
            "remove VLAN interface old",
            "create VLAN interface new with tag 100 on eth1",
            "remove VLAN interface other",
        ]

    def test_what_stands_on_one_that_is_made_anew(self):
        have = state(nic(), ours("s", number=1), ours("c", "s", 2))
        found = compare(plan(vlan("s", number=3), vlan("c", "s", 2)), have)
        assert found.actions() == [
            "remove VLAN interface c",
            "remove VLAN interface s",
            "create VLAN interface s with tag 3 on eth1",
            "create VLAN interface c with tag 2 on s",
        ]

    def test_put_back_it_follows_the_mac_of_its_link_again(self):
        (remove,) = compare(plan(), state(nic(), ours())).operations
        own = compare(plan(), state(nic(), ours(mac="02:00:00:aa:00:07"))).operations[0]
        assert [step.inverse()[0].mac for step in (remove, own)] == [None, "02:00:00:aa:00:07"]

    def test_one_put_in_by_hand_is_not_shown_where_it_goes_from(self):
        have = state(nic(), ours(master="br100"), our_bridge(interfaces="", mtu=1400))
        found = compare(plan(bridges=[bridge(mtu=1500)]), have)
        assert "interfaces: [vlan100]" in found.diff()["before"] and "interfaces: []" in found.diff()["after"]

    def test_settings_of_one_that_is_made_anew_are_those_of_birth(self):
        key = "net.ipv6.conf.vlan100.disable_ipv6"
        have = state(nic(), ours(number=99), **{key: "1", "net.ipv6.conf.default.disable_ipv6": "0"})
        assert compare(plan(vlan(), **{key: "1"}), have).actions()[-1] == f"set {key} to 1"

    @pytest.mark.parametrize(
        ("section", "have", "message"),
        [
            (plan(vlan()), state(), "VLAN interface vlan100: its link eth1 does not exist on this host"),
            (plan(vlan()), state(nic(loopback=True)), "its link eth1 is the loopback interface"),
            (plan(vlan()), state(nic(ethernet=False)), "its link eth1 is not an Ethernet interface"),
            (
                plan(vlan()),
                state(nic(master="bond0"), nic("bond0", kind="bond")),
                "its link eth1 is a port of the bond bond0; name that",
            ),
            (plan(vlan(link="br7")), state(our_bridge("br7", "")), "its link br7 is ours and not planned any more"),
            (plan(vlan(link="v")), state(nic(), ours("v")), "its link v is ours and not planned any more"),
            (
                plan(vlan(mtu=1501)),
                state(nic()),
                "VLAN interface vlan100: its planned MTU 1501 is larger than the MTU 1500 of its link eth1",
            ),
            (
                plan(vlan("a", mtu=1400), vlan("b", "a", mtu=1450)),
                state(nic()),
                "VLAN interface b: its planned MTU 1450 is larger than the MTU 1400 of its link a",
            ),
            (
                plan(vlan(mtu=1400), bridges=[bridge("br100", "vlan100", mtu=1450)]),
                state(nic(), ours()),
                "bridge br100: its planned MTU 1450 is larger than the MTU 1400 of its interface vlan100",
            ),
            (plan(vlan()), state(nic(), nic("vlan100")), "exists that is not a VLAN interface"),
            (
                plan(vlan()),
                state(nic(), ours(alias="")),
                "VLAN interface vlan100: exists (tag 100 on eth1), but does not carry our mark, so it is left alone; "
                "to hand it over: ip link set vlan100 alias tenantnet.nova",
            ),
            (
                plan(vlan()),
                state(nic(), ours(alias="", number=7)),
                "VLAN interface vlan100: exists (tag 7 on eth1 instead of 100 on eth1), but does not carry our mark",
            ),
            (plan(vlan()), state(nic(), ours("theirs", alias="")), "tag 100 on eth1 is that of theirs, which is not"),
            (
                plan(bridges=[bridge("br100", "vlan100")]),
                state(nic(), ours()),
                "bridge br100: interface vlan100 is a VLAN interface of ours that is not planned any more",
            ),
            (
                plan(),
                state(nic(), ours(addresses=[links.Address("192.0.2.5", 24)])),
                "removing VLAN interface vlan100: it carries 192.0.2.5/24, which is not ours",
            ),
            (
                plan(vlan()),
                state(nic(), ours(number=7), ours("theirs", "vlan100", alias="")),
                "making VLAN interface vlan100 anew: theirs stands on it, which is not ours and would be lost",
            ),
            (
                plan(),
                state(our_bridge("br100", ""), ours("theirs", "br100", alias="")),
                "removing bridge br100: theirs stands on it, which is not ours and would be lost",
            ),
        ],
    )
    def test_refused_in_one_message(self, section, have, message):
        found = compare(section, have)
        assert len(found.problems) == 1
        with pytest.raises(HostError) as caught:
            links.guard(found, links.Duties())
        assert message in str(caught.value)

    def test_one_message_for_many(self):
        section = plan(*(vlan(f"v{n}", "nowhere", n) for n in (1, 2, 3)), bridges=[bridge("b", "v1")])
        assert len(compare(section, state()).problems) == 3

    def test_what_a_reader_of_hosts_reports_is_enough(self):
        have = state(nic(), ours("theirs", number=7, alias=""), ours("vlan200", number=200))
        report = json.loads(json.dumps(preflight.report(have, links.Duties({"eth1": "the default route"}))))

        def check(*vlans: dict[str, t.Any]) -> str:
            section = {"packet_filter": {"public_interface": None}, "links": plan(*vlans)}
            try:
                preflight.check({"h1": section}, {"h1": report})
            except InputError as error:
                return str(error)
            return ""

        # Under the host's own way out a VLAN interface moves nothing.
        assert check(vlan(), vlan("vlan200", number=200)) == ""
        text = check(vlan(link="eth7"), vlan("a", number=7), vlan("b", number=8, mtu=9000))
        assert text.splitlines()[0].startswith("host 'h1': VLAN interface vlan100: its link eth7 does not exist")
        assert "tag 7 on eth1 is that of theirs" in text and "MTU 9000 is larger than the MTU 1500" in text

    @pytest.mark.parametrize(
        ("carrier", "refused"), [("vlan100", True), ("br100", True), ("eth1", False), ("eth2", False)]
    )
    def test_what_carries_the_host_is_not_made_anew(self, carrier, refused):
        have = state(nic(), nic("eth2"), ours(number=99, master="br100"), our_bridge())
        found = compare(plan(vlan(), bridges=[bridge("br100", "vlan100")]), have)
        try:
            links.guard(found, links.Duties({carrier: "the default route"}))
        except HostError as error:
            assert refused and carrier in str(error)
        else:
            assert not refused
