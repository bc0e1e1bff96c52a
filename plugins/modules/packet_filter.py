# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packet_filter
short_description: Keep nova's packet filter chains and rules on a host
version_added: 0.1.0
description:
  - Makes the packet filter of a host hold nova's chains with the rules of all networks that the host carries.
    These are outgoing SNAT, traffic that keeps its address, forwarding of the bridges, DHCP and DNS of the
    guests, DHCP checksums, floating IPs, forwarded ports, the way to the metadata service, and security groups.
  - Reads the tables once for each address family, compares, and has what differs take effect in one step for both.
  - With O(backend=iptables) the jumps from the built-in chains to nova's chains stay at the top of these, whatever
    other programs insert.
  - Chains whose name begins with C(nova-network-), and the chains C(nova-filter-top) and
    C(nova-postrouting-bottom), belong to this module. What is in them and not in the plan is removed. Other
    chains, rules, policies and counters are left alone, and so is what nova's other programs keep in the two
    shared chains.
  - With O(backend=nftables) the tables C(ip nova-network) and C(ip6 nova-network) belong to this module, with all that
    is in them. No other table is touched.
  - Without any network in the plan, all chains and jumps of this module are removed.
author:
  - tenantnet.nova contributors (@tenantnet)
extends_documentation_fragment:
  - tenantnet.nova.attributes
options:
  plan:
    description:
      - The section C(packet_filter) of the host plan.
      - All of it is checked before anything is read or written. A mistake ends in one message with the path of
        the faulty value.
      - C(networks) is required and lists the networks that the host carries. Each has a C(label), a C(bridge), a
        C(cidr) that overlaps no other, C(gateway) (whether the host passes packets in and out of the bridge),
        C(dhcp) (whether the host answers DHCP and DNS there) and C(snat) (whether what leaves is translated). A network
        with IPv6 has a C(cidr_v6), and with IPv6 alone a null as C(cidr) and no C(snat).
        It may have C(uplinks), interfaces in the bridge behind which guests of other hosts are.
      - C(public_interface) is the interface that leads outwards, required as soon as a network asks for SNAT.
      - C(routing_source_ip) is the address that outgoing traffic is translated to. Null takes the host's own
        address, which is the source that it uses towards the outside. An empty string means no SNAT at all.
      - C(dmz_cidr) lists IPv4 ranges towards which guests keep their own address.
      - C(force_snat_range) lists IPv4 ranges towards which guests of networks without C(snat) are translated all
        the same.
      - C(floating_ips) lists addresses that lead to a guest each. Each has an C(address) and a C(fixed_address), and
        may have the C(interface) that leads outwards (else that is C(public_interface)) and C(bridge) and
        C(fixed_cidr) of the guest's network (else the one of C(networks) that holds the fixed address). The guest is
        reached by the address from outside, from its own and other networks, from the host and from itself, and
        leaves by the interface with it. Both are of IPv4, or both of IPv6. The host has to have the address, see
        O(floating_addresses).
      - C(port_forwards) lists single ports of an C(address) that lead to a guest. Each has a C(protocol), V(tcp) or
        V(udp), C(ports), such as V(80) or V(8000:8010), a C(fixed_address) in one of C(networks), and may have
        C(fixed_port), where the first port leads.
      - C(metadata) says where guests are led that ask 169.254.169.254, port 80. It has a C(host), null for this one,
        and a C(port), and may have C(elsewhere), a list of bridges whose guests another gateway leads. The service sees
        the address of the guest.
      - C(flat_metadata) says the same of guests whose gateway is the operator's. It has a C(host), null for this one, a
        C(port), and C(networks), each with its C(bridge), its C(cidr) and the C(ports) of its guests on this host.
        Their requests are readdressed as they leave the port, by a table C(nova-network-metadata) of nftables' family
        C(bridge). Another host is asked and answers by the operator's gateway. This host answers over the bridge, from
        C(169.254.169.254/32) on C(lo), with a rule and a table C(16925) of routes for what comes from that.
      - C(instances) lists the addresses of this host's guests that security groups guard. Each has its C(address), the
        C(cidr) of its network, its C(security_groups) by name, and may have the C(dhcp_server) that gives it its
        address. It gets answers, what its DHCP server sends and what a rule of one of its groups allows.
      - C(security_groups) lists groups, each with its C(name), the addresses of its C(members) on all hosts, and
        C(rules). A rule has a C(direction), V(ingress) or V(egress), and may have a C(protocol), V(tcp), V(udp) or
        V(icmp), C(ports), such as V(80) or V(8000:8010), C(icmp_type) and C(icmp_code), and either a C(cidr) or a
        C(group) of the others. A guest may send anything, unless a group of it has egress rules.
      - C(allow_same_net_traffic) lets guests of one network reach each other without a rule. False by default.
      - C(provider_rules) lists what no guest gets, whatever its groups allow, by C(protocol), C(ports), C(icmp_type),
        C(icmp_code) and the C(cidr) that it comes from.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
    required: true
  floating_addresses:
    description:
      - The section C(floating_addresses) of the host plan, as M(tenantnet.nova.floating_addresses) takes it. Left
        out, this module binds nothing.
      - What goes is unbound before its rules go, and what comes is bound after its rules have come, so that nobody
        reaches the host itself by an address of a guest.
      - It may be packed, as M(tenantnet.nova.network_controller) returns it on request.
    type: raw
  backend:
    description:
      - Who holds the rules. What the module had given to another one goes, after the rules are in place with this one.
    type: str
    choices: [iptables, nftables]
    default: iptables
  wait:
    description:
      - Seconds to wait for another program that changes the packet filter, and for another run of this module.
    type: int
    default: 20
  guard_timeout:
    description:
      - Seconds, 5 to 3600, after which a host that is reached over its public interface takes a change of its rules
        back by itself, unless M(tenantnet.nova.guard) confirms it in time. Rules return to the plan that was recorded
        last.
      - Without it such a change is not guarded.
    type: int
