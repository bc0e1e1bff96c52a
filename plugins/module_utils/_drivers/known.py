# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules are known to be: those of the section applied last, while nobody has changed any since.

nf_tables counts its transactions, whoever makes them, those of iptables-nft too. A run that has found or made all as
its section says keeps that section together with the count. As long as the count is the same, so are the rules; and
where the next section differs in few floating IPs, these alone are rendered and written. A run that has nothing to do
reads all.

The file is kept where a boot empties it. Whatever it lacks, or says of other code, another namespace or back end,
counts as nothing known. Private to the collection; may change at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import typing as t

if t.TYPE_CHECKING:
    import importlib.abc

from .._core import packet_filter
from .._core.errors import HostError
from . import files
from .nftables import Kernel

#: What rules look like is decided in these.
_RENDERING = ("iptables", "nftables", "packet_filter", "rule_tree", "guest_rules", "addressing")


class Known:
    """The section that `backend` applied last, kept in the file `path`; nothing is where it is not `counted`.

    `section` is what is to be applied now.
    """

    def __init__(self, path: str, backend: str, counted: bool, section: object) -> None:
        # Where nothing counts, nothing is read for it either.
        code = _code() if counted else None
        self._path, self._counted = path, code is not None
        self._here = {"backend": backend, "namespace": os.stat("/proc/thread-self/ns/net").st_ino, "code": code}
        self._text = _read(path) if self._counted else None
        self._section = section
        self._kept = packet_filter.keep(section) if self._counted else None
        #: The host's own address by which the one before was applied.
        self.own: str | None = None

    def few(self) -> packet_filter.Few | None:
        """In which floating IPs the section differs from the rules there are, where these are known and it is few."""
        before = None if self._kept is None else self._before()
        if before is None or self._kept is None or not isinstance(self._section, dict):
            return None
        return packet_filter.few(before, self._kept, self._section)

    def holds(self) -> bool:
        """Whether what `few` told is so still; asked under the lock of those who write rules."""
        return _read(self._path) == self._text and self._digest() is not None

    def keep(self, own: str | None, count: int) -> None:
        """All is as the section says, and was when the kernel had counted so many transactions."""
        kept = self._kept
        if kept is None or self.count() != count:
            return
        head = json.dumps({**self._here, "count": count, "own": own, "rest": kept.rest})
        text = f"{head}\n{kept.text}"
        if text != self._text:
            files.write(self._path, text, 0o600)

    def count(self) -> int | None:
        """The transactions that the kernel has counted; None where it does not count those of this back end."""
        if not self._counted:
            return None
        try:
            with Kernel() as kernel:
                return kernel.generation()
        except HostError:
            return None

    def _before(self) -> packet_filter.Kept | None:
        rest = self._digest()
        return None if rest is None or self._text is None else packet_filter.Kept(rest, self._text.partition("\n")[2])

    def _digest(self) -> str | None:
        """That of the section the rules are of, while the kernel counts no more transactions than then."""
        try:
            told = json.loads((self._text or "").partition("\n")[0])
            rest, self.own = str(told.pop("rest")), told.pop("own")
        except (ValueError, TypeError, LookupError, AttributeError):
            return None  # there is nothing, or it is of another version, or cut
        return rest if told == {**self._here, "count": self.count()} else None


def _read(path: str) -> str | None:
    try:
        return files.read(path)
    except HostError:
        return None


def _code() -> str | None:
    """A digest of the code that decides what rules look like: rules of other code are not known.

    None where the code cannot be read any more, as in a guard that outlives the archive that it came with.
    """
    core = f"{packet_filter.__name__.rpartition('.')[0]}."
    digest = hashlib.sha256()
    for name in sorted(sys.modules):
        if name.startswith(core) and name[len(core) :].partition(".")[0] in _RENDERING:
            loader = t.cast("importlib.abc.InspectLoader", sys.modules[name].__loader__)
            try:
                digest.update((loader.get_source(name) or "").encode())
            except (OSError, ImportError):
                return None
    return digest.hexdigest()
