#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Read the links of a host and what it needs of them
description:
  - Reads interfaces, addresses and routes from the kernel, so that the network controller can check the plans of the
    hosts before anything is written.
  - Needs nothing but the host's Python, so it works before the first package is installed.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  connection_address:
    description:
      - The address by which the controller reaches the host, beside what the connection itself tells.
      - A host name is left aside, since the controller alone knows what it stands for.
    type: str
  packages:
    description:
      - Packages of the distribution of which it is told whether they are installed, so that what installs them need
        not ask.
    type: list
    elements: str
    default: []
  packed:
    description:
      - Whether RV(links) is returned as one short text instead of values, which Ansible carries faster where there are
        thousands of interfaces or addresses. M(tenantnet.nova.network_controller) takes either, and the filter
        P(tenantnet.nova.unpacked#filter) reads it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read the links of the host
  tenantnet.nova.host_info:
    connection_address: "{{ ansible_host | default(omit) }}"
    packages: [python3-pyroute2, dnsmasq-base]
  register: host_info_result
"""

RETURN = r"""
links:
  description:
    - C(links) lists the interfaces with their kind, MAC address, MTU, master, alias and addresses.
    - C(carried) says which interfaces carry the default route or the connection.
    - C(reached_by) lists the addresses by which the host is reached.
    - C(keepers) says who looks after the addresses of those in C(carried), such as a DHCP client.
    - C(renamed) has the present names of interfaces that the last applied plan calls otherwise.
    - C(route_sources) pairs interfaces with addresses that routes name as their source.
  returned: success
  type: dict
  sample: {links: [{name: eth0, mtu: 1500}], carried: {eth0: the default route via 192.0.2.1}, reached_by: [192.0.2.11]}
installed:
  description: Those of O(packages) that dpkg has installed. None where there is no dpkg, which says nothing of them.
  returned: success
  type: list
  elements: str
  sample: [python3-pyroute2]
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links, packed, preflight
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import keepers, names, netlink, packages


def look(connection_address: str | None, asked: list[str], short: bool) -> dict[str, t.Any]:
    if connection_address is not None:
        connection_address = links.parse_connection(connection_address, "connection_address")
    state = netlink.read()
    duties = netlink.read_duties(state, connection_address)
    duties = dataclasses.replace(duties, keepers=keepers.read(state, duties.carried))
    report = preflight.report(state, duties, names.of_host(state.links))
    return {
        "changed": False,
        "links": packed.pack(report) if short else report,
        "installed": packages.installed(asked),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection_address": {"type": "str"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "packed": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    asked = module.params
    _front.run(module, lambda: look(asked["connection_address"], asked["packages"], asked["packed"]))


if __name__ == "__main__":
    main()
