# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site over real SSH, as users run it: names of ssh's own configuration, a login that is not root, sudo."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

import pytest
from lab import Lab
from lab.playbook import Result, run_ansible
from nova_site import SITE, Site, snapshot

HOSTS = ("compute1", "compute2", "compute3")
#: Where the connections come from: the lab's switch, whose network the ssh clients enter.
CLIENT = "192.0.2.254"
#: The host whose address stands on its loopback interface, as where the routing reaches up to the hosts.
UNNUMBERED = "compute2"
HOST_KEY = "/etc/ssh/lab_host_key"
LOGINS = ["root", pytest.param("deploy", marks=pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo"))]

SSHD_CONFIG = f"""\
HostKey {HOST_KEY}
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile /run/lab-sshd.pid
"""

SSH_CONFIG = """\
Host *.site
  ProxyCommand nsenter --target {switch} --net -- socat - TCP:%h:%p
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
"""

MOVE_ADDRESS = """\
address del {address}/24 dev eth0
address add {address}/32 dev lo
route add 192.0.2.0/24 dev eth0
"""

PREPARE = """\
set -e
useradd --create-home --shell /bin/sh deploy
usermod --password '*' root
usermod --password '*' deploy
mkdir -p /etc/sudoers.d /run/sshd
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
for home in /root /home/deploy; do
  mkdir -m 0700 $home/.ssh
  cat /etc/ssh/lab_authorized_keys >$home/.ssh/authorized_keys
done
chown -R deploy: /home/deploy
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_host_key
/usr/sbin/sshd -f /etc/ssh/lab_sshd_config
"""


class Reached:
    """The lab's hosts by SSH. No variable tells an address: ssh alone knows what compute1.site is."""

    def __init__(self, lab: Lab, folder: pathlib.Path) -> None:
        self.lab = lab
        self.folder = folder
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        known, settings = [], []
        for name in HOSTS:
            host = lab.host(name)
            host.write("/etc/ssh/lab_authorized_keys", (folder / "key.pub").read_text())
            host.write("/etc/ssh/lab_sshd_config", SSHD_CONFIG)
            host.run(["sh", "-c", PREPARE])
            known.append(f"{name}.site {host.read(f'{HOST_KEY}.pub')}")
            settings.append(f"Host {name}.site\n  HostName {host.spec.address}\n  HostKeyAlias {name}.site\n")
        unnumbered = lab.host(UNNUMBERED)
        unnumbered.run(["ip", "-batch", "-"], input=MOVE_ADDRESS.format(address=unnumbered.spec.address))
        settings.append(SSH_CONFIG.format(switch=lab.switch.pid, folder=folder))
        (folder / "known_hosts").write_text("".join(known))
        (folder / "config").write_text("".join(settings))

    def run(self, site: Site, login: str, *arguments: str, check: bool = True) -> Result:
        """The site playbook over SSH."""
        variables = {"ansible_connection": "ssh", "ansible_user": login, "ansible_become": login != "root"}
        hosts = {name: {**variables, "ansible_host": f"{name}.site"} for name in HOSTS}
        inventory = self.folder / f"{login}.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        # Of two inventories the later one counts: the example says the address, this one takes it back.
        words = [*site.arguments(), "-i", str(inventory), *arguments]
        return run_ansible("ansible-playbook", site.inventory, str(SITE), *words, check=check)


@pytest.fixture(scope="module")
def reached(lab_factory) -> t.Iterator[Reached]:
    # Not below pytest's own folder, whose name is too long for the sockets of kept connections.
    with tempfile.TemporaryDirectory(prefix="ssh-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_SSH_ARGS", f"-F {folder}/config -o ControlMaster=auto -o ControlPersist=60s")
        patch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", folder)
        patch.setenv("ANSIBLE_TIMEOUT", "90")  # a busy machine is no failure
        yield Reached(lab_factory("multi_host"), pathlib.Path(folder))
        for socket in pathlib.Path(folder).glob("*"):
            if socket.is_socket():
                subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"], capture_output=True)


@pytest.mark.parametrize("login", LOGINS)
def test_the_interface_of_the_connection_is_refused_before_anything_is_written(
    reached: Reached, login: str, tmp_path: pathlib.Path
) -> None:
    site = Site(reached.lab, "multi_host", tmp_path)
    site.change(
        nova_networks=None,
        nova_fixed_range="10.0.0.0/24",
        nova_flat_network_bridge="br100",
        nova_flat_interface="eth0",
    )
    before = {host: snapshot(site.lab, host) for host in HOSTS}
    result = reached.run(site, login, check=False)
    said = " ".join((result.stdout + result.stderr).split())
    assert {host: (row["changed"], row["failed"]) for host, row in result.recap.items()} == {
        "localhost": (0, 1),
        **dict.fromkeys(HOSTS, (0, 0)),
    }
    for host in set(HOSTS) - {UNNUMBERED}:
        address = site.lab.host(host).spec.address
        assert f"host '{host}': bridge br100: interface eth0 carries the host's own address {address}/24" in said
    # Nothing else than the connection itself tells that this one's eth0 is needed.
    assert re.search(
        rf"host '{UNNUMBERED}': [^;]*: eth0 carries the Ansible connection \(from {CLIENT}\), and that", said
    )
    assert "Traceback" not in said
    assert {host: snapshot(site.lab, host) for host in HOSTS} == before
    assert not site.store.exists()


@pytest.mark.parametrize("login", LOGINS[-1:])
def test_the_site_is_applied_over_ssh_and_a_second_run_does_nothing(
    reached: Reached, login: str, tmp_path: pathlib.Path
) -> None:
    site = Site(reached.lab, "multi_host", tmp_path)
    assert {row["changed"] for host, row in reached.run(site, login).recap.items() if host in HOSTS} == {5}
    for name, guest in site.boot_guests(site.plans()).items():
        assert guest.dhcp()["hostname"] == name
        assert guest.ping("198.51.100.1")
    assert reached.run(site, login).changed == 0
    home = "/root" if login == "root" else f"/home/{login}"
    for host in HOSTS:
        # Modules came through the pipe: none was put into a file of the login's home.
        assert ".ansible" not in site.lab.host(host).run(["ls", "-A", home]).stdout.split()
