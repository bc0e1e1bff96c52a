# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `links` on hosts with 802.1Q: what it makes, what then passes the trunk, and how it takes things back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time

import pytest
from lab.host import PYTHON_FOLDER
from lab.lab import has_vlan

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(
        os.geteuid() == 0 and not has_vlan() and not shutil.which("linux.uml"),
        reason="neither this kernel nor a guest kernel (linux.uml) has 802.1Q",
    ),
]

NOTHING = {"bridges": []}


@pytest.fixture(scope="module")
def lab(lab_factory):
    return lab_factory("vlan")


@pytest.fixture
def clean(lab, monkeypatch):
    """Both hosts as they were after boot, whatever the test before has left."""
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
    everything = "for link in $(ls /sys/class/net); do case $link in eth*|lo) ;; *) ip link del $link;; esac; done"
    for host in lab.hosts.values():
        host.run(["sh", "-c", f"{everything}; ip link set eth1 up"], check=False)
    return lab


def network(tag: int, address: str = "", **keys: object) -> dict:
    """One project's network: VLAN interface and bridge."""
    vlan = {"name": f"vlan{tag}", "link": "eth1", "id": tag, "mtu": None, "mac": None, **keys}
    addresses = [address] if address else []
    bridge = {"name": f"br{tag}", "interfaces": [f"vlan{tag}"], "addresses": addresses, "mtu": vlan["mtu"]}
    return {"vlans": [vlan], "bridges": [bridge]}


def plan(*networks: dict, **sysctl: str) -> dict:
    parts = {key: [one for part in networks for one in part[key]] for key in ("vlans", "bridges")}
    return {**parts, "sysctl": sysctl}


def task(lab, host: str, section: dict) -> dict:
    """What the module answers, run by Ansible."""
    said = lab.ansible(host, "-m", "tenantnet.nova.links", "-a", json.dumps({"plan": section})).stdout
    answer = said.partition(" => ")[2]
    return json.loads(answer[: answer.rindex("}") + 1])


def run(host, section: dict, check: bool = False) -> dict:
    """The same without Ansible, which takes far longer than the work; a refusal is under `msg`."""
    script = f"""
import json, sys
sys.path.insert(0, {PYTHON_FOLDER!r})
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links
try:
    result = links.apply({section!r}, None, check={check})
except (HostError, InputError) as error:
    result = {{"msg": str(error)}}
json.dump(result, sys.stdout)
"""
    return json.loads(host.run(["/usr/bin/python3"], input=script).stdout)


def links(host) -> dict[str, dict]:
    """What may not change where nothing may: links and addresses as another tool sees them, by name."""
    found = {}
    for link in json.loads(host.run(["ip", "-json", "-details", "address", "show"]).stdout):
        kept = {key: link.get(key) for key in ("mtu", "address", "ifalias", "master", "link")}
        kept["up"] = "UP" in link["flags"]
        kept["id"] = link.get("linkinfo", {}).get("info_data", {}).get("id")
        kept["addresses"] = [(a["local"], a["prefixlen"]) for a in link["addr_info"] if a["scope"] == "global"]
        found[link["ifname"]] = kept
    return found


@contextlib.contextmanager
def monitored(host):
    """Collect what the host's kernel announces about links, addresses and routes meanwhile."""
    host.run(["sh", "-c", "ip monitor link address route > /run/heard 2>&1 & echo $! > /run/monitor; sleep 0.3"])
    heard: list[str] = []
    yield heard
    host.run(["sh", "-c", "sleep 0.3; kill $(cat /run/monitor)"])
    heard.extend(host.read("/run/heard").splitlines())


