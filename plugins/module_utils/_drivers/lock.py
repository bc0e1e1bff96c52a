# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of ours at a time on a host: the kernel gives the lock back whatever becomes of its holder.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from .._core.errors import HostError, first_line
from . import files


@contextlib.contextmanager
def exclusive(path: str, wait: float) -> t.Iterator[int]:
    """Hold the lock file for the length of the block. HostError after `wait` seconds, with nothing changed.

    Yields the descriptor: a program that inherits it holds the lock until it ends, even where this process is killed.
    """
    files.make_folder(os.path.dirname(path))
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"cannot open the lock {path}: {first_line(error)}; nothing was changed") from error
    try:
        deadline = time.monotonic() + wait
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise HostError(
                    f"another run is at work on this host and has held {path} for {wait:.0f} seconds; "
                    "nothing was changed; run again when it has ended"
                )
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
