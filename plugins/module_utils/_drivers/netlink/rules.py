# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of udev rules, and the udev that reads it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os

from ..._core.errors import HostError
from .. import files, programs

FILE = "/etc/udev/rules.d/90-tenantnet-nova.rules"

#: Where the udev of this host listens, if one runs.
CONTROL = "/run/udev/control"

_UDEVADM = "udevadm"


def read() -> str | None:
    """The text of our file, empty where there is none; None on a host without udev."""
    if programs.find(_UDEVADM) is None:
        return None
    return files.read(FILE) or ""


def write(text: str) -> str | None:
    """Replace the file, remove it where the text is empty; the reason why it could not be, or None."""
    try:
        if text:
            files.write(FILE, text)
        else:
            files.remove(FILE)
    except HostError as error:
        return str(error)
    udevadm = programs.find(_UDEVADM)
    if udevadm is not None and os.path.exists(CONTROL):
        # It would look itself, but at most every three seconds.
        programs.run([udevadm, "control", "--reload"])
    return None
