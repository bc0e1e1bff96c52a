# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module as Ansible calls it, but in this process: with its own argument spec, and the result as it is printed."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import typing as t

from ansible.module_utils.testing import patch_module_args


def call(name: str, /, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """What the module returns; it may have failed."""
    module = importlib.import_module(f"ansible_collections.tenantnet.nova.plugins.modules.{name}")
    printed = io.StringIO()
    with patch_module_args({**options, "_ansible_check_mode": check_mode}):
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            module.main()
    return json.loads(printed.getvalue())


def succeed(name: str, /, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    result = call(name, check_mode, **options)
    assert not result.get("failed"), result["msg"]
    return result


def refusal(name: str, /, **options: t.Any) -> str:
    """The one message of a module that fails."""
    result = call(name, **options)
    assert result.get("failed"), result
    assert "\n" not in result["msg"] and "Traceback" not in str(result), result
    return result["msg"]
