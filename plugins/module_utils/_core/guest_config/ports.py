# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's ports, read from untyped input into its NICs as they are to be configured inside the guest.

A port has keys for several readers (and may get more), so keys that nothing is rendered from are passed over. `vlan`
is one of them: a guest's frames are tagged on the host's trunk, behind its bridge.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .. import addressing, naming
from ..errors import InputError
from ..fields import Fields, boolean, items, text
from ..links.plan import MTU_MAX, MTU_MIN, MTU_MIN_IPV6

Interface = t.Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]
_INTERFACES: dict[int, t.Any] = {4: ipaddress.IPv4Interface, 6: ipaddress.IPv6Interface}
_EXAMPLES = {4: "'10.0.0.3/24'", 6: "'fd00::3/64'"}
_KEYS = {4: ("address", "gateway"), 6: ("address_v6", "gateway_v6")}


class Family(t.NamedTuple):
    """A NIC's address with its network; `gateway` where the guest's default route goes through it."""

    interface: Interface
    gateway: str | None

    @property
    def address(self) -> str:
        return str(self.interface.ip)


class Nic(t.NamedTuple):
    """A NIC of a guest, IPv4 before IPv6. `name` is nova's: eth and the position among the ports."""

    name: str
    mac: str
    mtu: int | None
    families: tuple[Family, ...]
    dns: tuple[str, ...]


class Attachment(t.NamedTuple):
    """A port of a bridge, as the host sees it."""

    device: str
    bridge: str
    mac: str
    mtu: int | None


def read_attachment(port: object) -> Attachment:
    fields = Fields(port, "port")
    return Attachment(_interface(fields, "device"), _interface(fields, "bridge"), _mac(fields), _mtu(fields))


def read_nics(ports: object) -> list[Nic]:
    """The NICs in their order. One at most has the default route: the one that says so, or else the first."""
    ports_fields = [Fields(port, path) for path, port in items(ports, "ports")]
    chosen = _default_route(ports_fields)
    nics: list[Nic] = []
    for position, fields in enumerate(ports_fields):
        nic = _nic(fields, f"eth{position}", position == chosen)
        for other, there in zip(ports_fields, nics):
            if there.mac == nic.mac:
                raise InputError(
                    f"{fields.where('mac')}: {nic.mac} is {other.where('mac')} too; each NIC needs its own"
                )
        nics.append(nic)
    return nics


def _default_route(ports: list[Fields]) -> int | None:
    said = [_said(fields) for fields in ports]
    wanting = [position for position, word in enumerate(said) if word]
    if len(wanting) > 1:
        first, second = (ports[position].where("default_route") for position in wanting[:2])
        raise InputError(f"{second}: true, but {first} is true as well; a guest has one default route")
    if wanting:
        return wanting[0]
    return 0 if said and said[0] is None else None


def _said(fields: Fields) -> bool | None:
    value = fields.raw("default_route")
    return None if value is None else boolean(value, fields.where("default_route"))


def _nic(fields: Fields, name: str, default_route: bool) -> Nic:
    families = tuple(family for version in _KEYS for family in _family(fields, version, default_route))
    if not families:
        raise InputError(f"{fields.path}: has neither address nor address_v6; give the port at least one of them")
    if _said(fields) and not any(family.gateway for family in families):
        raise InputError(f"{fields.where('default_route')}: true, but the port has neither gateway nor gateway_v6")
    mtu = _mtu(fields)
    if mtu is not None and mtu < MTU_MIN_IPV6 and families[-1].interface.version == 6:
        raise InputError(f"{fields.where('mtu')}: {mtu} is too small for IPv6, which needs at least {MTU_MIN_IPV6}")
    dns = tuple(str(_ip(value, path)) for path, value in fields.items("dns"))
    return Nic(name, _mac(fields), mtu, families, dns)


def _family(fields: Fields, version: int, default_route: bool) -> list[Family]:
    """The NIC's part of one address family, in a list that is empty where it has none."""
    address_key, gateway_key = _KEYS[version]
    given, gateway = fields.raw(address_key), fields.raw(gateway_key)
    if given is None:  # a network may have a gateway of a family that this guest has no address of
        return []
    interface = _address(given, version, fields.where(address_key))
    if gateway is None:
        return [Family(interface, None)]
    way_out = _gateway(gateway, interface, fields.where(gateway_key))
    return [Family(interface, way_out if default_route else None)]


def _address(value: object, version: int, path: str) -> Interface:
    try:
        # A scope ("%eth0") is of the host where it was read.
        if not isinstance(value, str) or "/" not in value or "%" in value:
            raise ValueError
        interface: Interface = _INTERFACES[version](value.strip())
    except ValueError:
        raise InputError(
            f"{path}: {value!r} is not an IPv{version} address with prefix length such as {_EXAMPLES[version]}"
        ) from None
    ip, network = interface.ip, interface.network
    borders = (network.network_address, network.broadcast_address) if version == 4 else (network.network_address,)
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified or (network.num_addresses > 2 and ip in borders):
        raise InputError(f"{path}: {value!r} is not the address of a host; give one inside its network")
    return interface


def _gateway(value: object, interface: Interface, path: str) -> str:
    gateway = _ip(value, path)
    if gateway == interface.ip:
        raise InputError(f"{path}: {value!r} is the port's own address; give the address of its router")
    # What a router advertises of itself is its link-local address.
    if gateway not in interface.network and not (gateway.version == 6 == interface.version and gateway.is_link_local):
        raise InputError(f"{path}: {value!r} is outside the port's network {interface.network}")
    return str(gateway)


def _ip(value: object, path: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return ipaddress.ip_address(value.strip())
    except ValueError:
        raise InputError(f"{path}: {value!r} is not an address such as '10.0.0.1' or 'fd00::1'") from None


def _interface(fields: Fields, key: str) -> str:
    # Printable as well: what is rendered goes into XML and command lines.
    return naming.interface_name(text(fields.required(key), fields.where(key)), fields.where(key))


def _mac(fields: Fields) -> str:
    return addressing.mac(fields.required("mac"), fields.where("mac"))


def _mtu(fields: Fields) -> int | None:
    return fields.optional_integer("mtu", MTU_MIN, MTU_MAX)
