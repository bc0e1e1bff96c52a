"""A site run with nothing to do on one host with 1,000 networks, 500 guests and 10,000 floating IPs.

The floor is a play of as many empty tasks there, each module a ping; the same site with one network shows what of the
rest does not come with the size. Then a run is watched: it must change and tell nothing, and start no more programs and
send no more signals than that of one network.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import typing as t

import harness
import yaml

harness.development_tree()
sys.path.insert(0, str(harness.ROOT / "tests" / "lab"))

from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_ips
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.settings import UNLIMITED
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp, State
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store
from bench_site import surround
from lab import Lab
from nova_site import SITE, Site, assert_a_run_does_nothing

HOST = "node1"
NETWORKS, GUESTS, FLOATING_IPS = 1000, 500, 10_000
#: Of the tasks that the site playbook runs: those that are modules. The others check arguments on the controller.
MODULES = {"localhost": 1, HOST: 6}
#: Seconds beyond the empty play that we aim for.
AIM = 1
RUNS = 3


def declare(site: Site, networks: int, guests: int, floating: int, **variables: t.Any) -> None:
    site.change(
        nova_networks=[
            {"label": f"net{n}", "fixed_range": f"10.{n >> 8}.{n & 255}.0/24", "bridge": f"br{n}"}
            for n in range(networks)
        ],
        nova_projects=["acme"],
        nova_security_groups=[{"project": "acme", "name": "default", "rules": [{"protocol": "icmp"}]}],
        nova_instances=[
            {"name": f"guest{n}", "project": "acme", "host": HOST, "network": f"net{n % networks}", "floating_ip": True}
            for n in range(guests)
        ],
        nova_floating_ranges=[f"172.16.0.1-172.16.{floating >> 8}.{floating & 255}"],
        **{f"nova_quota_{what}": UNLIMITED for what in ("instances", "fixed_ips", "floating_ips")},
        **variables,
    )


def associate_all(site: Site) -> None:
    """Lead the floating IPs that the declaration has left free to the guests in turn, as commands would."""

    def decide(before: State) -> State:
        ledger = MemoryLedger(before)
        rows = ledger.where(FloatingIp)
        targets = [row.fixed_address for row in rows if row.fixed_address]
        for number, row in enumerate(row for row in rows if row.project is None):
            floating_ips.allocate(ledger, "acme", None, UNLIMITED, "command", row.address)
            floating_ips.associate(ledger, row.address, targets[number % len(targets)], by="command")
        return ledger.state()

    store.reconcile(f"sqlite:///{site.store}", decide, False)


def plug(site: Site) -> None:
    """Make the guests' devices, as whoever provisions guests would."""
    lines = []
    for number, instance in enumerate(site.plans()[HOST]["instances"]):
        lines.append(f"link add name {instance['ports'][0]['device']} type veth peer name far{number}")
        lines.append(f"link set dev far{number} up")
    site.lab.host(HOST).run(["ip", "-batch", "-"], input="\n".join(lines))


def empty_play(site: Site, recap: dict[str, dict[str, int]]) -> list[str]:
    """The command of a play with as many tasks as that run, done or skipped."""
    plays = []
    for host, modules in MODULES.items():
        tasks: list[dict[str, t.Any]] = [{"ansible.builtin.ping": {}}] * modules
        tasks += [{"ansible.builtin.assert": {"that": True, "quiet": True}}] * (recap[host]["ok"] - modules)
        tasks += [{"ansible.builtin.ping": {}, "when": False}] * recap[host]["skipped"]
        plays.append({"hosts": host, "gather_facts": False, "tasks": tasks})
    book = site.folder / "empty.yml"
    book.write_text(yaml.safe_dump(plays))
    return [str(book) if word == str(SITE) else word for word in site.command()]


def traced(site: Site) -> dict[str, collections.Counter[str]]:
    """The programs that a run starts, wherever it does, and the signals that it sends, each by name."""
    log = site.folder / "calls"
    follow = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=execve,kill,tkill,tgkill,pidfd_send_signal"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*follow, "-o", log, *site.command()], check=True, **quiet, **site.surroundings())
    said = log.read_text(errors="replace")
    started = re.findall(r'execve\("(?:[^"]*/)?([^"/]+)".* = 0$', said, re.MULTILINE)
    signals = re.findall(r"(?:kill|send_signal)\(.*\b(SIG[A-Z]+)", said)
    # Ansible ends its own workers by SIGTERM. Whoever of ours got it would be another process now.
    signals = [name for name in signals if name != "SIGTERM"]
    return {"programs": collections.Counter(started), "signals": collections.Counter(signals)}


def report(large: Site, small: Site) -> None:
    modified = large.store.stat().st_mtime_ns
    assert_a_run_does_nothing(large, [HOST])
    if large.store.stat().st_mtime_ns != modified:
        raise AssertionError("the run wrote to the store")
    ours, base = traced(large), traced(small)
    for what, counted in ours.items():
        names = ", ".join(f"{number} {name}" for name, number in counted.most_common(6))
        print(f"  {what}: {counted.total()}, with one network {base[what].total()} ({names or 'none'})")
        if counted.total() > base[what].total() + 5:
            raise AssertionError(f"{what} grow with the networks: {counted - base[what]}")
    print("  no file was written, no event of netlink or nftables, no process of the host is another one", flush=True)


def main() -> None:
    with contextlib.ExitStack() as stack:
        sites = []
        for size in ("large", "small"):
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-idle-{size}-")))
            lab = stack.enter_context(Lab(f"{size}-{os.getpid()}"))
            sites.append(Site(lab.up("node", owner=os.getpid()), "all_in_one", folder))
        large, small = sites
        for backend in ("iptables", "nftables"):
            declare(large, NETWORKS, GUESTS, FLOATING_IPS, nova_packet_filter=backend)
            declare(small, 1, 1, 1, nova_packet_filter=backend)
            small.run()
            large.run()
            if backend == "iptables":
                associate_all(large)
                plug(large)
                plug(small)
                for site in sites:
                    site.run()
            done = large.run()
            case = harness.Case(
                f"{NETWORKS} networks, {FLOATING_IPS} floating IPs",
                floor=empty_play(large, done.recap),
                ours=[harness.Ours(backend, large.command()), harness.Ours("one network", small.command())],
                prepare=lambda: surround(large),
                by_wall=True,
                runs=RUNS,
                own_network=False,
            )
            for result in harness.run([case]):
                beyond = min(result.ours) - min(result.floor)
                print(f"  {result.what}: {beyond:.2f} s beyond the empty play{' (missed)' if beyond > AIM else ''}")
            report(large, small)


if __name__ == "__main__":
    main()
