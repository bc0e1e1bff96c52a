# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `dnsmasq` of a host plan: checked, made into files, compared with what a host has.

The way through, for each instance:

    want, ... = parse(section)            # plan
    files = render(want, Paths.under())   # files
    change = compare(want, files, have)   # comparison; lease_file says which leases go

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .comparison import DONE, RELOAD, RESTART, START, STOP, UNCHANGED, Change, Have, compare, wants_test
from .files import (
    CONF,
    FILES,
    HOSTS,
    UNIT,
    Paths,
    advertised,
    render,
    render_unit,
    served_range,
    tag,
    testable,
    unit_name,
)
from .lease_file import Lease, leases, stale_leases, standing_leases, without_leases
from .plan import Instance, parse

__all__ = [
    "CONF",
    "DONE",
    "FILES",
    "HOSTS",
    "RELOAD",
    "RESTART",
    "START",
    "STOP",
    "UNCHANGED",
    "UNIT",
    "Change",
    "Have",
    "Instance",
    "Lease",
    "Paths",
    "advertised",
    "compare",
    "leases",
    "parse",
    "render",
    "render_unit",
    "served_range",
    "stale_leases",
    "standing_leases",
    "tag",
    "testable",
    "unit_name",
    "wants_test",
    "without_leases",
]
