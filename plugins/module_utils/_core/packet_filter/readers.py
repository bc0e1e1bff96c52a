# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading single values of the section, as they may stand in rules of any back end.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re

from .. import naming
from ..errors import InputError

PATH = "packet_filter"

#: The kernel allows more in an interface name, but these are read back from rule text unchanged: no quote, no
#: leading '-' or '!' (an option, a negation), no '+' at the end (a wildcard of iptables).
_PLAIN_INTERFACE = re.compile(r"[A-Za-z0-9_.](?:[A-Za-z0-9_.@+-]*[A-Za-z0-9_.@-])?\Z")


def interface(value: object, path: str) -> str:
    name = naming.interface_name(value, path)
    if not _PLAIN_INTERFACE.match(name):
        raise InputError(
            f"{path}: {name!r} cannot stand in a packet filter rule; use letters, digits and any of '_.@+-', "
            "beginning with a letter, a digit, '_' or '.', and not ending with '+'"
        )
    return name


_SORTS: dict[int, tuple[type[ipaddress.IPv4Network | ipaddress.IPv6Network], str]] = {
    4: (ipaddress.IPv4Network, "10.0.0.0/24"),
    6: (ipaddress.IPv6Network, "fd00::/64"),
}


def cidr(value: object, path: str, version: int = 4) -> str:
    sort, example = _SORTS[version]
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not an IPv{version} range; give a string such as '{example}'")
    try:
        return str(sort(value))
    except ValueError:
        pass
    try:
        meant = sort(value, strict=False)
    except ValueError:
        raise InputError(f"{path}: {value!r} is not an IPv{version} range; give one such as '{example}'") from None
    raise InputError(f"{path}: {value!r} is not the beginning of its range; did you mean '{meant}'?")
