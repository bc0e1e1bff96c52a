"""Bridges and addresses: the plan checked, the difference found, its order, and what takes it back."""

from __future__ import annotations

import copy
import dataclasses
import typing as t

import hypothesis
import hypothesis.strategies as st
import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import addresses, operations, sysctl
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.kernel import FOREVER, PERMANENT, SECONDARY
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.mark import (
    Mark,
    is_ours,
    parse_mark,
    render_mark,
)


def bridge(name: str = "br100", **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, **keys}


def plan(*bridges: dict[str, t.Any], **sysctl: str) -> dict[str, t.Any]:
    return {"bridges": list(bridges), "sysctl": sysctl}


def address(text: str, **more: t.Any) -> links.Address:
    """An address as the kernel has it; IPv4 with the usual broadcast unless said otherwise."""
    planned = links.parse(plan(bridge(addresses=[text]))).bridges[0].addresses[0]
    return dataclasses.replace(planned, **more)


def link(name: str, index: int = 1, **keys: t.Any) -> links.Link:
    return links.Link(name, index, **{"mac": f"02:00:00:00:00:{index:02x}", **keys})


def ours(name: str = "br100", interfaces: str = "", addresses: str = "", **keys: t.Any) -> links.Link:
    alias = f"tenantnet.nova interfaces={interfaces} addresses={addresses}"
    have = [address(text) for text in addresses.split(",") if text]
    return link(name, 100, **{"kind": "bridge", "alias": alias, "addresses": have, **keys})


def state(*found: links.Link, **sysctl: str | None) -> links.State:
    return links.State({one.name: one for one in found}, dict(sysctl))


def compare(section: dict[str, t.Any], have: links.State) -> links.Difference:
    return links.compare(links.parse(section), have)


def steps(difference: links.Difference) -> list[str]:
    """All operations by kind and object, also those that are not worth telling an operator."""
    return [
        f"{phase}: {type(operation).__name__}" for phase in operations.ORDER for operation in difference.phases[phase]
    ]


