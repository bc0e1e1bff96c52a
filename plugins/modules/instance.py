#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: Give one instance its addresses, or take them back
description:
  - Allocates for one instance, or takes back, what M(tenantnet.nova.network_controller) does for those of the
    inventory, at a cost that does not grow with the site. It is for tools that provision guests, and for those that
    find one gone.
  - Hosts get to know of it at the next run of the site.
  - What is made by command stays when the inventory does not declare it. What a command changes of what the inventory
    declares, the next run of the site puts back.
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
      - V(present) gives the instance what is asked for. It keeps the addresses and MAC addresses that it has, unless
        others are asked for. NICs and security groups that are not asked for any longer are taken from it.
      - V(absent) takes back all that the instance has. Floating IPs lead to it no more.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the instance, which is its host name.
    type: str
    required: true
  project:
    description: Its project, which V(present) needs. With V(absent), an instance of another one is refused.
    type: str
  host:
    description: The host that it runs on, which V(present) needs. With V(absent), an instance elsewhere is refused.
    type: str
  network:
    description:
      - Label of the network that it has its NIC on. Default is one NIC on each network that the project may use. In
        VLAN mode a project without a network gets one by that.
    type: str
  address:
    description: Address of that NIC, of either version. Default is one that the NIC has, is kept for it, or is free.
    type: str
  address_v6:
    description: IPv6 address of that NIC, where O(address) is IPv4. Default is the one that its MAC address leads to.
    type: str
  mac:
    description: MAC address of that NIC. Default is one that follows from the names of network and instance.
    type: str
  allowed_address_pairs:
    description:
      - What the guest may send from on that NIC beside its own addresses, such as an address that it shares with others
        by VRRP. Without it, nothing else. All else that a guest sends is dropped on its host.
      - An address or range that holds the network's gateway, DHCP server or VPN, or a host's gateway in a multi_host
        network, is refused, and so is one of all addresses. One that holds addresses of other guests is not. To keep
        such an address from being given to an instance, reserve it with M(tenantnet.nova.fixed_ip).
    type: list
    elements: dict
    suboptions:
      ip_address:
        description: An address of either version, or a range in CIDR form.
        type: str
        required: true
      mac_address:
        description: The MAC address that goes with it. Default is the one of the NIC.
        type: str
  networks:
    description:
      - For several NICs, their networks, each as a label or as a mapping with C(label), C(address), C(address_v6),
        C(mac) and C(allowed_address_pairs). Then O(network), O(address), O(address_v6), O(mac) and
        O(allowed_address_pairs) are not to be given.
    type: list
    elements: raw
  security_groups:
    description: Names of the project's security groups that the instance is in. Default is the group C(default).
    type: list
    elements: str
  floating_ip:
    description:
      - A floating IP that shall lead to the instance; it is allocated to the project where it is nobody's. With V(any)
        or V(true) it is the next free one of O(floating_pool), unless one of the pool leads to the instance already.
      - Without it, what leads to the instance does so still, and it gets one by itself where O(settings) has
        C(nova_auto_assign_floating_ip).
    type: str
  floating_pool:
    description: The pool to take a floating IP from. Default is the C(nova_default_floating_pool) of O(settings).
    type: str
seealso:
  - module: tenantnet.nova.instance_info
  - module: tenantnet.nova.floating_ip
"""

EXAMPLES = r"""
- name: Give an instance its addresses
  tenantnet.nova.instance:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    name: web1
    project: acme
    host: compute1
    network: blue
    floating_ip: any
  register: nova

- name: Let two instances share an address by VRRP
  tenantnet.nova.instance:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    name: "{{ item }}"
    project: acme
    host: compute1
    network: blue
    allowed_address_pairs:
      - ip_address: 10.0.0.50
      - ip_address: 10.0.0.50
        mac_address: 00:00:5e:00:01:01
  loop: [web1, web2]

- name: Print what its guest is to be given
  ansible.builtin.debug:
    var: nova.instance.ports

- name: Take them back when it is gone
  tenantnet.nova.instance:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: absent
    name: web1
"""

RETURN = r"""
instance:
  description:
    - The instance as it is now, as M(tenantnet.nova.instance_info) tells it; null where it is gone.
  returned: success
  type: dict
  sample:
    name: web1
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
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["add instance web1 of project acme on host compute1 origin=command"]
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
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "project": {"type": "str"},
            "host": {"type": "str"},
            "network": {"type": "str"},
            "address": {"type": "str"},
            "address_v6": {"type": "str"},
            "mac": {"type": "str"},
            "allowed_address_pairs": {
                "type": "list",
                "elements": "dict",
                "options": {"ip_address": {"type": "str", "required": True}, "mac_address": {"type": "str"}},
            },
            "networks": {"type": "list", "elements": "raw"},
            "security_groups": {"type": "list", "elements": "str"},
            "floating_ip": {"type": "str"},
            "floating_pool": {"type": "str"},
        },
        required_if=[("state", "present", ("project", "host"))],
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _addresses.instance(module.params, module.check_mode))


if __name__ == "__main__":
    main()
