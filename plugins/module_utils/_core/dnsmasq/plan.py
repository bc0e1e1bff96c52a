# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section `dnsmasq` of a host plan: checked as a whole, and as values.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .. import addressing, naming
from ..errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\Z")
_DOMAIN_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
#: Options whose value is checked here; of others dnsmasq knows what they take.
CHECKED_OPTIONS = (3, 26)
# dnsmasq reads '"' and '\' as quoting and '#' as the beginning of a comment.
_OPTION_VALUE = re.compile(r"[!$-\[\]-~](?:[ !$-\[\]-~]*[!$-\[\]-~])?\Z")
_PATH = re.compile(r"/[A-Za-z0-9_./@%+=:~-]*[A-Za-z0-9_@%+=~-]\Z")


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
    return tuple(sorted(hosts, key=lambda host: addressing.number(host.address)))


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
    return tuple(sorted(names, key=lambda name: (addressing.number(name.address), name.hostname)))


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
