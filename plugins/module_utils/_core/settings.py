# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a site and of its hosts, under nova's names, read from untyped variables.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import difflib
import typing as t

from . import guest_rules, naming
from .errors import InputError
from .fields import Fields, integer, items, text
from .floating_addresses import GREATEST_SEND_ARP
from .guest_rules import Traffic

#: The network managers, in nova's words without `Manager`.
MANAGERS = ("flat", "flatdhcp", "vlan")

#: Variables that hold for the whole site.
SITE_OPTIONS = (
    "nova_allow_same_net_traffic",
    "nova_auto_assign_floating_ip",
    "nova_cnt_vpn_clients",
    "nova_default_floating_pool",
    "nova_dhcp_domain",
    "nova_dhcp_lease_time",
    "nova_dmz_cidr",
    "nova_dns_server",
    "nova_dnsmasq_config_file",
    "nova_fixed_ip_disassociate_timeout",
    "nova_fixed_range",
    "nova_fixed_range_v6",
    "nova_flat_network_bridge",
    "nova_flat_network_dns",
    "nova_force_dhcp_release",
    "nova_force_snat_range",
    "nova_gateway",
    "nova_gateway_v6",
    "nova_metadata_host",
    "nova_metadata_port",
    "nova_multi_host",
    "nova_network_device_mtu",
    "nova_network_host",
    "nova_network_label",
    "nova_network_manager",
    "nova_network_size",
    "nova_num_networks",
    "nova_provider_rules",
    "nova_quota_fixed_ips",
    "nova_quota_floating_ips",
    "nova_quota_networks",
    "nova_quota_security_groups",
    "nova_reserved_vlans",
    "nova_send_arp_for_ha",
    "nova_send_arp_for_ha_count",
    "nova_teardown_unused_network_gateway",
    "nova_use_network_dns_servers",
    "nova_vlan_start",
    "nova_vpn_ip",
    "nova_vpn_start",
)

#: Variables that each host may have its own value of.
HOST_OPTIONS = (
    "nova_allow_move_addresses",
    "nova_bridge_interfaces",
    "nova_flat_interface",
    "nova_make_flat_bridge",
    "nova_my_ip",
    "nova_persistent_taps",
    "nova_port_security",
    "nova_public_interface",
    "nova_routing_source_ip",
    "nova_vlan_interface",
)

#: Variables that the roles read beside these.
OTHER_OPTIONS = (
    "nova_floating_port_forwards",
    "nova_floating_ranges",
    "nova_guard_timeout",
    "nova_instances",
    "nova_manage_packages",
    "nova_networks",
    "nova_packet_filter",
    "nova_projects",
    "nova_run",
    "nova_security_groups",
    "nova_state_url",
    "nova_user",
)

LEAST_MTU, GREATEST_MTU = 68, 65535
GREATEST_VLAN = 4094
GREATEST_PORT = 65535
GREATEST_COUNT = 1 << 24
DEFAULT_LEASE_TIME = 86400
DEFAULT_METADATA_PORT = 8775

#: A quota that is none.
UNLIMITED = -1


def select(variables: t.Mapping[str, t.Any], options: tuple[str, ...]) -> dict[str, t.Any]:
    """The values of those options that are set."""
    return {name: variables[name] for name in options if name in variables}


def check_names(variables: t.Iterable[str], owner: str) -> None:
    """Ansible takes a misspelt variable for one of nobody's; refuse what is nearly, but not quite, one of ours."""
    known = SITE_OPTIONS + HOST_OPTIONS + OTHER_OPTIONS
    for name in variables:
        if name.startswith("nova_") and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.85)
            if near:
                raise InputError(f"{owner}: {name!r} is no known variable; {near[0]!r} is. Rename or remove it")


class Quotas(t.NamedTuple):
    """How much of each a project may have; -1 is as much as it likes."""

    networks: int
    fixed_ips: int
    floating_ips: int
    security_groups: int


class Settings(t.NamedTuple):
    """Options that hold for the whole site, under nova's names. Times in seconds."""

    network_manager: str
    multi_host: bool
    network_host: str | None
    teardown_unused_network_gateway: bool
    dhcp_domain: str
    dhcp_lease_time: int
    dns_server: tuple[str, ...]
    use_network_dns_servers: bool
    dnsmasq_config_file: str | None
    dmz_cidr: tuple[str, ...]
    force_snat_range: tuple[str, ...]
    force_dhcp_release: bool
    fixed_ip_disassociate_timeout: int
    auto_assign_floating_ip: bool
    default_floating_pool: str
    send_arp_for_ha: bool
    send_arp_for_ha_count: int
    quotas: Quotas
    vpn_ip: str | None
    vpn_start: int
    cnt_vpn_clients: int
    vlan_start: int
    reserved_vlans: frozenset[int]
    network_size: int | None
    flat_network_bridge: str | None
    flat_network_dns: str | None
    network_device_mtu: int | None
    #: Where the metadata service is, without an address on the router of the guests; None where there is none.
    metadata: tuple[str | None, int] | None
    allow_same_net_traffic: bool
    provider_rules: tuple[Traffic, ...]


