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
from ..fields import Fields, items

#: What an instance that serves IPv4 has.
_IPV4 = ("listen_address", "dhcp_start", "netmask")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_DOMAIN_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
#: Options whose value is checked here; of others dnsmasq knows what they take.
CHECKED_OPTIONS = (3, 26)
# dnsmasq reads '"' and '\' as quoting and '#' as the beginning of a comment.
_OPTION_VALUE = re.compile(r"[!$-\[\]-~](?:[ !$-\[\]-~]*[!$-\[\]-~])?\Z")
_PATH = re.compile(r"/[A-Za-z0-9_./@%+=:~-]*[A-Za-z0-9_@%+=~-]\Z")


@dataclass(frozen=True)
class Host:
    """A reservation: an IPv4 address, an IPv6 address or both."""

    mac: str
    hostname: str
    address: str | None
    address_v6: str | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(each for each in (self.address, self.address_v6) if each is not None)


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
    """One dnsmasq: that of one network on one host. Without IPv4 the three values that are its own are None."""

    name: str
    network: str
    interface: str
    listen_address: str | None
    dhcp_start: str | None
    netmask: str | None
    lease_time: int
    lease_max: int
    range_v6: str | None = None
    domain: str = ""
    servers: tuple[str, ...] = ()
    config_file: str | None = None
    hosts: tuple[Host, ...] = ()
    options: tuple[Option, ...] = ()
    names: tuple[Name, ...] = ()


def parse(plan: object) -> tuple[Instance, ...]:
    """The section `dnsmasq` of a host plan as values, ordered by name. InputError names the path of the faulty item."""
    section = Fields(plan, "dnsmasq")
    where = section.where("instances")
    # No default: an empty list stops every dnsmasq of ours, which must be said, not forgotten.
    instances = [_instance(Fields(value, path)) for path, value in items(section.required("instances"), where)]
    section.done()
    for key in ("name", "interface", "listen_address", "range_v6"):
        _unique(where, key, [getattr(each, key) for each in instances])
    return tuple(sorted(instances, key=lambda each: each.name))


def _instance(fields: Fields) -> Instance:
    name = _name(fields.required("name"), fields.where("name"))
    range_v6 = _range_v6(fields)
    listen = fields.address("listen_address") if _has_ipv4(fields, range_v6) else None
    subnet = listen and _subnet(listen, fields.address("netmask"), fields.where("netmask"))
    instance = Instance(
        name=name,
        network=_text(fields.required("network"), fields.where("network")),
        interface=_interface(fields.required("interface"), fields.where("interface")),
        listen_address=listen,
        dhcp_start=_inside(subnet, fields, "dhcp_start") if subnet else None,
        netmask=str(subnet.netmask) if subnet else None,
        lease_time=_number(fields, "lease_time", 1, 2**32 - 2),
        lease_max=_number(fields, "lease_max", 1, 2**31 - 1),
        range_v6=range_v6.cidr if range_v6 else None,
        domain=_domain(fields.raw("domain"), fields.where("domain")),
        servers=_servers(fields),
        config_file=_config_file(fields.raw("config_file"), fields.where("config_file")),
        hosts=_hosts(fields, subnet or None, listen, range_v6),
        options=_options(fields),
        names=_names(fields),
    )
    fields.done()
    return instance


def _range_v6(fields: Fields) -> addressing.Range | None:
    found, where = fields.optional_network_v6("range_v6"), fields.where("range_v6")
    if found is None:
        return None
    if found.prefix != addressing.PREFIX_V6:
        raise InputError(
            f"{where}: {found.cidr} is not a /{addressing.PREFIX_V6}, the only size in which a guest finds an address"
        )
    network = ipaddress.IPv6Network(found.cidr)
    if network.is_link_local or network.is_multicast or not found.first:
        raise InputError(f"{where}: {found.cidr} cannot be advertised; use a range for guests such as fd00::/64")
    return found


def _has_ipv4(fields: Fields, range_v6: addressing.Range | None) -> bool:
    """Whether the instance serves IPv4. Its three values go together, and with IPv6 they may be left out."""
    absent = [key for key in _IPV4 if fields.raw(key) is None]
    if range_v6 and absent and len(absent) < len(_IPV4):
        raise InputError(
            f"{fields.where(absent[0])} is required with the other values of IPv4; "
            f"a network of IPv6 alone has none of {', '.join(_IPV4)}"
        )
    return not (range_v6 and absent)


def _hosts(
    instance: Fields, subnet: ipaddress.IPv4Network | None, listen: str | None, range_v6: addressing.Range | None
) -> tuple[Host, ...]:
    hosts = []
    for path, value in instance.items("hosts"):
        fields = Fields(value, path)
        # With IPv6 a host may do without an IPv4 address; where there is no IPv4 it has to.
        wanted = range_v6 is None or fields.raw("address") is not None
        host = Host(
            mac=_mac(fields),
            hostname=_hostname(fields),
            address=_inside(subnet, fields, "address") if wanted else None,
            address_v6=_inside_v6(range_v6, fields),
        )
        fields.done()
        if not host.addresses:
            raise InputError(f"{path}: neither address nor address_v6 is given; a reservation needs one of them")
        if host.address is not None and host.address == listen:
            raise InputError(f"{path}.address: {listen} is the address that dnsmasq itself listens on; reserve another")
        hosts.append(host)
    where = instance.where("hosts")
    for key in ("mac", "address", "address_v6"):
        _unique(where, key, [getattr(each, key) for each in hosts])
    return tuple(sorted(hosts, key=lambda host: addressing.order(host.addresses[0])))


