# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter by iptables: one save for each family, and a restore for each step of a change (`iptables.switch`).

`reading` finds what differs, `writing` makes the changes, `applying` has both in turn and tells of it; `variants` knows
the nft and the legacy variant apart, `run` has the values that all of them pass on.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .applying import bring, bring_step, counted

__all__ = ["bring", "bring_step", "counted"]
