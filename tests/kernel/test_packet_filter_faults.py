# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter by iptables where something is in its way: locks, refusals, a kill, and what a host may lack."""

from __future__ import annotations

import fcntl
import os
import signal
import threading

import pytest
from a_router import run
from a_section import FOREIGN, NOTHING, PLAN, apply, guarded
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs


def test_without_ipset(variant, monkeypatch):
    """Only who needs sets needs the program, or changes several tables."""
    apply()
    find = programs.find
    monkeypatch.setattr(programs, "find", lambda name: None if name == "ipset" else find(name))
    before = variant.save()
    predicted = apply(guarded(), check=True)
    assert predicted["changed"] and any("ipset is not installed" in warning for warning in predicted["warnings"])
    with pytest.raises(HostError, match="ipset is not installed.*install the package ipset"):
        apply(guarded())
    another = {**PLAN, "networks": PLAN["networks"][:1]}
    assert apply(another, check=True)["warnings"] == ["ipset is not installed; without it this would be refused"]
    with pytest.raises(HostError, match="ipset is not installed.*install the package ipset. Nothing was changed"):
        apply(another)
    assert variant.save() == before
    assert apply({**PLAN, "routing_source_ip": "192.0.2.10"})["chains"] == ["ipv4 nat nova-network-snat"]
    assert apply(NOTHING, check=True)["warnings"] == []
    assert apply(NOTHING)["changed"] and not variant.ours()


def test_a_held_xtables_lock_is_waited_for(variant):
    if variant.name == "nft":
        pytest.skip("the nft variant has no lock")
    with open(os.environ["XTABLES_LOCKFILE"], "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        before = variant.save()
        with pytest.raises(HostError, match="xtables lock for 1 seconds; nothing was changed.*option wait"):
            apply(wait=1)
        assert variant.save() == before
        threading.Timer(0.5, fcntl.flock, (handle, fcntl.LOCK_UN)).start()
        assert apply(wait=10)["changed"]


def test_another_run_of_ours_is_waited_for(variant):
    with driver.lock.exclusive(driver.LOCK_FILE, 1):
        held = "another run .* has held .*packet_filter.lock for 0 seconds; nothing was changed"
        with pytest.raises(HostError, match=held):
            apply(wait=0)
        assert variant.calls() == []
        apply(check=True)
    assert apply()["changed"]


def in_child(work):
    """Fork, run `work` there, and return how the child ended."""
    child = os.fork()
    if not child:
        try:
            work()
        except Exception:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    return child


def test_two_runs_at_once(variant):
    other = {**PLAN, "routing_source_ip": "192.0.2.77", "networks": PLAN["networks"][:1]}
    for _round in range(3):
        children = [in_child(lambda plan=plan: apply(plan, wait=60)) for plan in (PLAN, other, PLAN, other)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
        assert [apply(plan, check=True)["changed"] for plan in (PLAN, other)].count(False) == 1


KILLS = {
    "between families": ("ip6tables-restore", "kill -9 $PPID; exit 1"),
    "before the first": ("iptables-restore", "kill -9 $PPID; exit 1"),
    "between tables": ("iptables-restore", 'sed "/^COMMIT/q" | {real} "$@"; kill -9 $PPID; exit 1'),
}


@pytest.mark.parametrize(("program", "deed"), KILLS.values(), ids=KILLS)
def test_a_killed_run_is_repaired_by_the_next(variant, program, deed):
    variant.load(FOREIGN)
    before = variant.save()
    deed = deed.format(real=variant.real[program])
    variant.wrap(program, before=deed)
    child = in_child(lambda: apply({**PLAN, "networks": [{**net, "dhcp": False} for net in PLAN["networks"]]}))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    variant.wrap(program)
    assert apply(check=True)["changed"]
    assert apply()["changed"]
    assert not apply()["changed"]
    apply(NOTHING)
    assert variant.save() == before


def test_a_refused_restore_changes_nothing(variant):
    before = variant.save()
    variant.wrap("iptables-restore", before='echo "line 2 failed" >&2; exit 1')
    with pytest.raises(
        HostError, match="refused the rules: line 2 failed .that line is ':nova-filter-top - .*nothing was changed"
    ):
        apply()
    assert variant.save() == before and run("ipset", "save") == ""


def test_a_table_that_changes_under_the_run_is_read_again(variant):
    """Another program takes one of our jumps away between our reading and our writing."""
    apply()
    variant.load("*filter\n-I FORWARD -i eth7 -j DROP\nCOMMIT\n")
    flag = variant.folder / "once"
    variant.wrap(
        "iptables-restore",
        before=f"[ -e {flag} ] || {{ touch {flag}; printf '*filter\\n-D FORWARD -j nova-filter-top\\nCOMMIT\\n'"
        f" | {variant.real['iptables-restore']} --noflush; }}",
    )
    assert apply()["changed"]
    assert not apply()["changed"]


def test_a_save_that_fails_is_not_an_empty_table(variant):
    variant.wrap("iptables-save", before='echo "kernel says no" >&2; exit 1')
    with pytest.raises(HostError, match="iptables-save failed: kernel says no"):
        apply()
    variant.wrap("iptables-save", before="echo \"# Table \\`nat' is incompatible, use 'nft' tool.\"; exit 0")
    with pytest.raises(HostError, match="cannot show table nat"):
        apply()


def test_without_the_checksum_target(variant):
    """The kernel's refusal is played: only the loading of that rule fails, in whatever namespace."""
    refuse = (
        'text=$(cat); case "$text" in *CHECKSUM*) echo refused >&2; exit 1 ;; esac; '
        f'printf "%s\\n" "$text" | {variant.real["iptables-restore"]} "$@"; exit $?'
    )
    variant.wrap("iptables-restore", before=refuse)
    predicted = apply(check=True)
    assert any("CHECKSUM" in warning for warning in predicted["warnings"])
    assert apply() == predicted
    assert "CHECKSUM" not in variant.save() and "-A POSTROUTING -j nova-network-POSTROUTING" in variant.save()
    assert not apply()["changed"]
    variant.wrap("iptables-restore")
    assert apply()["chains"] == ["ipv4 mangle nova-network-POSTROUTING"]


def test_without_ip6tables_in_the_kernel(variant):
    variant.wrap("ip6tables-restore", before='echo "Table does not exist" >&2; exit 3')
    predicted = apply(check=True)
    assert predicted["warnings"] == ["IPv6 is left out: ip6tables does not work with this kernel"]
    assert apply() == predicted
    assert not any(chain.startswith("ipv6") for chain in predicted["chains"])
    before = variant.save()
    floating = {"address": "2001:db8:5::7", "fixed_address": "fd00::7", "bridge": "br100", "fixed_cidr": "fd00::/64"}
    for check in (True, False):
        with pytest.raises(HostError, match="lead 2001:db8:5::7 to fd00::7: ip6tables does not work.*Nothing was"):
            apply({**PLAN, "floating_ips": [floating]}, check=check)
    assert variant.save() == before


def test_without_iptables(variant, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(programs, "_SYSTEM", ())
    with pytest.raises(HostError, match="iptables-save is not installed; install the package iptables"):
        apply()
    predicted = apply(check=True)
    assert predicted["changed"] and "not installed" in predicted["warnings"][0]
    assert not apply(NOTHING)["changed"]
