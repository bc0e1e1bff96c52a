# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `links` of a host plan against what the kernel has: checks, difference, order, undoing.

Plain values in, plain values out; reading the kernel and writing to it is the driver's. The way through:

    want = parse(section)                 # plan
    difference = compare(want, state)     # comparison, addresses -> difference, operations
    guard(difference, duties)             # duties: refused where it would cut the host off
    snapshot(state, difference)           # whether an undone difference left nothing behind

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .comparison import compare
from .difference import Difference, snapshot
from .duties import Duties, guard, parse_connection
from .kernel import FOREVER, PERMANENT, SECONDARY, Address, Link, State
from .mark import Mark, is_ours, parse_mark, render_mark
from .operations import (
    ORDER,
    ChangeBridge,
    CreateBridge,
    Enslave,
    Operation,
    Readdress,
    RemoveBridge,
    SetAlias,
    SetSysctl,
    Settings,
    Step,
)
from .plan import Plan, parse

__all__ = [
    "FOREVER",
    "ORDER",
    "PERMANENT",
    "SECONDARY",
    "Address",
    "ChangeBridge",
    "CreateBridge",
    "Difference",
    "Duties",
    "Enslave",
    "Link",
    "Mark",
    "Operation",
    "Plan",
    "Readdress",
    "RemoveBridge",
    "SetAlias",
    "SetSysctl",
    "Settings",
    "State",
    "Step",
    "compare",
    "guard",
    "is_ours",
    "parse",
    "parse_connection",
    "parse_mark",
    "render_mark",
    "snapshot",
]
