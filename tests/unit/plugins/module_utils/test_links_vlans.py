"""VLAN interfaces: the plan checked, the difference found, its order, and what takes it back."""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import typing as t

import hypothesis
import hypothesis.strategies as st
import jsonschema
import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links, preflight
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations

MARK = "tenantnet.nova"
SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())


def vlan(name: str = "vlan100", link: str = "eth1", number: object = 100, **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "link": link, "id": number, **keys}


def bridge(name: str = "br100", *interfaces: str, **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "interfaces": list(interfaces), **keys}


def plan(*vlans: dict[str, t.Any], bridges: t.Sequence[dict[str, t.Any]] = (), **sysctl: str) -> dict[str, t.Any]:
    return {"bridges": list(bridges), "vlans": list(vlans), "sysctl": sysctl}


def nic(name: str = "eth1", **keys: t.Any) -> links.Link:
    return links.Link(name, 0, **{"mac": "02:00:00:00:00:01", **keys})


def ours(name: str = "vlan100", parent: str = "eth1", number: int | None = 100, **keys: t.Any) -> links.Link:
    given = {"kind": "vlan", "alias": MARK, "mac": "02:00:00:00:00:01", "parent": parent, "vlan_id": number, **keys}
    return links.Link(name, 0, **given)


def our_bridge(name: str = "br100", interfaces: str = "vlan100", **keys: t.Any) -> links.Link:
    alias = f"{MARK} interfaces={interfaces} addresses="
    return links.Link(name, 0, **{"kind": "bridge", "alias": alias, "mac": "02:00:00:00:00:01", **keys})


def state(*found: links.Link, **sysctl: str | None) -> links.State:
    return links.State({one.name: one for one in found}, dict(sysctl))


def compare(section: dict[str, t.Any], have: links.State) -> links.Difference:
    return links.compare(links.parse(section), have)


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


class Refused(Exception):
    """What the kernel would not do."""


class Kernel:
    """What Linux does with links (net/8021q/vlan.c, vlan_dev.c, net/bridge): the rules that an order has to respect."""

    def __init__(self, *cards: links.Link) -> None:
        self.links = {card.name: card for card in cards}
        self.inheriting: set[str] = set()

    @property
    def state(self) -> links.State:
        return links.State(copy.deepcopy(self.links))

    def seen(self) -> dict[str, links.Link]:
        return copy.deepcopy(self.links)

    def do(self, step: operations.Operation) -> None:
        {
            operations.CreateVlan: self.create_vlan,
            operations.CreateBridge: self.create_bridge,
            operations.RemoveVlan: lambda one: self.remove(self.find(one.name)),
            operations.RemoveBridge: lambda one: self.remove(self.find(one.name)),
            operations.ChangeLink: self.change,
            operations.Enslave: self.enslave,
            operations.SetAlias: self.alias,
        }[type(step)](step)

    def find(self, name: str) -> links.Link:
        if name not in self.links:
            raise Refused(f"{name} is not there")
        return self.links[name]

    def standing(self, link: links.Link) -> list[links.Link]:
        return [other for other in self.links.values() if other.parent == link.name]

    def create_vlan(self, step: operations.CreateVlan) -> None:
        below = self.find(step.link)
        if step.name in self.links or any(other.vlan_id == step.id for other in self.standing(below)):
            raise Refused("File exists")
        if step.mtu is not None and step.mtu > below.mtu:
            raise Refused("Numerical result out of range")
        if step.up and not below.up:
            raise Refused("Network is down")
        if step.mac is None:
            self.inheriting.add(step.name)
        given = {"kind": "vlan", "alias": step.alias, "parent": step.link, "vlan_id": step.id, "up": step.up}
        self.links[step.name] = links.Link(step.name, 0, **given, mtu=step.mtu or below.mtu, mac=step.mac or below.mac)

    def create_bridge(self, step: operations.CreateBridge) -> None:
        if step.name in self.links:
            raise Refused("File exists")
        self.links[step.name] = links.Link(
            step.name, 0, kind="bridge", alias=step.alias, mtu=step.mtu or 1500, mac=step.mac or "", up=step.up
        )

    def remove(self, link: links.Link) -> None:
        for above in self.standing(link):
            self.remove(above)
        for port in self.links.values():
            if port.master == link.name:
                port.master = None
        self.inheriting.discard(link.name)
        del self.links[link.name]

    def change(self, step: operations.ChangeLink) -> None:
        link, to = self.find(step.name), step.to
        below = self.links[link.parent] if link.parent is not None else None
        if to.mac is not None:
            self.inheriting.discard(link.name)
            self.set_mac(link, to.mac)
        if to.mtu is not None:
            if below is not None and to.mtu > below.mtu:
                raise Refused("Numerical result out of range")
            self.set_mtu(link, to.mtu)
        if to.up is not None:
            if to.up and below is not None and not below.up:
                raise Refused("Network is down")
            self.set_up(link, to.up)

    def set_mac(self, link: links.Link, mac: str) -> None:
        link.mac = mac
        for above in self.standing(link):
            if above.name in self.inheriting:
                self.set_mac(above, mac)

    def set_mtu(self, link: links.Link, mtu: int) -> None:
        link.mtu = mtu
        for above in self.standing(link):
            if above.mtu > mtu:
                self.set_mtu(above, mtu)

    def set_up(self, link: links.Link, up: bool) -> None:
        link.up = up
        for above in self.standing(link):
            self.set_up(above, up)

    def enslave(self, step: operations.Enslave) -> None:
        link = self.find(step.interface)
        if step.bridge is not None:
            self.find(step.bridge)
        if step.bridge != step.before:
            link.master = step.bridge
        if step.up is not None:
            self.set_up(link, step.up)

    def alias(self, step: operations.SetAlias) -> None:
        self.find(step.name).alias = step.alias


