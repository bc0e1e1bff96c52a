# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large values as short texts between modules.

Ansible looks at each value within a mapping many times over, and Python reads a long line of a piped program in
quadratic time: with thousands of floating IPs that is most of a run. Private to the collection; may change at any time.
"""

from __future__ import annotations

import base64
import json
import typing as t
import zlib

from .errors import InputError

#: Parts of a host plan that may be large.
SECTIONS = ("networks", "instances", "links", "port_filter", "dnsmasq", "packet_filter", "floating_addresses")

_MARK = "packed:"


def pack(value: t.Any) -> str:
    """The value, which is one of JSON, as a text for `unpack`: the same one for the same value."""
    return _MARK + base64.b64encode(zlib.compress(json.dumps(value).encode(), 1)).decode()


def unpack(value: t.Any, path: str) -> t.Any:
    """The value, or what it is the text of: packed, or in JSON. InputError where it is that of none."""
    if not isinstance(value, str):
        return value
    try:
        if value.startswith(_MARK):
            return json.loads(zlib.decompress(base64.b64decode(value[len(_MARK) :])))
        return json.loads(value)
    except (ValueError, zlib.error) as error:
        raise InputError(f"{path}: {value[:40]!r} is neither packed nor JSON ({error}); give it as values") from error


def section(value: t.Any, path: str) -> dict[str, t.Any]:
    """A section of a host plan as a mapping. InputError where it is none."""
    found = unpack(value, path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: {type(found).__name__} is not a mapping; give the section of a host plan")
    return found


def pack_plan(plan: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The host plan with each of its sections packed."""
    return {key: pack(value) if key in SECTIONS else value for key, value in plan.items()}


def unpack_plan(plan: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The host plan with each of its sections as values, whichever of the two they were."""
    return {key: unpack(value, f"plan.{key}") if key in SECTIONS else value for key, value in plan.items()}
