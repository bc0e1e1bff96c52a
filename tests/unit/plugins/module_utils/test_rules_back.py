# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rules a host has to have, what the kernel tells of commits, and the units that listen."""

from __future__ import annotations

import json
import struct

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import naming, rule_events, units
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import applied, recorded

OLD = {"packet_filter": {"networks": [1]}, "backend": "iptables", "port_filter": {"ports": []}, "links": {}}
NEW = {"packet_filter": {"networks": [2]}, "backend": "nftables"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "PLAN_FILE", str(tmp_path / "plan.json"))
    monkeypatch.setattr(applied, "NOTE_FILE", str(tmp_path / "run" / "applied.json"))
    monkeypatch.setattr(applied, "LOCK_FILE", str(tmp_path / "run" / "applied.lock"))
    return tmp_path


def note(sections, check=False):
    with applied.noting(sections, check=check, wait=0):
        pass


# -- the rules of this host


def test_rules_are_the_recorded_ones_and_nothing_else_of_the_plan():
    assert applied.rules() == {}
    recorded.write(OLD)
    assert applied.rules() == {key: OLD[key] for key in ("packet_filter", "backend", "port_filter")}


def test_what_a_run_has_applied_counts_before_it_is_recorded(folder):
    recorded.write(OLD)
    note(NEW)
    assert applied.rules() == {**NEW, "port_filter": OLD["port_filter"]}
    recorded.write({**OLD, **NEW})
    applied.forget()
    assert applied.rules() == {**NEW, "port_filter": OLD["port_filter"]}
    assert not (folder / "run" / "applied.json").exists()


def test_what_failed_is_not_what_the_host_has_to_have(folder):
    recorded.write(OLD)
    with pytest.raises(HostError), applied.noting(NEW, check=False, wait=0):
        raise HostError("refused")
    assert applied.rules()["packet_filter"] == OLD["packet_filter"]


def test_a_run_that_applies_what_is_recorded_writes_nothing(folder):
    recorded.write(OLD)
    note({"packet_filter": OLD["packet_filter"], "backend": "iptables"})
    # As the role of a routing node says what a plan leaves out.
    note({"floating_addresses": {"addresses": []}})
    assert not (folder / "run" / "applied.json").exists()


def test_a_change_that_is_taken_back_is_noted_as_well():
    recorded.write(OLD)
    note(NEW)
    note({key: OLD[key] for key in NEW})
    assert applied.rules()["packet_filter"] == OLD["packet_filter"]


def test_check_mode_neither_locks_nor_notes(folder):
    note(NEW, check=True)
    assert not (folder / "run").exists()


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_note_or_a_record_that_is_none_does_not_stand_in_a_runs_way(folder, text):
    (folder / "run").mkdir()
    (folder / "run" / "applied.json").write_text(text)
    (folder / "plan.json").write_text("{")
    note(NEW)
    assert json.loads((folder / "run" / "applied.json").read_text()) == NEW


def test_one_run_at_a_time_applies_and_notes():
    with applied.exclusive(0), pytest.raises(HostError, match="another run"):
        note(NEW)


# -- what the kernel tells


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def message(kind: int, *attributes: bytes) -> bytes:
    body = b"\x02\0\0\x13" + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), (10 << 8) | kind, 0, 0, 0) + body


def commit(chain: bytes, program: bytes) -> list[bytes]:
    """A rule that is deleted, and the end of the commit; by datagram, as the kernel sends them."""
    rule = message(8, attribute(1, b"filter\0"), attribute(2, chain + b"\0"))
    return [rule, message(15, attribute(1, b"\0\0\0\x13"), attribute(3, program + b"\0"))]


def test_a_commit_concerns_us_where_it_names_something_of_ours():
    assert rule_events.read(commit(b"nova-network-snat", b"nft")) == (True, ["nft"])
    assert rule_events.read(commit(b"DOCKER", b"iptables")) == (False, [])
    assert rule_events.read([]) == (False, [])


def test_of_several_commits_those_are_named_that_concern_us():
    told = commit(b"DOCKER", b"dockerd") + commit(b"nova-network-snat", b"firewalld") + commit(b"f2b", b"fail2ban")
    assert rule_events.read(told) == (True, ["firewalld"])
    assert rule_events.read([b"".join(told)]) == (True, ["firewalld"])


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_what_is_cut_off_is_no_reason_to_fail(cut):
    rule_events.read([b"".join(commit(b"nova-network-snat", b"nft"))[:cut], b"\0" * cut])


# -- the units


def test_the_socket_and_its_service_know_of_each_other_and_never_give_up():
    text = units.render("/usr/bin/python3", "/program", told=True)
    assert set(text) == {naming.UNIT, naming.FOLLOWER, naming.RULES_SOCKET, naming.RULES_SERVICE}
    socket, service = text[naming.RULES_SOCKET], text[naming.RULES_SERVICE]
    assert "ListenNetlink=netfilter 64\n" in socket
    assert f"OnFailure={naming.RULES_SERVICE}\n" in socket and f"Sockets={naming.RULES_SOCKET}\n" in service
    assert "ExecStart=/usr/bin/python3 -I /program rules\n" in service
    assert "TriggerLimitIntervalSec=0\n" in socket
    assert all("StartLimitIntervalSec=0\n" in each for each in (socket, service))
    assert not service.count("[Install]")
