"""Network namespaces of this process."""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def leave_for_a_fresh_one() -> None:
    _check(_libc.unshare(_CLONE_NEWNET))


def enter(descriptor: int) -> None:
    """The namespace that the open file stands for."""
    _check(_libc.setns(descriptor, _CLONE_NEWNET))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
