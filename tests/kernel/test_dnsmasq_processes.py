"""dnsmasq for real: what clients of a host get, and what a run does to the processes and files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))

import a_dnsmasq_host
import pytest
from a_dnsmasq_host import MAC_A, MAC_B, MAC_C, file_times, ip, kill_and_wait, network, proc_lives, reservation
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import programs
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import applying, service


@pytest.fixture
def host(netns):
    with a_dnsmasq_host.made() as host:
        yield host


# --- what a client gets ----------------------------------------------------------------------------------------------


def test_client_gets_its_reservation_and_a_stranger_gets_nothing(host):
    host.bridge()
    result = host.run(network())
    assert result["changed"] and result["actions"] == ["start dnsmasq for br100"]
    assert result["instances"] == {"br100": "started"}
    lease = host.client(MAC_A).dhcp()
    assert lease["ip"] == "10.0.0.3" and lease["subnet"] == "255.255.255.0"
    assert lease["router"] == "10.0.0.1" and lease["mtu"] == "1450"
    assert lease["dns"] == "10.0.0.1" and lease["domain"] == "novalocal" and lease["hostname"] == "web1"
    assert lease["lease"] == "3600" and lease["serverid"] == "10.0.0.1"
    assert host.client(MAC_B).dhcp(tries=2) is None
    assert host.leases() == [(MAC_A, "10.0.0.3")]


def test_names_are_answered_and_a_bare_option_suppresses_the_router(host):
    host.bridge()
    host.run(network(options=[{"option": 3, "value": ""}], names=[{"address": "10.0.0.9", "hostname": "web9"}]))
    client = host.client(MAC_A)
    lease = client.dhcp()
    assert lease["ip"] == "10.0.0.3" and "router" not in lease
    client.inside("ip", "address", "add", "10.0.0.3/24", "dev", "eth0")
    answer = client.inside("busybox", "nslookup", "web9.novalocal", "10.0.0.1").stdout
    assert "10.0.0.9" in answer


def test_no_domain(host):
    host.bridge()
    host.run(network(domain=""))
    lease = host.client(MAC_A).dhcp()
    assert lease["hostname"] == "web1" and lease["ip"] == "10.0.0.3"


def noted_calls(monkeypatch):
    """The programs that are called from now on."""
    calls, run = [], programs.run
    monkeypatch.setattr(programs, "run", lambda arguments: calls.append(arguments) or run(arguments))
    return calls


def test_networks_each_hear_unicast(host, monkeypatch):
    """A release is unicast: with sockets that are not bound to the interface it reaches any process."""
    subnets = {f"br{n}": f"10.0.{n}" for n in range(4)}
    for name, subnet in subnets.items():
        host.bridge(name, f"{subnet}.1/24")
    wanted = [network(name, subnet, hosts=[reservation(address=f"{subnet}.3")]) for name, subnet in subnets.items()]
    host.run(*wanted)
    for name, subnet in subnets.items():
        assert host.client(MAC_A, name).address() == f"{subnet}.3"
    calls = noted_calls(monkeypatch)
    result = host.run(*[{**each, "hosts": []} for each in wanted])
    assert set(result["instances"].values()) == {"reloaded"}
    assert [call[1] for call in calls] == list(subnets), "a release had to be repeated"
    assert [host.leases(name) for name in subnets] == [[]] * 4


# --- reload and restart ----------------------------------------------------------------------------------------------


def test_new_reservation_is_a_reload(host):
    host.bridge()
    host.run(network())
    pid = host.pid()
    first, second = host.client(MAC_A), host.client(MAC_B)
    assert first.address() == "10.0.0.3"
    result = host.run(network(hosts=[reservation(), reservation(MAC_B, "10.0.0.4", "web2")]))
    assert result["actions"] == ["reload br100: +1 reservation"] and result["instances"] == {"br100": "reloaded"}
    assert host.pid() == pid
    assert second.address() == "10.0.0.4"
    assert sorted(host.leases()) == [(MAC_A, "10.0.0.3"), (MAC_B, "10.0.0.4")]


def test_changed_configuration_is_a_restart_that_keeps_leases(host, monkeypatch):
    # The first start has to do: the old process is gone, and so are its sockets.
    monkeypatch.setattr(applying, "RETRY_AFTER", None)
    host.bridge()
    host.run(network())
    pid = host.pid()
    client = host.client(MAC_A)
    assert client.address() == "10.0.0.3"
    result = host.run(network(domain="cloud.example.org"))
    assert result["actions"] == ["restart br100: its configuration changes"]
    assert host.pid() not in (pid, None) and not proc_lives(pid)
    assert host.leases() == [(MAC_A, "10.0.0.3")]
    assert client.dhcp()["domain"] == "cloud.example.org"


def test_operator_file_counts_by_its_content(host):
    host.bridge()
    wanted = network(config_file=host.extra("dhcp-option=tag:blue,42,10.0.0.7\n"))
    host.run(wanted)
    pid = host.pid()
    assert not host.run(wanted)["changed"]
    assert host.client(MAC_A).dhcp()["ntpsrv"] == "10.0.0.7"
    host.extra("dhcp-option=tag:blue,42,10.0.0.8\n")
    assert host.run(wanted)["instances"] == {"br100": "restarted"}
    assert host.pid() != pid
    assert host.client(MAC_A).dhcp()["ntpsrv"] == "10.0.0.8"


@pytest.mark.parametrize("change", [{"domain": "other"}, {}], ids=["running", "new"])
def test_broken_operator_file_changes_nothing(host, change):
    host.bridge()
    host.bridge("br101", "10.0.1.1/24")
    if change:
        host.run(network())
    before = host.picture() if change else None
    pid = host.pid()
    bad = host.extra("strict-order\nno-such-thing=1\n")
    for check in (True, False):
        with pytest.raises(InputError, match="br100: .*bad option at line 2 of .*extra.conf"):
            host.run(network(config_file=bad, **change), network("br101", "10.0.1", hosts=[]), check_mode=check)
    if change:
        assert host.picture() == before and host.pid() == pid
    else:
        assert not os.path.exists(host.paths.conf)


def test_missing_operator_file(host):
    host.bridge()
    wanted = network(config_file="/no/such/file")
    with pytest.raises(InputError, match="config_file /no/such/file is not there"):
        host.run(wanted)
    assert host.run(wanted, check_mode=True)["warnings"]


def test_bad_option_is_found_before_it_is_written(host):
    host.bridge()
    host.run(network())
    before = host.picture()
    with pytest.raises(InputError, match="br100: dnsmasq: bad IPv4 address"):
        host.run(network(options=[{"option": 42, "value": "10.0.0.300.1"}]))
    assert host.picture() == before


# --- doing nothing ---------------------------------------------------------------------------------------------------


def test_no_change_touches_nothing(host, monkeypatch):
    host.bridge()
    log = f"{host.root}/log"
    extra = host.extra(f"log-facility={log}\nlog-dhcp\n")
    wanted = network(config_file=extra, names=[{"address": "10.0.0.9", "hostname": "x"}])
    host.run(wanted)
    assert host.client(MAC_A).address() == "10.0.0.3"
    before, pid, times = host.picture(), host.pid(), file_times(host)
    with open(log, encoding="utf-8") as handle:
        logged = handle.read()

    def forbidden(*arguments, **named):
        raise AssertionError(f"called with {arguments}")

    for name in ("run", "Popen"):
        monkeypatch.setattr(subprocess, name, forbidden)
    monkeypatch.setattr(os, "kill", forbidden)
    for check in (False, True):
        result = host.run(wanted, check_mode=check)
        assert result == {
            "changed": False,
            "actions": [],
            "instances": {"br100": "unchanged"},
            "diff": [],
            "warnings": [],
        }
    monkeypatch.undo()
    assert host.picture() == before and host.pid() == pid and file_times(host) == times
    with open(log, encoding="utf-8") as handle:
        assert handle.read() == logged


def test_check_mode_predicts_and_writes_nothing(host):
    host.bridge()
    host.bridge("br101", "10.0.1.1/24")
    ladder = (
        [network()],
        [network(hosts=[reservation(MAC_B)])],
        [network(domain="other"), network("br101", "10.0.1", hosts=[])],
        [],
    )
    for step in ladder:
        before = sorted(file_times(host).items())
        predicted = host.run(*step, check_mode=True)
        assert sorted(file_times(host).items()) == before
        assert host.run(*step) == predicted
        assert not host.run(*step, check_mode=True)["changed"]


# --- leases that stand in the way ------------------------------------------------------------------------------------


def test_address_goes_to_another_mac_at_once(host):
    host.bridge()
    host.run(network())
    old, new = host.client(MAC_A), host.client(MAC_B)
    assert old.address() == "10.0.0.3"
    result = host.run(network(hosts=[reservation(MAC_B, "10.0.0.3")]))
    assert result["actions"] == [
        "reload br100: +1 reservation, -1 reservation",
        f"release 10.0.0.3 of {MAC_A} on br100",
    ]
    assert host.leases() == []
    assert new.address() == "10.0.0.3"
    assert old.dhcp(tries=2) is None


def test_address_moves_with_a_restart(host):
    host.bridge()
    host.run(network())
    assert host.client(MAC_A).address() == "10.0.0.3"
    host.run(network(hosts=[reservation(MAC_B, "10.0.0.3")], domain="other"))
    assert host.leases() == []
    assert host.client(MAC_B).address() == "10.0.0.3"


def test_same_mac_moves_to_another_address(host):
    host.bridge()
    host.run(network())
    client = host.client(MAC_A)
    assert client.address() == "10.0.0.3"
    host.run(network(hosts=[reservation(address="10.0.0.7")]))
    assert client.address() == "10.0.0.7"


def test_one_process_a_stale_lease_only(host, monkeypatch):
    host.bridge()
    hosts = [reservation(mac, f"10.0.0.{n}") for n, mac in enumerate((MAC_A, MAC_B, MAC_C), 3)]
    host.run(network(hosts=hosts))
    for mac in (MAC_A, MAC_B, MAC_C):
        assert host.client(mac).address()
    calls = noted_calls(monkeypatch)
    host.run(network(hosts=hosts[:1]))
    assert [call[1:4] for call in calls] == [("br100", "10.0.0.4", MAC_B), ("br100", "10.0.0.5", MAC_C)]
    assert host.leases() == [(MAC_A, "10.0.0.3")]


def test_missing_dhcp_release_is_said_before_anything_is_written(host, monkeypatch):
    host.bridge()
    host.run(network())
    assert host.client(MAC_A).address()
    before = host.picture()
    real = programs.find
    monkeypatch.setattr(programs, "find", lambda name: None if name == "dhcp_release" else real(name))
    with pytest.raises(HostError, match="dhcp_release is not installed.*dnsmasq-utils"):
        host.run(network(hosts=[]))
    assert host.picture() == before
    assert host.run(network(hosts=[]), check_mode=True)["warnings"]
    host.run(network(domain="other"))


# --- repair ----------------------------------------------------------------------------------------------------------


def test_dead_process_is_started(host):
    host.bridge()
    host.run(network())
    assert host.client(MAC_A).address()
    kill_and_wait(host.pid())
    result = host.run(network())
    assert result["actions"] == ["start dnsmasq for br100: its process has ended"]
    assert host.pid() and host.leases() == [(MAC_A, "10.0.0.3")]
    assert not host.run(network())["changed"]


def test_foreign_process_in_the_pid_file_is_left_alone(host):
    host.bridge()
    host.run(network())
    own = host.pid()
    other = subprocess.Popen(["sleep", "600"])
    try:
        kill_and_wait(own)
        with open(host.paths.pid("br100"), "w", encoding="ascii") as handle:
            handle.write(f"{other.pid}\n")
        host.run()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_files_changed_by_hand_are_put_back(host):
    host.bridge()
    host.run(network())
    with open(host.paths.file("br100", "hosts"), "a", encoding="ascii") as handle:
        handle.write("junk\n")
    assert host.run(network())["actions"] == ["reload br100: -1 reservation"]
    os.chmod(host.paths.file("br100", "hosts"), 0o600)
    assert host.run(network())["actions"] == ["reload br100: its files become readable"]
    assert not host.run(network())["changed"]


def test_bridge_made_anew_is_heard_again(host):
    """dnsmasq sees to that by itself: nothing of ours has to notice."""
    host.bridge()
    host.run(network())
    ip("link", "delete", "br100")
    host.bridge()
    assert host.client(MAC_A).address() == "10.0.0.3"
    assert not host.run(network())["changed"]


def test_files_can_be_read_without_privileges(host):
    host.bridge()
    old = os.umask(0o077)
    try:
        host.run(network())
        host.run(network(hosts=[reservation(), reservation(MAC_B, "10.0.0.4")]))
    finally:
        os.umask(old)
    assert host.client(MAC_B).address() == "10.0.0.4"


# --- purge -----------------------------------------------------------------------------------------------------------


def test_what_is_not_planned_goes(host):
    for n in range(3):
        host.bridge(f"br{n}", f"10.0.{n}.1/24")
    networks = [network(f"br{n}", f"10.0.{n}", hosts=[reservation(address=f"10.0.{n}.3")]) for n in range(3)]
    host.run(*networks)
    pids = [host.pid(f"br{n}") for n in range(3)]
    assert host.client(MAC_A, "br0").address()
    result = host.run(networks[1])
    assert result["actions"] == [f"stop dnsmasq for br{n} and remove its files and leases" for n in (0, 2)]
    assert result["instances"] == {"br0": "stopped", "br1": "unchanged", "br2": "stopped"}
    assert [proc_lives(pid) for pid in pids] == [False, True, False]
    assert os.listdir(host.paths.conf) == ["br1"] and os.listdir(host.paths.run) == ["br1.pid"]
    assert os.listdir(host.paths.state) == ["br1.leases"]
    host.run()
    assert not any(os.listdir(folder) for folder in (host.paths.conf, host.paths.run, host.paths.state))
    assert not host.run()["changed"]


def test_process_that_does_not_listen_to_sigterm(host, monkeypatch):
    host.bridge()
    host.run(network())
    pid = host.pid()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(service, "STOP_WAIT", 0.2)
    host.run()
    assert not proc_lives(pid)


def test_foreign_files_and_dnsmasq_stay(host):
    host.bridge()
    host.bridge("br101", "10.0.1.1/24")
    pid_file = f"{host.root}/foreign.pid"
    subprocess.run(
        [
            "dnsmasq",
            "--conf-file=/dev/null",
            "--bind-interfaces",
            "--except-interface=lo",
            "--interface=br101",
            f"--pid-file={pid_file}",
            f"--dhcp-leasefile={host.root}/foreign",
            "--dhcp-range=10.0.1.2,10.0.1.9",
        ],
        check=True,
    )
    with open(pid_file, encoding="ascii") as handle:
        foreign = int(handle.read())
    try:
        host.run(network())
        host.run()
        assert proc_lives(foreign)
    finally:
        kill_and_wait(foreign)
