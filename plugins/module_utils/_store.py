# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules around the store do, each in one call. Private to the collection; may change at any time."""

from __future__ import annotations

import os
import typing as t

from ._core import addressing, history, kinds, migrations, moments
from ._core import state as states
from ._core.errors import InputError
from ._core.history import Holding
from ._drivers import files, store, upkeep


def info(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module store_info documents."""
    url, gather = parameters["state_url"], parameters["gather"]
    result: dict[str, t.Any] = {"changed": False}
    if "counts" in gather:
        content = upkeep.read(url)
        result["version"] = content.version
        result["counts"] = {kind.name: len(getattr(content.state, kind.name)) for kind in kinds.KINDS}
        result["counts"]["history"] = len(content.events)
    if "violations" in gather:
        result["violations"] = upkeep.fsck(url)
    if "document" in gather:
        result["document"] = upkeep.export(url, parameters["history"])
    return result


def held(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module history_info documents."""
    address, mac, at = parameters["address"], parameters["mac"], parameters["at"]
    found = upkeep.holdings(
        parameters["state_url"],
        None if address is None else addressing.address(address, "address"),
        None if mac is None else addressing.mac(mac, "mac"),
        parameters["instance"],
        None if at is None else moments.read(at, "at"),
    )
    return {"changed": False, "holdings": [_told(each) for each in found]}


def _told(each: Holding) -> dict[str, t.Any]:
    return {
        "address": each.address,
        "network": each.network,
        "instance": each.instance,
        "host": each.host,
        "mac": each.mac,
        "since": moments.text(each.since),
        "until": moments.text(each.until),
        "given_by": _author(each.first),
        "taken_by": _author(each.last),
    }


def _author(event: history.Event | None) -> dict[str, str] | None:
    return None if event is None else {"run": event.run, "user": event.user_name}


def operate(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module store documents."""
    return _OPERATIONS[parameters["operation"]](parameters, check_mode)


def _backup(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    target = parameters["dest"]
    changed = upkeep.backup(parameters["state_url"], target, check_mode)
    return {"changed": changed, "actions": [f"write the backup {target}"] if changed else []}


def _export(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    target = parameters["dest"]
    if not os.path.isabs(target):
        raise InputError(f"dest: {target!r} is no absolute path")
    text = upkeep.export(parameters["state_url"], parameters["history"])
    before = files.read(target) or ""
    changed = upkeep.write_text(target, text, check_mode)
    return {
        "changed": changed,
        "actions": [f"write the document {target}"] if changed else [],
        "diff": {"before_header": target, "after_header": target, "before": before, "after": text},
    }


def _import(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    text = files.read(parameters["src"])
    if text is None:
        raise InputError(f"src: {parameters['src']} is not there")
    wanted = upkeep.parse(text, parameters["src"])
    by = store.author(parameters["run"], parameters["user"])
    return _outcome(upkeep.load(parameters["state_url"], wanted, parameters["replace"], check_mode, by))


def _migrate(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    content = upkeep.read(parameters["state_url"])
    if content.version == migrations.SCHEMA_VERSION:
        return {"changed": False, "actions": [], "diff": {"before": "", "after": ""}}
    return _outcome(store.reconcile(parameters["state_url"], lambda before: before, check_mode))


def _outcome(outcome: store.Outcome) -> dict[str, t.Any]:
    return {"changed": outcome.changed, "actions": outcome.actions, "diff": states.listing(outcome.changes)}


_OPERATIONS: dict[str, t.Callable[[dict[str, t.Any], bool], dict[str, t.Any]]] = {
    "backup": _backup,
    "export": _export,
    "import": _import,
    "migrate": _migrate,
}
