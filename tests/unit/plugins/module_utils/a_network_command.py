# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `network` as the tests beside call it."""

from __future__ import annotations

import typing as t

from ansible_collections.tenantnet.nova.plugins.module_utils import _networks

SETTINGS = {"nova_flat_network_bridge": "br100"}
UUID = "0d6b5a3c-6e0e-4a37-9a35-2f0d2b6c3d11"


def run(url: str, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """The module network; what is not given is null, as in a module's parameters."""
    parameters = {
        **dict.fromkeys(_networks.REQUEST),
        "state": "present",
        "disassociate_project": False,
        "disassociate_host": False,
        "settings": SETTINGS,
        "run": "4711",
        "user": "alice",
        "state_url": url,
    }
    return _networks.operate({**parameters, **options}, check_mode)


def listed(url: str, **options: t.Any) -> dict[str, t.Any]:
    return _networks.info({"state_url": url, "label": None, "project": None, "manager": None, **options})


def vpns(url: str, settings: dict[str, t.Any] | None = None, project: str | None = None) -> dict[str, t.Any]:
    return _networks.vpns({"state_url": url, "settings": settings or {}, "project": project})


def the(result: dict[str, t.Any]) -> dict[str, t.Any]:
    (only,) = result["networks"]
    return only
