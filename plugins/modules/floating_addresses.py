# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: floating_addresses
short_description: Keep floating addresses bound to the interfaces of a host
version_added: 0.1.0
description:
  - Binds the floating addresses of a host to its public interfaces, each as a C(/32) or C(/128), and tells the
    neighbours of every address that it binds, so that one that moved here is found at once. It does so by gratuitous
    ARP, or an unsolicited neighbour advertisement to all nodes.
  - An IPv4 address that this module bound carries a label that ends in C(:nova), such as C(eth2:nova), an IPv6 address
    the metric 1852798561. What carries this mark and is not in the plan is unbound. Other addresses are left alone. One
    that is in the plan and there already without the mark stays as it is.
  - An IPv6 address is usable at once, without a search for duplicates, since it may still be on the host that it moves
    away from. It is deprecated, so that the host takes it for no traffic of its own.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The section C(floating_addresses) of the host plan.
      - C(addresses) is required and lists the addresses, each with its C(address) and C(interface).
      - C(send_arp) is how often the neighbours are told of an address that is bound (C(nova_send_arp_for_ha_count)).
        V(0), the default, does not tell them.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
    required: true
  only_unbind:
    description:
      - Unbind what is not in the plan, and bind nothing yet.
      - Before M(tenantnet.nova.packet_filter) takes its rules away, so that nobody reaches the host itself by an
        address that led to a guest.
    type: bool
    default: false
notes:
  - Needs no library on the host.
seealso:
  - module: tenantnet.nova.packet_filter
    description: Binds and unbinds in step with its rules.
"""

EXAMPLES = r"""
- name: Unbind what is gone
  tenantnet.nova.floating_addresses:
    plan: "{{ host_plan.floating_addresses }}"
    only_unbind: true

- name: Lead floating IPs to their guests
  tenantnet.nova.packet_filter:
    plan: "{{ host_plan.packet_filter }}"

- name: Bind what is new
  tenantnet.nova.floating_addresses:
    plan: "{{ host_plan.floating_addresses }}"

- name: One address, of which the neighbours are told three times
  tenantnet.nova.floating_addresses:
    plan:
      addresses:
        - address: 203.0.113.7
          interface: eth2
      send_arp: 3
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
  sample:
    - bind 203.0.113.7 to eth2
    - unbind 203.0.113.8 from eth2
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import applied, floating_addresses


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "raw", "required": True},
            "only_unbind": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def work() -> dict[str, t.Any]:
        plan, only_unbind = packed.section(module.params["plan"], "plan"), module.params["only_unbind"]
        # Half of a change is nothing that the host has to have.
        kept = {} if only_unbind else {"floating_addresses": plan}
        with applied.noting(kept, check=module.check_mode, wait=20):
            return floating_addresses.apply(plan, check=module.check_mode, only_unbind=only_unbind)

    _front.run(module, work, large=("plan",))


if __name__ == "__main__":
    main()
