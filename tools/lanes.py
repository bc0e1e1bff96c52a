#!/usr/bin/env python3
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run test lanes: tools/lanes.py LANE...; `test` stands for all that CI asks for.

Each check says when it begins and how long it took, and shows its output only when it fails (always with V=1). A
failure does not keep the others from running. Checks that read the checkout alone run beside those that act on the
machine. All pytest lanes asked for are one run at the very end, so that the output closes with pytest's own summary;
what failed before is named before it, and the exit code counts both.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv/bin"
BUILD = ROOT / ".build"
CACHE = ROOT / ".cache"
COLLECTIONS = ROOT / ".ansible/collections"
PACKAGE = "ansible_collections.tenantnet.nova.plugins.module_utils"
VERBOSE = os.environ.get("V", "") not in ("", "0")

#: Lanes that are folders of pytest, in the order of a run: the quick ones first.
PYTEST_LANES = ("unit", "kernel", "lab")
#: The oldest pyroute2 in reach of a managed host, that of Debian 12.
PYROUTE2_OLDEST = "0.7.2"
OLDEST_PYTHON = "3.9"


class Failed(Exception):
    """A check has failed; its output is shown already."""


class Skipped(Exception):
    """A check cannot run here; the text says why."""


# --- surroundings ------------------------------------------------------------------------------------------


def real_python_folders() -> list[str]:
    """Folders of further Pythons as version managers keep them. Their shims break ansible-test, these do not."""
    versions = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    folders = [path for path in versions.glob("3.*/bin") if re.fullmatch(r"3\.\d+\.\d+", path.parent.name)]
    return [str(path) for path in sorted(folders, key=lambda path: [int(n) for n in path.parent.name.split(".")])]


SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment() -> dict[str, str]:
    """The caller's environment without what would lead away from the checkout."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTHON", "MYPY")) and name != "VIRTUAL_ENV"
    }
    return {
        **kept,
        "PATH": f"{VENV}:{SYSTEM_PATH}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(ROOT / ".ansible/home"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
        "XDG_CACHE_HOME": str(CACHE / "xdg"),
        **({"ANSIBLE_NOCOLOR": "1"} if os.environ.get("NO_COLOR") else {}),
    }


def run(*command: object, where: pathlib.Path = ROOT, **variables: str) -> str:
    """Run a command; return what it wrote. Failed, after showing that, if it does not end well."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=where,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or VERBOSE:
        print(f"\n$ {' '.join(str(word) for word in command)}\n{done.stdout.rstrip()}", flush=True)
    if done.returncode:
        raise Failed(f"exit code {done.returncode}")
    return done.stdout


def tool(name: str, *arguments: object, **keywords: t.Any) -> str:
    return run(VENV / name, *arguments, **keywords)


# --- lint --------------------------------------------------------------------------------------------------


def ruff_check() -> None:
    tool("ruff", "check", "--output-format", "concise", ".")


def ruff_format() -> None:
    tool("ruff", "format", "--check", "--output-format", "concise", ".")


def mypy() -> None:
    tool("mypy", "-p", f"{PACKAGE}._core", "-p", f"{PACKAGE}._drivers")


def yamllint() -> None:
    tool("yamllint", "--strict", ".")


def ansible_lint() -> None:
    tool("ansible-lint", "--offline", "--profile", "production", "-q", "--nocolor")


def changelog() -> None:
    tool("antsibull-changelog", "lint")


def role_specs() -> None:
    tool("python", "tools/check_role_specs.py")


def shell() -> None:
    listed = run("git", "ls-files", "-co", "--exclude-standard").split("\n")
    scripts = [name for name in listed if name and is_shell(ROOT / name)]
    # SC3045: dash, Debian's sh, knows `ulimit -n`.
    run("shellcheck", "--exclude=SC3045", *scripts)


