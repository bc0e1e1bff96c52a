# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site on a host that systemd runs: dnsmasq is a unit's, from its start to its removal."""

from __future__ import annotations

import re
import typing as t

import pytest
from lab.cgroup import root as cgroup_root
from lab.guest import Guest
from lab.host import Host
from lab.playbook import CHECKOUT
from lab.topology import parse
from nova_site import Site, snapshot, wait_for

CALLS = "/run/systemctl-calls"
# Found before the real one by whoever looks systemctl up in PATH; the host's own boot does not use it.
NOTING = f"""#!/bin/sh
echo "$@" >>{CALLS}
exec /usr/bin/systemctl "$@"
"""
UNITS = "/etc/systemd/system"


# What stands for the hypervisor: its unit notes what guests would find that it starts.
GUESTS = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c '{ ip -br -4 addr; iptables-save; cat /proc/sys/net/ipv4/ip_forward; } >/run/guests-found'
[Install]
WantedBy=multi-user.target
"""


class Served(t.NamedTuple):
    site: Site
    host: Host
    guests: dict[str, Guest]
    #: What the first run asked of systemctl.
    calls: list[str]
    #: What the host was before the first run.
    before: dict[str, str]


# As the host's power fails once systemd was told to disable a unit.
KILLING = """#!/bin/sh
/usr/bin/systemctl "$@"
[ "$1" != disable ] || { touch /run/killed; kill -9 $PPID; }
"""
CLEAN = CHECKOUT / "playbooks" / "clean.yml"

EVERYTHING = {
    "links": "ip -d -br link | sed 's/@if[0-9]*//; s/  */ /g'; ip -d -o link | grep -o 'alias.*'",
    "addresses": "ip -br addr | sed 's/@if[0-9]*//; s/  */ /g'",
    "routes": "ip route show table all; ip -6 route show table all; ip rule; ip -6 rule",
    # The kernel's own chains stay where once a rule was, empty.
    "rules": "for save in iptables-save ip6tables-save; do $save | grep -e '^:.* -' -e '^-'; done; ipset list -name",
    # Those of links that are there, and without what counts or times itself.
    "sysctl": "sysctl -a 2>/dev/null | grep '^net' | grep -v -e nf_conntrack_count -e random -e _key -e _secret",
    "files": "find /etc /var/lib /usr/lib/systemd /usr/local /root ! -path '*/journal/*'"
    " ! -path '*/novalab/*' ! -path '/var/lib/systemd/*'"
    " ! -path '/etc/systemd/system/libvirtd.service' ! -path '*/multi-user.target.wants/libvirtd.service'"
    " ! -name systemctl ! -name multi-user.target.wants -printf '%p %l %m %u\\n' 2>/dev/null | sort",
    "running": "find /run -maxdepth 1 -name 'tenantnet*'",
    "processes": "ps -eo args | grep -e dnsmasq -e tenantnet | grep -v grep",
    "units": "/usr/bin/systemctl list-unit-files --no-legend 'tenantnet*';"
    " /usr/bin/systemctl list-units --all --no-legend 'tenantnet*'",
}


def everything(host: Host) -> dict[str, str]:
    """What a host is, kind by kind."""
    # The kernel looks for duplicates of a new address for a second or two, and adds its route then.
    wait_for(lambda: not host.run(["ip", "-6", "addr", "show", "tentative"]).stdout)
    # Each change of rules has them looked at.
    looks = ["/usr/bin/systemctl", "is-active", "tenantnet-rules.service"]
    wait_for(lambda: host.run(looks, check=False).stdout != "activating\n", 30)
    return {kind: host.run(["sh", "-c", command], check=False).stdout for kind, command in EVERYTHING.items()}


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The lines that only one of the two has."""
    return [
        f"{kind}: {line}"
        for kind in before
        for line in sorted(set(before[kind].splitlines()) ^ set(after[kind].splitlines()))
    ]


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
    # The lab's hosts have these, empty; no other host has before its first run.
    host.run(["rmdir", "/etc/tenantnet", "/var/lib/tenantnet"])
    before = everything(host)
    site.run()
    return Served(site, host, site.boot_guests(site.plans()), calls_of(host), before)


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
    # The port and what it may send, the reservation, its security groups, and the plan that is kept for the next boot.
    assert site.run().recap["node1"]["changed"] == 5
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