notes:
  - Connections that are established are not disturbed. The exception is what a floating IP or a forwarded port led to a
    guest, or a guest outwards, that is no longer led so, and what a security group no longer allows. It is ended, for
    the kernel would go on with it.
  - Security groups hold for IPv4 and IPv6. Between guests of one bridge they do where
    C(net.bridge.bridge-nf-call-iptables) and C(net.bridge.bridge-nf-call-ip6tables) are on.
    Where C(instances) are given the module puts them on, loading the kernel's module C(br_netfilter) if need be.
    With O(backend=iptables) a group that a rule names is a set of C(ipset). Sets whose name begins with
    C(nova-network-) belong to this module.
  - A warning names what other programs, such as firewalld, certainly drop of what guests need by rules of their own,
    with the commands that let it through. Nothing of theirs is changed.
  - When rules change, packets meet either all old or all new rules, of all tables and both families. With
    O(backend=iptables) several tables go over together by a set of C(ipset), so that this program is needed there, too.
  - Where a few floating IPs differ from the run before, and the kernel has counted no other transaction of nf_tables
    since, they are written without reading all rules. A run that has nothing to do reads all of them.
  - Counters of a chain start anew when rules of that chain change. All others keep counting. The C(legacy) variant of
    iptables itself also sets the counters of policies to zero with every change.
  - Works with both variants of iptables, C(nft) and C(legacy), whichever the host has selected. It warns when the
    tables of the other one hold chains of nova.
  - With O(backend=nftables) a packet meets the chains of other tables as well, such as those of iptables, Docker or a
    firewall. What they drop is dropped, whatever nova's rules accept. As far as they drop what they do not know, the
    bridges have to be accepted there. The module warns of such chains when it changes something. Nova's chains are
    called before those of iptables (priorities -105, 95 and -5), so that they decide how a connection is translated.
  - With O(backend=nftables) there is no rule that lets DHCP, DNS or metadata requests in, since it could not overrule
    other tables, and none that fills in the checksums of DHCP answers, which nftables cannot. Clients that ask the
    kernel whether a checksum is to be looked at, as ISC dhclient 4.4 and udhcpc of BusyBox 1.35 do, need none. For
    guests with older ones take O(backend=iptables).
  - With O(backend=nftables) floating IPs, forwarded ports, guests, networks and members of groups are elements of
    maps and sets. A new connection costs the same with one of them as with ten thousand, and one more is one element
    more.
  - With O(backend=iptables) the rules of floating IPs and forwarded ports are in trees of chains below
    C(nova-network-float-to) and C(nova-network-float-from), so that a new connection costs the same with one of them as
    with ten thousand, and one more changes only the chain that it belongs to.
  - Where C(net.bridge.bridge-nf-call-iptables) is on, a guest is reached by a floating IP from the port of the bridge
    that it is itself behind only if that port is in hairpin mode.
  - Guests behind C(uplinks) reach the floating IPs of each other there as well. Where there is one that leads to a
    guest which is none of C(instances), filters of the kernel's traffic control have what the uplinks bring for the
    host itself routed before it is bridged. Filters of the class C(6e6f:7661) or C(6e6f:7671) belong to this module.
    Where the kernel cannot do it, a warning names such a floating IP.
  - The IPv6 part is left out on a host whose kernel has no IPv6.
"""

EXAMPLES = r"""
- name: Hold the packet filter of this host's networks
  tenantnet.nova.packet_filter:
    plan: "{{ host_plan.packet_filter }}"
    floating_addresses: "{{ host_plan.floating_addresses }}"

