# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter in a fresh network namespace, by each variant of iptables that this machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from a_plan import plans
from a_router import neighbour, run
from a_section import FOREIGN, NOTHING, PLAN, apply, guarded
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver
from conversations import ASK, SERVE
from hypothesis import HealthCheck, given, settings

# -- the ladder


def test_check_apply_check_apply_purge(variant):
    before = variant.save()
    predicted = apply(check=True, diff=True)
    assert predicted["changed"] and variant.save() == before
    assert set(variant.calls()) <= {"iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"}
    assert not os.path.exists(driver.LOCK_FILE)

    done = apply(diff=True)
    assert done == predicted
    assert done["warnings"] == []
    after = variant.save()
    assert "-A nova-network-snat -s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.9" in after

    for check in (True, False):
        variant.calls()
        again = apply(check=check, diff=True)
        assert again == {"changed": False, "actions": [], "chains": [], "warnings": [], "diff": []}
        assert variant.calls() == ["iptables-save", "ip6tables-save"]
    assert variant.save() == after

    gone = apply(NOTHING, diff=True)
    assert gone["changed"] and variant.ours() == []
    assert gone["diff"][0]["before"]
    assert not apply(NOTHING)["changed"]


def test_several_tables_take_two_restores_a_family_and_one_save(variant):
    variant.load("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", prefix="ip6tables")
    apply({**PLAN, "networks": [{**PLAN["networks"][0], "dhcp": False}]})
    assert variant.calls() == [
        "iptables-save",
        "ip6tables-save",
        "iptables-restore",
        "ip6tables-restore",
        "iptables-restore",
        "ip6tables-restore",
    ]
    assert run("ipset", "save") == "" and "switch" not in variant.save()


def test_reading_makes_no_table(netns, variant):
    # The fixture made the filter table, and that is all there may be.
    apply(check=True)
    apply(NOTHING)
    assert re.findall(r"^[*].*", variant.save(), re.MULTILINE) == ["*filter"]
    assert variant.save(prefix="ip6tables") == ""


def test_no_event_reaches_the_kernel_when_nothing_changes(variant):
    if variant.name != "nft" or shutil.which("nft") is None:
        pytest.skip("for the nft variant, with nft")
    apply()
    with open(variant.folder / "events", "w+") as events:
        monitor = subprocess.Popen(["nft", "monitor"], stdout=events, stderr=subprocess.STDOUT)
        try:
            time.sleep(0.5)
            assert not apply()["changed"]
            time.sleep(0.3)
            quiet = (variant.folder / "events").read_text()
            apply(NOTHING)
            time.sleep(0.3)
        finally:
            monitor.terminate()
            monitor.wait()
        assert quiet == ""
        assert "nova-network-snat" in (variant.folder / "events").read_text()


def test_a_change_loads_the_chains_that_differ(variant):
    variant.load(FOREIGN)
    apply()
    text = variant.folder / "loaded"
    variant.calls()
    variant.wrap("iptables-restore", before=f'tee {text} | {variant.real["iptables-restore"]} "$@"; exit $?')
    result = apply({**PLAN, "routing_source_ip": "192.0.2.10"})
    assert result["chains"] == ["ipv4 nat nova-network-snat"]
    # One table is all or nothing by itself.
    assert variant.calls() == ["iptables-save", "ip6tables-save", "iptables-restore"]
    assert result["actions"] == [
        "network blue: remove SNAT to 192.0.2.9 out of eth2; add SNAT to 192.0.2.10 out of eth2",
        (
            "network red: remove SNAT to 192.0.2.9 towards 198.51.100.0/24, SNAT to 192.0.2.9; "
            "add SNAT to 192.0.2.10 towards 198.51.100.0/24, SNAT to 192.0.2.10"
        ),
    ]
    assert text.read_text().splitlines() == [
        "*nat",
        ":nova-network-snat - [0:0]",
        "-A nova-network-snat -j nova-network-float-snat",
        "-A nova-network-snat -s 10.0.0.0/24 -o eth2 -j SNAT --to-source 192.0.2.10",
        "-A nova-network-snat -s 10.0.1.5/32 -d 198.51.100.0/24 -j SNAT --to-source 192.0.2.10",
        "-A nova-network-snat -s 10.0.1.5/32 -j SNAT --to-source 192.0.2.10",
        "COMMIT",
    ]


