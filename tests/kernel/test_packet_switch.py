# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans in which ways and guards differ together: no packet meets a mixture, be a run slow or killed."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from a_node import batch
from a_router import Nftables, run
from a_stream import Stream, commit_slowly, in_child
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver
from test_packet_paths import ADDRESSES_V6, FLOATING, FLOATING_A, OPTIONS, PLAN, SHAPES, bind, guarded
from test_packet_paths import site as site  # the fixture

BOTH = pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True)
IPTABLES = pytest.mark.parametrize("variant", ["nft", "legacy"], indirect=True)
pytestmark = pytest.mark.parametrize(
    "site", [SHAPES["bridged through the filter"]], ids=["through the filter"], indirect=True
)

OPEN = {"protocol": "udp", "ports": "5000:5999"}
TAKEN = {**FLOATING, "fixed_address": "10.0.0.2"}
V6 = [{**PLAN["networks"][0], "cidr_v6": "fd00::/64"}, PLAN["networks"][1]]


def port(number, **more):
    return {"protocol": "udp", "ports": str(number), **more}


@pytest.fixture(autouse=True)
def open_otherwise(site, variant):
    if variant.backend != "nftables":
        variant.load("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    bind("192.0.2.102", "192.0.2.103")


def apply(**more):
    assert driver.apply({**PLAN, **more}, **OPTIONS)["changed"]


def back_and_forth(variant, one, two):
    commit_slowly(variant)
    for turn in range(6):
        time.sleep(0.1)
        apply(**(one if turn % 2 else two))


def guards(a, b):
    return guarded({"of-a": ("a", a), "of-b": ("b", b)})


@BOTH
def test_a_floating_ip_that_moves_while_the_guard_of_its_old_guest_changes(site, variant):
    """By the address the port is closed in both plans: at its guest, which is not the same."""
    one = {"floating_ips": [FLOATING], **guards([port(4500), OPEN], [OPEN])}
    two = {"floating_ips": [TAKEN], **guards([OPEN], [port(4500), OPEN])}
    apply(**one)
    closed = [Stream(site, "outside", "192.0.2.103", name, 4500, 7000) for name in "a"]
    closed += [Stream(site, "outside", "192.0.2.103", "b", 4500, 7001)]
    back_and_forth(variant, one, two)
    for stream in closed:
        sent, heard, _peers = stream.end()
        assert sent > 100 and heard == []


@BOTH
def test_a_guest_whose_floating_ip_comes_and_goes_with_what_it_may_send(site, variant):
    """One port it may reach as the node alone, the other one by its floating IP alone."""

    def sending(*ports):
        return guarded({"web": ("b", [OPEN, *(port(one, direction="egress") for one in ports)])})

    one = {"floating_ips": [], **sending(5000)}
    two = {"floating_ips": [FLOATING], **sending(5001)}
    apply(**one)
    as_node = Stream(site, "b", "192.0.2.9", "outside", 5000, 7000)
    as_itself = Stream(site, "b", "192.0.2.9", "outside", 5001, 7001)
    back_and_forth(variant, one, two)
    for stream, seen in ((as_node, ("192.0.2.1", 7000)), (as_itself, ("192.0.2.103", 7001))):
        _sent, heard, peers = stream.end()
        assert len(heard) > 10 and peers == [seen]


@BOTH
def test_one_network_is_translated_no_more_while_another_one_comes(site, variant):
    blue, red = PLAN["networks"]
    closed = {"gateway": False, "snat": False}
    one, two = ({"networks": both} for both in ([blue, {**red, **closed}], [{**blue, **closed}, red]))
    apply(**one)
    streams = [
        Stream(site, "a", "192.0.2.9", "outside", 5000, 7000),
        Stream(site, "c", "192.0.2.9", "outside", 5001, 7001),
    ]
    back_and_forth(variant, one, two)
    for stream, source in zip(streams, (7000, 7001)):
        _sent, heard, peers = stream.end()
        assert len(heard) > 10 and peers == [("192.0.2.1", source)]


@BOTH
def test_a_member_that_comes_while_the_floating_ip_leads_elsewhere(site, variant):
    """No rule of the guards differs, only who is a member: of the guest that the address led to before."""

    def meaning(members, floating):
        plan = guarded({"web": ("ab", [port(4500, group="clients"), OPEN]), "clients": ("", [])})
        plan["security_groups"][1]["members"] = members
        return {"floating_ips": floating, **plan, "instances": plan["instances"][1:2]}

    one, two = meaning([], [FLOATING]), meaning(["192.0.2.9"], [])
    apply(**one)
    closed = Stream(site, "outside", "192.0.2.103", "b", 4500, 7000)
    if variant.backend == "iptables":
        variant.real["ipset"] = "/usr/sbin/ipset"
        variant.wrap("ipset", before="sleep 0.1")
    back_and_forth(variant, one, two)
    sent, heard, _peers = closed.end()
    assert sent > 100 and heard == []


# -- killed, or stopped, at each step


def every_step():
    """Two plans of which each table of both families differs; each opens another port of b, of IPv6 too."""

    def plan(floating, number, members):
        made = guards([OPEN], [port(number), port(4009, group="of-a")])
        of_v6 = {"address": ADDRESSES_V6["b"], "cidr": "fd00::/64", "security_groups": ["of-b"]}
        made["instances"].append(of_v6)
        made["security_groups"][0]["members"] = members
        return {"networks": V6, "floating_ips": [floating], **made}

    return plan(FLOATING, 4001, ["10.0.0.2"]), plan(FLOATING_A, 4002, ["10.0.0.7"])


def traffic(site):
    """Which of the questions get an answer, and as whom b leaves."""
    v6 = ADDRESSES_V6["b"]
    answers = site.ask("a", *(f"udp/{address}/{number}" for address in ("10.0.0.3", v6) for number in (4001, 4002)))
    answers += site.ask("outside", "udp/192.0.2.103/4001", "udp/192.0.2.103/4002")
    return ["sees" in answer for answer in answers] + [site.sees("b", "192.0.2.9").split()[-1]]


OLD = [True, False, True, False, True, False, "192.0.2.103"]
NEW = [False, True, False, True, False, False, "192.0.2.1"]


class Steps:
    """Programs that write, of which one ends the run when it is through, or fails."""

    def __init__(self, variant):
        self.variant = variant
        self.count = variant.folder / "count"
        variant.real["ipset"] = "/usr/sbin/ipset"
        self.here = f'[ "$(readlink /proc/self/ns/net)" = "{os.readlink("/proc/thread-self/ns/net")}" ]'

    def arm(self, number, deed):
        """`deed` after so many of them, with the status of that one as $s."""
        self.count.write_text("")
        for program in ("ipset", "iptables-restore", "ip6tables-restore"):
            asked = 'case "$*" in restore*|*--noflush*) ;; *) exec {real} "$@" ;; esac'
            counted = f'{self.here} || exec {{real}} "$@"; echo >>{self.count}; [ $(wc -l <{self.count}) = {number} ]'
            real = self.variant.real[program]
            before = f'{asked}\n{counted} || exec {{real}} "$@"\n{deed}'.format(real=real)
            self.variant.wrap(program, before=before)

    def disarm(self):
        for program in ("ipset", "iptables-restore", "ip6tables-restore"):
            self.variant.wrap(program)


def kept(variant):
    rules = (re.sub(r"\[\d+:\d+\]", "", variant.save(prefix=prefix)) for prefix in ("iptables", "ip6tables"))
    return [*rules, run("ipset", "save")]


def nothing_left(variant):
    text = "".join(kept(variant))
    assert "nova-network-next" not in text and "nova-network-switch" not in text and "nova-network-all" not in text


@IPTABLES
def test_killed_after_any_step_packets_meet_one_plan_and_the_next_run_ends_right(site, variant):
    for name in "ab":
        batch(f"addr add {ADDRESSES_V6[name]}/64 dev eth0 nodad\n", *site.inside[name])
    one, two = every_step()
    steps, turned, number = Steps(variant), [], 0
    while True:
        number += 1
        driver.apply({**PLAN, **one}, **OPTIONS)
        nothing_left(variant)
        assert traffic(site) == OLD
        steps.arm(number, '{real} "$@"; kill -9 $PPID; exit 1')
        child = in_child(lambda: apply(**two))
        ended = os.waitpid(child, 0)[1]
        steps.disarm()
        if not ended:
            break
        assert ended == signal.SIGKILL
        met = traffic(site)
        assert met in (OLD, NEW)
        turned.append(met == NEW)
        # One after the other goes on with it, or goes back.
        plan, state = ((two, NEW), (one, OLD))[number // 2 % 2]
        before = kept(variant)
        predicted = driver.apply({**PLAN, **plan}, check=True, **OPTIONS)
        assert kept(variant) == before
        assert driver.apply({**PLAN, **plan}, **OPTIONS) == predicted
        assert traffic(site) == state
        assert not driver.apply({**PLAN, **plan}, check=True, **OPTIONS)["changed"]
        nothing_left(variant)
    # Sets, the switch and two families prepared; turned; two families settled, the switch and old sets gone.
    assert turned == [False] * 4 + [True] * 5


@IPTABLES
def test_refused_before_the_switch_all_is_taken_back_and_after_it_the_run_goes_on(site, variant):
    """By another program's deed, as far as the run can see."""
    for name in "ab":
        batch(f"addr add {ADDRESSES_V6[name]}/64 dev eth0 nodad\n", *site.inside[name])
    one, two = every_step()
    steps = Steps(variant)
    for number in (3, 4):
        apply(**one)
        before = kept(variant)
        steps.arm(number, 'echo "no" >&2; exit 1')
        with pytest.raises(HostError, match="refused the rules: no; nothing was changed"):
            apply(**two)
        steps.disarm()
        assert kept(variant)[:2] == before[:2] and traffic(site) == OLD
        nothing_left(variant)
    apply(**one)
    predicted = driver.apply({**PLAN, **two}, check=True, **OPTIONS)
    steps.arm(6, 'echo "no" >&2; exit 1')
    assert driver.apply({**PLAN, **two}, **OPTIONS) == predicted
    steps.disarm()
    assert traffic(site) == NEW
    assert not driver.apply({**PLAN, **two}, **OPTIONS)["changed"]
    nothing_left(variant)


@pytest.mark.parametrize("variant", ["legacy"], indirect=True)
def test_a_lock_that_is_held_after_the_switch_leaves_the_new_rules(site, variant):
    for name in "ab":
        batch(f"addr add {ADDRESSES_V6[name]}/64 dev eth0 nodad\n", *site.inside[name])
    one, two = every_step()
    apply(**one)
    steps = Steps(variant)
    steps.arm(5, 'flock -o $XTABLES_LOCKFILE sleep 5 >/dev/null 2>&1 & sleep 0.3; exec {real} "$@"')
    with pytest.raises(
        HostError, match="xtables lock for 1 seconds; the new rules are in effect, and the next run tidies"
    ):
        driver.apply({**PLAN, **two}, **{**OPTIONS, "wait": 1})
    steps.disarm()
    assert traffic(site) == NEW
    assert driver.apply({**PLAN, **two}, **{**OPTIONS, "wait": 20})["actions"][0] == "finish what a run had begun"
    assert traffic(site) == NEW
    nothing_left(variant)


@IPTABLES
@pytest.mark.parametrize("step", [4, 5, 6], ids=["prepared", "switched", "settled in part"])
def test_the_other_back_end_takes_over_what_a_killed_run_has_left(site, variant, step):
    other = Nftables(variant.folder)
    one, two = every_step()
    apply(**one)
    steps = Steps(variant)
    steps.arm(step, '{real} "$@"; kill -9 $PPID; exit 1')
    assert os.waitpid(in_child(lambda: apply(**two)), 0)[1] == signal.SIGKILL
    steps.disarm()
    assert driver.apply({**PLAN, **two}, **{**OPTIONS, "backend": "nftables"})["changed"]
    assert variant.ours() == [] and other.ours() and run("ipset", "save") == ""
    assert not driver.apply({**PLAN, **two}, **{**OPTIONS, "backend": "nftables"})["changed"]
