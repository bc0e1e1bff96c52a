# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors that a module turns into its one message.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t


class NovaError(Exception):
    """Something that the operator can mend: the text names the value, the rule and the remedy."""


class InputError(NovaError):
    """The declaration, the plan or a setting breaks a rule; raised before anything is written."""


class HostError(NovaError):
    """The host refused or lacks something; the text says what was attempted and what is left undone."""


class StoreError(NovaError):
    """The store cannot be read or written; nothing of the failed transaction remains."""


def first_line(error: t.Any) -> str:
    """The first line of an error's text, for quoting a program or a library inside our own message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
