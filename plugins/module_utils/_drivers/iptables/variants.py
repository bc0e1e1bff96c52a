# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nft and the legacy variant of iptables: which one a program is, and what stands in the other one's tables.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os

from ..._core import iptables as core
from .. import programs
from .run import Run, call


def warn_of_other_variant(run: Run) -> None:
    """The nft and the legacy variant keep separate tables, and packets meet both."""
    for prefix, names in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
        save = programs.find(f"{prefix}-save")
        if save is None:
            continue
        other = "legacy" if is_nft(save) else "nft"
        program = programs.find(f"{prefix}-{other}-save")
        if program is None or (other == "legacy" and not _has_lines(f"/proc/thread-self/net/{names}")):
            continue
        try:
            ours = core.our_chains(core.parse_save(call(program).output))
        except core.Unreadable:
            continue
        if ours:
            run.warn(
                f"chains of nova ({ours[0]} and {len(ours) - 1} more) also stand in the tables of {prefix}-{other}, "
                f"which this run neither reads nor changes and which packets meet as well; remove them with "
                f"{prefix}-{other}, or select that variant on this host"
            )


def is_nft(program: str) -> bool:
    """Which variant the program is: by the file behind its links, else by its own word."""
    real = os.path.basename(os.path.realpath(program))
    if "nft" in real or "legacy" in real:
        return "nft" in real
    return "nf_tables" in call(program, "--version").output


def _has_lines(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as handle:
            return bool(handle.read(1))
    except OSError:
        return False
