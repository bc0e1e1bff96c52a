"""A PostgreSQL server of the tests' own: a new cluster in a temporary folder, reached by a Unix socket alone."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t

#: The role that must say its password.
GUARDED, SECRET = "guarded", "hush-hush"

#: What was committed outlives a crash of the server, but not one of the machine.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
}
_PR_SET_PDEATHSIG = 1


def binaries() -> pathlib.Path | None:
    """The folder of the newest server that is installed: Debian keeps it out of the path."""
    kept = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in [*reversed(kept), *map(pathlib.Path, os.get_exec_path())]:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres", "psql")):
            return folder
    return None


def _owner() -> pwd.struct_passwd | None:
    """The server refuses to be run by root."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _die_with_parent() -> None:
    # However the tests end, no server is left.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _memory() -> str | None:
    """A folder in memory, where there is one: a cluster writes much, and nothing of it is for keeping."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


class Server:
    def __init__(self, programs: pathlib.Path) -> None:
        self._programs = programs
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="nova-postgresql-", dir=_memory()))
        self._process: subprocess.Popen | None = None
        self._numbers = itertools.count(1)
        owner = _owner()
        self._as: dict[str, t.Any] = {"cwd": self._folder, "stdin": subprocess.DEVNULL}
        if owner is not None:
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as.update(user=owner.pw_uid, group=owner.pw_gid, extra_groups=[])
        self._data = self._folder / "data"

    def make(self) -> None:
        words = ["--username=nova", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", "--pgdata", self._data, *words)
        hba = self._data / "pg_hba.conf"
        hba.write_text(f"local all {GUARDED} scram-sha-256\n{hba.read_text()}")
        self.start()
        self.sql(f"CREATE ROLE {GUARDED} LOGIN SUPERUSER PASSWORD '{SECRET}'")

    def _run(self, program: str, *words: object) -> str:
        done = subprocess.run(
            [str(self._programs / program), *map(str, words)], capture_output=True, text=True, check=False, **self._as
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self._folder), *settings],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                **self._as,
            )
        deadline = time.monotonic() + 30
        while self._try("SELECT 1").returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, as in a crash: sessions are cut off, and what was not committed is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def end(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _try(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess:
        words = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self._folder), "-U", "nova"]
        return subprocess.run(
            [str(self._programs / "psql"), *words, "-d", database, "-c", statement],
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )

    def sql(self, statement: str, database: str = "postgres") -> str:
        done = self._try(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def new_url(self, user: str = "nova") -> str:
        """The URL of a new, empty database."""
        name = f"nova{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://{user}@/{name}?host={self._folder}"

    def drop(self, url: str) -> None:
        name = url.partition("@/")[2].partition("?")[0]
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")
