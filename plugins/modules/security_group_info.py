#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group_info
short_description: List the security groups of projects
description:
  - Lists groups with their subnets and the instances that are in them.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  project:
    description: Only groups of this project.
    type: str
  name:
    description: Only groups of this name.
    type: str
seealso:
  - module: tenantnet.nova.security_group
"""

EXAMPLES = r"""
- name: List the security groups of a project
  tenantnet.nova.security_group_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    project: acme
  register: nova
"""

RETURN = r"""
security_groups:
  description: The groups by project and name.
  returned: success
  type: list
  elements: dict
  sample:
    - project: acme
      name: web
      network: red
      subnet: 10.2.0.224/28
      origin: command
      description:
      rules:
        - direction: ingress
          protocol: tcp
          ports: "80"
          icmp_type:
          icmp_code:
          cidr:
          group:
          origin: command
      instances: [web1, web2]
table:
  description: The lines of a table.
  returned: success
  type: list
  elements: str
  sample:
    - project  security group  network  subnet         instances
    - acme     web             red      10.2.0.224/28  2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _projects
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_command.STORE, "project": {"type": "str"}, "name": {"type": "str"}},
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _projects.groups(module.params))


if __name__ == "__main__":
    main()
