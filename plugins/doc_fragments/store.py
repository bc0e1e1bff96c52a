# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations


class ModuleDocFragment:
    # What every module that reaches the store takes and needs.
    DOCUMENTATION = r"""
options:
  state_url:
    description:
      - URL of the store. A SQLite file by its absolute path, or a PostgreSQL database such as
        V(postgresql://nova:secret@db.example.com/nova). The first run that writes makes or fills it.
      - A password may also be where C(libpq) looks for it, such as C(~/.pgpass).
    type: str
    required: true
requirements:
  - SQLAlchemy 1.4 or newer
  - psycopg (with SQLAlchemy 2) or psycopg2, where the store is in PostgreSQL
"""

    # For modules that change it.
    AUTHOR = r"""
options:
  run:
    description:
      - What the history of the store calls this run, such as the number of a pipeline. Default is a word by chance.
    type: str
  user:
    description: Who the history of the store says has changed it. Default is the user of the login.
    type: str
"""

    # For modules whose outcome depends on the options of the site.
    SETTINGS = r"""
options:
  settings:
    description:
      - Options that hold for the whole site, under nova's names with the prefix V(nova_), as
        M(tenantnet.nova.network_controller) takes them. They are to be those of the inventory, which the filter
        P(tenantnet.nova.site_settings#filter) picks out of the variables.
      - The role P(tenantnet.nova.network_controller#role) documents each of them.
    type: dict
    default: {}
"""
