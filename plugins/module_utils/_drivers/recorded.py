# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan that this host was given last, kept for its next boot.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import typing as t

from .._core import naming
from .._core.errors import HostError, InputError
from . import files

Plan = dict[str, t.Any]

#: Version of the host plan that this code applies.
VERSION = 1

PLAN_FILE = f"{naming.STATE_DIR}/plan.json"


def read() -> Plan | None:
    """The last plan that was applied on this host, or None. HostError where it cannot be read."""
    text = files.read(PLAN_FILE)
    if text is None:
        return None
    try:
        plan = json.loads(text)
    except ValueError as error:
        raise HostError(f"{PLAN_FILE} is no JSON document ({error}); run the site playbook, which writes it") from error
    check(plan, PLAN_FILE)
    return t.cast(Plan, plan)


def write(plan: Plan) -> bool:
    """Keep the plan as the last one applied, in one step; False where it is that already, and nothing is written."""
    check(plan, "the plan")
    text = render(plan)
    if files.read(PLAN_FILE) == text:
        return False
    files.write(PLAN_FILE, text, mode=0o600)
    return True


def render(plan: Plan) -> str:
    """The plan as it is kept: the same text for the same plan."""
    return json.dumps(plan, indent=1, sort_keys=True) + "\n"


def check(plan: object, what: str) -> None:
    if not isinstance(plan, dict):
        raise InputError(f"{what}: {type(plan).__name__} is not a host plan, which is a mapping of names to values")
    if plan.get("version", VERSION) != VERSION:
        raise InputError(
            f"{what}: version {plan['version']!r} is not one that this code knows, which is {VERSION}; "
            "update the collection, or run the site playbook again"
        )
