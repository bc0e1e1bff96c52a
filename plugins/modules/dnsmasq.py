#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dnsmasq
short_description: Serve the networks of a host with DHCP, router advertisements and DNS
version_added: 0.1.0
author: tenantnet.nova contributors (@tenantnet)
description:
  - Makes the C(dnsmasq) processes of a host and their files equal to the C(dnsmasq) section of its host plan. Each
    network has a process of its own, as nova-network had it; one call handles all networks of the host.
  - A process answers reserved MAC addresses only.
  - What was set up by this module and is not in the plan any more is stopped and removed with its files and leases.
    Other C(dnsmasq) processes of the host are never touched.
notes:
  - Reservations, DHCP options and names are read by the running process on SIGHUP; clients notice nothing. Any other
    change restarts the process of that one network, which is away for some hundredths of a second. Leases are kept in
    both cases.
  - DHCP is bound to the interface, so that a network never hears the clients of another one. DNS is therefore answered
    on all addresses of the interface.
  - A lease whose reservation went away is released at once, so that its address can be given to another MAC address.
    For a lease of DHCPv6 the process is restarted.
  - "With C(range_v6) the range is advertised every 10 seconds, as on link and for autonomous addresses,
    and DHCPv6 gives reserved addresses. A guest that forms its address from its MAC address (EUI-64) and one that asks
    DHCPv6 have the same address then, if the plan reserves just that one. A guest that forms its address in another way
    (RFC 7217, privacy extensions) has a further address that nobody planned. The default route is the link-local
    address of the bridge, and the MTU that of the bridge."
  - The bridge needs an address in the advertised range, for C(dnsmasq) advertises no other range, and the host has to
    forward IPv6. The address may be the one of every router (C(fd00::/64) with C(nodad)), where several hosts serve one
    network. The module fails for an instance that it would start without any, and restarts one whose bridge or address
    was made anew after its start, because C(dnsmasq) may have given up advertising in between.
  - A lease of DHCPv6 is bound to the client's DUID. It lasts for 10 minutes at most, because until it ends
    C(dnsmasq) refuses the address to a guest that was installed anew with the same MAC address.
  - Where a range is no longer advertised, guests are told so with a last advertisement; they let the route go at once
    and the address within 10 minutes.
  - A host run by systemd gets the template unit C(tenantnet-dnsmasq@.service), and its instances start at boot. Without
    systemd a run of this module after a boot starts them.
  - The tag of a network, for use in C(config_file), is its label with every character but letters,
    digits, C(_) and C(-) replaced by C(-).
  - Needs root.
requirements:
  - dnsmasq (package dnsmasq-base in Debian and Ubuntu)
  - dhcp_release (package dnsmasq-utils in Debian and Ubuntu), when a lease has to be released
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The C(dnsmasq) section of the host plan. Its only key C(instances) is a list with one mapping for each network
        that this host serves; with an empty list the host serves none. Every value is checked before anything is
        changed, and a message names the place of the faulty one.
      - C(name) names the files and the process, usually as the bridge is named.
      - C(network) is the network's label.
      - C(interface) is the interface on which clients are served. It has to be there and carry C(listen_address).
      - C(listen_address) is the address on which DNS is answered and from which DHCP is served.
      - C(dhcp_start) is the first address of the DHCP range, C(netmask) the network's netmask.
      - C(range_v6) is the network's IPv6 range, a /64. With it C(listen_address), C(dhcp_start) and C(netmask) may be
        left out or null, all three; the network has IPv6 alone then.
      - C(lease_time) is the length of a lease in seconds; C(dnsmasq) takes what is below 120 for 120. A lease of DHCPv6
        is cut to 600.
      - C(lease_max) is the number of leases that can stand at a time, of either version.
      - C(domain) is the DNS domain of the clients; it may be empty.
      - C(servers) lists the addresses of the name servers that are asked; if empty, those of the host's
        C(/etc/resolv.conf) are.
      - C(config_file) is a file of further C(dnsmasq) settings on the host, which the operator keeps. A change of its
        content restarts the process.
      - C(hosts) lists the reservations, each with C(mac), C(hostname), C(address) and, in a network with C(range_v6),
        C(address_v6), which is answered by name as well. With C(range_v6) one of the two addresses is enough. A MAC and
        an address stand there once each. Of a host name with more than 63 characters the first 2 and the last 60 are
        kept.
      - C(options) lists options of DHCPv4 that are sent to every client, each with its number C(option) and its
        C(value). An empty value suppresses an option that C(dnsmasq) would send by itself.
      - C(names) lists further names to answer, each with C(address), of either version, and C(hostname), such as those
        of guests on other hosts.
      - C(range_v6), C(domain), C(servers), C(config_file), C(hosts), C(options) and C(names) may be left out.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Serve the networks of this host
  tenantnet.nova.dnsmasq:
    plan: "{{ host_plan.dnsmasq }}"