# -- every valid plan loads, and compares equal


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans())
def test_any_plan_loads_and_reads_back_equal(variant, plan):
    """Each example begins with what the one before it left: so this is change from any plan to any other, too."""
    predicted = apply(plan, check=True)
    assert apply(plan) == predicted
    assert not apply(plan)["changed"]


def floating(count):
    """A plan with so many floating IPs, close together outside and far apart inside."""
    network = {**PLAN["networks"][0], "cidr": "10.0.0.0/8"}
    pairs = ((f"198.18.{number >> 8}.{number & 255}", f"10.{number >> 8}.{number & 255}.9") for number in range(count))
    ips = [{"address": address, "fixed_address": fixed} for address, fixed in pairs]
    return {**PLAN, "networks": [network], "floating_ips": ips}


def test_one_more_floating_ip_loads_its_own_chains(variant):
    apply(floating(1000))
    assert not apply(floating(1000))["changed"]
    text = variant.folder / "loaded"
    variant.wrap("iptables-restore", before=f'tee {text} | {variant.real["iptables-restore"]} "$@"; exit $?')
    variant.calls()
    result = apply(floating(1001))
    # What the kernel counts transactions of is known, and not read.
    assert variant.calls() == [*(["iptables-save", "ip6tables-save"] * (variant.name == "legacy")), "iptables-restore"]
    assert result["actions"] == ["floating IP 198.18.3.232: add the way to 10.3.232.9, the way from 10.3.232.9"]
    assert len(text.read_text().splitlines()) < 60
    assert not apply(floating(1001))["changed"]
    apply({**floating(0), "floating_ips": []})
    assert "float-" not in variant.save().replace("float-snat", "")
    assert "nova-network-to-" not in variant.save() and "nova-network-from-" not in variant.save()


def deep(ports):
    """Guests whose addresses agree in ever more digits, each guarded both ways, and with a floating IP."""
    spots = sorted(
        {
            (0x0A555555 >> 32 - 4 * length << 32 - 4 * length) + (digit << 28 - 4 * length) + last
            for length in range(2, 7)
            for digit in range(16)
            for last in range(1, 4)
        }
    )
    inside = [f"10.{spot >> 16 & 255}.{spot >> 8 & 255}.{spot & 255}" for spot in spots]
    group = f"web{ports}"
    rules = [{"direction": way, "protocol": "tcp", "ports": ports} for way in ("ingress", "egress")]
    return {
        **PLAN,
        "networks": [{**PLAN["networks"][0], "cidr": "10.0.0.0/8"}],
        "instances": [{"address": address, "cidr": "10.0.0.0/8", "security_groups": [group]} for address in inside],
        "security_groups": [{"name": group, "members": [], "rules": rules}],
        "floating_ips": [
            {"address": f"198.{address.partition('.')[2]}", "fixed_address": fixed}
            for address, fixed in zip(inside, inside if ports == "80" else inside[::-1])
        ],
    }


def test_deep_trees_change_as_a_whole(variant):
    """The kernel follows 16 jumps and no more, also while the old tree and the new one stand side by side."""
    apply(deep("80"))
    done = apply(deep("81"))
    assert len(done["chains"]) > 300
    assert not apply(deep("81"))["changed"]
    less = {**deep("80"), "instances": deep("80")["instances"][::2]}
    for plan in (less, deep("81"), less):
        apply(plan)
        assert not apply(plan)["changed"]


# -- what is not ours


def test_foreign_rules_and_counters_stay(variant):
    variant.load(FOREIGN)
    variant.load(FOREIGN.split("*nat")[0], prefix="ip6tables")
    run("ping", "-c", "2", "-q", "127.0.0.1")

    def counted(*marks):
        """Everything with its counters, but for the lines that hold one of the marks."""
        lines = (variant.save("-c") + "\n" + variant.save("-c", prefix="ip6tables")).splitlines()
        if variant.name == "legacy":
            # That tool itself loses the counters of policies with whatever change; those of rules it keeps.
            lines = [re.sub(r"^(:.*)\[.*", r"\1", line) for line in lines]
        return [line for line in lines if "comment" in line or not any(mark in line for mark in marks)]

    before = counted()
    assert any(re.search(r"\[[1-9]\d*:\d+\] -A OUTPUT -o lo", line) for line in before)
    apply()
    assert counted("nova-network-", "nova-filter-top", "nova-postrouting-bottom") == before
    apply(NOTHING)
    assert counted() == before


