"""The module `links` refused, failing and killed: all is as it was, or the next run ends it."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest
from a_kill import killed_at
from a_link import (
    bridge,
    dump,
    exists,
    ip,
    links_only_all,
    master,
    plan,
    refusal,
    run,
    shown,
    veth,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.mark import parse_mark
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink

pytestmark = pytest.mark.usefixtures("netns")


class TestReading:
    def test_what_changes_meanwhile_is_read_when_it_stands_still(self):
        """As IPv6 looks for duplicates of the addresses of many new interfaces."""
        veth("eth1", "eth2")
        many = "".join(f"address add 10.1.{n >> 8}.{n & 255}/32 dev eth1\n" for n in range(4000))
        subprocess.run(["ip", "-batch", "-"], input=many, text=True, check=True)
        change = "address add 10.2.0.1/32 dev eth2\naddress del 10.2.0.1/32 dev eth2\n" * 1000
        script = 'end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do echo "$0" | ip -batch -; done'
        other = subprocess.Popen(["sh", "-c", script, change])
        reads = 0
        while other.poll() is None:
            assert len(netlink.read().links["eth1"].addresses) == 4000
            reads += 1
        assert reads and other.returncode == 0


class TestRefusing:
    UPLINK = plan(bridge(interfaces=["eth1"]))

    def test_missing_interface(self):
        assert "interface eth1 does not exist on this host" in refusal(self.UPLINK)

    def test_all_in_one_message(self):
        text = refusal(plan(bridge("br100", interfaces=["eth8"]), bridge("br200", interfaces=["eth9"])))
        assert "eth8" in text and "eth9" in text and len(text.splitlines()) == 2

    def test_foreign_bridge(self):
        veth("eth1")
        ip("link add name brother type bridge")
        ip("link set eth1 master brother")
        assert "interface eth1 is already a port of the bridge brother, which is not ours" in refusal(self.UPLINK)

    def test_loopback(self):
        assert "loopback" in refusal(plan(bridge(interfaces=["lo"])))

    def test_bridge_in_bridge(self):
        ip("link add name brother type bridge")
        assert "is itself a bridge" in refusal(plan(bridge(interfaces=["brother"])))

    def test_not_a_bridge(self):
        veth("br100")
        assert "not a bridge" in refusal(plan(bridge()))

    @pytest.mark.parametrize("address", ["192.0.2.5/24", "2001:db8::5/64"])
    def test_own_address(self, address):
        veth("eth1")
        ip(f"address add {address} dev eth1")
        assert f"carries the host's own address {address}" in refusal(self.UPLINK)

    def test_default_route(self):
        veth("eth1")
        ip("link set eth1 up")
        ip("address add 192.0.2.5/24 dev lo")
        ip("route add default dev eth1")
        assert "eth1 carries the default route" in refusal(self.UPLINK)

    def test_default_route_with_several_ways(self):
        veth("eth1", "eth2")
        for name, number in (("eth1", 1), ("eth2", 2)):
            ip(f"link set {name} up")
            ip(f"link set {name.upper()} up")
            ip(f"route add 192.0.{number}.0/24 dev {name}")
        ip("route add default table 77 nexthop via 192.0.1.1 dev eth1 nexthop via 192.0.2.1 dev eth2")
        assert "eth1 carries the default route via 192.0.1.1" in refusal(self.UPLINK)

    def test_ssh_session_by_route(self, monkeypatch):
        veth("eth1")
        ip("link set eth1 up")
        ip("address add 192.0.2.5/32 dev lo")
        ip("route add 198.51.100.0/24 dev eth1")
        monkeypatch.setenv("SSH_CONNECTION", "198.51.100.9 40000 192.0.2.5 22")
        assert "eth1 carries the Ansible connection (from 198.51.100.9)" in refusal(self.UPLINK)

    def test_ssh_session_by_link_local_address(self, monkeypatch):
        veth("eth1")
        monkeypatch.setenv("SSH_CONNECTION", "fe80::9%eth1 40000 fe80::5%eth1 22")
        assert "eth1 carries the Ansible connection" in refusal(self.UPLINK)

    def test_connection_address_keeps_a_bridge(self):
        run(plan(bridge(addresses=["10.0.0.1/24"])))
        assert "br100 carries the Ansible connection (to 10.0.0.1)" in refusal(plan(), "10.0.0.1")
        assert "br100 carries the Ansible connection" in refusal(plan(bridge(addresses=["10.0.0.2/24"])), "10.0.0.1")
        run(plan(), connection="10.0.0.2")

    def test_uplink_of_a_bridge_with_the_default_route(self):
        veth("eth1")
        run(plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"])))
        ip("route add default via 10.0.0.254")
        assert "br100 carries the default route via 10.0.0.254" in refusal(plan(bridge(addresses=["10.0.0.1/24"])))
        assert not run(plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"])))["changed"]

    def test_removing_a_bridge_with_a_foreign_address(self):
        run(plan(bridge()))
        ip("address add 192.0.2.5/24 dev br100")
        assert "it carries 192.0.2.5/24, which is not ours" in refusal(plan())

    def test_mtu_of_the_uplink(self):
        veth("eth1")
        ip("link set eth1 mtu 1400")
        text = refusal(plan(bridge(interfaces=["eth1"], mtu=1450)))
        assert "1450" in text and "1400" in text and "eth1" in text

    def test_unknown_sysctl(self):
        assert "net.ipv4.ip_froward" in refusal(plan(bridge(), **{"net.ipv4.ip_froward": "1"}))


class TestLibrary:
    def test_missing(self, monkeypatch):
        for name in ("ifinfmsg", "ifaddrmsg"):
            monkeypatch.setitem(sys.modules, f"pyroute2.netlink.rtnl.{name}", None)
        before = dump()
        with pytest.raises(netlink.LibraryMissing, match="nothing was changed"):
            run(plan(bridge()))
        assert dump() == before

    def test_not_needed_where_nothing_is_to_do(self, monkeypatch):
        run(plan(bridge()))
        monkeypatch.setattr(netlink, "load", lambda: pytest.fail("imported for nothing"))
        assert not run(plan(bridge()))["changed"]


class TestRollback:
    def section(self) -> dict:
        return plan(
            bridge("br100", interfaces=["eth1"], addresses=["10.0.0.2/24"], mtu=1400, stp=True, forward_delay=5),
            bridge("br200", interfaces=["eth2"], addresses=["10.2.0.1/24"]),
            **{"net.ipv4.ip_forward": "1"},
        )

    def prepare(self) -> None:
        veth("eth1", "eth2", "tap1")
        run(plan(bridge("br100", addresses=["10.0.0.1/24"], mtu=1450), bridge("br300", addresses=["10.3.0.1/24"])))
        ip("address add 10.0.0.9/24 dev br100")
        ip("link set tap1 master br300")

    @pytest.mark.parametrize("phase", operations.ORDER)
    def test_a_failure_in_any_phase_is_taken_back(self, phase):
        self.prepare()
        before = links_only_all()
        want = links.parse(self.section())
        have = netlink.read(key for key, _value in want.sysctl)
        difference = links.compare(want, have)
        difference.phases[phase].append(operations.SetAlias("nowhere", "x"))
        with pytest.raises(HostError, match=r"nowhere.*the host is as it was"):
            netlink.apply(difference, have)
        assert links_only_all() == before
        assert open("/proc/sys/net/ipv4/ip_forward").read() == "0\n"
        run(self.section())
        assert not run(self.section())["changed"]

    @pytest.mark.parametrize("broken", ["create", "enslave", "address", "shape"])
    def test_a_refusal_of_the_kernel_is_taken_back(self, broken):
        self.prepare()
        before = links_only_all()
        want = links.parse(self.section())
        have = netlink.read(key for key, _value in want.sysctl)
        difference = links.compare(want, have)
        difference.phases[broken].insert(
            0,
            {
                "create": operations.CreateBridge("br999", "x" * 300, None, 1500, False, 0),
                "enslave": operations.Enslave("lo", "br100"),
                "address": operations.Readdress("br100", (operations.Step(False, links.Address("10.77.0.1", 24)),), ()),
                "shape": operations.ChangeLink("br100", operations.Settings(mtu=10), operations.Settings(mtu=1450)),
            }[broken],
        )
        with pytest.raises(HostError, match=r"cannot .*everything was put back, the host is as it was"):
            netlink.apply(difference, have)
        assert links_only_all() == before

    def test_a_link_made_meanwhile_by_others_is_not_taken(self):
        want = links.parse(plan(bridge()))
        have = netlink.read()
        difference = links.compare(want, have)
        ip("link add name br100 type bridge")
        with pytest.raises(HostError, match="cannot create bridge br100: File exists"):
            netlink.apply(difference, have)
        assert exists("br100") and not shown("br100").get("ifalias")

    def test_what_cannot_be_put_back_is_said(self):
        self.prepare()
        want = links.parse(self.section())
        have = netlink.read(key for key, _value in want.sysctl)
        difference = links.compare(want, have)
        difference.phases["address"].append(operations.SetAlias("nowhere", "x"))

        def interfere() -> None:
            subprocess.run(["ip", "link", "del", "eth1"], check=False, stderr=subprocess.DEVNULL)

        with pytest.raises(HostError, match=r"but not this: .*eth1"):
            netlink.apply(difference, have, after_step=interfere)


class TestKilled:
    """After a kill at any point the next run ends where an undisturbed one does, and nothing is left unmarked."""

    OLD = plan(
        bridge("br100", interfaces=["eth1"], addresses=["10.0.0.1/24", "10.5.0.1/24"], mac="02:00:00:aa:00:01"),
        bridge("br200", interfaces=["eth2"], addresses=["10.2.0.1/24"], mac="02:00:00:aa:00:02"),
    )
    NEW = plan(
        bridge(
            "br100",
            interfaces=["eth2"],
            addresses=["10.5.0.1/24", "10.0.0.2/24"],
            mtu=1400,
            mac="02:00:00:aa:00:01",
        ),
        bridge("br300", interfaces=["eth3"], addresses=["10.3.0.1/24"], mac="02:00:00:aa:00:03", mtu=1500),
        **{"net.ipv4.ip_forward": "1", "net.ipv4.conf.br300.send_redirects": "0"},
    )

    def renew(self, step: t.Callable[[], None]) -> None:
        want = links.parse(self.NEW)
        have = netlink.read(key for key, _value in want.sysctl)
        netlink.apply(links.compare(want, have), have, batch=1, after_step=step)

    def test_at_every_step(self):
        netlink.load()  # once for all children
        veth("eth1", "eth2", "eth3")
        steps = 0
        alive = False
        expected = None
        while not alive:
            steps += 1
            run(self.OLD)
            alive = not killed_at(steps, self.renew)
            self.nothing_unmarked()
            run(self.NEW)
            assert not run(self.NEW)["changed"]
            end = links_only_all()
            expected = expected or end
            assert end == expected, f"after a kill at step {steps}"
            run(plan())
            for link in json.loads(ip("-json link show")):
                assert link["ifname"] == "lo" or link["ifname"].lower().startswith("eth"), f"step {steps}"
            open("/proc/sys/net/ipv4/ip_forward", "w").write("0\n")
            for name in ("eth1", "eth2", "eth3"):
                assert master(name) is None
                ip(f"link set {name} up")
        assert steps > 12

    def nothing_unmarked(self) -> None:
        for link in json.loads(ip("-json -details address show")):
            if link.get("linkinfo", {}).get("info_kind") != "bridge":
                continue
            mark = parse_mark(link.get("ifalias", ""))
            assert mark is not None
            for address in link["addr_info"]:
                if address["scope"] == "global":
                    assert f"{address['local']}/{address['prefixlen']}" in mark.addresses
            ports = [p["ifname"] for p in json.loads(ip(f"-json link show master {link['ifname']}"))]
            assert set(ports) <= set(mark.interfaces)
