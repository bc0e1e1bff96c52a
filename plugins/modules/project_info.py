#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: project_info
short_description: List projects, their quotas and what they use of them
description:
  - Does what C(nova-manage project list) and C(quota) did.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.settings
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  name:
    description: Only this project.
    type: str
seealso:
  - module: tenantnet.nova.project
"""

EXAMPLES = r"""
- name: List the quotas of a project
  tenantnet.nova.project_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    settings: "{{ hostvars[inventory_hostname] | tenantnet.nova.site_settings }}"
    name: acme
  register: nova
"""

RETURN = r"""
projects:
  description:
    - The projects by name. Of each quota, C(limit) is what holds (-1 is none), C(source) whether it is the project's
      own or that of the site, and C(used) what the project has now.
    - C(origin) is V(inventory) or V(command), whichever made the project.
  returned: success
  type: list
  elements: dict
  sample:
    - name: acme
      origin: command
      network_manager: vlan
      network_manager_source: project
      quotas:
        networks: {limit: -1, source: site, used: 1}
        fixed_ips: {limit: -1, source: site, used: 12}
        floating_ips: {limit: 20, source: project, used: 2}
        security_groups: {limit: 10, source: site, used: 0}
table:
  description: The lines of a table with one line for each quota.
  returned: success
  type: list
  elements: str
  sample:
    - project  network manager  quota            limit      in use  source
    - acme     vlan             networks         unlimited  1       site
    - acme     vlan             fixed_ips        unlimited  12      site
    - acme     vlan             floating_ips     20         2       project
    - acme     vlan             security_groups  10         0       site
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _projects
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_command.STORE, **_command.SETTINGS, "name": {"type": "str"}},
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _projects.info(module.params))


if __name__ == "__main__":
    main()
