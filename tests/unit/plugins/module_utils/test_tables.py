# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.tenantnet.nova.plugins.module_utils._core.tables import table


def test_columns_are_as_wide_as_their_widest_entry() -> None:
    assert table(("id", "project"), [("blue", "acme"), ("a longer one", None)]) == [
        "id            project",
        "blue          acme",
        "a longer one  None",
    ]


def test_a_table_without_rows_has_its_headers() -> None:
    assert table(("id", "project"), []) == ["id  project"]


def test_nothing_trails_a_short_last_entry() -> None:
    lines = table(("a", "state"), [(1, "up"), (2, "")])
    assert lines == ["a  state", "1  up", "2"]
