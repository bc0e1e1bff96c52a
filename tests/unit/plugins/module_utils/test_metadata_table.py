# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metadata in flat networks: what differs from the table that a host has, and in which words it is told."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import metadata_table, packet_filter
from ansible_collections.tenantnet.nova.plugins.module_utils._core.bridge_table import NOTHING, Listing

MODEL = Listing(["the rules"], {})


def led(*ports: str, host: str | None = None) -> packet_filter.FlatMetadata:
    """The guests at these ports, the second half of them on another bridge."""
    half = (len(ports) + 1) // 2
    rows = [("br1", "10.0.1.0/24", ports[:half]), ("br2", "10.0.2.0/24", ports[half:])]
    networks = [{"bridge": bridge, "cidr": cidr, "ports": list(names)} for bridge, cidr, names in rows]
    return packet_filter.flat_metadata({"host": host, "port": 8775, "networks": networks})


def listed(want: packet_filter.FlatMetadata) -> Listing:
    return Listing(["the rules"], dict(metadata_table.elements(want)))


def test_a_network_without_guests_here_is_none() -> None:
    assert led("tap1").bridges == ("br1",)
    assert not led()


def test_one_port_more_or_less_is_an_element() -> None:
    difference = metadata_table.compare(led("tap1", "tap2"), listed(led("tap1", "tap3")), MODEL)
    assert difference.script.splitlines() == [
        'delete element bridge nova-network-metadata ports { "tap3" }',
        'add element bridge nova-network-metadata ports { "tap2" }',
    ]
    assert difference.actions() == [
        "lead tap2 to the metadata service",
        "no longer lead tap3 to the metadata service",
    ]


@pytest.mark.parametrize("host", [None, "192.0.2.9"])
def test_nothing_is_written_where_nothing_differs(host: str | None) -> None:
    want = led("tap1", "tap2", host=host)
    assert metadata_table.compare(want, listed(want), MODEL).script == ""
    assert metadata_table.compare(packet_filter.NO_FLAT_METADATA, None, NOTHING).script == ""


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (None, ["lead tap1 to the metadata service"]),
        (
            Listing(["other rules"], {"ports": frozenset([("tap1",)])}),
            ["restore the rules that lead guests of flat networks to their metadata"],
        ),
    ],
)
def test_other_rules_are_replaced_whole(present: t.Any, said: list[str]) -> None:
    want = led("tap1")
    difference = metadata_table.compare(want, present, MODEL)
    table = metadata_table.table(want)
    assert difference.script == table.replacement(metadata_table.elements(want))
    assert difference.actions() == said


def test_another_host_needs_no_ranges() -> None:
    assert set(metadata_table.elements(led("tap1", host="192.0.2.9"))) == {"ports"}
