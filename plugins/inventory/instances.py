# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instances
author: tenantnet.nova contributors (@tenantnet)
short_description: The instances of a site as an inventory
description:
  - Reads the store that M(tenantnet.nova.network_controller) allocates in, and gives each instance with its
    planned addresses, so that guests can be provisioned and managed from the moment they are planned, before they boot.
  - A configuration file ends in C(nova.yml) or C(nova.yaml).
  - Without a store there is no instance.
requirements:
  - SQLAlchemy 1.4 or newer
options:
  plugin:
    description: Name of the plugin, V(tenantnet.nova.instances).
    type: str
    required: true
    choices: [tenantnet.nova.instances]
  state_url:
    description: URL of the store, which is to be reached from the control machine.
    type: str
    default: sqlite:////var/lib/tenantnet/nova.sqlite
    env:
      - name: NOVA_STATE_URL
extends_documentation_fragment:
  - constructed
notes:
  - The variables of an instance are C(ansible_host), its first address; C(nova_project); C(nova_host), the host that
    it runs on; C(nova_networks), the labels of its networks; C(nova_security_groups), the names of its security
    groups; and C(nova_ports), for each NIC C(network), C(device), C(bridge), C(mac), C(address) and C(address_v6)
    with prefix length, C(gateway), C(gateway_v6), C(dns), C(vlan) and C(mtu). What a network has not is null.
  - The groups of an instance are C(project_NAME), C(network_LABEL), C(host_NAME) and C(security_group_PROJECT_NAME).
    Characters that Ansible does not allow in the name of a group become underscores.
"""

EXAMPLES = r"""
# site.nova.yml: all instances, grouped by project, network and host
plugin: tenantnet.nova.instances
state_url: sqlite:////var/lib/tenantnet/nova.sqlite
"""

import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import NovaError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.guests import Guest, guests
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import upkeep


class InventoryModule(BaseInventoryPlugin, Constructable):
    NAME = "tenantnet.nova.instances"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("nova.yml", "nova.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            found = guests(upkeep.read(self.get_option("state_url")).state)
        except NovaError as error:
            raise AnsibleParserError(str(error)) from error
        nics: dict[str, list[Guest]] = {}
        for guest in found:
            nics.setdefault(guest.instance.name, []).append(guest)
        for name, present in nics.items():
            self._add(name, present)

    def _add(self, name: str, nics: list[Guest]) -> None:
        instance = nics[0].instance
        labels = [nic.network.label for nic in nics]
        variables = {
            "ansible_host": nics[0].first_address,
            "nova_project": instance.project,
            "nova_host": instance.host,
            "nova_networks": labels,
            "nova_ports": [nic.port() for nic in nics],
            "nova_security_groups": list(nics[0].groups),
        }
        self.inventory.add_host(name)
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        groups = [f"project_{instance.project}", f"host_{instance.host}", *(f"network_{label}" for label in labels)]
        groups += [f"security_group_{instance.project}_{group}" for group in nics[0].groups]
        for group in groups:
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
