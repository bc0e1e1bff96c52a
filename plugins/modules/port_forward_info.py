#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_forward_info
short_description: List port forwards
description:
  - Lists which ports of floating IPs lead to which instances.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  address:
    description: Only ports of this floating IP.
    type: str
  instance:
    description: Only ports that lead to this instance.
    type: str
  project:
    description: Only ports of floating IPs of this project.
    type: str
seealso:
  - module: tenantnet.nova.port_forward
"""

EXAMPLES = r"""
- name: List what leads to an instance by single ports
  tenantnet.nova.port_forward_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    instance: web1
  register: nova

- name: Print it
  ansible.builtin.debug:
    var: nova.table
"""

RETURN = r"""
port_forwards:
  description: The port forwards by address, protocol and port.
  returned: success
  type: list
  elements: dict
  contains:
    address: {description: The floating IP., type: str, returned: success}
    protocol: {description: "V(tcp) or V(udp).", type: str, returned: success}
    ports: {description: "Its ports, a range with a colon.", type: str, returned: success}
    project: {description: The project that has the floating IP., type: str, returned: success}
    instance: {description: The instance that they lead to., type: str, returned: success}
    network: {description: Label of the network of its address., type: str, returned: success}
    fixed_address: {description: Its fixed IP., type: str, returned: success}
    fixed_ports: {description: Its ports., type: str, returned: success}
    origin: {description: "Who made it, V(inventory) or V(command).", type: str, returned: success}
  sample:
    - address: 198.51.100.2
      protocol: tcp
      ports: "80"
      project: acme
      instance: web1
      network: blue
      fixed_address: 10.0.0.2
      fixed_ports: "8080"
      origin: command
table:
  description: The lines of a table.
  returned: success
  type: list
  elements: str
  sample:
    - project  address       protocol  ports  instance  fixed_address  fixed_ports
    - acme     198.51.100.2  tcp       80     web1      10.0.0.2       8080
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _port_forwards
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            "address": {"type": "str"},
            "instance": {"type": "str"},
            "project": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _port_forwards.listing(module.params))


if __name__ == "__main__":
    main()
