"""The addresses and routes of an interface that becomes a bridge's port: they move to the bridge, and back."""

from __future__ import annotations

import json
import re
import subprocess
import time

import a_namespace
import pytest
from a_kill import killed_at
from a_link import addresses, bridge, dump, exists, ip, master, monitored, settle, shown, veth
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink

pytestmark = pytest.mark.usefixtures("netns")

#: A host with all that may hang on its interface.
HOST = """\
sysctl net.ipv6.conf.eth1.accept_ra=0
sysctl net.ipv6.conf.eth1.accept_dad=0
link set eth1 up
link set ETH1 up
address add 192.0.2.11/24 dev eth1 brd +
address add 192.0.2.12/24 dev eth1 brd +
address add 198.51.100.1/32 dev eth1 label eth1:more
address add 203.0.113.9/28 dev eth1 noprefixroute
address add 192.0.2.200/25 dev eth1 brd + valid_lft 3600 preferred_lft 1800
address add 2001:db8::11/64 dev eth1
address add 2001:db8:1::11/64 dev eth1 nodad valid_lft 3600 preferred_lft 1800
route add 203.0.113.0/28 dev eth1 proto kernel scope link src 203.0.113.9 metric 100
route add default via 192.0.2.1 dev eth1 proto static
route add default via 192.0.2.2 dev eth1 metric 50 mtu 1400
route add 10.0.0.0/8 via 192.0.2.3 dev eth1 src 192.0.2.12 table 100
route add 172.16.0.0/12 dev eth1 scope link
route add 10.9.0.0/16 nexthop via 192.0.2.4 dev eth1 weight 2 nexthop via 192.168.9.4 dev eth9
-6 route add default via fe80::1 dev eth1 metric 1024 pref high
-6 route add default via 2001:db8::1 dev eth1 metric 512
-6 route add 2001:db8:2::/64 via 2001:db8::2 dev eth1 src 2001:db8::11 table 100
-6 route add 2001:db8:3::/64 nexthop via 2001:db8::3 dev eth1 nexthop via 2001:db8:9::3 dev eth9
rule add from 192.0.2.12 iif eth1 lookup 100 priority 1000
rule add oif eth1 lookup 100 priority 1001
-6 rule add iif eth1 lookup 100 priority 1002
neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth1
neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 nud permanent dev eth1
neigh add proxy 192.0.2.99 dev eth1
"""

