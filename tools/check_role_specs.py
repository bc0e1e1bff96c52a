#!/usr/bin/env python3
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that what a role documents (meta/argument_specs.yml) is what it does (defaults/main.yml).

Ansible never compares the two. A role's own variables begin with its name: each is in both files, with one default;
one that is required is in the spec alone. The site's settings (nova_...) are shared by the roles and have no default
in any, as the defaults of two roles would come to differ: they are in specs alone, and alike in each.
"""

from __future__ import annotations

import pathlib
import sys
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parent.parent / "roles"


def load(path: pathlib.Path) -> dict[str, t.Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def own_variables(role: pathlib.Path, options: dict[str, dict[str, t.Any]]) -> t.Iterator[str]:
    defaults = load(role / "defaults/main.yml")
    own = {name: option for name, option in options.items() if name.startswith(f"{role.name}_")}
    for name in sorted(defaults.keys() | own.keys()):
        option = own.get(name, {})
        if name not in own:
            yield f"{name} has a default, but is not in the argument spec under the role's own name"
        elif name not in defaults:
            if not option.get("required"):
                yield f"{name} is in the argument spec and not required, but has no default"
        elif option.get("required"):
            yield f"{name} is required, so its default is never used"
        elif "default" in option and option["default"] != defaults[name]:
            yield f"{name} is documented with default {option['default']!r}, but has {defaults[name]!r}"
        elif "default" not in option and defaults[name] and "{{" not in str(defaults[name]):
            yield f"{name} has the default {defaults[name]!r}, but the argument spec does not say so"


def main() -> int:
    roles = [role for role in sorted(ROLES.glob("*")) if role.is_dir()]
    found = []
    shared: dict[str, tuple[str, t.Any]] = {}
    for role in roles:
        specs = load(role / "meta/argument_specs.yml").get("argument_specs") or {}
        if "main" not in specs:
            found.append(f"roles/{role.name}: meta/argument_specs.yml has no entry point 'main'")
        options: dict[str, dict[str, t.Any]] = {}
        for entry in specs.values():
            options.update(entry.get("options") or {})
        found += [f"roles/{role.name}: {problem}" for problem in own_variables(role, options)]
        for name, option in sorted(options.items()):
            if name.startswith("nova_"):
                nature = {key: option.get(key) for key in ("type", "elements", "default", "choices", "required")}
                first, other = shared.setdefault(name, (role.name, nature))
                if nature != other:
                    found.append(f"roles/{role.name}: {name} is {nature}, but {other} in roles/{first}")
            elif not name.startswith(f"{role.name}_"):
                found.append(f"roles/{role.name}: {name} begins neither with nova_ nor with the role's name")
    print("\n".join(found) or f"{len(roles)} roles, {len(shared)} shared settings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
