#!/usr/bin/python
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: store
short_description: Back up, export, import or migrate the store
description:
  - Acts on the store that M(tenantnet.nova.network_controller) allocates in. Each operation is one transaction, or one
    consistent view, and may be done while others work on the store.
  - What a store holds is read by M(tenantnet.nova.store_info) and M(tenantnet.nova.history_info).
author:
  - tenantnet.nova contributors (@tenantnet)
requirements:
  - PyYAML, for V(import)
extends_documentation_fragment:
  - tenantnet.nova.store
  - tenantnet.nova.attributes
attributes:
  diff_mode:
    support: partial
    details: A backup shows no difference.
options:
  operation:
    description:
      - V(backup) writes everything, the history included, to O(dest), which is a SQLite store itself, whatever the
        engine of the store is. An earlier backup there is replaced in one step.
      - V(export) writes the records to O(dest) as one YAML document, which is the same for the same records.
      - V(import) gives the store the records of the document O(src). A store that holds others is refused without
        O(replace).
      - V(migrate) brings a store of an older version of the collection up to date, which any run of
        M(tenantnet.nova.network_controller) does as well.
    type: str
    required: true
    choices: [backup, export, import, migrate]
  dest:
    description: Absolute path of the file to write, readable by its owner alone.
    type: path
  src:
    description: Path of the document to read, on the host that the module runs on.
    type: path
  history:
    description: Whether an export has the history as well. An import takes it over into a store that is empty.
    type: bool
    default: false
  replace:
    description: Whether an import may replace what the store holds; what is not in the document is removed.
    type: bool
    default: false
  run:
    description: What the history of the store calls this run. Default is a word by chance.
    type: str
  user:
    description: Who the history of the store says has changed it. Default is the user of the login.
    type: str
seealso:
  - module: tenantnet.nova.store_info
  - module: tenantnet.nova.history_info
"""

EXAMPLES = r"""
- name: Keep a backup while the store is in use
  tenantnet.nova.store:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    operation: backup
    dest: /var/backups/nova.sqlite

- name: Write the records for git
  tenantnet.nova.store:
    state_url: sqlite:////var/lib/tenantnet/nova.sqlite
    operation: export
    dest: /srv/site/store.yml

- name: Move to PostgreSQL
  tenantnet.nova.store:
    state_url: postgresql://nova:{{ nova_password }}@db.example.com/nova
    operation: import
    src: /srv/site/store.yml
"""

RETURN = r"""
actions:
  description: What was done, one line each.
  returned: success
  type: list
  elements: str
  sample: ["write the backup /var/backups/nova.sqlite"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front, _store
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # A password may stand in it.
            "state_url": {"type": "str", "required": True, "no_log": True},
            "operation": {"type": "str", "required": True, "choices": ["backup", "export", "import", "migrate"]},
            "dest": {"type": "path"},
            "src": {"type": "path"},
            "history": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "run": {"type": "str"},
            "user": {"type": "str"},
        },
        required_if=[
            ("operation", "backup", ("dest",)),
            ("operation", "export", ("dest",)),
            ("operation", "import", ("src",)),
        ],
        supports_check_mode=True,
    )
    _front.require(module, "SQLAlchemy", store.SQLALCHEMY_IMPORT_ERROR)
    _front.run(module, lambda: _store.operate(module.params, module.check_mode))


if __name__ == "__main__":
    main()
