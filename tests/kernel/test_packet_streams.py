# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of packets through a routing node while its rules change, and what becomes of them when a run is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest
from a_router import Nftables
from a_stream import ECHO, TALK, Program, Stream, commit_slowly, ended, in_child
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packet_filter as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import unfinished
from test_packet_paths import (
    ADDRESSES,
    ADDRESSES_V6,
    FLOATING,
    FLOATING_A,
    OPTIONS,
    PLAN,
    SHAPES,
    bind,
    established,
    guarded,
)
from test_packet_paths import site as site  # the fixture

pytestmark = [
    pytest.mark.parametrize("variant", ["nft", "legacy", "nftables"], indirect=True),
    pytest.mark.parametrize("site", [SHAPES["bridged through the filter"]], ids=["streams"], indirect=True),
]


def apply(**more):
    assert driver.apply({**PLAN, **more}, **OPTIONS)["changed"]


OPEN = {"protocol": "udp", "ports": "5000:5999"}
TCP = {"protocol": "tcp", "ports": "6000"}
#: Nobody's, and many, so that a change takes its time.
CROWD = [{"address": f"198.18.0.{number}", "fixed_address": f"10.0.0.{number}"} for number in range(20, 220)]


def plans():
    """Two plans that differ in other people's floating IPs, rules, members, and forwards; b's port 4500 is closed."""
    rules = [OPEN, TCP]
    forward = {"address": "192.0.2.104", "protocol": "udp", "ports": "80", "fixed_address": "10.0.0.2"}
    one = {"floating_ips": [FLOATING], **guarded({"web": ("b", rules), "clients": ("a", [])})}
    more = [{"protocol": "udp", "ports": "4500", "group": "clients"}, {"protocol": "icmp"}]
    two = {
        "floating_ips": [*CROWD, FLOATING, FLOATING_A],
        "port_forwards": [forward],
        **guarded({"web": ("b", [*more, *rules]), "clients": ("ac", [TCP]), "others": ("a", more)}),
    }
    return one, two


