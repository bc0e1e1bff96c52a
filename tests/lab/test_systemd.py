# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site on a host that systemd runs: dnsmasq is a unit's, from its start to its removal."""

from __future__ import annotations

import typing as t

import pytest
from lab.cgroup import root as cgroup_root
from lab.guest import Guest
from lab.host import Host
from lab.topology import parse
from nova_site import Site, wait_for

CALLS = "/run/systemctl-calls"
# Found before the real one by whoever looks systemctl up in PATH; the host's own boot does not use it.
NOTING = f"""#!/bin/sh
echo "$@" >>{CALLS}
exec /usr/bin/systemctl "$@"
"""
UNITS = "/etc/systemd/system"


class Served(t.NamedTuple):
    site: Site
    host: Host
    guests: dict[str, Guest]
    #: What the first run asked of systemctl.
    calls: list[str]


def unit(name: str) -> str:
    return f"tenantnet-dnsmasq@{name}.service"


def status(host: Host, name: str) -> dict[str, str]:
    properties = "LoadState,ActiveState,UnitFileState,MainPID,NRestarts,ActiveEnterTimestampMonotonic"
    said = host.run(["/usr/bin/systemctl", "show", f"--property={properties}", unit(name)]).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


def calls_of(host: Host) -> list[str]:
    """What was asked of systemctl since the last time that this was asked."""
    return host.run(["sh", "-c", f"touch {CALLS}; cat {CALLS}; rm {CALLS}"]).stdout.splitlines()


def unit_files(host: Host) -> list[str]:
    """Our unit and the links that start its instances at boot."""
    return sorted(host.run(["find", UNITS, "-name", "tenantnet-*", "-printf", "%P\\n"]).stdout.split())


def runs_dnsmasq(host: Host, pid: str) -> bool:
    return host.run(["cat", f"/proc/{pid}/comm"], check=False).stdout.strip() == "dnsmasq"


@pytest.fixture(scope="module")
def served(lab_factory, tmp_path_factory) -> Served:
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    site = Site(lab_factory(parse({"hosts": {"node1": "systemd"}})), "all_in_one", tmp_path_factory.mktemp("systemd"))
    host = site.lab.host("node1")
    host.write("/usr/local/sbin/systemctl", NOTING)
    host.run(["chmod", "0755", "/usr/local/sbin/systemctl"])
    site.run()
    return Served(site, host, site.boot_guests(site.plans()), calls_of(host))


def test_each_network_has_a_unit_that_runs_and_starts_at_boot(served: Served) -> None:
    for name in ("br100", "br101"):
        found = status(served.host, name)
        assert (found["LoadState"], found["ActiveState"], found["UnitFileState"]) == ("loaded", "active", "enabled")
        assert runs_dnsmasq(served.host, found["MainPID"])
    assert {"daemon-reload", "enable", "start"} <= {call.split()[0] for call in served.calls}
    failed = served.host.run(["/usr/bin/systemctl", "list-units", "--failed", "--no-legend"])
    assert failed.stdout == ""


def test_a_guest_gets_its_lease(served: Served) -> None:
    lease = served.guests["web1"].dhcp()
    assert (lease["router"], lease["hostname"]) == ("10.0.0.1", "web1")
    assert served.guests["web1"].ping("198.51.100.1")


def test_a_second_run_changes_nothing_and_asks_systemd_for_nothing(served: Served) -> None:
    before = [status(served.host, name) for name in ("br100", "br101")]
    assert served.site.run().changed == 0
    assert calls_of(served.host) == []
    assert [status(served.host, name) for name in ("br100", "br101")] == before


def test_a_new_reservation_is_read_by_the_process_that_runs(served: Served) -> None:
    site, host = served.site, served.host
    before = status(host, "br100")
    declared = site.variables["nova_instances"]
    site.change(nova_instances=[*declared, {"name": "web2", "project": "acme", "host": "node1"}])
    assert site.run().recap["node1"]["changed"] == 1
    assert calls_of(host) == []
    assert status(host, "br100") == before
    [web2] = [row for row in site.plans()["node1"]["instances"] if row["name"] == "web2"]
    guest = site.boot_guests({"node1": {"instances": [web2]}})["web2"]
    assert f"{guest.dhcp()['ip']}/24" == web2["ports"][0]["address"]


def test_what_dnsmasq_reads_only_at_its_start_restarts_it(served: Served) -> None:
    site, host = served.site, served.host
    before = {name: status(host, name) for name in ("br100", "br101")}
    site.change(nova_dhcp_domain="elsewhere")
    site.run()
    for name in ("br100", "br101"):
        after = status(host, name)
        assert after["ActiveState"] == "active"
        assert after["MainPID"] != before[name]["MainPID"]
        assert runs_dnsmasq(host, after["MainPID"])
    assert {call.split()[0] for call in calls_of(host)} == {"stop", "start"}
    assert served.guests["web1"].dhcp()["domain"] == "elsewhere"


def test_systemd_brings_a_killed_dnsmasq_back(served: Served) -> None:
    site, host = served.site, served.host
    before = status(host, "br100")
    host.run(["kill", "-9", before["MainPID"]])

    def is_back() -> bool:
        found = status(host, "br100")
        return found["ActiveState"] == "active" and found["MainPID"] not in ("0", before["MainPID"])

    assert wait_for(is_back, 30)
    assert int(status(host, "br100")["NRestarts"]) == int(before["NRestarts"]) + 1
    assert served.guests["web1"].dhcp()["hostname"] == "web1"
    assert site.run().changed == 0


def test_a_removed_network_takes_its_unit_along(served: Served) -> None:
    """The last test of the host: one network goes, then the other."""
    site, host = served.site, served.host
    kept = status(host, "br100")
    site.change(
        nova_networks=[row for row in site.variables["nova_networks"] if row["label"] == "blue"],
        nova_instances=[{"name": "web1", "project": "acme", "host": "node1"}],
    )
    site.run()
    gone = status(host, "br101")
    assert (gone["ActiveState"], gone["UnitFileState"], gone["MainPID"]) == ("inactive", "disabled", "0")
    assert unit_files(host) == [f"multi-user.target.wants/{unit('br100')}", unit("")]
    assert host.run(["ls", "/etc/tenantnet/dnsmasq"]).stdout.split() == ["br100"]
    assert status(host, "br100") == kept

    site.change(nova_networks=[], nova_instances=[])
    site.run()
    assert unit_files(host) == []
    assert status(host, "br100")["LoadState"] == "not-found"
    assert host.run(["pgrep", "dnsmasq"], check=False).stdout == ""
    assert host.run(["/usr/bin/systemctl", "list-units", "--all", "--no-legend", "tenantnet-*.service"]).stdout == ""
    assert site.run().changed == 0
