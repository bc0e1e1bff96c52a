# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site on hosts that others use too: Docker, libvirt, firewalld, ufw, NetworkManager, systemd-networkd, nft.

Theirs are the distribution's own packages, run by systemd in the lab's hosts and nowhere else.
"""

from __future__ import annotations

import concurrent.futures
import re
import typing as t

import pytest
from lab.cgroup import root as cgroup_root
from lab.guest import Guest
from lab.host import Host
from lab.playbook import CHECKOUT, Result
from lab.topology import parse
from nova_site import Site, wait_for

LAYER = CHECKOUT / ".cache" / "others.tar"

#: What runs where, and how it is started, restarted and, in its own way, reloaded.
DOCKER, FIREWALLD, UFW = HOSTS = ("compute1", "compute2", "compute3")
START = {
    DOCKER: "systemctl start systemd-udevd && udevadm trigger --subsystem-match=net && udevadm settle;"
    " systemctl start docker libvirtd NetworkManager && virsh --quiet net-start default",
    FIREWALLD: "systemctl start firewalld && firewall-cmd --state",
    UFW: "systemctl start systemd-udevd && udevadm trigger --subsystem-match=net && udevadm settle;"
    " systemctl start systemd-networkd && ufw --force enable",
}
RESTART = {
    DOCKER: "systemctl restart docker libvirtd NetworkManager",
    FIREWALLD: "systemctl restart firewalld && firewall-cmd --state",
    UFW: "ufw reload && systemctl restart ufw systemd-networkd",
}
#: Of hosts that are off: it starts at boot, before ours, and is to be started after.
LATER = {DOCKER: "true", FIREWALLD: "true", UFW: "ufw --force disable"}
WIPE = {
    FIREWALLD: "firewall-cmd --reload",
    DOCKER: "systemctl reload docker; nft flush ruleset; systemctl restart docker",
}
#: What ufw's restart has brought about is over.
NO_JOBS = "while systemctl list-jobs --no-legend | grep -q .; do sleep 0.1; done"
#: A file of an administrator who wants every interface to be configured in the same way.
GREEDY = "[Match]\nName=br* tap* eth1\n\n[Network]\nDHCP=yes\n"

FLOATING = {DOCKER: "203.0.113.71", FIREWALLD: "203.0.113.72", UFW: "203.0.113.73"}
GUEST = {DOCKER: "web1", FIREWALLD: "web2", UFW: "web3"}

#: Everything of others that could be altered: their rules without our jumps, their files, and what they run on.
THEIRS = (
    "iptables-save | grep -v nova- | grep -e '^-A' -e '^:.* -' -e DROP | sed 's/ \\[.*//' | sort;"
    "nft list table inet firewalld 2>/dev/null | sed 's/ packets [0-9]* bytes [0-9]*//';"
    "cd /etc && find docker libvirt firewalld ufw NetworkManager systemd/network -type f"
    " ! -name '00-tenantnet*' -exec sha256sum {} +;"
    "ip -br addr show docker0; ip -br addr show virbr0; sysctl net.bridge"
)


class Shared(t.NamedTuple):
    site: Site
    guests: dict[str, Guest]
    before: dict[str, str]
    first: Result

    def lacks(self, host: str) -> list[str]:
        """What of all that a guest needs it does not get on that host."""
        guest, name = self.guests[GUEST[host]], GUEST[host]
        neighbour = self.guests[f"{name}b"]
        if address(neighbour) is None:
            neighbour.dhcp(tries=2)
        gateway = guest.dhcp(tries=2).get("router")
        wants = {
            "lease": gateway is not None,
            "gateway": gateway is not None and guest.ping(gateway, 1),
            "internet": guest.ping("198.51.100.1", 1),
            "neighbour": guest.ping(address(neighbour) or "192.0.2.255", 1),
            "floating IP": self.answer(FLOATING[host]) == name,
        }
        return [want for want, given in wants.items() if not given]

    def answer(self, floating: str) -> str:
        client = ["socat", "-T2", "-", f"TCP:{floating}:8081,connect-timeout=2"]
        return self.site.lab.host("internet").run(client, check=False).stdout.strip()


def address(guest: Guest) -> str | None:
    shown = guest.run(["ip", "-4", "-br", "addr", "show", "eth0"]).stdout
    found = re.search(r"([\d.]+)/", shown)
    return found.group(1) if found else None


def shell(host: Host, command: str, check: bool = True) -> str:
    done = host.run(["sh", "-c", command], check=check)
    return done.stdout + done.stderr


def everywhere(site: Site, commands: dict[str, str], check: bool = True) -> dict[str, str]:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        said = pool.map(lambda item: shell(site.lab.host(item[0]), item[1], check), commands.items())
        return dict(zip(commands, said))


@pytest.fixture(scope="module")
def shared(lab_factory, tmp_path_factory) -> Shared:
    """The example inventory on hosts where the others run already, each with two guests, one with a floating IP."""
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    if not LAYER.is_file():
        pytest.skip(f"{LAYER.relative_to(CHECKOUT)} is missing: tools/others-layer makes it, and says what it lacks")
    lab = lab_factory(parse({"hosts": dict.fromkeys(HOSTS, "systemd"), "layer": str(LAYER)}))
    site = Site(lab, "multi_host", tmp_path_factory.mktemp("others"))
    rows = []
    for host in HOSTS:
        name = GUEST[host]
        rows.append({"name": name, "project": "acme", "host": host, "floating_ip": FLOATING[host]})
        rows.append({"name": f"{name}b", "project": "acme", "host": host})
    rules = [{"protocol": "icmp"}, {"protocol": "tcp", "ports": 8081}]
    site.change(
        nova_instances=rows,
        nova_floating_ranges=["203.0.113.64/27"],
        nova_security_groups=[{"project": "acme", "name": "default", "rules": rules}],
        nova_manage_packages=False,
    )

    lab.host(UFW).write("/etc/systemd/network/50-all.network", GREEDY)
    everywhere(site, START)
    before = everywhere(site, dict.fromkeys(HOSTS, THEIRS), check=False)
    first = site.run()
    return Shared(site, plug_in(site, site.plans()), before, first)


def plug_in(site: Site, plans: dict[str, t.Any]) -> dict[str, Guest]:
    """The planned guests, each with a server that says its name."""
    guests = site.boot_guests(plans)
    for name, guest in guests.items():
        guest.run(["sh", "-c", f"socat TCP-LISTEN:8081,fork,reuseaddr SYSTEM:'echo {name}' >/dev/null 2>&1 &"])
        guest.dhcp(tries=2)
    return guests


def warning_of(result: Result, host: str) -> str:
    """The warnings about the rules of others on that host, each in one line."""
    said = " ".join(result.stderr.split())
    return "\n".join(text for text in said.split("[WARNING]: ")[1:] if text.startswith(f"host {host}: guests of"))


def test_guests_have_all_they_need_beside_docker_libvirt_networkmanager_ufw_and_networkd(shared: Shared) -> None:
    policies = {host: shell(shared.site.lab.host(host), "iptables -S FORWARD | head -1") for host in (DOCKER, UFW)}
    assert set(policies.values()) == {"-P FORWARD DROP\n"}
    assert {host: shared.lacks(host) for host in (DOCKER, UFW)} == {DOCKER: [], UFW: []}


def test_what_firewalld_makes_impossible_is_said_with_the_remedy_that_helps(shared: Shared) -> None:
    assert {"lease", "internet", "neighbour"} <= set(shared.lacks(FIREWALLD))
    said = warning_of(shared.first, FIREWALLD)
    assert "bridge br100 are kept from DHCP, DNS and the way outwards" in said and "inet firewalld" in said
    assert [warning_of(shared.first, host) for host in (DOCKER, UFW)] == ["", ""]
    [remedy] = re.findall(r"firewall-cmd --permanent .* && firewall-cmd --zone=trusted --add-interface=\S+", said)
    shell(shared.site.lab.host(FIREWALLD), remedy)
    assert shared.lacks(FIREWALLD) == []


def test_nothing_of_theirs_is_altered(shared: Shared) -> None:
    """But what the operator has just told firewalld."""
    hosts = (DOCKER, UFW)
    assert everywhere(shared.site, dict.fromkeys(hosts, THEIRS), check=False) == {h: shared.before[h] for h in hosts}
    assert "DOCKER-USER" in shared.before[DOCKER] and "ufw-before-forward" in shared.before[UFW]


def test_when_they_start_after_us_guests_keep_all(shared: Shared) -> None:
    everywhere(shared.site, RESTART)
    # firewalld takes our rules away, the others do not.
    assert {host: shared.lacks(host) for host in (DOCKER, UFW)} == {DOCKER: [], UFW: []}
    assert wait_for(lambda: shared.lacks(FIREWALLD) == [], 60)


def test_what_they_wipe_comes_back_by_itself(shared: Shared) -> None:
    everywhere(shared.site, {**WIPE, UFW: f"{NO_JOBS}; nft flush ruleset"})
    assert wait_for(lambda: [lack for host in HOSTS for lack in shared.lacks(host)] == [], 60)
    for host in HOSTS:
        rules = shell(shared.site.lab.host(host), "iptables-save; nft list tables")
        assert "-j nova-network-FORWARD" in rules and "table bridge nova-network" in rules
    again = shared.site.run()
    assert warning_of(again, FIREWALLD) == ""
    assert shared.site.run().changed == 0


def test_with_its_back_end_iptables_firewalld_needs_nothing(shared: Shared) -> None:
    """Then it has no table of its own, and our jumps come first in those of iptables. It goes back to the other one."""
    host = shared.site.lab.host(FIREWALLD)
    turn = (
        "sed -i s/^FirewallBackend=.*/FirewallBackend={}/ /etc/firewalld/firewalld.conf;"
        " firewall-cmd --permanent --zone=trusted --{}-interface=br100;"
        " systemctl restart firewalld; firewall-cmd --state"
    )

    def beside_each_other() -> bool:
        rules = shell(host, "iptables -S FORWARD")
        return "nova-network-FORWARD" in rules and "FORWARD_ZONES" in rules and shared.lacks(FIREWALLD) == []

    try:
        shell(host, turn.format("iptables", "remove"))
        assert wait_for(beside_each_other, 60)
        assert "firewalld" not in shell(host, "nft list tables")
        shell(host, WIPE[FIREWALLD])
        assert wait_for(beside_each_other, 60)
        again = shared.site.run("--limit", f"localhost:{FIREWALLD}")
        assert (again.changed, warning_of(again, FIREWALLD)) == (0, "")
    finally:
        shell(host, turn.format("nftables", "add"))


def test_when_ours_is_there_before_they_start_guests_get_all(shared: Shared) -> None:
    """On hosts that have just booted, where ours has come back and none of them ever ran."""
    plans = shared.site.plans()
    everywhere(shared.site, LATER)
    for host in map(shared.site.lab.host, HOSTS):
        host.kill()
        host.boot()
    ready = "systemctl is-active tenantnet.service && iptables-save | grep -e -j.nova-network-FORWARD"
    for said in everywhere(shared.site, dict.fromkeys(HOSTS, ready)).values():
        assert said.startswith("active\n")
    everywhere(shared.site, START)
    shared.guests.clear()
    shared.guests.update(plug_in(shared.site, plans))
    assert wait_for(lambda: [lack for host in HOSTS for lack in shared.lacks(host)] == [], 60)
    everywhere(shared.site, {UFW: "systemctl start nftables"})
    assert wait_for(lambda: shared.lacks(UFW) == [], 60)