def test_each_network_has_its_tag_and_none_hears_another(clean):
    h1, h2 = clean.host("h1"), clean.host("h2")
    h1.run(["ip", "link", "set", "eth1", "down"])
    sections = {
        host: plan(
            network(100, f"10.100.0.{n}/24"), network(200, f"10.200.0.{n}/24", mtu=1400, mac=f"02:00:00:aa:00:0{n}")
        )
        for n, host in enumerate(("h1", "h2"), 1)
    }
    predicted = run(h1, sections["h1"], check=True)
    assert "vlan100" not in links(h1) and not links(h1)["eth1"]["up"]
    assert run(h1, sections["h1"])["actions"] == predicted["actions"]
    assert predicted["actions"] == [
        "set eth1 up",
        "create VLAN interface vlan100 with tag 100 on eth1",
        "create VLAN interface vlan200 with tag 200 on eth1",
        "create bridge br100",
        "create bridge br200",
        "enslave vlan100 to br100",
        "enslave vlan200 to br200",
        "add address 10.100.0.1/24 to br100",
        "add address 10.200.0.1/24 to br200",
    ]
    run(h2, sections["h2"])

    found = links(h1)
    assert (found["vlan100"]["link"], found["vlan100"]["id"], found["vlan100"]["master"]) == ("eth1", 100, "br100")
    assert found["vlan100"]["ifalias"] == "tenantnet.nova" and found["vlan100"]["up"] and found["eth1"]["up"]
    assert found["br100"]["address"] == found["vlan100"]["address"] == found["eth1"]["address"]
    assert found["br200"]["address"] == found["vlan200"]["address"] == "02:00:00:aa:00:01"
    assert (found["vlan100"]["mtu"], found["vlan200"]["mtu"], found["br200"]["mtu"]) == (1500, 1400, 1400)

    guest = h1.guest_add("g1", "br100", "02:16:3e:00:00:01")
    brother = h2.guest_add("g2", "br100", "02:16:3e:00:00:02")
    stranger = h2.guest_add("g3", "br200", "02:16:3e:00:00:03")
    for number, one in enumerate((guest, brother, stranger), 1):
        one.run(["ip", "address", "add", f"10.50.0.{number}/24", "dev", "eth0"])
    with clean.switch.capture("trunk") as capture:
        assert guest.ping("10.50.0.2", wait=10)
        assert not guest.ping("10.50.0.3", wait=2)
        assert stranger.run(["ip", "neighbour", "show", "10.50.0.1"]).stdout == ""
        assert h1.ping("10.200.0.2", wait=10) and h1.ping("10.100.0.2", wait=10)
        heard = list(capture.frames(0.2))
    macs = {"02:16:3e:00:00:01": {100}, "02:00:00:aa:00:01": {200}, found["br100"]["address"]: {100}}
    for mac, tags in macs.items():
        # Without IPv6, by which every link announces itself now and then.
        assert {frame.vlan for frame in heard if frame.source == mac and frame.ethertype in (0x0800, 0x0806)} == tags
    assert {frame.vlan for frame in heard if frame.source.startswith("02:16:3e")} <= {100, 200}

    time.sleep(2)  # duplicate address detection, and the first routes
    with monitored(h1) as announced:
        again = run(h1, sections["h1"])
        h1.run(["ip", "link", "add", "name", "probe", "type", "bridge"])
    assert (again["changed"], again["actions"]) == (False, [])
    assert any("probe" in line for line in announced)
    # Guests and neighbours announce themselves; the links of the plan may not.
    assert [line for line in announced if any(name in line for name in ("br100", "br200", "vlan", "eth1"))] == []


def test_repaired_and_removed_beside_what_is_not_ours(clean):
    h1 = clean.host("h1")
    h1.run(["ip", "link", "add", "link", "eth1", "name", "theirs", "type", "vlan", "id", "7"])
    section = plan(network(100, "10.100.0.1/24"), network(200, "10.200.0.1/24"))
    run(h1, section)
    good = links(h1)
    # A wrong tag, and another link.
    for drift in ("link eth1 name vlan100 type vlan id 101", "link br200 name vlan100 type vlan id 100"):
        h1.run(["sh", "-ec", f"ip link del vlan100; ip link add {drift}; ip link set vlan100 alias tenantnet.nova"])
        assert run(h1, section)["actions"] == [
            "remove VLAN interface vlan100",
            "create VLAN interface vlan100 with tag 100 on eth1",
            "enslave vlan100 to br100",
        ]
        assert links(h1) == good
    # The link below goes down, and takes all down that stand on it.
    h1.run(["ip", "link", "set", "eth1", "down"])
    assert run(h1, section)["actions"] == ["set eth1 up", "set vlan100 up", "set vlan200 up"]
    # The name or the tag is somebody else's.
    h1.run(["ip", "link", "set", "vlan200", "alias", "hands off"])
    before = links(h1)
    refused = run(h1, plan(network(7), network(200, link="eth9")))
    assert len(refused["msg"].splitlines()) == 3
    assert "tag 7 on eth1 is that of theirs, which is not ours" in refused["msg"]
    assert "its link eth9 does not exist on this host" in refused["msg"]
    assert "exists (tag 200 on eth1 instead of 200 on eth9), but does not carry our mark" in refused["msg"]
    assert links(h1) == before
    assert run(h1, NOTHING)["actions"] == [
        "remove bridge br100",
        "remove bridge br200",
        "remove VLAN interface vlan100",
    ]
    assert sorted(links(h1)) == ["eth0", "eth1", "eth2", "lo", "theirs", "vlan200"]


