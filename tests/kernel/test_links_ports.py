"""Instances' ports on this kernel: plugged, mended, unplugged, put back, and after a kill at any step."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import signal
import struct
import subprocess
import time
import typing as t

import pytest
from a_kill import killed_at
from a_link import exists, ip, shown, veth
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.links import operations
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.netlink import rules

pytestmark = pytest.mark.usefixtures("netns", "host")

MAC = "fe:16:3e:00:00:0"


@pytest.fixture
def host(tmp_path, monkeypatch) -> None:
    """A host with udev installed, and not this machine's rules."""
    monkeypatch.setattr(rules, "FILE", str(tmp_path / "rules.d" / "90-tenantnet-nova.rules"))
    monkeypatch.setattr(rules, "CONTROL", str(tmp_path / "none"))
    monkeypatch.setattr(rules.programs, "find", lambda name: f"/usr/bin/{name}")


def hairpin(name: str) -> bool:
    return shown(name)["linkinfo"]["info_slave_data"]["hairpin"]


def bridge(name: str = "br100", **keys: t.Any) -> dict[str, t.Any]:
    return {"name": name, "mac": "02:00:00:aa:00:01", "mtu": 1450, **keys}


def port(number: int = 1, bridge: str = "br100", **keys: t.Any) -> dict[str, t.Any]:
    return {"name": f"tap{number}", "bridge": bridge, "mtu": 1450, "mac": f"{MAC}{number}", **keys}


def plan(*ports: dict[str, t.Any], bridges: t.Sequence[dict[str, t.Any]] | None = None) -> dict[str, t.Any]:
    return {"bridges": [bridge()] if bridges is None else list(bridges), "ports": list(ports)}


def run(section: dict[str, t.Any]) -> list[str]:
    """Predict, do, look again: what is done is what was foretold, and then nothing is left."""
    predicted = driver.apply(copy.deepcopy(section), check=True)
    done = driver.apply(copy.deepcopy(section))
    assert done == predicted
    again = driver.apply(copy.deepcopy(section))
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], {"before": "", "after": ""})
    return done["actions"]


