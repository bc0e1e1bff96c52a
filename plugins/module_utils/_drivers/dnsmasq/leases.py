# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leases that a host has given, and those that no reservation backs: found, taken out of the file, or given up.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..._core import addressing, moments
from ..._core import dnsmasq as core
from ..._core.errors import HostError, first_line
from .. import files, programs

#: Seconds that dnsmasq has to give up a lease after it was told, and how often it is told.
RELEASE_WAIT = 2.0
RELEASE_ROUNDS = 5
#: Seconds within which a lease file that was emptied is written.
LEASES_WAIT = 0.1

#: Told of each thing that was done, right after it.
Step = t.Callable[[str], None]


def report(paths: core.Paths | None = None) -> dict[str, t.Any]:
    """What the module leases_info documents: the IPv4 ranges that the host serves, and the leases standing in them.

    A dnsmasq that never ran has no lease file, and nothing is said of its network.
    """
    paths = paths or core.Paths.under()
    networks: list[str] = []
    standing: list[dict[str, t.Any]] = []
    for name in sorted(files.names_in(paths.conf)):
        cidr = core.served_range(files.read(paths.file(name, core.CONF)) or "")
        if cidr is None or not os.path.exists(paths.leases(name)):
            continue
        networks.append(cidr)
        for lease in core.standing_leases(_text(paths, name), time.time()):
            if lease.version == 6:
                # The controller knows the holder by the MAC address; of DHCPv6 the file has a DUID instead.
                continue
            standing.append(
                {
                    "address": lease.address,
                    "mac": lease.mac,
                    "hostname": lease.hostname or None,
                    "expires": moments.text(lease.expiry) if lease.expiry else None,
                    "network": cidr,
                }
            )
    standing.sort(key=lambda lease: (_order(lease["network"]), addressing.order(lease["address"])))
    return {"changed": False, "networks": sorted(networks, key=_order), "leases": standing}


def _order(cidr: str) -> tuple[int, int]:
    return addressing.order(cidr.partition("/")[0])


def stale(instance: core.Instance, paths: core.Paths) -> list[core.Lease]:
    """The stale leases of the lease file."""
    return core.stale_leases(instance, _text(paths, instance.name), time.time())


def _stale_v4(instance: core.Instance, paths: core.Paths, patience: float = 0) -> list[core.Lease]:
    """The stale leases of IPv4 that stand after at most so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = [lease for lease in stale(instance, paths) if lease.version == 4]
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.01)


def prune(instance: core.Instance, paths: core.Paths, step: Step) -> None:
    """Take the stale leases out of the file, which nobody else writes meanwhile."""
    text = _text(paths, instance.name)
    gone = core.stale_leases(instance, text, time.time())
    if gone:
        files.write(paths.leases(instance.name), core.without_leases(text, gone))
        step(f"{instance.name}: prune")


def release(instance: core.Instance, paths: core.Paths, step: Step) -> None:
    """Have the running dnsmasq give up the stale leases of IPv4. HostError names those that it keeps.

    One of DHCPv6 that appeared meanwhile is left to the next run, which restarts the process.
    """
    said = ""
    for _round in range(RELEASE_ROUNDS):
        for lease in _stale_v4(instance, paths):
            binary = programs.need("dhcp_release", "dnsmasq-utils")
            identity = (lease.client_id,) if lease.client_id else ()
            said = programs.run((binary, instance.interface, lease.address, lease.mac, *identity)).said or said
            step(f"{instance.name}: release {lease.address}")
        if not _stale_v4(instance, paths, RELEASE_WAIT):
            return
    left = ", ".join(str(lease) for lease in _stale_v4(instance, paths))
    raise HostError(f"dnsmasq does not give up the lease {left}" + (f": {first_line(said)}" if said else ""))


def _text(paths: core.Paths, name: str) -> str:
    """The lease file, read when dnsmasq is not at it: it empties the file in place, then writes it."""
    path = paths.leases(name)
    deadline = time.monotonic() + LEASES_WAIT
    while True:
        try:
            # A client's host name stands in there.
            with open(path, encoding="utf-8", errors="replace") as handle:
                text = handle.read()
                age = time.time() - os.fstat(handle.fileno()).st_mtime
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise HostError(f"cannot read {path}: {error}") from error
        # Empty for long, or ended by a whole line: that is how it stands.
        if text.endswith("\n") or abs(age) > LEASES_WAIT or time.monotonic() > deadline:
            return text
        time.sleep(0.005)
