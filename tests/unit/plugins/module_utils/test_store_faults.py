"""What goes wrong in practice: a clear error, nothing half-written, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing as t

import a_record
import a_server
import pytest
from a_site import allocate, instance, site
from a_store import content, dump, file_of, is_sqlite, keep, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils._core import state
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import engines, store, upkeep

ONE = site(instances=[instance("a")])
TWO = site(instances=[instance("a"), instance("b")])
MANY = site(instances=[instance(f"i{number}") for number in range(240)])


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A file system of its own, of one megabyte."""
    if os.geteuid():
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk(disk: pathlib.Path) -> None:
    url = f"sqlite:///{disk}/nova.sqlite"
    put(url, ONE)
    before = dump(url)
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as handle:
        while True:
            handle.write(bytes(4096))
    with pytest.raises(StoreError, match=r"nova.sqlite cannot be used: .*(full|I/O).*; it is as it was before"):
        put(url, MANY)
    assert dump(url) == before
    with pytest.raises(StoreError, match="the backup .* cannot be written"):
        upkeep.backup(url, str(disk / "backup"), False)
    assert sorted(os.listdir(disk)) == ["filler", "nova.sqlite"]
    filler.unlink()
    put(url, MANY)
    assert upkeep.fsck(url) == []
    assert len(content(url).instances) == 240


def test_a_read_only_disk(disk: pathlib.Path) -> None:
    url = f"sqlite:///{disk}/nova.sqlite"
    put(url, ONE)
    before = dump(url)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StoreError, match="readonly.*as it was"):
        put(url, TWO)
    assert put(url, TWO, check_mode=True).changes
    assert upkeep.fsck(url) == [] and "acme" in upkeep.export(url)
    with pytest.raises(StoreError, match="Read-only"):
        put(f"sqlite:///{disk}/other/nova.sqlite", ONE)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert dump(url) == before
    assert put(url, TWO).changes


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_held_for_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url, ONE)
    monkeypatch.setattr(engines, "LOCK_TIMEOUT", 0.2)
    refused: list[StoreError] = []

    def slow(before: state.State) -> state.State:
        # The outer run holds the store while it decides; another one wants it.
        with pytest.raises(StoreError, match="locked.*it is as it was") as caught:
            put(url, TWO)
        refused.append(caught.value)
        assert content(url) == before
        return before

    store.reconcile(url, slow, False)
    assert len(refused) == 1
    assert put(url, TWO).changes


