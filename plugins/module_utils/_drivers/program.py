# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that stays on a host beside its plan: it brings back all of the plan, or the rules alone.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import sys

from .._core import units
from . import repair


def main() -> int:
    """By its argument; returns the exit status."""
    if sys.argv[1:] == [units.RULES]:
        return repair.main()
    # Late: most calls are about rules, and end before any of this is needed.
    from . import restore

    return restore.main()