def test_our_counters_go_on_where_nothing_changes(variant):
    apply()
    run("ping", "-c", "2", "-q", "127.0.0.1")
    counters = re.findall(r"(\[\d+:\d+\]) -A OUTPUT -j nova-filter-top", variant.save("-c"))
    assert counters != ["[0:0]"]
    apply()
    apply({**PLAN, "routing_source_ip": "192.0.2.10"})
    assert re.findall(r"(\[\d+:\d+\]) -A OUTPUT -j nova-filter-top", variant.save("-c")) == counters


ROUTED = {
    **PLAN,
    "floating_ips": [
        {"address": f"203.0.113.{number}", "fixed_address": f"10.0.0.{number}"} for number in range(2, 60)
    ],
    "port_forwards": [
        {
            "address": "203.0.113.99",
            "protocol": "tcp",
            "ports": "80:81",
            "fixed_address": "10.0.0.2",
            "fixed_port": 8080,
        }
    ],
    "metadata": {"host": None, "port": 8775},
}
DRIFT = {
    "a floating IP lost": "*nat\n-D nova-network-to-cb00710 1\nCOMMIT\n",
    "a branch lost": "*nat\n-D nova-network-float-from 1\nCOMMIT\n",
    "a branch flushed": "*nat\n-F nova-network-from-0a00001\nCOMMIT\n",
    "a branch that leads astray": "*nat\n-R nova-network-float-to 1 -d 203.0.113.0/28 -j ACCEPT\nCOMMIT\n",
    "metadata cut off": "*nat\n-D nova-network-PREROUTING 1\nCOMMIT\n",
    "a foreign rule above": "*filter\n-I FORWARD -i eth7 -j DROP\nCOMMIT\n",
    "a foreign rule between": "*nat\n-I POSTROUTING 2 -o eth7 -j ACCEPT\nCOMMIT\n",
    "a jump lost": "*filter\n-D INPUT -j nova-network-INPUT\nCOMMIT\n",
    "a jump twice": "*nat\n-A OUTPUT -j nova-network-OUTPUT\nCOMMIT\n",
    "a rule lost": "*filter\n-D nova-network-INPUT 1\nCOMMIT\n",
    "a rule added": "*filter\n-I nova-network-FORWARD -j DROP\nCOMMIT\n",
    "a chain flushed": "*nat\n-F nova-network-snat\nCOMMIT\n",
    "a chain gone": "*nat\n-F nova-network-snat\n-F nova-network-float-snat\n-X nova-network-float-snat\nCOMMIT\n",
    "a chain too many": "*mangle\n:nova-network-old - [0:0]\n-A nova-network-old -j ACCEPT\n"
    "-A nova-network-POSTROUTING -j nova-network-old\n-I PREROUTING -i eth7 -j nova-network-old\nCOMMIT\n",
    "the table flushed": "*filter\n-F\n-X\nCOMMIT\n",
}


@pytest.mark.parametrize("drift", DRIFT.values(), ids=DRIFT)
def test_drift_is_foretold_and_repaired(variant, drift):
    apply(ROUTED)
    good = variant.save()
    variant.load(drift)
    bad = variant.save()
    predicted = apply(ROUTED, check=True, diff=True)
    assert predicted["changed"] and predicted["actions"] and variant.save() == bad
    assert apply(ROUTED, diff=True) == predicted
    assert not apply(ROUTED)["changed"]
    assert [line for line in variant.save().splitlines() if "eth7" not in line] == good.splitlines()
    assert ("eth7" in variant.save()) is ("eth7" in drift and "nova-network-old" not in drift)


def test_drift_of_ipv6_alone(variant):
    apply()
    variant.load("*filter\n-F nova-network-FORWARD\nCOMMIT\n", prefix="ip6tables")
    variant.calls()
    result = apply()
    assert result["chains"] == ["ipv6 filter nova-network-FORWARD"]
    assert "iptables-restore" not in variant.calls()


def test_the_other_variant_holding_our_chains_is_told(variant):
    other = "legacy" if variant.name == "nft" else "nft"
    program = shutil.which(f"iptables-{other}-restore")
    if program is None:
        pytest.skip("only one variant here")
    run(program, "--noflush", text="*nat\n:nova-network-snat - [0:0]\nCOMMIT\n")
    (warning,) = apply(check=True)["warnings"]
    assert f"iptables-{other}" in warning and "nat nova-network-snat" in warning
    run(program, "--noflush", text="*nat\n-X nova-network-snat\n:harmless - [0:0]\nCOMMIT\n")
    assert apply(check=True)["warnings"] == []