class TestPlan:
    @pytest.mark.parametrize(
        ("section", "message"),
        [
            (None, "links: None is not a mapping"),
            ({}, "links.bridges is required"),
            ({"bridges": [], "bonds": []}, "links: unknown key 'bonds'; known are bridges, "),
            ({"bridges": {}}, "links.bridges: {} is not a list"),
            ({"bridges": ["br1"]}, "links.bridges[0]: 'br1' is not a mapping"),
            (plan({}), "links.bridges[0].name is required"),
            (plan(bridge(ports=[])), "links.bridges[0]: unknown key 'ports'"),
            (plan(bridge("a-bridge-too-long")), "links.bridges[0].name: 'a-bridge-too-long' has 17 characters"),
            (plan(bridge(7)), "links.bridges[0].name: 7 is not an interface name"),
            (plan(bridge(interfaces="eth1")), "links.bridges[0].interfaces: 'eth1' is not a list"),
            (plan(bridge(interfaces=[None])), "links.bridges[0].interfaces[0]: None is not an interface name"),
            (plan(bridge(interfaces=["a,b"])), "links.bridges[0].interfaces[0]: 'a,b' has a comma"),
            (plan(bridge(interfaces=["a", "a"])), "links.bridges[0].interfaces[1]: interface 'a' is given twice"),
            (plan(bridge("a"), bridge("a")), "links.bridges[1].name: bridge 'a' is already links.bridges[0]"),
            (
                plan(bridge("a", interfaces=["x"]), bridge("b", interfaces=["x"])),
                "links.bridges[1].interfaces[0]: 'x' is already an interface of bridge a",
            ),
            (
                plan(bridge("a", interfaces=["b"]), bridge("b")),
                "links.bridges[0].interfaces[0]: 'b' is itself a bridge of this plan (links.bridges[1])",
            ),
            (plan(bridge(addresses=["10.0.0.1"])), "links.bridges[0].addresses[0]: '10.0.0.1' is not an address with"),
            (plan(bridge(addresses=["10.0.0.1/33"])), "'10.0.0.1/33' is not an address with its prefix length"),
            (plan(bridge(addresses=["10.0.0.1/0"])), "'10.0.0.1/0' is not an address with its prefix length"),
            (plan(bridge(addresses=["10.0.0/24"])), "'10.0.0/24' is not an address with its prefix length"),
            (plan(bridge(addresses=["fd00::1/129"])), "'fd00::1/129' is not an address with its prefix length"),
            (plan(bridge(addresses=["10.0.0.1/²"])), "'10.0.0.1/²' is not an address with its prefix length"),
            (plan(bridge(addresses=[10])), "links.bridges[0].addresses[0]: 10 is not an address"),
            (plan(bridge(addresses=["10.0.0.0/24"])), "'10.0.0.0/24' is the network address of its own subnet"),
            (plan(bridge(addresses=["10.0.0.255/24"])), "'10.0.0.255/24' is the broadcast address of its own subnet"),
            (plan(bridge(addresses=["127.0.0.1/8"])), "'127.0.0.1/8' is not an address that an interface can have"),
            (plan(bridge(addresses=["224.0.0.1/24"])), "'224.0.0.1/24' is not an address that an interface can have"),
            (plan(bridge(addresses=["ff02::1/64"])), "'ff02::1/64' is not an address that an interface can have"),
            (
                plan(bridge("a", addresses=["10.0.0.1/24"]), bridge("b", addresses=["10.0.0.1/16"])),
                "links.bridges[1].addresses[0]: 10.0.0.1 is already an address of bridge a",
            ),
            (
                plan(bridge(addresses=["fd00::1/64", "FD00:0::1/64"])),
                "links.bridges[0].addresses[1]: fd00::1 is already an address of bridge br100",
            ),
            (plan(bridge(mtu=67)), "links.bridges[0].mtu: 67 is not an MTU; give a whole number from 68 to 65535"),
            (plan(bridge(mtu=65536)), "links.bridges[0].mtu: 65536 is not an MTU"),
            (plan(bridge(mtu="1500")), "links.bridges[0].mtu: '1500' is not an MTU"),
            (plan(bridge(mtu=True)), "links.bridges[0].mtu: True is not an MTU"),
            (
                plan(bridge(mtu=1279, addresses=["fd00::1/64"])),
                "links.bridges[0].mtu: 1279 is too small for the IPv6 address fd00::1/64; IPv6 needs at least 1280",
            ),
            (plan(bridge(mac="02:00:00:00:01")), "links.bridges[0].mac: '02:00:00:00:01' is not a MAC address"),
            (
                plan(bridge(mac="03:00:00:00:00:01")),
                "links.bridges[0].mac: '03:00:00:00:00:01' is a group or zero address",
            ),
            (
                plan(bridge(mac="00:00:00:00:00:00")),
                "links.bridges[0].mac: '00:00:00:00:00:00' is a group or zero address",
            ),
            (plan(bridge(stp="yes")), "links.bridges[0].stp: 'yes' is neither true nor false"),
            (plan(bridge(forward_delay=31)), "links.bridges[0].forward_delay: 31 is not a forward delay"),
            (plan(bridge(forward_delay=-1)), "links.bridges[0].forward_delay: -1 is not a forward delay"),
            (plan(bridge(forward_delay=False)), "links.bridges[0].forward_delay: False is not a forward delay"),
            (plan(bridge(stp=True)), "links.bridges[0].forward_delay: 0 is too short while STP is on"),
            (
                plan(bridge(addresses=[f"10.{n}.0.100/24" for n in range(100, 120)])),
                "links.bridges[0]: the mark that names the interfaces and addresses of br100 takes 356 bytes",
            ),
            ({"bridges": [], "sysctl": []}, "links.sysctl: [] is not a dictionary"),
            (plan(**{"net.ipv4.ip_forward": 1}), "links.sysctl.net.ipv4.ip_forward: 1 is not a string; put"),
            (plan(**{"net.ipv4.ip_forward": " "}), "links.sysctl.net.ipv4.ip_forward: ' ' is not a value"),
            (plan(**{"net.ipv4.ip_forward": "1\n2"}), "is not a value; give one line of text"),
            (plan(**{"net..ip_forward": "1"}), "links.sysctl: 'net..ip_forward' is not a dotted key"),
            (plan(**{"net.//.x": "1"}), "links.sysctl: 'net.//.x' is not a dotted key"),
            (plan(**{"net. x": "1"}), "links.sysctl: 'net. x' is not a dotted key"),
        ],
    )
    def test_bad_input_is_named_by_its_path(self, section, message):
        with pytest.raises(InputError) as caught:
            links.parse(section)
        assert message in str(caught.value)

    def test_one_spelling(self):
        parsed = links.parse(
            plan(
                bridge(
                    mac="02:00:00:AA:00:01", addresses=["10.0.0.1/24", "FD00:0:0::1/64"], stp=True, forward_delay=2.5
                )
            )
        )
        only = parsed.bridges[0]
        assert only.mac == "02:00:00:aa:00:01"
        assert [a.text for a in only.addresses] == ["10.0.0.1/24", "fd00::1/64"]
        assert only.forward_delay == 250

    @pytest.mark.parametrize(
        ("text", "broadcast"),
        [("10.0.0.1/24", "10.0.0.255"), ("10.0.0.1/30", "10.0.0.3"), ("10.0.0.0/31", None), ("10.0.0.0/32", None)],
    )
    def test_broadcast(self, text, broadcast):
        assert address(text).broadcast == broadcast

    def test_input_is_not_changed(self):
        section = plan(bridge(addresses=["10.0.0.1/24"], mac="02:00:00:AA:00:01"), **{"net.ipv4.ip_forward": "1"})
        before = copy.deepcopy(section)
        links.parse(section)
        assert section == before

    def test_forwarding_is_the_first_setting(self):
        parsed = links.parse(plan(**{"net.ipv4.conf.all.send_redirects": "0", "net.ipv4.ip_forward": "1"}))
        assert parsed.sysctl[0][0] == "net.ipv4.ip_forward"

    @pytest.mark.parametrize("value", ["fe80::1%eth0", "192.0.2.10", "2001:DB8::1"])
    def test_connection_address(self, value):
        assert links.parse_connection(value, "connection_address") == value.partition("%")[0].lower()

    @pytest.mark.parametrize("value", ["host1", "compute1.example.org", "my_alias", "3com", "10.0.0.1.example."])
    def test_connection_by_name(self, value):
        assert links.parse_connection(value, "connection_address") is None

    @pytest.mark.parametrize("value", ["192.0.2.300", "192.0.2.10/24", "fe80::x", "a b", "-", ".", 7, ""])
    def test_connection_by_neither(self, value):
        with pytest.raises(InputError, match="connection_address: .* is not an IP address"):
            links.parse_connection(value, "connection_address")


