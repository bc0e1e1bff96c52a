# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: what it promises to the tests that stand on it."""

from __future__ import annotations


def test_hosts_are_apart(three_hosts):
    for name, host in three_hosts.hosts.items():
        host.run(["iptables", "-N", f"only-{name}"])
        host.write("/etc/tenantnet/marker", name)
    for name, host in three_hosts.hosts.items():
        assert host.run(["hostname"]).stdout.strip() == name
        chains = [line for line in host.run(["iptables", "-S"]).stdout.splitlines() if line.startswith("-N")]
        assert chains == [f"-N only-{name}"]
        assert host.read("/etc/tenantnet/marker") == name
