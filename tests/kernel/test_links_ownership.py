"""The module `links` against this machine's kernel: what is ours goes or is mended, what is not stays."""

from __future__ import annotations

import json

import pytest
from a_link import addresses, bridge, dump, exists, ip, master, plan, run, shown, veth
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError

pytestmark = pytest.mark.usefixtures("netns")


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
