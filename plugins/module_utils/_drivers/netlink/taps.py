# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taps that stay without a process (linux/if_tun.h).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import fcntl
import os
import struct
import typing as t

from ..._core.errors import first_line

_DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x4000, 0x8000
#: As QEMU asks for it. Never one that somebody else has made meanwhile.
_FLAGS = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
_ROOT = 0


def make(name: str, mark: t.Callable[[], str | None]) -> str | None:
    """Make a tap, have it marked, and only then let it stay; the reason why it could not be, or None.

    Until it stays, it goes with this process, so that no kill leaves one without a mark. It is root's: one without an
    owner could be opened by every user of the host.
    """
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot open {_DEVICE}: {first_line(error.strerror)} (the kernel makes taps with its module tun)"
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _FLAGS))
        reason = mark()
        if reason is None:
            fcntl.ioctl(descriptor, _TUNSETOWNER, _ROOT)
            fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        return reason
    except OSError as error:
        return first_line(error.strerror)
    finally:
        os.close(descriptor)