def back_and_forth(backend, times):
    """Also to the other back end and back, in the middle."""
    other = {"nftables": "iptables", "iptables": "nftables"}[backend]
    for turn in range(times):
        OPTIONS["backend"] = other if turn in (times // 2, times // 2 + 1) else backend
        apply(**plans()[(turn + 1) % 2])


@pytest.fixture(autouse=True)
def both_back_ends(site, variant):
    if variant.backend != "nftables":
        Nftables(variant.folder)
        # The other back end's tables cannot overrule a policy that drops.
        variant.load("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    bind("192.0.2.102", "192.0.2.103")


def test_what_both_plans_allow_loses_no_packet_and_what_neither_allows_has_none(site, variant):
    """The streams that neither allows go to a closed port, by each way, and by a floating IP that is nobody's."""
    apply(**plans()[0])
    allowed = [
        Stream(site, "outside", "192.0.2.103", "b", 5000, 7000),
        Stream(site, "c", "10.0.0.3", "b", 5001, 7001),
        Stream(site, "b", "192.0.2.9", "outside", 5002, 7002),
    ]
    closed = [
        Stream(site, "outside", "192.0.2.103", "b", 4500, 7003),
        Stream(site, "outside", "10.0.1.2", "c", 5004, 7004),
        Stream(site, "outside", "192.0.2.105", "a", 5005, 7005),
    ]
    back_and_forth(variant.backend, 14)
    found = [stream.end() for stream in allowed]
    for (sent, heard, peers), seen in zip(found, [("192.0.2.9", 7000), ("10.0.1.2", 7001), ("192.0.2.103", 7002)]):
        assert sent > 100 and peers == [seen]
        assert heard == list(range(sent)), f"{sent - len(heard)} lost"
    for stream in closed:
        sent, heard, peers = stream.end()
        assert sent > 100 and (heard, peers) == ([], [])


def test_a_connection_lives_through_many_changes_of_others(site, variant):
    apply(**plans()[0])
    Program(site, "b", ECHO, 6000)
    talk = Program(site, "outside", TALK, "192.0.2.103", 6000)
    back_and_forth(variant.backend, 20)
    assert talk.end() > 100


def left():
    return os.path.exists(os.path.join(os.path.dirname(driver.LOCK_FILE), "packet_filter.unfinished"))


def test_a_run_killed_before_it_ended_connections_is_finished_by_the_next(site, variant, monkeypatch):
    one, _two = plans()
    without = {**one, **guarded({"web": ("b", [TCP])}), "floating_ips": [FLOATING_A]}
    apply(**one)
    assert not left()
    by_rule = site.keep_asking("c", "10.0.0.3", 5000)
    by_address = site.keep_asking("outside", "192.0.2.103", 5000)
    outwards = site.keep_asking("b", "192.0.2.9")
    site.serve("b", 5000)
    assert [by_rule(), by_address()] == ["b:5000 sees 10.0.1.2", "b:5000 sees 192.0.2.9"]
    assert outwards() == "outside:4000 sees 192.0.2.103"

    with monkeypatch.context() as patch:
        patch.setattr(driver, "_end_connections", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        child = in_child(lambda: apply(**without))
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert left()
    assert not driver.apply({**PLAN, **without}, check=True, **OPTIONS)["changed"] and left()
    # The gap: the rules are the new ones, and what they do not let in goes on.
    assert by_rule() == "b:5000 sees 10.0.1.2"
    assert not driver.apply({**PLAN, **without}, **OPTIONS)["changed"]
    assert not left()
    assert by_rule() == "no answer"
    assert by_address() in ("no answer", "refused")
    assert outwards() == "outside:4000 sees 192.0.2.1"


def test_what_a_killed_run_had_not_done_ends_no_connection(site, variant, monkeypatch):
    """Killed with its note written and no rule changed; the next run has the old plan."""
    one, _two = plans()
    without = {**one, "floating_ips": [FLOATING_A]}
    apply(**one)
    inwards, outwards = site.keep_asking("outside", "192.0.2.103", 5000), site.keep_asking("b", "192.0.2.9")
    site.serve("b", 5000)
    before, entries = [inwards(), outwards()], established()
    add = unfinished.Note.add

    def add_and_die(note, gone, come, guards):
        add(note, gone, come, guards)
        if gone.from_guests:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(unfinished.Note, "add", add_and_die)
        child = in_child(lambda: apply(**without))
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert left()
    driver.apply({**PLAN, **one}, **OPTIONS)
    assert not left()
    # The very same ones: those by UDP that were ended would begin anew.
    assert len(entries) == 2 and set(entries) <= set(established())
    assert before == [inwards(), outwards()] == ["b:5000 sees 192.0.2.9", "outside:4000 sees 192.0.2.103"]


def test_killed_at_any_moment_the_next_run_ends_right(site, variant):
    apply(**plans()[1])
    begun = time.monotonic()
    apply(**plans()[0])
    length = time.monotonic() - begun
    # From the first moment of a run to its last, in no order.
    moments = [length * part / 10 for part in range(10)]
    random.Random(5).shuffle(moments)
    stream = Stream(site, "outside", "192.0.2.103", "b", 5000, 7000)
    closed = Stream(site, "outside", "192.0.2.103", "b", 4500, 7003)
    killed = 0
    for turn, moment in enumerate(moments):
        killed += not ended(in_child(lambda turn=turn: apply(**plans()[(turn + 1) % 2])), moment)
        plan = {**PLAN, **plans()[(turn + 1) % 2]}
        driver.apply(plan, **OPTIONS)
        assert not driver.apply(plan, check=True, **OPTIONS)["changed"] and not left()
    assert killed > 1
    sent, heard, peers = stream.end()
    assert heard == list(range(sent)) and peers == [("192.0.2.9", 7000)]
    assert closed.end()[1] == []


def test_a_rule_of_ipv6_alone_concerns_connections_too(site, variant):
    def meaning(*rules):
        guest = {"address": ADDRESSES_V6["b"], "cidr": "fd00::/64", "security_groups": ["web"]}
        groups = [{"name": "web", "members": [], "rules": list(rules)}]
        return core.intent(core.parse({**PLAN, "instances": [guest], "security_groups": groups}), None)

    bring = driver.BACKENDS[variant.backend]
    rule = {"protocol": "tcp", "ports": "22", "cidr": "fd00:1::/64"}
    bring(meaning(rule))
    assert bring(meaning()).guards and not bring(meaning()).guards


def test_no_old_rule_meets_new_members_and_no_new_rule_old_ones(site, variant):
    """The port that only the old plan opens to clients, the client that only the new plan has; and the other way."""
    a, c = ({"protocol": "udp", "ports": f"{port}", "group": "clients"} for port in (4500, 4501))
    one = guarded({"web": ("b", [a, OPEN]), "clients": ("a", [])})
    two = guarded({"web": ("b", [c, OPEN]), "clients": ("c", [])})
    apply(**one)
    # In between, for as long as a program may take.
    if variant.backend == "iptables":
        variant.real["ipset"] = shutil.which("ipset", path="/usr/sbin:/sbin")
        for program in ("ipset", "iptables-restore"):
            variant.wrap(program, before="sleep 0.1")
    allowed = Stream(site, "c", "10.0.0.3", "b", 5001, 7001)
    neither = [Stream(site, "c", "10.0.0.3", "b", 4500, 7002), Stream(site, "a", "10.0.0.3", "b", 4501, 7003)]
    for turn in range(6):
        apply(**(one if turn % 2 else two))
    sent, heard, _peers = allowed.end()
    assert heard == list(range(sent)) and sent > 100
    for stream in neither:
        sent, heard, _peers = stream.end()
        assert sent > 100 and heard == []


def only(plan, *names):
    """The plan with guards for these guests alone."""
    guests = [guest for guest in plan["instances"] if guest["address"] in map(ADDRESSES.get, names)]
    return {**plan, "instances": guests}


def test_no_way_leads_to_a_guest_without_its_guard(site, variant):
    """Floating IPs that come and go together with the guards of their guests."""
    guards = guarded({"web": ("ab", [OPEN])})
    nobody = {"floating_ips": []}
    b = {"floating_ips": [FLOATING], **only(guards, "b")}
    a = {"floating_ips": [FLOATING_A], **only(guards, "a")}
    apply(**nobody)
    commit_slowly(variant)
    passing = Stream(site, "c", "10.0.0.3", "b", 5001, 7001)
    closed = [
        Stream(site, "outside", "192.0.2.103", "b", 4500, 7002),
        Stream(site, "outside", "192.0.2.102", "a", 4500, 7003),
    ]
    for plan in (b, nobody, b, a, b, a, nobody):
        apply(**plan)
    sent, heard, _peers = passing.end()
    assert heard == list(range(sent)) and sent > 100
    for stream in closed:
        sent, heard, _peers = stream.end()
        assert sent > 100 and heard == []


def test_a_network_is_not_forwarded_before_it_is_translated(site, variant):
    blue, red = PLAN["networks"]
    inside = {"networks": [{**blue, "gateway": False, "snat": False}, red]}
    driver.apply({**PLAN, **inside}, **OPTIONS)
    commit_slowly(variant)
    stream = Stream(site, "a", "192.0.2.9", "outside", 5000, 7000)
    time.sleep(0.1)
    apply()
    time.sleep(0.1)
    apply(**inside)
    _sent, heard, peers = stream.end()
    assert len(heard) > 10 and peers == [("192.0.2.1", 7000)]


#: More than fits into a pipe.
MULTITUDE = [
    {"address": f"198.18.{number >> 7}.{number & 127}", "fixed_address": f"10.0.0.{number % 200 + 20}"}
    for number in range(1, 2500)
]


def killed_while_writing(variant, plan):
    """Kill a run as soon as its program is to write; that takes its time and goes on by itself."""
    begun = variant.folder / "begun"
    here = f'[ "$(readlink /proc/self/ns/net)" = "{os.readlink("/proc/thread-self/ns/net")}" ]'
    slow = f"case $* in *list*) ;; *) {here} && touch {begun} && sleep 1;; esac"
    variant.wrap(variant.writer, before=slow)
    child = in_child(lambda: apply(**plan))
    end = time.monotonic() + 20
    while not begun.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    variant.wrap(variant.writer)
    assert not ended(child, 0.2)


def test_what_a_killed_run_had_given_to_its_program_is_whole(site, variant):
    apply()
    plan = {"floating_ips": MULTITUDE}
    killed_while_writing(variant, plan)
    again = driver.apply({**PLAN, **plan}, **OPTIONS)
    # One family and one table differ: all of it is there.
    assert not again["changed"], again["actions"][:3]


def test_a_run_after_a_killed_one_waits_for_its_program(site, variant):
    one, two = plans()
    apply(**one)
    killed_while_writing(variant, two)
    with pytest.raises(HostError, match="another run is at work on this host"):
        driver.apply({**PLAN, **one}, **{**OPTIONS, "wait": 0})
    driver.apply({**PLAN, **one}, **OPTIONS)
    time.sleep(1.2)
    assert not driver.apply({**PLAN, **one}, check=True, **OPTIONS)["changed"]
