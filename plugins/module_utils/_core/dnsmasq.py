# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dnsmasq section of a host plan: checked, made into files, compared with what a host has.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from . import naming
from .errors import InputError

CONF = "dnsmasq.conf"
HOSTS = "hosts"
OPTS = "opts"
NAMES = "names"
#: The files of one instance, in the order in which they are written: what the configuration names comes first.
FILES = (HOSTS, OPTS, NAMES, CONF)

#: What a host has to do, from the mildest to the strongest; a stronger one includes a milder one.
UNCHANGED, RELOAD, RESTART, START, STOP = "unchanged", "reload", "restart", "start", "stop"
_STRENGTH = (UNCHANGED, RELOAD, RESTART, START)
DONE = {UNCHANGED: "unchanged", RELOAD: "reloaded", RESTART: "restarted", START: "started", STOP: "stopped"}

#: Beginning of the line that ties our configuration to the content of the operator's file.
EXTRA_MARK = "# content of config_file: "

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\Z")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")
_DOMAIN_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
#: Options whose value is checked here; of others dnsmasq knows what they take.
_CHECKED_OPTIONS = (3, 26)
# dnsmasq reads '"' and '\' as quoting and '#' as the beginning of a comment.
_OPTION_VALUE = re.compile(r"[!$-\[\]-~](?:[ !$-\[\]-~]*[!$-\[\]-~])?\Z")
_PATH = re.compile(r"/[A-Za-z0-9_./@%+=:~-]*[A-Za-z0-9_@%+=~-]\Z")
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


@dataclass(frozen=True)
class Host:
    """A reservation."""

    mac: str
    hostname: str
    address: str


@dataclass(frozen=True)
class Option:
    """A DHCP option; an empty value suppresses the one that dnsmasq would send by itself."""

    option: int
    value: str


@dataclass(frozen=True)
class Name:
    """A further name that dnsmasq answers."""

    address: str
    hostname: str


@dataclass(frozen=True)
class Instance:
    """One dnsmasq: that of one network on one host."""

    name: str
    network: str
    interface: str
    listen_address: str
    dhcp_start: str
    netmask: str
    lease_time: int
    lease_max: int
    domain: str = ""
    servers: tuple[str, ...] = ()
    config_file: str | None = None
    hosts: tuple[Host, ...] = ()
    options: tuple[Option, ...] = ()
    names: tuple[Name, ...] = ()


# --- reading the plan ------------------------------------------------------------------------------------------------

_INSTANCE_KEYS = tuple(Instance.__dataclass_fields__)
_INSTANCE_OPTIONAL = ("domain", "servers", "config_file", "hosts", "options", "names")


def parse(plan: object) -> tuple[Instance, ...]:
    """The section `dnsmasq` of a host plan as values, ordered by name. InputError names the path of the faulty item."""
    section = _mapping(plan, "dnsmasq", ("instances",))
    where = "dnsmasq.instances"
    instances = [_instance(item, f"{where}[{n}]") for n, item in enumerate(_list(section["instances"], where))]
    _unique(where, "name", [each.name for each in instances])
    _unique(where, "interface", [each.interface for each in instances])
    _unique(where, "listen_address", [each.listen_address for each in instances])
    return tuple(sorted(instances, key=lambda each: each.name))


def _instance(value: object, where: str) -> Instance:
    item = _mapping(value, where, _INSTANCE_KEYS, _INSTANCE_OPTIONAL)
    listen, netmask = _address(item["listen_address"], f"{where}.listen_address"), item["netmask"]
    subnet = _subnet(listen, netmask, f"{where}.netmask")
    start = _inside(subnet, item["dhcp_start"], f"{where}.dhcp_start")
    return Instance(
        name=_name(item["name"], f"{where}.name"),
        network=_text(item["network"], f"{where}.network"),
        interface=_interface(item["interface"], f"{where}.interface"),
        listen_address=listen,
        dhcp_start=start,
        netmask=str(subnet.netmask),
        lease_time=_number(item["lease_time"], f"{where}.lease_time", 1, 2**32 - 2),
        lease_max=_number(item["lease_max"], f"{where}.lease_max", 1, 2**31 - 1),
        domain=_domain(item.get("domain"), f"{where}.domain"),
        servers=_servers(item.get("servers"), f"{where}.servers"),
        config_file=_config_file(item.get("config_file"), f"{where}.config_file"),
        hosts=_hosts(item.get("hosts"), f"{where}.hosts", subnet, listen),
        options=_options(item.get("options"), f"{where}.options"),
        names=_names(item.get("names"), f"{where}.names"),
    )


