# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a socket is told of commits to nf_tables: of ours, of others', and of more than it can hold."""

from __future__ import annotations

import os
import select
import socket
import subprocess

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import rule_events as core
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import rule_events

pytestmark = pytest.mark.kernel

OURS = "add table ip filter\nadd chain ip filter nova-network-snat\n"
#: Far more than the socket holds; only its end is ours.
FLOOD = "add table ip other\nadd chain ip other busy\n" + "add rule ip other busy counter drop\n" * 3000 + OURS


@pytest.fixture
def listening(netns):
    """The socket that systemd would listen to."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as made:
        made.bind((0, core.GROUP))
        yield made


def gather(listening: socket.socket) -> core.Seen:
    events = rule_events.Events(os.dup(listening.fileno()))
    return events.gather(quiet=0.05, limit=2)


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def test_this_kernel_tells(netns) -> None:
    assert rule_events.are_told()


def test_who_changed_what_is_ours_is_told(listening) -> None:
    nft(OURS)
    assert gather(listening) == (True, ["nft"])


@pytest.mark.parametrize(
    "removal",
    ["flush ruleset", "delete table ip filter", "delete rule ip filter FORWARD handle {}"],
)
def test_what_is_taken_away_is_told(listening, removal) -> None:
    nft(OURS + "add chain ip filter FORWARD\nadd rule ip filter FORWARD jump nova-network-snat\n")
    shown = subprocess.run(["nft", "-a", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    [jump] = [line.rpartition(" ")[2] for line in shown.splitlines() if "jump" in line]
    gather(listening)
    nft(removal.format(jump))
    assert gather(listening).ours


def test_what_others_do_among_themselves_is_none_of_ours(listening) -> None:
    nft("add table ip other\nadd chain ip other busy\nadd rule ip other busy counter drop\n")
    nft("flush ruleset")
    assert gather(listening) == (False, [])


def test_what_nobody_is_told_of_may_be_anything(listening) -> None:
    assert gather(listening).ours


def test_a_flood_is_ours_though_its_end_is_lost_and_the_socket_stays_whole(listening) -> None:
    nft("add table ip other")
    assert not gather(listening).ours
    nft(FLOOD)
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    # An error here is what makes systemd give the socket up.
    assert poll.poll(0) == [(listening.fileno(), select.POLLIN)]
    waiting = b"".join(_all(listening))
    assert b"nova-" not in waiting
    nft("flush ruleset")
    gather(listening)
    nft(FLOOD)
    assert gather(listening).ours
    nft("add table ip another")
    assert not gather(listening).ours


@pytest.mark.timeout(20)
def test_a_socket_that_does_not_work_may_have_told_anything(netns) -> None:
    with socket.socket() as unconnected:
        assert gather(unconnected) == (True, [])


def _all(listening: socket.socket) -> list[bytes]:
    listening.setblocking(False)
    told = []
    while select.select([listening], [], [], 0)[0]:
        told.append(listening.recv(1 << 16))
    return told
