# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that pick what the network controller takes out of Ansible's variables."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.tenantnet.nova.plugins.module_utils._core import declaration, settings
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import NovaError


def site_settings(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The site-wide options among a host's variables."""
    _check_names(variables, "site")
    return settings.select(variables, settings.SITE_OPTIONS)


def host_settings(hostvars: t.Mapping[str, t.Any], groups: t.Mapping[str, list[str]]) -> dict[str, t.Any]:
    """What each host does, by the groups that it is in, and its own options."""
    nodes: dict[str, list[str]] = {}
    for node in declaration.NODES:
        for host in groups.get(f"{node}_nodes", []):
            nodes.setdefault(host, []).append(node)
    picked = {}
    for host, does in nodes.items():
        _check_names(hostvars[host], f"host {host}")
        picked[host] = {"nodes": does, **settings.select(hostvars[host], settings.HOST_OPTIONS)}
    return picked


def host_links(hostvars: t.Mapping[str, t.Any], groups: t.Mapping[str, list[str]]) -> dict[str, t.Any]:
    """What host_info returned on each host, registered there as host_info_result; hosts without it are left out."""
    links = {}
    for node in declaration.NODES:
        for host in groups.get(f"{node}_nodes", []):
            result = hostvars[host].get("host_info_result")
            if result and "links" in result:
                links[host] = result["links"]
    return links


def _check_names(variables: t.Iterable[str], owner: str) -> None:
    try:
        settings.check_names(variables, owner)
    except NovaError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"site_settings": site_settings, "host_settings": host_settings, "host_links": host_links}