NAMES = st.lists(st.text("abc019._-", min_size=1, max_size=15), max_size=3, unique=True).map(tuple)


class TestMark:
    @hypothesis.given(NAMES, st.lists(st.ip_addresses().map(lambda a: f"{a}/24"), max_size=3).map(tuple))
    def test_round_trip(self, interfaces, addresses):
        mark = Mark(interfaces, addresses)
        assert parse_mark(render_mark(mark)) == mark

    def test_bare_word_hands_over(self):
        assert parse_mark("tenantnet.nova") == Mark(complete=False)

    @pytest.mark.parametrize(
        "alias", ["", "uplink", "tenantnet.novax", "tenantnet.nova2 interfaces=a", "x tenantnet.nova"]
    )
    def test_not_ours(self, alias):
        assert parse_mark(alias) is None
        assert not is_ours(link("br100", kind="bridge", alias=alias))

    def test_only_what_we_make_is_ours(self):
        assert is_ours(link("vlan7", kind="vlan", alias="tenantnet.nova"))
        assert not is_ours(link("eth7", alias="tenantnet.nova"))
        assert not is_ours(link("macvlan7", kind="macvlan", alias="tenantnet.nova"))

    def test_unknown_words_are_passed_over(self):
        mark = parse_mark("tenantnet.nova interfaces=a addresses= later=x,y")
        assert mark == Mark(("a",), ())


