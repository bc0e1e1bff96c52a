"""The module `links` against this machine's kernel: what it makes, what it leaves alone, what it refuses."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from a_link import (
    addresses,
    bridge,
    dump,
    exists,
    ip,
    links_only_all,
    master,
    monitored,
    plan,
    refusal,
    run,
    settle,
    shown,
    veth,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink

pytestmark = pytest.mark.usefixtures("netns")

FULL = plan(
    bridge("br100", interfaces=["eth1"], addresses=["10.0.0.1/24", "10.9.0.1/16", "fd00::1/64"], mtu=1450),
    bridge(
        "br200",
        interfaces=["eth2", "eth3"],
        addresses=["10.2.0.1/24"],
        mac="02:00:00:aa:00:01",
        stp=True,
        forward_delay=4,
    ),
    bridge("br300"),
    **{"net.ipv4.ip_forward": "1", "net.ipv4.conf.br100.send_redirects": "0"},
)


class TestMaking:
    def test_everything_at_once(self):
        veth("eth1", "eth2", "eth3")
        result = run(FULL)
        assert result["changed"]
        br100, br200 = shown("br100"), shown("br200")
        assert "UP" in br100["flags"] and "UP" in shown("eth1")["flags"] and "UP" in shown("br300")["flags"]
        assert br100["mtu"] == 1450
        assert br100["address"] == shown("eth1")["address"]
        assert br100["ifalias"] == "tenantnet.nova interfaces=eth1 addresses=10.0.0.1/24,10.9.0.1/16,fd00::1/64"
        assert addresses("br100") == ["10.0.0.1/24", "10.9.0.1/16"]
        assert addresses("br100", "inet6") == ["fd00::1/64"]
        assert [a["broadcast"] for a in br100["addr_info"] if a["family"] == "inet"] == ["10.0.0.255", "10.9.255.255"]
        assert master("eth1") == "br100" and master("eth2") == master("eth3") == "br200"
        assert br200["address"] == "02:00:00:aa:00:01"
        data = br200["linkinfo"]["info_data"]
        assert (data["stp_state"], data["forward_delay"]) == (1, 400)
        assert br100["linkinfo"]["info_data"]["stp_state"] == br100["linkinfo"]["info_data"]["forward_delay"] == 0
        assert open("/proc/sys/net/ipv4/ip_forward").read() == "1\n"
        assert open("/proc/sys/net/ipv4/conf/br100/send_redirects").read() == "0\n"
        assert result["actions"] == [
            "set net.ipv4.ip_forward to 1",
            "create bridge br100",
            "create bridge br200",
            "create bridge br300",
            "enslave eth1 to br100",
            "set eth1 up",
            "enslave eth2 to br200",
            "set eth2 up",
            "enslave eth3 to br200",
            "set eth3 up",
            "add address 10.0.0.1/24 to br100",
            "add address 10.9.0.1/16 to br100",
            "add address fd00::1/64 to br100",
            "add address 10.2.0.1/24 to br200",
            "set net.ipv4.conf.br100.send_redirects to 0",
        ]

    def test_check_predicts_and_writes_nothing(self):
        veth("eth1", "eth2", "eth3")
        before = dump()
        predicted = run(FULL, check=True)
        assert dump() == before
        assert open("/proc/sys/net/ipv4/ip_forward").read() == "0\n"
        assert predicted == run(FULL)
        again = run(FULL, check=True)
        assert (again["changed"], again["actions"], again["diff"]) == (False, [], {"before": "", "after": ""})

    def test_second_run_is_silent(self):
        veth("eth1", "eth2", "eth3")
        run(FULL)
        settle()
        with monitored() as heard:
            assert not run(FULL)["changed"]
        assert heard == []

    def test_monitor_hears_a_change(self):
        run(plan(bridge()))
        settle()
        with monitored() as heard:
            run(plan(bridge(addresses=["10.0.0.1/24"])))
        assert any("10.0.0.1/24" in line for line in heard)

    def test_mtu_is_pinned_against_ports_that_come(self):
        veth("eth1", "tap1")
        run(plan(bridge(interfaces=["eth1"], mtu=1500)))
        ip("link set tap1 mtu 1300")
        ip("link set tap1 master br100")
        assert shown("br100")["mtu"] == 1500

    def test_mac_is_pinned_against_ports_that_come(self):
        veth("eth1", "tap1")
        run(plan(bridge(interfaces=["eth1"])))
        ip("link set tap1 address 00:00:00:00:00:02")
        ip("link set tap1 master br100")
        assert shown("br100")["address"] == shown("eth1")["address"]

    def test_more_than_one_datagram(self):
        many = plan(*(bridge(f"br{n}", addresses=[f"10.1.{n}.1/24"]) for n in range(200)))
        run(many)
        assert len(json.loads(ip("-json link show type bridge"))) == 200
        assert not run(many)["changed"]


CHANGES = {
    "addresses": (
        {"addresses": ["10.0.0.2/24"]},
        ["add address 10.0.0.2/24 to br100", "remove address 10.0.0.1/24 from br100"],
    ),
    "prefix": (
        {"addresses": ["10.0.0.1/16"]},
        ["add address 10.0.0.1/16 to br100", "remove address 10.0.0.1/24 from br100"],
    ),
    "more addresses": ({"addresses": ["10.0.0.1/24", "10.7.0.1/24"]}, ["add address 10.7.0.1/24 to br100"]),
    "no address": ({"addresses": []}, ["remove address 10.0.0.1/24 from br100"]),
    "interface": ({"interfaces": ["eth2"], "mac": "02:00:00:aa:00:01"}, None),
    "no interface": ({"interfaces": []}, ["release eth1 from br100"]),
    "mtu": ({"mtu": 1400}, ["set MTU of br100 to 1400"]),
    "mac": ({"mac": "02:00:00:aa:00:02"}, ["set MAC address of br100 to 02:00:00:aa:00:02"]),
    "stp": ({"stp": True, "forward_delay": 2}, ["turn STP on on br100", "set forward delay of br100 to 2 s"]),
    "delay": ({"forward_delay": 15}, ["set forward delay of br100 to 15 s"]),
}


BASE = {"interfaces": ["eth1"], "addresses": ["10.0.0.1/24"], "mtu": 1450}


class TestChanging:
    @pytest.mark.parametrize("case", CHANGES)
    def test_there_and_back(self, case):
        veth("eth1", "eth2")
        change, expected = CHANGES[case]
        old, new = plan(bridge(**BASE)), plan(bridge(**{**BASE, **change}))
        run(old)
        index = shown("br100")["ifindex"]
        first = dump()
        predicted = run(new, check=True)
        assert run(new) == predicted
        if expected is not None:
            assert predicted["actions"] == expected
        assert predicted["diff"]["before"] != predicted["diff"]["after"]
        assert not run(new)["changed"]
        run(old)
        assert not run(old)["changed"]
        assert shown("br100")["ifindex"] == index
        settled = [dump(), first]
        if "interface" in case:  # the interface that was enslaved meanwhile stays up
            settled = [text.replace('"UP"', "") for text in settled]
            assert shown("br100")["address"] == shown("eth1")["address"]
        else:
            assert settled[0] == settled[1]

    def test_stp_off_with_a_short_delay(self):
        run(plan(bridge(stp=True, forward_delay=15)))
        run(plan(bridge(stp=False, forward_delay=0)))
        data = shown("br100")["linkinfo"]["info_data"]
        assert (data["stp_state"], data["forward_delay"]) == (0, 0)

    def test_delay_while_another_bridge_is_root(self):
        veth("eth1")
        ip("link add name root type bridge stp_state 1 priority 0 forward_delay 1900")
        ip("link set ETH1 master root up")
        ip("link set root up")
        section = plan(bridge(interfaces=["eth1"], stp=True, forward_delay=4))
        run(section)
        deadline = time.monotonic() + 10
        while netlink.read().links["br100"].forward_delay is not None:
            assert time.monotonic() < deadline, "br100 has not found the root bridge"
            time.sleep(0.2)
        assert shown("br100")["linkinfo"]["info_data"]["forward_delay"] == 1900
        assert not run(section)["changed"]
        off = plan(bridge(interfaces=["eth1"], stp=False, forward_delay=0))
        run(off)
        assert not run(off)["changed"]

    def test_interface_moves_between_our_bridges(self):
        veth("eth1", "eth2")
        one, two = {"mac": "02:00:00:aa:00:01"}, {"mac": "02:00:00:aa:00:02"}
        run(plan(bridge("br100", interfaces=["eth1"], **one), bridge("br200", **two)))
        result = run(plan(bridge("br100", **one), bridge("br200", interfaces=["eth1"], **two)))
        assert result["actions"] == ["move eth1 from br100 to br200"]
        assert master("eth1") == "br200"
        assert shown("br100")["ifalias"] == "tenantnet.nova interfaces= addresses="

    def test_interface_moves_from_a_bridge_that_goes(self):
        veth("eth1")
        run(plan(bridge("br100", interfaces=["eth1"])))
        assert run(plan(bridge("br200", interfaces=["eth1"])))["actions"] == [
            "create bridge br200",
            "move eth1 from br100 to br200",
            "remove bridge br100",
        ]
        assert master("eth1") == "br200" and not exists("br100")

    def test_first_address_comes_before_ours(self):
        run(plan(bridge(addresses=["10.0.0.1/24", "10.5.0.1/24"])))
        new = plan(bridge(addresses=["10.5.0.1/24", "10.0.0.1/24"]))
        assert run(new)["actions"] == ["make 10.5.0.1/24 the first address of br100"]
        assert addresses("br100") == ["10.5.0.1/24", "10.0.0.1/24"]
        assert not run(new)["changed"]

    @pytest.mark.parametrize("promote", ["0", "1"])
    def test_first_address_comes_before_foreign_ones(self, promote):
        open("/proc/sys/net/ipv4/conf/all/promote_secondaries", "w").write(promote)
        run(plan(bridge(addresses=["10.0.0.1/24"])))
        for foreign in ("10.0.0.7/24 brd +", "10.6.0.1/24 label br100:own", "10.6.0.2/24 metric 77"):
            ip(f"address add {foreign} dev br100")
        new = plan(bridge(addresses=["10.0.0.2/24"]))
        run(new)
        assert addresses("br100")[0] == "10.0.0.2/24"
        assert sorted(addresses("br100")) == ["10.0.0.2/24", "10.0.0.7/24", "10.6.0.1/24", "10.6.0.2/24"]
        kept = {a["local"]: a for a in shown("br100")["addr_info"] if a["family"] == "inet"}
        assert kept["10.0.0.7"]["broadcast"] == "10.0.0.255"
        assert kept["10.6.0.1"]["label"] == "br100:own"
        assert kept["10.6.0.2"]["metric"] == 77
        assert not run(new)["changed"]

    def test_wrong_broadcast_is_mended(self):
        run(plan(bridge(addresses=["10.0.0.1/24"])))
        ip("address del 10.0.0.1/24 dev br100")
        ip("address add 10.0.0.1/24 brd 10.0.0.0 dev br100")
        assert run(plan(bridge(addresses=["10.0.0.1/24"])))["actions"] == ["mend address 10.0.0.1/24 of br100"]
        assert shown("br100")["addr_info"][0]["broadcast"] == "10.0.0.255"

    def test_ipv6_prefix(self):
        run(plan(bridge(addresses=["fd00::1/64"])))
        run(plan(bridge(addresses=["fd00::1/80"])))
        assert addresses("br100", "inet6") == ["fd00::1/80"]
        assert not run(plan(bridge(addresses=["fd00::1/80"])))["changed"]


class TestIPv6:
    """Bridges with IPv6 addresses, which the kernel first looks for on the wire, and with those that it adds itself."""

    SECTION = plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24", "fd00:0:0:1::1/64"]))

    def flags(self, address: str) -> set[str]:
        (found,) = [a for a in shown("br100")["addr_info"] if a["local"] == address]
        return {word for word in ("tentative", "dadfailed") if found.get(word)}

    def wait_for(self, condition, what: str) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    def link_local(self) -> list[str]:
        return [a["local"] for a in shown("br100")["addr_info"] if a["family"] == "inet6" and a["scope"] == "link"]

    def test_nothing_to_do_before_and_after_duplicate_detection(self):
        veth("eth1")
        assert "add address fd00:0:0:1::1/64 to br100" in run(self.SECTION)["actions"]
        # Without a carrier the kernel asks nobody yet.
        assert self.flags("fd00:0:0:1::1") == {"tentative"}
        assert not run(self.SECTION)["changed"]
        ip("link set ETH1 up")
        self.wait_for(lambda: not self.flags("fd00:0:0:1::1"), "the address stays tentative")
        self.wait_for(self.link_local, "no link-local address")
        settle()
        with monitored() as heard:
            assert not run(self.SECTION)["changed"]
        assert heard == []

    def test_a_duplicate_on_the_wire_is_no_endless_change(self):
        veth("eth1")
        ip("link set ETH1 up")
        ip("address add fd00:0:0:1::1/64 dev ETH1 nodad")
        run(self.SECTION)
        self.wait_for(lambda: self.flags("fd00:0:0:1::1") >= {"dadfailed"}, "the duplicate was not found")
        settle()
        with monitored() as heard:
            assert not run(self.SECTION)["changed"]
        assert heard == []

    def test_the_kernels_own_address_is_left_alone(self):
        veth("eth1")
        ip("link set ETH1 up")
        run(self.SECTION)
        self.wait_for(self.link_local, "no link-local address")
        (own,) = self.link_local()
        result = run(plan(bridge(interfaces=["eth1"], addresses=["fd00:0:0:2::1/64"])))
        assert result["actions"] == [
            "add address fd00:0:0:2::1/64 to br100",
            "remove address 10.0.0.1/24 from br100",
            "remove address fd00:0:0:1::1/64 from br100",
        ]
        assert self.link_local() == [own] and "fe80" not in str(result)
        assert addresses("br100", "inet6") == ["fd00:0:0:2::1/64"]
        assert run(plan())["actions"] == ["remove bridge br100"]

    def test_foreign_addresses_stay(self):
        run(plan(bridge(addresses=["fd00:0:0:1::1/64"])))
        ip("address add fd00:0:0:9::1/64 dev br100")
        ip("address add fe80::9/64 dev br100")
        assert not run(plan(bridge(addresses=["fd00:0:0:1::1/64"])))["changed"]
        run(plan(bridge(addresses=["fd00:0:0:2::1/64"])))
        assert sorted(addresses("br100", "inet6")) == ["fd00:0:0:2::1/64", "fd00:0:0:9::1/64"]
        assert "fe80::9" in self.link_local()

    def test_a_failure_is_taken_back(self):
        run(plan(bridge(addresses=["fd00:0:0:1::1/64"])))
        want = links.parse(plan(bridge(addresses=["fd00:0:0:2::1/64"])))
        have = netlink.read()
        difference = links.compare(want, have)
        difference.phases["settle"].append(operations.SetAlias("nowhere", "x"))
        with pytest.raises(HostError, match="the host is as it was"):
            netlink.apply(difference, have)
        assert addresses("br100", "inet6") == ["fd00:0:0:1::1/64"]


class TestVlan:
    """What needs no 802.1Q in the kernel; what does, runs in the VLAN lane of the lab."""

    def section(self, **keys: object) -> dict:
        vlan = {"name": "vlan100", "link": "eth1", "id": 100, "mtu": None, "mac": None, **keys}
        return {**plan(bridge("br9"), bridge(interfaces=["vlan100"])), "vlans": [vlan]}

    def has_8021q(self) -> bool:
        done = subprocess.run(
            ["ip", "link", "add", "link", "eth1", "name", "probe", "type", "vlan", "id", "9"],
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            ip("link del probe")
        return done.returncode == 0

    def test_a_kernel_without_8021q_is_named_and_left_as_it_was(self):
        veth("eth1")
        if self.has_8021q():
            pytest.skip("this kernel has 802.1Q")
        before = links_only_all()
        assert run(self.section(), check=True)["changed"]
        with pytest.raises(HostError) as caught:
            run(self.section())
        assert str(caught.value).startswith("cannot create VLAN interface vlan100 with tag 100 on eth1: ")
        assert "module 8021q" in str(caught.value) and "the host is as it was" in str(caught.value)
        assert links_only_all() == before  # the link that was set up is down again too

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"link": "eth7"}, "VLAN interface vlan100: its link eth7 does not exist on this host"),
            ({"mtu": 1600}, "its planned MTU 1600 is larger than the MTU 1500 of its link eth1"),
            ({"link": "lo"}, "its link lo is the loopback interface"),
            ({"name": "tap1", "link": "eth1"}, "an interface of that name exists that is not a VLAN interface"),
        ],
    )
    def test_refused_before_anything_is_written(self, keys, message):
        veth("eth1", "tap1")
        section = self.section(**keys)
        section["bridges"] = section["bridges"][:1]
        assert message in refusal(section)

    @pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
    def test_what_stands_on_our_bridge_is_not_lost_with_it(self, kind):
        run(plan(bridge()))
        made = subprocess.run(
            ["ip", "link", "add", "link", "br100", "name", "theirs", "type", kind], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip(f"this kernel has no {kind}")
        assert "removing bridge br100: theirs stands on it, which is not ours" in refusal(plan())
