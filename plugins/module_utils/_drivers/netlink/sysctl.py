# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings by their dotted keys, in /proc/sys.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ..._core.errors import HostError, first_line
from ..._core.links import sysctl
from ..._core.links.operations import SetSysctl


def read(keys: t.Iterable[str]) -> dict[str, str | None]:
    """The settings, and those that a new interface's are copied from; None where the kernel does not know the key."""
    found: dict[str, str | None] = {}
    for key in keys:
        for each in (key, sysctl.default_key(key)):
            if each is not None and each not in found:
                found[each] = _read_one(each)
    return found


def _read_one(key: str) -> str | None:
    try:
        with open(_path(key), encoding="utf-8") as handle:
            return sysctl.canonical(handle.read())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise HostError(f"cannot read sysctl {key}: {first_line(error)}") from error


def write(operation: SetSysctl) -> str | None:
    """Write the setting; the reason why it could not be, or None."""
    try:
        with open(_path(operation.key), "w", encoding="utf-8") as handle:
            handle.write(operation.value + "\n")
    except OSError as error:
        return first_line(error.strerror)
    return None


def _path(key: str) -> str:
    # As sysctl(8): a slash stands for a dot within a name (net.ipv4.conf.eth0/100.rp_filter).
    return "/proc/sys/" + "/".join(part.replace("/", ".") for part in key.split("."))