def test_making_one_schema_at_once(postgresql_url: str) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            put(postgresql_url, ONE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({event.change for event in upkeep.read(postgresql_url).events}) == 1


# --- a server that goes away -----------------------------------------------------------------------------------------


def deciding(declared: dict, *interruptions: t.Callable[[], object]) -> tuple[list[state.State], store.Decide]:
    """A decision that is interrupted; and the states that it was asked about."""
    asked: list[state.State] = []

    def decide(before: state.State) -> state.State:
        asked.append(before)
        if len(asked) <= len(interruptions):
            interruptions[len(asked) - 1]()
        return allocate(declared, before)

    return asked, decide


def restart(server: a_server.Server) -> None:
    server.stop()
    server.start()


def test_a_server_that_is_restarted_in_the_middle(server: a_server.Server, postgresql_url: str) -> None:
    put(postgresql_url, ONE)
    asked, decide = deciding(TWO, lambda: restart(server), lambda: restart(server))
    outcome = store.reconcile(postgresql_url, decide, False)
    assert len(asked) == 3 and outcome.changes
    assert content(postgresql_url) == outcome.after
    assert upkeep.fsck(postgresql_url) == []


def test_a_server_that_comes_back_later(
    server: a_server.Server, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(postgresql_url, ONE)
    pauses: list[int] = []

    def pause(_self: object, attempt: int, _jitter: float) -> None:
        pauses.append(attempt)
        if attempt == 4:
            server.start()

    monkeypatch.setattr(engines.PostgreSQL, "pause", pause)
    asked, decide = deciding(TWO, server.stop)
    outcome = store.reconcile(postgresql_url, decide, False)
    assert pauses == [1, 2, 3, 4] and len(asked) == 2
    assert content(postgresql_url) == outcome.after


def test_a_server_that_stays_away(
    server: a_server.Server, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(postgresql_url, ONE)
    before = dump(postgresql_url)
    monkeypatch.setattr(engines.PostgreSQL, "attempts", 3)
    _asked, decide = deciding(TWO, server.stop)
    try:
        with pytest.raises(StoreError, match="cannot be used: .*; tried 3 times; it is as it was before this run"):
            store.reconcile(postgresql_url, decide, False)
        started = time.monotonic()
        with pytest.raises(StoreError, match="cannot be used: ") as caught:
            put(postgresql_url, TWO)
        assert time.monotonic() - started < 2 and "tried" not in str(caught.value)
    finally:
        server.start()
    assert dump(postgresql_url) == before
    assert put(postgresql_url, TWO).changes


def test_a_session_that_is_ended(postgresql_url: str) -> None:
    put(postgresql_url, ONE)
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    asked, decide = deciding(TWO, lambda: sql(postgresql_url, f"{end} pg_backend_pid()"))
    assert store.reconcile(postgresql_url, decide, False).changes
    assert len(asked) == 2


def test_a_conflict_is_decided_again(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run, which our lock does not keep out, allocates while we decide."""
    put(postgresql_url, site())
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    other = site(instances=[instance("x")])
    both = site(instances=[instance("x"), instance("y")])
    asked, decide = deciding(both, lambda: put(postgresql_url, other))
    outcome = store.reconcile(postgresql_url, decide, False)
    assert [list(before.instances) for before in asked] == [[], ["x"]]
    assert content(postgresql_url) == outcome.after
    assert upkeep.fsck(postgresql_url) == []


def test_a_decision_on_what_has_changed_is_taken_again(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row and no constraint is common to the two: isolation alone sees that one decided on what the other made."""
    put(postgresql_url, site())
    monkeypatch.setattr(engines.PostgreSQL, "locking", False)
    taken = site(instances=[instance("x", address="10.0.0.9")])
    moved = site(networks=[{"label": "blue", "fixed_range": "10.0.0.0/24", "gateway": "10.0.0.9"}])
    asked, decide = deciding(moved, lambda: put(postgresql_url, taken))
    outcome = store.reconcile(postgresql_url, decide, False)
    assert len(asked) == 2
    assert content(postgresql_url) == outcome.after
    assert upkeep.fsck(postgresql_url) == []


class Wire:
    """Stands between us and the server, and cuts the line once: when COMMIT is asked for, or when it is answered."""

    ASKED, ANSWERED = b"COMMIT", b"C\x00\x00\x00\x0bCOMMIT\x00"

    def __init__(self, folder: pathlib.Path, url: str, cut: bytes) -> None:
        self.url = url.partition("?")[0] + f"?host={folder}"
        self._server = f"{url.partition('?host=')[2]}/.s.PGSQL.5432"
        self._cut = cut
        self._written = False
        self.done = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                for source, target, asking in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(source, target, asking), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                self._written = self._written or (asking and b"INSERT INTO history" in data)
                wanted = self._cut if asking == (self._cut == self.ASKED) else None
                if self._written and not self.done and wanted and wanted in data:
                    self.done = True
                    data = b""
                if not data:
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize(("cut", "times"), [(Wire.ASKED, 2), (Wire.ANSWERED, 1)], ids=["asked", "answered"])
def test_a_connection_lost_in_commit(postgresql_url: str, tmp_path: pathlib.Path, cut: bytes, times: int) -> None:
    """Whether it was done is read from the history: done once, told as what it was, never done twice."""
    put(postgresql_url, ONE)
    wire = Wire(tmp_path, postgresql_url, cut)
    try:
        asked, decide = deciding(TWO)
        outcome = store.reconcile(wire.url, decide, False)
    finally:
        wire.close()
    assert wire.done
    assert len(asked) == times
    assert "add instance b of project acme on host compute1" in outcome.actions
    assert content(postgresql_url) == outcome.after
    events = upkeep.read(postgresql_url).events
    assert len([event for event in events if (event.kind, event.key) == ("instances", "b")]) == 1
    assert upkeep.fsck(postgresql_url) == []


@pytest.mark.parametrize(("cut", "times"), [(Wire.ASKED, 2), (Wire.ANSWERED, 1)], ids=["asked", "answered"])
def test_an_operation_whose_commit_is_lost(postgresql_url: str, tmp_path: pathlib.Path, cut: bytes, times: int) -> None:
    keep(postgresql_url, a_record.site())
    asked = []

    def work(ledger: Ledger) -> int:
        floating = ledger.unallocated("nova")
        ledger.put(floating._replace(project="acme", allocated_by="command"))
        asked.append(floating.address)
        return len(asked)

    wire = Wire(tmp_path, postgresql_url, cut)
    try:
        done = store.operate(wire.url, work, False)
    finally:
        wire.close()
    assert wire.done
    assert asked == ["192.0.2.8"] * times
    assert done.result == times
    [action] = done.actions
    assert "192.0.2.8" in action and "project=acme" in action
    assert {row.address for row in content(postgresql_url).floating_ips.values() if row.project} == {"192.0.2.8"}
    assert len([event for event in upkeep.read(postgresql_url).events if event.kind == "floating_ips"]) == 5


def test_an_operation_on_a_server_that_is_restarted(server: a_server.Server, postgresql_url: str) -> None:
    keep(postgresql_url, a_record.site())
    asked = []

    def work(ledger: Ledger) -> int:
        asked.append(ledger.unallocated("nova").address)
        if len(asked) == 1:
            restart(server)
        ledger.put(state.Project("new"))
        return len(asked)

    assert store.operate(postgresql_url, work, False).result == 2
    assert "new" in content(postgresql_url).projects


def test_an_import_whose_commit_is_lost(postgresql_url: str, sqlite_url: str, tmp_path: pathlib.Path) -> None:
    put(sqlite_url, TWO)
    document = upkeep.parse(upkeep.export(sqlite_url, with_history=True), "x")
    wire = Wire(tmp_path, postgresql_url, Wire.ANSWERED)
    try:
        assert upkeep.load(wire.url, document, False, False, store.author()).changes
    finally:
        wire.close()
    assert wire.done
    assert upkeep.read(postgresql_url) == upkeep.read(sqlite_url)


# --- the URL ---------------------------------------------------------------------------------------------------------


def test_a_password_is_used_and_never_shown(server: a_server.Server, postgresql_url: str) -> None:
    right = postgresql_url.replace("nova@", f"{a_server.GUARDED}:{a_server.SECRET}@")
    put(right, ONE)
    assert content(right) == content(postgresql_url)
    wrong = postgresql_url.replace("nova@", f"{a_server.GUARDED}:not-{a_server.SECRET}@")
    with pytest.raises(
        StoreError, match=r"guarded:\*\*\*@.* cannot be used: .*password authentication failed"
    ) as caught:
        put(wrong, TWO)
    assert a_server.SECRET not in str(caught.value)
    for odd in ("postgresql://u:{}@h:x/db", "postgres://u:{}@h/db", "postgresql://u:{}@h", "mysql://u:p@{}@h/db"):
        with pytest.raises(StoreError) as caught:
            put(odd.format(a_server.SECRET), ONE)
        assert a_server.SECRET not in str(caught.value)


def test_a_server_that_is_not_there() -> None:
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"the store postgresql://u:\*\*\*@127.0.0.1:1/nova cannot be used: .*refused"):
        put("postgresql://u:secret@127.0.0.1:1/nova", ONE)
    assert time.monotonic() - started < 5


def test_a_user_who_may_not(server: a_server.Server, postgresql_url: str) -> None:
    server.sql("DROP ROLE IF EXISTS weak")
    server.sql("CREATE ROLE weak LOGIN")
    with pytest.raises(StoreError, match="permission denied for schema public"):
        put(postgresql_url.replace("nova@", "weak@"), ONE)
    put(postgresql_url, ONE)
    with pytest.raises(StoreError, match="permission denied for table"):
        put(postgresql_url.replace("nova@", "weak@"), TWO)


# --- libraries -------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
from a_site import instance, multi_host
from a_store import put
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import upkeep
put(sys.argv[1], multi_host(instances=[instance(name) for name in "abc"]))
put(sys.argv[1], multi_host(instances=[instance(name, "compute2") for name in "bcd"]), now=2000.0)
assert upkeep.fsck(sys.argv[1]) == []
print(upkeep.export(sys.argv[1]) + " ".join(sorted(sys.modules)))
"""


def run_script(python: str, url: str) -> tuple[str, set[str]]:
    here = pathlib.Path(__file__).parent
    tree = here.parents[3] / ".ansible/collections"
    done = subprocess.run(
        [python, "-c", SCRIPT, url, str(here), str(tree)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text, _newline, modules = done.stdout.strip().rpartition("\n")
    return text, set(modules.split())


def test_the_distributions_libraries(url: str, tmp_path: pathlib.Path) -> None:
    """Debian 12 has SQLAlchemy 1.4, which knows psycopg2 alone."""
    python = "/usr/bin/python3"
    probe = "import sqlalchemy, psycopg2; print(sqlalchemy.__version__)"
    if (
        shutil.which(python) is None
        or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode
    ):
        pytest.skip("the distribution's Python lacks SQLAlchemy or psycopg2 (python3-sqlalchemy, python3-psycopg2)")
    text, modules = run_script(python, url)
    ours, _modules = run_script(sys.executable, f"sqlite:///{tmp_path}/ours.sqlite")
    assert text == ours
    assert upkeep.fsck(url) == []
    assert ("psycopg2" in modules) != is_sqlite(url)


def test_nothing_is_imported_in_vain(url: str) -> None:
    _text, modules = run_script(sys.executable, url)
    assert ("psycopg" in modules) != is_sqlite(url)
    assert not modules & {"yaml", "ansible", "alembic"}
    assert not is_sqlite(url) or file_of(url).exists()
