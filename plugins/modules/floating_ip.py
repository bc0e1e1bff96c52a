#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: floating_ip
short_description: Allocate, associate, disassociate or release floating IPs
description:
  - Does what nova's API did with floating IPs, on the store that M(tenantnet.nova.network_controller) allocates in.
    Hosts get to know of it at the next run of the site.
  - What is done by command stays when the inventory does not declare it. What a command changes of what the inventory
    declares, that run puts back.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.author
  - tenantnet.nova.store.settings
  - tenantnet.nova.attributes
attributes:
  idempotent:
    support: partial
    details: Without an address, V(allocated) takes a further one each time.
options:
  state:
    description:
      - V(allocated) gives O(project) the floating IP O(address). Without an address it takes the next free one of
        O(pool), another one each time. Refused beyond the quota of the project, which auto-assigned ones do not count
        in.
      - V(associated) lets the floating IP, which has to be allocated, lead to O(instance) or to O(fixed_address) of an
        instance of its project. If it leads elsewhere, it moves.
      - V(disassociated) lets it lead nowhere. The project keeps it.
      - V(released) gives it back to its pool. Refused while it leads to an instance, unless O(force) is set.
    type: str
    required: true
    choices: [allocated, associated, disassociated, released]
  address:
    description: The floating IP. Only V(allocated) can do without it.
    type: str
  pool:
    description:
      - The pool to allocate from. Default is the C(nova_default_floating_pool) of O(settings), V(nova) where that is
        not set.
    type: str
  project:
    description:
      - The project that gets the floating IP, which V(allocated) needs. With other states, the one that has to have it.
    type: str
  instance:
    description: The instance that the floating IP shall lead to.
    type: str
  network:
    description: The network of O(instance) whose address is meant. Default is its first one.
    type: str
  fixed_address:
    description: The fixed IP that the floating IP shall lead to.
    type: str
  force:
    description:
      - Whether to release a floating IP that leads to an instance, or to disassociate an auto-assigned one, which goes
        back to its pool by that.
    type: bool
    default: false
seealso:
  - module: tenantnet.nova.floating_ip_info
  - module: tenantnet.nova.floating_range
"""

EXAMPLES = r"""
- name: Allocate one of the pool
  tenantnet.nova.floating_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: allocated
    project: acme
    pool: public
  register: allocated

- name: Lead it to an instance
  tenantnet.nova.floating_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: associated
    address: "{{ allocated.floating_ip.address }}"
    instance: web1

- name: Give it back, wherever it leads
  tenantnet.nova.floating_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: released
    address: "{{ allocated.floating_ip.address }}"
    force: true
"""

RETURN = r"""
floating_ip:
  description: The floating IP as it is now, as M(tenantnet.nova.floating_ip_info) tells it.
  returned: success
  type: dict
  sample:
    address: 198.51.100.1
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
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["reassign floating IP 198.51.100.1 of pool public -> project=acme allocated_by=command"]
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
            "state": {
                "type": "str",
                "required": True,
                "choices": ["allocated", "associated", "disassociated", "released"],
            },
            "address": {"type": "str"},
            "pool": {"type": "str"},
            "project": {"type": "str"},
            "instance": {"type": "str"},
            "network": {"type": "str"},
            "fixed_address": {"type": "str"},
            "force": {"type": "bool", "default": False},
        },
        required_if=[
            ("state", "allocated", ("project",)),
            ("state", "associated", ("address",)),
            ("state", "associated", ("instance", "fixed_address"), True),
            ("state", "disassociated", ("address",)),
            ("state", "released", ("address",)),
        ],
        mutually_exclusive=[("instance", "fixed_address")],
        required_by={"network": ("instance",)},
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.floating_ip(module.params, module.check_mode))


if __name__ == "__main__":
    main()
