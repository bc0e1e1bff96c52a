# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks: carved out of their range, numbered, and every field derived as their manager did.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import itertools
import re
import typing as t

from . import addressing, carving, naming
from .addressing import Range
from .errors import InputError
from .network_request import NetworkRequest, guests_of
from .settings import GREATEST_PORT, GREATEST_VLAN, Settings
from .state import Network


class Taken:
    """What networks have that others cannot have too."""

    def __init__(self, networks: t.Iterable[Network]) -> None:
        self._ranges = {4: carving.Taken(), 6: carving.Taken()}
        self._owners: dict[Range, str] = {}
        self.labels: set[str] = set()
        self.uuids: dict[str, str] = {}
        self.vlans: dict[int, str] = {}
        self.ports: set[int] = set()
        self.bridges: dict[str, Network] = {}
        #: Bridges that somebody asks for by name or VLAN, so that nobody else takes them before.
        self.spoken_for: frozenset[str] = frozenset()
        known = list(networks)
        for version in (4, 6):
            self._ranges[version] = carving.Taken(each for network in known for each in _ranges(network, version))
        for network in known:
            self._note(network)

    def add(self, network: Network) -> None:
        for version in (4, 6):
            for each in _ranges(network, version):
                self._ranges[version].add(each)
        self._note(network)

    def discard(self, network: Network) -> None:
        for version in (4, 6):
            for each in _ranges(network, version):
                self._ranges[version].discard(each)
                self._owners.pop(each, None)
        self.labels.discard(network.label)
        self.uuids.pop(network.uuid, None)
        self.vlans.pop(t.cast(int, network.vlan), None)
        self.ports.discard(t.cast(int, network.vpn_public_port))
        if self.bridges.get(network.bridge) == network:
            del self.bridges[network.bridge]

    def _note(self, network: Network) -> None:
        self.labels.add(network.label)
        self.uuids[network.uuid] = network.label
        self._owners.update((each, network.label) for version in (4, 6) for each in _ranges(network, version))
        if network.vlan is not None:
            self.vlans[network.vlan] = network.label
        if network.vpn_public_port is not None:
            self.ports.add(network.vpn_public_port)
        self.bridges.setdefault(network.bridge, network)

    def ranges(self, version: int) -> carving.Taken:
        return self._ranges[version]

    def check_range(self, wanted: Range, label: str) -> None:
        other = self._ranges[wanted.version].conflict(wanted)
        if other is not None:
            raise InputError(
                f"network {wanted.cidr} ({label!r}) overlaps network {self._owners[other]!r} {other.cidr}; "
                "give each network a range of its own"
            )

    def check_bridge(self, network: Network, path: str) -> None:
        """Flat networks may share a bridge, which is the operator's; what has a DHCP server may not."""
        other = self.bridges.get(network.bridge)
        if other is not None and not other.manager == network.manager == "flat":
            raise InputError(
                f"{path}.bridge: {network.bridge!r} already belongs to network {other.label!r}; "
                "each network needs a bridge of its own"
            )


def _ranges(network: Network, version: int) -> list[Range]:
    found = network.range if version == 4 else network.range_v6
    return [] if found is None else [found]


def declare(
    requests: t.Sequence[NetworkRequest],
    settings: Settings,
    existing: t.Mapping[str, Network],
    staying: t.Iterable[Network],
    origin: str = "inventory",
) -> list[Network]:
    """The networks of all requests, in their order; `staying` are those of today that do not go.

    What is asked for exactly goes before what is carved and numbered, and what is there keeps what it has.
    """
    taken = Taken(staying)
    taken.spoken_for = frozenset(bridge for bridge in map(_asked_bridge, requests) if bridge is not None)
    for request in requests:
        if not any(_carves(request)):
            _discard(request, existing, taken)
    made: dict[str, list[Network]] = {}
    for request in sorted(requests, key=lambda one: (*_carves(one), one.vlan is None)):
        _discard(request, existing, taken)
        made[request.label] = create(request, settings, taken, existing, origin)
    return [network for request in requests for network in made[request.label]]


