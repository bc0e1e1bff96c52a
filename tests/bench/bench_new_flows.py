"""What a new connection to a floating IP costs by each back end, whatever their number.

A new connection is a UDP packet from a source port of its own, sent from outside to a guest through a router: the
kernel does all the work before `send` returns. The floor is a router without any rules, which translates nothing and
follows no connection; then the last of many floating IPs is held against the first.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import time

import bench_packet_filter
import harness

FLOWS = 4000

driver = bench_packet_filter.driver
addresses = bench_packet_filter.addresses

#: Processes that hold the namespaces outside and of the guests, of the router with rules and of that without.
_holders: dict[str, tuple[int, int]] = {}


def namespace() -> int:
    """A process that holds a network namespace of its own; it ends with the one that made it."""
    home = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, signal.SIGKILL)
        libc.unshare(harness.CLONE_NEWNET)
        os.write(writer, b"x")
        while os.getppid() == home:
            time.sleep(0.2)
        os._exit(0)
    os.read(reader, 1)
    return pid


def inside(pid: int, arguments: list[str], text: str = "") -> None:
    entering = ["nsenter", "--net", "-t", str(pid), *arguments]
    subprocess.run(entering, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def router(pid: int) -> tuple[int, int]:
    """Make the namespace of the process a router between somebody outside and guests that have all addresses."""
    outside, guests = namespace(), namespace()
    inside(pid, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    batch = ["ip", "-batch", "-"]
    inside(
        pid,
        batch,
        "link set lo up\nlink add br100 type bridge forward_delay 0\naddr add 10.0.0.1/16 dev br100\n"
        f"link set br100 up\nlink add tap0 type veth peer name eth0 netns {guests}\nlink set tap0 up master br100\n"
        f"link add eth2 type veth peer name eth0 netns {outside}\nlink set eth2 up\naddr add 192.0.2.1/24 dev eth2\n",
    )
    inside(
        guests,
        batch,
        "link set lo up\nlink set eth0 up\naddr add 10.255.0.1/32 dev eth0\nroute add 10.0.0.1/32 dev eth0\n"
        "route add local 10.0.0.0/16 dev lo table main\nroute add default via 10.0.0.1\n",
    )
    inside(outside, batch, "link set eth0 up\naddr add 192.0.2.9/24 dev eth0\nroute add default via 192.0.2.1\n")
    return outside, guests


def routers(count: int, backend: str) -> None:
    """This namespace as a routing node with floating IPs, and another one as a router without."""
    _holders["rules"] = router(os.getpid())
    _holders["none"] = router(namespace())
    driver.apply(bench_packet_filter.plan(count), backend=backend)
    first, last = addresses(2), addresses(count + 1)
    for which, address in (*(("rules", one) for one in first + last), ("none", last[1])):
        # Neighbours are to be known before.
        inside(_holders[which][0], ["ping", "-q", "-c", "1", "-W", "1", address])


def connect(address: str, which: str = "rules") -> None:
    """As many new flows as it takes to tell what one costs, from outside to one address."""
    outside, guests = _holders[which]
    enter(guests)
    # No run before had this port, so its flows are new. Somebody has to listen, or packets are answered by complaints.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        port = 1024 + os.getpid() % 60_000
        listener.bind(("0.0.0.0", port))
        enter(outside)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sender:
            sender.connect((address, 0))
            for own in range(20_000, 20_000 + FLOWS):
                sender.send(struct.pack("!HHHHc", own, port, 9, 0, b"x"))
        listener.settimeout(1)
        listener.recv(10)


def enter(pid: int) -> None:
    with open(f"/proc/{pid}/ns/net", encoding="ascii") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), harness.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def cases(backend: str) -> list[harness.Case]:
    found = []
    for count in (100, 1000, 10_000):
        first, last = addresses(2), addresses(count + 1)
        to_first, to_last = (functools.partial(connect, address) for address, _fixed in (first, last))
        prepare = functools.partial(routers, count, backend)
        what = f"{FLOWS} new flows, {count} floating IPs, {backend}"
        plain = [
            harness.Ours("to the first", to_first),
            harness.Ours("to the last", to_last),
            harness.Ours("to a fixed address", functools.partial(connect, last[1])),
        ]
        found += [
            harness.Case(what, functools.partial(connect, last[1], "none"), plain, prepare, 7, shared=True),
            harness.Case(what, to_first, [harness.Ours("last of first", to_last, 1.3)], prepare, 7, shared=True),
        ]
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        driver.LOCK_FILE = str(pathlib.Path(folder, "lock"))
        harness.run(case for backend in bench_packet_filter.FLOORS for case in cases(backend))


if __name__ == "__main__":
    main()
