# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter by nftables in a fresh network namespace, and moving between it and iptables."""

from __future__ import annotations

import os
import re
import subprocess
import time

import a_section
import pytest
from a_plan import plans
from a_router import Nftables, Variant, neighbour, run
from a_section import NOTHING
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs
from hypothesis import HealthCheck, given, settings

PLAN = {
    **a_section.PLAN,
    "floating_ips": [{"address": f"203.0.113.{number}", "fixed_address": f"10.0.0.{number}"} for number in (7, 8)],
    "port_forwards": [
        {"address": "203.0.113.9", "protocol": "tcp", "ports": "80:81", "fixed_address": "10.0.0.7", "fixed_port": 8080}
    ],
    "metadata": {"host": None, "port": 8775},
    "instances": [{"address": "10.0.0.7", "cidr": "10.0.0.0/24", "security_groups": ["web"]}],
    "security_groups": [
        {"name": "web", "members": ["10.0.0.7"], "rules": [{"protocol": "tcp", "ports": "22", "group": "clients"}]},
        {"name": "clients", "members": ["10.0.9.9"], "rules": []},
    ],
}
HOOKS = ("input", "forward")
IPS = PLAN["floating_ips"]

FOREIGN = """
table ip theirs {
    map nova-network { type ipv4_addr : ipv4_addr; elements = { 203.0.113.7 : 192.0.2.1 }; }
    chain prerouting { type nat hook prerouting priority -90; policy accept; counter; }
    chain out { type filter hook output priority 0; policy accept; oifname "lo" counter accept; }
}
table inet nova-network-not { chain nova-network { accept; }; }
"""


@pytest.fixture
def nft(filter_host):
    return Nftables(filter_host)


def apply(plan=PLAN, **options):
    return driver.apply(plan, **{"backend": "nftables", "wait": 5, **options})


def test_check_apply_check_apply_purge(nft):
    nft.load(FOREIGN)
    before = nft.save()
    predicted = apply(check=True, diff=True)
    assert predicted["changed"] and nft.save() == before
    assert not os.path.exists(driver.LOCK_FILE)
    done = apply(diff=True)
    assert done == predicted and done["warnings"] == []
    after = nft.save()
    assert 'oifname "eth2" ip saddr @snat-networks snat to 192.0.2.9' in after
    for check in (True, False):
        again = apply(check=check, diff=True)
        assert again == {"changed": False, "actions": [], "chains": [], "warnings": [], "diff": []}
    assert nft.save() == after
    gone = apply(NOTHING, diff=True)
    assert gone["changed"] and gone["diff"][0]["before"]
    assert nft.save() == before
    assert not apply(NOTHING)["changed"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans())
def test_any_plan_loads_and_reads_back_equal(nft, plan):
    """Each example begins with what the one before it left: so this is change from any plan to any other, too."""
    predicted = apply(plan, check=True)
    assert apply(plan) == predicted
    assert not apply(plan)["changed"]


def events(nft, work):
    """What the kernel told of changes of tables while `work` was done."""
    path = nft.folder / "events"
    with open(path, "w") as handle:
        monitor = subprocess.Popen([nft.real["nft"], "monitor"], stdout=handle, stderr=subprocess.STDOUT)
        try:
            time.sleep(0.3)
            work()
            time.sleep(0.3)
        finally:
            monitor.terminate()
            monitor.wait()
    return [line for line in path.read_text().splitlines() if not line.startswith("# new generation")]


def test_what_changes_is_written_and_nothing_else(nft):
    apply()
    assert events(nft, apply) == []
    more = {**PLAN, "floating_ips": [*IPS, {"address": "203.0.113.10", "fixed_address": "10.0.0.10"}]}
    assert events(nft, lambda: apply(more)) == [
        "add element ip nova-network float-to { 203.0.113.10 : 10.0.0.10 }",
        "add element ip nova-network float-from { 10.0.0.10 : 203.0.113.10 }",
    ]
    result = apply()
    assert result["actions"] == ["floating IP 203.0.113.10: remove the way to 10.0.0.10, the way from 10.0.0.10"]
    assert result["chains"] == ["ipv4 nova-network float-to", "ipv4 nova-network float-from"]
    # The same key with another answer.
    moved = {**PLAN, "floating_ips": [IPS[0], {**IPS[1], "fixed_address": "10.0.0.9"}]}
    assert apply(moved)["actions"] == [
        "floating IP 203.0.113.8: remove the way to 10.0.0.8, the way from 10.0.0.8; "
        "add the way to 10.0.0.9, the way from 10.0.0.9"
    ]
    guest = {"address": "10.0.0.8", "cidr": "10.0.0.0/24", "security_groups": ["web"]}
    assert apply({**moved, "instances": [*PLAN["instances"], guest]})["actions"] == [
        "guest 10.0.0.8: add the guard of what comes in"
    ]


