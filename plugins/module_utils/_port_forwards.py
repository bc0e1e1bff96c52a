# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules around port forwards do, each in one call. Private to the collection; may change at any time."""

from __future__ import annotations

import typing as t

from . import _command
from ._core import addressing, port_forwards
from ._core.fields import Fields
from ._core.ledger import Ledger
from ._core.state import FixedIp, FloatingIp, PortForward
from ._core.tables import table
from ._drivers import upkeep

_PLACE = ("address", "protocol", "ports")
_TARGET = ("instance", "network", "fixed_port")
_HEADERS = ("project", "address", "protocol", "ports", "instance", "fixed_address", "fixed_ports")


def port_forward(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module port_forward documents."""
    present = parameters["state"] == "present"
    fields = Fields(_command.given(parameters, _PLACE + (_TARGET if present else ())), "")
    request = port_forwards.read(fields) if present else None
    place = port_forwards.read_place(fields) if request is None else request.place

    def work(ledger: Ledger) -> dict[str, t.Any]:
        if request is None:
            port_forwards.remove(ledger, place)
            return {"port_forward": None}
        return {"port_forward": _told(ledger, port_forwards.put(ledger, request, _command.ORIGIN))}

    return _command.apply(parameters, check_mode, work)


def listing(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do what the module port_forward_info documents."""
    wanted = _command.given(parameters, ("address", "instance", "project"))
    columns = {}
    if "address" in wanted:
        columns["address"] = wanted["address"] = addressing.any_address(wanted["address"], "address")

    def work(ledger: Ledger) -> list[dict[str, t.Any]]:
        rows = sorted(ledger.where(PortForward, **columns), key=port_forwards.order)
        found = [_told(ledger, row) for row in rows]
        return [row for row in found if all(row[name] == value for name, value in wanted.items())]

    found = upkeep.query(parameters["state_url"], work)
    lines = [tuple(row[name] for name in _HEADERS) for row in found]
    return {
        "changed": False,
        "port_forwards": found,
        "table": table(_HEADERS, lines) if lines else ["No port forwards found"],
    }


def _told(ledger: Ledger, row: PortForward) -> dict[str, t.Any]:
    floating = t.cast(FloatingIp, ledger.get(FloatingIp, row.address))
    fixed = t.cast(FixedIp, ledger.get(FixedIp, row.fixed_address))
    return {
        "address": row.address,
        "protocol": row.protocol,
        "ports": port_forwards.span(row.from_port, row.to_port),
        "project": floating.project,
        "instance": fixed.instance,
        "network": fixed.network,
        "fixed_address": row.fixed_address,
        "fixed_ports": port_forwards.span(row.fixed_port, row.fixed_port + row.to_port - row.from_port),
        "origin": row.origin,
    }
