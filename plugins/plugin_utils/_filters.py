# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the filter plugins share. Private to the collection; may change at any time."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import NovaError

_Function = t.Callable[..., t.Any]


def filters(*functions: _Function) -> dict[str, _Function]:
    """The functions as filters of their names: what is wrong with the input becomes the template's error."""
    return {function.__name__: _filter(function) for function in functions}


def _filter(function: _Function) -> _Function:
    @functools.wraps(function)
    def called(*args: t.Any, **options: t.Any) -> t.Any:
        try:
            return function(*args, **options)
        except NovaError as error:
            raise AnsibleFilterError(f"{function.__name__}: {error}") from error

    return called
