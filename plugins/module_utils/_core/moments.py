# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moments as users give and read them. Private to the collection; may change at any time."""

from __future__ import annotations

import datetime

from .errors import InputError


def read(value: str, path: str) -> float:
    """Seconds since the epoch of a time given as such or in the form of ISO 8601; without a zone it is UTC."""
    try:
        return float(value)
    except ValueError:
        pass
    word = value.strip()
    try:
        found = datetime.datetime.fromisoformat(f"{word[:-1]}+00:00" if word[-1:] in "Zz" else word)
    except ValueError:
        raise InputError(
            f"{path}: {value!r} is not a time; give one such as '2026-03-01T12:00:00Z' or seconds since the epoch"
        )
    return (found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)).timestamp()


def text(at: float | None) -> str | None:
    """The time in UTC, in the form of ISO 8601."""
    if at is None:
        return None
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"
