"""The last applied plan: kept in one step, read again, and applied section by section whatever fails."""

from __future__ import annotations

import json
import os
import resource
import signal

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import host, recorded

OLD = {"version": 1, "host": "node1", "links": {"bridges": []}}
NEW = {"version": 1, "host": "node1", "links": {"bridges": [], "sysctl": {"net.ipv4.ip_forward": "1"}}}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "PLAN_FILE", str(tmp_path / "plan.json"))
    return tmp_path


def in_child(work) -> int:
    """Run it in a process of its own; how that ended."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(7)
    return os.waitpid(child, 0)[1]


def test_a_plan_is_read_as_it_was_recorded(kept):
    assert recorded.read() is None
    assert recorded.write(OLD)
    assert recorded.read() == OLD
    assert (kept / "plan.json").stat().st_mode & 0o777 == 0o600


def test_the_same_plan_is_not_written_again(kept):
    recorded.write(OLD)
    before = os.stat(kept / "plan.json")
    assert not recorded.write(dict(reversed(OLD.items())))
    assert os.stat(kept / "plan.json") == before
    assert recorded.write(NEW)


def test_killed_while_recording_the_old_plan_stands_whole(kept, monkeypatch):
    recorded.write(OLD)

    def kill(*_paths):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(os, "replace", kill)
    assert in_child(lambda: recorded.write(NEW)) == signal.SIGKILL
    assert recorded.read() == OLD


def test_on_a_full_disk_the_old_plan_stands_whole(kept):
    recorded.write(OLD)

    def fail():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
        try:
            recorded.write(NEW)
        except HostError as error:
            os._exit(0 if "the file is as it was" in str(error) else 8)

    assert in_child(fail) == 0
    assert recorded.read() == OLD
    assert os.listdir(kept) == ["plan.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({**OLD, "version": 2})])
def test_what_is_no_plan_is_said_in_one_line(kept, text):
    (kept / "plan.json").write_text(text)
    with pytest.raises((HostError, InputError), match="plan.json") as refused:
        recorded.read()
    assert "\n" not in str(refused.value)


def test_a_section_that_fails_leaves_the_others_to_be_applied(monkeypatch):
    def fails(plan, order):
        raise HostError(f"no {plan['a']}")

    def works(plan, order):
        return {"changed": True, "actions": [f"make {plan['b']}, {order.check}"], "warnings": ["slow"]}

    monkeypatch.setattr(
        host,
        "SECTIONS",
        tuple(host.Section(key, does, {}) for key, does in {"a": fails, "b": works, "c": fails}.items()),
    )
    outcome = host.apply({"a": "eth1", "b": "rules"}, check=True)
    assert outcome.failures == {"a": "no eth1"}
    assert (outcome.changed, outcome.actions, outcome.warnings) == (True, ["make rules, True"], ["slow"])


def test_the_sections_are_applied_in_the_order_in_which_they_need_each_other():
    order = [section.key for section in host.SECTIONS]
    assert order.index("links") < order.index("dnsmasq") < order.index("packet_filter")
    if "port_filter" in order:
        assert order.index("port_filter") < order.index("links")


def test_a_back_end_that_is_none_is_refused():
    outcome = host.apply({"backend": "pf", "packet_filter": {"networks": []}})
    assert outcome.failures["packet_filter"].startswith("backend: 'pf' is none of iptables")
