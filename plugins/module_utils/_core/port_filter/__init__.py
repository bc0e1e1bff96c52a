# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Protection against spoofing, port by port: what a guest may send into its bridge, and what it may hear.

`plan` has the section of the host plan as values, `nftables` says it in rules, `difference` in words what changes.
Private to the collection; may change at any time.
"""

from __future__ import annotations

from .plan import Pair, Plan, Port, pair, parse

__all__ = ["Pair", "Plan", "Port", "pair", "parse"]
