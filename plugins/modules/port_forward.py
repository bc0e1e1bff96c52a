#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_forward
short_description: Lead ports of a floating IP to an instance by command
description:
  - Several instances may be behind one floating IP, each by ports of its own. Hosts get to know of it at the next run
    of the site.
  - What is done by command stays when the inventory does not declare it. What a command changes of what the inventory
    declares, that run puts back.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.author
  - tenantnet.nova.attributes
options:
  state:
    description:
      - V(present) leads the ports to O(instance). If they lead elsewhere, they move.
      - V(absent) lets them lead nowhere.
    type: str
    choices: [present, absent]
    default: present
  address:
    description:
      - The floating IP. It has to be allocated to the project of the instance, and must not lead to one as a whole; see
        M(tenantnet.nova.floating_ip).
    type: str
    required: true
  protocol:
    description: The protocol of the ports.
    type: str
    choices: [tcp, udp]
    required: true
  ports:
    description: One port, such as V(80), or a range, such as V(8000:8010). A port leads to one instance.
    type: str
    required: true
  instance:
    description: The instance, with V(present).
    type: str
  network:
    description: The network of O(instance) whose address is meant. Default is its first one.
    type: str
  fixed_port:
    description:
      - The port of the instance that the first of O(ports) leads to, the others following. Default is the first of
        O(ports) itself.
    type: int
seealso:
  - module: tenantnet.nova.port_forward_info
  - module: tenantnet.nova.floating_ip
"""

EXAMPLES = r"""
- name: Lead port 80 of a floating IP to port 8080 of one instance
  tenantnet.nova.port_forward:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    address: 198.51.100.2
    protocol: tcp
    ports: "80"
    instance: web1
    fixed_port: 8080

- name: And a range of ports of it to another one
  tenantnet.nova.port_forward:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    address: 198.51.100.2
    protocol: udp
    ports: "8000:8010"
    instance: web2

- name: Let port 80 lead nowhere
  tenantnet.nova.port_forward:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: absent
    address: 198.51.100.2
    protocol: tcp
    ports: "80"
"""

RETURN = r"""
port_forward:
  description: The port forward as it is now, as M(tenantnet.nova.port_forward_info) tells it; null where there is none.
  returned: success
  type: dict
  sample:
    address: 198.51.100.2
    protocol: tcp
    ports: "80"
    project: acme
    instance: web1
    network: blue
    fixed_address: 10.0.0.2
    fixed_ports: "8080"
    origin: command
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["add port forward tcp 80:80 of floating IP 198.51.100.2 to 10.0.0.2:8080 origin=command"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _port_forwards
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "address": {"type": "str", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
            "ports": {"type": "str", "required": True},
            "instance": {"type": "str"},
            "network": {"type": "str"},
            "fixed_port": {"type": "int"},
        },
        required_if=[("state", "present", ("instance",))],
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _port_forwards.port_forward(module.params, module.check_mode))


if __name__ == "__main__":
    main()
