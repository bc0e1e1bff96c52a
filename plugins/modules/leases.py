#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: leases
short_description: Record what DHCP leases hosts have given
description:
  - Records in the store that M(tenantnet.nova.network_controller) allocates in what M(tenantnet.nova.leases_info) has
    found on hosts, without a run of the site. An address with a lease is leased; one that was given back and is held
    back for its former guest is free as soon as the lease is over.
  - What is odd, such as a lease of an address that nobody holds, is a warning.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.store.author
  - tenantnet.nova.attributes
options:
  reports:
    description:
      - By the name of the host, as instances and networks name it, what M(tenantnet.nova.leases_info) returned there.
        Other keys, such as those that Ansible adds to a result, are passed over.
    type: dict
    required: true
seealso:
  - module: tenantnet.nova.leases_info
  - module: tenantnet.nova.fixed_ip_info
"""

EXAMPLES = r"""
- name: Record the leases of a host
  tenantnet.nova.leases:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    reports:
      compute1:
        networks: [10.0.0.0/24]
        leases:
          - {network: 10.0.0.0/24, address: 10.0.0.2, mac: "fa:16:3e:01:02:03"}
"""

RETURN = r"""
odd:
  description: What the hosts report and the store does not know of, or knows otherwise, one line each.
  returned: success
  type: list
  elements: str
  sample: ["host compute1 has leased 10.0.0.9 to fa:16:3e:01:02:09, but nobody holds that address"]
actions:
  description: What was changed in the store, one line each, in the words of the network.
  returned: success
  type: list
  elements: str
  sample: ["reassign fixed IP 10.0.0.2 of network blue, instance web1 -> leased=True"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _addresses, _command, _front
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_command.STORE,
            **_command.AUTHOR,
            "reports": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)

    def work() -> dict[str, t.Any]:
        result = _addresses.record_leases(module.params, module.check_mode)
        for line in result["odd"]:
            module.warn(line)
        return result

    _front.run(module, work)


if __name__ == "__main__":
    main()