def _carves(request: NetworkRequest) -> tuple[bool, bool]:
    """Whether its IPv4 and its IPv6 range are carved, rather than taken whole."""
    several = request.num_networks > 1
    v4 = request.range is not None and (several or request.network_size is not None)
    v6 = request.range_v6 is not None and (several or request.range_v6.prefix != addressing.PREFIX_V6)
    return v4, v6


def _asked_bridge(request: NetworkRequest) -> str | None:
    return request.bridge if request.vlan is None else naming.vlan_bridge_name(request.vlan)


def _discard(request: NetworkRequest, existing: t.Mapping[str, Network], taken: Taken) -> None:
    for label in request.labels:
        if label in existing and label in taken.labels:
            taken.discard(existing[label])


def create(
    request: NetworkRequest,
    settings: Settings,
    taken: Taken,
    existing: t.Mapping[str, Network],
    origin: str,
) -> list[Network]:
    """The networks of the request, all or none; what is `taken` is noted in it.

    Those that are there already, in `existing` by label, keep what was once derived for them. `existing` ones are not
    in `taken`, unless others hold them. InputError where something is taken, or nothing is left.
    """
    labels = request.labels
    known = [existing.get(label) for label in labels]
    v4 = _subnets(request, request.range, known, taken)
    v6 = _subnets(request, request.range_v6, known, taken)
    free = _Numbers(_vlans(request, settings, taken), _ports(request, taken))
    made = []
    for label, old, subnet, subnet_v6 in zip(labels, known, v4, v6):
        network = _derive(request, settings, label, old, subnet, subnet_v6, taken, free, origin)
        _check(network, request, taken)
        taken.add(network)
        made.append(network)
    return made


def _subnets(
    request: NetworkRequest, whole: Range | None, known: list[Network | None], taken: Taken
) -> list[Range] | list[None]:
    """The range of each network: the one that it has, or one that is carved for it."""
    if whole is None:
        return [None] * len(known)
    if whole.version == 4:
        prefix = carving.prefix_of(whole, request.num_networks, request.network_size)
    else:
        prefix = addressing.PREFIX_V6
    if prefix == whole.prefix and len(known) == 1:
        taken.check_range(whole, request.label)
        return [whole]
    kept = [_kept(old, whole, prefix) for old in known]
    held = carving.Taken(subnet for subnet in kept if subnet is not None)
    missing = kept.count(None)
    carved: t.Iterator[Range] = iter(())
    if missing:
        both = _Both(taken.ranges(whole.version), held)
        if whole.version == 4:
            carved = iter(carving.carve(whole, missing, 1 << (32 - prefix), both))
        else:
            carved = iter(carving.carve_v6(whole, missing, both))
    return [next(carved) if subnet is None else subnet for subnet in kept]


class _Both(carving.Taken):
    """What others have, and what this request keeps."""

    def __init__(self, *parts: carving.Taken) -> None:
        super().__init__()
        self._parts = parts

    def conflict(self, candidate: Range) -> Range | None:
        return next((found for found in (part.conflict(candidate) for part in self._parts) if found), None)


def _kept(old: Network | None, whole: Range, prefix: int) -> Range | None:
    if old is None:
        return None
    subnet = old.range if whole.version == 4 else old.range_v6
    if subnet is None or subnet.prefix != prefix or subnet.first not in whole:
        return None
    return subnet


class _Numbers(t.NamedTuple):
    """VLANs and VPN ports that are free, lowest first; an iterator each, since many networks look through them."""

    vlans: t.Iterator[int]
    ports: t.Iterator[int]


