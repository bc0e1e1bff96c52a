# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules around projects and their security groups do, each in one call.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import _command
from ._core import declaration, projects, security_groups, security_rules
from ._core.fields import Fields, text
from ._core.ledger import Ledger
from ._core.settings import UNLIMITED, Quotas, Settings
from ._core.state import Project, SecurityGroup
from ._core.tables import table
from ._drivers import upkeep

_FIELDS = ("network_manager", *(f"quota_{name}" for name in Quotas._fields))


def operate(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module project documents."""
    site = _command.site(parameters)
    name = text(parameters["name"], "name")
    fields = Fields(_command.given(parameters, _FIELDS), f"project {name!r}")
    wanted = declaration.project(fields, name, _command.ORIGIN)
    fields.done()

    def work(ledger: Ledger) -> dict[str, t.Any]:
        if parameters["state"] == "scrubbed":
            project = projects.known(ledger, name, "name")
            freed = projects.scrub(ledger, project)
            return {"project": project._asdict(), "networks": [row.label for row in freed]}
        old = ledger.get(Project, name)
        if parameters["state"] == "absent":
            if old is not None:
                projects.delete(ledger, old)
            return {"project": None}
        return {"project": _put(ledger, site, old, wanted)._asdict()}

    return _command.apply(parameters, check_mode, work)


def _put(ledger: Ledger, site: Settings, old: Project | None, wanted: Project) -> Project:
    """The project as wanted; what is not said of one that is there stays as it is."""
    if old is None:
        row = wanted
    else:
        said = {name: getattr(wanted, name) for name in _FIELDS if getattr(wanted, name) is not None}
        row = old._replace(**said)
    if row != old:
        ledger.put(row)
    return row


# --- quotas ----------------------------------------------------------------------------------------------------------


def info(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module project_info documents."""
    site = _command.site(parameters)
    columns = _command.given(parameters, ("name",))

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        return [_told(ledger, site, project) for project in ledger.where(Project, **columns)]

    found = upkeep.query(parameters["state_url"], work)
    lines = [
        (project["name"], project["network_manager"], name, _limit(quota["limit"]), quota["used"], quota["source"])
        for project in found
        for name, quota in project["quotas"].items()
    ]
    headers = ("project", "network manager", "quota", "limit", "in use", "source")
    return {"changed": False, "projects": found, "table": table(headers, lines) if lines else ["No projects found"]}


def _told(ledger: Ledger, site: Settings, project: Project) -> dict[str, t.Any]:
    used = projects.used(ledger, project)
    return {
        "name": project.name,
        "origin": project.origin,
        "network_manager": projects.manager_of(project, site),
        "network_manager_source": "site" if project.network_manager is None else "project",
        "quotas": {
            name: {
                "limit": projects.quota(project, name, site),
                "source": "site" if getattr(project, f"quota_{name}") is None else "project",
                "used": used[name],
            }
            for name in Quotas._fields
        },
    }


def _limit(value: int) -> int | str:
    return "unlimited" if value == UNLIMITED else value


# --- security groups -------------------------------------------------------------------------------------------------


def operate_group(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module security_group documents."""
    site = _command.site(parameters)
    options = _command.given(
        parameters, ("project", "name", "network", "subnet", "subnet_size", "description", "rules")
    )
    request = security_groups.read(Fields(options, f"security group {parameters['name']!r}"))

    def work(ledger: Ledger) -> dict[str, t.Any]:
        old = ledger.get(SecurityGroup, (request.project, request.name))
        if parameters["state"] == "absent":
            if old is not None:
                security_groups.delete(ledger, old)
            return {"security_group": None}
        asked = (request.subnet, request.subnet_size, request.description)
        if old is None or any(value is not None for value in asked):
            if old is None or request.subnet is not None or request.subnet_size is not None:
                old = security_groups.create(ledger, site, request, _command.ORIGIN)
            else:  # its subnet is no matter of this call
                old = old._replace(description=request.description)
                ledger.put(old)
        if request.rules is not None:
            security_rules.put(ledger, old, request.rules, _command.ORIGIN)
        return {"security_group": _group(ledger, old)}

    return _command.apply(parameters, check_mode, work)


def _group(ledger: Ledger, group: SecurityGroup) -> dict[str, t.Any]:
    rules = sorted(security_rules.of_group(ledger, group), key=security_rules.order)
    return {**group._asdict(), "rules": [{**security_rules.written(row), "origin": row.origin} for row in rules]}


def groups(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module security_group_info documents."""
    columns = _command.given(parameters, ("project", "name"))

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        return [
            {**_group(ledger, group), "instances": [row.instance for row in security_groups.members(ledger, group)]}
            for group in ledger.where(SecurityGroup, **columns)
        ]

    found = upkeep.query(parameters["state_url"], work)
    headers = ("project", "security group", "network", "subnet", "instances")
    lines = [
        (group["project"], group["name"], group["network"], group["subnet"], len(group["instances"])) for group in found
    ]
    return {
        "changed": False,
        "security_groups": found,
        "table": table(headers, lines) if lines else ["No security groups found"],
    }
