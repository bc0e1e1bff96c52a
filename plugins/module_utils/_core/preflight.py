# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Host plans against what the hosts said of their links, before anything is written anywhere.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import links, packed, renamed
from .errors import HostError, InputError

Report = dict[str, t.Any]


def report(state: links.State, duties: links.Duties, names: t.Mapping[str, str] | None = None) -> Report:
    """What a host says of itself, as values that travel as JSON; `names` of interfaces by those of the last plan."""
    return {
        "renamed": dict(names or {}),
        # A host may have ten thousand addresses, of which dataclasses.asdict would copy each value.
        "links": [
            {**vars(link), "addresses": [vars(address) for address in link.addresses]} for link in state.links.values()
        ],
        "carried": dict(duties.carried),
        "reached_by": sorted(duties.reached_by),
        "route_sources": sorted(list(source) for source in duties.route_sources),
        "keepers": dict(duties.keepers),
        "advertised": sorted(duties.advertised),
    }


def check(plans: t.Mapping[str, t.Any], reports: t.Mapping[str, Report | str]) -> None:
    """InputError naming each host whose links cannot be made as planned. Hosts without a report are not checked.

    A report may be packed.
    """
    problems = []
    for host, plan in plans.items():
        if host in reports:
            report = packed.unpack(reports[host], f"host_links[{host!r}]")
            problems += [f"host {host!r}: {problem}" for problem in _problems(plan, report)]
    if problems:
        raise InputError("\n".join(problems))


def _problems(plan: t.Any, said: Report) -> list[str]:
    state, duties = _read(said)
    plan = renamed.replace(plan, {**said.get("renamed", {}), **renamed.find(renamed.named(plan), state.links, {})})
    problems = []
    public = plan["packet_filter"]["public_interface"]
    made = {link["name"] for kind in ("bridges", "vlans") for link in plan["links"].get(kind, ())}
    if public is not None and public not in made | state.links.keys():
        problems.append(f"nova_public_interface {public!r} is not there; its interfaces are {_names(state)}")
    problems += _homeless(plan, state, public)
    # Settings are the host's to look up: only it knows which of them its kernel has.
    want = dataclasses.replace(links.parse(plan["links"]), sysctl=())
    try:
        links.guard(links.compare(want, state), duties)
    except HostError as error:
        problems += str(error).splitlines()
    return problems


def _homeless(plan: t.Any, state: links.State, public: str | None) -> list[str]:
    """A floating IP for each interface that is neither there nor made by this plan."""
    made = {link["name"] for kind in ("bridges", "vlans") for link in plan["links"].get(kind, ())}
    missing: dict[str, str] = {}
    for place in plan.get("floating_addresses", {"addresses": []})["addresses"]:
        if place["interface"] != public and place["interface"] not in made | state.links.keys():
            missing.setdefault(place["interface"], place["address"])
    return [
        f"floating IP {address} is to be on interface {interface!r}, which is not there; its interfaces are "
        f"{_names(state)}; correct nova_public_interface, or the interface of the range of floating IPs"
        for interface, address in missing.items()
    ]


def _read(said: Report) -> tuple[links.State, links.Duties]:
    found = {}
    for entry in said["links"]:
        addresses = [links.Address(**address) for address in entry["addresses"]]
        found[entry["name"]] = links.Link(**{**entry, "addresses": addresses})
    duties = links.Duties(
        said["carried"],
        frozenset(said["reached_by"]),
        frozenset((name, local) for name, local in said["route_sources"]),
        frozenset(said.get("advertised", ())),
        said.get("keepers", {}),
    )
    return links.State(found), duties


def _names(state: links.State) -> str:
    return ", ".join(sorted(link.name for link in state.links.values() if not link.loopback)) or "none"
