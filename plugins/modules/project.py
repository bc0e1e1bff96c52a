#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: project
short_description: Create, scrub or delete projects by command
description:
  - Does what C(nova-manage project create), C(quota), C(scrub) and C(delete) did, on the store that
    M(tenantnet.nova.network_controller) allocates in.
  - What is made by command stays when the inventory does not declare it. What a command changes of what the inventory
    declares, the next run of the site puts back.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.author
  - tenantnet.nova.store.settings
  - tenantnet.nova.attributes
options:
  state:
    description:
      - V(present) creates the project, or gives it the manager and quotas that are given; others stay as they are.
      - V(scrubbed) frees the networks of the project for others. Refused while instances or the subnets of security
        groups are on them.
      - V(absent) deletes the project. Refused while it has instances, floating IPs, security groups or networks.
    type: str
    choices: [present, scrubbed, absent]
    default: present
  name:
    description: Name of the project.
    type: str
    required: true
  network_manager:
    description:
      - Which networks the project's instances get where none is named, V(flat), V(flatdhcp) or V(vlan). Without it,
        the C(nova_network_manager) of the site.
    type: str
  quota_networks:
    description: How many networks the project may have; V(-1) for any number. Without it, the site's quota.
    type: int
  quota_fixed_ips:
    description: How many fixed IPs its instances may hold; V(-1) for any number. Without it, the site's quota.
    type: int
  quota_floating_ips:
    description:
      - How many floating IPs it may have, auto-assigned ones not counted; V(-1) for any number. Without it, the site's
        quota.
    type: int
  quota_security_groups:
    description: How many security groups it may have; V(-1) for any number. Without it, the site's quota.
    type: int
seealso:
  - module: tenantnet.nova.project_info
"""

EXAMPLES = r"""
- name: Create a project
  tenantnet.nova.project:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    name: acme
    network_manager: vlan
    quota_floating_ips: 20

- name: Free its networks
  tenantnet.nova.project:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    name: acme
    state: scrubbed
"""

RETURN = r"""
project:
  description: The project as it is now; null where it is deleted. A quota or a manager that is null is the site's.
  returned: success
  type: dict
  sample:
    name: acme
    network_manager: vlan
    quota_networks:
    quota_fixed_ips:
    quota_floating_ips: 20
    quota_security_groups:
    origin: command
networks:
  description: Labels of the networks that were freed.
  returned: O(state=scrubbed)
  type: list
  elements: str
  sample: [red]
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["add project acme network_manager=vlan quota_floating_ips=20 origin=command"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _projects
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            **_command.SETTINGS,
            "state": {"type": "str", "choices": ["present", "scrubbed", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "network_manager": {"type": "str"},
            "quota_networks": {"type": "int"},
            "quota_fixed_ips": {"type": "int"},
            "quota_floating_ips": {"type": "int"},
            "quota_security_groups": {"type": "int"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _projects.operate(module.params, module.check_mode))


if __name__ == "__main__":
    main()
