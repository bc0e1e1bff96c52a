#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: history_info
short_description: Tell who held an address at that time
description:
  - Reads from the history of the store which instance, or which host as its gateway, held which address from when to
    when, and which run and user gave and took it.
  - The history begins with the version of the store that has one; a holding that is older has no beginning.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  address:
    description: The address that is asked for. Default is any.
    type: str
  mac:
    description: The MAC address of the NIC that held it. Default is any.
    type: str
  instance:
    description: The instance that held it. Default is any holder.
    type: str
  at:
    description:
      - The time that is asked for, such as V(2026-03-01T12:00:00Z) or V(2026-03-01 13:00:00+01:00), or in seconds since
        the epoch. Without a zone it is UTC. Default is any time.
    type: str
seealso:
  - module: tenantnet.nova.store_info
"""

EXAMPLES = r"""
- name: Who had this address on the first of March at noon?
  tenantnet.nova.history_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    address: 10.0.0.20
    at: "2026-03-01T12:00:00Z"
  register: held
"""

RETURN = r"""
holdings:
  description: The holdings that match, the latest first.
  returned: success
  type: list
  elements: dict
  contains:
    address: {description: The address., type: str, returned: success}
    network: {description: Label of its network., type: str, returned: success}
    instance: {description: The instance that held it., type: str, returned: success}
    host: {description: The host that held it as its gateway., type: str, returned: success}
    mac: {description: MAC address of the instance's NIC., type: str, returned: success}
    since: {description: When it began; null where the history began later., type: str, returned: success}
    until: {description: When it ended; null where it lasts., type: str, returned: success}
    given_by: {description: The C(run) and C(user) with which it began., type: dict, returned: success}
    taken_by: {description: The C(run) and C(user) with which it ended., type: dict, returned: success}
  sample:
    - address: 10.0.0.20
      network: blue
      instance: web2
      host: null
      mac: "fa:16:3e:01:02:03"
      since: "2026-02-27T08:15:00.000000Z"
      until: null
      given_by: {run: "4711", user: alice}
      taken_by: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front, _store
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # A password may stand in it.
            "state_url": {"type": "str", "required": True, "no_log": True},
            "address": {"type": "str"},
            "mac": {"type": "str"},
            "instance": {"type": "str"},
            "at": {"type": "str"},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _store.held(module.params))


if __name__ == "__main__":
    main()
