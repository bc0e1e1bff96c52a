# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that lacks what the roles need: foretold in check mode, then installed, then serving."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import subprocess

import pytest
from lab.host import Host
from nova_site import Site, snapshot

PACKAGES = ("dnsmasq-base", "dnsmasq-utils", "python3-pyroute2")
ARCHIVE = "/var/lib/lab-archive"

# The host's only source of packages, whose lists it has not fetched yet, as on a fresh machine.
PREPARE = f"""\
set -e
dpkg --purge --force-depends {" ".join(PACKAGES)}
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/* /var/cache/apt/*.bin
echo 'deb [trusted=yes] file:{ARCHIVE} ./' >/etc/apt/sources.list
"""


def fetch(folder: pathlib.Path) -> list[pathlib.Path]:
    """The packages' files, or a skip with apt's own reason."""
    # apt wants to fetch as its own user, which cannot enter pytest's folders.
    words = ["apt-get", "-q=2", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    if done.returncode:
        pytest.skip(f"apt cannot fetch packages here: {' '.join(done.stderr.split())}")
    return sorted(folder.glob("*.deb"))


def index_entry(package: pathlib.Path) -> str:
    """What an archive's index says of a package."""
    control = subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True).stdout
    content = package.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{control.strip()}\nFilename: ./{package.name}\nSize: {len(content)}\nSHA256: {digest}\n\n"


def installed(host: Host) -> set[str]:
    said = host.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *PACKAGES], check=False
    )
    return {line.split()[0] for line in said.stdout.splitlines() if line.endswith(" installed")}


@pytest.fixture
def bare(lab_factory, tmp_path: pathlib.Path) -> Site:
    """The site on a host without the packages, which an archive in reach of that host has."""
    (tmp_path / "archive").mkdir()
    packages = fetch(tmp_path / "archive")
    site = Site(lab_factory("node"), "all_in_one", tmp_path)
    host = site.lab.host("node1")
    for package in packages:
        host.write(f"{ARCHIVE}/{package.name}.base64", base64.encodebytes(package.read_bytes()).decode())
        place = f"{ARCHIVE}/{package.name}"
        host.run(["sh", "-c", 'base64 -d "$1.base64" >"$1" && rm "$1.base64"', "sh", place])
    host.write(f"{ARCHIVE}/Packages", "".join(map(index_entry, packages)))
    host.run(["sh", "-c", PREPARE])
    assert installed(host) == set()
    assert host.run(["sh", "-c", "command -v dnsmasq dhcp_release"], check=False).stdout == ""
    assert host.run(["/usr/bin/python3", "-c", "import pyroute2"], check=False).returncode == 1
    return site


def test_what_a_host_lacks_is_foretold_installed_and_used(bare: Site) -> None:
    host = bare.lab.host("node1")
    before = snapshot(bare.lab, "node1")
    checked = bare.run("--check", "--diff", check=False)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert "Traceback" not in said
    assert "installs what is missing of python3-pyroute2" in said
    assert "10.0.1.20" in said, "the diff shows what the real run will write"
    assert installed(host) == set()
    assert snapshot(bare.lab, "node1") == before

    done = bare.run()
    assert done.recap["node1"]["changed"] == checked.recap["node1"]["changed"] == 7
    assert installed(host) == set(PACKAGES)
    for name, guest in bare.boot_guests(bare.plans()).items():
        assert guest.dhcp()["hostname"] == name
        assert guest.ping("198.51.100.1")
    assert bare.run().changed == 0
