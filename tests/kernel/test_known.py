# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Few floating IPs more or less than rules that are known: written without reading, where nobody changed any."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import random
import shutil
import signal
import time

import a_namespace
import pytest
from a_router import Nftables, Variant, run
from a_stream import in_child
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import known
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

PLAN = {
    "public_interface": "eth2",
    "routing_source_ip": "192.0.2.1",
    "networks": [
        {
            "label": "blue",
            "bridge": "br100",
            "cidr": "10.0.0.0/16",
            "cidr_v6": "fd00::/64",
            "gateway": True,
            "dhcp": True,
            "snat": True,
        }
    ],
    "port_forwards": [{"address": "198.18.0.30", "protocol": "tcp", "ports": "80", "fixed_address": "10.0.0.9"}],
}
#: Programs that read rules.
READERS = {"iptables-save", "ip6tables-save"}


@pytest.fixture(params=["iptables", "nftables"])
def host(request, filter_host):
    """A host whose rules nf_tables counts."""
    return Nftables(filter_host) if request.param == "nftables" else Variant("nft", filter_host)


def floating(*numbers):
    """A plan with these floating IPs."""
    ips = [{"address": f"198.18.{n >> 8}.{n & 255}", "fixed_address": f"10.0.{n >> 8}.{n & 255}"} for n in numbers]
    return {**PLAN, "floating_ips": ips}


def apply(host, plan, **options):
    return driver.apply(plan, **{"backend": host.backend, "wait": 5, **options})


def record():
    return pathlib.Path(os.path.dirname(driver.LOCK_FILE), "packet_filter.known")


def is_whole(host, plan):
    """Whether the rules are those of the plan, told by reading all of them with nothing known."""
    record().unlink(missing_ok=True)
    return not apply(host, plan)["changed"]


def looked(host, monkeypatch):
    """A list to which each look at all rules adds an entry from now on."""
    looks = []
    whole = driver._bring
    monkeypatch.setattr(driver, "_bring", lambda *of_it: looks.append(of_it[1]) or whole(*of_it))
    return looks


def test_few_are_written_and_nothing_is_read(host, monkeypatch):
    apply(host, floating(*range(1, 400)))
    looks = looked(host, monkeypatch)
    host.calls()
    predicted = apply(host, floating(*range(1, 401)), check=True)
    done = apply(host, floating(*range(1, 401)))
    assert done == predicted
    assert done["actions"] == ["floating IP 198.18.1.144: add the way to 10.0.1.144, the way from 10.0.1.144"]
    assert not looks and not READERS & set(host.calls())
    # Again and again, without a look in between.
    assert apply(host, floating(*range(2, 401)))["changed"] and not looks
    assert is_whole(host, floating(*range(2, 401)))


def test_nothing_to_do_reads_everything(host, monkeypatch):
    apply(host, floating(*range(1, 40)))
    looks = looked(host, monkeypatch)
    before = record().stat().st_mtime_ns
    assert not apply(host, floating(*range(1, 40)))["changed"]
    assert looks == [host.backend] and record().stat().st_mtime_ns == before


@pytest.mark.parametrize("seed", range(4))
def test_any_steps_lead_where_a_look_at_the_whole_does(host, monkeypatch, seed):
    chosen = random.Random(seed)
    there = set(chosen.sample(range(1, 600), 200))
    plans = []
    for _step in range(12):
        there ^= set(chosen.sample(range(1, 600), chosen.randrange(1, 6)))
        order = sorted(there)
        plan = floating(*order)
        # Some lead elsewhere, others to the same guest, some are of IPv6.
        for number in chosen.sample(range(len(order)), 3):
            plan["floating_ips"][number]["fixed_address"] = f"10.0.3.{chosen.randrange(1, 5)}"
        plan["floating_ips"] += [
            {"address": f"2001:db8:5::{number:x}", "fixed_address": f"fd00::{number:x}"}
            for number in (1, *sorted(chosen.sample(range(2, 99), 40)))
        ]
        plans.append(plan)
    apply(host, plans[0])
    looks = looked(host, monkeypatch)
    for plan in plans[1:]:
        assert apply(host, plan)["changed"]
    assert not looks
    assert is_whole(host, plans[-1])


# -- what makes nothing known


def by_hand(host):
    """Somebody leads an address elsewhere; the tools do as an administrator's."""
    if host.backend == "nftables":
        run("nft", "delete", "element", "ip", "nova-network", "float-to", "{ 198.18.0.7 }")
    else:
        run("iptables-nft", "-t", "nat", "-F", "nova-network-PREROUTING")


def foreign(_host):
    run("nft", "add", "table", "ip", "theirs")


def flush(_host):
    run("nft", "flush", "ruleset")


def cut(_host):
    record().write_text(record().read_text()[:200])


def a_lie(_host):
    record().write_text("[]\n" + record().read_text())


def other_code(_host):
    head, _newline, rest = record().read_text().partition("\n")
    record().write_text(json.dumps({**json.loads(head), "code": "0" * 64}) + "\n" + rest)


def interrupted(_host):
    """A run was killed before it had ended connections."""
    pathlib.Path(os.path.dirname(driver.LOCK_FILE), "packet_filter.unfinished").write_text(
        '{"gone": [[], []], "come": [[], []], "guards": false}'
    )


@pytest.mark.parametrize("deed", [by_hand, foreign, flush, cut, a_lie, other_code, interrupted])
def test_then_all_is_read_and_put_right(host, monkeypatch, deed):
    apply(host, floating(*range(1, 40)))
    deed(host)
    looks = looked(host, monkeypatch)
    apply(host, floating(*range(1, 41)))
    assert host.backend in looks
    assert is_whole(host, floating(*range(1, 41)))


