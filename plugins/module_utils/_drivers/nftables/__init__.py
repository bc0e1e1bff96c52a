# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter by nftables: our tables read by netlink, and at most one transaction of the program nft.

`kernel` reads, `applying` does all the rest.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .applying import bring, bring_step, counted
from .kernel import Kernel

__all__ = ["Kernel", "bring", "bring_step", "counted"]
