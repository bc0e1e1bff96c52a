"""Floating IPs, and guests in security groups, by each back end: put there, one more, looked at again.

The floor of writing is one restore of each kind (sets of addresses, rules of a family), or one `nft -f`, of the very
same text, that of looking one save of both families, or one `nft -j list ruleset`. "As a module" is a process that
does the work, with its start and end; all else counts from where that process has the section at hand to where the
work is done. What the rules cost packets is for bench_new_flows.py.
"""

from __future__ import annotations

import functools
import pathlib
import shlex
import subprocess
import sys
import tempfile

import harness

harness.development_tree()

from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core import nftables, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import packet_filter as driver

#: Guests of this host, the security groups that these are in, and the rules of each group.
INSTANCES, GROUPS, RULES = 500, 20, 20


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


def guests_plan(remote: int = 0) -> dict:
    """Guests in security groups; so many further members of the first group are on other hosts."""
    members: dict[int, list[str]] = {number: [] for number in range(GROUPS)}
    for number in range(INSTANCES):
        members[number % GROUPS].append(addresses(number + 2)[1])
    members[0] += [addresses(INSTANCES + 2 + number)[1] for number in range(remote)]
    return {
        **plan(0),
        "instances": [
            {
                "address": address,
                "cidr": "10.0.0.0/16",
                "dhcp_server": "10.0.0.1",
                "security_groups": [f"acme/{number}"],
            }
            for number, of_it in members.items()
            for address in of_it[: INSTANCES // GROUPS]
        ],
        "security_groups": [
            {"name": f"acme/{number}", "members": of_it, "rules": rules(number)} for number, of_it in members.items()
        ],
    }


def rules(number: int) -> list[dict]:
    """Of one group: whoever is in it, pings, and single ports for some ranges."""
    nothing = {"direction": "ingress", "protocol": None, "ports": None, "icmp_type": None, "icmp_code": None}
    nothing |= {"cidr": None, "group": None}
    return [
        {**nothing, "group": f"acme/{number}"},
        {**nothing, "protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "cidr": "0.0.0.0/0"},
        *(
            {**nothing, "protocol": ("tcp", "udp")[port % 2], "ports": str(8000 + port), "cidr": f"198.18.{port}.0/24"}
            for port in range(RULES - 2)
        ),
    ]


def apply(section: dict, backend: str) -> None:
    if not driver.apply(section, backend=backend)["changed"]:
        raise AssertionError("there was nothing to do")


def look_again(section: dict, backend: str) -> None:
    if driver.apply(section, backend=backend)["changed"]:
        raise AssertionError("the second run has something to do")


def transaction(folder: str, name: str, before: dict, after: dict) -> list[str]:
    """One transaction of nft that leads from one plan to another."""
    changes = []
    for family in ("ipv4", "ipv6"):
        old, new = (nftables.render(packet_filter.intent(packet_filter.parse(one)), family) for one in (before, after))
        held = nftables.HeldTable(
            {name: nftables.HeldSet((), made.word, dict(made.elements)) for name, made in old.sets.items()},
            {name: nftables.HeldChain(()) for name in old.chains},
        )
        reference = nftables.HeldTable(
            {name: nftables.HeldSet((), made.word) for name, made in new.sets.items()},
            {name: nftables.HeldChain(()) for name in new.chains},
        )
        changes.append(nftables.compare(family, held if old else None, reference, new))
    path = pathlib.Path(folder, f"nft {name}")
    path.write_text(nftables.compose([change for change in changes if change]))
    return ["nft", "-f", str(path)]


def commands(folder: str, name: str, before: dict, after: dict) -> list[str]:
    """A restore of each kind that leads from one plan to another."""
    old, new = (packet_filter.intent(packet_filter.parse(one)) for one in (before, after))
    have = {family: held(core.render(old, family)) for family in core.FAMILIES}
    sets = {**core.member_sets(old.security, 4), **core.member_sets(old.security_v6, 6)}
    changes, members = core.compare_all(new, have, sets)
    parts = {
        "ipset restore -file": members.before_rules(),
        "iptables-restore --noflush": core.compose(changes["ipv4"]),
        "ip6tables-restore --noflush": core.compose(changes["ipv6"]),
    }
    lines = []
    for number, (command, text) in enumerate(parts.items()):
        if text:
            path = pathlib.Path(folder, f"{number} {name}")
            path.write_text(text)
            lines.append([*command.split(), str(path)])
    return lines[0] if len(lines) == 1 else ["sh", "-ec", "\n".join(map(shlex.join, lines))]


def held(tables: dict[str, core.Wanted]) -> dict[str, core.Table]:
    """As they are read once they are there."""
    found = {name: core.Table(dict(wanted.chains)) for name, wanted in tables.items()}
    for name, wanted in tables.items():
        for hook, chains in wanted.hooks.items():
            found[name].chains[hook] = [f"-j {chain}" for chain in chains]
            found[name].builtin.add(hook)
    return found


def process(call: str, section: str, backend: str, counted: str = "contextlib.nullcontext") -> list[str]:
    here = str(pathlib.Path(__file__).resolve().parent)
    lines = (
        f"import contextlib, sys; sys.path.insert(0, {here!r}); import bench_packet_filter as b",
        f"b.driver.LOCK_FILE = {driver.LOCK_FILE!r}; section = b.{section}",
        f"with {counted}(): b.{call}(section, {backend!r})",
    )
    return [sys.executable, "-c", "\n".join(lines)]


def beyond_imports(call: str, section: str, backend: str) -> list[str]:
    """The same, counted from where the section is at hand."""
    return process(call, section, backend, "b.harness.counted")


def save() -> None:
    for program in ("iptables-save", "ip6tables-save"):
        subprocess.run([program], stdout=subprocess.DEVNULL, check=True)


def listing() -> None:
    subprocess.run(["nft", "-j", "list", "ruleset"], stdout=subprocess.DEVNULL, check=True)


FLOORS = {"iptables": (commands, save), "nftables": (transaction, listing)}


def writing(folder: str, backend: str) -> list[harness.Case]:
    """A plan is put there, looked at again, and what is one larger is put there over it."""
    floating = [
        case
        for count, runs in ((100, 5), (1000, 5), (10_000, 5))
        for case in cases(
            folder,
            backend,
            (f"{count} floating IPs", f"plan({count})", plan(count)),
            ("floating IP", f"plan({count + 1})", plan(count + 1)),
            runs,
            (1.5, 3) if count == 10_000 else (None, None),
        )
    ]
    what = f"{INSTANCES} instances, {RULES} rules each"
    grouped = (what, "guests_plan()", guests_plan())
    before, after = routed_guests(0), routed_guests(1)
    # Several tables, which iptables takes in several steps: its floor is a commit of each.
    one_more = harness.Case(
        f"10000 floating IPs and {INSTANCES} instances, {backend}, both one more",
        FLOORS[backend][0](folder, "both", before, after),
        [harness.Ours("", beyond_imports("apply", "routed_guests(1)", backend))],
        functools.partial(driver.apply, before, backend=backend),
        3,
    )
    return [
        *floating,
        *cases(folder, backend, grouped, ("member of a group", "guests_plan(1)", guests_plan(1)), 3),
        one_more,
    ]


def routed_guests(more: int) -> dict:
    """Guests in security groups, of which so many come with a floating IP to the many that are there."""
    section = {**guests_plan(), "floating_ips": plan(10_000 + more)["floating_ips"]}
    (guest, *_others) = section["instances"]
    new = ({**guest, "address": addresses(20_000 + number)[1]} for number in range(more))
    return {**section, "instances": [*section["instances"], *new]}


def cases(
    folder: str,
    backend: str,
    whole: tuple[str, str, dict],
    more: tuple[str, str, dict],
    runs: int,
    aims: tuple[float | None, float | None] = (None, None),
) -> list[harness.Case]:
    """`whole`: what it is, the call that makes it, and the plan; `more`: what is added, both for the larger plan."""
    write, look = FLOORS[backend]
    what, call, section = whole
    one, larger_call, larger = more
    none, before = (functools.partial(driver.apply, each, backend=backend) for each in (plan(0), section))
    return [
        harness.Case(
            f"{what}, {backend}",
            write(folder, f"{what}", plan(0), section),
            [
                harness.Ours("beyond imports", beyond_imports("apply", call, backend), aims[0]),
                harness.Ours("as a module", process("apply", call, backend)),
            ],
            none,
            runs,
        ),
        harness.Case(
            f"{what}, {backend}, a {one} more",
            write(folder, f"{what} and a {one}", section, larger),
            [harness.Ours("", beyond_imports("apply", larger_call, backend), aims[1])],
            before,
            runs,
        ),
        harness.Case(
            f"{what}, {backend}, again",
            look,
            [
                harness.Ours("beyond imports", beyond_imports("look_again", call, backend)),
                harness.Ours("as a module", process("look_again", call, backend)),
            ],
            before,
            7,
            shared=True,
        ),
    ]


def main() -> None:
    # In memory, as what a host keeps of its rules until it boots.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        driver.LOCK_FILE = str(pathlib.Path(folder, "lock"))
        harness.run(case for backend in FLOORS for case in writing(folder, backend))


if __name__ == "__main__":
    main()
