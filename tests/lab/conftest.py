# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures that lend labs to tests; each lab is owned by the test process and goes with it."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import Lab, reap
from lab.topology import Topology


@pytest.fixture(scope="session")
def _machine() -> None:
    """A machine that can carry labs, cleared of those whose test run has died."""
    if os.geteuid():
        pytest.skip("the lab makes namespaces and needs root")
    reap()


@pytest.fixture(scope="module")
def lab_factory(_machine: None):
    """``lab_factory(topology, name=None) -> Lab``: as many labs as wanted, taken down after the module's tests."""
    made: list[Lab] = []

    def make(topology: str | Topology, name: str | None = None) -> Lab:
        lab = Lab(name or f"test-{os.getpid()}-{len(made)}")
        made.append(lab)
        return lab.up(topology, owner=os.getpid())

    yield make
    for lab in made:
        lab.down()


@pytest.fixture(scope="module")
def three_hosts(lab_factory) -> Lab:
    """Hosts h1, h2 and h3, shared by the module's tests."""
    return lab_factory("three_hosts")


@pytest.fixture(scope="module")
def all_in_one(lab_factory) -> Lab:
    """The single host h1, shared by the module's tests."""
    return lab_factory("all_in_one")
