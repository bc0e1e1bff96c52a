# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings: one spelling of their values, and which interface a key belongs to.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re

_PER_INTERFACE = re.compile(r"net\.(?:ipv4|ipv6)\.(?:conf|neigh)\.([^.]+)\.[^.]+\Z")
_NO_INTERFACE = ("all", "default")
FORWARDING_V6 = "net.ipv6.conf.all.forwarding"
#: The value of accept_ra with which router advertisements are heeded by hosts that forward as well.
ACCEPT_RA_ALWAYS = "2"


def ipv6_key(interface: str, setting: str) -> str:
    """The key of an interface's setting of IPv6, such as accept_ra."""
    return f"net.ipv6.conf.{interface.replace('.', '/')}.{setting}"


def canonical(value: str) -> str:
    """The one spelling of a setting: the kernel shows tabs between the numbers that it reads between blanks."""
    return " ".join(value.split())


def interface_of(key: str) -> str | None:
    """The interface whose setting the key is; None where it is nobody's own."""
    match = _match(key)
    # As sysctl(8): a slash stands for a dot within a name.
    return None if match is None else match.group(1).replace("/", ".")


def default_key(key: str) -> str | None:
    """The key that a new interface's setting is copied from; None where the key is not one of an interface."""
    match = _match(key)
    return None if match is None else key[: match.start(1)] + "default" + key[match.end(1) :]


def _match(key: str) -> re.Match[str] | None:
    """The key with its interface as group 1."""
    match = _PER_INTERFACE.match(key)
    return None if match is None or match.group(1) in _NO_INTERFACE else match
