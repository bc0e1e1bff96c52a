# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host had before the first run changed it, of what is the host's own: kernel settings, interfaces set up.

Nothing but this tells it later. All else that we make carries our mark.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import typing as t

from .._core import naming
from .._core.errors import HostError
from .._core.links import Difference
from .._core.links.operations import Enslave, SetSysctl
from . import files

FILE = f"{naming.STATE_DIR}/origin.json"


class Origin(t.NamedTuple):
    """Settings and their first values; interfaces that were down."""

    sysctl: dict[str, str]
    down: list[str]


def read() -> Origin:
    """What was noted so far. HostError where the file cannot be read."""
    text = files.read(FILE)
    if text is None:
        return Origin({}, [])
    try:
        found = json.loads(text)
        return Origin(dict(found["sysctl"]), list(found["down"]))
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"{FILE} cannot be understood ({error}); it says what the host was before the first run. "
            "Remove the file if that need not be known"
        ) from error


def note(difference: Difference) -> None:
    """Note what the difference is about to change for the first time; nothing is written where that is nothing."""
    settings: dict[str, str] = {}
    down = list(difference.raised)
    for operation in difference.operations:
        # A setting of a link that is about to be made goes with the link.
        if isinstance(operation, SetSysctl) and operation.before is not None:
            settings.setdefault(operation.key, operation.before)
        elif isinstance(operation, Enslave) and operation.up:
            down.append(operation.interface)
    _add(settings, down)


def note_settings(settings: t.Mapping[str, str]) -> None:
    """Note settings with the values that they have, which are about to be changed."""
    _add(settings, ())


def _add(settings: t.Mapping[str, str], down: t.Iterable[str]) -> None:
    before = read()
    after = Origin({**settings, **before.sysctl}, list(dict.fromkeys([*before.down, *down])))
    if after != before:
        files.write(FILE, json.dumps(after._asdict(), indent=1, sort_keys=True) + "\n", mode=0o600)
