# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that this host has to have now: those that were applied last, recorded already or not.

A run records its plan at its end. Until then what it has applied is noted here, section by section, so that rules which
somebody takes away meanwhile come back as they were, and not as the run before had them. A boot empties the note: the
host comes back with the recorded plan. Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import json
import typing as t

from .._core import naming
from .._core.errors import NovaError
from . import files, lock, recorded

NOTE_FILE = f"{naming.RUN_DIR}/applied.json"
#: Around applying rules and noting it, and around bringing them back. Taken before the locks of the drivers.
LOCK_FILE = f"{naming.RUN_DIR}/applied.lock"

#: Keys of the host plan that say what rules there are.
RULES = ("port_filter", "packet_filter", "floating_addresses", "backend")

Sections = dict[str, t.Any]

#: What a plan means that says nothing of a section.
LEFT_OUT: Sections = {"floating_addresses": {"addresses": []}}


@contextlib.contextmanager
def noting(sections: t.Mapping[str, t.Any], *, check: bool, wait: float) -> t.Iterator[None]:
    """Around applying these sections: they are what the host has to have once the block has come to its end."""
    if check:
        yield
        return
    with lock.exclusive(LOCK_FILE, wait):
        yield
        before: Sections = {}
        # What cannot be read is written anew, here and at the end of the run.
        with contextlib.suppress(NovaError):
            before = rules()
        if any(before.get(key, LEFT_OUT.get(key)) != section for key, section in sections.items()):
            files.write(NOTE_FILE, json.dumps({**_noted(), **sections}), 0o600)


def exclusive(wait: float) -> t.ContextManager[object]:
    """Nobody applies rules meanwhile."""
    return lock.exclusive(LOCK_FILE, wait)


def rules() -> Sections:
    """The sections of the host plan that the rules of this host have to be."""
    # In this order: a plan is recorded before the note of it goes.
    noted = _noted()
    plan = {**(recorded.read() or {}), **noted}
    return {key: plan[key] for key in RULES if key in plan}


def forget() -> None:
    """The plan is recorded, and the note of it done with."""
    files.remove(NOTE_FILE)


def _noted() -> Sections:
    text = files.read(NOTE_FILE)
    if text is None:
        return {}
    try:
        return {key: value for key, value in json.loads(text).items() if key in RULES}
    except (ValueError, AttributeError):
        return {}  # of another version; what is recorded stands