def test_sets_of_members_are_ours_and_nobody_elses(variant):
    run("ipset", "restore", text="create theirs hash:ip\nadd theirs 192.0.2.1\ncreate nova-networkx hash:net\n")
    foreign = run("ipset", "save")
    predicted = apply(guarded("10.0.0.6", "10.0.9.9"), check=True)
    assert run("ipset", "save") == foreign
    assert predicted["actions"][-2:] == [
        "security group clients: add member 10.0.0.6",
        "security group clients: add member 10.0.9.9",
    ]
    assert apply(guarded("10.0.0.6", "10.0.9.9")) == predicted
    assert not apply(guarded("10.0.9.9", "10.0.0.6"))["changed"]
    (name,) = set(run("ipset", "list", "-n").split()) - {"theirs", "nova-networkx"}

    # Another member is no change of a rule; drift is seen and repaired.
    variant.calls()
    changed = apply(guarded("10.0.0.6", "10.0.0.7"))
    assert changed["actions"] == [
        "security group clients: add member 10.0.0.7",
        "security group clients: remove member 10.0.9.9",
    ]
    assert variant.calls() == ["iptables-save", "ip6tables-save"]
    run("ipset", "flush", name)
    assert apply(guarded("10.0.0.6", "10.0.0.7"), check=True)["changed"]
    apply(guarded("10.0.0.6", "10.0.0.7"))
    assert f"add {name} 10.0.0.6\n" in run("ipset", "save", name)

    # Rules and members: one set goes, another one comes.
    both = guarded("10.0.0.6", "10.0.0.8")
    both["security_groups"][0]["rules"].append({"protocol": "icmp"})
    predicted = apply(both, check=True)
    assert apply(both) == predicted and not apply(both)["changed"]
    assert set(run("ipset", "list", "-n").split()) == {"theirs", "nova-networkx", f"{name}-2"}

    apply()
    assert run("ipset", "save") == foreign


# -- the host's own address


def test_own_address_is_the_source_towards_the_outside(variant):
    plan = {**PLAN, "routing_source_ip": None}
    with pytest.raises(HostError, match="no route outwards.*nova_my_ip or nova_routing_source_ip"):
        apply(plan)
    assert variant.calls() == []
    run(
        "ip",
        "-batch",
        "-",
        text="link add eth2 type veth peer name far\nlink set far up\naddr add 203.0.113.7/24 dev eth2\n"
        "link set eth2 up\nroute add default via 203.0.113.1\n",
    )
    apply(plan)
    assert "-o eth2 -j SNAT --to-source 203.0.113.7" in variant.save()


# -- packets


def test_a_packet_leaves_with_the_source_of_the_plan(variant):
    variant.load("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "-batch", "-", text="link add br100 type bridge\nlink set br100 up\naddr add 10.0.0.1/24 dev br100\n")
    with neighbour("tap0", None, "10.0.0.2/24") as guest, neighbour("eth2", "192.0.2.1/24", "192.0.2.2/24") as outside:
        run("ip", "link", "set", "tap0", "master", "br100")
        run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth2")
        run(*guest, "ip", "route", "add", "default", "via", "10.0.0.1")
        run(
            *outside, "ip", "-batch", "-", text="route add 10.0.0.0/24 via 192.0.2.1\naddr add 10.128.0.5/32 dev eth0\n"
        )
        run("ip", "route", "add", "10.128.0.5/32", "via", "192.0.2.2")
        server = subprocess.Popen(
            [*outside, sys.executable, "-c", SERVE, "outside", "4000"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout.readline() == "ready\n"

            def seen(address):
                return run(*guest, sys.executable, "-c", ASK, "1", f"tcp/{address}/4000").strip()

            apply(PLAN, check=True)
            assert seen("192.0.2.2") == "no answer"
            apply()
            assert seen("192.0.2.2") == "outside:4000 sees 192.0.2.9"
            assert seen("10.128.0.5") == "outside:4000 sees 10.0.0.2"
            apply(NOTHING)
            assert seen("192.0.2.2") == "no answer"
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
