# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for iptables: rendered as the kernel gives them back, read, compared, composed into one restore.

`table` has the plain values and reads them, `render` makes them of an intent (with `nat` and `security`), `difference`
compares and composes, `switch` has several tables go over at once, `sets` compares and composes sets of addresses,
`whole` brings both together, `trees` has the chains of floating IPs and `step` what a few of these change, `wording`
tells what differs.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .difference import Change, compare, compose, guards_differ, ways
from .render import render
from .security import group_chain, member_sets
from .step import step
from .table import FAMILIES, TABLES, Table, Unreadable, Wanted, has_target, is_ours, our_chains, parse_save, target
from .whole import compare_all
from .wording import actions, chain_names, labels, text

__all__ = [
    "FAMILIES",
    "TABLES",
    "Change",
    "Table",
    "Unreadable",
    "Wanted",
    "actions",
    "chain_names",
    "compare",
    "compare_all",
    "compose",
    "group_chain",
    "guards_differ",
    "has_target",
    "is_ours",
    "labels",
    "member_sets",
    "our_chains",
    "parse_save",
    "render",
    "step",
    "target",
    "text",
    "ways",
]
