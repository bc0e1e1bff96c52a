# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes of rules do, a line for each whom they concern."""

from __future__ import annotations

from ansible_collections.tenantnet.nova.plugins.module_utils._core.packet_filter import wording

BLUE, RED, ONE, TWO = "network blue", "network red", "floating IP 192.0.2.1", "floating IP 192.0.2.2"


def test_each_subject_has_one_line_in_the_order_of_telling():
    subjects = wording.Subjects()
    subjects.tell("add", [(BLUE, "DNS"), (BLUE, "SNAT"), (BLUE, "DNS")])
    subjects.tell_ways("add", [(ONE, "the way to 10.0.0.2"), (TWO, "the way to 10.0.0.3")])
    subjects.tell("remove", [(RED, "SNAT"), (BLUE, "DHCP")])
    subjects.tell_ways("remove", [(ONE, "the way to 10.0.0.9")])
    subjects.tell_ways("add", [(ONE, "the way from 10.0.0.2")])
    subjects.tell("add", [(ONE, "a word")])
    told = [
        "network blue: remove DHCP; add DNS, SNAT",
        "floating IP 192.0.2.1: remove the way to 10.0.0.9; add a word, the way to 10.0.0.2, the way from 10.0.0.2",
        "floating IP 192.0.2.2: add the way to 10.0.0.3",
        "network red: remove SNAT",
    ]
    assert subjects.lines("ipv4") == subjects.lines("ipv4") == told
    assert subjects.lines("ipv6") == [f"{line} (IPv6)" for line in told]
