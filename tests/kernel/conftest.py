"""Drivers against this machine's kernel, each test in a network namespace of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def netns():
    """Move this process into a fresh network namespace for the length of the test."""
    if os.geteuid():
        pytest.skip("needs root to make a network namespace")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _check(_libc.unshare(CLONE_NEWNET))
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _check(_libc.setns(home, CLONE_NEWNET))
        os.close(home)
