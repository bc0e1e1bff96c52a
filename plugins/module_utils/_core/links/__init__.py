# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `links` of a host plan against what the kernel has: checks, difference, order, undoing.

Plain values in, plain values out; reading the kernel and writing to it is the driver's. The way through:

    want = parse(section)                 # plan
    difference = compare(want, state)     # comparison, vlans, addresses -> difference, operations
    guard(difference, duties)             # duties: refused where it would cut the host off
    snapshot(state, difference)           # whether an undone difference left nothing behind

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .comparison import compare, wants_ways
from .difference import Difference, lost, snapshot
from .duties import Duties, guard, needed, parse_connection
from .kernel import Address, Link, State
from .plan import Plan, parse

__all__ = [
    "Address",
    "Difference",
    "Duties",
    "Link",
    "Plan",
    "State",
    "compare",
    "guard",
    "lost",
    "needed",
    "parse",
    "parse_connection",
    "snapshot",
    "wants_ways",
]
