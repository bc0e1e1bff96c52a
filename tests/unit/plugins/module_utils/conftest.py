from __future__ import annotations

import os
import pathlib
import sys
import typing as t

import pytest

# The helpers beside the tests are imported by their plain names.
sys.path.insert(0, os.path.dirname(__file__))

import a_server


@pytest.fixture(scope="session")
def server() -> t.Iterator[a_server.Server]:
    programs = a_server.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (package postgresql)")
    made = a_server.Server(programs)
    try:
        made.make()
        yield made
    finally:
        made.end()


@pytest.fixture
def sqlite_url(tmp_path: pathlib.Path) -> str:
    return f"sqlite:///{tmp_path}/deep/er/nova.sqlite"


@pytest.fixture
def postgresql_url(server: a_server.Server) -> t.Iterator[str]:
    url = server.new_url()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An absent store, on either engine."""
    return request.getfixturevalue(f"{request.param}_url")