def _hosts(value: object, where: str, subnet: ipaddress.IPv4Network, listen: str) -> tuple[Host, ...]:
    hosts = []
    for n, each in enumerate(_list(value, where)):
        path = f"{where}[{n}]"
        item = _mapping(each, path, ("mac", "hostname", "address"))
        address = _inside(subnet, item["address"], f"{path}.address")
        if address == listen:
            raise InputError(
                f"{path}.address: {address} is the address that dnsmasq itself listens on; reserve another"
            )
        hosts.append(Host(_mac(item["mac"], f"{path}.mac"), _hostname(item["hostname"], f"{path}.hostname"), address))
    _unique(where, "mac", [each.mac for each in hosts])
    _unique(where, "address", [each.address for each in hosts])
    return tuple(sorted(hosts, key=lambda host: _sort_key(host.address)))


def _options(value: object, where: str) -> tuple[Option, ...]:
    options = []
    for n, each in enumerate(_list(value, where)):
        path = f"{where}[{n}]"
        item = _mapping(each, path, ("option", "value"))
        number = _number(item["option"], f"{path}.option", 1, 254)
        options.append(Option(number, _option_value(number, item["value"], f"{path}.value")))
    _unique(where, "option", [str(each.option) for each in options])
    return tuple(sorted(options, key=lambda option: option.option))


def _option_value(number: int, value: object, where: str) -> str:
    text = _text(value, where, empty=True)
    if text and not _OPTION_VALUE.match(text):
        raise InputError(
            f"{where}: {value!r} cannot stand in dnsmasq's option file; "
            "use printable ASCII without '\"', '\\' and '#', and no blank at either end"
        )
    if number == 3 and text:
        return ",".join(_address(each, where) for each in text.split(","))
    if number == 26 and text:
        if not (text.isdigit() and 68 <= int(text) <= 65535):
            raise InputError(f"{where}: {value!r} is not an MTU; DHCP option 26 takes a number from 68 to 65535")
        return str(int(text))
    return text


def _names(value: object, where: str) -> tuple[Name, ...]:
    names = set()
    for n, each in enumerate(_list(value, where)):
        path = f"{where}[{n}]"
        item = _mapping(each, path, ("address", "hostname"))
        name = Name(_address(item["address"], f"{path}.address"), _hostname(item["hostname"], f"{path}.hostname"))
        if name in names:
            raise InputError(f"{path}: {name.hostname!r} at {name.address} stands there twice; give each name once")
        names.add(name)
    return tuple(sorted(names, key=lambda name: (_sort_key(name.address), name.hostname)))


