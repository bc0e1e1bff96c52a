# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site on the back end nftables, then on iptables, and back: guests find the same, and no back end leaves anything.

web1 and client are on one host, web2 on another one; net1 serves their network and carries near.
"""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import lasting
from conversations import SERVE
from nova_site import Site, asked_metadata, assert_a_run_does_nothing, serve_metadata, snapshot, wait_for
from test_security_groups import FREE, PORTS, ask

FLOATING = "203.0.113.77"
HOSTS = ("net1", "compute1", "compute2")
GROUPS = [
    {
        "project": "acme",
        "name": "web",
        "rules": [
            {"protocol": "tcp", "ports": "8081"},
            {"protocol": "tcp", "ports": "8083", "group": "clients"},
            {"protocol": "icmp", "icmp_type": 8, "cidr": "0.0.0.0/0"},
        ],
    },
    {"project": "acme", "name": "clients"},
]
INSTANCES = [
    {"name": "web1", "project": "acme", "host": "compute1", "security_groups": ["web"], "floating_ip": FLOATING},
    {"name": "client", "project": "acme", "host": "compute1", "security_groups": ["clients"]},
    {"name": "web2", "project": "acme", "host": "compute2", "security_groups": ["web"]},
    {"name": "near", "project": "acme", "host": "net1", "security_groups": ["web"]},
]


class Deployment:
    """`bare` is what iptables, ipset and nftables had of each host before the first run."""

    def __init__(self, site: Site, bare: dict[str, t.Any]) -> None:
        self.site, self.bare = site, bare
        plans = site.plans()
        self.guests = site.boot_guests(plans)
        self.address = {
            row["name"]: row["ports"][0]["address"].partition("/")[0]
            for plan in plans.values()
            for row in plan["instances"]
        }
        for name, guest in self.guests.items():
            assert guest.dhcp()["ip"] == self.address[name]
            guest.run(["sh", "-c", 'python3 -c "$0" "$@" >/dev/null 2>&1 &', SERVE, name, *PORTS])
            assert wait_for(lambda name=name: ask(self.guests[name], f"tcp/{self.address[name]}/8081") != ["refused"])
        serve_metadata(site.lab, "net1")
        site.lab.host("internet").run(["sh", "-c", 'python3 -c "$0" "$@" >/dev/null 2>&1 &', SERVE, "internet", "8081"])


def shell(site: Site, host: str, command: str) -> str:
    return site.lab.host(host).run(["sh", "-c", command], check=False).stdout


def of_iptables(site: Site, host: str) -> list[str]:
    """All rules and sets."""
    text = shell(site, host, "iptables-save; ip6tables-save; ipset save")
    return sorted(re.sub(r" \[.*", "", line) for line in text.splitlines() if line[:1] not in ("#", ""))


def of_nftables(site: Site, host: str) -> list[str]:
    """Our tables of the packet filter; that of the port filter is there with either back end."""
    return re.findall(r"^table ip6? nova-network$", shell(site, host, "nft list tables"), re.MULTILINE)


@pytest.fixture(scope="module")
def deployment(lab_factory, tmp_path_factory) -> Deployment:
    name = "single_network_host"
    site = Site(lab_factory(name), name, tmp_path_factory.mktemp("backends"))
    site.change(
        nova_packet_filter="nftables",
        nova_instances=INSTANCES,
        nova_security_groups=GROUPS,
        nova_floating_ranges=["203.0.113.64/27"],
        nova_metadata_port=8775,
    )
    bare = {host: of_iptables(site, host) for host in HOSTS}
    site.run()
    return Deployment(site, bare)


def all_is_well(made: Deployment) -> None:
    guests, lab, web = made.guests, made.site.lab, made.address["web1"]
    # Out: by one's floating IP, by the host's address.
    assert ask(guests["web1"], f"tcp/{FREE}/8081") == [f"internet:8081 sees {FLOATING}"]
    (seen,) = ask(guests["client"], f"tcp/{FREE}/8081")
    assert re.match(r"internet:8081 sees 203\.0\.113\.\d+$", seen) and FLOATING not in seen
    # In, from outside and from within; what no rule allows is not to be found.
    outside = lab.host("internet")
    assert ask(outside, f"tcp/{FLOATING}/8081/{FREE}", f"tcp/{FLOATING}/8083") == [
        f"web1:8081 sees {FREE}",
        "no answer",
    ]
    # From its own network, though their gateway's bridge is filtered and they are all behind one port of it.
    assert lab.host("net1").run(["sysctl", "-n", "net.bridge.bridge-nf-call-iptables"]).stdout == "1\n"
    for name in ("web1", "client", "web2", "near"):
        seen = FLOATING if name == "web1" else "10.0.0.1"
        assert ask(guests[name], f"tcp/{FLOATING}/8081") == [f"web1:8081 sees {seen}"], name
    assert ask(guests["web1"], f"tcp/{made.address['near']}/8081", f"tcp/{made.address['near']}/8083") == [
        f"near:8081 sees {web}",
        "no answer",
    ]
    for name, wanted in (("client", ["sees", "sees"]), ("web2", ["sees", "no answer"])):
        answers = ask(guests[name], f"tcp/{web}/8081", f"tcp/{web}/8083", f"udp/{web}/8090")
        assert ["sees" if "sees" in answer else answer for answer in answers] == [*wanted, "no answer"], name
    assert ask(guests["web2"], f"tcp/{made.address['client']}/8081") == ["no answer"]
    for name in ("web1", "client"):
        assert asked_metadata(guests[name]) == ("net1", made.address[name])


def test_on_nftables_all_is_well_and_iptables_is_as_it_was(deployment: Deployment) -> None:
    for host in HOSTS:
        assert of_iptables(deployment.site, host) == deployment.bare[host]
        assert of_nftables(deployment.site, host)
    all_is_well(deployment)


def test_there_too_a_second_run_does_nothing_at_all(deployment: Deployment) -> None:
    assert_a_run_does_nothing(deployment.site, HOSTS)


def test_what_boot_runs_routes_again_what_the_uplink_brings(deployment: Deployment) -> None:
    lab, web2 = deployment.site.lab, deployment.guests["web2"]
    before = snapshot(lab, "net1")["filters"]
    assert "mirred (Ingress Redirect to device br100)" in before
    lab.host("net1").run(["tc", "qdisc", "del", "dev", "eth1", "clsact"])
    assert ask(web2, f"tcp/{FLOATING}/8081") == ["no answer"]
    lab.host("net1").run([lasting.PROGRAM])
    assert snapshot(lab, "net1")["filters"] == before
    assert ask(web2, f"tcp/{FLOATING}/8081") == ["web1:8081 sees 10.0.0.1"]


@pytest.mark.timeout(600)
def test_to_iptables_and_back_nothing_remains_and_nobody_notices(deployment: Deployment) -> None:
    site = deployment.site
    before = {host: snapshot(site.lab, host) for host in HOSTS}
    site.change(nova_packet_filter="iptables")
    site.run()
    for host in HOSTS:
        assert of_nftables(site, host) == []
        assert "nova-network" in " ".join(of_iptables(site, host))
    all_is_well(deployment)

    site.change(nova_packet_filter="nftables")
    site.run()
    for host in HOSTS:
        # Tables that the other back end had to have stay, empty.
        assert "nova-" not in " ".join(of_iptables(site, host)), host
        assert of_nftables(site, host)
        after = snapshot(site.lab, host)
        assert {key: after[key] for key in after if key != "rules"} == {
            key: before[host][key] for key in before[host] if key != "rules"
        }
    all_is_well(deployment)
    assert site.run("--check").changed == 0
