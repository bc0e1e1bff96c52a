# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of systemd that bring a host's networks back: at boot, and rules whenever somebody took them away.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from . import naming, rule_events

#: What may empty the packet filter when it starts, and so has to have done it before.
_FIREWALLS = ("firewalld", "ufw", "nftables", "iptables", "ip6tables", "netfilter-persistent", "ipset", "shorewall")
#: What starts guests, and so has to find their networks.
_GUESTS = (
    "libvirtd",
    "virtqemud",
    "virtlxcd",
    "libvirt-guests",
    "lxc",
    "lxc-net",
    "lxd",
    "incus",
    "docker",
    "pve-guests",
)

#: The argument by which the program is asked for the rules alone.
RULES = "rules"

#: Those that bring rules back, and all: in the order in which they are installed, and removed the other way round.
FOR_RULES = (naming.FOLLOWER, naming.RULES_SERVICE, naming.RULES_SOCKET)
ALL = (naming.UNIT, *FOR_RULES)

#: The units that are enabled, with what starts each.
WANTED_BY = {
    naming.UNIT: ("multi-user.target",),
    naming.FOLLOWER: tuple(f"{name}.service" for name in _FIREWALLS),
    naming.RULES_SOCKET: ("sockets.target",),
}

_HEAD = "# Written by tenantnet.nova; changes by hand do not last."


def render(python: str, program: str, told: bool) -> dict[str, str]:
    """Each unit's text by its name, those for rules where the kernel tells of commits. All of them run the program."""
    command = f"{python} -I {program}"
    lines = {naming.UNIT: _boot(command), naming.FOLLOWER: _follower(command)}
    if told:
        lines[naming.RULES_SERVICE] = _rules(command)
        lines[naming.RULES_SOCKET] = _socket()
    return {name: _text(lines[name]) for name in ALL if name in lines}


def _boot(command: str) -> tuple[str, ...]:
    """Once at boot, and again when what empties the packet filter is reloaded, for rules that no socket tells of."""
    return (
        "[Unit]",
        "Description=Networks of the guests, as last applied",
        # After the host's own network, from which rules take the host's address, and not after its being online: for
        # that a host with a card that nobody plugged in waits minutes.
        f"After=local-fs.target systemd-sysctl.service network.target {_services(_FIREWALLS)}",
        f"Before=network-online.target {_services(_GUESTS)}",
        f"ReloadPropagatedFrom={_services(_FIREWALLS)}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={command}",
        f"ExecReload={command}",
        "TimeoutStartSec=300",
        "",
        *_installed(naming.UNIT),
    )


def _follower(command: str) -> tuple[str, ...]:
    """When what empties the packet filter was started or restarted, for rules that no socket tells of.

    They are not to restart a unit of ours (PartOf): some of them conflict, so starting one stops another one, and
    systemd refuses to restart and to stop at once what is part of both.
    """
    return (
        "[Unit]",
        "Description=Rules of the guests, where a firewall took them away when it started",
        f"After={naming.UNIT} {_services(_FIREWALLS)}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={command} {RULES}",
        "TimeoutStartSec=300",
        "",
        *_installed(naming.FOLLOWER),
    )


def _socket() -> tuple[str, ...]:
    return (
        "[Unit]",
        "Description=Commits of anybody to the packet filter",
        # It fails when more is told at once than it can hold. The service has it back, and looks at the rules.
        f"OnFailure={naming.RULES_SERVICE}",
        "StartLimitIntervalSec=0",
        "",
        "[Socket]",
        f"ListenNetlink=netfilter {rule_events.GROUP}",
        # The service waits by itself; a socket over its limit would be closed for good.
        "TriggerLimitIntervalSec=0",
        "",
        *_installed(naming.RULES_SOCKET),
    )


def _rules(command: str) -> tuple[str, ...]:
    return (
        "[Unit]",
        "Description=Rules of the guests, where somebody took them away",
        # At boot there is nothing to be missed before.
        f"After={naming.UNIT}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=oneshot",
        f"Sockets={naming.RULES_SOCKET}",
        f"ExecStart={command} {RULES}",
        "TimeoutStartSec=300",
        # It runs after each commit to the packet filter: what it does is worth a line, that it ran is not.
        "LogLevelMax=notice",
    )


def _installed(name: str) -> tuple[str, ...]:
    return ("[Install]", f"WantedBy={' '.join(WANTED_BY[name])}")


def _text(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (_HEAD, *lines))


def _services(names: t.Iterable[str]) -> str:
    return " ".join(f"{name}.service" for name in names)
