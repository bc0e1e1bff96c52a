# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A routing node with guests on two bridges, and outside of it somebody who asks for them: help for the tests beside.

The node is the test's own network namespace. Servers answer with their name and the address that they see.
"""

from __future__ import annotations

import subprocess
import sys

from a_router import namespace, run
from conversations import ASK, SERVE

ASK_AGAIN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
asker = socket.socket(family, socket.SOCK_DGRAM)
asker.settimeout(0.5)
asker.connect((sys.argv[1], int(sys.argv[2])))
for _line in sys.stdin:
    try:
        asker.send(b"still there")
        print(asker.recv(100).decode(), flush=True)
    except ConnectionRefusedError:
        print("refused", flush=True)
    except OSError:
        print("no answer", flush=True)
"""

#: Guests at ports of the node's own bridge, with bridged packets kept from the filter or led through it; and guests
#: that are together behind one port of it.
SHAPES = {"bridged apart": (0, False), "bridged through the filter": (1, False), "behind one port": (0, True)}

#: The node's addresses on its bridges, and guests by their bridges, of each version.
GATEWAYS = {"br100": ("10.0.0.1/24", "fd00::1/64"), "br101": ("10.0.1.1/24", "fd00:0:0:1::1/64")}
PLACES = {
    "a": ("br100", "10.0.0.2", "fd00::2"),
    "b": ("br100", "10.0.0.3", "fd00::3"),
    "c": ("br101", "10.0.1.2", "fd00:0:0:1::2"),
}


#: The node's own address, that of somebody beyond it, and what he reaches through it.
OUTSIDE = {
    4: ("192.0.2.1/24", "192.0.2.9/24", "10.0.0.0/23"),
    6: ("2001:db8:5::1/64", "2001:db8:5::9/64", "fd00::/48"),
}


def batch(text, *inside):
    run(*inside, "ip", "-batch", "-", text=text)


class Site:
    """The hosts of a test, and what they see of each other."""

    def __init__(self, stack):
        self.stack = stack
        self.inside = {"node": []}

    def host(self, name):
        pid, inside = self.stack.enter_context(namespace())
        # The kernel asks by a link-local address for the neighbours of those it forwards for.
        run(*inside, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self.inside[name] = inside
        return pid

    def lay(self, through, far, version):
        """Bridges, guests and the outside, by a shape and with addresses of that version."""
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", f"net.bridge.bridge-nf-call-iptables={through}")
        run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", f"net.bridge.bridge-nf-call-ip6tables={through}")
        which = 0 if version == 4 else 1
        for bridge, addresses in GATEWAYS.items():
            batch(f"link add {bridge} type bridge forward_delay 0\n{self.address(addresses[which], bridge)}")
            batch(f"link set {bridge} up\n")
            if far:
                pid = self.host(bridge)
                batch(f"link add to-{bridge} type veth peer name uplink netns {pid}\n")
                batch(f"link set to-{bridge} up master {bridge}\n")
                batch(f"link add {bridge} type bridge forward_delay 0\nlink set {bridge} up\n", *self.inside[bridge])
                batch(f"link set uplink up master {bridge}\n", *self.inside[bridge])
        for name, (bridge, *addresses) in PLACES.items():
            pid = self.host(name)
            switch = self.inside[bridge] if far else []
            batch(f"link add tap-{name} type veth peer name eth0 netns {pid}\n", *switch)
            batch(f"link set tap-{name} up master {bridge}\n", *switch)
            batch(f"link set tap-{name} type bridge_slave hairpin on\n", *switch)
            gateway, length = GATEWAYS[bridge][which].split("/")
            self.connect(name, f"{addresses[which]}/{length}", f"default via {gateway}")
            self.serve(name, 4000, 4001, 4002)
        pid = self.host("outside")
        batch(f"link add eth2 type veth peer name eth0 netns {pid}\nlink set eth2 up\n")
        ours, theirs, behind = OUTSIDE[version]
        batch(self.address(ours, "eth2"))
        self.connect("outside", theirs, f"{behind} via {ours.partition('/')[0]}")
        self.serve("outside", 4000)

    def address(self, address, interface):
        return f"addr add {address} dev {interface}{' nodad' if ':' in address else ''}\n"

    def connect(self, name, address, route):
        text = f"{self.address(address, 'eth0')}link set eth0 up\n"
        batch(f"{text}route add {route}\n", *self.inside[name])

    def serve(self, name, *ports):
        words = [*self.inside[name], sys.executable, "-c", SERVE, name, *map(str, ports)]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

        def end():
            server.kill()
            server.wait()
            server.stdout.close()

        self.stack.callback(end)
        assert server.stdout.readline() == "ready\n"

    def ask(self, name, *questions):
        """What `name` hears when it asks, each question as protocol/address/port."""
        return run(*self.inside[name], sys.executable, "-c", ASK, "0.5", *questions).splitlines()

    def keep_asking(self, name, address, port=4000):
        """A conversation from one port: returns a function that goes on with it, and says who answers."""
        words = [*self.inside[name], sys.executable, "-c", ASK_AGAIN, address, str(port)]
        asker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

        def end():
            asker.kill()
            asker.communicate()

        self.stack.callback(end)

        def ask():
            asker.stdin.write("\n")
            return asker.stdout.readline().strip()

        return ask

    def sees(self, name, address):
        """By TCP and by UDP, which have to agree."""
        one, two = self.ask(name, f"tcp/{address}/4000", f"udp/{address}/4000")
        assert one == two
        return one

    def pings(self, name, address):
        command = [*self.inside[name], "ping", "-c", "1", "-W", "0.5", "-q", address]
        return subprocess.run(command, capture_output=True).returncode == 0


def close(variant, hook):
    """Have iptables drop what nobody lets pass; with nftables that would overrule us."""
    if variant.backend == "iptables":
        for prefix in ("iptables", "ip6tables"):
            variant.load(f"*filter\n:{hook} DROP [0:0]\nCOMMIT\n", prefix)
