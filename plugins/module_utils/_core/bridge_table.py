# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table of nftables' bridge family that is ours as a whole: its rules as text, its sets' elements apart from them.

Rules that do not change while elements come and go let a host have one element more without a new table.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import typing as t

from . import addressing

FAMILY = "bridge"

#: Elements of a set: each is its parts as text, a range of addresses as CIDR.
Elements = frozenset[tuple[str, ...]]


class Kind(t.NamedTuple):
    """How a set is declared."""

    declaration: str
    #: The last part is an address as a number, for want of a type.
    target: bool = False


class Table(t.NamedTuple):
    """What is in the table. Sets that packets fill stand in the rules' text, the others by name in `sets`."""

    name: str
    sets: t.Mapping[str, Kind]
    rules: str

    @property
    def full_name(self) -> str:
        return f"{FAMILY} {self.name}"

    def text(self, wanted: t.Mapping[str, Elements]) -> str:
        """The whole table, for `nft -f`."""
        lines = [f"table {self.full_name} {{"]
        for name, kind in self.sets.items():
            rows = wanted.get(name)
            filled = f"elements = {{ {_listed(rows, kind)} }};" if rows else ""
            lines.append(f"  set {name} {{ {kind.declaration}; {filled} }}")
        return "\n".join(lines) + "\n" + self.rules + "}\n"

    def replacement(self, wanted: t.Mapping[str, Elements]) -> str:
        """The table in place of whatever is there under its name, as one transaction."""
        return f"add table {self.full_name}\n{self.removal()}{self.text(wanted)}"

    def removal(self) -> str:
        return f"delete table {self.full_name}\n"

    def amendment(self, wanted: t.Mapping[str, Elements], present: t.Mapping[str, Elements]) -> str:
        """What is missing in the sets comes, what should not be there goes, in one transaction; empty for nothing."""
        lines = []
        for name, kind in self.sets.items():
            for verb, rows in (("delete", present[name] - wanted[name]), ("add", wanted[name] - present[name])):
                if rows:
                    lines.append(f"{verb} element {self.full_name} {name} {{ {_listed(rows, kind)} }}\n")
        return "".join(lines)


class Listing(t.NamedTuple):
    """The table as nft lists it: everything but the elements, and the elements of every set that it has."""

    skeleton: list[t.Any]
    elements: dict[str, Elements]


NOTHING = Listing([], {})


def _listed(rows: t.Iterable[tuple[str, ...]], kind: Kind) -> str:
    return ", ".join(_element(row, kind) for row in sorted(rows))


def _element(row: tuple[str, ...], kind: Kind) -> str:
    name, *rest = row
    if kind.target:
        rest[-1] = _as_number(rest[-1])
    return " . ".join([_quoted(name), *rest])


def _quoted(name: str) -> str:
    """A range of addresses is no name."""
    return name if "/" in name else f'"{name}"'


def _as_number(text: str) -> str:
    if "-" in text:
        return "-".join(_as_number(end) for end in text.split("-"))
    network = ipaddress.IPv6Network(text)
    first, last = int(network.network_address), int(network.broadcast_address)
    return f"0x{first:032x}" if first == last else f"0x{first:032x}-0x{last:032x}"


def read(listing: t.Any) -> Listing:
    """What `nft -j list table` says; handles, which are the kernel's, are left out."""
    skeleton: list[t.Any] = []
    found: dict[str, Elements] = {}
    for entry in listing["nftables"]:
        ((what, value),) = entry.items()
        if what == "metainfo":
            continue
        value = {key: part for key, part in value.items() if key not in ("handle", "elem", "index")}
        if what == "set":
            # What packets put in goes by itself, too.
            rows = () if "timeout" in value.get("flags", ()) else entry["set"].get("elem", ())
            found[value["name"]] = frozenset(map(_read_element, rows))
        if isinstance(value.get("flags"), str):
            value["flags"] = [value["flags"]]
        skeleton.append((what, value))
    return Listing(skeleton, found)


def _read_element(element: t.Any) -> tuple[str, ...]:
    parts = element["concat"] if isinstance(element, dict) and "concat" in element else [element]
    return tuple(_read_part(part) for part in parts)


def _read_part(part: t.Any) -> str:
    if isinstance(part, dict) and "prefix" in part:
        return f"{_read_part(part['prefix']['addr'])}/{part['prefix']['len']}"
    if isinstance(part, dict) and "range" in part:
        first, last = (_as_address(each) for each in part["range"])
        networks = list(ipaddress.summarize_address_range(first, last))
        if len(networks) > 1:
            return f"{first}-{last}"  # none of ours
        return str(first) if first == last else str(networks[0])
    if isinstance(part, int) or part.startswith("0x"):
        return str(_as_address(part))
    return addressing.text_v6(addressing.number(part)) if part.count(":") > 1 and not _is_mac(part) else part


def _as_address(part: t.Any) -> t.Any:
    """An address, which in a set of targets is shown as a number."""
    if isinstance(part, str) and not part.startswith("0x"):
        return ipaddress.ip_address(part)
    return ipaddress.IPv6Address(part if isinstance(part, int) else int(part, 16))


def _is_mac(text: str) -> bool:
    return addressing.MAC.match(text) is not None
