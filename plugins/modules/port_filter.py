# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_filter
short_description: Keep guests from sending under foreign addresses
version_added: 0.1.0
description:
  - Filters the frames of instances' ports in the bridges of a host, as nova's filters C(no-mac-spoofing),
    C(no-ip-spoofing) and C(no-arp-spoofing) did, and IPv6 as well. A guest sends from the MAC address and the addresses
    of its NIC alone, and claims no other address by ARP or neighbour discovery. It can neither serve DHCP nor advertise
    itself as a router, and hears DHCP from its own servers alone.
  - What a guest needs to get its address passes, such as requests for a lease and the detection of duplicate addresses.
    Frames that are neither IPv4 nor ARP nor IPv6 do not, and so none with an 802.1Q tag.
  - Ports are filtered by name, so that the filter is there before a port is, and when it comes back.
  - All rules are in the table C(nova-network) of nftables' family C(bridge), and change in one transaction. Other
    tables are left alone.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The section C(port_filter) of the host plan.
      - C(ports) is required and lists the ports that are filtered. Each has the C(name) of its interface, the C(mac) of
        the guest's NIC and the guest's C(addresses), of either version and without prefix length. Its IPv6 link-local
        address is the one that follows from the MAC address. Temporary addresses (RFC 8981) do not pass.
      - A port's C(allowed_address_pairs) are what it may send beside that, each an C(ip_address), which may be a range
        in CIDR form, and perhaps a C(mac_address) in place of the port's.
      - A port's C(dhcp_servers) are the IPv4 addresses whose DHCP answers it gets.
      - C(uplinks) are interfaces in bridges of networks whose DHCP server is on each host. Neither DHCP, of IPv4 or
        IPv6, nor router advertisements pass them in either direction.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
    required: true
notes:
  - The host needs C(nft) of nftables 1.0 or newer, and a kernel whose nftables know the family C(bridge).
seealso:
  - module: tenantnet.nova.links
    description: Puts the ports into their bridges.
"""

EXAMPLES = r"""
- name: Keep a guest to its addresses
  tenantnet.nova.port_filter:
    plan:
      ports:
        - name: tap1a2b3c4d-5e
          mac: "fa:16:3e:01:02:03"
          addresses: [10.0.0.3, "fd00::f816:3eff:fe01:203"]
          dhcp_servers: [10.0.0.1]

- name: Two guests that take turns with an address of VRRP, and DHCP that stays on the host
  tenantnet.nova.port_filter:
    plan:
      ports:
        - name: tap1a2b3c4d-5e
          mac: "fa:16:3e:01:02:03"
          addresses: [10.0.0.3]
          allowed_address_pairs: [{ip_address: 10.0.0.50, mac_address: "00:00:5e:00:01:01"}]
          dhcp_servers: [10.0.0.1]
        - name: tap2b3c4d5e-6f
          mac: "fa:16:3e:01:02:04"
          addresses: [10.0.0.4]
          allowed_address_pairs: [{ip_address: 10.0.0.50, mac_address: "00:00:5e:00:01:01"}]
          dhcp_servers: [10.0.0.1]
      uplinks: [eth1]

- name: Filter nothing any more
  tenantnet.nova.port_filter:
    plan:
      ports: []
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
  sample:
    - load the rules that all ports share
    - filter tap1a2b3c4d-5e
    - change what passes tap2b3c4d5e-6f
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import applied, port_filter

#: Seconds for another run, or for what brings rules back on this host.
_WAIT = 60


def main() -> None:
    module = AnsibleModule(argument_spec={"plan": {"type": "raw", "required": True}}, supports_check_mode=True)

    def work() -> dict[str, t.Any]:
        plan = packed.section(module.params["plan"], "plan")
        with applied.noting({"port_filter": plan}, check=module.check_mode, wait=_WAIT):
            result = port_filter.apply(plan, check=module.check_mode)
        for warning in result.pop("warnings"):
            module.warn(warning)
        return result

    _front.run(module, work, large=("plan",))


if __name__ == "__main__":
    main()
