# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept of a guarded change, and what is told of one that was taken back."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import guard
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError

ARMED = guard.Armed("ab", guard.ARMED, 7, 99, 60, 12.5, ("eth0",), "2026-01-31 12:00:00 +0000")
REPORT = guard.Report("ab", ("eth0",), "then", "now", "nobody came", ("move",), ())


def test_what_is_kept_is_read_again() -> None:
    assert guard.parse(guard.render(ARMED), guard.Armed) == ARMED
    assert guard.parse(guard.render(REPORT), guard.Report) == REPORT


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"id": "ab"}', "7", guard.render(REPORT)])
def test_anything_else_is_no_guard(text: str | None) -> None:
    assert guard.parse(text, guard.Armed) is None


def test_the_report_says_what_when_why_and_what_is_left() -> None:
    assert REPORT.text == (
        "the change of eth0 from then was taken back by the host at now, because nobody came; "
        "the host is as it was before"
    )
    left = guard.Report("ab", ("eth0",), "then", "now", "nobody came", (), ("interface eth1: down (now up)",))
    assert left.text.endswith("but not all is as it was: interface eth1: down (now up)")


@pytest.mark.parametrize("value", [4, 3601, 0, -5, True, None, "60", 60.0])
def test_no_time_to_wait(value: object) -> None:
    with pytest.raises(InputError, match=r"guard_timeout: .*; give whole seconds from 5 to 3600 \(nova_guard"):
        guard.parse_timeout(value, "guard_timeout")


@pytest.mark.parametrize("value", [5, 3600])
def test_the_least_and_the_greatest(value: int) -> None:
    assert guard.parse_timeout(value, "guard_timeout") == value
