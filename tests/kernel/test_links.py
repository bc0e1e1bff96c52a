"""The module `links` against this machine's kernel: what it makes, what it leaves alone, what it refuses."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links.mark import parse_mark
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink

pytestmark = pytest.mark.usefixtures("netns")


def ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def shown(name: str) -> dict:
    """A link as another tool sees it."""
    return json.loads(ip(f"-json -details address show dev {name}"))[0]


def exists(name: str) -> bool:
    return os.path.exists(f"/proc/sys/net/ipv4/conf/{name}")


def addresses(name: str, family: str = "inet") -> list[str]:
    return [
        f"{a['local']}/{a['prefixlen']}"
        for a in shown(name)["addr_info"]
        if a["family"] == family and a["scope"] == "global"
    ]


def master(name: str) -> str | None:
    return shown(name).get("master")


def veth(*names: str) -> None:
    """Ethernet interfaces; the other end of each has its name in capitals."""
    for name in names:
        ip(f"link add name {name} type veth peer name {name.upper()}")


def bridge(name: str = "br100", **keys: object) -> dict:
    fields = {"interfaces": [], "addresses": [], "mtu": None, "mac": None, "stp": False, "forward_delay": 0}
    return {"name": name, **fields, **keys}


def plan(*bridges: dict, **sysctl: str) -> dict:
    return {"bridges": list(bridges), "sysctl": sysctl}


def run(section: dict, check: bool = False, connection: str | None = None) -> dict:
    return driver.apply(copy.deepcopy(section), connection, check=check)


#: What the kernel changes by itself, some time after a carrier comes or goes.
VOLATILE = ("timer", "state", "designated", "topology_change", "config_pending", "root_")


def dump() -> str:
    """All that may not change in a run that may not change anything. Counters and times are left out."""
    found = json.loads(ip("-json -details address show"))
    for link in found:
        for part in ("info_data", "info_slave_data"):
            info = link.get("linkinfo", {}).get(part, {})
            link[f"{part} stp_state"] = info.get("stp_state")
            for key in [key for key in info if any(word in key for word in VOLATILE)]:
                del info[key]
        link.pop("operstate", None)
        link["flags"] = [flag for flag in link["flags"] if flag == "UP"]
        # The kernel's own link-local addresses come and go with the carrier.
        link["addr_info"] = [a for a in link.get("addr_info", []) if a["scope"] != "link"]
    return json.dumps(found, indent=1, sort_keys=True)


@contextlib.contextmanager
def monitored():
    """Collect what the kernel announces about links and addresses meanwhile."""
    process = subprocess.Popen(["ip", "monitor", "link", "address"], stdout=subprocess.PIPE, text=True)
    heard: list[str] = []
    try:
        time.sleep(0.3)
        yield heard
        time.sleep(0.3)
    finally:
        process.terminate()
        heard.extend(process.communicate()[0].splitlines())


def settle() -> None:
    """Let carrier changes and the kernel's link-local addresses pass."""
    time.sleep(2.5)


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


