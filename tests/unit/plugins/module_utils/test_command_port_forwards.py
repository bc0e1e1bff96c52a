# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Port forwards by command: made, moved, taken away and listed."""

from __future__ import annotations

import typing as t

import a_record
import pytest
from a_module import refusal, succeed
from a_record import fixed_ip
from a_store import content, dump, keep
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import FloatingIp, PortForward

HELD = (
    fixed_ip("10.0.0.2", instance="i0"),
    fixed_ip("10.1.0.7", instance="i0"),
    fixed_ip("10.0.0.3", instance="i1"),
    FloatingIp("198.51.100.1", "public", None, "acme", "10.0.0.2", False, "command", "command", "command"),
    FloatingIp("198.51.100.2", "public", None, "acme", None, False, "command", None, "command"),
    FloatingIp("198.51.100.3", "public", None, "other", None, False, "command", None, "command"),
    FloatingIp("198.51.100.4", "public", origin="command"),
    PortForward("198.51.100.3", "udp", 53, 53, "10.0.0.3", 5353),
)
SHARED = {"address": "198.51.100.2", "protocol": "tcp"}


@pytest.fixture
def site(url: str) -> str:
    """Instance i0 of acme, with two NICs, and i1 of the project other; who has which floating IP is above."""
    keep(url, a_record.site(2, *HELD))
    return url


def forwards(url: str) -> list[PortForward]:
    return list(content(url).port_forwards.values())


def test_ports_are_led_moved_and_given_up(site: str) -> None:
    first = forwards(site)
    asked = {"state_url": site, **SHARED, "ports": "8000:8010", "instance": "i0", "fixed_port": 80}
    before = dump(site)
    foretold = succeed("port_forward", check_mode=True, **asked)
    assert foretold["changed"] and dump(site) == before
    made = succeed("port_forward", **asked)
    assert made["actions"] == foretold["actions"] and len(made["actions"]) == 1
    assert made["port_forward"] == {
        **SHARED,
        "ports": "8000:8010",
        "project": "acme",
        "instance": "i0",
        "network": "blue",
        "fixed_address": "10.0.0.2",
        "fixed_ports": "80:90",
        "origin": "command",
    }
    there = dump(site)
    assert not succeed("port_forward", **asked)["changed"]
    assert dump(site) == there

    moved = succeed("port_forward", **{**asked, "network": "red", "fixed_port": 8000})
    assert moved["changed"] and moved["port_forward"]["fixed_address"] == "10.1.0.7"
    assert moved["port_forward"]["fixed_ports"] == "8000:8010"
    assert len(forwards(site)) == len(first) + 1

    gone = {"state_url": site, "state": "absent", **SHARED, "ports": "8000:8010"}
    taken = succeed("port_forward", **gone)
    assert taken["changed"] and taken["port_forward"] is None and len(taken["actions"]) == 1
    assert forwards(site) == first
    assert not succeed("port_forward", **gone)["changed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "198.51.100.9"}, ["198.51.100.9"]),
        ({"address": "198.51.100.4"}, ["198.51.100.4", "not allocated to any project; allocate it first"]),
        ({"address": "198.51.100.1"}, ["all of floating IP 198.51.100.1 leads to 10.0.0.2", "disassociate it first"]),
        ({"address": "198.51.100.3"}, ["198.51.100.3", "other"]),
        ({"ports": "80:70"}, ["ports: "]),
        ({"ports": "0"}, ["ports: "]),
        ({"ports": "100:200", "fixed_port": 65500}, ["fixed_port: ", "begin with at most 65435"]),
        ({"instance": "i9"}, ["'i9'"]),
        ({"network": "green"}, ["green"]),
        ({"address": "host"}, ["address: 'host'"]),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    site: str, options: dict[str, t.Any], words: list[str]
) -> None:
    before = dump(site)
    message = refusal("port_forward", **{"state_url": site, **SHARED, "ports": "80", "instance": "i0", **options})
    assert all(word in message for word in words), message
    assert dump(site) == before


def test_a_port_leads_to_one_instance(site: str) -> None:
    asked = {"state_url": site, **SHARED, "instance": "i0"}
    succeed("port_forward", **asked, ports="80:90")
    assert "overlaps 80:90, which leads to 10.0.0.2" in refusal("port_forward", **asked, ports="85:99")
    assert "is 80:90; name these ports" in refusal("port_forward", state_url=site, state="absent", **SHARED, ports="80")
    assert succeed("port_forward", **{**asked, "protocol": "udp"}, ports="85:99")["changed"]


def test_the_list(site: str) -> None:
    succeed("port_forward", state_url=site, **SHARED, ports="80", instance="i0", fixed_port=8080)
    told = succeed("port_forward_info", state_url=site)
    assert told["table"] == [
        "project  address       protocol  ports  instance  fixed_address  fixed_ports",
        "acme     198.51.100.2  tcp       80     i0        10.0.0.2       8080",
        "other    198.51.100.3  udp       53     i1        10.0.0.3       5353",
    ]
    assert [row["origin"] for row in told["port_forwards"]] == ["command", "inventory"]
    for filters in ({"address": "198.51.100.3"}, {"instance": "i1"}, {"project": "other"}):
        assert succeed("port_forward_info", state_url=site, **filters)["port_forwards"] == told["port_forwards"][1:]
    assert succeed("port_forward_info", state_url=site, instance="i9")["table"] == ["No port forwards found"]
    assert refusal("port_forward_info", state_url=site, address="x") == (
        "address: 'x' is not an address such as '10.0.0.5' or 'fd00::5'"
    )
