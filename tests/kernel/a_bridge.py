"""A bridge with guests, each a network namespace."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import typing as t

import a_namespace


def ip(words: str, *, at: Guest | None = None) -> str:
    command = [*(at.inside if at else []), "ip", *words.split()]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Guest(t.NamedTuple):
    """A namespace with eth0; the other end is its port. `link` sends and receives whole frames of eth0."""

    port: str
    mac: str
    inside: list[str]
    link: socket.socket


@contextlib.contextmanager
def guest(port: str, mac: str, bridge: str) -> t.Iterator[Guest]:
    """A guest whose port is in the bridge already."""
    with contextlib.ExitStack() as stack:
        pid, inside = stack.enter_context(a_namespace.beside())
        ip(f"link add name {port} type veth peer name eth0 address {mac} netns {pid}")
        # Of itself it says nothing, so that every frame is the test's.
        made = Guest(port, mac, inside, socket.socket())
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"], check=True)
        ip("link set eth0 up", at=made)
        ip(f"link set {port} master {bridge} up")
        _until(lambda: '"forwarding"' in ip(f"-json -details link show dev {port}"))
        link = stack.enter_context(_packet_socket(f"/proc/{pid}/ns/net"))
        yield made._replace(link=link)


def _until(condition: t.Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _packet_socket(namespace: str) -> socket.socket:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(namespace, os.O_RDONLY)
    try:
        a_namespace.enter(there)
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind(("eth0", 0))
        made.settimeout(5)
    finally:
        a_namespace.enter(home)
        os.close(home)
        os.close(there)
    return made


@contextlib.contextmanager
def own_socket(interface: str) -> t.Iterator[socket.socket]:
    """The same for an interface of the test's own namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as made:
        made.bind((interface, 0))
        yield made


def forget(by: Guest) -> None:
    """Of all that has arrived until now."""
    by.link.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            by.link.recv(2048)
    by.link.settimeout(5)


def heard(by: Guest, last: bytes) -> list[bytes]:
    """Payloads of all that arrived until one that ends with `last`."""
    found = []
    while True:
        frame = by.link.recv(2048)
        found.append(frame)
        if frame.endswith(last):
            return found
