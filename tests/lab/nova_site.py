# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site under test: an example inventory on a lab, with the store, the plans and the guests that belong to it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import yaml
from lab import Lab
from lab.guest import Guest
from lab.playbook import CHECKOUT, Result, environment

SITE = CHECKOUT / "playbooks" / "site.yml"
PLAN = CHECKOUT / "playbooks" / "plan.yml"
#: The hosts of the inventories in which networks have one host each, and every one.
NODES = {"single_network_host": ("net1", "compute1", "compute2"), "multi_host": ("compute1", "compute2", "compute3")}


class Site:
    """The inventory of that name under inventories/, run on the lab; `change` overrides its variables.

    `groups` are further groups of hosts, by name.
    """

    def __init__(self, lab: Lab, inventory: str, folder: pathlib.Path, groups: dict[str, list[str]] | None = None):
        self.lab = lab
        self.folder = folder
        self.inventory = CHECKOUT / "inventories" / inventory
        self.store = folder / "store" / "nova.sqlite"
        self.variables: dict[str, t.Any] = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text())
        self._groups = {name: {"hosts": {host: {} for host in hosts}} for name, hosts in (groups or {}).items()}
        self._overrides: dict[str, t.Any] = {"nova_state_url": f"sqlite:///{self.store}"}

    def change(self, **variables: t.Any) -> None:
        """Declare otherwise from now on."""
        self.variables.update(variables)
        self._overrides.update(variables)

    def add_ipv6(self, cidr: str) -> None:
        """Give the networks that are declared, or the one that is by site-wide settings, a range of IPv6 beside."""
        if "nova_networks" in self.variables:
            self.change(nova_networks=[{**row, "fixed_range_v6": cidr} for row in self.variables["nova_networks"]])
        else:
            self.change(nova_fixed_range_v6=cidr)

    def arguments(self) -> list[str]:
        extra = self.folder / "extra.json"
        extra.write_text(json.dumps(self._overrides))
        further = self.folder / "groups.json"
        further.write_text(json.dumps({"all": {"children": self._groups}}))
        return ["-i", str(self.inventory), "-i", str(further), "-e", f"@{extra}"]

    def run(self, *arguments: str, check: bool = True, **options: t.Any) -> Result:
        """Run the site playbook."""
        return self.lab.playbook(SITE, *self.arguments(), *arguments, check=check, **options)

    def command(self) -> list[str]:
        """The site playbook as a user would run it, in surroundings()."""
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        return [str(program), "-i", str(self.lab.inventory_file), str(SITE), *self.arguments()]

    def surroundings(self) -> dict[str, t.Any]:
        return {"cwd": CHECKOUT, "env": os.environ | environment()}

    def start(self) -> subprocess.Popen[bytes]:
        """Start the site playbook in a process group of its own, to be killed as one."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command(), **quiet, **self.surroundings(), start_new_session=True)

    def plans(self) -> dict[str, t.Any]:
        """What plan.yml writes for a reviewer."""
        self.lab.playbook(PLAN, *self.arguments(), "-e", f"plan_dir={self.folder}/plans")
        return json.loads((self.folder / "plans" / "plans.json").read_text())

    def boot_guests(self, plans: dict[str, t.Any]) -> dict[str, Guest]:
        """Plug each planned instance into its host, as whoever provisions guests would, and let it ask for a lease."""
        guests = {}
        for host, plan in plans.items():
            self.lab.host(host).start_udev()
            for instance in plan["instances"]:
                port = instance["ports"][0]
                guests[instance["name"]] = self.lab.host(host).guest_add(
                    instance["name"], port["bridge"], port["mac"], device=port["device"]
                )
        return guests


class Watch:
    """What happens in a host while the block runs: netlink events, nftables events, and who is alive since when."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.host = lab.host(host)
        self._log = f"/run/watch-{time.monotonic_ns()}"

    def __enter__(self) -> Watch:
        # A guest's port gets its IPv6 address a second or two after it was plugged in, and not by a run.
        wait_for(lambda: not self.host.run(["ip", "-6", "addr", "show", "tentative"]).stdout)
        self.before = self._look()
        self.host.run(
            [
                "sh",
                "-c",
                f"ip monitor link address route >{self._log}.ip 2>&1 & echo $! >{self._log}.pids;"
                f"tc monitor >{self._log}.tc 2>&1 & echo $! >>{self._log}.pids;"
                f"nft monitor >{self._log}.nft 2>&1 & echo $! >>{self._log}.pids; sleep 0.3",
            ]
        )
        return self

    def __exit__(self, *_exception: object) -> None:
        self.host.run(["sh", "-c", f"sleep 0.3; kill $(cat {self._log}.pids)"])
        self.after = self._look()
        # An established lease or neighbour is the guests' doing, and none of these groups shows it.
        self.events = self.host.run(["sh", "-c", f"cat {self._log}.ip {self._log}.tc {self._log}.nft"]).stdout

    def _look(self) -> dict[str, str]:
        """Files with their times and contents, processes with their start, rules with their counters' owners."""
        commands = {
            "files": "find /etc/tenantnet /var/lib/tenantnet /run/tenantnet -type f ! -name '*.leases' ! -name '*.lock'"
            " -printf '%p %i %T@ %C@\\n' | sort",
            "processes": "for p in $(pgrep dnsmasq); do echo $p $(cut -d' ' -f22 /proc/$p/stat); done",
            "rules": "iptables-save | grep -v '^#' | sed 's/\\[.*//'",
            "links": "ip -j link; ip -j addr show | tr -d ' '",
        }
        return {name: self.host.run(["sh", "-c", command], check=False).stdout for name, command in commands.items()}


