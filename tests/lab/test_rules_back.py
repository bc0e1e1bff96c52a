# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that somebody takes away come back by themselves: those of the last run, be it recorded, at work or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import typing as t

import pytest
from lab.cgroup import root as cgroup_root
from lab.guest import Guest
from lab.host import Host
from lab.topology import parse
from nova_site import Site, assert_a_run_does_nothing, wait_for

SOCKET, SERVICE = "tenantnet-rules.socket", "tenantnet-rules.service"
NOTE, PLAN = "/run/tenantnet/applied.json", "/var/lib/tenantnet/plan.json"
FLOATING, SECOND, THIRD = "203.0.113.77", "203.0.113.78", "203.0.113.79"
RULES = "iptables-save | grep nova- | sed 's/\\[[0-9:]*\\]//'; nft -s list table bridge nova-network"
#: Seconds for what happens by itself.
SOON = 30

FLUSH = "nft flush ruleset"
#: More than the socket holds, and what is ours at its end.
FLOOD = "\n".join(
    ["add table ip other", "add chain ip other busy", *["add rule ip other busy counter drop"] * 3000]
    + ["delete table bridge nova-network", "delete table ip other"]
)


class Served(t.NamedTuple):
    site: Site
    host: Host
    guests: dict[str, Guest]

    def rules(self) -> str:
        return shell(self.host, RULES)

    def lacks(self) -> list[str]:
        """What does not hold of a guest with a floating IP and a security group."""
        web1 = self.guests["web1"]
        wants = {
            "lease": bool(web1.dhcp(tries=2)),
            "internet": web1.ping("198.51.100.1"),
            "floating IP": self.answer(FLOATING, 8081) == "web1",
            "closed port": self.answer(FLOATING, 8082) == "",
            "port filter": "nova-network" in shell(self.host, "nft list tables bridge"),
        }
        return [want for want, given in wants.items() if not given]

    def answer(self, address: str, port: int) -> str:
        client = ["socat", "-T2", "-", f"TCP:{address}:{port},connect-timeout=2"]
        return self.site.lab.host("internet").run(client, check=False).stdout.strip()

    def give(self, *addresses: str) -> None:
        """Declare that web1, and then its siblings, have these floating IPs."""
        names = [f"web{number}" for number in range(1, len(addresses) + 1)]
        rows = [
            {"name": name, "project": "acme", "host": "node1", "floating_ip": address}
            for name, address in zip(names, addresses)
        ]
        self.site.change(nova_instances=rows)

    def invocation(self) -> str:
        """Of the service, once it has come to rest."""
        assert wait_for(lambda: shell(self.host, f"systemctl is-active {SERVICE}") == "inactive\n", SOON)
        return shell(self.host, f"systemctl show --property=InvocationID {SERVICE}")

    def told(self) -> list[str]:
        """What the service has said since it was asked the last time."""
        said = shell(self.host, f"journalctl --unit={SERVICE} --output=cat --no-pager --cursor-file=/run/cursor")
        return [line for line in said.splitlines() if line.startswith("Rules of the guests")]


def shell(host: Host, command: str, check: bool = False) -> str:
    return host.run(["sh", "-c", command], check=check).stdout


@pytest.fixture(scope="module")
def served(lab_factory, tmp_path_factory) -> Served:
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    site = Site(lab_factory(parse({"hosts": {"node1": "systemd"}})), "all_in_one", tmp_path_factory.mktemp("back"))
    made = Served(site, site.lab.host("node1"), {})
    site.change(
        nova_floating_ranges=["203.0.113.64/27"],
        nova_security_groups=[
            {"project": "acme", "name": "default", "rules": [{"protocol": "icmp"}, {"protocol": "tcp", "ports": 8081}]}
        ],
        nova_manage_packages=False,
    )
    made.give(FLOATING)
    site.run()
    made.guests.update(site.boot_guests(site.plans()))
    for port in (8081, 8082):
        server = f"socat TCP-LISTEN:{port},fork,reuseaddr SYSTEM:'echo web1' >/dev/null 2>&1 &"
        made.guests["web1"].run(["sh", "-c", server])
    assert made.lacks() == []
    return made


def test_a_run_that_changes_nothing_wakes_nobody(served: Served) -> None:
    before = served.invocation()
    assert_a_run_does_nothing(served.site, ["node1"])
    assert served.invocation() == before


