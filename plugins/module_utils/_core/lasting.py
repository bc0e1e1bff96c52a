# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings a host's networks back at boot: the unit, and what of a plan can be had where something is missing.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import naming
from .links import sysctl

#: The code that applies the plan, as a program.
PROGRAM = f"{naming.STATE_DIR}/tenantnet.pyz"

#: What may empty the packet filter when it starts, and so has to have done it before.
_FIREWALLS = ("firewalld", "ufw", "nftables", "iptables", "ip6tables", "netfilter-persistent", "ipset", "shorewall")
#: What starts guests, and so has to find their networks.
_GUESTS = (
    "libvirtd",
    "virtqemud",
    "virtlxcd",
    "libvirt-guests",
    "lxc",
    "lxc-net",
    "lxd",
    "incus",
    "docker",
    "pve-guests",
)

WANTED_BY = "multi-user.target"

Section = dict[str, t.Any]


def render_unit(python: str) -> str:
    """The unit that runs PROGRAM once at boot, and again when what empties the packet filter has done so."""
    lines = (
        "# Written by tenantnet.nova; changes by hand do not last.",
        "[Unit]",
        "Description=Networks of the guests, as last applied",
        # After the host's own network, from which rules take the host's address, and not after its being online: for
        # that a host with a card that nobody plugged in waits minutes.
        f"After=local-fs.target systemd-sysctl.service network.target {_services(_FIREWALLS)}",
        f"Before=network-online.target {_services(_GUESTS)}",
        f"PartOf={_services(_FIREWALLS)}",
        f"ReloadPropagatedFrom={_services(_FIREWALLS)}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={python} -I {PROGRAM}",
        f"ExecReload={python} -I {PROGRAM}",
        "TimeoutStartSec=300",
        "",
        "[Install]",
        f"WantedBy={WANTED_BY}",
    )
    return "".join(f"{line}\n" for line in lines)


def _services(names: t.Iterable[str]) -> str:
    return " ".join(f"{name}.service" for name in names)


def without(plan: t.Mapping[str, t.Any], missing: t.Collection[str]) -> dict[str, t.Any]:
    """The plan without what needs these interfaces: a bridge stays without its uplink, for guests of this host."""
    left = dict(plan)
    gone = set(missing)
    if "links" in plan:
        links = dict(plan["links"])
        # What stands on something that falls may be listed before it; so this goes on until nothing more falls.
        vlans = list(plan["links"].get("vlans", ()))
        while falling := {vlan["name"] for vlan in vlans if vlan["link"] in gone}:
            gone |= falling
            vlans = [vlan for vlan in vlans if vlan["name"] not in falling]
        links["vlans"] = vlans
        links["bridges"] = [
            {**bridge, "interfaces": [name for name in bridge.get("interfaces", ()) if name not in gone]}
            for bridge in links.get("bridges", ())
        ]
        settings = links.get("sysctl", {})
        links["sysctl"] = {key: value for key, value in settings.items() if sysctl.interface_of(key) not in gone}
        left["links"] = links
    if "floating_addresses" in plan:
        floating = dict(plan["floating_addresses"])
        floating["addresses"] = [row for row in floating.get("addresses", ()) if row["interface"] not in gone]
        left["floating_addresses"] = floating
    return left


def parts(links: Section) -> list[Section]:
    """The section in pieces that do not need each other: a setting, or a bridge with what is below and on it."""
    by_name = {vlan["name"]: vlan for vlan in links.get("vlans", ())}
    pieces: list[Section] = []
    for bridge in links.get("bridges", ()):
        below: list[t.Any] = []
        waiting = list(bridge.get("interfaces", ()))
        while waiting:
            vlan = by_name.get(waiting.pop())
            if vlan is not None and vlan not in below:
                below.append(vlan)
                waiting.append(vlan["link"])
        ports = [port for port in links.get("ports", ()) if port["bridge"] == bridge["name"]]
        pieces.append({"bridges": [bridge], "vlans": below, "ports": ports})
    taken = {vlan["name"] for piece in pieces for vlan in piece["vlans"]}
    pieces += [{"vlans": [vlan]} for vlan in by_name.values() if vlan["name"] not in taken]
    bridges = {bridge["name"] for bridge in links.get("bridges", ())}
    foreign = [port for port in links.get("ports", ()) if port["bridge"] not in bridges]
    pieces += [{"ports": foreign}] if foreign else []
    return [{"sysctl": {key: value}} for key, value in links.get("sysctl", {}).items()] + pieces


def assemble(links: Section, pieces: t.Iterable[Section]) -> Section:
    """The section that these pieces of it make."""
    bridges: list[t.Any] = []
    vlans: dict[str, t.Any] = {}
    ports: list[t.Any] = []
    settings: dict[str, str] = {}
    for piece in pieces:
        bridges += piece.get("bridges", ())
        vlans.update({vlan["name"]: vlan for vlan in piece.get("vlans", ())})
        ports += piece.get("ports", ())
        settings.update(piece.get("sysctl", {}))
    whole = {**links, "bridges": bridges, "vlans": list(vlans.values()), "ports": ports, "sysctl": settings}
    return {key: value for key, value in whole.items() if key in links or value}


def named(piece: Section) -> str:
    """The piece in words."""
    for kind, word in (("bridges", "bridge"), ("vlans", "VLAN interface"), ("ports", "port")):
        for link in piece.get(kind, ()):
            return f"{word} {link['name']}"
    return f"sysctl {', '.join(piece.get('sysctl', {}))}"
