# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A test lab: several Linux hosts, their cables and their guests on one machine.

See ../README.md.  Needs root, iproute2, util-linux and ethtool; nothing beyond the standard library, apart from
PyYAML (which ansible-core brings) to read a topology.
"""

from __future__ import annotations

from .errors import CommandFailed, HostOff, LabError
from .lab import Lab, reap

__all__ = ["CommandFailed", "HostOff", "Lab", "LabError", "reap"]
