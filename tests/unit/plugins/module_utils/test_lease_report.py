# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host reports of the leases that its dnsmasq processes have given, read from files as they are on a host."""

from __future__ import annotations

import pathlib
import time

import pytest
from a_module import succeed
from ansible_collections.tenantnet.nova.plugins.module_utils._core import dnsmasq as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import files
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.dnsmasq import leases

NOW = int(time.time())
SOON = NOW + 3600
MAC = "fa:16:3e:01:02:0"


@pytest.fixture
def paths(tmp_path: pathlib.Path) -> core.Paths:
    return core.Paths.under(str(tmp_path))


def serve(
    paths: core.Paths,
    name: str,
    subnet: str | None,
    leased: str | None,
    label: str = "a network, of ours",
    range_v6: str | None = None,
) -> None:
    """Files as the module dnsmasq writes them, and a lease file as dnsmasq does."""
    instance = core.Instance(
        name=name,
        network=label,
        interface=name,
        listen_address=subnet and f"{subnet}.1",
        dhcp_start=subnet and f"{subnet}.2",
        netmask=subnet and "255.255.255.0",
        lease_time=3600,
        lease_max=256,
        range_v6=range_v6,
    )
    for file, text in core.render(instance, paths).items():
        files.write(paths.file(name, file), text)
    if leased is not None:
        files.write(paths.leases(name), leased)


def test_networks_and_leases(paths: core.Paths) -> None:
    serve(paths, "br101", "10.0.1", f"{SOON} {MAC}3 10.0.1.30 web3 01:{MAC}3\n0 {MAC}4 10.0.1.4 * *\n")
    serve(paths, "br100", "10.0.0", f"{SOON} {MAC}1 10.0.0.3 web1 *\n{NOW - 1} {MAC}2 10.0.0.2 web2 *\nduid 00:01\n")
    serve(paths, "br9", "10.0.2", "")
    told = leases.report(paths)
    assert told["networks"] == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]
    ends = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(SOON))
    assert told["leases"] == [
        {"network": "10.0.0.0/24", "address": "10.0.0.3", "mac": f"{MAC}1", "hostname": "web1", "expires": ends},
        {"network": "10.0.1.0/24", "address": "10.0.1.4", "mac": f"{MAC}4", "hostname": None, "expires": None},
        {"network": "10.0.1.0/24", "address": "10.0.1.30", "mac": f"{MAC}3", "hostname": "web3", "expires": ends},
    ]
    assert told["changed"] is False


def test_leases_of_dhcpv6_are_left_out(paths: core.Paths) -> None:
    leased = [
        f"{SOON} {MAC}1 10.0.0.3 web1 *",
        "duid 00:01:00:01:2c:aa:bb:cc:52:54:00:00:00:01",
        f"{SOON} 33620483 fd00::f816:3eff:fe01:203 web1 00:01:00:01:2c:aa:bb:cd:fa:16:3e:01:02:03",
        f"{SOON} T33620483 fd00::9 * 00:03:00:01:fa:16:3e:01:02:03",
    ]
    serve(paths, "br100", "10.0.0", "\n".join(leased) + "\n", range_v6="fd00::/64")
    told = leases.report(paths)
    assert told["networks"] == ["10.0.0.0/24"]
    assert [(lease["address"], lease["mac"]) for lease in told["leases"]] == [("10.0.0.3", f"{MAC}1")]


def test_nothing_is_said_of_a_network_of_ipv6_alone(paths: core.Paths) -> None:
    serve(paths, "br100", None, f"duid 00:01\n{SOON} 1 fd00::3 web1 00:03\n", range_v6="fd00::/64")
    assert leases.report(paths) == {"changed": False, "networks": [], "leases": []}


def test_nothing_is_said_of_a_network_whose_dnsmasq_never_ran(paths: core.Paths) -> None:
    serve(paths, "br100", "10.0.0", None)
    assert leases.report(paths) == {"changed": False, "networks": [], "leases": []}


def test_a_configuration_that_is_not_ours_is_passed_over(paths: core.Paths) -> None:
    for name, conf in (
        ("br1", ""),
        ("br2", "dhcp-range=10.0.0.5,10.0.0.9,1h\n"),
        ("br3", "dhcp-range=x,1,static,9,1s\n"),
    ):
        files.write(paths.file(name, core.CONF), conf)
        files.write(paths.leases(name), f"{SOON} {MAC}1 10.0.0.3 web1 *\n")
    assert leases.report(paths) == {"changed": False, "networks": [], "leases": []}


def test_a_file_that_cannot_be_read_is_an_error(paths: core.Paths) -> None:
    serve(paths, "br100", "10.0.0", None)
    pathlib.Path(paths.leases("br100")).mkdir(parents=True)
    with pytest.raises(HostError, match=r"cannot read .*br100\.leases"):
        leases.report(paths)


def test_a_host_that_serves_nothing(paths: core.Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.Paths, "under", classmethod(lambda cls, root="": paths))
    told = succeed("leases_info")
    assert (told["changed"], told["networks"], told["leases"]) == (False, [], [])
    serve(paths, "br100", "10.0.0", f"{SOON} {MAC}1 10.0.0.3 web1 *\n")
    assert [lease["address"] for lease in succeed("leases_info", check_mode=True)["leases"]] == ["10.0.0.3"]