def test_a_failure_takes_everything_back(clean):
    h1 = clean.host("h1")
    # Refused by the kernel only when it is written, after all links.
    broken = {"net.ipv4.conf.br300.rp_filter": "x"}
    h1.run(["ip", "link", "set", "eth1", "down"])
    before = links(h1)
    failed = run(h1, plan(network(300, "10.30.0.1/24"), **broken))
    assert "everything was put back, the host is as it was" in failed["msg"]
    assert links(h1) == before
    # Beside what exists: one made anew, one resized, and what stands on another.
    inner = {"name": "inner", "link": "vlan100", "id": 5, "mtu": None, "mac": None}
    good = plan(network(100, mtu=1450), network(200, "10.200.0.1/24"), {"vlans": [inner], "bridges": []})
    run(h1, good)
    before = links(h1)
    assert (before["inner"]["link"], before["inner"]["mtu"]) == ("vlan100", 1450)
    moved = network(200)
    moved["vlans"][0]["id"] = 201
    worse = plan(network(100, mtu=1400), moved, network(300), {"vlans": [inner], "bridges": []}, **broken)
    failed = run(h1, worse)
    assert "everything was put back, the host is as it was" in failed["msg"]
    assert links(h1) == before
    assert not run(h1, good)["changed"]


def test_on_a_bond_and_inside_another_vlan(clean):
    """The trunk is a bond of two cards; one network is a VLAN within a VLAN."""
    h1, h2 = clean.host("h1"), clean.host("h2")
    h1.run(["busybox", "modprobe", "bonding", "max_bonds=0"], check=False)
    bond = (
        "ip link add uplink type bond mode active-backup miimon 100; ip addr flush dev eth2;"
        "for card in eth1 eth2; do ip link set $card down; ip link set $card master uplink; done;"
        "ip link set uplink up; ip link set uplink type bond active_slave eth1"
    )
    h1.run(["sh", "-ec", bond])
    try:
        outer = {"name": "outer", "link": "uplink", "id": 50, "mtu": None, "mac": None}
        inner = {"name": "vlan51", "link": "outer", "id": 51, "mtu": None, "mac": None}
        bridge = {"name": "br51", "interfaces": ["vlan51"], "addresses": ["10.51.0.1/24"], "mtu": None}
        nested = {"vlans": [outer, inner], "bridges": [bridge]}
        section = plan(network(100, "10.100.0.1/24", link="uplink"), nested)
        before = links(h1)
        run(h1, section)
        outer2, bridge2 = {**outer, "link": "eth1"}, {**bridge, "addresses": ["10.51.0.2/24"]}
        run(h2, plan(network(100, "10.100.0.2/24"), {"vlans": [outer2, inner], "bridges": [bridge2]}))
        with clean.switch.capture("trunk") as capture:
            assert h1.ping("10.100.0.2", wait=10) and h1.ping("10.51.0.2", wait=10)
            heard = [frame for frame in capture.frames(0.2) if frame.ethertype in (0x0800, 0x8100)]
        # What is within 802.1Q of another tag still begins with its own.
        tags = {(frame.vlan, frame.payload[:2] if frame.ethertype == 0x8100 else b"") for frame in heard}
        assert tags == {(100, b""), (50, (51).to_bytes(2, "big"))}
        assert not run(h1, section)["changed"]
        assert {name: links(h1)[name] for name in ("uplink", "eth1", "eth2")} == {
            name: before[name] for name in ("uplink", "eth1", "eth2")
        }
        run(h1, NOTHING)
        assert links(h1) == before
    finally:
        h1.run(["sh", "-c", "ip link del uplink; ip link set eth1 up"])


def test_a_hundred_networks_in_one_task(clean):
    h1 = clean.host("h1")
    section = plan(*(network(tag, f"10.{tag % 256}.0.1/24") for tag in range(1000, 1100)))
    assert len(task(clean, "h1", section)["actions"]) == 400
    found = links(h1)
    assert {(found[f"vlan{tag}"]["id"], found[f"vlan{tag}"]["master"]) for tag in range(1000, 1100)} == {
        (tag, f"br{tag}") for tag in range(1000, 1100)
    }
    assert all(found[f"br{tag}"]["addresses"] == [(f"10.{tag % 256}.0.1", 24)] for tag in range(1000, 1100))
    assert task(clean, "h1", section)["actions"] == []