def test_who_empties_the_packet_filter_has_our_rules_back_at_once(served: Served) -> None:
    """By a restart or a reload of its unit, with the network controller doing nothing and no news from the kernel."""

    def rules() -> str:
        return served.host.run(["sh", "-c", "iptables-save | grep nova-network-; nft list tables bridge"]).stdout

    def systemctl(*words: str) -> None:
        served.host.run(["/usr/bin/systemctl", *words])

    before = rules()
    assert "nova-network-snat" in before
    assert "table bridge nova-network" in before
    systemctl("stop", "tenantnet-rules.socket", "tenantnet-rules.service")
    systemctl("start", "nftables.service")
    # To systemd a start that is under way is a reload as well, though it has the rules behind it.
    status = ["/usr/bin/systemctl", "is-active", "tenantnet.service", "tenantnet-follow.service"]
    for verb in ("restart", "reload"):
        served.host.run(["nft", "flush", "ruleset"])
        assert rules() == ""
        systemctl(verb, "nftables.service")
        assert wait_for(lambda: rules() == before, 30), verb
        assert wait_for(lambda: served.host.run(status, check=False).stdout == "active\ninactive\n", 30), verb
    systemctl("stop", "nftables.service")
    systemctl("restart", "tenantnet.service")
    assert rules() == before
    systemctl("start", "tenantnet-rules.socket")
    assert served.site.run().changed == 0


def test_after_power_loss_the_host_is_back_before_its_guests_start(served: Served) -> None:
    """With the network controller doing nothing. The kernel's part of the host is new, the disk is what it was."""
    site, host = served.site, served.host
    host.write(f"{UNITS}/libvirtd.service", GUESTS)
    host.run(["/usr/bin/systemctl", "enable", "libvirtd.service"])
    before = snapshot(site.lab, "node1")
    plans = site.plans()
    host.kill()
    host.boot()

    found = host.read("/run/guests-found")
    assert re.search(r"^br100 +\S+ +10\.0\.0\.1/24", found, re.MULTILINE), found
    assert "-A nova-network-snat" in found
    assert found.splitlines()[-1] == "1"
    journal = host.run(["journalctl", "--unit=tenantnet.service", "--output=cat", "--no-pager"]).stdout
    assert "The networks of this host are as last applied" in journal
    assert host.run(["/usr/bin/systemctl", "is-active", "tenantnet.service"]).stdout.strip() == "active"
    served.guests.clear()
    served.guests.update(site.boot_guests(plans))
    assert served.guests["web1"].dhcp()["hostname"] == "web1"
    assert served.guests["web1"].ping("198.51.100.1")
    after = snapshot(site.lab, "node1")
    assert {key: after[key] for key in after if key != "links"} == {
        key: before[key] for key in before if key != "links"
    }
    calls_of(host)
    assert site.run().changed == 0
    assert calls_of(host) == []


def test_a_removed_network_takes_its_unit_along(served: Served) -> None:
    site, host = served.site, served.host
    kept = status(host, "br100")
    site.change(
        nova_networks=[row for row in site.variables["nova_networks"] if row["label"] == "blue"],
        nova_instances=[{"name": "web1", "project": "acme", "host": "node1"}],
    )
    site.run()
    gone = status(host, "br101")
    assert (gone["ActiveState"], gone["UnitFileState"], gone["MainPID"]) == ("inactive", "disabled", "0")
    assert [name for name in unit_files(host) if "dnsmasq" in name] == [
        f"multi-user.target.wants/{unit('br100')}",
        unit(""),
    ]
    assert host.run(["ls", "/etc/tenantnet/dnsmasq"]).stdout.split() == ["br100"]
    assert status(host, "br100") == kept


def test_a_cleaned_host_is_what_it_was_before_the_first_run(served: Served) -> None:
    """The last test of the host."""
    site, host = served.site, served.host
    lab = site.lab
    words = [CLEAN, "-e", "clean_hosts=node1"]
    carrying = everything(host)
    refused = lab.playbook(*words, check=False)
    assert "guests still run on this host" in refused.stdout and "web1" in refused.stdout
    assert everything(host) == carrying
    for guest in served.guests.values():
        guest.remove()
    assert wait_for(lambda: not host.run(["pgrep", "-f", "guest.sh hold"], check=False).stdout)
    # A bridge without ports is seen to be down some time later.
    assert wait_for(lambda: " UP " not in host.run(["ip", "-br", "link", "show", "type", "bridge"]).stdout)
    carrying = everything(host)
    checked = lab.playbook(*words, "--check")
    assert everything(host) == carrying

    # Killed midway, as it has begun to remove files, it can be done again.
    host.write("/usr/local/sbin/systemctl", KILLING)
    killed = lab.playbook(*words, check=False)
    assert killed.returncode
    assert host.run(["ls", "/run/killed"], check=False).returncode == 0
    host.run(["rm", "/usr/local/sbin/systemctl", "/run/killed"])
    done = lab.playbook(*words)
    assert checked.recap["node1"]["changed"] == done.recap["node1"]["changed"] == 1
    left = everything(host)
    assert differing(served.before, left) == []
    assert lab.playbook(*words).changed == 0
    assert everything(host) == left
