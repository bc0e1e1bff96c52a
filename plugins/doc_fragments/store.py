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
