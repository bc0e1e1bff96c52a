# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The udev rules by which a port that appears after a run is plugged into its bridge (udev(7)).

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from .mark import PortMark, render_port_mark
from .plan import Port

# A tap of ours is plugged by the run that made it, with a mark that says more than that of the rules.
# A container's or VM's manager renames a device, or moves it here from another namespace: both are events too.
_HEAD = """\
# Made by tenantnet.nova from the plan of this host: a port of an instance joins its bridge as soon as it appears.
SUBSYSTEM!="net", GOTO="tenantnet_end"
ACTION!="add|move", GOTO="tenantnet_end"
ATTR{ifalias}=="tenantnet.nova tap=*", GOTO="tenantnet_end"
"""

# A mark that is there already is that of a run, which came between the event and this.
# libvirt and LXC plug a device themselves right after making it, and give up where it is plugged already.
_TAIL = """\
ENV{.TENANTNET_PORT}!="?*", GOTO="tenantnet_end"
RUN+="/bin/sleep 0.2"
RUN+="/sbin/ip link set dev %k $env{.TENANTNET_PORT} up"
ENV{.TENANTNET_MARK}!="?*", GOTO="tenantnet_marked"
ENV{.TENANTNET_ALIAS}="/sys/class/net/%k/ifalias"
RUN+="/bin/sh -c 'grep -q . $env{.TENANTNET_ALIAS} || echo $env{.TENANTNET_MARK} >$env{.TENANTNET_ALIAS}'"
LABEL="tenantnet_marked"
RUN+="/sbin/ip link set dev %k type bridge_slave hairpin $env{.TENANTNET_HAIRPIN}"
LABEL="tenantnet_end"
"""


def render_rules(ports: t.Sequence[Port]) -> str:
    """The file, empty where there is no port: a line a port, and what is done for each."""
    if not ports:
        return ""
    return _HEAD + "".join(map(_line, sorted(ports, key=lambda port: port.name))) + _TAIL


def _line(port: Port) -> str:
    words = [f"master {port.bridge}"]
    if port.mtu is not None:
        words.append(f"mtu {port.mtu}")
    if port.mac is not None:
        words.append(f"address {port.mac}")
    # A tap of ours has its mark, which says more; on any other device the next run sets it.
    mark = "" if port.tap else f', ENV{{.TENANTNET_MARK}}="{render_port_mark(PortMark(port.bridge))}"'
    return (
        f'KERNEL=="{port.name}", ENV{{.TENANTNET_PORT}}="{" ".join(words)}", '
        f'ENV{{.TENANTNET_HAIRPIN}}="{"on" if port.hairpin else "off"}"{mark}\n'
    )
