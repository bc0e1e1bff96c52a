# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interface that SSH comes over becomes a bridge's port: the connection lives, or the host takes that back."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import tempfile
import time
import typing as t

import pytest
from lab import Lab
from lab.playbook import Result, run_ansible
from nova_site import SITE, Site, snapshot

HOST = "node1"
#: Where the connections come from: the lab's switch, whose network the ssh client enters.
CLIENT = "192.0.2.254"
TIMEOUT = 8

PREPARE = """\
set -e
mkdir -p /run/sshd
mkdir -m 0700 /root/.ssh
usermod --password '*' root
cat /etc/ssh/lab_authorized_keys >/root/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_host_key
/usr/sbin/sshd -f /etc/ssh/lab_sshd_config
# The way to the controller is the default route as well, with all that such an interface may carry.
ip route replace default via 192.0.2.254 dev eth0
ip route add 198.18.0.0/15 via 192.0.2.254 dev eth0 table 7
ip rule add oif eth0 lookup 7 priority 700
ip address add 192.0.2.77/32 dev eth0
"""

SSHD = "HostKey /etc/ssh/lab_host_key\nPasswordAuthentication no\nUsePAM no\nPidFile /run/lab-sshd.pid\n"

SSH = """\
Host *
  ProxyCommand nsenter --target {switch} --net -- socat - TCP:%h:%p
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
  ServerAliveInterval 2
  ServerAliveCountMax 2
"""


class Reached:
    """The one host, by SSH over eth0."""

    def __init__(self, lab: Lab, folder: pathlib.Path) -> None:
        self.lab = lab
        self.host = lab.host(HOST)
        self.folder = folder
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        self.host.write("/etc/ssh/lab_authorized_keys", (folder / "key.pub").read_text())
        self.host.write("/etc/ssh/lab_sshd_config", SSHD)
        self.host.run(["sh", "-c", PREPARE])
        (folder / "config").write_text(SSH.format(switch=lab.switch.pid, folder=folder))

    def run(self, site: Site, *arguments: str, check: bool = True) -> Result:
        variables = {"ansible_connection": "ssh", "ansible_user": "root", "ansible_host": self.host.spec.address}
        inventory = self.folder / "ssh.json"
        inventory.write_text(json.dumps({"all": {"hosts": {HOST: variables}}}))
        words = [*site.arguments(), "-i", str(inventory), *arguments]
        return run_ansible("ansible-playbook", site.inventory, str(SITE), *words, check=check)

    def state(self) -> dict[str, t.Any]:
        """All that a change may touch, and what it leads over eth0."""
        shows = [
            "-4 route show table all",
            "-6 route show table all",
            "rule",
            "-4 -o address",
            "neigh show nud permanent",
        ]
        text = self.host.run(["sh", "-c", "; ".join(f"ip {words}" for words in shows)]).stdout
        # Link-local addresses, and what follows from them, come a second or two after a carrier.
        lines = [line for line in text.splitlines() if "fe80:" not in line and "ff00::" not in line]
        return {"leads": sorted(lines), **snapshot(self.lab, HOST)}


@pytest.fixture(scope="module")
def reached(lab_factory) -> t.Iterator[Reached]:
    # Not below pytest's own folder, whose name is too long for the sockets of kept connections.
    with tempfile.TemporaryDirectory(prefix="ssh-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_SSH_ARGS", f"-F {folder}/config -o ControlMaster=auto -o ControlPersist=60s")
        patch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", folder)
        patch.setenv("ANSIBLE_TIMEOUT", "30")
        yield Reached(lab_factory("node"), pathlib.Path(folder))
        for socket in pathlib.Path(folder).glob("*"):
            if socket.is_socket():
                subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"], capture_output=True)


@pytest.fixture
def site(reached: Reached, tmp_path: pathlib.Path) -> Site:
    site = Site(reached.lab, "all_in_one", tmp_path)
    site.change(
        nova_networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100"}],
        nova_instances=[{"name": "web1", "project": "acme", "host": HOST}],
        nova_flat_interface="eth0",
        nova_allow_move_addresses=["eth0"],
        nova_public_interface="br100",
    )
    return site


class Stream:
    """One SSH session held open, and a ping every 5 ms, for the length of the block."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        #: Seconds without an answer, the longest.
        self.gap = 0.0

    def __enter__(self) -> Stream:
        folder, address = self.reached.folder, self.reached.host.spec.address
        enter = ["nsenter", "--target", str(self.reached.lab.switch.pid), "--net", "--"]
        session = ["ssh", "-F", str(folder / "config"), f"root@{address}", "while :; do date +%s.%N; sleep 0.02; done"]
        self._ssh = subprocess.Popen(session, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ping = [*enter, "ping", "-D", "-n", "-i", "0.005", address]
        self._ping = subprocess.Popen(ping, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.alive = self._ssh.poll() is None
        self._ping.terminate()
        times = [float(stamp) for stamp in re.findall(r"^\[([0-9.]+)\] .* time=", self._ping.communicate()[0], re.M)]
        self.gap = max(later - earlier for earlier, later in zip(times, times[1:]))
        self._ssh.terminate()
        self._ssh.communicate()


def test_a_wrong_change_is_taken_back_and_the_run_says_why(reached: Reached, site: Site) -> None:
    """The network's gateway gets the very address that the controller comes from."""
    before = reached.state()
    wrong = {"label": "blue", "fixed_range": "192.0.2.0/24", "gateway": CLIENT, "bridge": "br100"}
    site.change(nova_networks=[wrong], nova_guard_timeout=TIMEOUT)
    begun = time.monotonic()
    result = reached.run(site, check=False)
    lasted = time.monotonic() - begun
    said = " ".join((result.stdout + result.stderr).split())
    assert result.recap[HOST]["failed"] == 1, said[-3000:]
    assert re.search(r"the change of eth0 from \S+ \S+ \S+ was taken back by the host", said), said[-3000:]
    assert "the host is as it was before" in said and "Traceback" not in said
    assert reached.state() == before
    told = json.loads(reached.host.read("/var/lib/tenantnet/guard.json"))
    assert told["left"] == [] and "move address 192.0.2.11/24 from eth0 to br100" in told["actions"]
    assert lasted < 120


def test_a_right_change_cuts_nobody_off(reached: Reached, site: Site) -> None:
    before = reached.state()
    with Stream(reached) as stream:
        result = reached.run(site)
    assert stream.alive, "the SSH session ended"
    assert result.recap[HOST]["failed"] == 0
    assert stream.gap < 1
    assert reached.host.run(["cat", "/sys/class/net/eth0/master/uevent"]).stdout.count("INTERFACE=br100")
    assert not reached.host.run(["ls", "/run/tenantnet"]).stdout.count("guard.json")
    # Out of the plan, all of it comes back, and it is over this very connection too.
    site.change(nova_networks=[], nova_instances=[], nova_projects=[])
    with Stream(reached) as stream:
        reached.run(site)
    assert stream.alive and stream.gap < 1
    assert reached.state()["leads"] == before["leads"]
