# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nft and the legacy variant of iptables: which one a program is, and what stands in the other one's tables.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os

from ..._core import iptables as core
from ..._core.errors import HostError
from .. import programs
from ..nftables import Kernel
from .run import PREFIX, Run, call


def warn_of_other_variant(run: Run) -> None:
    """The nft and the legacy variant keep separate tables, and packets meet both."""
    for prefix in PREFIX.values():
        save = programs.find(f"{prefix}-save")
        if save is None:
            continue
        other = "legacy" if is_nft(save) else "nft"
        program = programs.find(f"{prefix}-{other}-save")
        if program is None or not has_tables(prefix, other == "nft"):
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


#: For each family the word of nft, and where the kernel names the tables of the legacy variant.
_TABLES = {"iptables": ("ip", "ip_tables_names"), "ip6tables": ("ip6", "ip6_tables_names")}


def has_tables(prefix: str, nft: bool) -> bool:
    """Whether the nft or the legacy variant has any table that could hold chains of ours; no program is run."""
    family, names = _TABLES[prefix]
    try:
        if nft:
            with Kernel() as kernel:
                return any(word == family and name in core.TABLES for word, name in kernel.table_names())
        with open(f"/proc/thread-self/net/{names}", encoding="ascii") as handle:
            return bool(handle.read(1))
    except HostError:  # the program may know more
        return True
    except OSError:
        return False
