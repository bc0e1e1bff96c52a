# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run modules in a host of the test lab (tests/lab)."""

from __future__ import annotations

DOCUMENTATION = """
name: novalab
short_description: run modules in a host of the test lab
description:
  - Enters the namespaces of the host, or asks the agent in the host's own kernel.
  - The host's first process is looked up at each call, so that a host is found again after a reboot.
author: tenantnet.nova contributors
options:
  novalab_directory:
    description: Folder with the state of the host.
    type: path
    required: true
    vars:
      - name: novalab_directory
  address:
    description: Management address of the host.
    type: str
    vars:
      - name: ansible_host
  kind:
    description: V(uml) or V(qemu) for a host with a kernel of its own.
    type: str
    default: native
    vars:
      - name: novalab_kind
extends_documentation_fragment:
  - connection_pipelining
"""

import pathlib
import subprocess
import sys

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from lab.errors import HostOff
from lab.guest_kernel import call_agent
from lab.process import ENVIRONMENT, first_process, nsenter
from lab.topology import GUEST_KERNELS


class Connection(ConnectionBase):
    """No state between calls: each one enters the host anew."""

    transport = "novalab"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def close(self):
        self._connected = False

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(cmd, in_data or b"")

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as source:
            status, _out, err = self._run(f"cat > {self._shell.quote(out_path)}", source.read())
        if status:
            raise AnsibleError(f"{out_path}: {err.decode(errors='replace').strip()}")

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        status, out, err = self._run(f"cat {self._shell.quote(in_path)}", b"")
        if status:
            raise AnsibleError(f"{in_path}: {err.decode(errors='replace').strip()}")
        with open(out_path, "wb") as target:
            target.write(out)

    def _run(self, command, data):
        directory = pathlib.Path(self.get_option("novalab_directory"))
        try:
            first = first_process(directory)
            if self.get_option("kind") in GUEST_KERNELS:
                return call_agent(directory, self.get_option("address"), command, data)
            argv = nsenter(first.pid, "/bin/sh", "-c", command)
            done = subprocess.run(argv, input=data, capture_output=True, check=False, env=ENVIRONMENT)
            if done.returncode and first.ending:
                raise HostOff(f"host {directory.name} was powered off meanwhile")
            return done.returncode, done.stdout, done.stderr
        except (HostOff, OSError) as error:
            raise AnsibleConnectionFailure(str(error)) from error
