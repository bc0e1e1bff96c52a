#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: floating_ip_info
short_description: List floating IPs
description:
  - Does what C(nova-manage floating list) did.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  range:
    description: Only addresses of these ranges, which are written as for M(tenantnet.nova.floating_range).
    type: list
    elements: str
  pool:
    description: Only addresses of this pool.
    type: str
  project:
    description: Only addresses that are allocated to this project.
    type: str
seealso:
  - module: tenantnet.nova.floating_range
  - module: tenantnet.nova.floating_ip
"""

EXAMPLES = r"""
- name: List the floating IPs of a project
  tenantnet.nova.floating_ip_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    project: acme
  register: nova

- name: Print them
  ansible.builtin.debug:
    var: nova.table
"""

RETURN = r"""
floating_ips:
  description: The floating IPs in the order of their addresses.
  returned: success
  type: list
  elements: dict
  contains:
    address: {description: The address., type: str, returned: success}
    pool: {description: Name of its pool., type: str, returned: success}
    interface: {description: "The interface that it is on, where the range has one.", type: str, returned: success}
    project: {description: The project that has it., type: str, returned: success}
    fixed_address: {description: The fixed IP that it leads to., type: str, returned: success}
    instance: {description: The instance that holds the fixed IP., type: str, returned: success}
    network: {description: Label of the network of the fixed IP., type: str, returned: success}
    auto_assigned: {description: Whether it goes back to its pool with the instance., type: bool, returned: success}
    allocated_by: {description: "Who allocated it, V(inventory) or V(command).", type: str, returned: success}
    associated_by: {description: "Who associated it, V(inventory) or V(command).", type: str, returned: success}
    origin: {description: "Who made it, V(inventory) or V(command).", type: str, returned: success}
  sample:
    - address: 198.51.100.1
      pool: public
      interface:
      project: acme
      fixed_address: 10.0.0.2
      auto_assigned: false
      allocated_by: command
      associated_by: command
      origin: command
      instance: web1
      network: blue
table:
  description: The lines of a table with nova's columns.
  returned: success
  type: list
  elements: str
  sample:
    - project  address       instance  pool    interface
    - acme     198.51.100.1  web1      public  None
    - None     198.51.100.2  None      public  None
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            "range": {"type": "list", "elements": "str"},
            "pool": {"type": "str"},
            "project": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.floating(module.params))


if __name__ == "__main__":
    main()
