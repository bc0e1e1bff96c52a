"""The inventory plugin through ansible-inventory, on a real store."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import allocation, declaration
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store

ROOT = pathlib.Path(__file__).resolve().parents[4]
NODES = {"nodes": ["bridging", "addressing", "routing"], "nova_public_interface": "eth2"}
DECLARED = {
    "settings": {"nova_multi_host": True},
    "networks": [
        {"label": "blue", "fixed_range": "10.0.0.0/24", "bridge": "br100", "mtu": 1450},
        {"label": "green-net", "fixed_range": "10.0.1.0/24", "bridge": "br101"},
    ],
    "projects": ["acme", "umbrella"],
    "instances": [
        {"name": "web1", "project": "acme", "host": "h1", "network": "blue", "address": "10.0.0.20"},
        {"name": "db1", "project": "umbrella", "host": "h2", "networks": ["green-net", "blue"]},
    ],
    "hosts": {"h1": NODES, "h2": NODES},
}


def plain(value: t.Any) -> t.Any:
    """What ansible-inventory prints, without its marks of values that are no templates."""
    if isinstance(value, dict):
        return (
            value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {k: plain(v) for k, v in value.items()}
        )
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def inventory(folder: pathlib.Path, check: bool = True, **options: t.Any) -> t.Any:
    path = folder / "site.nova.yml"
    path.write_text(json.dumps({"plugin": "tenantnet.nova.instances", **options}))
    program = pathlib.Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run(
        [program, "-i", path, "--list"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_INVENTORY_ENABLED": "tenantnet.nova.instances",
        },
    )
    return plain(json.loads(done.stdout)) if check else done.stdout + done.stderr


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    name = f"sqlite:///{tmp_path}/nova.sqlite"
    store.reconcile(name, lambda before: allocation.allocate(declaration.parse(**DECLARED), before, 1.0), False)
    return name


def test_instances_come_with_all_that_was_planned(tmp_path: pathlib.Path, url: str) -> None:
    found = inventory(tmp_path, state_url=url)
    hosts = found["_meta"]["hostvars"]
    assert set(hosts) == {"web1", "db1"}
    web1 = hosts["web1"]
    assert (web1["ansible_host"], web1["nova_project"], web1["nova_host"]) == ("10.0.0.20", "acme", "h1")
    (port,) = web1["nova_ports"]
    assert (port["bridge"], port["address"], port["mtu"]) == ("br100", "10.0.0.20/24", 1450)
    # In multi_host the host itself is the way out, by the first address that was free.
    assert port["gateway"] == "10.0.0.2"
    assert sorted(hosts["db1"]["nova_networks"]) == ["blue", "green-net"]


def test_instances_are_grouped_by_project_network_and_host(tmp_path: pathlib.Path, url: str) -> None:
    found = inventory(tmp_path, state_url=url, keyed_groups=[{"key": "nova_host", "prefix": "at"}])
    members = {name: set(group.get("hosts", [])) for name, group in found.items() if name not in ("_meta", "all")}
    assert members["project_acme"] == members["host_h1"] == members["at_h1"] == {"web1"}
    assert members["network_green_net"] == {"db1"}
    assert members["network_blue"] == {"web1", "db1"}


def test_reading_leaves_the_store_as_it_is(tmp_path: pathlib.Path, url: str) -> None:
    file = tmp_path / "nova.sqlite"
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    inventory(tmp_path, state_url=url)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_a_store_that_cannot_be_read_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "nova.sqlite").write_text("this is no database, but long enough to be taken for the head of one" * 9)
    said = inventory(tmp_path, check=False, state_url=f"sqlite:///{tmp_path}/nova.sqlite")
    assert "not a database" in said
    assert "Traceback" not in said
