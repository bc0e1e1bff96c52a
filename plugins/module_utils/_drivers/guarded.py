# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of what a host is reached by, each with the guard that takes it back.

Links return to what the kernel had of them before; DHCP and rules to the plan that was recorded last.
Private to the collection; may change at any time.
"""

from __future__ import annotations

import functools
import typing as t

from .._core.errors import HostError, NovaError
from .._core.guard import Armed, parse_timeout
from . import guard, netlink, programs, recorded

#: Seconds for another run's lock, when nobody may be there to end that run, or for rules that are being brought back.
_WAIT = 15


def within(timeout: object) -> guard.Arm:
    """How to guard a change for so many seconds. InputError where that is no time to wait."""
    return functools.partial(arm, parse_timeout(timeout, "guard_timeout"))


def arm(
    timeout: int,
    interfaces: t.Iterable[str],
    actions: t.Iterable[str],
    links_back: t.Callable[[], list[str]] = list,
) -> Armed:
    """Guard the change that comes: `links_back` and what was recorded take it back after `timeout` seconds.

    HostError where it cannot be armed.
    """
    # Late: only guarded changes need all that it imports.
    from . import host

    plan, unknown = _rest(host)

    def restore() -> list[str]:
        left = links_back()
        if plan is None:
            return [*left, unknown]
        return [*left, *host.apply(plan, wait=_WAIT).failures.values()]

    return guard.arm(timeout, sorted(interfaces), actions, restore)


def change_rules(public: str | None, timeout: int, foretell: t.Callable[[], dict[str, t.Any]]) -> Armed | None:
    """Guard a change of the packet filter of a host that is reached over its public interface.

    None where nothing will change, or where nothing leads over that interface.
    """
    if public is None:
        return None
    state = netlink.read()
    if public not in netlink.read_duties(state).carried:
        return None
    foretold = foretell()
    if not foretold["changed"]:
        return None
    # An earlier task of the same run has one that takes the rules back as well.
    found = guard.armed()
    return found if found is not None else arm(timeout, [public], foretold["actions"])


def _rest(host: t.Any) -> tuple[dict[str, t.Any] | None, str]:
    """What DHCP and rules return to; None and the reason where nothing tells it."""
    try:
        last = recorded.read()
    except NovaError as error:
        return None, f"DHCP and rules were left as they are: {error}"
    if last is not None:
        return {key: value for key, value in last.items() if key != "links"}, ""
    # A host that serves nothing. Filters of guests' ports stay in any case: without a record nobody knows whose they
    # are, and a guest without its filter is worse than a filter without its guest.
    backend = "iptables" if programs.find("iptables-save") else "nftables"
    nothing = {"backend": backend, "dnsmasq": {"instances": []}, "packet_filter": {"networks": []}}
    try:
        there = host.apply(nothing, check=True).changed
    except HostError:
        there = True
    if there:
        return None, "DHCP and rules were left as they are, since no plan was recorded that they could return to"
    return nothing, ""