def is_shell(path: pathlib.Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return re.match(rb"#!(/usr/bin/env |/bin/)(ba)?sh\b", file.readline()) is not None


# --- ansible-test ------------------------------------------------------------------------------------------

GET_PIP = '''\
"""Stands in for the bootstrap script that ansible-test would download: pip comes with Python."""
import subprocess
import sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
wanted = [word for word in sys.argv[1:] if not word.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted])
'''


#: What users never get. ansible-test's rules for shipped code (shebangs, names) are not for these; ruff's are.
NOT_FOR_ANSIBLE_TEST = ("tests/bench", "tests/conftest.py", "tests/kernel", "tests/lab", "tests/unit", "tools", ".ci")


def copy_of_checkout(lane: str) -> pathlib.Path:
    """A copy of what git knows or would take, under the names that ansible-test insists on (no symlink will do)."""
    copy = BUILD / lane / "ansible_collections/tenantnet/nova"
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    shutil.rmtree(copy, ignore_errors=True)
    for name in listed:
        source = ROOT / name
        if any(name == left or name.startswith(f"{left}/") for left in NOT_FOR_ANSIBLE_TEST):
            continue
        if name and (source.is_file() or source.is_symlink()):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    # A repository of its own: ansible-test asks git for the files, and the one above ignores this folder.
    run("git", "init", "--quiet", ".", where=copy)
    return copy


_one_at_a_time = threading.Lock()


def ansible_test_surroundings() -> dict[str, str]:
    """A home inside the checkout for what ansible-test keeps, with pip's settings and pip's bootstrap in place."""
    with _one_at_a_time:
        return _ansible_test_surroundings()


def _ansible_test_surroundings() -> dict[str, str]:
    home = CACHE / "home"
    kept = home / ".ansible/test/cache"
    kept.mkdir(parents=True, exist_ok=True)
    for version in ("24_2", "25_2"):
        script = kept / f"get_pip_{version}.py"
        if not script.exists():
            script.write_text(GET_PIP, encoding="utf-8")
    for name in (".config/pip", ".pip"):
        settings, place = pathlib.Path.home() / name, home / name
        if settings.is_dir() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(settings)
    path = ":".join([str(VENV), SYSTEM_PATH, *real_python_folders()])
    return {"HOME": str(home), "PATH": path}


def sanity() -> None:
    """Every Python that is really here compiles and imports; the other tests take the controller's."""
    copy = copy_of_checkout("sanity")
    wrote = tool("ansible-test", "sanity", "--color", "no", where=copy, **ansible_test_surroundings())
    for test in ("compile", "import", "validate-modules", "pylint"):
        if f'Running sanity test "{test}"' not in wrote:
            print(wrote)
            raise Failed(f"the test {test} did not run")


def integration() -> None:
    targets = sorted(path.name for path in (ROOT / "tests/integration/targets").glob("*") if (path / "tasks").is_dir())
    if not targets:
        raise Skipped("there are no targets yet")
    if os.geteuid():
        raise Skipped("needs root")
    python = "{}.{}".format(*sys.version_info[:2])
    words = ("integration", "--color", "no", "--python", python, "--allow-destructive", "--allow-root")
    run(
        ROOT / "tools/apart",
        VENV / "ansible-test",
        *words,
        *targets,
        where=copy_of_checkout("integration"),
        **ansible_test_surroundings(),
    )


# --- documentation and archive -------------------------------------------------------------------------------


def docs() -> None:
    tool(
        "antsibull-docs",
        "lint-collection-docs",
        "--plugin-docs",
        "--validate-collection-refs=all",
        "--disallow-unknown-collection-refs",
        ".",
    )


#: What users get; nothing else at the top of the archive.
SHIPPED = {
    *("CHANGELOG.rst", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
    *("changelogs", "docs", "extensions", "inventories", "meta", "playbooks", "plugins", "roles"),
}


def build() -> None:
    """Build, install offline, and find by name in the installed copy all that the checkout has."""
    place = BUILD / "archive"
    shutil.rmtree(place, ignore_errors=True)
    tool("ansible-galaxy", "collection", "build", "--force", "--output-path", place)
    [archive] = place.glob("tenantnet-nova-*.tar.gz")
    surroundings = {"ANSIBLE_COLLECTIONS_PATH": str(place / "collections")}
    tool("ansible-galaxy", "collection", "install", "--offline", "-p", place / "collections", archive, **surroundings)
    installed = place / "collections/ansible_collections/tenantnet/nova"
    strangers = {path.name for path in installed.iterdir()} - SHIPPED
    if strangers:
        print(f"\nin the archive, but not meant for users (galaxy.yml: build_ignore): {', '.join(sorted(strangers))}")
        raise Failed("strangers in the archive")

    for kind, folder in (("module", "modules"), ("filter", "filter")):
        sidecars = (ROOT / "plugins" / folder).glob("*.yml")
        fronts = (ROOT / "plugins" / folder).glob("*.py")
        names = {path.stem for path in ([*sidecars] if kind == "filter" else fronts) if not path.name.startswith("_")}
        if names:
            tool(
                "ansible-doc", "-t", kind, *(f"tenantnet.nova.{n}" for n in sorted(names)), where=place, **surroundings
            )
    for role in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        name = f"tenantnet.nova.{role.parent.parent.name}"
        if name not in tool("ansible-doc", "-t", "role", name, where=place, **surroundings):
            raise Failed(f"{name} is not documented")
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        name = f"tenantnet.nova.{playbook.stem}"
        tool("ansible-playbook", "--syntax-check", "-i", "localhost,", name, where=place, **surroundings)


# --- both ends of what a host may have -------------------------------------------------------------------------


def find_python(version: str) -> str:
    """A Python of this version that really runs; a shim of a version manager may not."""
    for folder in [*SYSTEM_PATH.split(":"), *reversed(real_python_folders())]:
        path = f"{folder}/python{version}"
        if os.access(path, os.X_OK):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                subprocess.run([path, "-c", ""], check=True, capture_output=True)
                return path
    raise Skipped(f"there is no Python {version} on this machine")


def install(lock: str, python: str, place: pathlib.Path) -> pathlib.Path:
    """A small environment from a lock, made once."""
    stamp = place / ".stamp"
    wanted = (ROOT / lock).read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(place, ignore_errors=True)
        run(python, "-m", "venv", place)
        run(place / "bin/python", "-m", "pip", "install", "--quiet", "--requirement", ROOT / lock)
        stamp.write_text(wanted, encoding="utf-8")
    return place / "bin/python"


def is_pure(path: pathlib.Path) -> bool:
    """Whether a test file and its helpers ask for the core alone: no Ansible, driver or library of the control side."""
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:from|import) +([\w.]+)(?: +import +(\w+))?", text, re.MULTILINE)
    for module, name in imported:
        if module.startswith("ansible_collections."):
            if "_core" not in module.split(".") and name != "_core":
                return False
        elif module.split(".")[0] in ("ansible", "netaddr", "pyroute2", "sqlalchemy", "yaml"):
            return False
        helper = path.with_name(f"{module}.py")
        if helper.is_file() and not is_pure(helper):
            return False
    return True


def core_39() -> None:
    python = find_python(OLDEST_PYTHON)
    tests = sorted(path for path in (ROOT / "tests/unit/plugins").rglob("test_*.py") if is_pure(path))
    if not tests:
        raise Failed("no test of the pure core was found")
    python = install(f"requirements/core-{OLDEST_PYTHON}.lock", python, CACHE / f"python-{OLDEST_PYTHON}")
    run(python, "-m", "pytest", "-q", "-o", f"cache_dir={CACHE}/pytest-{OLDEST_PYTHON}", *tests)


def links_tests() -> list[pathlib.Path]:
    tests = sorted((ROOT / "tests/kernel").glob("test_links*.py"))
    if not tests:
        raise Skipped("there are no tests of links yet")
    if os.geteuid():
        raise Skipped("needs root")
    return tests


def pyroute2_oldest() -> None:
    tests = links_tests()
    place = CACHE / f"pyroute2-{PYROUTE2_OLDEST}"
    if not (place / "pyroute2").is_dir():
        tool(
            "python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, f"pyroute2=={PYROUTE2_OLDEST}"
        )
    # A folder in PYTHONPATH comes before the environment's own pyroute2.
    met = tool(
        "python", "-c", "from importlib.metadata import version; print(version('pyroute2'))", PYTHONPATH=str(place)
    )
    if met.strip() != PYROUTE2_OLDEST:
        raise Failed(f"pyroute2 {met.strip()} came instead of {PYROUTE2_OLDEST}")
    tool("python", "-m", "pytest", "-q", *tests, PYTHONPATH=str(place), TENANTNET_LANES_MUST_RUN="1")


def pyroute2_newest() -> None:
    tool("python", "-m", "pytest", "-q", *links_tests(), TENANTNET_LANES_MUST_RUN="1")


# --- the rest --------------------------------------------------------------------------------------------------


def molecule() -> None:
    if not (ROOT / "extensions/molecule").is_dir():
        raise Skipped("there are no scenarios yet")
    if os.geteuid():
        raise Skipped("needs root")
    # A state and a lab of its own for each run; a lab that a killed run leaves has no owner and is reaped.
    with tempfile.TemporaryDirectory(prefix="molecule-") as place:
        own = {"MOLECULE_EPHEMERAL_DIRECTORY": place, "NOVALAB_OWNER": str(os.getpid())}
        tool("molecule", "test", "--all", where=ROOT / "extensions", **own)


#: Lane -> checks, each with the name that its line shows.
LANES: dict[str, dict[str, t.Callable[[], None]]] = {
    "lint": {
        "ruff check": ruff_check,
        "ruff format": ruff_format,
        "mypy": mypy,
        "yamllint": yamllint,
        "shellcheck": shell,
        "role arguments": role_specs,
        "changelog": changelog,
        "ansible-lint": ansible_lint,
    },
    "docs": {"antsibull-docs": docs},
    "build": {"build, install, find": build},
    "sanity": {"ansible-test sanity": sanity},
    "core-3.9": {f"core under Python {OLDEST_PYTHON}": core_39},
    "pyroute2-oldest": {f"links with pyroute2 {PYROUTE2_OLDEST}": pyroute2_oldest},
    "pyroute2-ends": {
        f"links with pyroute2 {PYROUTE2_OLDEST}": pyroute2_oldest,
        "links with the newest pyroute2": pyroute2_newest,
    },
    "integration": {"ansible-test integration": integration},
    "molecule": {"molecule": molecule},
}
#: The newest pyroute2 is met by the kernel lane.
TEST = ("lint", "docs", "build", "sanity", "core-3.9", "pyroute2-oldest", "integration", "molecule", *PYTEST_LANES)


#: Lanes that act on the machine, and so run one after another; the rest only reads the checkout.
ON_THE_MACHINE = ("pyroute2-oldest", "pyroute2-ends", "integration", "molecule")


def check(lane: str, name: str, function: t.Callable[[], None]) -> str | None:
    """Run one check and say how it went; return what failed."""
    label = f"[{lane}] {name}"
    print(f"{label} ...", flush=True)
    start = time.monotonic()
    try:
        function()
    except Skipped as reason:
        print(f"{label}: SKIPPED: {reason}", flush=True)
        return None
    except Failed as error:
        print(f"{label}: FAILED ({error}), {time.monotonic() - start:.1f} s", flush=True)
        return label
    print(f"{label}: ok, {time.monotonic() - start:.1f} s", flush=True)
    return None


def check_all(lanes: t.Iterable[str]) -> list[str]:
    """All checks of these lanes, one after another; what failed."""
    done = [check(lane, name, function) for lane in lanes for name, function in LANES.get(lane, {}).items()]
    return [label for label in done if label]


def pytest_run(lanes: list[str], failed: list[str]) -> int:
    folders = [f"tests/{lane}" for lane in PYTEST_LANES if lane in lanes]
    folders = [folder for folder in folders if any((ROOT / folder).rglob("test_*.py"))]
    if not folders:
        print("[pytest] there are no tests yet")
        return 0
    if failed:
        print(f"\nFAILED before pytest: {', '.join(failed)}\n")
    print(f"[pytest] {' '.join(folders)}", flush=True)
    words = ["-v"] if VERBOSE else []
    if len(folders) > 1:
        # The tests of a file may build upon each other: they stay together, in their order. Three at once on two
        # processors, since those of the lab wait as long as they work.
        words += ["--numprocesses=3", "--dist=loadfile", "--max-worker-restart=0"]
    return subprocess.run(
        [VENV / "python", "-m", "pytest", "--durations=20", "--durations-min=2", *words, *folders],
        cwd=ROOT,
        env={**environment(), "TENANTNET_LANES_MUST_RUN": "1"},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Run test lanes.")
    parser.add_argument("lanes", nargs="+", choices=[*LANES, *PYTEST_LANES, "test"], metavar="lane")
    asked: list[str] = []
    for lane in parser.parse_args().lanes:
        asked += TEST if lane == "test" else [lane]
    lanes = list(dict.fromkeys(asked))
    tracks = [[lane for lane in lanes if (lane in ON_THE_MACHINE) == acts] for acts in (False, True)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        failures = [label for failed in pool.map(check_all, tracks) for label in failed]
    result = 0
    if any(lane in PYTEST_LANES for lane in asked):
        result = pytest_run(asked, failures)
    elif failures:
        print(f"\nFAILED: {', '.join(failures)}")
    return result or bool(failures)


if __name__ == "__main__":
    sys.exit(main())
