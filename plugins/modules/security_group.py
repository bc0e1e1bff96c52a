#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group
short_description: Create or delete a project's security group by command
description:
  - A security group may have a subnet, a part of a network of its project, that the instances in it get their addresses
    from.
  - What is made by command stays when the inventory does not declare it.
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
      - V(present) creates the group where it is not there yet. One that is there keeps its subnet, unless another one
        is given.
      - V(absent) deletes it with its rules. Refused while instances are in it, or rules of other groups name it.
    type: str
    choices: [present, absent]
    default: present
  project:
    description: The project that has the group.
    type: str
    required: true
  name:
    description:
      - Name of the group, unique within the project. The group V(default) has the instances that are in no other, and
        no subnet.
    type: str
    required: true
  network:
    description: Label of the network that the subnet is a part of. Default is the project's first one.
    type: str
  subnet:
    description: The subnet, in CIDR form. Not to be given together with O(subnet_size).
    type: str
  subnet_size:
    description: Addresses of a subnet anywhere in the network, a power of two.
    type: int
  description:
    description: What the group is for.
    type: str
  rules:
    description:
      - What the group lets in, and out. These become all rules that it has by command; those of the inventory stay.
        Left out, it keeps the rules that it has.
      - Each may have a C(direction), V(ingress) (default) or V(egress), a C(protocol), V(tcp), V(udp), V(icmp) or
        V(icmpv6), C(ports), such as V(80) or V(8000:8010), C(icmp_type) and C(icmp_code), and either the C(cidr) or the
        C(group) of the others. What is left out sets no limit.
    type: list
    elements: dict
seealso:
  - module: tenantnet.nova.security_group_info
"""

EXAMPLES = r"""
- name: Create a group whose instances get their addresses from 16 of the project's
  tenantnet.nova.security_group:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    settings: "{{ hostvars[inventory_hostname] | tenantnet.nova.site_settings }}"
    project: acme
    name: web
    subnet_size: 16

- name: Let everybody reach port 80 of its instances, and those of the group admin port 22
  tenantnet.nova.security_group:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    project: acme
    name: web
    rules:
      - {protocol: tcp, ports: "80"}
      - {protocol: tcp, ports: "22", group: admin}

- name: Delete it
  tenantnet.nova.security_group:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    project: acme
    name: web
    state: absent
"""

RETURN = r"""
security_group:
  description: The group as it is now; null where it is deleted.
  returned: success
  type: dict
  sample: {project: acme, name: web, network: red, subnet: 10.2.0.224/28, origin: command, description: null, rules: []}
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["create security group web of project acme network=red subnet=10.2.0.224/28 origin=command"]
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
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "network": {"type": "str"},
            "subnet": {"type": "str"},
            "subnet_size": {"type": "int"},
            "description": {"type": "str"},
            "rules": {"type": "list", "elements": "dict"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _projects.operate_group(module.params, module.check_mode))


if __name__ == "__main__":
    main()