NAMES = ["v1", "v2", "v3", "v4"]


@st.composite
def sections(draw: st.DrawFn) -> dict[str, t.Any]:
    """A plan of VLAN interfaces on two cards and on each other, some of them in bridges."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    tags: set[tuple[str, int]] = set()
    found: dict[str, dict[str, t.Any]] = {}
    largest = {"eth1": 1500, "eth2": 1450}
    for name in names:
        below = draw(st.sampled_from(["eth1", "eth2", *found]))
        number = draw(st.sampled_from([n for n in range(1, 6) if (below, n) not in tags]))
        tags.add((below, number))
        mtu = draw(st.sampled_from([None, *(size for size in (1300, 1400, 1450, 1500) if size <= largest[below])]))
        mac = draw(st.sampled_from([None, None, "02:00:00:aa:00:01", "02:00:00:aa:00:02"]))
        largest[name] = mtu or 1300  # what is left to the kernel may have been smaller before
        found[name] = vlan(name, below, number, mtu=mtu, mac=mac)
    home = {name: draw(st.sampled_from(["", "brA", "brB"])) for name in found}
    bridges = [bridge(one, *(name for name in home if home[name] == one)) for one in ("brA", "brB")]
    bridges = [one for one in bridges if one["interfaces"] or draw(st.booleans())]
    return plan(*draw(st.permutations(list(found.values()))), bridges=bridges)


def cards(up: bool = True) -> list[links.Link]:
    return [nic(), nic("eth2", mac="02:00:00:00:00:02", mtu=1450, up=up)]


class TestOrder:
    @hypothesis.given(sections(), sections(), st.booleans(), st.integers(0, 40))
    @hypothesis.settings(max_examples=300, deadline=None)
    def test_from_any_plan_to_any_other_and_back(self, old, new, up, cut):
        kernel = Kernel(*cards(up))
        for section in (old, new):
            before = kernel.seen()
            difference = compare(section, kernel.state)
            assert not difference.problems
            # As far as some step, and everything back from there.
            done = difference.operations[:cut]
            for step in done:
                kernel.do(step)
            for step in reversed(done):
                for back in step.inverse():
                    try:
                        kernel.do(back)
                    except Refused:
                        continue  # as the driver: what counts is the end
            assert kernel.seen() == before
            # All the way.
            for step in difference.operations:
                kernel.do(step)
            again = compare(section, kernel.state)
            assert not again.problems and again.actions() == [] and not again.changed
        # It ends as from scratch, apart from what is left to the kernel.
        fresh = Kernel(*cards(up))
        for step in compare(new, fresh.state).operations:
            fresh.do(step)
        assert {name: stripped(link) for name, link in kernel.seen().items() if name not in ("eth1", "eth2")} == {
            name: stripped(link) for name, link in fresh.seen().items() if name not in ("eth1", "eth2")
        }

    def test_a_mac_that_was_the_links_own_is_not_taken_along(self):
        """What stands on a VLAN interface has its MAC address until it is given one, even the very same."""
        kernel = Kernel(*cards())
        for step in compare(plan(vlan("s", mac="02:00:00:aa:00:01"), vlan("c", "s", 7)), kernel.state).operations:
            kernel.do(step)
        section = plan(vlan("s", mac="02:00:00:aa:00:02"), vlan("c", "s", 7, mac="02:00:00:aa:00:01"))
        for step in compare(section, kernel.state).operations:
            kernel.do(step)
        assert kernel.state.links["c"].mac == "02:00:00:aa:00:01"
        assert not compare(section, kernel.state).changed

    @pytest.mark.parametrize("above", [[vlan("c", "s", 7, mtu=1400)], [vlan("c", "s", 7)], []])
    def test_a_smaller_mtu_below_is_taken_back_above_too(self, above):
        kernel = Kernel(*cards())
        for step in compare(plan(vlan("s"), vlan("c", "s", 7)), kernel.state).operations:
            kernel.do(step)
        before = kernel.seen()
        smaller = plan(vlan("s", mtu=1400), *above)
        done = compare(smaller, kernel.state).operations
        for step in done:
            kernel.do(step)
        assert not compare(smaller, kernel.state).changed
        for step in reversed(done):
            for back in step.inverse():
                kernel.do(back)  # in an order in which the kernel refuses nothing
        assert kernel.seen() == before

    def test_a_mac_that_is_left_to_the_kernel_follows_the_link_below(self):
        def section(mac: str) -> dict[str, t.Any]:
            return plan(vlan("s", mac=mac), vlan("c", "s", 7), bridges=[bridge("br100", "c")])

        kernel = Kernel(*cards())
        for mac in ("02:00:00:aa:00:01", "02:00:00:aa:00:02"):
            for step in compare(section(mac), kernel.state).operations:
                kernel.do(step)
            assert {kernel.links[name].mac for name in ("s", "c", "br100")} == {mac}
            assert not compare(section(mac), kernel.state).changed

    @hypothesis.given(sections(), st.sampled_from(NAMES), st.sampled_from(["down", "mtu", "mac", "gone", "tag"]))
    @hypothesis.settings(deadline=None)
    def test_drift_is_repaired(self, section, name, drift):
        kernel = Kernel(*cards())
        for step in compare(section, kernel.state).operations:
            kernel.do(step)
        hypothesis.assume(name in kernel.links)
        good = kernel.seen()
        link = kernel.links[name]
        if drift == "down":
            kernel.set_up(link, False)
        elif drift == "mtu":
            kernel.set_mtu(link, 1280)
        elif drift == "mac":
            kernel.set_mac(link, "02:00:00:bb:00:01")
        elif drift == "gone":
            kernel.remove(link)
        else:
            link.vlan_id = 4000
        repair = compare(section, kernel.state)
        # Where its MTU is left to whoever sets it, it may have become too small for what stands on it.
        hypothesis.assume(not (drift == "mtu" and repair.problems))
        assert not repair.problems
        for step in repair.operations:
            kernel.do(step)
        assert not compare(section, kernel.state).changed
        now = kernel.seen()
        assert now.keys() == good.keys()
        assert all(now[one].master == good[one].master and now[one].up for one in now)
        assert all(now[one].vlan_id == good[one].vlan_id for one in now)


def stripped(link: links.Link) -> links.Link:
    """Without what a plan may leave to the kernel."""
    return dataclasses.replace(link, mtu=0, mac="")
