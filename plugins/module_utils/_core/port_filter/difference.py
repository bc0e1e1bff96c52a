# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between the port filter as planned and as the kernel has it, in words.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

#: What is permitted to each interface, line by line.
Permits = t.Mapping[str, t.Sequence[str]]


class Difference(t.NamedTuple):
    """`script` makes the kernel as planned, in one transaction; empty where nothing differs.

    `common_rules` says what becomes of the rules that all ports share.
    """

    before: Permits
    after: Permits
    script: str
    common_rules: str | None = None

    @property
    def changed(self) -> bool:
        return bool(self.script)

    def actions(self) -> list[str]:
        said = [] if self.common_rules is None else [self.common_rules]
        for name in sorted({*self.before, *self.after}):
            old, new = self.before.get(name), self.after.get(name)
            if old is None:
                said.append(f"filter {name}")
            elif new is None:
                said.append(f"stop filtering {name}")
            elif list(old) != list(new):
                said.append(f"change what passes {name}")
        return said

    def diff(self) -> dict[str, str]:
        touched = [
            name for name in sorted({*self.before, *self.after}) if self.before.get(name) != self.after.get(name)
        ]
        header = "port filter"
        return {
            "before_header": header,
            "after_header": header,
            "before": _listed(self.before, touched, "" if self.common_rules is None else "rules: differ\n"),
            "after": _listed(self.after, touched, "" if self.common_rules is None else "rules: as planned\n"),
        }


def _listed(permits: Permits, names: t.Iterable[str], first: str) -> str:
    return first + "".join(f"{name} {line}\n" for name in names for line in permits.get(name, ()))
