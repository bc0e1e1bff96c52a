# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings a host's networks back at boot: the program, and what of a plan can be had where something is missing.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import naming
from .links import sysctl

#: The code that applies the plan, as a program.
PROGRAM = f"{naming.STATE_DIR}/tenantnet.pyz"

Section = dict[str, t.Any]


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
    if "packet_filter" in plan:
        networks = plan["packet_filter"].get("networks", ())
        left["packet_filter"] = {
            **plan["packet_filter"],
            "networks": [
                {**row, "uplinks": [name for name in row["uplinks"] if name not in gone]} if "uplinks" in row else row
                for row in networks
            ],
        }
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
