#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: links
short_description: Makes the bridges, VLAN interfaces and ports of a host those of its plan
description:
  - Takes the section C(links) of a host plan and makes the kernel equal to it, in one call for any number of bridges,
    VLAN interfaces and instances' ports.
  - Creates VLAN interfaces and bridges, enslaves interfaces, sets addresses, MTU, MAC address, STP and forward delay,
    and writes kernel settings.
  - Plugs the devices of instances' ports into their bridges, and has udev do so with those that appear later.
  - What an earlier run put there and the plan no longer holds is taken back. What is not ours is never touched, such as
    other ports on our bridges, further addresses on them, and other bridges.
  - A bridge of ours carries an alias that begins with C(tenantnet.nova) and names the interfaces and addresses that
    are ours. A VLAN interface of ours carries C(tenantnet.nova). The device of a port carries C(tenantnet.nova port=)
    and its bridge, or C(tenantnet.nova tap=) and its bridge if it is a tap that the module has made.
author:
  - tenantnet.nova contributors (@tenantnet)
requirements:
  - pyroute2 >= 0.7.2
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The section C(links) of the host plan, with the keys C(bridges), C(vlans), C(ports) and C(sysctl).
      - C(bridges) is a list. Each item has C(name), and may have C(interfaces) (to be enslaved and set up; VLAN
        interfaces of the plan among them), C(addresses) (IPv4 and IPv6 with prefix length; the first IPv4 address
        becomes the bridge's first), C(mtu) (null leaves it to
        the kernel), C(mac) (null takes that of the first interface), C(stp), C(forward_delay) in seconds, and
        C(advertised) (ranges of IPv6 whose router advertisements pass it).
      - An empty list removes every bridge of ours, so C(bridges) must be given.
      - C(vlans) is a list of VLAN interfaces (802.1Q), empty by default. Each item has C(name), C(link) (the network
        card, bond or other VLAN interface below, which is set up if it is down) and C(id) (1 to 4094), and may have
        C(mtu) (at most that of C(link); null leaves it to the kernel) and C(mac) (null takes that of C(link)).
      - C(move_addresses) is a list of interfaces, empty by default. Those among them that become a bridge's port though
        they carry the host's own addresses, its default route or the connection are not refused. What leads over them
        moves to the bridge.
      - C(ports) is a list of instances' ports, empty by default. Each item has C(name) (the device, which may be there
        or not) and C(bridge) (of the plan, or another bridge of the host, which is used but not altered), and may have
        C(tap) (true makes a persistent tap, owned by root, that a guest started later opens), C(hairpin) (true by
        default; nova's hairpin mode), C(mtu) and C(mac) (both of the host's end; null leaves it to the kernel).
      - C(sysctl) is a dictionary of dotted keys to strings. Only values that differ are written; taking a key out of
        the plan leaves its value as it is.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
    required: true
  connection_address:
    description:
      - The address by which the controller reaches the host.
      - A change that would cut it off is refused.
        Where the connection is made by SSH, its address is found without this option.
      - A host name is left aside, since the controller alone knows what it stands for.
    type: str
  guard_timeout:
    description:
      - Seconds, 5 to 3600, after which the host takes a change of an interface by which it is reached back by itself,
        unless M(tenantnet.nova.guard) confirms it in time. Modules of this collection that run on the host meanwhile
        make the time run anew.
      - Without it such a change is not guarded. Other changes are never guarded.
    type: int
