# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel lane's sequences of plans with VLAN interfaces, in a guest's kernel where this machine's makes none."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest
from lab import uml
from lab.host import PYTHON_FOLDER
from lab.lab import has_vlan
from lab.playbook import CHECKOUT
from lab.topology import parse

pytestmark = [
    pytest.mark.vlan,
    pytest.mark.skipif(os.geteuid() == 0 and has_vlan(), reason="the kernel lane tries them under this kernel itself"),
    pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("linux.uml"), reason="needs a guest kernel (linux.uml)"),
]

TEST = "tests/kernel/test_links_sequences.py::test_a_host_with_a_past_equals_one_built_from_scratch[vlans]"
#: pytest, hypothesis and two Pythons at once are more than what Ansible's modules need.
MEMORY = "600M"


def in_host(path: pathlib.Path) -> pathlib.Path:
    """Where a host has what is in the checkout."""
    checkout = pathlib.Path(PYTHON_FOLDER) / "ansible_collections/tenantnet/nova"
    return checkout / path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


def test_the_sequences_hold_with_vlan_interfaces(lab_factory, monkeypatch) -> None:
    monkeypatch.setattr(uml, "MEMORY", MEMORY)
    host = lab_factory(parse({"hosts": {"h1": "uml"}})).host("h1")
    packages = in_host(pathlib.Path(pytest.__file__).parent.parent)
    settings = [f"PYTHONPATH={PYTHON_FOLDER}:{packages}", "PYTHONDONTWRITEBYTECODE=1"]
    chosen = [f"{name}={value}" for name, value in os.environ.items() if name == "TENANTNET_PROPERTY_EXAMPLES"]
    pytest_ = ["/usr/bin/python3", "-m", "pytest", "-o", "cache_dir=/run/pytest", TEST]
    command = ["env", "-C", str(in_host(CHECKOUT)), *settings, *chosen, *pytest_]
    done = host.run(command, check=False, timeout=280)
    assert done.returncode == 0 and " 1 passed" in done.stdout, done.stdout + done.stderr
