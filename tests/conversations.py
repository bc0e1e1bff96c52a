# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs by which hosts and guests of a test talk to each other, as texts for `python3 -c`."""

from __future__ import annotations

#: NAME PORT...: answers with its name, the port and the address that it sees, by TCP and UDP, IPv4 and IPv6.
SERVE = """
import selectors, socket, sys
every = selectors.DefaultSelector()
for port in map(int, sys.argv[2:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        listener = socket.socket(socket.AF_INET6, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            listener.listen(64)
        every.register(listener, selectors.EVENT_READ, (kind, f"{sys.argv[1]}:{port}"))
print("ready", flush=True)
while True:
    for key, _events in every.select():
        kind, name = key.data
        if kind == socket.SOCK_STREAM:
            client, peer = key.fileobj.accept()
            client.sendall(f"{name} sees {peer[0].replace('::ffff:', '')}".encode())
            client.close()
        else:
            _data, peer = key.fileobj.recvfrom(100)
            key.fileobj.sendto(f"{name} sees {peer[0].replace('::ffff:', '')}".encode(), peer)
"""
#: SECONDS QUESTION...: asks all at once, so that what is not answered is waited for but once; each question is
#: protocol/address/port[/source]. Prints the answers in order.
ASK = """
import concurrent.futures, socket, sys
def ask(word):
    kind, address, port, *source = word.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asker:
        asker.settimeout(float(sys.argv[1]))
        try:
            if source:
                asker.bind((source[0], 0))
            # With the zone of a link-local address, which a plain pair would lose.
            asker.connect(socket.getaddrinfo(address, int(port))[0][4])
            if kind == "udp":
                asker.send(b"who is there")
            return asker.recv(100).decode()
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "no answer"
with concurrent.futures.ThreadPoolExecutor(len(sys.argv)) as pool:
    print(*pool.map(ask, sys.argv[2:]), sep="\\n")
"""
