# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host joins an IPv6 network whose advertisements its card has heard before: what it took so is not its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import typing as t

import a_namespace
import pytest
from a_kill import killed_at
from a_link import ip, until
from ansible_collections.tenantnet.nova.plugins.module_utils._core import links as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError, InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links, netlink

pytestmark = pytest.mark.usefixtures("netns")

HEED, FORWARD = "net.ipv6.conf.eth1.accept_ra", "net.ipv6.conf.all.forwarding"


def section(*ranges: str, **sysctl: str) -> dict[str, t.Any]:
    bridge = {"name": "br100", "interfaces": ["eth1"], "addresses": ["fd00::2/64"], "advertised": list(ranges)}
    return {"bridges": [bridge], "sysctl": {FORWARD: "1", HEED: "0", **sysctl}}


PLAN = section("fd00::/64")


def setting(key: str, value: str | None = None) -> str:
    path = "/proc/sys/" + key.replace(".", "/")
    if value is not None:
        with open(path, "w", encoding="ascii") as handle:
            handle.write(value)
    with open(path, encoding="ascii") as handle:
        return handle.read().strip()


def addresses(name: str = "eth1") -> set[str]:
    (link,) = json.loads(ip(f"-6 -json address show dev {name}"))[-1:] or [{"addr_info": []}]
    return {f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", ()) if a.get("scope") == "global"}


def routes(name: str = "eth1") -> set[str]:
    """But for the link's own."""
    found = json.loads(ip(f"-6 -json route show dev {name}"))
    return {f"{r['dst']} {r.get('gateway', '')}" for r in found if not r["dst"].startswith(("fe80:", "ff00:"))}


def state() -> tuple[t.Any, ...]:
    (eth1,) = json.loads(ip("-json link show eth1"))
    return eth1.get("master"), addresses(), routes(), setting(HEED), setting(FORWARD)


@pytest.fixture
def heard(tmp_path) -> t.Iterator[set[str]]:
    """What eth1 took from a dnsmasq that advertises fd00::/64 and itself as a router: one address that lasts and one
    that is temporary."""
    with contextlib.ExitStack() as stack:
        pid, inside = stack.enter_context(a_namespace.beside())
        ip(f"link add name eth1 type veth peer name wire netns {pid}")
        setting("net.ipv6.conf.eth1.use_tempaddr", "2")
        ip("link set eth1 up")
        begin = (
            "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; ip addr add fd00::1/64 dev wire nodad; ip link set wire up"
        )
        subprocess.run([*inside, "sh", "-ec", begin], check=True)
        # Without an address of the link dnsmasq would give up.
        usable = [*inside, "ip", "-6", "addr", "show", "dev", "wire", "scope", "link", "-tentative"]
        until(lambda: subprocess.run(usable, check=True, capture_output=True).stdout)
        words = ["dnsmasq", "--conf-file=/dev/null", "--port=0", "--keep-in-foreground", "--interface=wire"]
        words += ["--bind-interfaces", "--enable-ra", "--dhcp-range=fd00::,static,slaac,64,600s", "--leasefile-ro"]
        server = subprocess.Popen([*inside, *words, f"--pid-file={tmp_path}/pid"])
        stack.callback(server.wait)
        stack.callback(server.kill)
        until(lambda: len(addresses()) == 2 and "tentative" not in ip("-6 addr show dev eth1"))
        until(lambda: any(route.startswith("default fe80:") for route in routes()))
        yield addresses()


def test_it_is_forgotten_and_the_card_joins(heard) -> None:
    went = routes()
    assert len(went) == 2
    before = state()
    predicted = links.apply(PLAN, check=True)
    assert state() == before
    done = links.apply(PLAN)
    assert done["actions"] == predicted["actions"]
    assert {
        a for a in heard if f"forget address {a} of eth1, which bridge br100 advertises" in done["actions"]
    } == heard
    assert sum(action.startswith("forget route ") for action in done["actions"]) == len(went)
    assert all(f"address {address}" in done["diff"]["before"] for address in heard)
    assert state() == ("br100", set(), set(), "0", "1")
    assert addresses("br100") == {"fd00::2/64"} and routes("br100") == {"fd00::/64 "}
    assert not links.apply(PLAN)["changed"]
    # The bridge heeds nobody, as it forwards: what was heard does not come back there.
    until(lambda: not ip("-6 addr show dev br100 tentative"))
    assert addresses("br100") == {"fd00::2/64"} and addresses() == set()


@pytest.mark.parametrize("ranges", [(), ("fd01::/64",)])
def test_what_is_advertised_by_others_is_the_hosts_own(heard, ranges) -> None:
    before = state()
    with pytest.raises(HostError, match=r"interface eth1 carries the host's own address fd00::"):
        links.apply(section(*ranges))
    assert state() == before


@pytest.mark.parametrize(
    "given", ["fd00::5/64", "fd00::5/128", "fd00::5/64 valid_lft 600 preferred_lft 600", "fd01::5/64", "10.9.0.5/24"]
)
def test_what_somebody_gave_is_the_hosts_own(heard, given) -> None:
    ip(f"address add {given} dev eth1")
    with pytest.raises(HostError, match=rf"interface eth1 carries the host's own address {given.split()[0]},"):
        links.apply(PLAN)
    assert addresses() >= heard


def test_a_way_out_that_somebody_entered_is_the_hosts_own(heard) -> None:
    ip("-6 route add default via fe80::99 dev eth1 metric 50")
    with pytest.raises(HostError, match=r"eth1 carries the default route via fe80::99"):
        links.apply(PLAN)
    assert addresses() == heard


def test_the_connection_of_the_run_is_not_forgotten(heard) -> None:
    local = min(heard).partition("/")[0]
    with pytest.raises(HostError, match=rf"eth1 carries the Ansible connection \(to {local}\)"):
        links.apply(PLAN, local)
    assert addresses() == heard


def test_after_a_failure_it_is_back(heard) -> None:
    before = state()
    made = {address for address in heard if "ff:fe" in address}
    broken = section("fd00::/64", **{"net.ipv4.conf.br100.rp_filter": "x"})
    with pytest.raises(HostError, match="everything was put back"):
        links.apply(broken)
    # Its temporary address is another one: the kernel makes them.
    assert addresses() >= made and len(addresses()) == len(heard) == 2 and len(made) == 1
    assert (None, before[1], *state()[2:]) == before
    links.apply(PLAN)
    assert state() == ("br100", set(), set(), "0", "1")


def by_steps(step: t.Callable[[], None]) -> None:
    have, difference = links.look(core.parse(PLAN), None)
    netlink.apply(difference, have, batch=1, after_step=step)


def test_the_run_after_a_killed_one_ends_it(heard) -> None:
    netlink.load()  # once for all children
    steps, alive = 0, False
    while not alive:
        steps += 1
        assert steps < 50
        alive = not killed_at(steps, by_steps)
        links.apply(PLAN)
        assert state() == ("br100", set(), set(), "0", "1"), steps
        assert not links.apply(PLAN)["changed"]
        # As it was, until the next advertisement is asked for.
        links.apply({"bridges": [], "sysctl": {FORWARD: "0", HEED: "1"}})
        ip("link set eth1 down")
        ip("link set eth1 up")
        until(lambda: len(addresses()) == 2 and len(routes()) == 2)
    assert steps > 4


@pytest.mark.parametrize("wrong", ["fd00::1/64", "10.0.0.0/24", "fd00::", 7, None])
def test_a_range_is_one_of_ipv6(wrong) -> None:
    with pytest.raises(InputError, match=r"links\.bridges\[0\]\.advertised\[0\]: .* is not a range of IPv6"):
        links.apply(section(wrong))
