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

from .. import addressing, naming
from .plan import Host, Instance, Name, Option

CONF = "dnsmasq.conf"
HOSTS = "hosts"
OPTS = "opts"
NAMES = "names"
#: The files of one instance, in the order in which they are written: what the configuration names comes first.
FILES = (HOSTS, OPTS, NAMES, CONF)

#: Beginning of the line that ties our configuration to the content of the operator's file.
EXTRA_MARK = "# content of config_file: "

#: Seconds between router advertisements, nova's. In its first minute dnsmasq may wait for 20; the router's lifetime
#: outlasts three of these.
RA_INTERVAL = 10
RA_LIFETIME = 60
#: Seconds for which an IPv6 lease is given at most, and for which a range counts as advertised. The lease is bound to
#: the guest's DUID, not to its MAC address: a guest that was installed anew gets its address by DHCPv6 only when the
#: lease of the old one has ended.
LEASE_TIME_V6 = 600

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
    if _has_names(instance):
        files[NAMES] = _names_file(instance)
    return files


def _conf(instance: Instance, paths: Paths, extra_digest: str | None) -> str:
    name = instance.name
    lines = [
        "# Written by tenantnet.nova; changes by hand do not last.",
        "strict-order",
        # The link-local address, at which guests are told to ask for names, comes to a bridge with its first guest.
        # Later than its start dnsmasq would else bind only to an address whose duplicates are still looked for.
        "bind-dynamic" if instance.range_v6 else "bind-interfaces",
        "except-interface=lo",
        # nova gave the address alone. Then the DHCP sockets of all instances are bound to 0.0.0.0, and the kernel hands
        # a unicast packet (renewal, release) to any one of them. With the interface dnsmasq binds the socket to it.
        f"interface={instance.interface}",
    ]
    if instance.listen_address:
        lines.append(f"listen-address={instance.listen_address}")
        lines.append(
            f"dhcp-range=set:{tag(instance.network)},{instance.dhcp_start},static,{instance.netmask},"
            f"{instance.lease_time}s"
        )
    lines.extend(_conf_v6(instance))
    # dnsmasq counts the leases of both versions together.
    versions = 2 if instance.listen_address and instance.range_v6 else 1
    lines += [
        f"dhcp-lease-max={min(instance.lease_max * versions, 2**31 - 1)}",
        f"dhcp-hostsfile={paths.file(name, HOSTS)}",
        f"dhcp-optsfile={paths.file(name, OPTS)}",
        "no-hosts",
    ]
    if instance.domain:
        lines.append(f"domain={instance.domain}")
    if _has_names(instance):
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


def _conf_v6(instance: Instance) -> list[str]:
    """Router advertisements and DHCPv6; the advertised MTU is the interface's."""
    if instance.range_v6 is None:
        return []
    base, prefix = instance.range_v6.split("/")
    seconds = min(instance.lease_time, LEASE_TIME_V6)
    lines = [
        "enable-ra",
        # "slaac" lets guests give themselves an address; "static" gives them the reserved one by DHCPv6.
        f"dhcp-range=set:{tag(instance.network)},{base},static,slaac,{prefix},{seconds}s",
        f"ra-param={instance.interface},{RA_INTERVAL},{RA_LIFETIME}",
    ]
    if instance.domain:
        lines.append(f"dhcp-option=option6:domain-search,{instance.domain}")
    return lines


def advertised(conf: str) -> tuple[str, str] | None:
    """The interface and the IPv6 range that a configuration of ours advertises."""
    interface = re.search(r"^interface=(.+)$", conf, re.MULTILINE)
    found = re.search(r"^dhcp-range=set:[^,]+,([0-9a-f:]+),static,slaac,([0-9]+),", conf, re.MULTILINE)
    return (interface[1], f"{found[1]}/{found[2]}") if interface and found else None


def served_range(conf: str) -> str | None:
    """The IPv4 range that a configuration of ours serves; None where there is none, or where it cannot be read."""
    found = _RANGE.search(conf)
    try:
        return str(ipaddress.IPv4Network("/".join(found.groups()), strict=False)) if found else None
    except ValueError:
        return None


def _hosts_file(instance: Instance) -> str:
    # Untagged on purpose: dnsmasq 2.90 dies on SIGHUP when this file carries tags and a lease exists.
    return _lines(_host(host, instance.domain) for host in instance.hosts)


def _host(host: Host, domain: str) -> str:
    words = [host.mac, _full_name(host.hostname, domain)]
    if host.address is not None:
        words.append(host.address)
    if host.address_v6 is not None:
        words.append(f"[{host.address_v6}]")
    return ",".join(words)


def _opts_file(instance: Instance) -> str:
    return _lines(_option(option) for option in instance.options)


def _has_names(instance: Instance) -> bool:
    """With IPv6 always: the first guest is a reload then, not a restart."""
    return bool(instance.names or instance.range_v6)


def _names_file(instance: Instance) -> str:
    """The plan's names, and the IPv6 addresses of its hosts: who gives itself its address has no lease to name it."""
    hosts = {Name(host.address_v6, host.hostname) for host in instance.hosts if host.address_v6 is not None}
    names = sorted({*instance.names, *hosts}, key=lambda name: (addressing.order(name.address), name.hostname))
    return _lines(f"{name.address}\t{_full_name(name.hostname, instance.domain)}" for name in names)


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


def _there(conf: str) -> str:
    """For systemd: whether the interface is there. dnsmasq with bind-dynamic would start, but not bound to it."""
    return f'test -e "/sys/class/net/$$(sed -n s/^interface=//p {conf})/ifindex"'


def render_unit(paths: Paths, dnsmasq: str) -> str:
    """The template unit of all instances."""
    # Forking, because dnsmasq leaves the foreground when its sockets are bound: a failure to bind fails the start.
    # No limit on attempts, because at boot the bridge may come later than the unit.
    return _lines(
        (
            "# Written by tenantnet.nova; changes by hand do not last.",
            "[Unit]",
            "Description=DHCP and DNS of the network on %i",
            f"After=network.target {naming.UNIT}",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=forking",
            f"PIDFile={paths.pid('%i')}",
            f"RuntimeDirectory={paths.run[len('/run/') :]}",
            "RuntimeDirectoryPreserve=yes",
            f"ExecStartPre=/bin/sh -c '{_there(paths.file('%i', CONF))}'",
            f"ExecStart={dnsmasq} --conf-file={paths.file('%i', CONF)}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=on-failure",
            "RestartSec=5",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        )
    )