class TestDifference:
    def test_new_bridge(self):
        found = compare(plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"])), state(link("eth1", 7, up=False)))
        create = found.phases["create"][0]
        assert isinstance(create, operations.CreateBridge)
        assert create.alias == "tenantnet.nova interfaces=eth1 addresses=10.0.0.1/24"
        assert create.mac == "02:00:00:00:00:07"
        assert steps(found) == ["create: CreateBridge", "enslave: Enslave", "address: Readdress"]
        assert found.actions() == [
            "create bridge br100",
            "enslave eth1 to br100",
            "set eth1 up",
            "add address 10.0.0.1/24 to br100",
        ]
        assert found.diff() == {
            "before": "",
            "after": "bridges:\n"
            "- name: br100\n"
            "  mark: tenantnet.nova interfaces=eth1 addresses=10.0.0.1/24\n"
            "  up: true\n"
            "  interfaces: [eth1]\n"
            "  addresses: [10.0.0.1/24 brd 10.0.0.255]\n"
            "  mtu: left to the kernel\n"
            "  mac: 02:00:00:00:00:07\n"
            "  stp: false\n"
            "  forward_delay: 0\n",
        }

    def test_nothing_to_do(self):
        found = compare(
            plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24", "fd00::1/64"])),
            state(
                ours("br100", "eth1", "10.0.0.1/24,fd00::1/64", mac="02:00:00:00:00:07"),
                link("eth1", 7, master="br100"),
                link("tap1", 8, master="br100"),
                link("brother", 9, kind="bridge"),
            ),
        )
        assert not found.changed and not found.risks and not found.problems
        assert found.diff() == {"before": "", "after": ""}

    def test_marks_widen_before_and_narrow_after(self):
        found = compare(
            plan(bridge(interfaces=["eth2"], addresses=["10.0.0.2/24"], mac="02:00:00:00:00:64")),
            state(ours("br100", "eth1", "10.0.0.1/24"), link("eth1", 1, master="br100"), link("eth2", 2)),
        )
        wide, narrow = found.phases["widen"][0], found.phases["narrow"][0]
        assert isinstance(wide, operations.SetAlias) and isinstance(narrow, operations.SetAlias)
        assert wide.alias == "tenantnet.nova interfaces=eth2,eth1 addresses=10.0.0.2/24,10.0.0.1/24"
        assert narrow.alias == "tenantnet.nova interfaces=eth2 addresses=10.0.0.2/24"
        assert steps(found) == [
            "widen: SetAlias",
            "enslave: Enslave",
            "address: Readdress",
            "release: Enslave",
            "narrow: SetAlias",
        ]

    def test_only_the_mark(self):
        found = compare(
            plan(bridge(addresses=["10.0.0.1/24"])),
            state(ours(addresses="10.0.0.1/24", alias=MARK_WITH_A_GONE_INTERFACE)),
        )
        assert found.actions() == ["update the mark of bridge br100"]

    def test_mark_too_long_for_what_comes_and_what_goes(self):
        have = ",".join(f"10.{n}.0.100/24" for n in range(100, 112))
        want = [f"10.{n}.0.100/24" for n in range(200, 210)]
        found = compare(plan(bridge(addresses=want)), state(ours(addresses=have)))
        assert "its mark cannot name both what comes and what goes" in found.problems[0]

    def test_delay_of_another_root_bridge_is_not_compared(self):
        section = plan(bridge(stp=True, forward_delay=4))
        assert not compare(section, state(ours(stp=True, forward_delay=None))).changed
        assert compare(section, state(ours(stp=True, forward_delay=1500))).changed

    def test_mtu_is_set_again_after_ports_changed(self):
        have = state(ours(mtu=1450, mac="02:00:00:00:00:07"), link("eth1", 7))
        found = compare(plan(bridge(interfaces=["eth1"], mtu=1450)), have)
        assert [step for step in steps(found) if "settle" in step] == ["settle: ChangeLink"]
        assert found.actions() == ["enslave eth1 to br100"]

    def test_a_setting_of_a_new_bridge_comes_after_it(self):
        key = "net.ipv4.conf.br100.rp_filter"
        section = plan(bridge(), **{key: "0"})
        found = compare(section, state(**{"net.ipv4.conf.default.rp_filter": "2"}))
        assert steps(found) == ["create: CreateBridge", "settle: SetSysctl"]
        assert not compare(section, state(**{"net.ipv4.conf.default.rp_filter": "0"})).phases["settle"]
        # The default that the same plan sets is what the bridge will be born with.
        both = plan(bridge(), **{key: "0", "net.ipv4.conf.default.rp_filter": "0"})
        assert steps(compare(both, state(**{"net.ipv4.conf.default.rp_filter": "2"}))) == [
            "sysctl: SetSysctl",
            "create: CreateBridge",
        ]

    def test_a_setting_of_a_bridge_that_is_not_planned_is_unknown(self):
        found = compare(plan(**{"net.ipv4.conf.br9.rp_filter": "0"}), state(**{"net.ipv4.conf.default.rp_filter": "2"}))
        assert "net.ipv4.conf.br9.rp_filter: this kernel does not know it" in found.problems[0]

    def test_spelling_of_a_setting(self):
        key = "net.ipv4.ip_local_port_range"
        assert not compare(plan(**{key: "1024  65000 "}), state(**{key: sysctl.canonical("1024\t65000\n")})).changed

    def test_removing_is_taken_back_whole(self):
        gone = ours("br9", "eth1", "10.0.0.1/24", mtu=1400)
        have = state(gone, link("eth1", 1, master="br9"), link("tap1", 2, master="br9"))
        found = compare(plan(), have)
        assert found.actions() == ["remove bridge br9 (releases tap1)"]
        back = found.operations[0].inverse()
        assert [type(step).__name__ for step in back] == ["CreateBridge", "Enslave", "Enslave", "Readdress"]


MARK_WITH_A_GONE_INTERFACE = "tenantnet.nova interfaces=eth9 addresses=10.0.0.1/24"


class TestGuard:
    SECTION = plan(bridge(interfaces=["eth1"]))

    def refused(self, have: links.State, duties: links.Duties, section: dict[str, t.Any] | None = None) -> str:
        with pytest.raises(HostError) as caught:
            links.guard(compare(section or self.SECTION, have), duties)
        return str(caught.value)

    def test_nothing_in_the_way(self):
        links.guard(compare(self.SECTION, state(link("eth1"))), links.Duties({"eth0": "the default route"}))

    def test_carried(self):
        text = self.refused(state(link("eth1")), links.Duties({"eth1": "the default route via 192.0.2.1"}))
        assert text.startswith("bridge br100: enslaving eth1: eth1 carries the default route via 192.0.2.1, and that")

    def test_in_place_already(self):
        have = state(ours(interfaces="eth1", mac="02:00:00:00:00:01"), link("eth1", master="br100"))
        links.guard(compare(self.SECTION, have), links.Duties({"eth1": "the default route"}))

    def test_not_ethernet(self):
        assert "not an Ethernet interface" in self.refused(state(link("eth1", ethernet=False)), links.Duties())

    def test_port_of_a_bond(self):
        have = state(link("bond0", kind="bond"), link("eth1", master="bond0"))
        assert "interface eth1 is already a port of the bond bond0" in self.refused(have, links.Duties())

    def test_a_foreign_address_with_routes_is_not_taken_away_even_for_a_moment(self):
        have = state(ours(addresses="10.0.0.1/24", alias=render_mark(Mark())))
        section = plan(bridge(addresses=["10.5.0.1/24"]))
        links.guard(compare(section, have), links.Duties())
        duties = links.Duties(route_sources=frozenset({("br100", "10.0.0.1")}))
        assert "br100 carries routes with the source address 10.0.0.1" in self.refused(have, duties, section)

    def test_all_problems_in_one_message(self):
        section = plan(bridge("a", interfaces=["x"]), bridge("b", interfaces=["y"]))
        assert len(self.refused(state(), links.Duties(), section).splitlines()) == 2


TEXTS = ["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.1.0.1/24", "10.1.0.2/24", "10.0.0.1/16", "10.2.0.9/32"]


def kernel_list(texts: t.Iterable[str]) -> list[links.Address]:
    """What the kernel has after these were added in turn, secondary flags included."""
    kernel = addresses.IPv4List([])
    for text in texts:
        kernel.add(address(text))
    return [
        dataclasses.replace(found, flags=PERMANENT | (SECONDARY if secondary else 0))
        for found, secondary in kernel.entries
    ]


class TestAddresses:
    @hypothesis.given(
        st.lists(st.sampled_from(TEXTS), unique=True),
        st.lists(st.sampled_from(TEXTS), unique_by=lambda text: text.partition("/")[0]),
        st.sets(st.sampled_from(TEXTS)),
    )
    @hypothesis.settings(max_examples=400)
    def test_ends_as_planned(self, present, wanted, owned):
        have = kernel_list(present)
        want = [address(text) for text in wanted]
        change = addresses.readdress(have, want, owned)
        texts = [found.text for found in change.result]
        assert set(texts) == set(wanted) | (set(present) - owned)
        assert len(texts) == len(set(texts))
        if wanted:
            assert texts[0] == wanted[0]
        # Done again on its own result there is nothing to do, and the quick look says so too.
        settled = kernel_list_of(change.result)
        assert not addresses.readdress(settled, want, owned).steps
        assert addresses.settled(settled, want, frozenset(owned))
        assert addresses.settled(have, want, frozenset(owned)) == (not change.steps)
        # And the way back ends where it began.
        assert [found.text for found in replay(settled, change.undo)] == [found.text for found in have]

    def test_no_step_without_need(self):
        have = kernel_list(["10.0.0.1/24", "10.1.0.1/24"])
        change = addresses.readdress(have, [address("10.0.0.1/24"), address("10.2.0.9/32")], set())
        assert [(step.add, step.address.text) for step in change.steps] == [(True, "10.2.0.9/32")]

    def test_link_scope_does_not_count_as_first(self):
        have = [address("169.254.0.1/16", scope=253), *kernel_list(["10.0.0.1/24"])]
        assert not addresses.readdress(have, [address("10.0.0.1/24")], set()).steps

    def test_lifetime_is_lifted_without_removing(self):
        have = [address("10.0.0.1/24", flags=0, valid=100, preferred=100)]
        change = addresses.readdress(have, [address("10.0.0.1/24")], set())
        assert [(step.add, step.address.valid) for step in change.steps] == [(True, FOREVER)]
        assert [(step.add, step.address.valid) for step in change.undo] == [(True, 100)]

    def test_ipv6_order_does_not_matter(self):
        have = [address("fd00::2/64"), address("fd00::1/64")]
        assert not addresses.readdress(have, [address("fd00::1/64"), address("fd00::2/64")], set()).steps


def kernel_list_of(found: list[links.Address]) -> list[links.Address]:
    kernel = addresses.IPv4List([])
    result = []
    for one in found:
        kernel.add(dataclasses.replace(one, flags=PERMANENT))
    for one, secondary in kernel.entries:
        result.append(dataclasses.replace(one, flags=PERMANENT | (SECONDARY if secondary else 0)))
    assert [one.text for one in result] == [one.text for one in found]
    return result


def replay(have: list[links.Address], done: t.Iterable[operations.Step]) -> list[links.Address]:
    """The kernel's list after these steps; without promotion, so a secondary goes with its primary."""
    kernel = addresses.IPv4List(have)
    for step in done:
        if step.add:
            kernel.add(step.address)
        else:
            kernel.remove(next(found for found in kernel.addresses if found.text == step.address.text))
    return kernel.addresses


class TestInverse:
    @pytest.mark.parametrize(
        "operation",
        [
            operations.SetSysctl("a.b", "1", "0"),
            operations.SetAlias("br100", "new", "old"),
            operations.ChangeLink("br100", operations.Settings(mtu=1400), operations.Settings(mtu=1500)),
            operations.Enslave("eth1", "br100", "br200", None),
            operations.Enslave("eth1", "br100", None, True),
            operations.Enslave("eth1", None, "br100"),
        ],
    )
    def test_twice_is_where_it_began(self, operation):
        (back,) = operation.inverse()
        assert back != operation
        assert back.inverse() == [operation]

    def test_a_link_that_others_made_is_not_removed(self):
        create = operations.CreateBridge("br100", "alias", None, None, False, 0)
        assert create.inverse_when_failed({0}) == [operations.SetAlias("br100", "")]
        assert create.inverse_when_failed({1}) == [operations.RemoveBridge("br100")]
