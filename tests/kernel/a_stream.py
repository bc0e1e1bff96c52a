# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of packets, and runs that are slow or killed while they flow: help for the tests beside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

#: Numbered packets by UDP, one each millisecond or so, from one port, until its input ends. Prints how many there were.
SEND = """
import select, socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("0.0.0.0", int(sys.argv[3])))
number, refused = 0, 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    sender.sendto(str(number).encode(), (sys.argv[1], int(sys.argv[2])))
    number += 1
print(number)
"""
#: What comes in at a port, until its input ends. Prints the numbers that came, and from whom.
HEAR = """
import json, selectors, socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
listener.bind(("0.0.0.0", int(sys.argv[1])))
every = selectors.DefaultSelector()
every.register(listener, selectors.EVENT_READ)
every.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
heard, peers, ended = [], set(), False
while True:
    events = [key.fileobj for key, _events in every.select(0.2)]
    if listener in events:
        data, peer = listener.recvfrom(100)
        heard.append(int(data))
        peers.add(peer)
    elif ended:
        break
    if sys.stdin in events:
        every.unregister(sys.stdin)
        ended = True
print(json.dumps([heard, sorted(peers)]))
"""
#: One connection by TCP: a word each millisecond, which the other side gives back. Prints how many came back.
TALK = """
import select, socket, sys
talker = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
talker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
talker.settimeout(2)
print("ready", flush=True)
number = 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    word = b"%08d" % number
    talker.sendall(word)
    assert talker.recv(8, socket.MSG_WAITALL) == word
    number += 1
print(number)
"""
ECHO = """
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
client, _peer = listener.accept()
while data := client.recv(100):
    client.sendall(data)
"""


class Program:
    """A program beside a host's name, until its input is closed."""

    def __init__(self, site, name, text, *words, ready=True):
        command = [*site.inside[name], sys.executable, "-c", text, *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        site.stack.callback(self.kill)
        if ready:
            assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def end(self):
        told, _errors = self.process.communicate(timeout=5)
        assert self.process.returncode == 0
        return json.loads(told)


class Stream:
    def __init__(self, site, name, address, listener, port, source):
        self.ear = Program(site, listener, HEAR, port)
        self.mouth = Program(site, name, SEND, address, port, source, ready=False)

    def end(self):
        """How many packets were sent, and which were heard, and from whom."""
        sent = self.mouth.end()
        heard, peers = self.ear.end()
        return sent, heard, [tuple(peer) for peer in peers]


def in_child(work):
    child = os.fork()
    if not child:
        try:
            os.setsid()
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def ended(child, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


#: One commit after the other, with time in between.
SLOWLY = """
import subprocess, sys, time
for table in sys.stdin.read().split("COMMIT\\n")[:-1]:
    status = subprocess.run(sys.argv[1:], input=table + "COMMIT\\n", text=True).returncode
    if status:
        sys.exit(status)
    time.sleep(0.1)
"""


def commit_slowly(variant):
    if variant.backend == "iptables":
        program = variant.folder / "slowly.py"
        program.write_text(SLOWLY)
        words = f'{sys.executable} {program} {variant.real["iptables-restore"]} "$@"'
        variant.wrap("iptables-restore", before=f"{words}; exit")
