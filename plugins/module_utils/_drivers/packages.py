# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the distribution's packages a host has.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import programs


def installed(names: t.Sequence[str]) -> list[str]:
    """Those of the packages that are installed, as dpkg tells; none where there is no dpkg, which says nothing."""
    query = programs.find("dpkg-query")
    if query is None or not names:
        return []
    # It ends with an error where it does not know one of them, and tells of the others all the same.
    done = programs.run((query, "--show", "--showformat", "${Package} ${db:Status-Status}\n", "--", *names))
    has = {
        name
        for name, _blank, status in (line.partition(" ") for line in done.output.splitlines())
        if status == "installed"
    }
    return [name for name in names if name in has]