def _derive(
    request: NetworkRequest,
    settings: Settings,
    label: str,
    old: Network | None,
    subnet: Range | None,
    subnet_v6: Range | None,
    taken: Taken,
    free: _Numbers,
    origin: str,
) -> Network:
    vlan, port = None, None
    if request.manager == "vlan":
        vlan = request.vlan or (old and old.vlan) or next(free.vlans)
        if subnet is not None:
            port = (old and old.vpn_public_port) or next(free.ports)
    own = None if subnet is None else own_addresses(subnet, request, settings.cnt_vpn_clients)
    if request.manager == "vlan":
        bridge = naming.vlan_bridge_name(t.cast(int, vlan))
    else:
        bridge = _bridge(request, old, taken)
    return Network(
        label=label,
        uuid=request.uuid or (old.uuid if old else addressing.stable_uuid(f"network/{label}")),
        manager=request.manager,
        cidr=subnet and subnet.cidr,
        gateway=own and own.gateway,
        dhcp_server=own and own.dhcp_server,
        dhcp_start=own and own.dhcp_start,
        allowed_start=own and own.allowed_start,
        allowed_end=own and own.allowed_end,
        cidr_v6=subnet_v6 and subnet_v6.cidr,
        gateway_v6=None if subnet_v6 is None else request.gateway_v6 or subnet_v6.text(subnet_v6.first + 1),
        vlan=vlan,
        bridge=bridge,
        bridge_interface=request.bridge_interface,
        vpn_private_address=own and own.vpn,
        vpn_public_address=settings.vpn_ip if port is not None else None,
        vpn_public_port=port,
        dns1=request.dns1,
        dns2=request.dns2,
        mtu=request.mtu,
        multi_host=request.multi_host,
        host=None if request.multi_host else request.host or (old.host if old else None),
        priority=request.priority,
        project=request.project,
        project_origin=origin if request.project is not None else None,
        origin=old.origin if old else origin,
    )


class OwnAddresses(t.NamedTuple):
    """The addresses that a network itself has, and the ends of those that its guests get."""

    gateway: str
    dhcp_server: str
    vpn: str | None
    dhcp_start: str
    allowed_start: str
    allowed_end: str


def own_addresses(subnet: Range, request: NetworkRequest, vpn_clients: int) -> OwnAddresses:
    """nova's cursor: from the first address, or the first allowed one, upwards; what is asked for does not move it."""
    _check_asked(subnet, request)
    vlan = request.manager == "vlan"
    cursor = subnet.first + 1 if request.allowed_start is None else addressing.number(request.allowed_start)
    gateway = request.gateway
    if gateway is None:
        gateway = addressing.text(cursor)
        cursor += 1
    dhcp_server = request.dhcp_server or gateway
    vpn = None
    if vlan:
        while addressing.text(cursor) in (gateway, dhcp_server):
            cursor += 1
        vpn = addressing.text(cursor)
        cursor += 1
    if cursor == addressing.number(dhcp_server):
        cursor += 1
    low, high = guests_of(request.fixed_cidr or subnet, request.manager, vpn_clients)
    start = request.allowed_start or (request.dhcp_start if request.fixed_cidr is None else None)
    start = start or addressing.text(low)
    end = request.allowed_end or addressing.text(high)
    own = OwnAddresses(gateway, dhcp_server, vpn, request.dhcp_start or addressing.text(cursor), start, end)
    first, last = addressing.number(start), addressing.number(end)
    mine = {addressing.number(value) for value in (gateway, dhcp_server, vpn) if value is not None}
    if last - first + 1 <= len([value for value in mine if first <= value <= last]):
        raise InputError(
            f"{request.path}: range {subnet.cidr} has no address left for a guest beside its own, from {start} to "
            f"{end}; "
            "give a larger range, or other ends"
        )
    return own


def _check_asked(subnet: Range, request: NetworkRequest) -> None:
    """What is asked for lies in the range that was carved, not only in the one that it was carved from."""
    for name in ("gateway", "dhcp_server", "dhcp_start", "allowed_start", "allowed_end"):
        value = getattr(request, name)
        if value is not None and not subnet.first < addressing.number(value) < subnet.last:
            raise InputError(
                f"{request.path}.{name}: {value} is no host address of {subnet.cidr}; choose one inside it"
            )
    part = request.fixed_cidr
    if part is not None and (part.first not in subnet or part.last not in subnet):
        raise InputError(f"{request.path}.fixed_cidr: {part.cidr} lies outside the network's range {subnet.cidr}")