def opened(name: str) -> int:
    """A tap as a guest's process has it open."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("=16sH22x", name.encode(), 0x0002 | 0x1000 | 0x4000))
    return descriptor


def picture(*leave_out: str) -> str:
    """All that we set of links, and the rules."""
    found = []
    for link in json.loads(ip("-json -details address show")):
        if link["ifname"] in leave_out:
            continue
        info = link.get("linkinfo", {})
        keys = ("ifname", "mtu", "address", "ifalias", "master")
        found.append(
            [*(link.get(key) for key in keys), "UP" in link["flags"], info.get("info_slave_data", {}).get("hairpin")]
        )
    return json.dumps(sorted(found, key=str), indent=1) + (rules.read() or "")


class TestPlugging:
    def test_a_device_that_is_there_and_one_that_is_not(self):
        veth("tap1")
        assert run(plan(port(1), port(2))) == [
            "create bridge br100",
            "enslave tap1 to br100",
            "write the udev rules of the ports",
        ]
        found = shown("tap1")
        assert (found["master"], found["mtu"], found["address"]) == ("br100", 1450, f"{MAC}1")
        assert "UP" in found["flags"] and found["ifalias"] == "tenantnet.nova port=br100" and hairpin("tap1")
        assert shown("br100")["address"] == "02:00:00:aa:00:01"
        veth("tap2")
        assert run(plan(port(1), port(2))) == ["enslave tap2 to br100"]

    def test_a_guests_own_tap(self):
        descriptor = opened("tap1")
        run(plan(port()))
        assert shown("tap1")["master"] == "br100" and hairpin("tap1")
        assert run(plan()) == ["remove the udev rules of the ports", "release tap1 from br100"]
        assert "master" not in shown("tap1") and "ifalias" not in shown("tap1")
        os.close(descriptor)
        assert not exists("tap1")

    def test_a_run_with_nothing_to_do_is_silent(self):
        veth("tap1")
        section = plan(port(1), port(2, tap=True), port(3))
        run(section)
        time.sleep(2.5)  # for carriers and the kernel's link-local addresses
        before = os.stat(rules.FILE)
        listener = subprocess.Popen(["ip", "monitor", "link", "address"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        assert not driver.apply(section)["changed"]
        time.sleep(0.3)
        listener.terminate()
        assert listener.communicate()[0] == ""
        assert os.stat(rules.FILE) == before

    def test_operators_bridge_is_used_and_not_altered(self):
        veth("eth1", "tap1")
        for command in (
            "link set eth1 address 02:00:00:00:00:05",
            "link set eth1 mtu 1400",
            "link add name br0 type bridge",
            "link set eth1 master br0",
            "link set tap1 address 00:00:00:00:00:02",
            "link set tap1 mtu 1300",
        ):
            ip(command)
        before, eth1 = shown("br0"), shown("eth1")
        section = plan(port(bridge="br0", mtu=1300), port(2, "br0", tap=True, mtu=None), bridges=[])
        run(section)
        assert [shown(name)["master"] for name in ("tap1", "tap2")] == ["br0", "br0"]
        after = shown("br0")
        for key in ("address", "mtu", "flags", "addr_info"):
            assert after[key] == before[key]
        assert "ifalias" not in after and shown("eth1") == eth1
        run(plan(bridges=[]))
        assert shown("br0")["mtu"] == 1400 and "master" not in shown("tap1") and not exists("tap2")

    @pytest.mark.parametrize(
        "drift",
        [
            "link set tap1 nomaster",
            "link set tap1 down",
            "link set tap1 mtu 1300",
            "link set tap1 address 02:00:00:00:00:99",
            "link set tap1 type bridge_slave hairpin off",
            "link set tap1 alias mine",
            "link set tap1 master other",
            "link del tap2",
        ],
    )
    def test_drift_is_repaired(self, drift):
        veth("tap1")
        bridges = [bridge(), bridge("other", mac="02:00:00:aa:00:02")]
        section = plan(port(1), port(2, tap=True), bridges=bridges)
        run(section)
        good = picture()
        ip(drift)
        assert run(section) != []
        assert picture() == good

    def test_rules_lost_are_written_again(self):
        run(plan(port()))
        os.unlink(rules.FILE)
        assert run(plan(port())) == ["write the udev rules of the ports"]

    def test_without_udev_nothing_is_written(self, monkeypatch):
        monkeypatch.setattr(rules.programs, "find", lambda name: None)
        assert run(plan(port())) == ["create bridge br100"]
        assert not os.path.exists(rules.FILE)

    def test_one_that_comes_while_the_run_is_at_work(self, monkeypatch):
        write = rules.write

        def and_then(text: str) -> str | None:
            veth("tap1")
            return write(text)

        monkeypatch.setattr(rules, "write", and_then)
        done = driver.apply(plan(port()))
        assert done["actions"][-1] == "enslave tap1 to br100" and hairpin("tap1")

    def test_not_taken_from_a_bridge_of_somebody_elses(self):
        veth("tap1")
        ip("link add name brother type bridge")
        ip("link set tap1 master brother")
        before = picture()
        for check in (True, False):
            with pytest.raises(HostError, match="tap1: the interface is a port of the bridge brother"):
                driver.apply(plan(port()), check=check)
        assert picture() == before

    def test_hundreds_in_one_pass(self):
        section = plan(*(port(n, mac=f"fe:16:3e:00:{n >> 8:02x}:{n & 255:02x}", tap=True) for n in range(300)))
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        want, have = links.parse(section), netlink.read()
        netlink.apply(links.compare(want, have), have, after_step=step)
        assert len(json.loads(ip("-json link show master br100"))) == 300
        assert steps < 310  # a tap is made by system calls of its own; all the rest goes in a few datagrams
        assert not driver.apply(section)["changed"]


class TestTaps:
    def test_is_what_a_guest_finds(self):
        run(plan(port(tap=True)))
        found = shown("tap1")
        data = found["linkinfo"]["info_data"]
        assert (data["type"], data["persist"], data["user"]) == ("tap", True, "root")
        assert (data["pi"], data["vnet_hdr"], data["multi_queue"]) == (False, True, False)
        assert "LOWER_UP" not in found["flags"]
        descriptor = opened("tap1")
        assert "LOWER_UP" in shown("tap1")["flags"]
        assert not driver.apply(plan(port(tap=True)))["changed"]
        # Its guest runs: it is unplugged now, and goes after the guest.
        assert run(plan()) == ["remove the udev rules of the ports", "release tap1 from br100"]
        os.close(descriptor)
        assert run(plan()) == ["remove tap tap1"]

    def test_nobody_but_root_may_open_it(self):
        run(plan(port(tap=True)))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                opened("tap1")
            except PermissionError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    def test_an_operators_tap_is_used_and_not_removed(self):
        ip("tuntap add tap1 mode tap")
        run(plan(port(tap=True)))
        run(plan())
        assert exists("tap1")

    def test_no_device_for_taps(self, monkeypatch):
        from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.netlink import taps

        monkeypatch.setattr(taps, "_DEVICE", "/dev/net/nothing")
        with pytest.raises(HostError, match=r"cannot create tap tap1: cannot open .*the host is as it was"):
            driver.apply(plan(port(tap=True)))
        assert not exists("br100") and not os.path.exists(rules.FILE)

    def test_one_made_meanwhile_by_others_is_not_taken(self):
        want, have = links.parse(plan(port(tap=True))), netlink.read()
        difference = links.compare(want, have)
        ip("tuntap add tap1 mode tap")
        with pytest.raises(HostError, match="cannot create tap tap1"):
            netlink.apply(difference, have)
        assert not shown("tap1").get("ifalias")


OLD = plan(
    port(1),
    port(2),
    port(3, tap=True),
    port(4, tap=True),
    bridges=[bridge(), bridge("br200", mac="02:00:00:aa:00:02"), bridge("br300", mac="02:00:00:aa:00:03")],
)
NEW = plan(
    port(1, "br200", mtu=1400),
    port(4, "br200", tap=True, hairpin=False),
    port(5, tap=True),
    port(6, "br0", mtu=None),
    bridges=[bridge(), bridge("br200", mac="02:00:00:aa:00:02")],
)


class TestPuttingBack:
    def prepare(self) -> None:
        veth("tap1", "tap2", "tap6")
        ip("link add name br0 address 02:00:00:00:00:09 type bridge")
        run(OLD)

    @pytest.mark.parametrize("phase", operations.ORDER)
    def test_a_failure_in_any_phase_is_taken_back(self, phase):
        self.prepare()
        before = picture()
        want, have = links.parse(NEW), netlink.read()
        difference = links.compare(want, have)
        difference.phases[phase].append(operations.SetAlias("nowhere", "x"))
        with pytest.raises(HostError, match=r"nowhere.*the host is as it was"):
            netlink.apply(difference, have)
        assert picture() == before
        run(NEW)

    def test_a_refusal_of_the_kernel_is_taken_back(self):
        self.prepare()
        before = picture()
        want, have = links.parse(NEW), netlink.read()
        difference = links.compare(want, have)
        (change,) = [each for each in difference.phases["enslave"] if each.name == "tap6"]
        place = difference.phases["enslave"].index(change)
        spoiled = operations.PortState("x", "tap2", True, 1450, change.to.mac, True)  # a tap is no bridge
        difference.phases["enslave"][place] = operations.ChangePort("tap6", spoiled, change.before)
        with pytest.raises(HostError, match=r"cannot enslave tap6 to tap2.*the host is as it was"):
            netlink.apply(difference, have)
        assert picture() == before

    def test_a_file_that_cannot_be_written(self, monkeypatch):
        self.prepare()
        before = picture()
        monkeypatch.setattr(rules, "write", lambda text: "cannot write it")
        with pytest.raises(HostError, match="cannot write the udev rules of the ports: cannot write it; everything"):
            driver.apply(NEW)
        assert picture() == before


class TestKilled:
    """After a kill at any point the next run ends where an undisturbed one does, and nothing of ours is left over."""

    @staticmethod
    def renew(step: t.Callable[[], None]) -> None:
        want, have = links.parse(NEW), netlink.read()
        netlink.apply(links.compare(want, have), have, batch=1, after_step=step)

    def test_at_every_step(self):
        netlink.load()
        veth("tap1", "tap2", "tap6")
        ip("link add name br0 address 02:00:00:00:00:09 type bridge")
        expected = None
        steps, alive = 0, False
        while not alive:
            steps += 1
            run(OLD)
            alive = not killed_at(steps, self.renew)
            for link in json.loads(ip("-json -details link show")):
                if "tap" in link["ifname"] and ("master" in link or link.get("linkinfo", {}).get("info_kind") == "tun"):
                    assert link["ifalias"].startswith("tenantnet.nova "), f"step {steps}"
            driver.apply(NEW)
            end = picture("tap2")  # it left the plan, and keeps what it had
            expected = expected or end
            assert end == expected, f"after a kill at step {steps}"
            run({"bridges": []})
            names = {link["ifname"] for link in json.loads(ip("-json link show"))}
            assert names == {"lo", "br0", "tap1", "TAP1", "tap2", "TAP2", "tap6", "TAP6"}, f"step {steps}"
            assert "ifalias" not in picture() and rules.read() == ""
        assert steps > 8

    def test_while_a_tap_is_made_leaves_none(self, monkeypatch):
        run(plan(port(1)))
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(netlink.applying.taps, "_TUNSETPERSIST", -1)  # the step before never ends
            monkeypatch.setattr(netlink.applying.taps.fcntl, "ioctl", self._kill_before_it_stays)
            want, have = links.parse(plan(port(1, tap=True))), netlink.read()
            netlink.apply(links.compare(want, have), have)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert not exists("tap1")

    @staticmethod
    def _kill_before_it_stays(descriptor: int, request: int, argument: t.Any) -> None:
        if request == -1:
            assert exists("tap1")
            os.kill(os.getpid(), signal.SIGKILL)
        _IOCTL(descriptor, request, argument)


_IOCTL = fcntl.ioctl
