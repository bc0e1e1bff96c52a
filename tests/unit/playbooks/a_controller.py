# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network controller whose playbooks are run as an operator runs them, options as key=value."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Done(t.NamedTuple):
    """What is on the screen, and how many of the controller's tasks changed or failed."""

    lines: list[str]
    changed: int
    failed: int

    def after(self, header: str) -> list[list[str]]:
        """The words of the lines of a table."""
        place = next(index for index, line in enumerate(self.lines) if line.split() == header.split())
        rows = self.lines[place + 1 :]
        return [line.split() for line in rows[: rows.index("")]]


class Controller:
    """An inventory with the options of a site, and a store of its own. `groups` are further groups of hosts."""

    def __init__(self, folder: pathlib.Path, groups: dict[str, dict[str, t.Any]], **options: t.Any) -> None:
        self.store = folder / "nova.sqlite"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "nova_state_url": f"sqlite:///{self.store}",
            "nova_flat_network_bridge": "br100",
            **options,
        }
        groups = {"network_controller": {"controller": {}}, **groups}
        children = {name: {"hosts": hosts} for name, hosts in groups.items()}
        self._inventory = folder / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"vars": variables, "children": children}}))

    def refuses(self, playbook: str, options: list[str], message: str) -> None:
        """In that one message, before there is anything in the store."""
        done = self.run(playbook, *options)
        assert (done.changed, done.failed) == (0, 1)
        assert message in " ".join(done.lines).replace("''", "'")
        assert not self.store.exists()

    def run(self, playbook: str, *options: str, check: bool = False, shown_as: str = "yaml") -> Done:
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        words = [word for option in options for word in ("-e", option)] + ["--check"] * check
        done = subprocess.run(
            [program, "-i", self._inventory, f"tenantnet.nova.{playbook}", *words],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": shown_as},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        recap = re.search(r"^controller +: .*changed=(\d+).*failed=(\d+)", done.stdout, re.MULTILINE)
        assert recap, done.stdout + done.stderr
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        return Done(lines, int(recap[1]), int(recap[2]))
