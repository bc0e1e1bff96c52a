"""A guarded change: taken back by a process of its own unless it is confirmed, whatever becomes of whoever made it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

import pytest
from a_kill import killed_at
from a_link import bridge, exists, ip, master
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import guard, guarded, host, netlink, recorded
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver
from test_moving import MOVED, carried, everything
from test_moving import host as a_host

pytestmark = pytest.mark.usefixtures("netns")

TIMEOUT = 5


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "LOCK_FILE", str(tmp_path / "links.lock"))
    monkeypatch.setattr(guard, "LOCK_FILE", str(tmp_path / "guard.lock"))
    monkeypatch.setattr(guard, "STATE_FILE", str(tmp_path / "guard.json"))
    monkeypatch.setattr(guard, "REPORT_FILE", str(tmp_path / "report.json"))
    monkeypatch.setattr(recorded, "PLAN_FILE", str(tmp_path / "plan.json"))
    # DHCP and rules are the lab's matter.
    monkeypatch.setattr(host, "SECTIONS", ())
    yield tmp_path
    with contextlib.suppress(HostError):
        guard.take_back()


def run(section: dict = MOVED, timeout: int = TIMEOUT) -> dict:
    return driver.apply(section, arm=guarded.within(timeout))


def ended(process: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if guard._begun(process) == 0:
            return True
        time.sleep(0.05)
    return False


def test_without_confirmation_everything_returns():
    a_host()
    before, all_of_it = carried("eth1"), everything()
    result = run()
    found = guard.armed()
    assert found is not None and result["guard"] == {"id": found.id, "timeout": TIMEOUT, "interfaces": ["eth1"]}
    assert master("eth1") == "br100"
    with pytest.raises(HostError, match="a change of eth1 by another run waits for its confirmation"):
        run({"bridges": []})
    assert ended(found.process, TIMEOUT + 60)
    assert carried("eth1") == before and not exists("br100") and everything() == all_of_it
    told = guard.report()
    assert told is not None and (told.id, told.left, told.interfaces) == (found.id, (), ("eth1",))
    assert "move address 192.0.2.11/24 from eth1 to br100" in told.actions
    with pytest.raises(HostError, match=r"within 5 seconds; the host is as it was before"):
        guard.confirm(found.id)
    assert guard.confirm() is None


def test_what_was_lost_by_the_way_comes_back():
    a_host()
    before = carried("eth1")
    run()
    ip("address del 192.0.2.12/24 dev br100")
    ip("route flush table 100")
    ip("link del br100")
    guard.take_back()
    assert carried("eth1") == before


def test_confirmed_it_stays_and_the_guard_goes(folder):
    a_host()
    result = run()
    found = guard.confirm(result["guard"]["id"])
    assert found is not None and ended(found.process, 5)
    assert master("eth1") == "br100" and guard.armed() is None and guard.report() is None
    assert not (folder / "guard.json").exists()
    again = run()
    assert not again["changed"] and "guard" not in again


def test_the_time_runs_anew_when_somebody_comes_by():
    a_host()
    run()
    found = guard.armed()
    time.sleep(1)
    guard.extend()
    later = guard.armed()
    assert later is not None and 0.9 < later.deadline - found.deadline < 3
    guard.take_back()
    assert master("eth1") is None


def test_a_change_that_fails_leaves_no_guard():
    a_host()
    ip("link add link eth1 name mv0 type macvlan")
    before = carried("eth1")
    with pytest.raises(HostError, match="the host is as it was"):
        run()
    assert carried("eth1") == before
    assert guard.armed() is None or guard.armed().state == "confirmed"


def test_other_changes_have_none():
    a_host()
    assert "guard" not in run({"bridges": [bridge(interfaces=["ETH9"])]})
    assert guard.armed() is None


@pytest.mark.parametrize("value", [0, 4, 3601, -1, True, "soon", 1.5])
def test_a_time_that_is_none_is_refused_before_anything(value):
    a_host()
    before = everything()
    with pytest.raises(InputError, match=r"guard_timeout: .* whole seconds from 5 to 3600"):
        run(timeout=value)
    assert everything() == before


def test_the_module_may_be_killed_at_any_step():
    netlink.load()
    a_host()
    before = carried("eth1")
    steps, alive = 0, False
    while not alive:
        steps += 1
        alive = not killed_at(steps, run_by_steps)
        guard.take_back()
        assert carried("eth1") == before, f"after a kill at step {steps}"
        assert not exists("br100") and guard.report().left == (), f"after a kill at step {steps}"
    assert steps > 3


def run_by_steps(step) -> None:
    """A run in a process of its own, the guard being armed."""
    apply = netlink.apply
    netlink.apply = lambda difference, have, library: apply(difference, have, library, 1, step)
    run()


def test_the_guard_has_left_everything_of_the_module_behind():
    a_host()
    run()
    found = guard.armed()
    status = open(f"/proc/{found.process}/stat").read().rpartition(")")[2].split()
    assert status[3] != str(os.getsid(0))
    files = os.listdir(f"/proc/{found.process}/fd")
    assert {os.readlink(f"/proc/{found.process}/fd/{number}") for number in files} == {"/dev/null"}
    os.kill(found.process, signal.SIGHUP)
    guard.take_back()
    assert master("eth1") is None


class TestRules:
    """Changes of the packet filter, here one that only notes what it is given."""

    @pytest.fixture
    def given(self, folder, monkeypatch):
        note = folder / "given"

        def apply(plan: dict, order: host.Order) -> dict:
            if not order.check:
                note.write_text(json.dumps(plan))
            return {"changed": note.exists(), "actions": [], "warnings": []}

        monkeypatch.setattr(host, "SECTIONS", (host.Section("packet_filter", apply, {"networks": []}),))
        a_host()
        return note

    def change(self, public: str = "eth1", changed: bool = True):
        return guarded.change_rules(public, TIMEOUT, lambda: {"changed": changed, "actions": ["add a rule"]})

    def test_they_return_to_the_plan_that_was_recorded(self, given):
        plan = {"version": 1, "packet_filter": {"networks": ["blue"]}, "links": {"bridges": []}}
        recorded.write(plan)
        assert self.change() is not None
        told = guard.take_back()
        assert (told.left, told.actions, told.interfaces) == ((), ("add a rule",), ("eth1",))
        assert json.loads(given.read_text()) == {key: plan[key] for key in ("version", "packet_filter")}

    def test_without_a_record_they_return_to_nothing_where_nothing_was(self, given):
        assert self.change() is not None
        assert guard.take_back().left == ()
        assert json.loads(given.read_text())["packet_filter"] == {"networks": []}

    def test_without_a_record_they_stay_where_something_was(self, given):
        given.write_text("rules of an earlier run")
        assert self.change() is not None
        assert "no plan was recorded" in guard.take_back().left[0]
        assert given.read_text() == "rules of an earlier run"

    def test_one_guard_for_all_of_a_run_and_none_where_nothing_leads_or_changes(self, given):
        assert self.change(public="eth9") is None and self.change(changed=False) is None
        first = run()["guard"]["id"]
        assert self.change(public="br100").id == first