MOVED = {"bridges": [bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"])], "move_addresses": ["eth1"]}
NONE = {"bridges": []}


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "LOCK_FILE", str(tmp_path / "links.lock"))


def run(section: dict, check: bool = False) -> dict:
    return driver.apply(section, check=check)


def host() -> None:
    veth("eth1", "eth9")
    ip("link set eth9 up")
    ip("link set ETH9 up")
    ip("address add 192.168.9.1/24 dev eth9")
    ip("address add 2001:db8:9::1/64 dev eth9 nodad")
    for line in HOST.splitlines():
        if line.startswith("sysctl"):
            key, _equals, value = line.split()[1].partition("=")
            open("/proc/sys/" + key.replace(".", "/"), "w").write(value)
        else:
            ip(line)


#: What changes with time, and what the kernel says of a link without carrier.
PASSING = ("expires", "valid_life_time", "preferred_life_time", "used", "confirmed", "updated", "refcnt", "flags")


def carried(name: str) -> dict[str, list[str]]:
    """All that leads over an interface, as another tool sees it, under the one name `IF`."""

    def clean(rows: list) -> list[str]:
        kept = []
        for row in rows:
            text = json.dumps({key: value for key, value in row.items() if key not in PASSING}, sort_keys=True)
            kept.append(text.replace(f'"{name}', '"IF'))
        return kept

    found: dict[str, list[str]] = {
        "addresses": clean([a for a in shown(name)["addr_info"] if a["scope"] == "global"]),
    }
    for family in ("-4", "-6"):
        rows = json.loads(ip(f"-json -details {family} route show table all"))
        mine = [
            row
            for row in rows
            if f'"{name}"' in json.dumps(row)
            and row.get("table") != "local"
            and row["type"] == "unicast"
            and not row["dst"].startswith("fe80:")
        ]
        for row in mine:
            for hop in row.get("nexthops", []):
                hop.pop("flags", None)
        found[f"routes{family}"] = sorted(clean(mine))
        rules = json.loads(ip(f"-json {family} rule show"))
        found[f"rules{family}"] = clean([row for row in rules if name in (row.get("iif"), row.get("oif"))])
    neighbours = [row for row in json.loads(ip("-json neigh show nud permanent")) if row["dev"] == name]
    found["neighbours"] = sorted(clean(neighbours))
    found["proxies"] = clean([row for row in json.loads(ip("-json neigh show proxy")) if row["dev"] == name])
    return found


def everything() -> str:
    """Links and addresses, without the times that pass."""
    return re.sub(r'"(valid|preferred)_life_time": \d+', "", dump())


def without(found: dict[str, list[str]], word: str) -> dict[str, list[str]]:
    return {kind: [row for row in rows if word not in row] for kind, rows in found.items()}


def order() -> list[str]:
    """Rules in their order, with the kernel's own."""
    return [line for line in ip("rule show").splitlines() if "eth1" in line]


class TestMoving:
    def test_all_that_leads_over_the_interface_moves_and_comes_back(self):
        host()
        before, mac = carried("eth1"), shown("eth1")["address"]
        assert len(before["addresses"]) == 7 and len(before["routes-4"]) == 8, before
        foretold = run(MOVED, check=True)
        assert carried("eth1") == before
        done = run(MOVED)
        assert (done["actions"], done["diff"]) == (foretold["actions"], foretold["diff"])
        assert "move address 192.0.2.11/24 from eth1 to br100" in done["actions"]
        assert "move route default via 192.0.2.1 from eth1 to br100" in done["actions"]
        assert (master("eth1"), shown("br100")["address"]) == ("br100", mac)
        assert addresses("br100")[:3] == ["10.0.0.1/24", "192.0.2.11/24", "198.51.100.1/32"]
        after = without(carried("br100"), "10.0.0")
        # The rules of the port stay beside their copies, where they say nothing.
        left = carried("eth1")
        assert {kind: rows for kind, rows in left.items() if rows} == {
            kind: before[kind] for kind in ("rules-4", "rules-6")
        }
        assert after == without(before, '"10.0.0.0/8"')
        assert json.loads(ip("-json route show 10.0.0.0/8 table 100"))[0]["dev"] == "br100"
        # IPv6 addresses are of use at once.
        assert ip("-6 -oneline address show dev br100 tentative scope global") == ""
        settle()
        with monitored() as heard:
            again = run(MOVED)
        assert (again["changed"], heard) == (False, [])
        run(NONE)
        assert not exists("br100")
        assert carried("eth1") == before

    def test_the_bridge_stays_when_the_interface_leaves_it(self):
        host()
        before = carried("eth1")
        run(MOVED)
        stays = {"bridges": [bridge(addresses=["10.0.0.1/24"])], "move_addresses": []}
        run(stays)
        assert carried("eth1") == before
        assert addresses("br100") == ["10.0.0.1/24"] and master("eth1") is None
        assert not run(stays)["changed"]

    def test_without_the_name_it_is_refused_and_what_was_moved_stays(self):
        host()
        before = everything()
        with pytest.raises(
            HostError, match=r"name it in nova_allow_move_addresses, and its addresses and routes move to br100"
        ):
            run({**MOVED, "move_addresses": []})
        assert everything() == before
        run(MOVED)
        assert not run({**MOVED, "move_addresses": []})["changed"]
        back = carried("br100")
        run(NONE)
        assert len(carried("eth1")["addresses"]) == len(back["addresses"]) - 1

    def test_a_new_gateway_address_is_the_first_and_no_route_is_lost(self):
        host()
        run(MOVED)
        before = without(carried("br100"), '"10.0.0.')
        changed = {"bridges": [bridge(interfaces=["eth1"], addresses=["10.5.0.1/24"])], "move_addresses": ["eth1"]}
        run(changed)
        assert addresses("br100")[0] == "10.5.0.1/24"
        after = without(carried("br100"), '"10.5.0.')
        after["routes-4"] = [row for row in after["routes-4"] if '"10.0.0.0/8"' not in row]
        assert after == before
        assert not run(changed)["changed"]

    def test_what_a_client_puts_back_moves_again(self):
        host()
        run(MOVED)
        ip("address add 192.0.2.11/24 dev eth1 brd +")
        assert run(MOVED)["actions"] == ["move address 192.0.2.11/24 from eth1 to br100"]
        assert addresses("eth1") == [] and addresses("br100").count("192.0.2.11/24") == 1

    def test_it_moves_on_to_the_next_bridge(self):
        host()
        before = carried("eth1")
        run(MOVED)
        run({"bridges": [bridge("br200", interfaces=["eth1"], addresses=["10.2.0.1/24"])], "move_addresses": ["eth1"]})
        assert master("eth1") == "br200" and not exists("br100")
        assert without(carried("br200"), '"10.2.0')["addresses"] == before["addresses"]
        run(NONE)
        assert carried("eth1") == before

    def test_a_refusal_midway_puts_all_back(self):
        host()
        ip("link add link eth1 name mv0 type macvlan")  # its link can be no port
        before, all_of_it = carried("eth1"), everything()
        with pytest.raises(HostError, match=r"everything was put back, the host is as it was"):
            run(MOVED)
        assert carried("eth1") == before and everything() == all_of_it


class TestKilled:
    def test_at_every_step_the_next_run_ends_right(self):
        netlink.load()
        host()
        before = carried("eth1")
        expected = None
        for there, to in ((NONE, MOVED), (MOVED, NONE)):
            steps, alive = 0, False
            while not alive:
                steps += 1
                run(there)

                def apply(step, to=to):
                    have, difference = driver.look(links.parse(to), None)
                    netlink.apply(difference, have, batch=1, after_step=step)

                alive = not killed_at(steps, apply)
                reached = [a for name in ("eth1", "br100") if exists(name) for a in addresses(name)]
                assert sorted(reached).count("192.0.2.11/24") == 1, f"after a kill at step {steps}"
                assert "dev" in ip("route get 8.8.8.8"), f"after a kill at step {steps}"
                run(to)
                assert not run(to)["changed"]
                if to is NONE:
                    assert carried("eth1") == before
                else:
                    expected = expected or carried("br100")
                    assert carried("br100") == expected
            assert steps > 2


class TestLookedAfter:
    def test_what_would_put_the_addresses_back_is_told_of_before_anything_is_written(self):
        host()
        before = everything()
        client = subprocess.Popen(["udhcpc", "-f", "-q", "-i", "eth1", "-s", "/bin/true"], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 5
            while open(f"/proc/{client.pid}/comm").read() != "udhcpc\n" and time.monotonic() < end:
                time.sleep(0.01)
            with pytest.raises(HostError, match=rf"the DHCP client udhcpc \(process {client.pid}\) renews them there"):
                run(MOVED)
            assert everything() == before
            # An interface that moves nothing may have its client.
            assert run({"bridges": [bridge(interfaces=["ETH9"])]})["changed"]
        finally:
            client.kill()
            client.wait()


class TestTheSameGatewayTwice:
    def test_another_host_that_has_the_address_is_told_of(self):
        veth("eth1")
        with a_namespace.beside() as (pid, inside):
            ip("link set eth1 up")
            ip(f"link set ETH1 netns {pid}")
            for words in ("link set ETH1 address 02:00:00:00:00:99 up", "address add 10.0.0.1/24 dev ETH1"):
                subprocess.run([*inside, "ip", *words.split()], check=True)
            # On a busy machine the kernel takes its time to tell that the cable leads somewhere.
            end = time.monotonic() + 30
            while "state UP" not in ip("link show eth1") and time.monotonic() < end:
                time.sleep(0.05)
            section = {"bridges": [bridge(interfaces=["eth1"], addresses=["10.0.0.1/24"])]}
            (said,) = run(section, check=True)["warnings"]
            assert said.startswith("bridge br100: 10.0.0.1 is to be its address, but 02:00:00:00:00:99 on eth1 has it")
            section["bridges"][0]["addresses"] = ["10.0.0.2/24"]
            assert run(section)["warnings"] == []
            assert not run(section)["changed"]
