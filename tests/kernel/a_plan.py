# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any valid plan of a packet filter: help for the tests beside."""

from __future__ import annotations

from hypothesis import strategies as st

_interfaces = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,13}[A-Za-z0-9_@-]", fullmatch=True)
_ranges = st.builds(
    lambda base, length: (
        f"{'.'.join(str(base >> 32 - length << 32 - length >> shift & 255) for shift in (24, 16, 8, 0))}/{length}"
    ),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
# Close together, so that chains are full, and far apart, so that they divide early.
_public = st.builds(
    lambda high, low: f"{high}.{low}", st.sampled_from(["203.0.113", "203.0.114", "198.51.100"]), st.integers(0, 255)
)
_public_v6 = st.builds(
    lambda high, low: f"{high}::{low:x}", st.sampled_from(["2001:db8:5", "2001:db8:6"]), st.integers(1, 0xFFFF)
)
#: First port and how many more; none overlaps another.
_port_ranges = st.lists(
    st.tuples(st.sampled_from([1, 80, 8000, 65000, 65535]), st.integers(0, 600)).map(
        lambda pair: (pair[0], min(pair[1], {1: 78, 80: 600}.get(pair[0], 65535 - pair[0])))
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)
_limits = {"cidr": st.sampled_from(["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0"])}
_a_port = st.integers(1, 65535).map(str) | st.sampled_from(["1:65535", "80:81", "1024:65535", "1:1"])
_traffic = st.one_of(
    st.fixed_dictionaries({}, optional=_limits),
    st.fixed_dictionaries({"protocol": st.sampled_from(["tcp", "udp"])}, optional={**_limits, "ports": _a_port}),
    st.fixed_dictionaries({"protocol": st.just("icmp")}, optional=_limits),
    st.fixed_dictionaries(
        {"protocol": st.just("icmp"), "icmp_type": st.integers(0, 254)},
        optional={**_limits, "icmp_code": st.integers(0, 255)},
    ),
)
_rules = st.builds(
    lambda traffic, direction: {**traffic, "direction": direction}, _traffic, st.sampled_from(["ingress", "egress"])
)


def _of_group(rule, group):
    return {**rule, "cidr": None, "group": group}


@st.composite
def plans(draw):
    bridges = draw(st.lists(_interfaces, min_size=1, max_size=6, unique=True))
    gateways = {bridge: draw(st.booleans()) for bridge in bridges}
    networks = []
    for index in range(draw(st.integers(0, 8))):
        bridge = draw(st.sampled_from(bridges))
        versions = draw(st.sampled_from(["4", "6", "46"]))
        networks.append(
            {
                "label": f"net {index}",
                "bridge": bridge,
                "cidr": f"10.{index}.0.0/{draw(st.integers(16, 32))}" if "4" in versions else None,
                "cidr_v6": f"fd00:{index}:1::/{draw(st.integers(48, 128))}" if "6" in versions else None,
                "gateway": gateways[bridge],
                "dhcp": draw(st.booleans()),
                "snat": draw(st.booleans()) and "4" in versions,
            }
        )
    plan = {
        "public_interface": draw(_interfaces),
        "routing_source_ip": draw(st.sampled_from(["", "192.0.2.1", "203.0.113.255"])),
        "dmz_cidr": draw(st.lists(_ranges, max_size=3)),
        "force_snat_range": draw(st.lists(_ranges, max_size=3)),
        "networks": networks,
    }
    if networks:
        # Each with public ones of its version.
        sorts = []
        for key, public in (("cidr", _public), ("cidr_v6", _public_v6)):
            of_sort = [network[key].partition("/")[0] for network in networks if network[key]]
            if of_sort:
                sorts.append((public, st.sampled_from(of_sort)))
        plan["metadata"] = draw(
            st.none()
            | st.fixed_dictionaries(
                {"host": st.sampled_from([None, "192.0.2.50", "10.0.0.0"]), "port": st.integers(1, 65535)},
                optional={"elsewhere": st.lists(_interfaces, max_size=3)},
            )
        )
        plan["floating_ips"] = [
            {"address": address, "fixed_address": draw(fixed), "interface": draw(st.none() | _interfaces)}
            for public, fixed in sorts
            for address in draw(st.lists(public, max_size=80, unique=True))
            if address != plan["routing_source_ip"]  # that is refused
        ]
        plan["port_forwards"] = [
            {
                "address": draw(public),
                "protocol": draw(st.sampled_from(["tcp", "udp"])),
                "ports": f"{first}:{first + size}",
                "fixed_address": draw(fixed),
                "fixed_port": draw(st.none() | st.integers(1, 65535 - size)),
            }
            for public, fixed in sorts
            for first, size in draw(_port_ranges)
        ]
        names = draw(st.lists(st.sampled_from(["acme/default", "acme/web", "über", "a b"]), unique=True))
        plan["security_groups"] = [
            {
                "name": name,
                "members": draw(st.lists(_public, max_size=4)),
                "rules": draw(st.lists(_rules | st.builds(_of_group, _rules, st.sampled_from(names)), max_size=4)),
            }
            for name in names
        ]
        plan["instances"] = [
            {
                "address": address,
                "cidr": "203.0.0.0/8",
                "dhcp_server": draw(st.sampled_from([None, "203.0.113.1"])),
                "security_groups": draw(st.lists(st.sampled_from(names), unique=True)) if names else [],
            }
            for address in draw(st.lists(_public.filter(lambda one: one.startswith("203.")), max_size=60, unique=True))
        ]
        plan["allow_same_net_traffic"] = draw(st.booleans())
        plan["provider_rules"] = [
            rule
            for rule in draw(st.lists(_traffic, max_size=3))
            if rule.get("protocol") or rule.get("cidr", "0.0.0.0/0") != "0.0.0.0/0"
        ]
    return plan
