"""A bridge with guests, each a network namespace, and the frames that a guest might send."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import subprocess
import time
import typing as t

import a_namespace

BROADCAST = "ff:ff:ff:ff:ff:ff"
IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
REQUEST, REPLY = 1, 2


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
        holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        stack.callback(holder.wait)
        stack.callback(holder.kill)
        own = f"/proc/{holder.pid}/ns/net"
        _until(lambda: os.readlink(own) != os.readlink("/proc/thread-self/ns/net"))
        ip(f"link add name {port} type veth peer name eth0 address {mac} netns {holder.pid}")
        inside = ["nsenter", f"--net={own}"]
        # Of itself it says nothing, so that every frame is the test's.
        made = Guest(port, mac, inside, socket.socket())
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"], check=True)
        ip("link set eth0 up", at=made)
        ip(f"link set {port} master {bridge} up")
        _until(lambda: '"forwarding"' in ip(f"-json -details link show dev {port}"))
        link = stack.enter_context(_packet_socket(own))
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


# --- frames ------------------------------------------------------------------------------------------------


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ether(source: str, kind: int, payload: bytes, to: str = BROADCAST) -> bytes:
    return mac_bytes(to) + mac_bytes(source) + struct.pack("!H", kind) + payload


def arp(source: str, operation: int, sender_mac: str, sender: str, target: str) -> bytes:
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac_bytes(sender_mac) + _packed(sender)
    return ether(source, ARP, body + bytes(6) + _packed(target))


def udp(
    source: str, sender: str, ports: tuple[int, int], target: str = "255.255.255.255", to: str = BROADCAST
) -> bytes:
    data = struct.pack("!HHHH", *ports, 16, 0) + bytes(8)
    if ":" in sender:
        return ether(
            source, IPV6, struct.pack("!IHBB", 0x60000000, len(data), 17, 64) + _pair(sender, target) + data, to
        )
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0) + _pair(sender, target)
    return ether(source, IPV4, head[:10] + _checksum(head) + head[12:] + data, to)


def icmpv6(source: str, sender: str, kind: int, about: str | None = None, to: str = "33:33:00:00:00:01") -> bytes:
    """`about` is the target of neighbour discovery."""
    body = struct.pack("!BBHI", kind, 0, 0, 0) + (_packed(about) if about else bytes(16))
    head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + _pair(sender, "ff02::1")
    checked = _pair(sender, "ff02::1") + struct.pack("!II", len(body), 58) + body
    return ether(source, IPV6, head + body[:2] + _checksum(checked) + body[4:], to)


def tagged(frame: bytes, *tags: int) -> bytes:
    head = b"".join(struct.pack("!HH", VLAN, tag) for tag in tags)
    return frame[:12] + head + frame[12:]


def _pair(sender: str, target: str) -> bytes:
    return _packed(sender) + _packed(target)


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
