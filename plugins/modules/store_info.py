#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: store_info
short_description: Read the store and prove that nothing in it breaks a rule
description:
  - Reads the store that M(tenantnet.nova.network_controller) allocates in, at one moment, while others may work on it.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes.info_module
  - tenantnet.nova.attributes
options:
  gather:
    description:
      - V(counts) counts the records.
      - V(violations) looks for everything that breaks a rule, such as an address outside its network, two networks that
        overlap, a NIC without an address, a record that refers to none, a field that is not as derived, a constraint
        that the database has lost, or a record that is not as the history tells.
      - V(document) gives the whole content as the YAML document that M(tenantnet.nova.store) exports.
    type: list
    elements: str
    choices: [counts, violations, document]
    default: [counts, violations]
  history:
    description: Whether the document has the history as well.
    type: bool
    default: false
seealso:
  - module: tenantnet.nova.store
  - module: tenantnet.nova.history_info
"""

EXAMPLES = r"""
- name: Check the store
  tenantnet.nova.store_info:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
  register: nova_store
  failed_when: nova_store.violations | length > 0
"""

RETURN = r"""
version:
  description: Version of the schema of the store.
  returned: where counts are gathered
  type: int
  sample: 2
counts:
  description: How many records of each kind the store holds.
  returned: where counts are gathered
  type: dict
  sample: {projects: 1, networks: 1, instances: 2, vifs: 2, fixed_ips: 2, history: 8}
violations:
  description: What breaks a rule, one line each, naming the records. Empty where everything is right.
  returned: where violations are gathered
  type: list
  elements: str
  sample: ["fixed_ips 10.0.9.3 lies outside its network blue 10.0.0.0/24"]
document:
  description: The content of the store as one YAML document.
  returned: where the document is gathered
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front, _store
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # A password may stand in it.
            "state_url": {"type": "str", "required": True, "no_log": True},
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": ["counts", "violations", "document"],
                "default": ["counts", "violations"],
            },
            "history": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _store.info(module.params))


if __name__ == "__main__":
    main()
