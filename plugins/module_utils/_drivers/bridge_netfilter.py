# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leads bridged packets through the packet filter, without which security groups do not hold within a bridge.

It is a switch of the whole host, not of one bridge, so it is put on where it is needed and never off: others may have
come to need it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import typing as t

from .._core import addressing, brouting
from .._core.links.operations import SetSysctl
from . import origin, programs
from .netlink import sysctl

MODULE = "br_netfilter"
KEYS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


class Result(t.NamedTuple):
    """What was done, or in check mode would be, and what could not be."""

    actions: list[str]
    warnings: list[str]


def put_on(check: bool) -> Result:
    """Switch it on for IPv4 and IPv6, loading the kernel's module where it is missing."""
    result = Result([], [])
    found = sysctl.read(KEYS)
    if found[KEYS[0]] is None:
        if not _loadable():
            result.warnings.append(
                f"{_open()}: this kernel has no module {MODULE}, which leads bridged packets through the packet "
                "filter; install the kernel's modules"
            )
            return result
        result.actions.append(f"load the kernel module {MODULE}")
        if check:
            return result  # it comes switched on
        done = programs.run([programs.need("modprobe", "kmod"), MODULE])
        found = sysctl.read(KEYS)
        if done.status or found[KEYS[0]] is None:
            result.actions.clear()
            result.warnings.append(
                f"{_open()}: cannot load the kernel module {MODULE}: "
                f"{' '.join(done.said.split()) or 'it brought no setting'}"
            )
            return result
    for key in KEYS:
        value = found[key]
        if value is None or value == "1":
            continue
        if not check:
            origin.note_settings({key: value})
        refused = None if check else sysctl.write(SetSysctl(key, "1", value))
        if refused is None:
            result.actions.append(f"set {key} to 1, so that security groups hold within a bridge")
        else:
            result.warnings.append(f"{_open()}: cannot set {key} to 1: {refused}")
    return result


def kept_within(rules: t.Mapping[str, t.Any], led: t.Sequence[brouting.Led], lacking: t.Mapping[str, str]) -> list[str]:
    """What is to be said, with these rules, of those addresses that it keeps from guests of other hosts.

    `lacking` says why they cannot be helped, by bridge.
    """
    if not led:
        return []
    switches = sysctl.read(KEYS)
    # With guests of its own that the host guards it is about to be put on.
    kept = [each for each in led if rules.get("instances") or switches[KEYS[each.version == 6]] == "1"]
    if not kept:
        return []
    more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
    first = min(kept, key=lambda each: addressing.order(each.address))
    reason = lacking.get(first.bridge or "")
    because = f"bridge {first.bridge}: {reason}; mend that, or " if reason else ""
    return [
        f"host {os.uname().nodename}: guests of other hosts do not reach floating IP {first.address}{more} from the "
        f"network of the guest that it leads to, while {KEYS[0]} is 1: {because}have the guests of this host run "
        "elsewhere and put it to 0, or make the network multi_host"
    ]


def _open() -> str:
    # Ansible shows warnings without the host, and equal ones once.
    return f"host {os.uname().nodename}: security groups do not hold between guests of one bridge"


def _loadable() -> bool:
    program = programs.find("modprobe")
    return program is not None and programs.run([program, "--dry-run", MODULE]).status == 0
