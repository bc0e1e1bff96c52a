# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables for the screen, as nova-manage printed them.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

#: Blanks between two columns.
_GAP = "  "


def table(headers: t.Sequence[str], rows: t.Iterable[t.Sequence[object]]) -> list[str]:
    """One line for the headers and one for each row, each column as wide as its widest entry.

    What is None is shown as `None`, as nova showed it.
    """
    lines = [[str(entry) for entry in row] for row in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return [_GAP.join(entry.ljust(width) for entry, width in zip(line, widths)).rstrip() for line in lines]