- name: One network that reaches the outside with the address 192.0.2.10
  tenantnet.nova.packet_filter:
    plan:
      public_interface: eth2
      routing_source_ip: 192.0.2.10
      dmz_cidr: [10.128.0.0/24]
      force_snat_range: []
      networks:
        - label: blue
          bridge: br100
          cidr: 10.0.0.0/24
          gateway: true
          dhcp: true
          snat: true

- name: A guest with a floating IP, another one with two ports of an address, and the metadata service of this host
  tenantnet.nova.packet_filter:
    plan:
      public_interface: eth2
      routing_source_ip: 192.0.2.10
      networks:
        - label: blue
          bridge: br100
          cidr: 10.0.0.0/24
          gateway: true
          dhcp: true
          snat: true
      floating_ips:
        - address: 203.0.113.7
          fixed_address: 10.0.0.3
      port_forwards:
        - address: 203.0.113.8
          protocol: tcp
          ports: "80"
          fixed_address: 10.0.0.4
          fixed_port: 8080
        - address: 203.0.113.8
          protocol: udp
          ports: "8000:8010"
          fixed_address: 10.0.0.5
      metadata:
        host: null
        port: 8775

- name: A web server that anybody reaches, and a database that only web servers reach
  tenantnet.nova.packet_filter:
    plan:
      networks: []
      instances:
        - address: 10.0.0.3
          cidr: 10.0.0.0/24
          dhcp_server: 10.0.0.1
          security_groups: [web]
        - address: 10.0.0.4
          cidr: 10.0.0.0/24
          dhcp_server: 10.0.0.1
          security_groups: [database]
      security_groups:
        - name: web
          members: [10.0.0.3, 10.0.1.7]
          rules:
            - protocol: tcp
              ports: "80"
        - name: database
          members: [10.0.0.4]
          rules:
            - protocol: tcp
              ports: "5432"
              group: web

- name: Hold the same rules by nftables
  tenantnet.nova.packet_filter:
    plan: "{{ host_plan.packet_filter }}"
    backend: nftables

- name: Remove all that this module keeps on the host
  tenantnet.nova.packet_filter:
    plan:
      networks: []
"""

RETURN = r"""
actions:
  description: What was done, or in check mode what would be done, in terms of networks, chains and jumps.
  returned: success
  type: list
  elements: str
  sample:
    - add at the top of nat POSTROUTING the jumps to nova-network-POSTROUTING, nova-postrouting-bottom
    - "network blue: add SNAT to 192.0.2.10 out of eth2, no SNAT inside"
chains:
  description: >-
    The chains of nova that differed, and with nftables the sets, each as address family, table and name.
  returned: success
  type: list
  elements: str
  sample:
    - ipv4 nat nova-network-snat
guard:
  description: The guard of this change, which waits for its confirmation.
  returned: when rules changed on a host that is reached over its public interface, and C(guard_timeout) is given
  type: dict
  sample: {id: 5d1f0c7a9b3e2f64, interfaces: [eth0], timeout: 120}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tenantnet.nova.plugins.module_utils import _front
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.guard import parse_timeout
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import applied, guard, guarded, routing


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "raw", "required": True},
            "floating_addresses": {"type": "raw"},
            "backend": {"type": "str", "choices": ["iptables", "nftables"], "default": "iptables"},
            "wait": {"type": "int", "default": 20},
            "guard_timeout": {"type": "int"},
        },
        supports_check_mode=True,
    )

    def work() -> dict[str, t.Any]:
        if module.params["wait"] < 0:
            raise InputError(f"wait: {module.params['wait']} is negative; give a number of seconds, or 0")

        plan, floating = packed.section(module.params["plan"], "plan"), module.params["floating_addresses"]
        if floating is not None:
            floating = packed.section(floating, "floating_addresses")

        def apply(check: bool) -> dict[str, t.Any]:
            return routing.apply(
                routing.BACKENDS[module.params["backend"]],
                plan,
                floating,
                check=check,
                diff=module._diff,
                wait=module.params["wait"],
            )

        armed = None
        if not module.check_mode:
            guard.extend()
            if module.params["guard_timeout"] is not None:
                timeout = parse_timeout(module.params["guard_timeout"], "guard_timeout")
                public = plan.get("public_interface")
                armed = guarded.change_rules(public, timeout, lambda: apply(True))
        sections = {"packet_filter": plan, "backend": module.params["backend"]}
        if floating is not None:
            sections["floating_addresses"] = floating
        with applied.noting(sections, check=module.check_mode, wait=module.params["wait"]):
            result = apply(module.check_mode)
        if armed is not None:
            guard.extend()
            result["guard"] = {"id": armed.id, "timeout": armed.timeout, "interfaces": list(armed.interfaces)}
        for warning in result.pop("warnings"):
            module.warn(warning)
        return result

    _front.run(module, work, large=("plan", "floating_addresses"))


if __name__ == "__main__":
    main()
