"""Bridges with a port and an address each: made, and looked at again with nothing to do.

The floor of making is `ip -batch` with the same objects (mark, forward delay, port, address, all up), that of looking
a plain dump of links and addresses that nobody reads. "Beyond imports" leaves out the start of Python and its
imports; "as a module" is a process of its own, with these, as a host runs it (Ansible's own part apart).
"""

from __future__ import annotations

import functools
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink


def plan(count: int) -> dict:
    return {
        "bridges": [
            {
                "name": f"br{number}",
                "interfaces": [f"port{number}"],
                "addresses": [f"10.{number >> 8}.{number & 255}.1/24"],
                "mtu": None,
                "mac": None,
                "stp": False,
                "forward_delay": 0,
            }
            for number in range(count)
        ],
        "sysctl": {"net.ipv4.ip_forward": "1"},
    }


def batch(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def make_ports(count: int) -> None:
    # A dummy would do, but not every kernel has it.
    batch([f"link add name port{number} type veth peer name far{number}" for number in range(count)])


def apply(section: dict) -> None:
    want = links.parse(section)
    have = netlink.read(key for key, _value in want.sysctl)
    difference = links.compare(want, have)
    if difference.problems or difference.risks:
        links.guard(difference, netlink.read_duties(have))
    difference.actions()
    difference.diff()
    if difference.changed:
        netlink.apply(difference, have)


def look_again(section: dict) -> None:
    """As apply(), but fail if there is something to do."""
    want = links.parse(section)
    have = netlink.read(key for key, _value in want.sysctl)
    if links.compare(want, have).changed:
        raise AssertionError("the second run has something to do")


def make_all(count: int) -> None:
    make_ports(count)
    apply(plan(count))


def dump() -> None:
    """Ask for all links and addresses, and let the answers lie."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        for kind, body in ((18, struct.pack("=BxHiII", 0, 0, 0, 0, 0)), (22, struct.pack("=BBBBI", 0, 0, 0, 0, 0))):
            kernel.send(struct.pack("=IHHII", 16 + len(body), kind, 0x301, 1, 0) + body)
            while struct.unpack_from("=IH", kernel.recv(1 << 18))[1] != 3:
                pass


def commands(folder: str, count: int) -> list[str]:
    """`ip -batch` for the same objects."""
    lines = []
    for number in range(count):
        name, port, address = f"br{number}", f"port{number}", f"10.{number >> 8}.{number & 255}.1/24"
        lines += [
            f"link add name {name} type bridge forward_delay 0 stp_state 0",
            f"link set dev {name} up alias tenantnet.nova",
            f"link set dev {port} master {name} up",
            f"address add {address} broadcast + dev {name}",
        ]
    path = pathlib.Path(folder, str(count))
    path.write_text("\n".join(lines) + "\n")
    return ["ip", "-batch", str(path)]


def process(call: str, count: int) -> list[str]:
    here = str(pathlib.Path(__file__).resolve().parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import bench_links as b; b.{call}(b.plan({count}))"
    return [sys.executable, "-c", code]


def cases(folder: str) -> list[harness.Case]:
    found = []
    for count, runs in ((100, 5), (1000, 2)):
        section = plan(count)
        making = [
            harness.Ours("beyond imports", functools.partial(apply, section), 1.5),
            harness.Ours("as a module", process("apply", count)),
        ]
        looking = [
            harness.Ours("beyond imports", functools.partial(look_again, section), 2),
            harness.Ours("as a module", process("look_again", count)),
        ]
        ports, everything = functools.partial(make_ports, count), functools.partial(make_all, count)
        found += [
            harness.Case(f"make {count} bridges", commands(folder, count), making, ports, runs),
            harness.Case(f"look at {count} bridges again", dump, looking, everything, runs=7, shared=True),
        ]
    return found


def main() -> None:
    netlink.load()  # imported here, it costs the measured children nothing
    with tempfile.TemporaryDirectory() as folder:
        harness.run(cases(folder))


if __name__ == "__main__":
    main()
