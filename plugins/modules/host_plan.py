#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_plan
short_description: Keep the applied plan of a host over a reboot, or take everything of ours away
version_added: 0.1.0
description:
  - Records the plan that was applied to the host in C(/var/lib/tenantnet/plan.json), and puts the code that applied it
    beside it, as the program C(/var/lib/tenantnet/tenantnet.pyz).
  - On a host that systemd runs it installs and enables the unit C(tenantnet.service), which runs this program once at
    boot, so that bridges, rules and DHCP are back before libvirt, LXC, Incus or Docker start guests. The network
    controller is not asked, and nothing keeps running.
  - Beside it there it installs and enables C(tenantnet-rules.socket), by which systemd hears of each commit to
    nf_tables. Where something of ours was changed it starts C(tenantnet-rules.service), which brings the rules back
    that were applied last, and ends. So a flush, or a firewall's reload, is made good within seconds. What the legacy
    variant of iptables does, and changes of the members of a set of ipset, are not told by the kernel.
  - C(tenantnet-follow.service) does the same once whenever firewalld, ufw, nftables, iptables, netfilter-persistent,
    ipset or shorewall has started, for what the kernel does not tell.
  - On a host without systemd, call C(/var/lib/tenantnet/tenantnet.pyz) from what starts the host (C(/etc/rc.local) or a
    script of its own kind), after its own network and before its guests.
  - With O(state=absent) it takes away all that the collection made on the host, which are links, addresses, rules,
    sets, processes, units, files and folders, and gives back the kernel settings that the host had before the first
    run. Interfaces that were down then are set down. Nothing else is touched.
author:
  - tenantnet.nova contributors (@tenantnet)
requirements:
  - what the modules need whose sections the plan has
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The host plan, or those of its sections that were applied. Run this after the modules that apply it.
      - Beside the sections it may have C(backend), as M(tenantnet.nova.packet_filter) takes it.
      - Sections may be packed, as M(tenantnet.nova.network_controller) returns them on request.
      - Required with O(state=present).
    type: dict
  state:
    description:
      - V(present) keeps the plan.
      - V(absent) cleans the host. The network controller's store stays where it is, should it be on this host.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Clean the host even while guests are plugged into it. They lose their networks.
    type: bool
    default: false
  merge:
    description:
      - Keep what is recorded where O(plan) has no such section. For a play that applies a part of the plan alone.
    type: bool
    default: false
notes:
  - What cannot be brought back at boot is said in one message of the unit in the journal
    (C(journalctl -u tenantnet.service)), and the unit has failed then; all else is brought back. To try again after
    the cause is mended, run C(systemctl restart tenantnet.service).
  - At boot the program waits for interfaces that the plan needs, 10 seconds at most.
  - What was brought back, and after whose change, is told by C(journalctl -u tenantnet-rules.service).
  - A unit of yours that starts guests needs C(After=tenantnet.service). Those of libvirt, LXC, LXD, Incus, Docker and
    Proxmox need nothing.
  - The plan is replaced in one step. When the module is killed or the disk is full, the old plan stands.
  - Before anything is taken away, all of it is checked. What would take something of others along, such as a bridge
    with an address that is not ours, is refused in one message.
  - When cleaning is killed, it can be run again.
  - Needs root.
seealso:
  - module: tenantnet.nova.links
  - module: tenantnet.nova.dnsmasq
  - module: tenantnet.nova.packet_filter
"""

EXAMPLES = r"""
- name: Keep the whole plan
  tenantnet.nova.host_plan:
    plan: "{{ host_plan }}"

- name: Keep the links, and whatever else was recorded before
  tenantnet.nova.host_plan:
    plan:
      links: "{{ host_plan.links }}"
    merge: true

- name: Take everything away from a host that serves no longer
  tenantnet.nova.host_plan:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
  sample:
    - put the program for the boot beside the plan
    - install the unit tenantnet.service
    - install the unit tenantnet-follow.service
    - install the unit tenantnet-rules.service
    - install the unit tenantnet-rules.socket
    - record the plan for the next boot
    - enable the unit tenantnet.service
    - enable the unit tenantnet-follow.service
    - enable the unit tenantnet-rules.socket
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import cleaning, lasting


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force": {"type": "bool", "default": False},
            "merge": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ["plan"])],
        supports_check_mode=True,
    )

    def work() -> dict[str, t.Any]:
        if module.params["state"] == "present":
            plan = packed.unpack_plan(module.params["plan"])
            return lasting.keep(plan, merge=module.params["merge"], check=module.check_mode)
        result = cleaning.clean(force=module.params["force"], check=module.check_mode)
        for warning in result.pop("warnings"):
            module.warn(warning)
        return result

    _front.run(module, work, large=("plan",))


if __name__ == "__main__":
    main()
