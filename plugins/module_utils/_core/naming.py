# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names: of the collection, of its files on a host, and nova's names for devices and chains.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re

from .errors import InputError

COLLECTION = "tenantnet.nova"

#: Every interface of ours carries an alias that begins with this word.
OWNER_ALIAS = COLLECTION

#: Files of ours live in these folders alone.
CONF_DIR = "/etc/tenantnet"
STATE_DIR = "/var/lib/tenantnet"
RUN_DIR = "/run/tenantnet"

#: The systemd unit that brings the networks back at boot; those of processes wait for it.
UNIT = "tenantnet.service"
#: Those that bring rules back which somebody took away: the kernel tells the socket, which starts the service.
RULES_SOCKET, RULES_SERVICE = "tenantnet-rules.socket", "tenantnet-rules.service"
#: Looks at the rules after what empties the packet filter has started.
FOLLOWER = "tenantnet-follow.service"

#: nova's wrapped chains are named after the program that owned them; ours keep its name.
CHAIN_PREFIX = "nova-network"

#: IFNAMSIZ of the kernel, less the closing zero byte.
INTERFACE_NAME_MAX = 15

#: Longest name of a DHCP host that nova passed on (a DNS label).
HOST_LABEL_MAX = 63

_FORBIDDEN_IN_INTERFACE = re.compile(r"[\s/:]")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,253}[A-Za-z0-9])?\Z")


def interface_name(value: object, what: str) -> str:
    """Return value if the kernel takes it as an interface name; InputError names `what` otherwise."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{what}: {value!r} is not an interface name; give a string such as 'br100'")
    if len(value.encode()) > INTERFACE_NAME_MAX:
        raise InputError(
            f"{what}: {value!r} has {len(value.encode())} characters, but the kernel allows an interface name "
            f"at most {INTERFACE_NAME_MAX}; choose a shorter name"
        )
    if value in (".", "..") or _FORBIDDEN_IN_INTERFACE.search(value):
        raise InputError(f"{what}: {value!r} is not an interface name; the kernel allows no blank, '/' or ':' in it")
    return value


def host_name(value: object, what: str) -> str:
    """Return value if it can be the host name of a DHCP client; InputError names `what` otherwise."""
    if not isinstance(value, str) or not _HOST_NAME.match(value):
        raise InputError(
            f"{what}: {value!r} is not a host name; use letters, digits and inner hyphens, at most 255 of them"
        )
    return value


def host_label(name: str) -> str:
    """The host name as DHCP and DNS carry it: nova kept the first 2 and the last 60 characters of a long one."""
    if len(name) <= HOST_LABEL_MAX:
        return name
    return name[:2] + "-" + name[-60:]


def vlan_name(vlan: int) -> str:
    """Device name of a project's VLAN interface."""
    return f"vlan{vlan}"


def vlan_bridge_name(vlan: int) -> str:
    """Name of the bridge over a project's VLAN interface."""
    return f"br{vlan}"


def tap_name(vif_id: str) -> str:
    """Device name of an instance's port: `tap` and the first 11 characters of the NIC's id."""
    return "tap" + vif_id[:11]
