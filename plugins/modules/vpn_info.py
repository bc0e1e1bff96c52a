#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpn_info
short_description: List the VPN endpoints of projects
description:
  - Does what C(nova-manage vpn list) did. Each VLAN network of a project has an endpoint, whether a VPN runs there or
    not.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.settings
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  project:
    description: Only the endpoints of this project.
    type: str
seealso:
  - module: tenantnet.nova.network_info
"""

EXAMPLES = r"""
- name: List the VPN endpoints
  tenantnet.nova.vpn_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    settings: "{{ hostvars[inventory_hostname] | tenantnet.nova.site_settings }}"
  register: nova
"""

RETURN = r"""
vpns:
  description:
    - The endpoints, by project.
    - C(vpn_public_address) is the C(nova_vpn_ip) of O(settings), else what the network was created with; null where it
      is the own address of C(host), which serves the network.
    - C(instance) is the project's VPN instance, which nova's name C(<project>-vpn) tells, C(state) the state of its
      address; all null where there is none.
  returned: success
  type: list
  elements: dict
  sample:
    - project: acme
      network: red
      host: net1
      vpn_public_address: 192.0.2.1
      vpn_public_port: 1000
      vpn_private_address: 10.2.0.2
      instance: acme-vpn
      instance_host: compute1
      state: allocated
table:
  description: The lines of a table with nova's columns.
  returned: success
  type: list
  elements: str
  sample:
    - project  ip:port         private_ip  state
    - acme     192.0.2.1:1000  10.2.0.2    acme-vpn on compute1, allocated
    - other    192.0.2.1:1001  10.2.1.2    None
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _networks
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_command.STORE, **_command.SETTINGS, "project": {"type": "str"}},
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _networks.vpns(module.params))


if __name__ == "__main__":
    main()
