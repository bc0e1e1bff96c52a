# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bridged packets are led through the packet filter where security groups need it, and nowhere else."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import bridge_netfilter, routing

SETTINGS = [pathlib.Path("/proc/thread-self/root/proc/sys") / key.replace(".", "/") for key in bridge_netfilter.KEYS]
NETWORK = {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "gateway": True, "dhcp": True, "snat": False}
GUARDED = {
    "networks": [NETWORK],
    "instances": [{"address": "10.0.0.3", "cidr": "10.0.0.0/24", "security_groups": ["web"]}],
    "security_groups": [{"name": "web", "members": ["10.0.0.3"], "rules": []}],
}


def apply(plan, check=False):
    return routing.apply(routing.BACKENDS["iptables"], plan, None, check=check, diff=False, wait=5)


def values():
    return [setting.read_text().strip() for setting in SETTINGS]


@pytest.fixture
def off(filter_host):
    if not SETTINGS[0].exists():
        pytest.skip("this kernel has no br_netfilter")
    for setting in SETTINGS:
        setting.write_text("0\n")


def test_security_groups_put_it_on_once_and_check_mode_foretells_it(off):
    apply({"networks": [NETWORK]})
    assert values() == ["0", "0"]
    foretold = apply(GUARDED, check=True)
    assert values() == ["0", "0"]
    done = apply(GUARDED)
    assert values() == ["1", "1"]
    told = [action for action in done["actions"] if "bridge-nf-call" in action]
    assert len(told) == 2 and done["actions"] == foretold["actions"]
    again = apply(GUARDED)
    assert (again["changed"], again["actions"], again["warnings"]) == (False, [], [])


def test_floating_ips_that_it_keeps_from_guests_of_other_hosts_are_named(off):
    """That it does is shown by test_packet_paths."""
    local, remote = ({"address": f"192.0.2.10{n}", "fixed_address": f"10.0.0.{n}"} for n in (3, 4))
    public = {"public_interface": "ext0"}

    def said(plan):
        return [text for text in apply(plan)["warnings"] if "guests of other hosts do not reach" in text]

    assert said({"networks": [NETWORK], **public, "floating_ips": [remote]}) == []
    assert said({**GUARDED, **public, "floating_ips": [local]}) == []
    [warning] = said({**GUARDED, **public, "floating_ips": [local, remote]})
    assert "floating IP 192.0.2.104 from" in warning and bridge_netfilter.KEYS[0] in warning
    # Others have put it on, on a host without guests.
    [warning] = said({"networks": [NETWORK], **public, "floating_ips": [local, remote]})
    assert "floating IP 192.0.2.103 and 1 more" in warning
    ports = [{"address": "192.0.2.9", "protocol": "tcp", "ports": "80", "fixed_address": "10.0.0.4", "fixed_port": 80}]
    assert len(said({"networks": [NETWORK], **public, "port_forwards": ports})) == 1


def test_one_that_was_put_off_by_hand_is_put_on_again(off):
    apply(GUARDED)
    SETTINGS[0].write_text("0\n")
    assert apply(GUARDED)["actions"] == [
        f"set {bridge_netfilter.KEYS[0]} to 1, so that security groups hold within a bridge"
    ]
    assert values() == ["1", "1"]


def test_without_the_module_it_is_said_and_the_rules_hold_otherwise(off, monkeypatch):
    monkeypatch.setattr(bridge_netfilter, "KEYS", ("net.bridge.no-such-key",))
    monkeypatch.setattr(bridge_netfilter, "MODULE", "no_such_module")
    done = apply(GUARDED)
    [warning] = [text for text in done["warnings"] if "do not hold between guests of one bridge" in text]
    assert "no module no_such_module" in warning
    assert not apply(GUARDED)["changed"]
