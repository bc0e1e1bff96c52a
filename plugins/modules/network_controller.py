#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_controller
short_description: Reconcile the declared networks and instances with the store, and compose the host plans
description:
  - Takes the whole declaration of a site in one call, allocates what it asks for in one transaction of the store, and
    returns one plan per host for the modules that apply it.
  - An instance keeps its fixed IPs and MAC addresses for its life. What the inventory made and no longer declares is
    removed; its addresses are the last to be given out again. What a command made stays. A removal that would drop
    something in use is refused with the reason and the names.
  - In check mode the module predicts the very addresses that the real run then gives, and writes nothing, not even an
    absent store.
  - Everything is checked before anything is written. Two runs at once on one store decide one after the other.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes
options:
  run:
    description:
      - What the history of the store calls this run, such as the number of a pipeline. Default is a word by chance.
    type: str
  user:
    description: Who the history of the store says has changed it. Default is the user of the login.
    type: str
  settings:
    description:
      - Options that hold for the whole site, under nova's names with the prefix V(nova_), such as
        V(nova_network_manager), V(nova_fixed_range), V(nova_flat_network_bridge) or V(nova_multi_host).
      - The role P(tenantnet.nova.network_controller#role) documents each of them.
    type: dict
    default: {}
  networks:
    description:
      - The networks of the site, each with C(label), C(fixed_range) or C(fixed_range_v6), and further fields of nova's
        C(network create), as M(tenantnet.nova.network) has them.
      - Without it, the V(nova_fixed_range) of O(settings) describes the networks. An empty list removes every network
        that the inventory made.
    type: list
    elements: dict
  projects:
    description:
      - The projects, by name or as mappings with a C(name), and optionally C(network_manager), C(floating_ips) and
        quotas.
    type: list
    elements: raw
    default: []
  instances:
    description:
      - The instances, each with C(name), C(project) and C(host), and optionally C(network), C(address), C(address_v6),
        C(mac) and C(allowed_address_pairs), or C(networks) with C(label) and these each; C(security_groups);
        C(floating_ip) and C(floating_pool).
    type: list
    elements: dict
    default: []
  security_groups:
    description:
      - The security groups, each with C(project) and C(name), and optionally C(rules), C(description), C(subnet_size)
        or C(subnet), and C(network).
    type: list
    elements: dict
    default: []
  floating_ranges:
    description:
      - The floating IPs, each entry a range or a mapping with C(range), C(pool) and C(interface).
    type: list
    elements: raw
    default: []
  floating_port_forwards:
    description:
      - Single ports of floating IPs that lead to instances, each with C(address), C(protocol), C(ports) and
        C(instance), and optionally C(network) and C(fixed_port).
    type: list
    elements: dict
    default: []
  hosts:
    description:
      - The hosts by inventory name, each with C(nodes) (what it does, any of V(bridging), V(addressing), V(routing)).
      - Each may have its own C(nova_flat_interface), C(nova_vlan_interface), C(nova_bridge_interfaces),
        C(nova_allow_move_addresses), C(nova_public_interface), C(nova_routing_source_ip), C(nova_my_ip) and
        C(nova_persistent_taps).
      - The filter P(tenantnet.nova.host_settings#filter) picks them from C(hostvars).
    type: dict
    required: true
  host_links:
    description:
      - What M(tenantnet.nova.host_info) returned for the hosts that could be reached, by inventory name. The plans are
        checked against it before anything is written. A host that is not in it is planned unchecked.
    type: dict
    default: {}
  packed:
    description:
      - Whether each section of the plans is returned as one short text instead of values. Ansible carries a text as it
        is, and looks at each value of a mapping many times over, with thousands of floating IPs for many seconds.
      - The modules take either. To read a section in a playbook there is the filter P(tenantnet.nova.unpacked#filter).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Allocate and plan one flat DHCP network on two hosts
  tenantnet.nova.network_controller:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    settings:
      nova_network_manager: flatdhcp
      nova_fixed_range: 10.0.0.0/24
      nova_flat_network_bridge: br100
    projects: [acme]
    instances:
      - {name: web1, project: acme, host: compute1}
      - {name: web2, project: acme, host: compute1, address: 10.0.0.20}
    hosts:
      net1: {nodes: [bridging, addressing, routing], nova_flat_interface: eth1, nova_public_interface: eth2}
      compute1: {nodes: [bridging], nova_flat_interface: eth1}
  register: nova
"""

RETURN = r"""
plans:
  description: The plan of each host by inventory name, as described by C(host_plan.schema.json).
  returned: success
  type: dict
  sample: {compute1: {version: 1, host: compute1}}
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["allocate fixed IP 10.0.0.20 of network nova, instance web2"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _controller, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # A password may stand in it.
            "state_url": {"type": "str", "required": True, "no_log": True},
            "run": {"type": "str"},
            "user": {"type": "str"},
            "settings": {"type": "dict", "default": {}},
            "networks": {"type": "list", "elements": "dict"},
            "projects": {"type": "list", "elements": "raw", "default": []},
            "instances": {"type": "list", "elements": "dict", "default": []},
            "hosts": {"type": "dict", "required": True},
            "security_groups": {"type": "list", "elements": "dict", "default": []},
            "floating_ranges": {"type": "list", "elements": "raw", "default": []},
            "floating_port_forwards": {"type": "list", "elements": "dict", "default": []},
            "host_links": {"type": "dict", "default": {}},
            "packed": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    large = ("networks", "instances", "hosts", "security_groups", "host_links")
    _front.run(module, lambda: _controller.run(module.params, module.check_mode), large)


if __name__ == "__main__":
    main()
