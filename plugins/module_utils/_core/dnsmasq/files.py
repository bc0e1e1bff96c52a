# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the files of an instance say, where they are, and the systemd unit that runs it.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .. import naming
from .plan import Instance, Option

CONF = "dnsmasq.conf"
HOSTS = "hosts"
OPTS = "opts"
NAMES = "names"
#: The files of one instance, in the order in which they are written: what the configuration names comes first.
FILES = (HOSTS, OPTS, NAMES, CONF)

#: Beginning of the line that ties our configuration to the content of the operator's file.
EXTRA_MARK = "# content of config_file: "

UNIT = "tenantnet-dnsmasq@.service"

_RANGE = re.compile(r"dhcp-range=[^,\n]*,([0-9.]+),static,([0-9.]+),", re.ASCII)
_UNSAFE_IN_TAG = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Paths:
    """Where things are on the host; another root is for tests."""

    conf: str
    state: str
    run: str
    lock: str
    units: str
    systemd: str

    @classmethod
    def under(cls, root: str = "") -> Paths:
        return cls(
            conf=f"{root}{naming.CONF_DIR}/dnsmasq",
            state=f"{root}{naming.STATE_DIR}/dnsmasq",
            run=f"{root}{naming.RUN_DIR}/dnsmasq",
            lock=f"{root}{naming.RUN_DIR}/dnsmasq.lock",
            units=f"{root}/etc/systemd/system",
            systemd=f"{root}/run/systemd/system",
        )

    def folder(self, name: str) -> str:
        return f"{self.conf}/{name}"

    def file(self, name: str, file: str) -> str:
        return f"{self.conf}/{name}/{file}"

    def leases(self, name: str) -> str:
        return f"{self.state}/{name}.leases"

    def pid(self, name: str) -> str:
        return f"{self.run}/{name}.pid"

    def pending(self, name: str) -> str:
        return f"{self.run}/{name}.pending"


def tag(label: str) -> str:
    """The network's tag, as an operator's file may name it: the label, with what dnsmasq cannot read made '-'."""
    return _UNSAFE_IN_TAG.sub("-", label).strip("-") or "network"


def render(instance: Instance, paths: Paths, extra_digest: str | None = None) -> dict[str, str]:
    """The files of one instance. extra_digest stands for the content of config_file, so that its change is ours."""
    files = {CONF: _conf(instance, paths, extra_digest), HOSTS: _hosts_file(instance), OPTS: _opts_file(instance)}
    if instance.names:
        files[NAMES] = _names_file(instance)
    return files


def _conf(instance: Instance, paths: Paths, extra_digest: str | None) -> str:
    name = instance.name
    lines = [
        "# Written by tenantnet.nova; changes by hand do not last.",
        "strict-order",
        "bind-interfaces",
        "except-interface=lo",
        # nova gave the address alone. Then the DHCP sockets of all instances are bound to 0.0.0.0, and the kernel hands
        # a unicast packet (renewal, release) to any one of them. With the interface dnsmasq binds the socket to it.
        f"interface={instance.interface}",
        f"listen-address={instance.listen_address}",
        f"dhcp-range=set:{tag(instance.network)},{instance.dhcp_start},static,{instance.netmask},{instance.lease_time}s",
        f"dhcp-lease-max={instance.lease_max}",
        f"dhcp-hostsfile={paths.file(name, HOSTS)}",
        f"dhcp-optsfile={paths.file(name, OPTS)}",
        "no-hosts",
    ]
    if instance.domain:
        lines.append(f"domain={instance.domain}")
    if instance.names:
        lines.append(f"addn-hosts={paths.file(name, NAMES)}")
    if instance.servers:
        lines.append("no-resolv")
        lines.extend(f"server={server}" for server in instance.servers)
    lines.append(f"pid-file={paths.pid(name)}")
    lines.append(f"dhcp-leasefile={paths.leases(name)}")
    if instance.config_file is not None:
        lines.append(f"{EXTRA_MARK}{extra_digest}")
        lines.append(f"conf-file={instance.config_file}")
    return _lines(lines)


def served_range(conf: str) -> str | None:
    """The range of the network that a configuration of ours serves; None where it cannot be read."""
    found = _RANGE.search(conf)
    try:
        return str(ipaddress.IPv4Network("/".join(found.groups()), strict=False)) if found else None
    except ValueError:
        return None


def _hosts_file(instance: Instance) -> str:
    # Untagged on purpose: dnsmasq 2.90 dies on SIGHUP when this file carries tags and a lease exists.
    return _lines(f"{host.mac},{_full_name(host.hostname, instance.domain)},{host.address}" for host in instance.hosts)


def _opts_file(instance: Instance) -> str:
    return _lines(_option(option) for option in instance.options)


def _names_file(instance: Instance) -> str:
    return _lines(f"{name.address}\t{_full_name(name.hostname, instance.domain)}" for name in instance.names)


def testable(instance: Instance, conf: str) -> str:
    """The configuration as `dnsmasq --test` should read it: with the options, whose file it does not open."""
    return conf + _lines(f"dhcp-option={_option(option)}" for option in instance.options)


def _option(option: Option) -> str:
    return f"{option.option},{option.value}" if option.value else str(option.option)


def _full_name(hostname: str, domain: str) -> str:
    return f"{hostname}.{domain}" if domain else hostname


def _lines(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def unit_name(name: str) -> str:
    return f"tenantnet-dnsmasq@{name}.service"


def render_unit(paths: Paths, dnsmasq: str) -> str:
    """The template unit of all instances."""
    # Forking, because dnsmasq leaves the foreground when its sockets are bound: a failure to bind fails the start.
    # No limit on attempts, because at boot the bridge may come later than the unit.
    return _lines(
        (
            "# Written by tenantnet.nova; changes by hand do not last.",
            "[Unit]",
            "Description=DHCP and DNS of the network on %i",
            "After=network.target",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=forking",
            f"PIDFile={paths.pid('%i')}",
            f"RuntimeDirectory={paths.run[len('/run/') :]}",
            "RuntimeDirectoryPreserve=yes",
            f"ExecStart={dnsmasq} --conf-file={paths.file('%i', CONF)}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=on-failure",
            "RestartSec=5",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        )
    )
