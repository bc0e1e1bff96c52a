# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the links of a host equal to the section `links` of its plan.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .._core import links, naming
from . import lock, netlink

LOCK_FILE = f"{naming.RUN_DIR}/links.lock"

#: Seconds to wait for another run on the same host.
LOCK_WAIT = 60


def apply(
    plan: object, connection_address: str | None = None, *, check: bool = False, wait: float = LOCK_WAIT
) -> dict[str, t.Any]:
    """Compare the plan's section with the kernel and, unless only checking, execute the difference.

    Returns `changed`, `actions`, `diff` and `warnings`. InputError, HostError, or its kind LibraryMissing, with
    nothing changed or all put back.
    """
    want = links.parse(plan)
    if connection_address is not None:
        connection_address = links.parse_connection(connection_address, "connection_address")
    _have, difference = look(want, connection_address)
    actions = difference.actions()
    warnings = []
    if difference.changed:
        try:
            library = netlink.load()
        except netlink.LibraryMissing:
            if not check:
                raise
            # A task before this one would have installed it.
            warnings.append("the Python library pyroute2 cannot be imported; a real run needs it")
        else:
            if not check:
                with lock.exclusive(LOCK_FILE, wait):
                    difference, actions = _execute(want, connection_address, library)
    return {
        "changed": difference.changed,
        "actions": actions,
        "diff": difference.diff(),
        "warnings": warnings,
    }


def _execute(
    want: links.Plan, connection_address: str | None, library: netlink.Library
) -> tuple[links.Difference, list[str]]:
    """Execute the difference; returns it, and all that was done."""
    # Another run may have been at work until now.
    have, difference = look(want, connection_address)
    netlink.apply(difference, have, library)
    actions = difference.actions()
    if difference.phases["rules"]:
        # Ports that came after we had looked, and before udev knew of them.
        have, late = look(want, connection_address)
        netlink.apply(late, have, library)
        actions += late.actions()
    return difference, actions


def look(want: links.Plan, connection_address: str | None) -> tuple[links.State, links.Difference]:
    """What the kernel has and what differs from the plan; refused where it would cut the host off."""
    have = netlink.read(key for key, _value in want.sysctl)
    if links.wants_ways(want, have):
        have.ways = netlink.read_ways(have)
    difference = links.compare(want, have)
    if difference.problems or difference.risks or difference.moves:
        links.guard(difference, netlink.read_duties(have, connection_address))
    return have, difference
