# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters on a guest's ports: what the guest is given, and what attaches it."""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils._core import guest_config
from ansible_collections.tenantnet.nova.plugins.plugin_utils import _filters


def nocloud_seed(value: t.Any, hostname: t.Any, instance_id: t.Any = None, user_data: t.Any = None) -> str:
    """A NoCloud seed image in base64."""
    return base64.b64encode(guest_config.nocloud_seed(value, hostname, instance_id, user_data)).decode("ascii")


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return _filters.filters(
            guest_config.interfaces_file,
            guest_config.network_config,
            nocloud_seed,
            guest_config.libvirt_interface,
            guest_config.qemu_arguments,
            guest_config.lxc_device,
        )
