#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: leases_info
short_description: Read what DHCP leases a host has given
description:
  - Reads the lease files of the C(dnsmasq) processes that M(tenantnet.nova.dnsmasq) runs on the host. Others are passed
    over.
  - Leases of DHCPv6 are left out, since their files do not tell the MAC address.
  - M(tenantnet.nova.leases) records it in the store.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options: {}
seealso:
  - module: tenantnet.nova.leases
  - module: tenantnet.nova.dnsmasq
"""

EXAMPLES = r"""
- name: Read the leases of the host
  tenantnet.nova.leases_info:
  register: host_leases
"""

RETURN = r"""
networks:
  description:
    - IPv4 ranges of the networks that the host serves. One whose C(dnsmasq) never ran is not among them, since nothing
      is known of its leases.
  returned: success
  type: list
  elements: str
  sample: [10.0.0.0/24]
leases:
  description: The leases of IPv4 that have not run out, in the order of their networks and addresses.
  returned: success
  type: list
  elements: dict
  contains:
    network: {description: Range of the network., type: str, returned: success}
    address: {description: The address., type: str, returned: success}
    mac: {description: MAC address of the client., type: str, returned: success}
    hostname: {description: Name of the client; null where it has none., type: str, returned: success}
    expires: {description: When the lease runs out; null for never., type: str, returned: success}
  sample:
    - network: 10.0.0.0/24
      address: 10.0.0.2
      mac: "fa:16:3e:01:02:03"
      hostname: web1
      expires: "2026-03-02T08:15:00.000000Z"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import leases


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    _front.run(module, leases.report)


if __name__ == "__main__":
    main()