@pytest.mark.parametrize(
    "command",
    [
        FLUSH,
        "iptables -D FORWARD -j nova-network-FORWARD",
        "nft delete table bridge nova-network",
        "iptables -t nat -F nova-network-float-snat",
    ],
)
def test_what_is_taken_away_comes_back_by_itself(served: Served, command: str) -> None:
    served.told()
    before = served.rules()
    shell(served.host, command, check=True)
    assert wait_for(lambda: served.rules() == before, SOON)
    assert served.lacks() == []
    last = served.invocation()
    [said] = served.told()
    assert "are back" in said and "changed by" in said
    # It has seen its own work, and rests.
    time.sleep(1)
    assert served.invocation() == last
    assert served.told() == []


@pytest.mark.parametrize("fresh", [True, False], ids=["socket anew", "socket in use"])
def test_what_is_told_too_fast_to_be_read_is_not_missed(served: Served, fresh: bool) -> None:
    """Of a socket that the service never had the kernel's error reaches systemd itself."""
    served.invocation()
    if fresh:
        shell(served.host, f"systemctl restart {SOCKET}")
    served.told()
    before = served.rules()
    served.host.write("/run/flood", FLOOD)
    shell(served.host, "nft -f /run/flood", check=True)
    assert wait_for(lambda: served.rules() == before, SOON)
    served.invocation()
    assert len(served.told()) == 1
    assert shell(served.host, f"systemctl is-active {SOCKET}") == "active\n"


def test_what_concerns_others_alone_is_not_looked_into(served: Served) -> None:
    before = served.invocation()
    served.told()
    shell(
        served.host, "nft add table inet other && nft 'add chain inet other busy; delete table inet other'", check=True
    )
    assert wait_for(lambda: served.invocation() != before, SOON)
    assert served.told() == []


def test_who_takes_them_away_again_and_again_does_not_keep_the_host_busy(served: Served) -> None:
    before = served.rules()
    served.invocation()
    served.told()
    begun = time.monotonic()
    for _time in range(60):
        shell(served.host, FLUSH)
        time.sleep(0.1)
    assert wait_for(lambda: served.rules() == before, SOON)
    served.invocation()
    # At most one each five seconds.
    assert 1 <= len(served.told()) <= (time.monotonic() - begun) // 5 + 1
    assert shell(served.host, f"systemctl is-active {SOCKET}") == "active\n"


def when_applied(served: Served, address: str, then: t.Callable[[], None]) -> threading.Thread:
    """Do that as soon as a run has applied the rules of this address, before it records its plan."""

    def watch() -> None:
        assert wait_for(lambda: address in shell(served.host, f"cat {NOTE}"), 120)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_rules_of_a_run_at_work_come_back_as_that_run_has_them(served: Served) -> None:
    served.give(FLOATING, SECOND)
    thread = when_applied(served, SECOND, lambda: shell(served.host, FLUSH))
    served.site.run()
    thread.join()
    assert wait_for(lambda: f"-d {SECOND}/32" in served.rules(), SOON)
    served.invocation()
    assert f"-d {SECOND}/32" in served.rules()
    assert SECOND in shell(served.host, f"cat {PLAN}") and shell(served.host, f"cat {NOTE}") == ""
    assert served.lacks() == []


def test_rules_of_a_run_that_was_killed_come_back_as_that_run_has_them(served: Served) -> None:
    served.give(FLOATING, SECOND, THIRD)
    run = served.site.start()

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)

    when_applied(served, THIRD, kill).join()
    run.wait()
    assert THIRD not in shell(served.host, f"cat {PLAN}")
    shell(served.host, FLUSH)
    assert wait_for(lambda: f"-d {THIRD}/32" in served.rules(), SOON)
    assert served.lacks() == []
    served.site.run()
    served.invocation()
    assert f"-d {THIRD}/32" in served.rules()
    assert served.site.run().changed == 0


def test_rules_of_the_other_back_end_come_back_as_well(served: Served) -> None:
    """And none of the one that had them before."""
    served.site.change(nova_packet_filter="nftables")
    served.site.run()
    served.invocation()
    tables = "nft -s list table ip nova-network; nft -s list table bridge nova-network"
    before = shell(served.host, tables, check=True)
    shell(served.host, FLUSH, check=True)
    assert wait_for(lambda: shell(served.host, tables) == before, SOON)
    served.invocation()
    assert shell(served.host, tables) == before
    assert "nova-" not in shell(served.host, "iptables-save")
    assert served.lacks() == []
