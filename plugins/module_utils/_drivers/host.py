# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole host plan on this host, applied section by section.

The same functions do it that the modules call, each with its part of the plan.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._core.errors import HostError, InputError, NovaError
from . import applied, dnsmasq, links, port_filter, recorded, routing

Plan = recorded.Plan
Result = dict[str, t.Any]

#: Seconds to wait for another run, or for another program's lock.
WAIT = 60


class Outcome(t.NamedTuple):
    """What became of each section: what it returned, or why it failed. A section that failed has none of the first."""

    results: dict[str, Result]
    failures: dict[str, str]

    @property
    def changed(self) -> bool:
        return any(result["changed"] for result in self.results.values())

    @property
    def actions(self) -> list[str]:
        return [action for result in self.results.values() for action in result["actions"]]

    @property
    def diff(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for result in self.results.values():
            found += result["diff"] if isinstance(result["diff"], list) else [result["diff"]]
        return [each for each in found if each["before"] != each["after"]]

    @property
    def warnings(self) -> list[str]:
        return [warning for result in self.results.values() for warning in result.get("warnings", ())]


class Order(t.NamedTuple):
    """How a plan is to be applied."""

    check: bool = False
    wait: int = WAIT
    connection_address: str | None = None
    #: Under systemd processes are started by their units, which wait for the unit that applies the plan.
    boot: bool = False
    #: The plan says from now on what rules the host has to have; else the caller has seen to that.
    note: bool = True

    def noting(self, plan: Plan, *keys: str) -> t.ContextManager[None]:
        if not self.note:
            return contextlib.nullcontext()
        return applied.noting({key: plan[key] for key in keys if key in plan}, check=self.check, wait=self.wait)


class Section(t.NamedTuple):
    """A part of the plan that one function applies; it is left alone where the plan has no such key."""

    key: str
    apply: t.Callable[[Plan, Order], Result]
    #: Of a host that carries nothing.
    empty: t.Mapping[str, t.Any]


def _port_filter(plan: Plan, order: Order) -> Result:
    with order.noting(plan, "port_filter"):
        return port_filter.apply(plan["port_filter"], check=order.check, wait=order.wait)


def _links(plan: Plan, order: Order) -> Result:
    return links.apply(plan["links"], order.connection_address, check=order.check, wait=order.wait)


def _dnsmasq(plan: Plan, order: Order) -> Result:
    result, failed = dnsmasq.run(plan["dnsmasq"], order.check, lock_wait=order.wait, boot=order.boot)
    if failed:
        raise HostError(failed)
    return result


def _packet_filter(plan: Plan, order: Order) -> Result:
    name = plan.get("backend", "iptables")
    if name not in routing.BACKENDS:
        raise InputError(f"backend: {name!r} is none of {', '.join(routing.BACKENDS)}")
    floating = plan.get("floating_addresses", applied.LEFT_OUT["floating_addresses"])
    with order.noting(plan, "packet_filter", "floating_addresses", "backend"):
        return routing.apply(
            routing.BACKENDS[name], plan["packet_filter"], floating, check=order.check, diff=True, wait=order.wait
        )


#: In the order in which they are applied.
SECTIONS = (
    # Before the ports are in their bridges.
    Section("port_filter", _port_filter, {"ports": []}),
    Section("links", _links, {"bridges": [], "vlans": [], "sysctl": {}}),
    Section("dnsmasq", _dnsmasq, {"instances": []}),
    # With the floating addresses: these are bound while rules lead them on.
    Section("packet_filter", _packet_filter, {"networks": []}),
)


def apply(
    plan: Plan,
    *,
    check: bool = False,
    wait: int = WAIT,
    connection_address: str | None = None,
    boot: bool = False,
    backwards: bool = False,
    note: bool = True,
) -> Outcome:
    """Make this host equal to the plan, whose key `backend` (absent: iptables) says what holds the rules.

    A section that fails is told of, and the others are applied all the same. InputError for a plan that is none.
    With `backwards` the last section comes first, as is right for taking away. Without `note` the caller has a hold of
    `applied`, and these rules are the ones that it tells of.
    """
    recorded.check(plan, "the plan")
    order = Order(check, wait, connection_address, boot, note)
    outcome = Outcome({}, {})
    for section in reversed(SECTIONS) if backwards else SECTIONS:
        if section.key in plan:
            try:
                outcome.results[section.key] = section.apply(plan, order)
            except NovaError as error:
                outcome.failures[section.key] = str(error)
    return outcome
