#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_info
short_description: List networks, and how full they are
description:
  - Does what C(nova-manage network list) did, and counts the addresses of each network by their state.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  label:
    description: Only the network of this label.
    type: str
  project:
    description: Only networks that this project has.
    type: str
  manager:
    description: Only networks of this manager, V(flat), V(flatdhcp) or V(vlan).
    type: str
seealso:
  - module: tenantnet.nova.network
"""

EXAMPLES = r"""
- name: List the networks
  tenantnet.nova.network_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
  register: nova

- name: Print them
  ansible.builtin.debug:
    var: nova.table
"""

RETURN = r"""
networks:
  description:
    - The networks in the order of their ranges, each with every field as M(tenantnet.nova.network) returns it.
    - C(addresses) counts the IPv4 addresses that guests may have by their state, C(addresses_v6) the IPv6 ones; null
      where the network has no such range.
  returned: success
  type: list
  elements: dict
  sample:
    - label: blue
      cidr: 10.0.0.0/24
      addresses: {free: 251, allocated: 1, leased: 1, quarantined: 0, reserved: 0}
      addresses_v6:
table:
  description: The lines of a table with nova's columns; the label stands for nova's number.
  returned: success
  type: list
  elements: str
  sample:
    - label  IPv4         IPv6  start address  DNS1  DNS2  VlanID  project  uuid
    - blue   10.0.0.0/24  None  10.0.0.2       None  None  None    None     8a5e2b43-2a3d-5d94-9f0b-2b6f2dd0a5d0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _networks
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            "label": {"type": "str"},
            "project": {"type": "str"},
            "manager": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _networks.info(module.params))


if __name__ == "__main__":
    main()
