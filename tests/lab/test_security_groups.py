# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups, port forwards, provider rules and metadata from the inventory to real clients and servers.

web1 and client are on one bridge of one host, web2 and the other project's db1 on another host, all in one network.
"""

from __future__ import annotations

import copy
import typing as t

import pytest
from conversations import ASK, SERVE
from nova_site import Site, asked_metadata, serve_metadata, wait_for

RANGE_V6 = "fd00:0:0:1::/64"
SHARED = "203.0.113.70"
#: Addresses of the internet: one that guests may get packets from, and one that the operator has forbidden.
FREE, FORBIDDEN = "198.51.100.1", "203.0.113.66"
PORTS = ("8081", "8082", "8083", "8090", "8091")

#: One conversation by UDP, whose course is told in a file.
TALK = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker, open(sys.argv[3], "wb", buffering=0) as log:
    asker.settimeout(0.2)
    asker.connect((sys.argv[1], int(sys.argv[2])))
    while True:
        try:
            asker.send(b"still there")
            log.write(asker.recv(100) and b"+")
        except OSError:
            log.write(b"-")
        time.sleep(0.1)
"""

GROUPS: list[dict[str, t.Any]] = [
    {
        "project": "acme",
        "name": "web",
        "rules": [
            {"protocol": "tcp", "ports": "8081"},
            {"protocol": "udp", "ports": "8090:8091", "cidr": "10.0.0.0/24"},
            {"protocol": "udp", "ports": "8082", "cidr": "10.0.0.0/24"},
            {"protocol": "tcp", "ports": "8083", "group": "clients"},
            {"protocol": "icmp", "icmp_type": 8, "cidr": "0.0.0.0/0"},
            {"protocol": "icmp", "icmp_type": 128, "cidr": RANGE_V6},
        ],
    },
    {"project": "acme", "name": "clients"},
]
INSTANCES = [
    {"name": "web1", "project": "acme", "host": "compute1", "security_groups": ["web"]},
    {"name": "client", "project": "acme", "host": "compute1", "security_groups": ["clients"]},
    {"name": "web2", "project": "acme", "host": "compute2", "security_groups": ["web"]},
    {"name": "db1", "project": "umbrella", "host": "compute2"},
]
FORWARDS = [
    {"address": SHARED, "protocol": "tcp", "ports": "80", "instance": "web1", "fixed_port": 8081},
    {"address": SHARED, "protocol": "tcp", "ports": "81", "instance": "web2", "fixed_port": 8081},
    {"address": SHARED, "protocol": "tcp", "ports": "8082:8083", "instance": "web2"},
]


def ask(who: t.Any, *questions: str) -> list[str]:
    """What a guest or a host hears, as ASK has it."""
    return who.run(["python3", "-c", ASK, "1.5", *questions]).stdout.splitlines()


def see_bridged_packets(site: Site) -> None:
    """Have the packet filter see packets between ports of one bridge, where there are guests."""
    for host in ("net1", "compute1", "compute2"):
        value = int(host != "net1")
        words = [f"net.bridge.bridge-nf-call-{name}={value}" for name in ("iptables", "ip6tables")]
        site.lab.host(host).run(["sysctl", "-qw", *words])


class Deployment:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.plans = site.plans()
        self.guests = site.boot_guests(self.plans)
        ports = [
            (row["name"], row["ports"][0]["address"], row["ports"][0]["address_v6"])
            for plan in self.plans.values()
            for row in plan["instances"]
        ]
        self.address = {name: address.partition("/")[0] for name, address, _v6 in ports}
        self.address_v6 = {name: address.partition("/")[0] for name, _v4, address in ports}
        for name, guest in self.guests.items():
            assert guest.dhcp()["ip"] == self.address[name]
            guest.run(["sh", "-c", 'python3 -c "$0" "$@" >/dev/null 2>&1 &', SERVE, name, *PORTS])
        serve_metadata(site.lab, "net1")
        site.lab.host("internet").run(["ip", "addr", "add", f"{FORBIDDEN}/32", "dev", "lo"])
        for name, guest in self.guests.items():
            assert wait_for(lambda name=name: self.ask(name, f"tcp/{self.address[name]}/8081") != ["refused"])
            assert wait_for(
                lambda guest=guest, name=name: (
                    self.address_v6[name] in guest.run(["ip", "-6", "addr", "show", "-tentative"]).stdout
                ),
                60,
            )

    def at(self, name: str) -> t.Any:
        return self.guests.get(name) or self.site.lab.host(name)

    def ask(self, name: str, *questions: str) -> list[str]:
        return ask(self.at(name), *questions)

    def heard(self, name: str, *questions: str) -> list[bool]:
        return ["sees" in answer for answer in self.ask(name, *questions)]

    def talk(self, name: str, address: str, port: int) -> t.Callable[[], str]:
        """Begin a conversation; returns what tells how its last exchanges went."""
        log = f"/run/talk-{port}"
        self.at(name).run(["sh", "-c", 'python3 -c "$0" "$@" >/dev/null 2>&1 &', TALK, address, str(port), log])
        return lambda: self.at(name).run(["sh", "-c", f"cat {log} 2>/dev/null"], check=False).stdout[-3:]


