#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fixed_ip
short_description: Reserve fixed IPs, or put them back into the pool
description:
  - Does what C(nova-manage fixed reserve) and C(unreserve) did, on the store that M(tenantnet.nova.network_controller)
    allocates in.
  - Who holds an address keeps it; reserved, it goes to nobody else when it is given back.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.author
  - tenantnet.nova.attributes
options:
  state:
    description:
      - V(reserved) keeps the addresses out of the pool.
      - V(unreserved) puts them back. Those that the inventory reserves (C(reserved) of a network) are refused.
    type: str
    choices: [reserved, unreserved]
    default: reserved
  addresses:
    description:
      - Addresses, each alone, as C(first-last) or in CIDR form, of either version. Each has to be one that a guest of a
        network may have.
    type: list
    elements: str
    required: true
  instance:
    description:
      - Name of an instance that the addresses are kept for, which need not be there yet. It gets one of them when it
        gets a NIC on that network without naming another address.
    type: str
seealso:
  - module: tenantnet.nova.fixed_ip_info
  - module: tenantnet.nova.instance
"""

EXAMPLES = r"""
- name: Keep ten addresses out of the pool
  tenantnet.nova.fixed_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    addresses: [10.0.0.10-10.0.0.19]

- name: Keep one for an instance that is to come
  tenantnet.nova.fixed_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    addresses: [10.0.0.20]
    instance: web1

- name: Put them back
  tenantnet.nova.fixed_ip:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: unreserved
    addresses: [10.0.0.10-10.0.0.20]
"""

RETURN = r"""
addresses:
  description: The addresses that were reserved, or put back, by this.
  returned: success
  type: list
  elements: str
  sample: [10.0.0.20]
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["allocate fixed IP 10.0.0.20 of network blue, reserved reserved_by=command reserved_for=web1"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            "state": {"type": "str", "choices": ["reserved", "unreserved"], "default": "reserved"},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "instance": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.reserve(module.params, module.check_mode))


if __name__ == "__main__":
    main()
