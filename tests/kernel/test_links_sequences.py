"""Whatever was planned and whatever went wrong before: the host ends as one that is built from the last plan.

More than `make test` tries: TENANTNET_PROPERTY_EXAMPLES=500, each a sequence that is drawn anew. Those with VLAN
interfaces are tried in the VLAN lane too, in a guest's kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import traceback
import typing as t

import a_namespace
import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.netlink import rules
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("netns")

MORE = int(os.environ.get("TENANTNET_PROPERTY_EXAMPLES", "0"))

Plan = dict[str, t.Any]

BRIDGES = ("br1", "br2", "br3")
NICS = ("eth1", "eth2", "eth3")
VLANS = ("vlan1", "vlan2")
#: Those that are there; the others come as taps of ours, or not at all.
DEVICES, TAPS = ("tap1", "tap2", "tap3"), ("tap8", "tap9")
ADDRESSES = ("10.0.0.1/24", "10.0.0.2/24", "10.0.1.1/24", "10.0.0.1/16", "fd00::1/64", "fd00::1/80", "fd00::2/64")
#: What is done to the links of a host by others.
HARM = (
    *(f"link set dev {name} nomaster" for name in ("eth1", "tap1", "tap8")),
    *(f"link set dev {name} down" for name in ("br1", "eth2", "tap2", "vlan1")),
    "link set dev br1 mtu 1300",
    "link set dev br2 address 02:00:00:00:00:99",
    "link set dev br2 type bridge stp_state 1",
    "link set dev tap1 type bridge_slave hairpin off",
    "link set dev tap2 mtu 1300",
    "address flush dev br1 scope global",
    "address del 10.0.0.1/24 dev br2",
    "link del br1",
    "link del vlan1",
    "link del tap8",
)


@st.composite
def plans(draw: st.DrawFn, with_vlans: bool) -> Plan:
    """A plan in which nothing is left to the kernel, which may keep what it had."""
    bridges = draw(st.lists(st.sampled_from(BRIDGES), unique=True))
    vlans = draw(st.lists(st.sampled_from(VLANS), unique=True)) if with_vlans else []
    links = draw(st.permutations([*NICS, *vlans]))
    addresses = draw(st.lists(st.sampled_from(ADDRESSES), unique_by=lambda text: text.partition("/")[0]))
    section: Plan = {
        "bridges": [],
        "vlans": [
            {
                "name": name,
                "link": draw(st.sampled_from(NICS)),
                "id": number,
                "mtu": 1500,
                "mac": f"02:00:00:00:01:0{n}",
            }
            for n, (name, number) in enumerate(zip(vlans, draw(st.permutations([7, 8]))))
        ],
        "ports": [],
    }
    for number, name in enumerate(bridges):
        mine = [links.pop() for _each in range(min(len(links), draw(st.integers(0, 2))))]
        own = [addresses.pop() for _each in range(min(len(addresses), draw(st.integers(0, 3))))]
        # A VLAN interface cannot stand on a port of a bridge's any better than on another, so any may.
        section["bridges"].append(
            {
                "name": name,
                "interfaces": mine,
                "addresses": own,
                "mtu": draw(st.sampled_from([1400, 1500])),
                "mac": f"02:00:00:00:02:0{number}",
                "stp": draw(st.booleans()),
                "forward_delay": draw(st.sampled_from([2, 15])),
            }
        )
    for number, name in enumerate((*DEVICES, *TAPS)):
        if draw(st.booleans()):
            port = {"name": name, "bridge": draw(st.sampled_from(["br0", *bridges])), "tap": name in TAPS}
            port["hairpin"] = draw(st.booleans())
            section["ports"].append(
                {**port, "mtu": draw(st.sampled_from([1400, 1500])), "mac": f"fe:00:00:00:00:0{number}"}
            )
    return section


def has_vlan() -> bool:
    script = "ip link add name a type veth peer name b && ip link add link a name c type vlan id 1"
    return subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, check=False).returncode == 0


def host(sequence: t.Sequence[Plan | str]) -> list[t.Any]:
    """What a fresh host looks like after these plans and commands; in a child with a namespace of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            a_namespace.leave_for_a_fresh_one()
            os.write(writer, json.dumps(_live(sequence)).encode())
        except BaseException:
            os.write(writer, json.dumps([traceback.format_exc()]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = json.loads(answer.read())
    os.waitpid(child, 0)
    assert not said or not isinstance(said[0], str), said[0]
    return said


def _live(sequence: t.Sequence[Plan | str]) -> list[t.Any]:
    lines = [f"link add name {name} type veth peer name {name.upper()}" for name in (*NICS, *DEVICES)]
    lines += ["link add name br0 address 02:00:00:00:03:00 type bridge", "link set dev br0 mtu 1400"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    for step in sequence:
        if isinstance(step, str):
            subprocess.run(["ip", *step.split()], capture_output=True, check=False)
            continue
        predicted = driver.apply(step, check=True)
        assert driver.apply(step) == predicted
        again = driver.apply(step)
        assert not again["changed"], again["actions"]
    return _look(t.cast(Plan, sequence[-1]))


def _look(last: Plan) -> list[t.Any]:
    """Of every link what is ours to say: of one that is in no plan, where it is plugged and whose it is."""
    planned = {entry["name"] for kind in last.values() for entry in kind}
    planned.update(name for bridge in last["bridges"] for name in bridge["interfaces"])
    shown = subprocess.run(["ip", "-json", "-details", "address"], check=True, capture_output=True, text=True).stdout
    found = []
    for link in json.loads(shown):
        info = link.get("linkinfo", {})
        data, plugged = info.get("info_data", {}), info.get("info_slave_data", {})
        said = [link["ifname"], link.get("master"), info.get("info_kind"), plugged.get("hairpin")]
        said.append(link.get("ifalias"))
        if link["ifname"] in planned:
            said += ["UP" in link["flags"]]
            if link["ifname"] not in NICS:
                said += [link["mtu"], link["address"], link.get("link"), data.get("id"), data.get("stp_state")]
                said += [data.get("forward_delay")]
            own = [
                [a["local"], a["prefixlen"], a.get("broadcast")] for a in link["addr_info"] if a["scope"] == "global"
            ]
            said += [own[:1], sorted(own)]
        found.append(said)
    return sorted(found, key=lambda said: said[0])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("with_vlans", "examples"), [(False, 20), (True, 10)], ids=["bridges", "vlans"])
def test_a_host_with_a_past_equals_one_built_from_scratch(with_vlans, examples, tmp_path, monkeypatch):
    if with_vlans and not has_vlan():
        pytest.skip("this kernel makes no VLAN interfaces")
    netlink.load()  # once for all children
    monkeypatch.setattr(rules, "FILE", str(tmp_path / "90-tenantnet-nova.rules"))

    @settings(
        max_examples=MORE or examples,
        deadline=None,
        derandomize=not MORE,
        database=None,
        suppress_health_check=list(HealthCheck),
        # In a guest's kernel it would take minutes to find a shorter sequence that fails.
        phases=[phase for phase in Phase if phase != Phase.shrink or not with_vlans],
    )
    @given(st.lists(st.one_of(plans(with_vlans), st.sampled_from(HARM)), max_size=5), plans(with_vlans))
    def holds(past: list[Plan | str], last: Plan) -> None:
        note(json.dumps([*past, last], indent=1))
        assert host([*past, last]) == host([last])

    holds()
