"""Bridges with a port and an address each, with a VLAN interface each, and instances' ports: made, and looked at again.

The floor of making is `ip -batch` with the same objects (mark, forward delay, port, address, all up), that of looking
a plain dump of links and addresses that nobody reads. "Beyond imports" leaves out the start of Python and its
imports; "as a module" is a process of its own, with these, as a host runs it (Ansible's own part apart). VLAN networks
are for bench_vlans.py.
"""

from __future__ import annotations

import functools
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import typing as t

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import links
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import netlink
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.netlink import rules

# As on a host without udev: the rules are this machine's, and one small file.
rules.read = lambda: None


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


def vlan_plan(count: int) -> dict:
    """As plan(), over VLAN interfaces on one trunk."""
    section = plan(count)
    for number, bridge in enumerate(section["bridges"]):
        bridge["interfaces"] = [f"vlan{number}"]
    vlans = [{"name": f"vlan{number}", "link": "trunk", "id": number + 1} for number in range(count)]
    return {**section, "vlans": vlans}


def batch(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def make_ports(count: int) -> None:
    # A dummy would do, but not every kernel has it.
    batch([f"link add name port{number} type veth peer name far{number}" for number in range(count)])


def make_trunk() -> None:
    batch(["link add name trunk type veth peer name far", "link set dev far up", "link set dev trunk up"])


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


def make_all_vlans(count: int) -> None:
    make_trunk()
    apply(vlan_plan(count))


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


def vlan_commands(folder: str, count: int) -> list[str]:
    """`ip -batch` for the same VLAN networks."""
    lines = []
    for number in range(count):
        name, vlan, address = f"br{number}", f"vlan{number}", f"10.{number >> 8}.{number & 255}.1/24"
        lines += [
            f"link add link trunk name {vlan} type vlan id {number + 1}",
            f"link set dev {vlan} up alias tenantnet.nova",
            f"link add name {name} type bridge forward_delay 0 stp_state 0",
            f"link set dev {name} up alias tenantnet.nova",
            f"link set dev {vlan} master {name}",
            f"address add {address} broadcast + dev {name}",
        ]
    path = pathlib.Path(folder, f"vlan{count}")
    path.write_text("\n".join(lines) + "\n")
    return ["ip", "-batch", str(path)]


def guests_plan(count: int) -> dict:
    """Instances' ports on one bridge, whose devices are there."""
    ports = [{"name": f"port{number}", "bridge": "br0", "mac": guest_mac(number)} for number in range(count)]
    return {"bridges": [{"name": "br0", "mac": "02:00:00:00:00:01"}], "ports": ports}


def guest_mac(number: int) -> str:
    return f"fe:16:3e:00:{number >> 8:02x}:{number & 255:02x}"


def guests_commands(folder: str, count: int) -> list[str]:
    """`ip -batch` for the same ports."""
    lines = ["link add name br0 address 02:00:00:00:00:01 type bridge forward_delay 0 stp_state 0", "link set br0 up"]
    for number in range(count):
        port = f"port{number}"
        lines += [
            f"link set dev {port} alias tenantnet.nova address {guest_mac(number)} master br0 up",
            f"link set dev {port} type bridge_slave hairpin on",
        ]
    path = pathlib.Path(folder, f"guests{count}")
    path.write_text("\n".join(lines) + "\n")
    return ["ip", "-batch", str(path)]


def make_all_guests(count: int) -> None:
    make_ports(count)
    apply(guests_plan(count))


def process(call: str, make: str, count: int) -> list[str]:
    here = str(pathlib.Path(__file__).resolve().parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import bench_links as b; b.{call}(b.{make}({count}))"
    return [sys.executable, "-c", code]


def cases(folder: str) -> list[harness.Case]:
    found = []
    for count, runs in ((100, 5), (1000, 2)):
        ports, everything = functools.partial(make_ports, count), functools.partial(make_all, count)
        found += both(f"{count} bridges", plan, count, runs, commands(folder, count), ports, everything)
    for count, runs in ((100, 5), (1000, 2)):
        ports, everything = functools.partial(make_ports, count), functools.partial(make_all_guests, count)
        floor = guests_commands(folder, count)
        found += both(f"{count} instances' ports", guests_plan, count, runs, floor, ports, everything)
    return found


def vlan_cases(folder: str, counts: t.Sequence[tuple[int, int]]) -> list[harness.Case]:
    """Of VLAN networks; `counts` are how many, each with how many runs."""
    found = []
    for count, runs in counts:
        everything = functools.partial(make_all_vlans, count)
        what = f"{count} VLAN networks"
        found += both(what, vlan_plan, count, runs, vlan_commands(folder, count), make_trunk, everything)
    return found


def both(
    what: str,
    make: t.Callable[[int], dict],
    count: int,
    runs: int,
    floor: list[str],
    below: t.Callable[[], None],
    everything: t.Callable[[], None],
) -> list[harness.Case]:
    """Making over what is there, and looking again where everything is."""
    section = make(count)
    making = [
        harness.Ours("beyond imports", functools.partial(apply, section), 1.5),
        harness.Ours("as a module", process("apply", make.__name__, count)),
    ]
    looking = [
        harness.Ours("beyond imports", functools.partial(look_again, section), 2),
        harness.Ours("as a module", process("look_again", make.__name__, count)),
    ]
    return [
        harness.Case(f"make {what}", floor, making, below, runs),
        harness.Case(f"look at {what} again", dump, looking, everything, runs=7, shared=True),
    ]


def main() -> None:
    netlink.load()  # imported here, it costs the measured children nothing
    with tempfile.TemporaryDirectory() as folder:
        harness.run(cases(folder))


if __name__ == "__main__":
    main()
