"""Ethernet frames that a guest might send, as bytes."""

from __future__ import annotations

import ipaddress
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
REQUEST, REPLY = 1, 2
#: Types of ICMPv6.
ROUTER_SOLICIT, ROUTER_ADVERT, NEIGHBOR_SOLICIT, NEIGHBOR_ADVERT, REDIRECT, MLD2_REPORT = 133, 134, 135, 136, 137, 143


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
    size = 16
    pseudo = _pair(sender, target) + struct.pack("!II", size, 17)
    head = struct.pack("!HHH", *ports, size)
    data = head + _checksum(pseudo + head + bytes(10)) + bytes(8)
    if ":" in sender:
        return ether(source, IPV6, struct.pack("!IHBB", 0x60000000, size, 17, 64) + _pair(sender, target) + data, to)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 1, 0, 64, 17, 0) + _pair(sender, target)
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
