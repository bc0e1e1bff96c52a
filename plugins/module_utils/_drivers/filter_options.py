# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the packet filter is applied, whatever the back end.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.connections import Ways


def _nobody(_gone: Ways, _come: Ways, _guards: bool) -> None:
    """Is told, and does nothing."""


@dataclasses.dataclass(frozen=True)
class Options:
    #: Only tell what would be done.
    check: bool = False
    #: Show it before and after.
    diff: bool = False
    #: Seconds for which others' locks are waited for.
    wait: int = 20
    #: Is told of ways gone and come, and whether guards differ, before that is written.
    note: t.Callable[[Ways, Ways, bool], None] = _nobody
    #: Descriptors that programs that write hold on to, such as that of a lock.
    inherits: tuple[int, ...] = ()


BY_DEFAULT = Options()
