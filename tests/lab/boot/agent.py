# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs commands in a host that has a kernel of its own.

Listens on TCP port 2022 and serves every request from a forked child.  A request is a length (4 bytes), a JSON object
``{"command": SHELL_COMMAND, "length": N}`` of that length, and N bytes of standard input; the answer is the exit status
and the lengths of output and errors (4 bytes each), then both.  With ``"terminal": TERM, "size": [ROWS, COLUMNS]`` in
place of the length, the connection becomes the command's terminal.

Forks and page faults are some ten times dearer in a User-Mode Linux than elsewhere, and starting Python with
ansible.module_utils makes up most of a task there.  Therefore a pipelined Ansible module, which is a script on the
interpreter's standard input, runs in the forked child itself, with those imports already done.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import traceback
from typing import Any

PORT = 2022
PIPELINED = re.compile(r"(/bin/sh -c )?'?/usr/bin/python3( && sleep 0)?'?")
PRELOADED = (
    "ansible.module_utils.basic",
    "ansible.module_utils.common.file",
    "ansible.module_utils.common.process",
    "ansible.module_utils._internal._ansiballz._loader",
    "runpy",
    "zipfile",
    "base64",
    "shutil",
    "logging",
)


def main() -> None:
    can_run_modules = preload(sys.argv[1])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", PORT))
    listener.listen(64)
    # This is the host's first process: every orphan becomes its child, and nobody waits for one.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.chdir("/root")
    print("novalab: the agent listens", flush=True)
    while True:
        connection, _address = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            try:
                serve(connection, can_run_modules)
            finally:
                os._exit(0)
        connection.close()


def preload(folder: str) -> bool:
    """Import what modules need from that folder; whether that worked."""
    sys.path.insert(0, folder)
    try:
        for name in PRELOADED:
            importlib.import_module(name)
    except ImportError as error:
        print(f"novalab: modules start from nothing: {error}", flush=True)
        return False
    finally:
        sys.path.remove(folder)
    return True


def serve(connection: socket.socket, can_run_modules: bool) -> None:
    stream = connection.makefile("rb")
    (length,) = struct.unpack("!I", stream.read(4))
    request = json.loads(stream.read(length))
    if "terminal" in request:
        relay(connection, request)
        return
    data = stream.read(request["length"])
    if can_run_modules and data and PIPELINED.fullmatch(request["command"]):
        status, out, err = run_script(data)
    else:
        status, out, err = run_command(request["command"], data)
    connection.sendall(struct.pack("!iII", status, len(out), len(err)) + out + err)


def run_command(command: str, data: bytes) -> tuple[int, bytes, bytes]:
    shell = ["/bin/sh", "-c", command]
    done = subprocess.run(shell, input=data, capture_output=True, start_new_session=True, check=False)
    return done.returncode, done.stdout, done.stderr


def relay(connection: socket.socket, request: dict[str, Any]) -> None:
    """Run a shell command on a terminal of its own, tied to the connection, until one of them ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = request["terminal"]
        os.execv("/bin/sh", ["/bin/sh", "-c", request["command"]])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", *request["size"], 0, 0))
    ends: list[int | socket.socket] = [terminal, connection]
    with contextlib.suppress(OSError):  # the terminal's way to say that its last user has gone
        while True:
            for source in select.select(ends, [], [])[0]:
                data = os.read(source if source == terminal else connection.fileno(), 65536)
                if not data:
                    return
                connection.sendall(data) if source == terminal else os.write(terminal, data)


def run_script(script: bytes) -> tuple[int, bytes, bytes]:
    """Run a Python script in this process, which must be good for nothing else afterwards."""
    with tempfile.TemporaryFile(dir="/run") as out, tempfile.TemporaryFile(dir="/run") as err:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv = [""]
        status = 0
        try:
            exec(compile(script, "<stdin>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})  # noqa: S102
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - whatever it was, the caller gets it as a failed command
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


main()
