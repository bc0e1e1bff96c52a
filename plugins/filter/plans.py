# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that read host plans."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.plugin_utils import _filters


def unpacked(value: t.Any) -> t.Any:
    """A host plan, or a section of it, as values."""
    return packed.unpack_plan(value) if isinstance(value, Mapping) else packed.unpack(value, "value")


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return _filters.filters(unpacked)
