# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Attributes that every module of the collection states.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts the change without making it.
    support: full
  diff_mode:
    description: Shows what differs, before and after.
    support: full
  idempotent:
    description: A second run with equal input changes nothing and writes nothing.
    support: full
  platform:
    description: Hosts that the module runs on.
    support: full
    platforms: linux
"""

    # For modules that only read; named before the general ones, which it goes before.
    INFO_MODULE = r"""
options: {}
attributes:
  diff_mode:
    description: Shows what differs, before and after.
    support: N/A
    details: The module never changes anything.
"""