def _vlans(request: NetworkRequest, settings: Settings, taken: Taken) -> t.Iterator[int]:
    """The numbers that no network has and that are not kept out of the pool, smallest first."""
    for vlan in range(request.vlan_start, GREATEST_VLAN + 1):
        bridge = naming.vlan_bridge_name(vlan)
        if vlan in taken.vlans or vlan in settings.reserved_vlans:
            continue
        if bridge not in taken.bridges and bridge not in taken.spoken_for:
            yield vlan
    raise InputError(
        f"{request.path}: no VLAN from {request.vlan_start} to {GREATEST_VLAN} is free; "
        "give a lower vlan_start, or fewer networks"
    )


def _ports(request: NetworkRequest, taken: Taken) -> t.Iterator[int]:
    for port in range(request.vpn_start, GREATEST_PORT + 1):
        if port not in taken.ports:
            yield port
    raise InputError(f"{request.path}: no VPN port from {request.vpn_start} to {GREATEST_PORT} is free")


def _bridge(request: NetworkRequest, old: Network | None, taken: Taken) -> str:
    """As given; of several networks with DHCP each needs its own, so the number at the end counts up."""
    asked = t.cast(str, request.bridge)
    if request.num_networks == 1 or request.manager == "flat":
        return asked
    if old is not None and old.manager == request.manager:
        return old.bridge
    name, number = t.cast("re.Match[str]", re.match(r"(.*?)(\d*)\Z", asked)).groups()
    for count in itertools.count(int(number or 0)):
        bridge = f"{name}{count:0{len(number)}d}" if number or count else name
        if bridge not in taken.bridges:
            return naming.interface_name(bridge, f"{request.path}.bridge")
    raise AssertionError


def _check(network: Network, request: NetworkRequest, taken: Taken) -> None:
    if network.label in taken.labels:
        raise InputError(f"{request.path}: network {network.label!r} exists already; labels are unique")
    if network.uuid in taken.uuids:
        raise InputError(
            f"{request.path}.uuid: {network.uuid} is that of network {taken.uuids[network.uuid]!r} already"
        )
    if network.vlan in taken.vlans:
        raise InputError(
            f"{request.path}.vlan: {network.vlan} is already that of network "
            f"{taken.vlans[network.vlan]!r}; "
            "choose another"
        )
    taken.check_bridge(network, request.path)
    if network.range is not None:
        taken.check_range(network.range, network.label)
    if network.range_v6 is not None:
        taken.check_range(network.range_v6, network.label)
        if network.gateway_v6 is not None and addressing.number(network.gateway_v6) not in network.range_v6:
            raise InputError(f"{request.path}.gateway_v6: {network.gateway_v6} lies outside {network.cidr_v6}")


# --- which addresses are there to be given out -----------------------------------------------------------------------


def own_numbers(network: Network, version: int = 4) -> frozenset[int]:
    """The addresses of the version that the network itself has, wherever they lie."""
    own = (network.gateway, network.dhcp_server, network.vpn_private_address) if version == 4 else (network.gateway_v6,)
    return frozenset(addressing.number(value) for value in own if value is not None)


def allowed(network: Network) -> tuple[int, int]:
    """The first and the last address that a guest may have, as numbers; the network's own may lie between them."""
    return addressing.number(t.cast(str, network.allowed_start)), addressing.number(t.cast(str, network.allowed_end))


def check_guest(network: Network, address: str, path: str) -> None:
    """InputError where no guest may have this address of the network."""
    version, number = addressing.order(address)
    subnet = network.range if version == 4 else network.range_v6
    if subnet is None or number not in subnet:
        raise InputError(
            f"{path}: {address} lies outside network {network.label!r} {network.ranges}; choose an address inside it"
        )
    if version == 4:
        first, last = allowed(network)
        if not first <= number <= last or number in own_numbers(network):
            vpn = f", VPN {network.vpn_private_address}" if network.vpn_private_address else ""
            raise InputError(
                f"{path}: {address} is reserved in network {network.label!r} {network.cidr}: guests get "
                f"{network.allowed_start} to {network.allowed_end} without the gateway {network.gateway} and the DHCP "
                f"server {network.dhcp_server}{vpn}; choose another"
            )
    elif number == subnet.first or number in own_numbers(network, 6):
        raise InputError(
            f"{path}: {address} is reserved in network {network.label!r} {network.cidr_v6} (the network's own "
            f"address and "
            f"its gateway {network.gateway_v6} are); choose another"
        )