notes:
  - An interface that carries the default route, the Ansible connection or an address of the host's own is not enslaved,
    unless C(move_addresses) names it. It may carry VLAN interfaces, as these move nothing.
  - Addresses that the kernel itself gave such an interface, by router advertisements of a range in C(advertised), are
    not the host's own. They are taken away when it is enslaved, with the routes that came by advertisements.
  - What moves are addresses with all they have, routes of all tables, rules (as copies for the bridge) and neighbours
    that somebody entered. Connections live on. A planned address stays the bridge's first. When the interface leaves
    the bridge, or the bridge goes, all of it moves back.
  - A VLAN interface of ours with another tag or link than planned is made anew, and so is what of ours stands on it.
  - VLAN interfaces need the kernel's module 8021q.
  - The device of a port is enslaved, set up, and put into hairpin mode. One that is a port of somebody else's bridge is
    refused.
  - One that appears after the run is plugged by the rules in C(/etc/udev/rules.d/90-tenantnet-nova.rules), within a
    second. Where there is no udev, as in most containers, the next run does it.
  - A port that has left the plan leaves its bridge. A tap that the module has made is removed, if no guest has it open.
  - On a bridge that is not ours, a port has at least the smallest MTU of the bridge's other ports, without these at
    least that of the bridge, since the bridge may follow the smallest of all.
  - Where systemd-networkd runs, a file C(/etc/systemd/network/00-tenantnet.network) tells it to leave the interfaces of
    the plan alone, except one whose addresses move, and ports named as nova names them.
  - A warning names what other programs' rules drop of bridged traffic where the host has a bridge without an address.
  - Bridges that exist are changed, never made anew, so guests stay connected. Only where the first address of a bridge
    changes its place are the addresses before it taken away and put back at once.
  - After a failure all changes are taken back, and the message says whether the host is as it was.
  - To hand a bridge over that exists already, give it our mark with C(ip link set br100 alias tenantnet.nova).
"""

EXAMPLES = r"""
- name: One bridge with an uplink and a gateway address
  tenantnet.nova.links:
    connection_address: "{{ ansible_host | default(omit) }}"
    plan:
      bridges:
        - name: br100
          interfaces: [eth1]
          addresses: [10.0.0.1/24]
          mtu: 1450
          mac: null
          stp: false
          forward_delay: 0
      sysctl:
        net.ipv4.ip_forward: "1"

- name: The network of a project, tagged on the trunk
  tenantnet.nova.links:
    plan:
      vlans:
        - name: vlan100
          link: eth1
          id: 100
          mtu: 1450
      bridges:
        - name: br100
          interfaces: [vlan100]
          addresses: [10.0.0.1/24, "fd00:0:0:1::1/64"]
          mtu: 1450

- name: The port of an instance, whose device comes with its guest
  tenantnet.nova.links:
    plan:
      bridges:
        - name: br100
          interfaces: [eth1]
      ports:
        - name: tap1a2b3c4d-5e
          bridge: br100
          mtu: 1450

- name: Take everything of ours away
  tenantnet.nova.links:
    plan:
      bridges: []
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in order.
  returned: success
  type: list
  elements: str
  sample:
    - create VLAN interface vlan100 with tag 100 on eth1
    - create bridge br100
    - enslave vlan100 to br100
    - add address 10.0.0.1/24 to br100
guard:
  description: The guard of this change, which waits for its confirmation.
  returned: when a change was made of what the host is reached by, and C(guard_timeout) is given
  type: dict
  sample: {id: 5d1f0c7a9b3e2f64, interfaces: [eth0], timeout: 120}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import guarded, links, netlink


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "raw", "required": True},
            "connection_address": {"type": "str"},
            "guard_timeout": {"type": "int"},
        },
        supports_check_mode=True,
    )

    def work() -> dict[str, t.Any]:
        plan = packed.section(module.params["plan"], "plan")
        timeout = module.params["guard_timeout"]
        try:
            result = links.apply(
                plan,
                module.params["connection_address"],
                check=module.check_mode,
                arm=None if timeout is None else guarded.within(timeout),
            )
        except netlink.LibraryMissing as error:
            module.fail_json(msg=missing_required_lib("pyroute2"), exception=error.trace)
            raise  # not reached
        for warning in result.pop("warnings"):
            module.warn(warning)
        return result

    _front.run(module, work, large=("plan",))


if __name__ == "__main__":
    main()