def read(site: Fields) -> Settings:
    """The options among the fields, whose path is empty; `done()` is left to the caller."""
    domain = site.raw("nova_dhcp_domain")
    return Settings(
        network_manager=manager(site.text("nova_network_manager", "flatdhcp"), "nova_network_manager"),
        multi_host=site.boolean("nova_multi_host", False),
        network_host=site.optional_text("nova_network_host"),
        teardown_unused_network_gateway=site.boolean("nova_teardown_unused_network_gateway", False),
        dhcp_domain="novalocal" if domain is None else _domain(domain, "nova_dhcp_domain"),
        dhcp_lease_time=site.integer("nova_dhcp_lease_time", DEFAULT_LEASE_TIME, 120, 2**31 - 1),
        dns_server=site.addresses("nova_dns_server"),
        use_network_dns_servers=site.boolean("nova_use_network_dns_servers", False),
        dnsmasq_config_file=site.optional_text("nova_dnsmasq_config_file"),
        dmz_cidr=site.networks("nova_dmz_cidr"),
        force_snat_range=site.networks("nova_force_snat_range"),
        force_dhcp_release=site.boolean("nova_force_dhcp_release", True),
        fixed_ip_disassociate_timeout=site.integer("nova_fixed_ip_disassociate_timeout", 600, 0, 2**31 - 1),
        auto_assign_floating_ip=site.boolean("nova_auto_assign_floating_ip", False),
        default_floating_pool=site.text("nova_default_floating_pool", "nova"),
        send_arp_for_ha=site.boolean("nova_send_arp_for_ha", False),
        send_arp_for_ha_count=site.integer("nova_send_arp_for_ha_count", 3, 1, GREATEST_SEND_ARP),
        quotas=Quotas(
            networks=site.integer("nova_quota_networks", UNLIMITED, UNLIMITED, GREATEST_COUNT),
            fixed_ips=site.integer("nova_quota_fixed_ips", UNLIMITED, UNLIMITED, GREATEST_COUNT),
            floating_ips=site.integer("nova_quota_floating_ips", 10, UNLIMITED, GREATEST_COUNT),
            security_groups=site.integer("nova_quota_security_groups", 10, UNLIMITED, GREATEST_COUNT),
        ),
        vpn_ip=site.optional_address("nova_vpn_ip"),
        vpn_start=site.integer("nova_vpn_start", 1000, 1, GREATEST_PORT),
        cnt_vpn_clients=site.integer("nova_cnt_vpn_clients", 0, 0, GREATEST_COUNT),
        vlan_start=site.integer("nova_vlan_start", 100, 1, GREATEST_VLAN),
        reserved_vlans=_vlans(site.raw("nova_reserved_vlans"), "nova_reserved_vlans"),
        network_size=site.optional_integer("nova_network_size", 1, GREATEST_COUNT),
        flat_network_bridge=site.optional_interface("nova_flat_network_bridge"),
        flat_network_dns=site.optional_address("nova_flat_network_dns"),
        network_device_mtu=site.optional_integer("nova_network_device_mtu", LEAST_MTU, GREATEST_MTU),
        metadata=_metadata(site),
        allow_same_net_traffic=site.boolean("nova_allow_same_net_traffic", False),
        provider_rules=_provider_rules(site),
    )


def _metadata(site: Fields) -> tuple[str | None, int] | None:
    """There is a service where one of the two is set."""
    host = site.optional_address("nova_metadata_host")
    port = site.optional_integer("nova_metadata_port", 1, GREATEST_PORT)
    return None if host is None and port is None else (host, port or DEFAULT_METADATA_PORT)


def _provider_rules(site: Fields) -> tuple[Traffic, ...]:
    found = []
    for path, value in site.items("nova_provider_rules"):
        found.append(guest_rules.provider_rule(Fields(value, path)))
    return tuple(dict.fromkeys(found))


def manager(value: str, path: str) -> str:
    """nova's class names (`nova.network.manager.FlatDHCPManager`) are understood beside the short ones."""
    short = value.rsplit(".", 1)[-1].lower()
    short = short[: -len("manager")] if short.endswith("manager") else short
    if short not in MANAGERS:
        raise InputError(f"{path}: {value!r} is not a network manager; known: {', '.join(MANAGERS)}")
    return short


def _domain(value: t.Any, path: str) -> str:
    if value == "":
        return ""
    for part in text(value, path).split("."):
        naming.host_name(part, path)
    return t.cast(str, value)


def _vlans(value: t.Any, path: str) -> frozenset[int]:
    """VLAN ids, each alone or as `first-last`."""
    ids: set[int] = set()
    for where, entry in [] if value is None else items(value, path):
        first, dash, last = str(entry).partition("-")
        low = integer(first if dash else entry, where, 1, GREATEST_VLAN)
        high = integer(last, where, low, GREATEST_VLAN) if dash else low
        ids.update(range(low, high + 1))
    return frozenset(ids)
