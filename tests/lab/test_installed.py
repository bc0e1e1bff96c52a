# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as users get it: packed, installed, its playbooks run by name."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tarfile
import typing as t

import pytest
from lab.playbook import CHECKOUT, Result
from nova_site import Site

#: What users get; of the top of the checkout nothing else.
SHIPPED = {
    *("CHANGELOG.rst", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "roles"),
}


class Installed(t.NamedTuple):
    archive: pathlib.Path
    folder: pathlib.Path


def galaxy(*arguments: object) -> None:
    program = pathlib.Path(sys.executable).with_name("ansible-galaxy")
    words = [str(program), "collection", *map(str, arguments)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> t.Iterator[Installed]:
    """The collection away from the checkout, and no setting that leads back there."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "ansible.cfg").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_CONFIG", str(folder / "ansible.cfg"))
        patch.delenv("PYTHONPATH", raising=False)  # Ansible would find the development tree by it, and first
        patch.setenv("ANSIBLE_HOME", str(folder / "home"))
        patch.setenv("ANSIBLE_COLLECTIONS_PATH", str(folder))
        galaxy("build", "--output-path", folder)
        [archive] = folder.glob("*.tar.gz")
        galaxy("install", "--offline", "-p", folder, archive)
        yield Installed(archive, folder)


@pytest.fixture(scope="module")
def site(installed: Installed, lab_factory, tmp_path_factory) -> Site:
    return Site(lab_factory("node"), "all_in_one", tmp_path_factory.mktemp("site"))


def run(site: Site, playbook: str, *arguments: str) -> Result:
    return site.lab.playbook(f"tenantnet.nova.{playbook}", *site.arguments(), *arguments)


def test_the_archive_has_what_is_meant_for_users_and_nothing_else(installed: Installed) -> None:
    with tarfile.open(installed.archive) as archive:
        files = {member.name for member in archive.getmembers() if not member.isdir()}
    files -= {"MANIFEST.json", "FILES.json"}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    present = {name for name in listed if name and (CHECKOUT / name).exists()}
    assert files == {name for name in present if name.split("/")[0] in SHIPPED}
    assert {"playbooks/site.yml", "playbooks/plan.yml", "plugins/modules/links.py"} <= files


def test_a_reviewer_and_an_operator_run_the_playbooks_by_name(installed: Installed, site: Site) -> None:
    assert "10.0.1.20/24" in run(site, "plan").stdout
    run(site, "plan", "-e", f"plan_dir={site.folder}/plans")
    planned = json.loads((site.folder / "plans/plans.json").read_text())
    assert not site.store.exists()

    done = run(site, "site", "-vv")
    assert done.recap["node1"]["changed"] == 5
    # At this verbosity Ansible says where it read each task.
    assert f"task path: {installed.folder}/ansible_collections/tenantnet/nova/roles/bridging_node/" in done.stdout
    assert f"task path: {CHECKOUT}" not in done.stdout
    for name, guest in site.boot_guests(planned).items():
        assert guest.dhcp()["hostname"] == name
    assert run(site, "site").changed == 0