def _options(instance: Fields) -> tuple[Option, ...]:
    options = []
    for path, value in instance.items("options"):
        fields = Fields(value, path)
        number = _number(fields, "option", 1, 254)
        options.append(Option(number, _option_value(number, fields.required("value"), fields.where("value"))))
        fields.done()
    _unique(instance.where("options"), "option", [str(each.option) for each in options])
    return tuple(sorted(options, key=lambda option: option.option))


def _option_value(number: int, value: object, where: str) -> str:
    text = _text(value, where, empty=True)
    if text and not _OPTION_VALUE.match(text):
        raise InputError(
            f"{where}: {value!r} cannot stand in dnsmasq's option file; "
            "use printable ASCII without '\"', '\\' and '#', and no blank at either end"
        )
    if number == 3 and text:
        return ",".join(addressing.address(each, where) for each in text.split(","))
    if number == 26 and text:
        if not (text.isdigit() and 68 <= int(text) <= 65535):
            raise InputError(f"{where}: {value!r} is not an MTU; DHCP option 26 takes a number from 68 to 65535")
        return str(int(text))
    return text


def _names(instance: Fields) -> tuple[Name, ...]:
    names = set()
    for path, value in instance.items("names"):
        fields = Fields(value, path)
        name = Name(_any_address(fields), _hostname(fields))
        fields.done()
        if name in names:
            raise InputError(f"{path}: {name.hostname!r} at {name.address} stands there twice; give each name once")
        names.add(name)
    return tuple(sorted(names, key=lambda name: (addressing.order(name.address), name.hostname)))


def _any_address(fields: Fields) -> str:
    return addressing.any_address(fields.required("address"), fields.where("address"))


def _unique(where: str, key: str, values: t.Sequence[str | None]) -> None:
    """None is no value, and any number of items may lack one."""
    if len(set(values)) == len(values):
        return
    first: dict[str, int] = {}
    for n, value in enumerate(values):
        if value is None:
            continue
        if value in first:
            raise InputError(
                f"{where}[{n}].{key}: {value!r} is that of {where}[{first[value]}] already; each {key} stands once"
            )
        first[value] = n


def _text(value: object, where: str, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise InputError(f"{where}: {value!r} is not a text" + ("" if empty else " of at least one character"))
    return value


def _number(fields: Fields, key: str, low: int, high: int) -> int:
    value = fields.required(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{fields.where(key)}: {value!r} is not a whole number from {low} to {high}")
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


def _subnet(address: str, mask: str, where: str) -> ipaddress.IPv4Network:
    inverse = addressing.number(mask) ^ 0xFFFFFFFF
    if inverse & (inverse + 1):
        raise InputError(f"{where}: {mask!r} is not a netmask such as 255.255.255.0")
    return ipaddress.IPv4Network(f"{address}/{mask}", strict=False)


def _inside(subnet: ipaddress.IPv4Network | None, fields: Fields, key: str) -> str:
    address = fields.address(key)
    if subnet is None:
        raise InputError(f"{fields.where(key)}: {address} has no place in a network of IPv6 alone; leave it out")
    if ipaddress.IPv4Address(address) not in subnet:
        raise InputError(
            f"{fields.where(key)}: {address} is outside of {subnet}, the network of listen_address and netmask"
        )
    return address


def _inside_v6(subnet: addressing.Range | None, fields: Fields) -> str | None:
    address, where = fields.optional_address_v6("address_v6"), fields.where("address_v6")
    if address is None:
        return None
    if subnet is None:
        raise InputError(f"{where}: {address} has no place in a network without IPv6; give range_v6 or leave it out")
    value = addressing.number(address)
    if value not in subnet:
        raise InputError(f"{where}: {address} is outside of {subnet.cidr}, the network's range_v6")
    if value == subnet.first:
        raise InputError(f"{where}: {address} is the address of every router of {subnet.cidr}; reserve another")
    return address


def _mac(fields: Fields) -> str:
    value = fields.required("mac")
    mac = value.lower() if isinstance(value, str) else ""
    if not addressing.MAC.match(mac):
        raise InputError(f"{fields.where('mac')}: {value!r} is not a MAC address such as fa:16:3e:01:02:03")
    return mac


def _hostname(fields: Fields) -> str:
    return naming.host_label(naming.host_name(fields.required("hostname"), fields.where("hostname")))


def _domain(value: object, where: str) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str) and len(value) <= 253 and all(_DOMAIN_LABEL.match(part) for part in value.split(".")):
        return value
    raise InputError(f"{where}: {value!r} is not a domain such as novalocal or cloud.example.org")


def _servers(instance: Fields) -> tuple[str, ...]:
    servers = []
    for path, value in instance.items("servers"):
        try:
            if not isinstance(value, str) or "%" in value:
                raise ValueError
            servers.append(str(ipaddress.ip_address(value)))
        except ValueError:
            raise InputError(f"{path}: {value!r} is not the address of a name server") from None
    _unique(instance.where("servers"), "address", servers)
    return tuple(servers)


def _config_file(value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _PATH.match(value):
        return value
    raise InputError(
        f"{where}: {value!r} is not the full path of a file, such as /etc/dnsmasq.d/extra.conf, without blanks"
    )
