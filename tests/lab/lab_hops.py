# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One conversation, listened to at every hop that it takes: on switches, inside hosts and inside guests."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import struct
import time
import typing as t

from lab.capture import Frame
from lab.guest import Guest
from lab.host import PYTHON_FOLDER, Host

IPV4, TCP = 0x0800, 6

#: Listens on the devices named after its log's name until it is told to end, and then says all that passed.
LISTEN = f"""
import dataclasses, json, os, signal, sys
sys.path.insert(0, {PYTHON_FOLDER!r} + "/ansible_collections/tenantnet/nova/tests/lab")
from lab.capture import Capture
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
captures = {{device: Capture(os.getpid(), device) for device in sys.argv[1:]}}
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
for device, capture in captures.items():
    for frame in capture.frames(0):
        print(json.dumps([device, {{**dataclasses.asdict(frame), "payload": frame.payload.hex()}}]))
"""


class Passed(t.NamedTuple):
    """A packet of TCP, as it was on a wire: under which tag (None: under none), from whom to whom."""

    vlan: int | None
    source: str
    destination: str


def conversation(frames: t.Iterable[Frame], port: int) -> set[Passed]:
    """What the frames have of TCP with that port at one of its ends."""
    found = set()
    for frame in frames:
        if frame.ethertype != IPV4 or frame.payload[9] != TCP:
            continue
        head = (frame.payload[0] & 0xF) * 4
        if port in struct.unpack_from("!HH", frame.payload, head):
            source, destination = (str(ipaddress.IPv4Address(frame.payload[at : at + 4])) for at in (12, 16))
            found.add(Passed(frame.vlan, source, destination))
    return found


@contextlib.contextmanager
def listening(at: Host | Guest, *devices: str) -> t.Iterator[dict[str, list[Frame]]]:
    """What passes each of the devices while the block runs; to be read after it."""
    log = f"/run/listening-{time.monotonic_ns()}"
    script = f'python3 -c "$0" "$@" >{log} 2>&1 & echo $! >{log}.pid; until grep -q . {log}; do sleep 0.1; done'
    at.run(["sh", "-c", script, LISTEN, *devices])
    heard: dict[str, list[Frame]] = {device: [] for device in devices}
    try:
        yield heard
    finally:
        # Not a child of this shell, which could wait for it.
        end = f"kill $(cat {log}.pid); while kill -0 $(cat {log}.pid) 2>/dev/null; do sleep 0.1; done; cat {log}"
        ready, *lines = at.run(["sh", "-c", end]).stdout.splitlines()
    assert ready == "ready", (ready, lines)
    for device, frame in map(json.loads, lines):
        heard[device].append(Frame(**{**frame, "payload": bytes.fromhex(frame["payload"])}))
