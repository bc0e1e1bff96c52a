# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An interface that systemd-networkd or NetworkManager looks after becomes a bridge's port, as the refusal says how."""

from __future__ import annotations

import json
import typing as t

import pytest
from lab import Lab
from lab.cgroup import root as cgroup_root
from lab.host import Host
from lab.playbook import CHECKOUT
from lab.topology import parse
from nova_site import wait_for

LAYER = CHECKOUT / ".cache" / "others.tar"

#: By DHCP, from the internet; and fixed, with a route.
BY_DHCP, FIXED = "eth2", "eth1"
BRIDGES = {BY_DHCP: ("br100", "10.0.0.{}/24"), FIXED: ("br101", "10.0.1.{}/24")}
STATIC = {"networkd": "172.16.5.2/24", "manager": "172.16.5.3/24"}
SERVER = (
    "dnsmasq --conf-file=/dev/null --port=0 --bind-interfaces --listen-address=203.0.113.1"
    " --dhcp-range=203.0.113.100,203.0.113.150,2m --pid-file=/run/d.pid --dhcp-leasefile=/run/d.leases"
)
UDEV = "systemctl start systemd-udevd && udevadm trigger --subsystem-match=net && udevadm settle"


def a_file(name: str, lines: str, more: str = "") -> str:
    return f"[Match]\nName={name}\n[Network]\n{lines}\n{more}"


class Keeper(t.NamedTuple):
    """One of them on its host: its files before, those that hand over, and what lets it read them."""

    name: str
    before: dict[str, str]
    after: dict[str, str]
    start: str
    reload: str
    restart: str


def networkd() -> Keeper:
    folder = "/etc/systemd/network"
    dhcp, fixed = "DHCP=ipv4", f"Address={STATIC['networkd']}"
    route = "[Route]\nDestination=172.17.0.0/16\nGateway=172.16.5.1\n"
    files = {f"{folder}/10-a.network": (BY_DHCP, dhcp, ""), f"{folder}/10-b.network": (FIXED, fixed, route)}
    over = {path: a_file(name, lines, f"{more}[Link]\nUnmanaged=yes\n") for path, (name, lines, more) in files.items()}
    for name, lines, more in files.values():
        bridge = BRIDGES[name][0]
        over[f"{folder}/00-{bridge}.network"] = a_file(bridge, f"{lines}\nKeepConfiguration=yes", more)
    return Keeper(
        "networkd",
        {path: a_file(*parts) for path, parts in files.items()},
        over,
        "systemctl start systemd-networkd",
        "networkctl reload",
        "systemctl restart systemd-networkd",
    )


def manager() -> Keeper:
    path = "/etc/NetworkManager/conf.d/10-lab.conf"
    text = "[keyfile]\nunmanaged-devices=interface-name:eth0"
    profile = "nmcli connection add type ethernet ipv6.method disabled"
    return Keeper(
        "manager",
        {path: f"{text}\n"},
        {path: f"{text};interface-name:{BY_DHCP};interface-name:{FIXED}\n"},
        f"systemctl start NetworkManager && {profile} ifname {BY_DHCP} con-name a ipv4.method auto"
        f" && {profile} ifname {FIXED} con-name b ipv4.method manual ipv4.addresses {STATIC['manager']}"
        " ipv4.routes '172.17.0.0/16 172.16.5.1' && nmcli connection up a && nmcli connection up b",
        "nmcli general reload",
        "systemctl restart NetworkManager",
    )


@pytest.fixture(scope="module")
def lab(lab_factory) -> Lab:
    if cgroup_root() is None:
        pytest.skip("systemd as first process needs a writable cgroup2 mount")
    if not LAYER.is_file():
        pytest.skip(f"{LAYER.relative_to(CHECKOUT)} is missing: tools/others-layer makes it, and says what it lacks")
    made = lab_factory(parse({"hosts": dict.fromkeys(STATIC, "systemd"), "layer": str(LAYER)}))
    made.host("internet").run(["sh", "-c", SERVER])
    return made


