# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The walls between the rooms (docs/architecture.md), read off the imports and calls of each file."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
PACKAGE = "ansible_collections.tenantnet.nova.plugins"
CORE = f"{PACKAGE}.module_utils._core"
DRIVERS = f"{PACKAGE}.module_utils._drivers"

#: Modules of the standard library through which a pure function could reach the world, or depend on the moment.
WORLDLY = {
    "asyncio", "concurrent", "ctypes", "fcntl", "fileinput", "ftplib", "getpass", "glob", "http", "io", "logging",
    "mmap", "multiprocessing", "os", "pathlib", "pickle", "platform", "pty", "pwd", "random", "resource", "secrets",
    "select", "selectors", "shelve", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "sys", "syslog", "tempfile", "termios", "threading", "time", "uuid",
}  # fmt: skip
#: Of these, what is a pure function or a constant after all.
PURE_PARTS = {
    "socket": {"AF_INET", "AF_INET6", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton"},
    "uuid": {"NAMESPACE_DNS", "UUID", "uuid5"},
}
WORLDLY_CALLS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}
#: Modules that run on the hosts of a site; all others are the network controller's.
OF_HOSTS = {
    "dnsmasq",
    "floating_addresses",
    "guard",
    "host_info",
    "host_plan",
    "leases_info",
    "links",
    "packet_filter",
    "port_filter",
}


def sources(folder: str) -> list[pathlib.Path]:
    return sorted((PLUGINS / folder).rglob("*.py"))


def named(path: pathlib.Path) -> str:
    return str(path.relative_to(PLUGINS))


@functools.cache
def imports(path: pathlib.Path) -> frozenset[str]:
    """Dotted names of all that a file imports, wherever in the file, relative names made absolute."""
    package = [*PACKAGE.split("."), *path.relative_to(PLUGINS).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found.update(".".join([*base, alias.name]) for alias in node.names)
    return frozenset(found)


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_there_is_a_core():
    assert len(sources("module_utils/_core")) > 1


@pytest.mark.parametrize("path", sources("module_utils/_core"), ids=named)
def test_the_core_is_pure(path):
    for name in imports(path):
        root = name.split(".")[0]
        assert below(name, CORE) or root in sys.stdlib_module_names, f"{name}: neither core nor standard library"
        assert root not in WORLDLY or name in PURE_PARTS, f"{name}: the core neither reads nor writes the world"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in PURE_PARTS:
            assert node.attr in PURE_PARTS[node.value.id], (
                f"line {node.lineno}: {node.value.id}.{node.attr} is not pure"
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in WORLDLY_CALLS, f"line {node.lineno}: the core calls {node.func.id}()"


@pytest.mark.parametrize("path", sources("module_utils/_drivers"), ids=named)
def test_drivers_know_no_ansible(path):
    for name in imports(path):
        assert not below(name, "ansible"), f"{name}: a driver is called by a module, it does not know one"
        assert not below(name, PACKAGE) or below(name, CORE, DRIVERS), name


def reached(path: pathlib.Path) -> set[str]:
    """Names of all that a file imports, and what that imports of ours, and so on."""
    found: set[str] = set()
    files = [path]
    while files:
        for name in imports(files.pop()) - found:
            found.add(name)
            if below(name, PACKAGE):
                files.extend(_files_of(name))
    return found


def _files_of(name: str) -> list[pathlib.Path]:
    """A name is that of a module, of a package, or of something in one."""
    place = PLUGINS.joinpath(*name[len(PACKAGE) + 1 :].split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py", place.parent.with_suffix(".py")):
        if file.is_file():
            return [file]
    return []


@pytest.mark.parametrize("path", sources("modules"), ids=named)
def test_the_store_is_reached_by_the_controller_alone(path):
    # Its records as well: each host would be given their code with each module.
    rooms = ("sqlalchemy", f"{DRIVERS}.store", f"{DRIVERS}.engines", f"{CORE}.state", f"{CORE}.kinds")
    stores = {name for name in reached(path) if below(name, *rooms)}
    if path.stem in OF_HOSTS:
        assert not stores, stores
    else:
        assert stores, "a module that runs on hosts stands in OF_HOSTS"


@pytest.mark.parametrize("path", sources("filter"), ids=named)
def test_filters_are_pure(path):
    allowed = (CORE, "ansible.errors", f"{PACKAGE}.module_utils", f"{PACKAGE}.plugin_utils")
    for name in imports(path):
        assert below(name, *allowed) or name.split(".")[0] in sys.stdlib_module_names, name
        assert not below(name, DRIVERS), f"{name}: a filter acts on nothing"
