# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with a kernel of its own, whichever: over the same disk, on the same cables, reached through an agent."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import shlex
import socket
import struct
import subprocess
import termios
import tty
import typing as t

from .errors import HostOff, LabError
from .host import Host
from .life import log_tail
from .process import Process, first_process, in_network, socket_in, wait_until

AGENT_PORT = 2022
BOOT_TIME = 120
CONNECT_TIME = 2


class GuestKernelHost(Host):
    """A host for what this machine's kernel lacks.  Commands reach it through an agent on its management address."""

    has_terminal = False

    def wait(self) -> None:
        def answers() -> bool:
            first_process(self.directory)
            with contextlib.suppress(HostOff, OSError):
                return call_agent(self.directory, self.spec.address, "true", timeout=20)[0] == 0
            return False

        try:
            wait_until(answers, BOOT_TIME, "the agent in its kernel does not answer", pause=0.1)
        except LabError as error:
            raise LabError(f"host {self.name}: {error}; its log ends with: {log_tail(self.directory)}") from None

    def enter(self, argv: t.Sequence[str]) -> t.NoReturn:
        if not os.isatty(0):
            raise LabError(f"host {self.name} gives a terminal to a terminal only; use exec")
        request = {
            "command": shlex.join(argv),
            "terminal": os.environ.get("TERM", "dumb"),
            "size": list(reversed(os.get_terminal_size(0))),
        }
        with _ask_agent(self.directory, self.spec.address, request, timeout=10) as connection, _raw_terminal():
            connection.settimeout(None)
            while True:
                sources: list[int | socket.socket] = [0, connection]
                ready = select.select(sources, [], [])[0]
                if connection in ready:
                    said = connection.recv(65536)
                    if not said:
                        break
                    os.write(1, said)
                if 0 in ready:
                    connection.sendall(os.read(0, 65536))
        raise SystemExit(0)

    def _run(self, argv: t.Sequence[str], input: str, timeout: float) -> subprocess.CompletedProcess[str]:
        try:
            status, out, err = call_agent(self.directory, self.spec.address, shlex.join(argv), input.encode(), timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(list(argv), timeout) from None
        except OSError as error:
            raise HostOff(f"host {self.name} does not answer: {error}") from None
        return subprocess.CompletedProcess(
            list(argv), status, out.decode(errors="replace"), err.decode(errors="replace")
        )

    def _unshare(self) -> list[str]:
        # The kernel opens its taps in the switch; they outlive it, as sockets in a wall do.
        for interface in self.spec.interfaces:
            self._make_tap(interface.port, interface.switch)
        return in_network(self.switch.pid, "unshare")

    def _connect(self, process: Process) -> None:
        """The taps are the cables."""

    def _disconnect(self) -> None:
        """The taps stay in the switch for the next boot."""

    def _set_carrier(self, port: str, switch: str, plugged: bool) -> None:
        # UML's driver gives a tap up for good when it sees it down: take it off the switch instead.
        self.switch.batch([f"link set {port} master {switch}" if plugged else f"link set {port} nomaster"])

    def _make_tap(self, port: str, switch: str) -> None:
        if self.switch.run(["ip", "link", "show", port], check=False).returncode:
            self.switch.batch([f"tuntap add {port} mode tap"])
            # What the other side leaves to a network card's offload would reach the guest kernel unfinished.
            for offload in ("tx", "tso", "gso", "sg"):
                self.switch.run(["ethtool", "-K", port, offload, "off"], check=False)
            self.switch.batch([f"link set {port} up"])
        self._set_carrier(port, switch, not self._is_pulled(switch))


def call_agent(
    directory: pathlib.Path, address: str, command: str, data: bytes = b"", timeout: float = 600
) -> tuple[int, bytes, bytes]:
    """Have the agent of the host with that state directory run a shell command: status, output, errors.

    Raises HostOff, OSError.
    """
    request = {"command": command, "length": len(data)}
    with _ask_agent(directory, address, request, timeout) as connection, connection.makefile("rb") as stream:
        connection.sendall(data)
        answer = stream.read(12)
        if len(answer) < 12:
            raise OSError("the connection broke off")
        status, out, err = struct.unpack("!iII", answer)
        return status, stream.read(out), stream.read(err)


def _ask_agent(directory: pathlib.Path, address: str, request: dict[str, t.Any], timeout: float) -> socket.socket:
    """Send the head of a request, from the switch: the one place that reaches every host."""
    first_process(directory)
    connection = socket_in(first_process(directory.parent / "switch").pid)
    try:
        # A call to a kernel that is still booting gets lost, and TCP would repeat it ever more rarely.
        connection.settimeout(min(CONNECT_TIME, timeout))
        connection.connect((address, AGENT_PORT))
        connection.settimeout(timeout)
        header = json.dumps(request).encode()
        connection.sendall(struct.pack("!I", len(header)) + header)
    except OSError as error:
        connection.close()
        raise HostOff(f"host {directory.name} does not answer: {error}") from None
    return connection


@contextlib.contextmanager
def _raw_terminal() -> t.Iterator[None]:
    """Hand every key on as it is typed, also the ones that would interrupt this process."""
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