class TestOwnership:
    def test_what_is_no_longer_planned_goes(self):
        veth("eth1", "eth2")
        run(plan(bridge("br100", interfaces=["eth1"]), bridge("br200", addresses=["10.2.0.1/24"])))
        result = run(plan())
        assert result["actions"] == ["remove bridge br100", "remove bridge br200"]
        assert result["diff"]["after"] == ""
        assert not exists("br100") and not exists("br200") and master("eth1") is None
        assert not run(plan())["changed"]

    def test_foreign_things_stay(self):
        veth("eth1", "tap1")
        ip("link add name brother type bridge")
        ip("address add 172.16.0.1/24 dev brother")
        full = plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"], mac="02:00:00:aa:00:01"))
        bare = plan(bridge(mac="02:00:00:aa:00:01"))
        run(full)
        ip("link set tap1 master br100")
        ip("address add 192.0.2.5/24 dev br100")
        other = shown("brother")
        assert not run(full)["changed"]
        run(bare)
        assert master("tap1") == "br100" and master("eth1") is None
        assert addresses("br100") == ["192.0.2.5/24"]
        assert shown("brother") == other

    def test_removing_says_which_guests_it_releases(self):
        veth("tap1")
        run(plan(bridge()))
        ip("link set tap1 master br100")
        assert run(plan())["actions"] == ["remove bridge br100 (releases tap1)"]

    def test_a_bridge_without_our_mark_is_refused(self):
        ip("link add name br100 type bridge")
        before = dump()
        with pytest.raises(HostError, match=r"ip link set br100 alias tenantnet\.nova"):
            run(plan(bridge()))
        assert dump() == before

    def test_a_bridge_is_handed_over(self):
        veth("eth1", "tap1")
        for command in (
            "link add name br100 type bridge",
            "link set eth1 master br100",
            "link set tap1 master br100",
            "address add 10.0.0.1/24 dev br100",
            "address add 192.0.2.5/24 dev br100",
            "link set br100 alias tenantnet.nova",
        ):
            ip(command)
        section = plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"]))
        assert run(section)["actions"][0] == "take over bridge br100"
        assert not run(section)["changed"]
        assert master("tap1") == "br100" and addresses("br100") == ["10.0.0.1/24", "192.0.2.5/24"]
        assert shown("br100")["ifalias"] == "tenantnet.nova interfaces=eth1 addresses=10.0.0.1/24"

    def test_a_bridge_that_is_handed_over_keeps_its_mac_from_then_on(self):
        veth("eth1", "tap1")
        for command in (
            "link set tap1 address 00:00:00:00:00:02",
            "link add name br100 type bridge",
            "link set eth1 master br100",
            "link set br100 alias tenantnet.nova",
        ):
            ip(command)
        assert shown("br100")["address"] == shown("eth1")["address"]
        run(plan(bridge(interfaces=["eth1"])))
        ip("link set tap1 master br100")
        assert shown("br100")["address"] == shown("eth1")["address"]


DRIFTS = [
    "link set br100 down",
    "link set br100 mtu 1300",
    "link set br100 address 02:00:00:00:00:99",
    "link set br100 type bridge stp_state 1",
    "link set br100 type bridge forward_delay 500",
    "address del 10.0.0.1/24 dev br100",
    "link set eth1 nomaster",
    "link set eth1 down",
    "link del br100",
    "link set br100 alias tenantnet.nova",
]


class TestDrift:
    @pytest.mark.parametrize("drift", DRIFTS)
    def test_is_repaired(self, drift):
        veth("eth1")
        section = plan(bridge(interfaces=["eth1"], addresses=["10.0.0.1/24", "10.3.0.1/24"], mtu=1450))
        run(section)
        good = links_only(dump())
        ip(drift)
        predicted = run(section, check=True)
        assert predicted["changed"]
        assert run(section) == predicted
        assert links_only(dump()) == good
        assert not run(section)["changed"]


def links_only(text: str) -> str:
    """Without what a link made anew cannot keep."""
    found = [
        {key: link.get(key) for key in ("ifname", "mtu", "address", "ifalias", "master", "flags", "addr_info")}
        for link in json.loads(text)
    ]
    for link in found:
        if link["ifname"] == "eth1":
            link["addr_info"] = []
    return json.dumps(sorted(found, key=lambda link: link["ifname"]), indent=1)


def refusal(section: dict, connection: str | None = None) -> str:
    before = dump()
    for check in (True, False):
        with pytest.raises(HostError) as caught:
            run(section, check=check, connection=connection)
        assert dump() == before
    return str(caught.value)


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


def links_only_all() -> str:
    found = []
    for link in json.loads(dump()):
        item = {key: link.get(key) for key in ("ifname", "mtu", "address", "ifalias", "master", "flags")}
        item["addresses"] = [(a["local"], a["prefixlen"], a.get("broadcast")) for a in link["addr_info"]]
        data = link.get("linkinfo", {}).get("info_data", {})
        item["stp"] = data.get("stp_state"), data.get("forward_delay")
        found.append(item)
    return json.dumps(sorted(found, key=lambda item: item["ifname"]), indent=1)


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

    def killed_after(self, section: dict, steps: int) -> bool:
        """Run in a child that kills itself after so many steps, one operation a step; False if it lived to the end."""
        child = os.fork()
        if child == 0:
            taken = 0

            def step() -> None:
                nonlocal taken
                taken += 1
                if taken == steps:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                want = links.parse(section)
                have = netlink.read(key for key, _value in want.sysctl)
                netlink.apply(links.compare(want, have), have, batch=1, after_step=step)
            finally:
                os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def test_at_every_step(self):
        netlink.load()  # once for all children
        veth("eth1", "eth2", "eth3")
        steps = 0
        alive = False
        expected = None
        while not alive:
            steps += 1
            run(self.OLD)
            alive = not self.killed_after(self.NEW, steps)
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
