# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who looks after an interface's addresses and would give them back to it: DHCP clients and network managers.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

#: DHCP clients by the name of their process.
CLIENTS = ("dhclient", "dhcpcd", "udhcpc", "udhcpc6", "dhcp6c", "pump")
NETWORKD, NETWORK_MANAGER = "systemd-network", "NetworkManager"
STATE = "GENERAL.STATE"
#: Names of processes that matter, as the kernel keeps them: fifteen characters.
PROCESSES = (*CLIENTS, "busybox", NETWORKD, NETWORK_MANAGER)


class Process(t.NamedTuple):
    """A process of this network: its number, the name that the kernel keeps, its command line."""

    number: int
    name: str
    words: tuple[str, ...]


def keeper(
    interface: str,
    others: t.Container[str],
    processes: t.Iterable[Process],
    networkd: t.Mapping[str, str],
    manager: t.Mapping[str, str],
) -> str | None:
    """Who looks after the interface, in words, or None.

    `others` are all interfaces of the host; `networkd` and `manager` what systemd-networkd and NetworkManager have
    written of this one, by key, and under STATE what NetworkManager answers.
    """
    names = [process.name for process in processes]
    for process in processes:
        name = _client(process)
        if name is not None and _minds(process, name, interface, others):
            return (
                f"the DHCP client {name} (process {process.number}) renews them there; end it, and let it ask for an "
                "address on the bridge instead, or give the host fixed ones"
            )
    if NETWORKD in names and networkd.get("ADMIN_STATE", "unmanaged") not in ("unmanaged", "pending", "initialized"):
        place = f" ({networkd['NETWORK_FILE']})" if networkd.get("NETWORK_FILE") else ""
        return (
            f"systemd-networkd gives them to it{place}; have it give them to the bridge, by a file that comes before "
            "00-tenantnet.network, such as 00-bridge.network: the bridge's name in [Match], KeepConfiguration=yes and "
            "what the interface had in [Network]; set Unmanaged=yes in the section [Link] of the interface's own file; "
            "then restart systemd-networkd, for to reload it takes the addresses away"
        )
    if NETWORK_MANAGER in names and _manages(manager):
        return (
            "NetworkManager gives them to it; name it in unmanaged-devices of its configuration, have "
            "/etc/network/interfaces or the like give it its addresses when the host boots, and restart "
            "NetworkManager, for to reload it takes the addresses away"
        )
    return None


def _manages(manager: t.Mapping[str, str]) -> bool:
    """What it wrote outlives its restart with another configuration; what it says itself, as far as it does, counts."""
    if manager.get("managed", "").lower() not in ("1", "true", "yes", "full"):
        return False
    said = manager.get(STATE, "")
    return "unmanaged" not in said and "externally" not in said


def parse_keys(text: str) -> dict[str, str]:
    """Lines of KEY=VALUE, as both managers write."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _equals, value in pairs}


def _client(process: Process) -> str | None:
    if process.name in CLIENTS:
        return process.name
    programs = [word.rpartition("/")[2] for word in process.words[:2]]
    return next((name for name in programs if process.name == "busybox" and name in CLIENTS), None)


def _minds(process: Process, name: str, interface: str, others: t.Container[str]) -> bool:
    """Whether it is told of the interface, or of none, which some take for all."""
    words = [part for word in process.words for part in word.replace("[", " ").split()]
    named = {word[2:] if word.startswith("-i") and len(word) > 2 else word for word in words}
    if interface in named:
        return True
    return name in ("dhclient", "dhcpcd") and not any(word in others for word in named)
