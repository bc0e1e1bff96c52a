"""From any plan with VLAN interfaces to any other: each step is one that a kernel takes."""

from __future__ import annotations

import copy
import dataclasses
import typing as t

import hypothesis
import hypothesis.strategies as st
import pytest
from a_vlan import bridge, compare, nic, plan, vlan
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations


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