def test_in_another_namespace_all_is_read(host, monkeypatch):
    apply(host, floating(*range(1, 40)))
    a_namespace.leave_for_a_fresh_one()
    looks = looked(host, monkeypatch)
    assert "198.18.0.7" in str(apply(host, floating(*range(1, 41)))["actions"])
    assert looks and is_whole(host, floating(*range(1, 41)))


def test_what_the_other_back_end_did_is_not_known(filter_host, monkeypatch):
    one, other = Variant("nft", filter_host), Nftables(filter_host)
    apply(one, floating(*range(1, 40)))
    looks = looked(one, monkeypatch)
    apply(other, floating(*range(1, 41)))
    assert looks == ["nftables"] and not one.ours()
    apply(one, floating(*range(1, 40)))
    assert looks == ["nftables", "iptables"] and not other.ours()


def test_another_address_of_the_host_is_another_plan(host, monkeypatch):
    plan, more = ({**floating(*range(1, last)), "routing_source_ip": None} for last in (40, 41))
    monkeypatch.setattr(driver, "own_address", lambda: "192.0.2.1")
    apply(host, plan)
    monkeypatch.setattr(driver, "own_address", lambda: "192.0.2.2")
    looks = looked(host, monkeypatch)
    apply(host, more)
    assert looks and "192.0.2.2" in host.save()


def test_code_that_cannot_be_read_any_more_knows_nothing(host, monkeypatch):
    """That of a guard, which outlives the archive that the module came in."""
    apply(host, floating(*range(1, 40)))

    def gone(_loader, _name):
        raise FileNotFoundError

    looks = looked(host, monkeypatch)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(driver.__loader__), "get_source", gone)
        apply(host, floating(*range(1, 41)))
    assert looks


def test_a_foreign_change_while_a_step_is_prepared(host, monkeypatch):
    """Between the first look at the count and the lock."""
    apply(host, floating(*range(1, 40)))
    holds = known.Known.holds
    monkeypatch.setattr(known.Known, "holds", lambda self: (by_hand(host), holds(self))[1])
    looks = looked(host, monkeypatch)
    apply(host, floating(*range(1, 41)))
    assert looks and is_whole(host, floating(*range(1, 41)))


def test_a_step_that_is_refused_leads_to_a_look_at_the_whole(host, monkeypatch):
    apply(host, floating(*range(1, 40)))
    path = host.folder / host.writer
    real = path.read_text()
    once = host.folder / "once"
    path.write_text(real.replace("exec ", f"[ -e {once} ] || {{ touch {once}; exit 1; }}\nexec "))
    looks = looked(host, monkeypatch)
    assert apply(host, floating(*range(1, 41)))["changed"]
    assert looks and is_whole(host, floating(*range(1, 41)))


def test_runs_that_are_killed_or_meet_leave_nothing_wrong(host):
    """Steps and looks at the whole in any order, one or two runs at once, each perhaps killed at any moment."""
    chosen = random.Random(7)
    there = set(chosen.sample(range(1, 900), 400))
    apply(host, floating(*sorted(there)), wait=20)
    killed = 0
    for turn in range(24):
        there ^= set(chosen.sample(range(1, 900), chosen.choice((1, 2, 5, 300))))
        plan = floating(*sorted(there))
        plan["port_forwards"] = PLAN["port_forwards"][: chosen.randrange(2)]
        children = [in_child(functools.partial(apply, host, plan, wait=20)) for _run in range(chosen.choice((1, 1, 2)))]
        time.sleep(chosen.random() * 0.1)
        for child in children:
            if chosen.random() < 0.6:
                os.kill(child, signal.SIGKILL)
        killed += sum(os.WIFSIGNALED(os.waitpid(child, 0)[1]) for child in children)
        if turn % 6 == 5:
            apply(host, plan, wait=20)
            assert not apply(host, plan, wait=20)["changed"]
            assert is_whole(host, plan)
    assert killed


def test_members_that_somebody_took_are_missed(filter_host, monkeypatch):
    """Sets of ipset are not counted."""
    if shutil.which("ipset") is None:
        pytest.skip("no ipset here")
    host = Variant("nft", filter_host)
    guarded = {
        "instances": [{"address": "10.0.0.7", "cidr": "10.0.0.0/16", "security_groups": ["web"]}],
        "security_groups": [{"name": "web", "members": ["10.0.0.7", "10.0.0.8"], "rules": [{"group": "web"}]}],
    }
    apply(host, {**floating(*range(1, 40)), **guarded})
    looks = looked(host, monkeypatch)
    apply(host, {**floating(*range(1, 41)), **guarded})
    assert not looks
    name = run("ipset", "list", "-name").split()[0]
    run("ipset", "del", name, "10.0.0.8")
    apply(host, {**floating(*range(1, 42)), **guarded})
    assert looks and " 10.0.0.8" in run("ipset", "save")


@pytest.mark.parametrize("prefixes", [("iptables", "ip6tables"), ("ip6tables",)], ids=["both", "IPv6"])
def test_rules_of_the_legacy_variant_are_read(filter_host, monkeypatch, prefixes):
    host, legacy = Variant("nft", filter_host), Variant("legacy", filter_host)
    for prefix in {"iptables", "ip6tables"} - set(prefixes):
        for verb in ("save", "restore"):
            host.wrap(f"{prefix}-{verb}")
    host = legacy
    apply(host, floating(*range(1, 40)))
    looks = looked(host, monkeypatch)
    apply(host, floating(*range(1, 41)))
    assert looks and not record().exists()
