#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: floating_range
short_description: Create or delete ranges of floating IPs
description:
  - Does what C(nova-manage floating create) and C(delete) did, on the store that M(tenantnet.nova.network_controller)
    allocates in, all addresses or none.
  - What is made by command stays when the inventory does not declare it. What a command deletes of what the inventory
    declares, the next run of the site makes again.
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
      - V(present) creates the addresses. Where all of them are there already, of that pool and interface, it is no
        change; where some are, it is refused.
      - V(absent) deletes those that are there. Refused while one is allocated to a project, unless O(force) is set.
    type: str
    choices: [present, absent]
    default: present
  range:
    description:
      - Ranges, each a single address, C(first-last) with all addresses between, or in CIDR form, of which the hosts are
        taken. Of IPv6 these are all but the first. A range in CIDR form of less than four addresses is refused, and any
        of a million or more, such as a whole C(/64).
    type: list
    elements: str
    required: true
  pool:
    description:
      - Name of the pool. Default for V(present) is the C(nova_default_floating_pool) of O(settings), V(nova) where that
        is not set. With V(absent), addresses of another pool are refused where it is given.
    type: str
  interface:
    description: Interface that the addresses are on, on hosts without C(nova_public_interface).
    type: str
  force:
    description: Whether to delete addresses that are in use.
    type: bool
    default: false
seealso:
  - module: tenantnet.nova.floating_ip
  - module: tenantnet.nova.floating_ip_info
"""

EXAMPLES = r"""
- name: Create a pool
  tenantnet.nova.floating_range:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    range: [198.51.100.0/28]
    pool: public

- name: Delete one address of it
  tenantnet.nova.floating_range:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: absent
    range: [198.51.100.14]
"""

RETURN = r"""
addresses:
  description: The addresses that were created or deleted.
  returned: success
  type: list
  elements: str
  sample: [198.51.100.14]
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["delete floating IP 198.51.100.14 of pool public origin=command"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            **_command.SETTINGS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "range": {"type": "list", "elements": "str", "required": True},
            "pool": {"type": "str"},
            "interface": {"type": "str"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.floating_range(module.params, module.check_mode))


if __name__ == "__main__":
    main()
