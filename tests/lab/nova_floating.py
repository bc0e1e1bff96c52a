# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site with one floating IP: to whom it leads, and what its hosts and the internet know of it."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from lab.guest import Guest
from nova_site import NODES, Site, wait_for

OPEN = [
    {"project": project, "name": "default", "rules": [{"protocol": "icmp"}, {"protocol": "tcp"}]}
    for project in ("acme", "umbrella")
]
#: Where guests say their names.
PORT = 8081


@dataclasses.dataclass
class FloatingSite:
    """The example inventory, its guests booted; nobody has the floating IP of the pool yet.

    `router` is the host that has the floating IP of an instance; `bare` is for what the hosts had before there was one.
    """

    site: Site
    inventory: str
    address: str
    pool: str
    #: By which address of its own the internet asks for it; the one that the kernel chooses where this is empty.
    asked_from: str = ""
    guests: dict[str, Guest] = dataclasses.field(default_factory=dict)
    router: dict[str, str] = dataclasses.field(default_factory=dict)
    bare: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.version = 6 if ":" in self.address else 4
        self.hosts = NODES[self.inventory]
        self.internet = self.site.lab.host("internet")
        self.site.change(nova_security_groups=OPEN)
        self.site.run()
        plans = self.site.plans()
        self.guests = self.site.boot_guests(plans)
        for host, plan in plans.items():
            for row in plan["instances"]:
                self.router[row["name"]] = "net1" if self.inventory == "single_network_host" else host
                self._serve(row["name"], row["ports"][0])

    def _serve(self, name: str, port: dict[str, t.Any]) -> None:
        guest = self.guests[name]
        assert guest.dhcp()
        say = f"socat TCP{self.version}-LISTEN:{PORT},fork,reuseaddr SYSTEM:'echo {name}' >/dev/null 2>&1 &"
        guest.run(["sh", "-c", say])
        if self.version == 6:
            shown = ["ip", "-6", "addr", "show", "-tentative"]
            assert wait_for(lambda: port["address_v6"] in guest.run(shown).stdout, 60)

    def associate(self, instance: str | None) -> None:
        """Let the floating IP lead to that instance alone by the next run."""
        rows = [
            {key: value for key, value in row.items() if key != "floating_ip"}
            for row in self.site.variables["nova_instances"]
        ]
        for row in rows:
            if row["name"] == instance:
                row["floating_ip"] = self.address
        self.site.change(nova_instances=rows, nova_floating_ranges=[self.pool], nova_send_arp_for_ha=True)
        self.site.run()

    def bound_on(self) -> list[str]:
        return self._found_on("ip addr show dev eth2")

    def translated_on(self) -> list[str]:
        return self._found_on("iptables-save; ip6tables-save; nft list ruleset || true")

    def _found_on(self, command: str) -> list[str]:
        """The hosts that name the floating IP in what the command says."""
        said = {host: self.site.lab.host(host).run(["sh", "-c", command]).stdout for host in self.hosts}
        return [host for host, text in said.items() if self.address in text]

    def leads_to(self, instance: str) -> bool:
        """Whether the host that it is behind has the floating IP, and no other."""
        return self.bound_on() == self.translated_on() == [self.router[instance]]

    def answer(self) -> str:
        """The name of the guest that the internet gets to hear at the floating IP; empty where nobody answers."""
        bracketed = f"[{self.address}]" if self.version == 6 else self.address
        client = f"TCP{self.version}:{bracketed}:{PORT},connect-timeout=3"
        if self.asked_from:
            client += f",bind=[{self.asked_from}]"
        return self.internet.run(["socat", "-T3", "-", client], check=False).stdout.strip()

    def neighbour(self) -> str:
        """The MAC address that the internet holds for the floating IP."""
        shown = self.internet.run(["ip", "-json", f"-{self.version}", "neigh", "show", self.address]).stdout
        (entry,) = json.loads(shown)
        return entry["lladdr"]

    def public_mac(self, instance: str) -> str:
        """That of the interface outwards of the host that serves the instance."""
        host = self.site.lab.host(self.router[instance])
        return json.loads(host.run(["ip", "-json", "link", "show", "eth2"]).stdout)[0]["address"]
