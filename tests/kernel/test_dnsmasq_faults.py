"""dnsmasq where something goes wrong: a network that cannot start, a run killed anywhere, two runs at once."""

from __future__ import annotations

import contextlib
import fcntl
import os

import a_dnsmasq_host
import pytest
from a_dnsmasq_host import MAC_A, MAC_B, ip, network, reservation
from a_kill import killed_at
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import dnsmasq as driver
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import service


@pytest.fixture
def host(netns):
    with a_dnsmasq_host.made() as host:
        yield host


def test_one_network_that_cannot_start_does_not_stop_the_others(host):
    host.bridge()
    host.bridge("br103", "10.0.3.1/24")
    wanted = [
        network(),
        network("br101", "10.0.1", hosts=[]),
        network("br103", "10.0.3", listen_address="10.0.3.2", hosts=[]),
    ]
    result, failed = driver.run({"instances": wanted}, paths=host.paths)
    assert "br101: dnsmasq: failed to create listening socket for 10.0.1.1: Cannot assign requested address" in failed
    assert "br103: dnsmasq: failed to create listening socket for 10.0.3.2: Cannot assign requested address" in failed
    assert "br100" not in failed and result["changed"]
    assert result["instances"] == {"br100": "started", "br101": "failed", "br103": "failed"}
    assert host.client(MAC_A).address() == "10.0.0.3"
    host.bridge("br101", "10.0.1.1/24")
    ip("address", "add", "10.0.3.2/24", "dev", "br103")
    pid = host.pid()
    assert host.run(*wanted)["instances"] == {"br100": "unchanged", "br101": "started", "br103": "started"}
    assert host.pid() == pid


def test_two_networks_change_places(host, monkeypatch):
    monkeypatch.setattr(service.Direct, "at_once", 1)
    host.bridge()
    host.bridge("br101", "10.0.1.1/24")
    host.run(network(), network("br101", "10.0.1", hosts=[]))
    for name, old, new in (("br100", "10.0.0.1/24", "10.0.1.1/24"), ("br101", "10.0.1.1/24", "10.0.0.1/24")):
        ip("address", "del", old, "dev", name)
        ip("address", "add", new, "dev", name)
    host.run(network("br100", "10.0.1", hosts=[]), network("br101", "10.0.0", hosts=[]))
    assert host.pid("br100") and host.pid("br101")


# --- killed anywhere, run again --------------------------------------------------------------------------------------


CHANGES = {
    "reload": lambda: [network(hosts=[reservation(MAC_B, "10.0.0.3")])],
    "restart": lambda: [
        network(
            domain="other", hosts=[reservation(MAC_B, "10.0.0.3")], names=[{"address": "10.0.0.9", "hostname": "x"}]
        )
    ],
    "purge": list,
    "another": lambda: [network("br101", "10.0.1", hosts=[reservation(MAC_B, "10.0.1.3")])],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_killed_after_any_step(host, kind):
    host.bridge()
    host.bridge("br101", "10.0.1.1/24")
    start, goal = [network()], CHANGES[kind]()
    host.run(*start)
    client = host.client(MAC_A)
    host.run(*goal)
    expected = host.picture()
    for k in range(1, 100):
        host.run()
        host.run(*start)
        assert client.address() == "10.0.0.3"
        if not killed_at(k, lambda step: driver.run({"instances": list(goal)}, paths=host.paths, step=step)):
            break
        host.run(*goal)
        assert host.picture() == expected, f"killed at step {k}"
        assert not host.run(*goal)["changed"]
        assert_process_has_loaded(host, goal)
    assert k > 3


def assert_process_has_loaded(host, goal):
    """The new owner gets the address: what the process has in its memory is what the files say."""
    for each in goal:
        lease = host.client(each["hosts"][0]["mac"], each["interface"]).dhcp()
        assert lease is not None and lease["ip"] == each["hosts"][0]["address"] and lease["domain"] == each["domain"]


def test_a_half_written_mark_asks_for_a_restart(host):
    host.bridge()
    host.run(network())
    pid = host.pid()
    with open(host.paths.pending("br100"), "w", encoding="ascii"):
        pass
    assert host.run(network())["instances"] == {"br100": "restarted"}
    assert host.pid() != pid


def test_what_a_killed_writer_left_goes(host):
    host.bridge()
    host.run(network())
    left = [f"{folder}/.new-abc" for folder in (host.paths.folder("br100"), host.paths.run, host.paths.state)]
    for path in left:
        with open(path, "w", encoding="ascii") as handle:
            handle.write("half")
    host.run(network(domain="other"))
    assert not any(os.path.exists(path) for path in left)


# --- two runs at once ------------------------------------------------------------------------------------------------


def test_second_run_waits_and_says_so(host):
    host.bridge()
    host.run(network())
    with open(host.paths.lock, "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(HostError, match="another run is at work"):
            host.run(network(domain="other"), lock_wait=0.2)
        # Looking needs no lock.
        assert host.run(network(domain="other"), check_mode=True)["changed"]
    host.run(network(domain="other"))


def test_two_runs_at_once(host):
    for n in range(4):
        host.bridge(f"br{n}", f"10.0.{n}.1/24")
    networks = [network(f"br{n}", f"10.0.{n}", hosts=[]) for n in range(4)]
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            status = 1
            with contextlib.suppress(BaseException):
                host.run(*networks)
                status = 0
            os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert not host.run(*networks)["changed"]
    assert all(host.pid(f"br{n}") for n in range(4))
