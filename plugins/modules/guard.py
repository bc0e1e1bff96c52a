#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guard
short_description: Confirm a guarded change of a host's links, or have it taken back
version_added: 0.1.0
description:
  - A change of what a host is reached by is guarded, where M(tenantnet.nova.links) or M(tenantnet.nova.packet_filter)
    has a C(guard_timeout). A process on the host then takes it back by itself, unless this module confirms it in time.
  - Run it over a new connection (C(meta) C(reset_connection)), since one that is open already shows nothing.
  - Links, addresses, routes, rules and neighbours return to what the kernel had of them before the change. DHCP and the
    packet filter return to the plan that was recorded last.
  - What was taken back, when and why is in C(/var/lib/tenantnet/guard.json) on the host until the next time.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  state:
    description:
      - V(confirmed) keeps the change that waits. It fails with the reason where that change has been taken back.
      - V(returned) has the change that waits taken back now, and comes back when that is done.
    type: str
    choices: [confirmed, returned]
    default: confirmed
  id:
    description:
      - Which change is meant, as C(guard.id) of the result of the module that made it.
      - Without it, the one that waits. It is no failure then if none does.
    type: str
notes:
  - A host that loses power starts with the plan that was recorded last.
seealso:
  - module: tenantnet.nova.links
  - module: tenantnet.nova.packet_filter
"""

EXAMPLES = r"""
- name: Make the links of the host
  tenantnet.nova.links:
    plan:
      bridges:
        - {name: br100, interfaces: [eth0], addresses: [10.0.0.1/24]}
      move_addresses: [eth0]
    guard_timeout: 60
  register: links_result

- name: Come back over a new connection
  ansible.builtin.meta: reset_connection

- name: Keep the change
  tenantnet.nova.guard:
    state: confirmed
    id: "{{ links_result.guard.id }}"
  when: links_result.guard is defined

- name: Have a change that waits taken back at once
  tenantnet.nova.guard:
    state: returned
"""

RETURN = r"""
actions:
  description: What was done.
  returned: success
  type: list
  elements: str
  sample: ["keep the change of eth0"]
report:
  description: The last change that was taken back on this host; null where none was.
  returned: success
  type: dict
  sample:
    id: 5d1f0c7a9b3e2f64
    interfaces: [eth0]
    since: 2026-01-31 12:00:05 +0000
    returned: 2026-01-31 12:02:05 +0000
    reason: the controller had not come back over a new connection within 120 seconds
    actions: [create bridge br100]
    left: []
    text: >-
      the change of eth0 from 2026-01-31 12:00:05 +0000 was taken back by the host at 2026-01-31 12:02:05 +0000, because
      the controller had not come back over a new connection within 120 seconds; the host is as it was before
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import guard


def settle(state: str, identity: str | None, check_mode: bool) -> dict[str, t.Any]:
    found = guard.armed()
    if state == "confirmed":
        if not check_mode:
            found = guard.confirm(identity)
        actions = [f"keep the change of {', '.join(found.interfaces)}"] if found is not None else []
    else:
        actions = [f"take back the change of {', '.join(found.interfaces)}"] if found is not None else []
        if not check_mode:
            guard.take_back()
    last = guard.report()
    told = {**dataclasses.asdict(last), "text": last.text} if last is not None else None
    return {"changed": bool(actions), "actions": actions, "report": told}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["confirmed", "returned"], "default": "confirmed"},
            "id": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.run(module, lambda: settle(module.params["state"], module.params["id"], module.check_mode))


if __name__ == "__main__":
    main()
