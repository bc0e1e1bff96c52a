#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network
short_description: Create, modify or delete networks by command
description:
  - Does what C(nova-manage network create), C(modify) and C(delete) did, on the store that
    M(tenantnet.nova.network_controller) allocates in. Several networks are carved out of one range in one transaction,
    all or none.
  - What is made by command stays when the inventory does not declare it; hosts get to know of it at the next run of
    the site. What a command changes of what the inventory declares, that run puts back.
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
      - V(present) creates the networks where they are not there yet. Of one that is there, O(bridge_interface),
        O(dns1), O(dns2), O(mtu), O(priority), O(project) and O(host) are changed where they are given, O(reserved)
        addresses are added, and what else is given has to be as it is. What is not given stays as it is.
      - V(modified) is the same, but refuses a network that is not there.
      - V(absent) deletes the network, which is refused while a project has it or an address of it is allocated. One
        that is not there is no change.
    type: str
    choices: [present, modified, absent]
    default: present
  label:
    description: Name of the network. Several networks get C(label_0), C(label_1) and so on.
    type: str
  manager:
    description:
      - V(flat), V(flatdhcp) or V(vlan), or nova's class name such as C(nova.network.manager.VlanManager).
      - Default is the C(nova_network_manager) of O(settings).
    type: str
  fixed_range:
    description:
      - IPv4 range in CIDR form, of the network or of all networks together. Host bits are cleared.
      - A network that is there is found by it where no O(label) and no O(uuid) is given.
    type: str
  fixed_range_v6:
    description: IPv6 range in CIDR form. Each network gets a C(/64) of it.
    type: str
  num_networks:
    description: How many networks to carve out of the range. Default is one.
    type: int
  network_size:
    description:
      - Addresses of each network, a power of two. Required for several networks, unless O(settings) has
        C(nova_network_size). Default for one network is its whole range.
    type: int
  uuid:
    description: UUID of the network. Default is one that follows from the label.
    type: str
  vlan:
    description: VLAN number of one network of the manager V(vlan). Default is the lowest free one from O(vlan_start).
    type: int
  vlan_start:
    description: The lowest VLAN number to choose. Default is the C(nova_vlan_start) of O(settings).
    type: int
  vpn_start:
    description: The lowest public port of a VPN to choose. Default is the C(nova_vpn_start) of O(settings).
    type: int
  bridge:
    description:
      - Bridge of a network of the managers V(flat) and V(flatdhcp). The number at its end counts up where several
        networks with DHCP need one each. Default is the C(nova_flat_network_bridge) of O(settings).
    type: str
  bridge_interface:
    description: Interface that the bridge or the VLAN is on, on hosts that do not name their own.
    type: str
  gateway:
    description: Default gateway. Default is the first host address, or O(allowed_start).
    type: str
  gateway_v6:
    description: IPv6 gateway. Default is the first address after that of the network.
    type: str
  dhcp_server:
    description: Address of the DHCP server. Default is the gateway.
    type: str
  dhcp_start:
    description: The first address that DHCP knows. Default is the one after the network's own.
    type: str
  allowed_start:
    description: The first address that a guest may have.
    type: str
  allowed_end:
    description: The last address that a guest may have.
    type: str
  fixed_cidr:
    description: The part of O(fixed_range) whose addresses guests may have, instead of its two ends.
    type: str
  dns1:
    description: The first DNS server. Default is the C(nova_flat_network_dns) of O(settings).
    type: str
  dns2:
    description: The second DNS server.
    type: str
  mtu:
    description: MTU in bytes. Default is the C(nova_network_device_mtu) of O(settings).
    type: int
  multi_host:
    description: Whether each host serves its own guests. Default is the C(nova_multi_host) of O(settings).
    type: bool
  host:
    description: The host that serves the network.
    type: str
  priority:
    description: The order of a guest's NICs, lowest first.
    type: int
  project:
    description: The project that has the network.
    type: str
  reserved:
    description: Addresses that nobody gets, each alone, as C(first-last) or in CIDR form.
    type: list
    elements: str
  disassociate_project:
    description: Whether to take the network from its project. Refused while the project uses it.
    type: bool
    default: false
  disassociate_host:
    description: Whether the network shall have no host any more, so that the next run of the site gives it one.
    type: bool
    default: false
seealso:
  - module: tenantnet.nova.network_info
  - module: tenantnet.nova.project
"""

EXAMPLES = r"""
- name: Carve four networks out of a range
  tenantnet.nova.network:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    label: blue
    fixed_range: 10.1.0.0/16
    num_networks: 4
    network_size: 256
    bridge: br100

- name: Create a network of VLAN 200 for a project
  tenantnet.nova.network:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    label: red
    manager: vlan
    fixed_range: 10.2.0.0/24
    vlan: 200
    project: acme

- name: Take it from the project
  tenantnet.nova.network:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: modified
    fixed_range: 10.2.0.0/24
    disassociate_project: true

- name: Delete it
  tenantnet.nova.network:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    state: absent
    label: red
"""

RETURN = r"""
networks:
  description: The networks with every field, as they are now; those that were deleted with O(state=absent).
  returned: success
  type: list
  elements: dict
  sample:
    - label: red
      uuid: 8a5e2b43-2a3d-5d94-9f0b-2b6f2dd0a5d0
      manager: vlan
      cidr: 10.2.0.0/24
      gateway: 10.2.0.1
      dhcp_server: 10.2.0.1
      dhcp_start: 10.2.0.3
      allowed_start: 10.2.0.3
      allowed_end: 10.2.0.254
      cidr_v6:
      gateway_v6:
      vlan: 200
      bridge: br200
      bridge_interface:
      vpn_private_address: 10.2.0.2
      vpn_public_address:
      vpn_public_port: 1000
      dns1:
      dns2:
      mtu:
      multi_host: false
      host:
      priority:
      project: acme
      project_origin: command
      origin: command
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["modify network red project=acme project_origin=command -> project=None project_origin=None"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _command, _front, _networks
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            **_command.SETTINGS,
            "state": {"type": "str", "choices": ["present", "modified", "absent"], "default": "present"},
            "label": {"type": "str"},
            "manager": {"type": "str"},
            "fixed_range": {"type": "str"},
            "fixed_range_v6": {"type": "str"},
            "num_networks": {"type": "int"},
            "network_size": {"type": "int"},
            "uuid": {"type": "str"},
            "vlan": {"type": "int"},
            "vlan_start": {"type": "int"},
            "vpn_start": {"type": "int"},
            "bridge": {"type": "str"},
            "bridge_interface": {"type": "str"},
            "gateway": {"type": "str"},
            "gateway_v6": {"type": "str"},
            "dhcp_server": {"type": "str"},
            "dhcp_start": {"type": "str"},
            "allowed_start": {"type": "str"},
            "allowed_end": {"type": "str"},
            "fixed_cidr": {"type": "str"},
            "dns1": {"type": "str"},
            "dns2": {"type": "str"},
            "mtu": {"type": "int"},
            "multi_host": {"type": "bool"},
            "host": {"type": "str"},
            "priority": {"type": "int"},
            "project": {"type": "str"},
            "reserved": {"type": "list", "elements": "str"},
            "disassociate_project": {"type": "bool", "default": False},
            "disassociate_host": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _networks.operate(module.params, module.check_mode))


if __name__ == "__main__":
    main()
