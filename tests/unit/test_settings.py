# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables that the collection knows are those that it documents, and those that it reads and speaks of."""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml
from ansible_collections.tenantnet.nova.plugins.module_utils._core import settings

HERE = pathlib.Path(__file__).resolve().parents[2]

#: What the inventory plugin says of each instance.
OF_INSTANCES = {"nova_host", "nova_ports", "nova_project"}


def documented(role: str) -> set[str]:
    specs = yaml.safe_load((HERE / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return {name for name in specs["argument_specs"]["main"]["options"] if name.startswith("nova_")}


def spoken_of(*places: str) -> t.Iterator[tuple[str, str]]:
    for place in places:
        for path in [HERE / place] if place.endswith(".md") else (HERE / place).rglob("*"):
            if path.suffix in (".md", ".yml"):
                for name in re.findall(r"\bnova_[a-z0-9_]+", path.read_text(encoding="utf-8")):
                    yield name, str(path.relative_to(HERE))


def test_a_variable_is_known_once() -> None:
    known = [*settings.SITE_OPTIONS, *settings.HOST_OPTIONS, *settings.OTHER_OPTIONS]
    assert sorted(known) == sorted(set(known))


def test_known_are_those_that_roles_document() -> None:
    found = set().union(*(documented(role.name) for role in (HERE / "roles").iterdir()))
    assert found == {*settings.SITE_OPTIONS, *settings.HOST_OPTIONS, *settings.OTHER_OPTIONS}


def test_what_the_plan_is_made_of_is_documented_with_the_network_controller() -> None:
    assert {*settings.SITE_OPTIONS, *settings.HOST_OPTIONS} - documented("network_controller") == set()


def test_roles_playbooks_and_texts_speak_of_known_variables_alone() -> None:
    known = {*settings.SITE_OPTIONS, *settings.HOST_OPTIONS, *settings.OTHER_OPTIONS}
    read = set(spoken_of("roles", "playbooks", "inventories"))
    told = {each for each in spoken_of("README.md", "docs") if each[0] not in OF_INSTANCES}
    assert read and told
    assert {each for each in read | told if each[0] not in known} == set()
