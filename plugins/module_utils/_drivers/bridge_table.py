# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table of nftables' bridge family on this host, read and written by nft.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import typing as t

from .._core import bridge_table
from .._core.bridge_table import Listing, Table
from .._core.errors import HostError, first_line
from . import programs


class Unable(HostError):
    """The kernel does not take such a table."""


class Look(t.NamedTuple):
    """The host's table, None where there is none; and the planned one, without elements, as the host's nft lists it."""

    present: Listing | None
    model: Listing


def look(nft: str, table: Table, *, wanted: bool, unable: str) -> Look:
    """Unable, with `unable` as text, where the kernel does not take such a table; it is asked where that is wanted."""
    calls = {"present": programs.Call([nft, "-j", "list", "table", *table.full_name.split()])}
    if wanted:
        # What nft makes of the rules depends on its version, so that it is asked, where they reach no frame.
        asked = f'"$0" -f - && exec "$0" -j list table {table.full_name}'
        scratch = [programs.need("unshare", "util-linux"), "--net", "sh", "-c", asked, nft]
        calls["model"] = programs.Call(scratch, table.text({}))
    done = programs.run_all(calls)
    if wanted and done["model"].status:
        raise Unable(f"{unable}: {first_line(done['model'].said)}; nothing was changed")
    model = _listing(done["model"], unable) if wanted else bridge_table.NOTHING
    if done["present"].status and "No such file or directory" in done["present"].said:
        present = None
    elif done["present"].status and not wanted:
        present = None  # a kernel without nftables for bridges has no table of ours
    else:
        present = _listing(done["present"], f"cannot list the table {table.full_name}")
    return Look(present, model)


def load(nft: str, script: str, held: int) -> None:
    """`held` is the descriptor of a lock that nft holds as well until it ends. HostError with nothing changed."""
    done = programs.run([nft, "-f", "-"], script, inherits=[held])
    if done.status:
        raise HostError(f"nft did not take the rules: {first_line(done.said)}; nothing was changed")


def _listing(done: programs.Done, failed: str) -> Listing:
    if done.status:
        raise HostError(f"{failed}: {first_line(done.said)}; nothing was changed")
    try:
        return bridge_table.read(json.loads(done.output))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        said = f"nft's answer is not understood ({first_line(error)})"
        raise HostError(f"{failed}: {said}; nothing was changed") from error
