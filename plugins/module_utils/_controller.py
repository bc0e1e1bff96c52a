# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network controller's whole work in one call: declare, allocate, plan; the store is written in between.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import time
import typing as t

from ._core import allocation, declaration, packed, plan, preflight, state
from ._drivers import store


def run(parameters: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Do what the module network_controller documents; `parameters` are its options.

    Plans are composed and checked inside the transaction, so that a refused one leaves the store as it was.
    """
    declared = declaration.parse(
        parameters["settings"],
        parameters["networks"],
        parameters["projects"],
        parameters["instances"],
        parameters["hosts"],
        parameters["security_groups"],
        parameters["floating_ranges"],
        parameters["floating_port_forwards"],
    )
    plans: dict[str, plan.Plan] = {}

    def decide(before: state.State) -> state.State:
        after = allocation.allocate(declared, before, time.time())
        plans.update(plan.compose(after, declared))
        preflight.check(plans, parameters["host_links"])
        return after

    by = store.author(parameters["run"], parameters["user"])
    outcome = store.reconcile(parameters["state_url"], decide, check_mode, by)
    return {
        "changed": outcome.changed,
        "actions": outcome.actions,
        "diff": state.listing(outcome.changes),
        "plans": {host: packed.pack_plan(each) for host, each in plans.items()} if parameters["packed"] else plans,
    }
