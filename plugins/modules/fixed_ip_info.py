#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fixed_ip_info
short_description: List fixed IPs with their states
description:
  - Does what C(nova-manage fixed list) did, of all addresses that somebody holds or once held, or that are reserved.
    An address of a network that nobody ever had is told of where it is asked for by O(address).
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  address:
    description: Only this address.
    type: str
  network:
    description: Only addresses of the network of this label.
    type: str
  instance:
    description: Only addresses that this instance holds.
    type: str
  project:
    description: Only addresses that instances of this project hold.
    type: str
  host:
    description: Only addresses on this host, those of its instances and those that it has as a gateway itself.
    type: str
  state:
    description:
      - Only addresses in this state.
      - V(allocated) ones are held by an instance, or by a host as its gateway; of V(leased) ones the host has reported
        a DHCP lease as well.
      - V(quarantined) ones were given back, but their former guest may still use them.
      - V(reserved) ones are kept out of the pool.
      - V(free) ones may be given out at any time.
    type: str
    choices: [free, allocated, leased, quarantined, reserved]
seealso:
  - module: tenantnet.nova.fixed_ip
  - module: tenantnet.nova.leases
"""

EXAMPLES = r"""
- name: List the addresses on a host
  tenantnet.nova.fixed_ip_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    host: compute1
  register: nova

- name: Print them
  ansible.builtin.debug:
    var: nova.table

- name: May this address be given out?
  tenantnet.nova.fixed_ip_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    address: 10.0.0.20
  register: asked
  failed_when: asked.fixed_ips | map(attribute='state') | list != ['free']
"""

RETURN = r"""
fixed_ips:
  description: The addresses in their order.
  returned: success
  type: list
  elements: dict
  contains:
    network: {description: Label of the network., type: str, returned: success}
    address: {description: The address., type: str, returned: success}
    version: {description: 4 or 6., type: int, returned: success}
    state: {description: One of the values of O(state)., type: str, returned: success}
    instance: {description: The instance that holds it., type: str, returned: success}
    mac: {description: MAC address of the instance's NIC., type: str, returned: success}
    host:
      description: The host of the instance, or the one that has the address as its gateway.
      type: str
      returned: success
    reserved_by:
      description:
        - Who keeps it out of the pool, V(inventory), V(command), or V(network) for what a network has for itself.
      type: str
      returned: success
    reserved_for: {description: The one instance that gets it nevertheless., type: str, returned: success}
    quarantined_until: {description: When it may be given out again., type: str, returned: success}
  sample:
    - network: blue
      address: 10.0.0.3
      version: 4
      state: quarantined
      instance:
      mac:
      host:
      reserved_by:
      reserved_for:
      quarantined_until: "2026-03-01T12:10:00.000000Z"
table:
  description: The lines of a table with nova's columns and the state.
  returned: success
  type: list
  elements: str
  sample:
    - network      IP address  hostname  host      state
    - 10.0.0.0/24  10.0.0.2    web1      compute1  leased
    - 10.0.0.0/24  10.0.0.3    None      None      quarantined
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            "address": {"type": "str"},
            "network": {"type": "str"},
            "instance": {"type": "str"},
            "project": {"type": "str"},
            "host": {"type": "str"},
            "state": {"type": "str", "choices": ["free", "allocated", "leased", "quarantined", "reserved"]},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.fixed(module.params))


if __name__ == "__main__":
    main()
