"""Floating IPs by each back end: put there, one more, looked at again; and what a new connection costs.

The floor of writing is one `iptables-restore --noflush`, or one `nft -f`, of the very same text, that of looking one
save of both families, or one `nft -j list ruleset`. "Beyond imports" and "as a module" as in bench_links. A new
connection is a UDP packet from a source port of its own, sent from outside to a guest through the host's rules: the
kernel does all the work before `sendto` returns.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core import nftables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

FLOWS = 4000


def addresses(number: int) -> tuple[str, str]:
    """The floating IP and the fixed address of one of many guests."""
    return f"198.18.{number >> 8}.{number & 255}", f"10.0.{number >> 8}.{number & 255}"


def plan(count: int) -> dict:
    return {
        "public_interface": "eth2",
        "routing_source_ip": "192.0.2.1",
        "dmz_cidr": [],
        "force_snat_range": [],
        "networks": [
            {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/16", "gateway": True, "dhcp": True, "snat": True}
        ],
        "floating_ips": [
            {
                "address": address,
                "fixed_address": fixed,
                "interface": None,
                "bridge": "br100",
                "fixed_cidr": "10.0.0.0/16",
            }
            for address, fixed in map(addresses, range(2, count + 2))
        ],
    }


def apply(section: dict, backend: str) -> None:
    if not driver.apply(section, backend=backend)["changed"]:
        raise AssertionError("there was nothing to do")


def look_again(section: dict, backend: str) -> None:
    if driver.apply(section, backend=backend)["changed"]:
        raise AssertionError("the second run has something to do")


def transaction(folder: str, before: int, after: int) -> list[str]:
    """One transaction of nft that leads from so many floating IPs to so many."""
    changes = []
    for family in ("ipv4", "ipv6"):
        old, new = (
            nftables.render(packet_filter.intent(packet_filter.parse(plan(count))), family) for count in (before, after)
        )
        held = nftables.HeldTable(
            {name: nftables.HeldSet((), made.word, dict(made.elements)) for name, made in old.sets.items()},
            {name: nftables.HeldChain(()) for name in old.chains},
        )
        reference = nftables.HeldTable(
            {name: nftables.HeldSet((), made.word) for name, made in new.sets.items()},
            {name: nftables.HeldChain(()) for name in new.chains},
        )
        changes.append(nftables.compare(family, held if before else None, reference, new))
    path = pathlib.Path(folder, f"nft-{before}-{after}")
    path.write_text(nftables.compose([change for change in changes if change]))
    return ["nft", "-f", str(path)]


def commands(folder: str, before: int, after: int) -> list[str]:
    """One restore of what leads from so many floating IPs to so many."""

    def tables(count: int) -> dict[str, core.Wanted]:
        return core.render(packet_filter.intent(packet_filter.parse(plan(count))), "ipv4")

    have = {name: core.Table(dict(wanted.chains)) for name, wanted in tables(before).items()}
    for name, wanted in tables(before).items():
        for hook, chains in wanted.hooks.items():
            have[name].chains[hook] = [f"-j {chain}" for chain in chains]
            have[name].builtin.add(hook)
    path = pathlib.Path(folder, f"{before}-{after}")
    path.write_text(core.compose(core.compare(have, tables(after))))
    return ["iptables-restore", "--noflush", str(path)]


def process(call: str, count: int, backend: str) -> list[str]:
    here = str(pathlib.Path(__file__).resolve().parent)
    work = f"b.{call}(b.plan({count}), {backend!r})"
    code = f"import sys; sys.path.insert(0, {here!r}); import bench_packet_filter as b; {work}"
    return [sys.executable, "-c", code]


def save() -> None:
    for program in ("iptables-save", "ip6tables-save"):
        subprocess.run([program], stdout=subprocess.DEVNULL, check=True)


def listing() -> None:
    subprocess.run(["nft", "-j", "list", "ruleset"], stdout=subprocess.DEVNULL, check=True)


FLOORS = {"iptables": (commands, save), "nftables": (transaction, listing)}


def writing(folder: str, backend: str) -> list[harness.Case]:
    cases = []
    write, look = FLOORS[backend]
    for count, runs in ((100, 5), (1000, 5), (10_000, 3)):
        none, section, more = (
            functools.partial(driver.apply, plan(number), backend=backend) for number in (0, count, count + 1)
        )
        again = functools.partial(look_again, plan(count), backend)
        cases += [
            harness.Case(
                f"{count} floating IPs, {backend}",
                write(folder, 0, count),
                [
                    harness.Ours(
                        "beyond imports",
                        functools.partial(apply, plan(count), backend),
                        1.5 if count == 10_000 else None,
                    ),
                    harness.Ours("as a module", process("apply", count, backend)),
                ],
                none,
                runs,
            ),
            harness.Case(
                f"one more than {count}, {backend}",
                write(folder, count, count + 1),
                [harness.Ours("beyond imports", more, 3 if count == 10_000 else None)],
                section,
                runs,
            ),
            harness.Case(
                f"{count} again, {backend}",
                look,
                [
                    harness.Ours("beyond imports", again),
                    harness.Ours("as a module", process("look_again", count, backend)),
                ],
                section,
                7,
                shared=True,
            ),
        ]
    return cases


# -- new connections


_holders: list[int] = []


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


def batch(text: str, pid: int | None = None) -> None:
    inside = ["nsenter", "--net", "-t", str(pid)] if pid else []
    subprocess.run([*inside, "ip", "-batch", "-"], input=text, text=True, check=True)


def router(count: int, backend: str) -> None:
    """This namespace as a routing node, between somebody outside and guests that have all addresses."""
    outside, guests = namespace(), namespace()
    _holders[:] = [outside, guests]
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    batch(
        "link set lo up\nlink add br100 type bridge forward_delay 0\naddr add 10.0.0.1/16 dev br100\n"
        f"link set br100 up\nlink add tap0 type veth peer name eth0 netns {guests}\nlink set tap0 up master br100\n"
        f"link add eth2 type veth peer name eth0 netns {outside}\nlink set eth2 up\naddr add 192.0.2.1/24 dev eth2\n"
    )
    batch(
        "link set lo up\nlink set eth0 up\naddr add 10.255.0.1/32 dev eth0\nroute add 10.0.0.1/32 dev eth0\n"
        "route add local 10.0.0.0/16 dev lo table main\nroute add default via 10.0.0.1\n",
        guests,
    )
    batch("link set eth0 up\naddr add 192.0.2.9/24 dev eth0\nroute add default via 192.0.2.1\n", outside)
    driver.apply(plan(count), backend=backend)
    for address in addresses(2) + addresses(count + 1):  # neighbours are to be known before
        subprocess.run(
            ["nsenter", "--net", "-t", str(outside), "ping", "-q", "-c", "1", "-W", "1", address],
            stdout=subprocess.DEVNULL,
            check=True,
        )


def connect(address: str) -> None:
    """As many new flows as it takes to tell what one costs, from outside to one address."""
    outside, guests = _holders
    enter(guests)
    # Somebody has to listen, or packets are answered by complaints.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", 4000))
        enter(outside)
        for port in range(20_000, 20_000 + FLOWS):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
                flow.bind(("", port))
                flow.sendto(b"x", (address, 4000))
        listener.settimeout(1)
        listener.recv(10)


def enter(pid: int) -> None:
    with open(f"/proc/{pid}/ns/net", encoding="ascii") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), harness.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def connecting(backend: str) -> list[harness.Case]:
    cases = []
    for count in (100, 1000, 10_000):
        first, last = addresses(2), addresses(count + 1)
        cases.append(
            harness.Case(
                f"{FLOWS} new flows, {count} floating IPs, {backend}",
                functools.partial(connect, first[0]),
                [
                    harness.Ours("to the last, not the first", functools.partial(connect, last[0]), 1.3),
                    harness.Ours("without translation", functools.partial(connect, last[1])),
                ],
                functools.partial(router, count, backend),
                runs=5,
            )
        )
    return cases


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        driver.LOCK_FILE = str(pathlib.Path(folder, "lock"))
        cases = [case for backend in FLOORS for case in (*writing(folder, backend), *connecting(backend))]
        harness.run(cases)


if __name__ == "__main__":
    main()