def test_ranges_grow_and_shrink_in_one_transaction(nft):
    """Elements that overlap what goes with the same step."""
    for prefix in (24, 25, 16, 24):
        networks = [{**PLAN["networks"][0], "cidr": f"10.0.0.0/{prefix}"}]
        result = apply({**PLAN, "networks": networks})
        assert result["changed"] and not any("anew" in action for action in result["actions"])
        assert not apply({**PLAN, "networks": networks})["changed"]
        assert f"10.0.0.0/{prefix} . 10.0.0.0/{prefix}" in nft.save()


DRIFT = {
    "a floating IP lost": "delete element ip nova-network float-to { 203.0.113.7 }",
    "a floating IP astray": "delete element ip nova-network float-to { 203.0.113.7 }\n"
    "add element ip nova-network float-to { 203.0.113.7 : 10.0.0.99 }",
    "a member too many": "add element ip nova-network guests-in { 10.0.0.77 : drop }",
    "a rule lost": "flush chain ip nova-network forward",
    "a rule added": "insert rule ip nova-network forward drop",
    "a rule that reads the same": "insert rule ip nova-network postrouting ip saddr 10.0.0.9 accept",
    "a chain too many": "add chain ip nova-network old { type filter hook forward priority 0; policy drop; }\n"
    "add rule ip nova-network old accept",
    "a set too many": "add set ip nova-network old { type ipv4_addr; flags interval; }\n"
    "add element ip nova-network old { 10.0.0.0/8 }",
    "another policy": "add chain ip nova-network forward { policy drop; }",
    "another priority": "delete chain ip nova-network nat-output\n"
    "add chain ip nova-network nat-output { type nat hook output priority -99; policy accept; }\n"
    "add rule ip nova-network nat-output dnat to ip daddr map @float-to",
    "a range lost": "flush set ip nova-network inside",
    "the table gone": "delete table ip nova-network",
    "of IPv6": "flush set ip6 nova-network closed-bridges",
}


@pytest.mark.parametrize("drift", DRIFT.values(), ids=DRIFT)
def test_drift_is_foretold_and_repaired(nft, drift):
    nft.load(FOREIGN)
    apply()
    good = nft.save()
    nft.load(drift)
    bad = nft.save()
    predicted = apply(check=True, diff=True)
    assert predicted["changed"] and predicted["actions"] and nft.save() == bad
    assert apply(diff=True) == predicted
    assert not apply()["changed"]
    assert sorted(re.findall(r"\S.*", nft.save())) == sorted(re.findall(r"\S.*", good))


def test_ten_thousand_are_read_as_they_are(nft):
    """Reading them takes the short way, which has to find each and mix up none."""
    pairs = [(f"198.18.{number >> 8}.{number & 255}", f"10.1.{number >> 8}.{number & 255}") for number in range(10_000)]
    network = {**PLAN["networks"][0], "cidr": "10.0.0.0/8"}
    crowd = [{"address": address, "fixed_address": fixed} for address, fixed in pairs]
    plan = {"public_interface": "eth2", "routing_source_ip": "192.0.2.9", "networks": [network], "floating_ips": crowd}
    apply(plan)
    assert not apply(plan, check=True)["changed"]
    nft.load("delete element ip nova-network float-to { 198.18.20.20 }\n")
    assert apply(plan)["actions"] == ["floating IP 198.18.20.20: add the way to 10.1.20.20"]


# -- other programs


def test_chains_of_others_that_drop_are_told(nft):
    nft.load("table inet fence { chain pass { type filter hook forward priority 0; policy drop; }; }")
    (warning,) = apply()["warnings"]
    assert "chain pass of table inet fence drops what its own rules do not accept" in warning
    assert apply()["warnings"] == []


@pytest.mark.parametrize(("family", "told"), [("ip", (4,)), ("ip6", (6,)), ("inet", (4, 6))])
@pytest.mark.parametrize("versions", [(4,), (6,), (4, 6)])
def test_chains_of_others_that_drop_concern_the_versions_of_their_family(nft, family, told, versions):
    chains = "".join(f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; }}; " for hook in HOOKS)
    nft.load(f"table {family} fence {{ {chains}}}")
    ranges = {"cidr": "10.0.0.0/24" if 4 in versions else None, "cidr_v6": "fd00::/64" if 6 in versions else None}
    network = {**PLAN["networks"][0], **ranges, "snat": False}
    warnings = apply({"routing_source_ip": "", "networks": [network]})["warnings"]
    concerned = set(told) & set(versions)
    assert len(warnings) == (2 if concerned else 0)
    assert all(f"of table {family} fence drops" in warning for warning in warnings)
    said = "".join(warnings)
    assert ("the guests' traffic" in said, "DHCP," in said, "DHCPv6" in said) == (
        bool(concerned),
        4 in concerned,
        6 in concerned,
    )


def test_a_refused_transaction_changes_nothing(nft):
    before = nft.save()
    real = nft.real["nft"]
    nft.wrap("nft", before=f'[ "$*" != "-f -" ] || {{ sed "s/dnat to/dnat tu/" | {real} "$@"; exit $?; }}')
    with pytest.raises(HostError, match="nft refused the rules: .*that line is 'add rule .*nothing was changed"):
        apply()
    assert nft.save() == before


