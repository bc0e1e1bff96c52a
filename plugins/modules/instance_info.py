#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_info
short_description: List instances with their NICs and addresses
description:
  - Tells what somebody who provisions a guest has to know of it. What is asked for one instance costs the same on any
    site.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  name:
    description: Only the instance of this name.
    type: str
  project:
    description: Only instances of this project.
    type: str
  host:
    description: Only instances on this host.
    type: str
  network:
    description: Only instances with a NIC on the network of this label.
    type: str
seealso:
  - module: tenantnet.nova.instance
  - plugin: tenantnet.nova.instances
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Where is this instance, and what are its addresses?
  tenantnet.nova.instance_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    name: web1
  register: nova

- name: Print its NICs
  ansible.builtin.debug:
    var: nova.table
"""

RETURN = r"""
instances:
  description: The instances in the order of their names.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Name of the instance., type: str, returned: success}
    project: {description: Its project., type: str, returned: success}
    host: {description: The host that it runs on., type: str, returned: success}
    origin: {description: "Who made it, V(inventory) or V(command).", type: str, returned: success}
    security_groups: {description: The names of its security groups., type: list, elements: str, returned: success}
    ports:
      description:
        - Its NICs in the order of their networks. Addresses have their prefix length; what a network has not is null.
          C(device) is the name of the port on the host, C(allowed_address_pairs) is what the guest may send from beside
          its own addresses, each with C(ip_address) and C(mac_address), and C(floating_ips) are those that lead to it.
      type: list
      elements: dict
      returned: success
  sample:
    - name: web1
      project: acme
      host: compute1
      origin: command
      security_groups: [default]
      ports:
        - network: blue
          device: tap1a2b3c4d-5e
          bridge: br100
          mac: "fa:16:3e:01:02:03"
          address: 10.0.0.2/24
          gateway: 10.0.0.1
          address_v6:
          gateway_v6:
          dns: [192.0.2.53]
          vlan:
          mtu:
          allowed_address_pairs: []
          floating_ips: [198.51.100.1]
table:
  description: The lines of a table, one for each NIC.
  returned: success
  type: list
  elements: str
  sample:
    - instance  project  host      network  mac                address      address_v6  floating_ips
    - web1      acme     compute1  blue     fa:16:3e:01:02:03  10.0.0.2/24  None        198.51.100.1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            "name": {"type": "str"},
            "project": {"type": "str"},
            "host": {"type": "str"},
            "network": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.instance_list(module.params))


if __name__ == "__main__":
    main()