- name: Serve one network with two reservations
  tenantnet.nova.dnsmasq:
    plan:
      instances:
        - name: br100
          network: blue
          interface: br100
          listen_address: 10.0.0.1
          dhcp_start: 10.0.0.2
          netmask: 255.255.255.0
          lease_time: 86400
          lease_max: 256
          domain: novalocal
          servers: [192.0.2.53]
          hosts:
            - {mac: "fa:16:3e:01:02:03", hostname: web1, address: 10.0.0.3}
            - {mac: "fa:16:3e:01:02:04", hostname: web2, address: 10.0.0.4}
          options:
            - {option: 3, value: 10.0.0.1}
            - {option: 26, value: "1450"}

- name: Serve one network of both versions and one of IPv6 alone
  tenantnet.nova.dnsmasq:
    plan:
      instances:
        - name: br100
          network: blue
          interface: br100
          listen_address: 10.0.0.1
          dhcp_start: 10.0.0.2
          netmask: 255.255.255.0
          range_v6: fd00::/64
          lease_time: 86400
          lease_max: 256
          domain: novalocal
          hosts:
            - {mac: "fa:16:3e:01:02:03", hostname: web1, address: 10.0.0.3, address_v6: "fd00::f816:3eff:fe01:203"}
        - name: br101
          network: green
          interface: br101
          range_v6: fd00:0:0:1::/64
          lease_time: 86400
          lease_max: 256
          domain: novalocal
          hosts:
            - {mac: "fa:16:3e:01:02:05", hostname: web5, address_v6: "fd00::1:f816:3eff:fe01:205"}

- name: Serve nothing any more
  tenantnet.nova.dnsmasq:
    plan:
      instances: []
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in the order of doing.
  returned: always
  type: list
  elements: str
  sample: ["start dnsmasq for br100", "reload br101: +1 reservation", "release 10.0.1.3 of fa:16:3e:01:02:03 on br101"]
instances:
  description: >-
    What was done with the process of each instance: V(started), V(reloaded), V(restarted), V(stopped) or V(unchanged);
    where the module fails, V(failed) for those that it could not bring to the plan.
  returned: always
  type: dict
  sample: {"br100": "started", "br101": "reloaded"}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import dnsmasq, guard


def main() -> None:
    # The plan is checked by the core, which knows the whole of it and names the place of a fault.
    module = AnsibleModule(argument_spec={"plan": {"type": "raw", "required": True}}, supports_check_mode=True)

    def work() -> dict[str, t.Any]:
        plan = packed.section(module.params["plan"], "plan")
        if not module.check_mode:
            guard.extend()
        result, failed = dnsmasq.run(plan, module.check_mode)
        for warning in result.pop("warnings"):
            module.warn(warning)
        if failed:
            module.fail_json(msg=failed, **result)
        return result

    _front.run(module, work, large=("plan",))


if __name__ == "__main__":
    main()
