"""Drivers against this machine's kernel, each test in a network namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# The helpers beside the tests are imported by their plain names.
sys.path.insert(0, os.path.dirname(__file__))

import a_namespace
import a_router
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import brouting, origin, packet_filter


@pytest.fixture
def netns(tmp_path, monkeypatch):
    """Move this process into a fresh network namespace for the length of the test."""
    if os.geteuid():
        pytest.skip("needs root to make a network namespace")
    # What links notes of a host before its first change is not to be this machine's.
    monkeypatch.setattr(origin, "FILE", str(tmp_path / "origin.json"))
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    a_namespace.leave_for_a_fresh_one()
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        a_namespace.enter(home)
        os.close(home)


@pytest.fixture
def filter_host(netns, tmp_path, monkeypatch):
    """A host of its own for a packet filter; the folder in which programs are found first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    monkeypatch.setattr(packet_filter, "LOCK_FILE", str(tmp_path / "run" / "packet_filter.lock"))
    monkeypatch.setattr(brouting, "LOCK_FILE", str(tmp_path / "run" / "brouting.lock"))
    return tmp_path


@pytest.fixture(params=["nft", "legacy"])
def variant(request, filter_host):
    if request.param == "nftables":
        return a_router.Nftables(filter_host)
    made = a_router.Variant(request.param, filter_host)
    try:
        made.load("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel has no iptables-{request.param}: {error.stderr}")
    return made
