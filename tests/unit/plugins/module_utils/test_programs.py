# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of the host are run to their end, and what they said is told."""

from __future__ import annotations

import os
import pathlib

from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs

#: More than fits into a pipe.
LONG = "line\n" * 100_000


def test_what_it_said_and_how_it_ended() -> None:
    done = programs.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    assert done == (3, "out\n", "err\n")


def test_a_text_of_any_length_goes_in_and_comes_out() -> None:
    assert programs.run(["/bin/cat"], LONG) == (0, LONG, "")


def test_without_a_text_there_is_nothing_to_read() -> None:
    assert programs.run(["/bin/cat"]) == (0, "", "")


def test_one_that_does_not_come_back_is_ended(tmp_path: pathlib.Path) -> None:
    left = tmp_path / "pid"
    done = programs.run(["/bin/sh", "-c", f"echo $$ > {left}; exec sleep 1000"], wait=1)
    assert done == (-1, "", "it had not come back after 1 seconds")
    assert not pathlib.Path("/proc", left.read_text().strip()).exists()


def test_one_that_is_not_there() -> None:
    assert programs.run(["/none/such"]) == (-1, "", "cannot run /none/such: No such file or directory")


def test_it_has_a_session_of_its_own_and_inherits_what_is_named() -> None:
    reader, writer = os.pipe()
    try:
        script = f"cut -d' ' -f6 /proc/self/stat; echo held > /proc/self/fd/{writer}"
        done = programs.run(["/bin/sh", "-c", script], inherits=(writer,))
    finally:
        os.close(writer)
    with os.fdopen(reader) as told:
        assert (int(done.output) != os.getsid(0), told.read()) == (True, "held\n")


def test_several_each_under_its_name() -> None:
    calls = {str(number): programs.Call(["/bin/sh", "-c", f"cat; exit {number}"], str(number)) for number in range(40)}
    assert programs.run_all(calls) == {str(number): (number, str(number), "") for number in range(40)}
    assert programs.run_all({}) == {}
