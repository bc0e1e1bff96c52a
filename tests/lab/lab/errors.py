# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong in a lab; every text is fit to be shown to its user as it stands."""

from __future__ import annotations

import shlex
import subprocess
import typing as t


class LabError(Exception):
    """The lab cannot do what was asked."""


class HostOff(LabError):
    """The host has no running first process."""


class CommandFailed(LabError):
    """A command in a host or guest ended with a status other than 0; ``result`` has its output."""

    def __init__(self, where: str, argv: t.Sequence[str], result: subprocess.CompletedProcess[str]) -> None:
        self.result = result
        output = (result.stderr.strip() or result.stdout.strip())[-2000:]
        super().__init__(f"{where}: {shlex.join(argv)} ended with {result.returncode}: {output}")
