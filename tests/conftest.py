# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each lane really ran: a lane whose tests were all skipped has shown nothing.

The lanes are the folders below tests/, and the mark `vlan`. With TENANTNET_LANES_MUST_RUN=1 (as in `make test`) a lane
that ran no test fails the run. The VLAN lane may be left out where neither this kernel nor a guest's has 802.1Q; it
says so.
"""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
# Helpers of more than one lane are imported by their plain names.
sys.path.insert(0, str(HERE))
RAN = "ran"
SKIPPED = "skipped"
_outcomes: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
_reasons: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)


def lanes_of(report: pytest.TestReport) -> list[str]:
    lanes = ["vlan"] if "vlan" in report.keywords else []
    parts = pathlib.PurePath(report.nodeid.split("::")[0]).parts
    if "tests" in parts[:-2]:
        lanes.append(parts[parts.index("tests") + 1])
    return lanes


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and not (report.when == "setup" and not report.passed):
        return
    skipped = report.skipped and not hasattr(report, "wasxfail")
    for lane in lanes_of(report):
        _outcomes[lane][SKIPPED if skipped else RAN] += 1
        if skipped and isinstance(report.longrepr, tuple):
            _reasons[lane][report.longrepr[2].removeprefix("Skipped: ")] += 1


def empty_lanes() -> dict[str, str]:
    """Lanes that ran no test, with the reasons given."""
    return {
        lane: "; ".join(_reasons[lane]) or "no reason given"
        for lane, outcomes in sorted(_outcomes.items())
        if not outcomes[RAN]
    }


def must_run(lane: str) -> bool:
    if os.environ.get("TENANTNET_LANES_MUST_RUN") != "1":
        return False
    return lane != "vlan" or shutil.which("linux.uml") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and any(must_run(lane) for lane in empty_lanes()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _outcomes:
        return
    terminalreporter.section("lanes")
    for lane, outcomes in sorted(_outcomes.items()):
        terminalreporter.write_line(f"{lane}: {outcomes[RAN]} ran, {outcomes[SKIPPED]} skipped")
    for lane, reason in empty_lanes().items():
        verdict = "FAILED" if must_run(lane) else "not run"
        terminalreporter.write_line(f"{verdict}: no test of the {lane} lane ran: {reason}", yellow=True)
