# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for nftables: rendered from what the plan asks of a host, compared with what the kernel holds, composed.

`table` has the plain values, `render` makes them of an intent, `difference` compares and composes one transaction.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .difference import Change, actions, between, compare, compose, guards_differ, names, text, ways
from .render import labels, render
from .table import FAMILIES, NAME, HeldChain, HeldSet, HeldTable, Set, Table, skeleton

__all__ = [
    "FAMILIES",
    "NAME",
    "Change",
    "HeldChain",
    "HeldSet",
    "HeldTable",
    "Set",
    "Table",
    "actions",
    "between",
    "compare",
    "compose",
    "guards_differ",
    "labels",
    "names",
    "render",
    "skeleton",
    "text",
    "ways",
]
