# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces that the kernel calls otherwise than the plan: found again, and the plan in the kernel's present words.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .errors import HostError
from .links import sysctl
from .links.kernel import Link

#: Kinds of links that come and go with somebody's settings; a card has none, and the lab's stand-in for one is veth.
_MADE = ("bridge", "vlan", "macvlan", "macvtap", "ipvlan", "dummy", "tun", "bond", "team", "vrf", "vxlan")

_Links = t.Mapping[str, Link]


def named(part: t.Any) -> list[str]:
    """The interfaces that a plan or a section of it names and does not make, in its order."""
    found: list[str] = []
    made: set[str] = set()
    _visit(part, found, made)
    return [name for name in dict.fromkeys(found) if name not in made]


def _visit(part: t.Any, found: list[str], made: set[str]) -> None:
    """Sections are known by their keys, so that a whole plan and a section alone are read alike."""
    if not isinstance(part, dict):
        return
    for key in ("links", "packet_filter", "floating_addresses", "port_filter"):
        _visit(part.get(key), found, made)
    for kind in ("bridges", "vlans"):
        for link in _mappings(part, kind):
            made.add(str(link.get("name")))
            found += [name for name in link.get("interfaces") or () if isinstance(name, str)]
            found += _text(link, "link")
    found += _text(part, "public_interface")
    for place in (*_mappings(part, "addresses"), *_mappings(part, "floating_ips")):
        found += _text(place, "interface")
    for place in (part, *_mappings(part, "networks")):
        found += [name for name in place.get("uplinks") or () if isinstance(name, str)]


def _mappings(part: dict[str, t.Any], key: str) -> list[dict[str, t.Any]]:
    rows = part.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, (list, tuple)) else []


def _text(row: dict[str, t.Any], key: str) -> list[str]:
    value = row.get(key)
    return [value] if isinstance(value, str) else []


def mac(link: Link) -> str:
    """The MAC address that a card keeps, whatever it stands in; empty where there is none that tells it from others."""
    if link.loopback or link.kind in _MADE:
        return ""
    return link.permanent_mac or link.mac


def find(names: t.Iterable[str], links: _Links, known: t.Mapping[str, str]) -> dict[str, str]:
    """Present name by planned name, for those of the names that are another interface's now, or nobody's.

    `known` is the MAC address that each one had. HostError where two interfaces could be the one that was meant.
    """
    found = {}
    for name in names:
        present = _present(name, links, known.get(name, ""))
        if present is not None and present != name:
            found[name] = present
    return found


def _present(name: str, links: _Links, was: str) -> str | None:
    link = links.get(name)
    if link is not None and (not was or mac(link) in ("", was)):
        return name
    if link is None:
        for other in links.values():
            if name in other.alternatives:  # the kernel lets no two have it
                return other.name
    same = sorted(other.name for other in links.values() if was and mac(other) == was)
    if len(same) > 1:
        raise HostError(
            f"interface {name} is not there any more, and its MAC address {was} is that of {' and of '.join(same)}; "
            f"name the right one in the plan, or give it the name: ip link property add dev {same[0]} altname {name}"
        )
    # A card that was replaced has another address under the old name.
    return same[0] if same else None


def told(name: str, present: str) -> str:
    """What the operator is told."""
    return f"interface {name} is now called {present}, and was found again; name it so in the inventory"


def replace(part: t.Any, names: t.Mapping[str, str]) -> t.Any:
    """The plan or the section with the present names."""
    if not names or not isinstance(part, dict):
        return part

    def now(value: t.Any) -> t.Any:
        return names.get(value, value) if isinstance(value, str) else value

    def rows(key: str, change: t.Callable[[dict[str, t.Any]], dict[str, t.Any]]) -> None:
        if isinstance(part.get(key), (list, tuple)):
            changed[key] = [change(row) if isinstance(row, dict) else row for row in part[key]]

    def listed(key: str) -> t.Callable[[dict[str, t.Any]], dict[str, t.Any]]:
        return lambda row: {**row, key: list(map(now, row[key]))} if row.get(key) else row

    changed = dict(part)
    for key in ("links", "packet_filter", "floating_addresses", "port_filter"):
        if key in part:
            changed[key] = replace(part[key], names)
    rows("bridges", listed("interfaces"))
    rows("networks", listed("uplinks"))
    rows("vlans", lambda row: {**row, "link": now(row.get("link"))})
    if "public_interface" in part:
        changed["public_interface"] = now(part["public_interface"])
    for key in ("addresses", "floating_ips"):
        rows(key, lambda row: {**row, "interface": now(row["interface"])} if "interface" in row else row)
    for key in ("move_addresses", "uplinks"):
        if isinstance(part.get(key), (list, tuple)):
            changed[key] = [now(each) for each in part[key]]
    if isinstance(part.get("sysctl"), dict):
        changed["sysctl"] = {_setting(key, names): value for key, value in part["sysctl"].items()}
    return changed


def _setting(key: t.Any, names: t.Mapping[str, str]) -> t.Any:
    """The key of a setting of an interface's own, in the present name."""
    name = sysctl.interface_of(key) if isinstance(key, str) else None
    if name not in names:
        return key
    # As sysctl(8): a slash stands for a dot within a name.
    was, now = (f".{each.replace('.', '/')}." for each in (t.cast(str, name), names[t.cast(str, name)]))
    return key.replace(was, now, 1)
