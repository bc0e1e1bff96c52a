# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan's section of floating addresses: what is refused, and what is to be done."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import floating_addresses as core
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.floating_addresses import Place

ONE = {"address": "203.0.113.7", "interface": "eth2"}

REFUSED = [
    (None, "floating_addresses: None is not a mapping"),
    ({}, "floating_addresses.addresses is required"),
    ({"addresses": [], "colour": "red"}, "unknown key 'colour'"),
    ({"addresses": ["203.0.113.7"]}, r"addresses\[0\]: '203.0.113.7' is not a mapping"),
    ({"addresses": [{"address": "203.0.113.7"}]}, r"addresses\[0\].interface is required"),
    ({"addresses": [{**ONE, "interface": "a-name-of-16-chr"}]}, r"addresses\[0\].interface: .*at most 15"),
    ({"addresses": [{**ONE, "address": "203.0.113.7/32"}]}, r"addresses\[0\].address: '203.0.113.7/32'"),
    ({"addresses": [{**ONE, "address": "127.0.0.1"}]}, "'127.0.0.1' is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "0.0.0.0"}]}, "'0.0.0.0' is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "239.1.1.1"}]}, "'239.1.1.1' is not an address that a host can have"),
    ({"addresses": [ONE, {**ONE, "interface": "eth3"}]}, r"addresses\[1\].address: '203.0.113.7' is already on eth2"),
    ({"addresses": [{**ONE, "address": "fe80::1"}]}, "'fe80::1' is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "ff0e::1"}]}, "'ff0e::1' is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "::1"}]}, "'::1' is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "::ffff:192.0.2.1"}]}, "is not an address that a host can have"),
    ({"addresses": [{**ONE, "address": "2001:db8::7"}, {**ONE, "address": "2001:DB8::7"}]}, "'2001:db8::7' is already"),
    ({"addresses": [ONE], "send_arp": -1}, "send_arp: -1"),
    ({"addresses": [ONE], "send_arp": "often"}, "send_arp: 'often'"),
]


@pytest.mark.parametrize(("section", "message"), REFUSED)
def test_a_mistake_is_named_by_its_path(section, message):
    with pytest.raises(InputError, match=message):
        core.parse(section)


def test_only_what_is_ours_and_not_wanted_goes():
    have = core.State(
        frozenset({"eth2", "eth3"}),
        {
            Place("203.0.113.7", "eth2"): True,
            Place("203.0.113.8", "eth2"): True,
            Place("203.0.113.9", "eth2"): False,
            Place("203.0.113.10", "eth2"): False,
        },
    )
    wanted = ["203.0.113.7", "203.0.113.9", "203.0.113.11"]
    want = core.parse({"addresses": [{"address": address, "interface": "eth2"} for address in wanted]})
    difference = core.compare(want, have)
    assert difference.bind == (Place("203.0.113.11", "eth2"),)
    assert difference.unbind == (Place("203.0.113.8", "eth2"),)
    assert difference.diff()["before"] == "eth2 203.0.113.8\n"
    assert difference.diff()["after"] == "eth2 203.0.113.11\n"
    assert not core.compare(core.parse({"addresses": [ONE, {**ONE, "address": "203.0.113.8"}]}), have)


@pytest.mark.parametrize(
    ("interface", "label"), [("eth2", "eth2:nova"), ("a" * 10, "aaaaaaaaaa:nova"), ("b" * 15, "bbbbbbbbbb:nova")]
)
def test_the_label_has_the_kernels_length(interface, label):
    assert core.label(interface) == label and len(label) <= 15