@pytest.fixture(scope="module")
def deployment(lab_factory, tmp_path_factory) -> Deployment:
    name = "single_network_host"
    site = Site(lab_factory(name), name, tmp_path_factory.mktemp("groups"))
    site.change(
        nova_fixed_range_v6=RANGE_V6,
        nova_instances=INSTANCES,
        nova_security_groups=GROUPS,
        nova_floating_ranges=["203.0.113.64/27"],
        nova_floating_port_forwards=FORWARDS,
        nova_provider_rules=[{"cidr": f"{FORBIDDEN}/32"}],
        nova_metadata_port=8775,
    )
    site.run()
    see_bridged_packets(site)
    return Deployment(site)


def test_guests_get_what_a_rule_allows_on_one_host_and_across_hosts(deployment: Deployment) -> None:
    web = deployment.address["web1"]
    wanted = {("tcp", "8081"), ("udp", "8090"), ("udp", "8091"), ("udp", "8082")}
    for who, further in (("client", {("tcp", "8083")}), ("web2", set()), ("db1", set())):
        every = [(kind, port) for kind in ("tcp", "udp") for port in PORTS]
        heard = deployment.heard(who, *(f"{kind}/{web}/{port}" for kind, port in every))
        assert {each for each, yes in zip(every, heard) if yes} == wanted | further, who
        assert deployment.guests[who].ping(web)
    assert deployment.guests["client"].ping("198.51.100.1")
    assert not deployment.guests["web1"].ping(deployment.address["client"], wait=1)


def test_ipv6_is_guarded_as_well(deployment: Deployment) -> None:
    web, guarded = deployment.address_v6["web1"], deployment.plans["compute1"]["packet_filter"]["instances"]
    (link,) = [
        row["address"]
        for row in guarded
        if row["address"].startswith("fe80") and row["security_groups"] == ["acme/web"]
    ]
    for who, member in (("client", True), ("db1", False)):
        questions = [f"tcp/{web}/8081", f"tcp/{web}/8083", f"udp/{web}/8090", f"tcp/{link}%eth0/8081"]
        assert deployment.heard(who, *questions, f"tcp/{link}%eth0/8082") == [True, member, False, True, False]
        assert deployment.guests[who].ping(web)
        assert not deployment.guests[who].ping(f"{link}%eth0", wait=1)
        assert not deployment.guests["web1"].ping(deployment.address_v6[who], wait=1)


def test_of_a_guest_without_rules_no_port_is_to_be_found(deployment: Deployment) -> None:
    ports = [*range(1, 120), *map(int, PORTS)]
    for who in ("web2", "client", "net1"):
        for victim in (deployment.address["db1"], deployment.address_v6["db1"]):
            questions = [f"{kind}/{victim}/{port}" for kind in ("tcp", "udp") for port in ports]
            assert set(deployment.ask(who, *questions)) == {"no answer"}, (who, victim)
    # What it asks for itself is answered.
    assert deployment.heard("db1", f"tcp/{deployment.address['web2']}/8081") == [True]
    assert deployment.guests["db1"].ping("198.51.100.1")


def test_several_instances_are_behind_one_floating_ip(deployment: Deployment) -> None:
    questions = [f"tcp/{SHARED}/{port}/{FREE}" for port in (80, 81, 8082, 8083, 8081)]
    answers = deployment.ask("internet", *questions)
    assert answers[:2] == [f"web1:8081 sees {FREE}", f"web2:8081 sees {FREE}"]
    # Led to the guest, which its group guards; led nowhere; and by whom the operator has forbidden.
    assert answers[2:] == ["no answer", "no answer", "refused"]
    assert deployment.ask("internet", f"tcp/{SHARED}/80/{FORBIDDEN}") == ["no answer"]
    assert deployment.ask("client", f"tcp/{SHARED}/81")[0].startswith("web2:8081 sees")


def test_the_metadata_service_is_told_who_asks(deployment: Deployment) -> None:
    for name in ("web1", "db1"):
        assert asked_metadata(deployment.guests[name]) == ("net1", deployment.address[name])


def test_a_changed_rule_cuts_what_it_had_allowed_and_then_nothing_changes(deployment: Deployment) -> None:
    site = deployment.site
    web = deployment.address["web1"]
    cut, kept = deployment.talk("client", web, 8082), deployment.talk("client", web, 8090)
    assert wait_for(lambda: cut() == kept() == "+++", 10)
    groups = copy.deepcopy(GROUPS)
    groups[0]["rules"].remove({"protocol": "udp", "ports": "8082", "cidr": "10.0.0.0/24"})
    groups[0]["rules"].append({"protocol": "udp", "ports": "8083"})
    moved = [{**FORWARDS[0], "instance": "web2"}]
    site.change(nova_security_groups=groups, nova_floating_port_forwards=moved)
    site.run()
    assert wait_for(lambda: cut() == "---") and kept() == "+++"
    assert deployment.heard("db1", f"udp/{web}/8083", f"udp/{web}/8082") == [True, False]
    answers = deployment.ask("internet", f"tcp/{SHARED}/80/{FREE}", f"tcp/{SHARED}/81/{FREE}")
    assert answers == [f"web2:8081 sees {FREE}", "refused"]
    assert site.run("--check").changed == 0