def assert_a_run_does_nothing(site: Site, hosts: t.Iterable[str]) -> list[Watch]:
    """Not in the eyes of Ansible, nor in those of the hosts' kernels."""
    watches = [Watch(site.lab, host) for host in hosts]
    with contextlib.ExitStack() as stack:
        for watch in watches:
            stack.enter_context(watch)
        result = site.run()
    assert result.changed == 0
    for watch in watches:
        assert watch.events == "", watch.events
        assert watch.before == watch.after
    return watches


def snapshot(lab: Lab, host: str) -> dict[str, t.Any]:
    """What a host has of the collection's making, without what legitimately differs between two equal hosts."""
    at = lab.host(host)

    def shell(command: str) -> str:
        return at.run(["sh", "-c", command], check=False).stdout

    links = json.loads(shell("ip -details -json addr show") or "[]")
    return {
        "links": sorted(
            (
                link["ifname"],
                link.get("ifalias"),
                link.get("master"),
                link["mtu"],
                link["address"],
                sorted(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"),
                link.get("linkinfo", {}).get("info_kind"),
                "UP" in link["flags"],
            )
            for link in links
        ),
        "rules": [
            line.split(" [")[0] for line in shell("iptables-save; ip6tables-save").splitlines() if line[0] != "#"
        ],
        "files": shell("cd / && find etc/tenantnet -type f | sort | xargs -r grep -H ''"),
        "filters": shell(
            "tc qdisc show | sed -nE 's/^qdisc (clsact|ingress) .* dev ([^ ]+) .*/\\2/p'"
            " | while read dev; do echo $dev; tc filter show dev $dev ingress; done"
        ),
        "leftovers": shell("find /etc/tenantnet /run/tenantnet /var/lib/tenantnet -name '.new-*'"),
        "dnsmasq": sorted(shell("pgrep -a dnsmasq | cut -d' ' -f2-").splitlines()),
        "forward": shell("cat /proc/sys/net/ipv4/ip_forward"),
    }


def wait_for(condition: t.Callable[[], bool], seconds: float = 5) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


#: Says which host it is on, and who asks.
_METADATA = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{sys.argv[1]} {self.client_address[0]}".encode())
http.server.ThreadingHTTPServer(("", 8775), Handler).serve_forever()
"""


def serve_metadata(lab: Lab, host: str) -> None:
    """A metadata service at port 8775 of all addresses of the host."""
    at = lab.host(host)
    at.run(["sh", "-c", 'python3 -c "$0" "$1" >/dev/null 2>&1 &', _METADATA, host])
    assert wait_for(lambda: "8775" in at.run(["ss", "-Hltn", "sport = :8775"]).stdout)


def asked_metadata(guest: Guest) -> tuple[str, ...]:
    """The host whose service answers the guest, and the address that it was asked by."""
    said = guest.run(["wget", "-qO-", "-T5", "http://169.254.169.254/latest/meta-data/local-ipv4"]).stdout
    return tuple(said.split())


@contextlib.contextmanager
def seen_sources(lab: Lab, port: int = 8080) -> t.Iterator[t.Callable[[], list[str]]]:
    """A TCP server in the internet that notes where its clients come from."""
    internet = lab.host("internet")
    log = f"/run/clients-{time.monotonic_ns()}"
    internet.run(
        [
            "sh",
            "-c",
            f"touch {log}; socat TCP-LISTEN:{port},fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR >>{log}'"
            f" >/dev/null 2>&1 & echo $! >{log}.pid",
        ]
    )
    yield lambda: internet.run(["cat", log]).stdout.split()
    internet.run(["sh", "-c", f"kill $(cat {log}.pid)"])
