# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packet filter and the floating addresses of a host, in step: an address is bound only while rules lead it on.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import functools
import typing as t

from .._core import brouting as core
from .._core import packet_filter
from . import bridge_netfilter, brouting, flat_metadata, floating_addresses, foreign_rules, names
from . import packet_filter as driver

Result = dict[str, t.Any]

#: What holds the rules, by the name that a host's settings give it.
BACKENDS: dict[str, t.Callable[..., Result]] = {
    name: functools.partial(driver.apply, backend=name) for name in driver.BACKENDS
}


def apply(
    filter_by: t.Callable[..., Result], plan: object, floating: object, *, check: bool, diff: bool, wait: int
) -> Result:
    """Apply both sections of the plan, `floating` being None where there is none; both are checked before anything.

    `filter_by` is the back end of the packet filter. Among the warnings is what other programs' rules keep guests from.
    """
    (plan, floating), told = _present(plan, floating)
    result = _apply(filter_by, plan, floating, check=check, diff=diff, wait=wait)
    rules = t.cast(t.Mapping[str, t.Any], plan)
    if rules.get("instances"):
        # After the rules: what they let through is not to be dropped by a policy in between.
        bridged = bridge_netfilter.put_on(check)
        _add(result, bridged.actions)
        result["warnings"] += bridged.warnings
    _route_first(rules, result, check=check, diff=diff, wait=wait)
    _lead_flat(rules, result, check=check, diff=diff, wait=wait)
    result["warnings"] += foreign_rules.at_gateway(rules, in_iptables=filter_by is BACKENDS["iptables"])
    result["warnings"] += [text for text in told if text not in result["warnings"]]
    return result


def _route_first(rules: t.Mapping[str, t.Any], result: Result, *, check: bool, diff: bool, wait: int) -> None:
    """What guests of other hosts ask of each other by floating IPs is routed before it is bridged."""
    led = core.led_elsewhere(rules)
    ways = core.ways(rules, led)
    routed = brouting.apply(ways, check=check, wait=wait)
    _add(result, [change.action() for change in routed.changes], core.diff(routed.changes) if diff else None)
    mended = {way.bridge for way in ways.values()} - routed.lacking.keys()
    kept = [each for each in led if each.bridge not in mended]
    result["warnings"] += bridge_netfilter.kept_within(rules, kept, routed.lacking)


def _lead_flat(rules: t.Mapping[str, t.Any], result: Result, *, check: bool, diff: bool, wait: int) -> None:
    """Guests of flat networks, which have another gateway, are led to their metadata."""
    led = flat_metadata.apply(packet_filter.flat_metadata(rules.get("flat_metadata")), check=check, wait=wait)
    _add(result, led.actions, led.diff if diff else None)
    result["warnings"] += led.warnings


def _add(result: Result, actions: list[str], diff: dict[str, str] | None = None) -> None:
    """What a further part has done, shown by `diff` where that is asked for."""
    if actions:
        result["changed"] = True
        result["actions"] += actions
        if diff is not None:
            result["diff"].append(diff)


def _present(plan: object, floating: object) -> tuple[tuple[object, object], list[str]]:
    """Both sections with the names that their interfaces have now."""
    plan, of_plan = names.present(plan)
    floating, of_floating = names.present(floating)
    return (plan, floating), list(dict.fromkeys(of_plan + of_floating))


def _apply(
    filter_by: t.Callable[..., Result], plan: object, floating: object, *, check: bool, diff: bool, wait: int
) -> Result:
    if floating is None:
        return filter_by(plan, check=check, diff=diff, wait=wait)
    places = floating_addresses.apply(floating, check=True)
    if places["changed"] and not check:
        packet_filter.parse(plan)
        floating_addresses.apply(floating, only_unbind=True, wait=wait)
    result = filter_by(plan, check=check, diff=diff, wait=wait)
    if places["changed"] and not check:
        floating_addresses.apply(floating, wait=wait)
    _add(result, places["actions"], places["diff"] if diff else None)
    return result