def test_a_table_that_changes_under_the_run_is_read_again(nft):
    """Another program takes away what we are about to take away ourselves."""
    apply()
    flag = nft.folder / "once"
    nft.wrap(
        "nft",
        before=f'[ -e {flag} ] || [ -z "$(ip link show type bridge)" ] || {{ touch {flag}; '
        f"{nft.real['nft']} delete element ip nova-network float-to '{{ 203.0.113.8 }}'; }}",
    )
    # A mark of this namespace, for the program also runs where rules are compared.
    run("ip", "link", "add", "br7", "type", "bridge")
    assert apply({**PLAN, "floating_ips": IPS[:1]})["changed"]
    assert flag.exists() and not apply({**PLAN, "floating_ips": IPS[:1]})["changed"]


def test_without_nft(nft, monkeypatch):
    find = programs.find
    monkeypatch.setattr(programs, "find", lambda name: None if name == "nft" else find(name))
    with pytest.raises(HostError, match="nft is not installed on this host; install the package nftables"):
        apply()
    predicted = apply(check=True)
    assert predicted["changed"] and "nft is not installed" in predicted["warnings"][0]
    assert not apply(NOTHING)["changed"]


# -- what iptables has a rule for


def test_a_client_takes_answers_whose_checksum_nobody_has_filled_in(nft):
    """A guest's interface leaves the checksum to a device that there is none of; iptables has a target against that."""
    run("ip", "-batch", "-", text="link add br100 type bridge\naddr add 10.0.0.1/24 dev br100\nlink set br100 up\n")
    guest = {"address": "10.0.0.7", "cidr": "10.0.0.0/24", "dhcp_server": "10.0.0.1", "security_groups": []}
    apply({**PLAN, "instances": [guest], "security_groups": []})
    words = ["--conf-file=/dev/null", "--port=0", "--bind-interfaces", "--interface=br100", "--no-ping", "--user=root"]
    words += ["--dhcp-range=10.0.0.7,10.0.0.7", f"--dhcp-leasefile={nft.folder}/leases", "--keep-in-foreground"]
    with neighbour("tap0", None, "10.9.9.9/32") as inside:
        run("ip", "link", "set", "tap0", "master", "br100")
        assert "tx-checksumming: on" in run("ethtool", "-k", "br100")
        server = subprocess.Popen(["dnsmasq", *words, f"--pid-file={nft.folder}/pid"])
        try:
            client = [
                *inside,
                "busybox",
                "udhcpc",
                "-i",
                "eth0",
                "-f",
                "-q",
                "-n",
                "-t",
                "20",
                "-T",
                "1",
                "-s",
                "/bin/true",
            ]
            done = subprocess.run(client, capture_output=True, text=True)
            assert "lease of 10.0.0.7 obtained" in done.stdout + done.stderr
        finally:
            server.kill()
            server.wait()


# -- from one back end to the other


@pytest.mark.parametrize("name", ["nft", "legacy"])
def test_what_iptables_has_is_looked_at_where_it_has_tables(filter_host, name):
    iptables, _nft = Variant(name, filter_host), Nftables(filter_host)
    readers = {"iptables-save", "ip6tables-save"}
    apply()
    assert not readers & set(iptables.calls())
    iptables.load("*filter\n:MY-RULES - [0:0]\nCOMMIT\n")
    apply({**PLAN, "port_forwards": []})
    assert readers & set(iptables.calls()) == {"iptables-save"}


@pytest.mark.parametrize("name", ["nft", "legacy"])
def test_moving_leaves_nothing_behind(filter_host, name):
    iptables = Variant(name, filter_host)
    iptables.load("*filter\n:FORWARD ACCEPT [0:0]\n:MY-RULES - [0:0]\n-A FORWARD -j MY-RULES\nCOMMIT\n")
    nft = Nftables(filter_host)
    apply(backend="iptables")
    assert iptables.ours() and run("ipset", "list", "-n")
    predicted = apply(check=True, diff=True)
    # When iptables is written to, the other rules are there.
    seen = filter_host / "seen"
    iptables.wrap("iptables-restore", before=f"{nft.real['nft']} list tables >>{seen}")
    assert apply(diff=True) == predicted
    assert "table ip nova-network" in seen.read_text()
    assert iptables.ours() == [] and run("ipset", "list", "-n") == ""
    assert re.findall("^-A .*", iptables.save(), re.MULTILINE) == ["-A FORWARD -j MY-RULES"]
    assert not apply()["changed"]
    # And back.
    iptables.calls()
    predicted = apply(backend="iptables", check=True, diff=True)
    nft.wrap("nft", before=f"{iptables.real['iptables-save']} >{seen}")
    assert apply(backend="iptables", diff=True) == predicted
    assert "-A nova-network-snat" in seen.read_text()
    assert iptables.ours() and nft.ours() == []
    assert not apply(backend="iptables")["changed"]
