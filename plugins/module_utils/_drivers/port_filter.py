# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The port filter of a host, by nftables.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .._core import naming, port_filter
from .._core.bridge_table import NOTHING
from .._core.port_filter import nftables
from .._core.port_filter.difference import Difference
from . import bridge_table, lock, names, programs

LOCK_FILE = f"{naming.RUN_DIR}/port_filter.lock"

Result = dict[str, t.Any]

_UNABLE = (
    "the kernel of this host does not filter bridged frames by nftables, which keeps guests from spoofing; "
    "use one with nf_tables for bridges, or set nova_port_security to false for the host"
)


def apply(plan: object, *, check: bool, wait: int = 60) -> Result:
    """Make the filter equal to the section of the plan. InputError, or HostError with nothing changed."""
    plan, told = names.present(plan)
    result = _apply(port_filter.parse(plan), check, wait)
    result["warnings"] += told
    return result


def _apply(want: port_filter.Plan, check: bool, wait: int) -> Result:
    nft = programs.find("nft")
    if nft is None:
        if want != port_filter.Plan() and not check:
            programs.need("nft", "nftables")
        return _without(want)
    if check:
        return _result(_look(nft, want))
    # Before the look: what a killed run had given to its program may be yet to come.
    with lock.exclusive(LOCK_FILE, wait) as held:
        difference = _look(nft, want)
        if difference.changed:
            bridge_table.load(nft, difference.script, held)
    return _result(difference)


def _without(want: port_filter.Plan) -> Result:
    """What a run would do once nft is there; without it nothing has been loaded either."""
    result = _result(nftables.compare(want, None, NOTHING))
    if want != port_filter.Plan():
        # A task before this one would have installed it.
        result["warnings"] = ["nft is not installed on this host; a real run needs the package nftables"]
    return result


def _result(difference: Difference) -> Result:
    return {"changed": difference.changed, "actions": difference.actions(), "diff": difference.diff(), "warnings": []}


def _look(nft: str, want: port_filter.Plan) -> Difference:
    found = bridge_table.look(nft, nftables.TABLE, wanted=want != port_filter.Plan(), unable=_UNABLE)
    return nftables.compare(want, found.present, found.model)
