# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The port filter after runs that were killed where they write: the next one ends it, and no frame slips through."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import a_bridge
import pytest
from a_bridge import ip
from a_router import Nftables
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import port_filter
from frames import udp

pytestmark = pytest.mark.kernel

A, B, C = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b", "fa:16:3e:00:00:0c"
PLAN: dict[str, t.Any] = {
    "ports": [
        {"name": "tapa", "mac": A, "addresses": ["10.0.0.10", "fd00::a"], "dhcp_servers": ["10.0.0.1"]},
        {"name": "tapb", "mac": B, "addresses": ["10.0.0.11"]},
    ]
}
MORE = {"ports": [*PLAN["ports"], {"name": "tapc", "mac": C, "addresses": ["10.0.0.12"]}], "uplinks": ["eth1"]}
NOTHING: dict[str, t.Any] = {"ports": []}
#: Somebody else's chain in our table, for which all of it is written anew.
DRIFT = "add chain bridge nova-network theirs\n"
#: What is there, what somebody did to it, and what is wanted.
CHANGES = {
    "loaded": (NOTHING, "", PLAN),
    "amended": (PLAN, "", MORE),
    "restored": (PLAN, DRIFT, PLAN),
    "removed": (PLAN, "", NOTHING),
}
#: What becomes of a run when its program is to write the rules; {real} is the program. In the second one that goes on.
KILLS = {
    "before it is written": "kill -9 $PPID; exit 1",
    "while it is written": "kill -9 $PPID; sleep 0.2",
    "once it is written": '{real} "$@"; kill -9 $PPID; exit 1',
}

_RUN = f"""
import json, sys
sys.path[:0] = {sys.path!r}
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import port_filter
port_filter.LOCK_FILE = sys.argv[1]
port_filter.apply(json.loads(sys.argv[2]), check=False)
"""


@pytest.fixture
def nft(filter_host, monkeypatch) -> Nftables:
    monkeypatch.setattr(port_filter, "LOCK_FILE", str(filter_host / "port_filter.lock"))
    return Nftables(filter_host)


def apply(plan: t.Any, check: bool = False) -> dict[str, t.Any]:
    return port_filter.apply(plan, check=check)


def killed(nft: Nftables, plan: t.Any, deed: str) -> None:
    """A run that is killed where the host's own rules are written, not those that it compares with."""
    here = os.readlink("/proc/thread-self/ns/net")
    writes = f'[ "$*" = "-f -" ] && [ "$(readlink /proc/self/ns/net)" = "{here}" ]'
    nft.wrap("nft", before=f"if {writes}; then {deed.format(real=nft.real['nft'])}; fi")
    done = subprocess.run([sys.executable, "-c", _RUN, port_filter.LOCK_FILE, json.dumps(plan)], check=False)
    assert done.returncode == -signal.SIGKILL
    nft.wrap("nft")


def begin(nft: Nftables, plan: t.Any, drift: str) -> None:
    apply(plan)
    if drift:
        nft.load(drift)


@pytest.mark.parametrize("deed", KILLS.values(), ids=KILLS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_run_after_a_killed_one_ends_it(nft: Nftables, change: t.Any, deed: str) -> None:
    start, drift, goal = change
    apply(goal)
    wanted = nft.save()
    begin(nft, start, drift)
    before = nft.save()
    assert before != wanted
    killed(nft, goal, deed)
    assert nft.save() in (before, wanted)
    apply(goal)
    assert nft.save() == wanted
    assert not apply(goal, check=True)["changed"]


def test_what_a_killed_run_had_given_to_its_program_does_not_overrule_the_next(nft: Nftables) -> None:
    apply(PLAN)
    wanted = nft.save()
    go = nft.folder / "go"
    killed(nft, NOTHING, f"kill -9 $PPID; until [ -e {go} ]; do sleep 0.05; done")
    with pytest.raises(HostError, match="another run is at work on this host"):
        port_filter.apply(PLAN, check=False, wait=0)
    go.touch()
    apply(PLAN)
    assert nft.save() == wanted


def test_no_frame_slips_through_and_none_is_lost_while_runs_are_killed(nft: Nftables) -> None:
    with contextlib.ExitStack() as stack:
        ip("link add name br100 type bridge mcast_snooping 0")
        ip("link set br100 up")
        for setting in pathlib.Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
            setting.write_text("0")  # it would cut the marks off, which stand after the packets
        guest, hearer = (stack.enter_context(a_bridge.guest(*who, "br100")) for who in (("tapa", A), ("tapb", B)))
        spoofed, good = udp(A, "10.0.0.99", (9, 9)) + b"<spoofed>", udp(A, "10.0.0.10", (9, 9)) + b"<good>"
        guest.link.send(spoofed + b"<early>")
        assert a_bridge.heard(hearer, b"<early>")

        apply(PLAN)
        a_bridge.forget(hearer)
        ended = threading.Event()
        sent = []
        arrived = []

        def send() -> None:
            while not ended.is_set():
                guest.link.send(spoofed)
                guest.link.send(good)
                sent.append(good)
                time.sleep(0.002)
            guest.link.send(good + b"<the-end>")

        def hear() -> None:
            arrived.extend(a_bridge.heard(hearer, b"<the-end>"))

        threads = [threading.Thread(target=work) for work in (hear, send)]
        for thread in threads:
            thread.start()
        try:
            for start, drift, goal in (CHANGES["amended"], CHANGES["restored"]):
                for deed in KILLS.values():
                    begin(nft, start, drift)
                    killed(nft, goal, deed)
                    apply(goal)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert not [frame for frame in arrived if frame.endswith(b"<spoofed>")]
    assert len([frame for frame in arrived if frame.endswith(b"<good>")]) == len(sent) > 100