def plan(host: str) -> dict[str, t.Any]:
    number = sorted(STATIC).index(host) + 1
    bridges = [
        {"name": bridge, "interfaces": [name], "addresses": [address.format(number)]}
        for name, (bridge, address) in BRIDGES.items()
    ]
    return {"bridges": bridges, "move_addresses": list(BRIDGES)}


def links(lab: Lab, host: str) -> t.Any:
    arguments = json.dumps({"plan": plan(host), "guard_timeout": 120})
    return lab.ansible(host, "-m", "tenantnet.nova.links", "-a", arguments, check=False)


def addresses(host: Host, name: str) -> list[str]:
    shown = json.loads(host.run(["ip", "-json", "-4", "addr", "show", name]).stdout)
    return sorted(f"{one['local']}/{one['prefixlen']}" for link in shown for one in link.get("addr_info", ()))


def shell(host: Host, command: str) -> str:
    return host.run(["sh", "-c", command]).stdout


@pytest.mark.parametrize("keeper", [networkd(), manager()], ids=lambda keeper: keeper.name)
def test_an_interface_with_a_keeper_is_refused_until_that_lets_it_go(lab: Lab, keeper: Keeper) -> None:
    host = lab.host(keeper.name)
    for path, text in keeper.before.items():
        host.write(path, text)
    shell(host, f"ip addr flush dev {BY_DHCP}; {UDEV}; {keeper.start}")
    assert wait_for(lambda: len(addresses(host, BY_DHCP)) == len(addresses(host, FIXED)) == 1, 30)
    own = {name: addresses(host, name) for name in BRIDGES}
    assert own[FIXED] == [STATIC[keeper.name]]

    refused = links(lab, keeper.name)
    said = " ".join(refused.stdout.split())
    assert refused.returncode and all(
        f"addresses of {name} are to move to it and would not stay" in said for name in own
    )
    assert "for to reload it takes the addresses away" in said
    assert {name: addresses(host, name) for name in BRIDGES} == own

    # What it says is done.
    for path, text in keeper.after.items():
        host.write(path, text)
    shell(host, keeper.restart)
    assert {name: addresses(host, name) for name in BRIDGES} == own
    moved = links(lab, keeper.name)
    assert moved.returncode == 0, moved.stdout
    lab.ansible(keeper.name, "-m", "tenantnet.nova.guard", "-a", "state=confirmed")

    for command in ("true", keeper.reload, keeper.restart, keeper.reload):
        shell(host, command)
        for name, (bridge, _address) in BRIDGES.items():
            assert wait_for(lambda: set(own[name]) < set(addresses(host, bridge)), 20), command  # noqa: B023
            assert len(addresses(host, bridge)) == 2 and addresses(host, name) == []
        routes = shell(host, "ip route")
        assert "default via 203.0.113.1 dev br100" in routes and "172.17.0.0/16 via 172.16.5.1 dev br101" in routes
        assert host.ping("203.0.113.1")
    again = links(lab, keeper.name)
    assert again.returncode == 0 and "changed: false" in again.stdout


def test_networkd_gives_the_bridge_its_addresses_after_a_boot(lab: Lab) -> None:
    """Of a host that the test before has left so; the lab itself gives the cards addresses of their own, too."""
    keeper = networkd()
    host = lab.host(keeper.name)
    own = {name: set(addresses(host, bridge)) for name, (bridge, _address) in BRIDGES.items()}
    arguments = json.dumps({"plan": {"links": plan(keeper.name)}})
    lab.ansible(keeper.name, "-m", "tenantnet.nova.host_plan", "-a", arguments)
    host.kill()
    host.boot()
    assert addresses(host, BY_DHCP) == []
    shell(host, f"{UDEV}; {keeper.start}")
    for name, (bridge, _address) in BRIDGES.items():
        assert wait_for(lambda: own[name] <= set(addresses(host, bridge)), 30), bridge  # noqa: B023
    assert host.ping("203.0.113.1")
    assert "172.17.0.0/16 via 172.16.5.1 dev br101" in shell(host, "ip route")
    assert "changed: false" in links(lab, keeper.name).stdout