def _mapping(value: object, where: str, keys: t.Sequence[str], optional: t.Sequence[str] = ()) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {value!r} is not a mapping; give one with {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise InputError(f"{where}: unknown key {key!r}; known are {', '.join(keys)}")
    for key in keys:
        if key not in value and key not in optional:
            raise InputError(
                f"{where}: {key!r} is missing; needed are {', '.join(k for k in keys if k not in optional)}"
            )
    return value


def _list(value: object, where: str) -> list[t.Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: {value!r} is not a list")
    return list(value)


def _unique(where: str, key: str, values: list[str]) -> None:
    if len(set(values)) == len(values):
        return
    first: dict[str, int] = {}
    for n, value in enumerate(values):
        if value in first:
            raise InputError(
                f"{where}[{n}].{key}: {value!r} is that of {where}[{first[value]}] already; each {key} stands once"
            )
        first[value] = n


def _text(value: object, where: str, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise InputError(f"{where}: {value!r} is not a text" + ("" if empty else " of at least one character"))
    return value


def _number(value: object, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{where}: {value!r} is not a whole number from {low} to {high}")
    return value


def _name(value: object, where: str) -> str:
    # It becomes a folder, a file and the instance of a systemd unit, which would have to be escaped otherwise.
    if not isinstance(value, str) or not _NAME.match(value):
        raise InputError(
            f"{where}: {value!r} cannot name an instance; use letters, digits, '_', '.' and '-', "
            "at most 64 of them, beginning with a letter, a digit or '_'"
        )
    return value


def _interface(value: object, where: str) -> str:
    name = naming.interface_name(value, where)
    # A comma separates two interfaces for dnsmasq, a star matches many, the others begin quoting or a comment.
    if not name.isprintable() or re.search(r'[,*"\\#]', name):
        raise InputError(
            f"{where}: {value!r} cannot be given to dnsmasq; use none of , * \" \\ # in the interface's name"
        )
    return name


def _address(value: object, where: str) -> str:
    # A number would be taken for an address by the library.
    if isinstance(value, str):
        try:
            return str(ipaddress.IPv4Address(value))
        except ValueError:
            pass
    raise InputError(f"{where}: {value!r} is not an IPv4 address such as 10.0.0.3")


def _subnet(address: str, netmask: object, where: str) -> ipaddress.IPv4Network:
    mask = _address(netmask, where)
    bits = int(ipaddress.IPv4Address(mask))
    inverse = bits ^ 0xFFFFFFFF
    if inverse & (inverse + 1):
        raise InputError(f"{where}: {netmask!r} is not a netmask such as 255.255.255.0")
    return ipaddress.IPv4Network(f"{address}/{mask}", strict=False)


def _inside(subnet: ipaddress.IPv4Network, value: object, where: str) -> str:
    address = _address(value, where)
    if ipaddress.IPv4Address(address) not in subnet:
        raise InputError(f"{where}: {address} is outside of {subnet}, the network of listen_address and netmask")
    return address


def _mac(value: object, where: str) -> str:
    if not isinstance(value, str) or not _MAC.match(value):
        raise InputError(f"{where}: {value!r} is not a MAC address such as fa:16:3e:01:02:03")
    return value.lower()


def _hostname(value: object, where: str) -> str:
    return naming.host_label(naming.host_name(value, where))


def _domain(value: object, where: str) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str) and len(value) <= 253 and all(_DOMAIN_LABEL.match(part) for part in value.split(".")):
        return value
    raise InputError(f"{where}: {value!r} is not a domain such as novalocal or cloud.example.org")


def _servers(value: object, where: str) -> tuple[str, ...]:
    servers = []
    for n, each in enumerate(_list(value, where)):
        try:
            if not isinstance(each, str) or "%" in each:
                raise ValueError
            servers.append(str(ipaddress.ip_address(each)))
        except ValueError:
            raise InputError(f"{where}[{n}]: {each!r} is not the address of a name server") from None
    _unique(where, "address", servers)
    return tuple(servers)


def _config_file(value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _PATH.match(value):
        return value
    raise InputError(
        f"{where}: {value!r} is not the full path of a file, such as /etc/dnsmasq.d/extra.conf, without blanks"
    )


def _sort_key(address: str) -> tuple[int, ...]:
    return tuple(int(part) for part in address.split("."))


# --- files -----------------------------------------------------------------------------------------------------------


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


# --- leases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lease:
    """A line of dnsmasq's lease file."""

    expiry: int
    mac: str
    address: str
    client_id: str

    def __str__(self) -> str:
        return f"{self.address} of {self.mac}"


def leases(text: str) -> list[Lease]:
    """The IPv4 leases of a lease file; what is not one (the DUID, a line cut short) is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 5 and words[0].isdigit() and _MAC.match(words[1]) and _ADDRESS.match(words[2]):
            found.append(Lease(int(words[0]), words[1].lower(), words[2], "" if words[4] == "*" else words[4]))
    return found


def stale_leases(instance: Instance, text: str, now: float) -> list[Lease]:
    """Leases that no reservation backs any more; while they stand, dnsmasq refuses their address to its new owner."""
    present = leases(text)
    if not present:
        return []
    reserved = {(host.mac, host.address) for host in instance.hosts}
    # dnsmasq drops a lease that has run out by itself; 0 never runs out.
    stale = (
        lease
        for lease in present
        if (lease.mac, lease.address) not in reserved and (lease.expiry == 0 or lease.expiry > now)
    )
    return sorted(stale, key=lambda lease: (_sort_key(lease.address), lease.mac))


def without_leases(text: str, stale: t.Iterable[Lease]) -> str:
    """The lease file's text less those leases."""
    gone = {(lease.mac, lease.address) for lease in stale}
    kept = []
    for line in text.splitlines(keepends=True):
        if not any((lease.mac, lease.address) in gone for lease in leases(line)):
            kept.append(line)
    return "".join(kept)


# --- comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Have:
    """What a host has of one instance."""

    files: t.Mapping[str, str]
    #: Files whose mode keeps dnsmasq, which runs without privileges, from reading them again.
    unreadable: frozenset[str] = frozenset()
    running: bool = False
    #: What an interrupted run had still to do.
    pending: str = UNCHANGED
    #: systemd starts it at boot; true where there is no systemd.
    enabled: bool = True
    stale: tuple[Lease, ...] = ()


@dataclass(frozen=True)
class Change:
    """What one instance needs."""

    name: str
    process: str
    reason: str
    write: t.Mapping[str, str]
    remove: tuple[str, ...]
    enable: bool
    release: tuple[Lease, ...]

    @property
    def empty(self) -> bool:
        return self.process == UNCHANGED and not (self.write or self.remove or self.enable or self.release)

    @property
    def actions(self) -> list[str]:
        """What is done, in the network's words."""
        lines = []
        if self.process == START:
            lines.append(f"start dnsmasq for {self.name}" + (f": {self.reason}" if self.reason else ""))
        elif self.process != UNCHANGED:
            lines.append(f"{self.process} {self.name}: {self.reason}")
        if self.enable:
            lines.append(f"start {self.name} at boot")
        lines.extend(f"release {lease} on {self.name}" for lease in self.release)
        return lines


def compare(want: Instance, files: t.Mapping[str, str], have: Have) -> Change:
    """What turns `have` into `want`, whose files are `files`."""
    write = {
        file: files[file]
        for file in FILES
        if file in files and (have.files.get(file) != files[file] or file in have.unreadable)
    }
    remove = tuple(file for file in FILES if file in have.files and file not in files)
    process, reason = _process(write, remove, have)
    if process == RELOAD and not reason:
        reason = _what_is_reloaded(files, have)
    return Change(
        name=want.name,
        process=process,
        reason=reason,
        write=write,
        remove=remove,
        enable=not have.enabled,
        release=have.stale,
    )


def wants_test(instance: Instance, change: Change) -> bool:
    """Whether dnsmasq itself is to look at the configuration before it is written.

    It is where an operator's words stand in it, and where a process that runs would be stopped for it. For the others,
    of which every word was checked here, the look would cost nearly as much as the start.
    """
    if CONF not in change.write and OPTS not in change.write:
        return False
    free = instance.config_file is not None or any(each.option not in _CHECKED_OPTIONS for each in instance.options)
    return free or change.process == RESTART


def _process(write: t.Mapping[str, str], remove: t.Sequence[str], have: Have) -> tuple[str, str]:
    """What the process needs and why; the reason of a reload is left to the caller."""
    if not have.running:
        return START, "its process has ended" if CONF in have.files and CONF not in write else ""
    if CONF in write:
        return RESTART, "its configuration changes"
    if have.pending == RESTART:
        return RESTART, "an interrupted run left it to do"
    if write or remove:
        return RELOAD, ""
    if have.pending == RELOAD:
        return RELOAD, "an interrupted run left it to do"
    return UNCHANGED, ""


def _what_is_reloaded(files: t.Mapping[str, str], have: Have) -> str:
    parts = [
        _count(have.files.get(file, ""), files.get(file, ""), word)
        for file, word in ((HOSTS, "reservation"), (OPTS, "option"), (NAMES, "name"))
    ]
    return ", ".join(part for part in parts if part) or "its files become readable"


def _count(before: str, after: str, word: str) -> str:
    old, new = set(before.splitlines()), set(after.splitlines())
    counts = ((sign, len(lines)) for sign, lines in (("+", new - old), ("-", old - new)) if lines)
    return ", ".join(f"{sign}{number} {word}{'' if number == 1 else 's'}" for sign, number in counts)


def stronger(one: str, other: str) -> str:
    """The stronger one of two things to do."""
    return max(one, other, key=_STRENGTH.index)


# --- systemd ---------------------------------------------------------------------------------------------------------

UNIT = "tenantnet-dnsmasq@.service"


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
