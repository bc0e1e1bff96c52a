# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share that act on the store by command. Private to the collection; may change at any time."""

from __future__ import annotations

import typing as t

from ._core import settings, state
from ._core.fields import Fields
from ._core.ledger import Ledger
from ._core.settings import Settings
from ._drivers import store

#: The origin of what a command makes.
ORIGIN = "command"

# Arguments of modules, as the fragments of the same names document them.
# A password may stand in the URL.
STORE: dict[str, t.Any] = {"state_url": {"type": "str", "required": True, "no_log": True}}
AUTHOR: dict[str, t.Any] = {"run": {"type": "str"}, "user": {"type": "str"}}
SETTINGS: dict[str, t.Any] = {"settings": {"type": "dict", "default": {}}}


def site(parameters: dict[str, t.Any]) -> Settings:
    """The options of the site, as the inventory has them; what is no option is refused."""
    fields = Fields(parameters["settings"], "settings")
    fields.path = ""
    read = settings.read(fields)
    for name in settings.SITE_OPTIONS:
        fields.raw(name)  # some describe a declaration's networks, which a command has none of
    fields.path = "settings"
    fields.done()
    return read


def given(parameters: dict[str, t.Any], names: t.Iterable[str]) -> dict[str, t.Any]:
    """The options of these names that the operator has set."""
    return {name: parameters[name] for name in names if parameters.get(name) is not None}


def apply(
    parameters: dict[str, t.Any], check_mode: bool, work: t.Callable[[Ledger], dict[str, t.Any]]
) -> dict[str, t.Any]:
    """Do `work` in one transaction of the store; the module's result is what it returns and what was changed."""
    by = store.author(parameters["run"], parameters["user"])
    applied = store.operate(parameters["state_url"], work, check_mode, by)
    return {
        "changed": applied.changed,
        "actions": applied.actions,
        "diff": state.listing(applied.changes),
        **applied.result,
    }
