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

_IPV6_ROUTES = "/proc/net/ipv6_route"
#: Flags of a default route that a router advertisement has brought (RTF_DEFAULT, RTF_ADDRCONF).
_BY_ADVERTISEMENT = 0x00010000 | 0x00040000


def read(keys: t.Iterable[str]) -> dict[str, str | None]:
    """The settings, and those that a new interface's are copied from; None where the kernel does not know the key."""
    found: dict[str, str | None] = {}
    for key in keys:
        for each in (key, sysctl.default_key(key)):
            if each is not None and each not in found:
                found[each] = _read_one(each)
    return found


def advertised(settings: t.Container[str]) -> tuple[str, ...]:
    """Links that have a default route from router advertisements, as long as the host forwards nothing.

    Asked for only where the settings have the forwarding of IPv6, which would end that.
    """
    if sysctl.FORWARDING_V6 not in settings:
        return ()
    try:
        with open(_IPV6_ROUTES, encoding="ascii", errors="replace") as handle:
            routes = [line.split() for line in handle]
    except FileNotFoundError:
        return ()  # a kernel without IPv6
    except OSError as error:
        raise HostError(f"cannot read {_IPV6_ROUTES}: {first_line(error)}") from error
    names = {fields[-1] for fields in routes if int(fields[8], 16) & _BY_ADVERTISEMENT == _BY_ADVERTISEMENT}
    return tuple(sorted(name for name in names if _read_one(sysctl.ipv6_key(name, "accept_ra")) == "1"))


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
