# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site with floating IPs and instances to try the rules about them on."""

from __future__ import annotations

import contextlib
import typing as t

import a_record
import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.ledger import Ledger, MemoryLedger
from ansible_collections.tenantnet.nova.plugins.module_utils._core.state import (
    FixedIp,
    FloatingIp,
    Network,
    State,
)

#: Instances of project acme are i0, i2 and i4, those of project other i1, i3 and i5.
OF_I0, OF_I0_V6, OF_I0_RED, OF_I1, OF_I2 = "10.0.0.2", "fd00::2", "10.1.0.2", "10.0.0.3", "10.0.0.4"
OF_I3_FLAT, GIVEN_BACK, OF_HOST = "10.2.0.2", "10.0.0.9", "10.0.0.8"


def networks() -> list[Network]:
    """blue, red and plain, which is flat; red is an instance's first one."""
    return [
        a_record.network("blue", "10.0.0.0/24", cidr_v6="fd00::/64", gateway_v6="fd00::1"),
        a_record.network("red", "10.1.0.0/16", priority=5),
        a_record.network("plain", "10.2.0.0/24", manager="flat"),
    ]


def site(*more: t.Any) -> State:
    """The pool nova has 192.0.2.8 to 192.0.2.11, and ext has one of each version."""
    return a_record.site(
        6,
        *networks(),
        *(a_record.vif(name, "plain") for name in ("i0", "i2", "i3")),
        FixedIp(OF_I0, 4, "blue", "i0"),
        FixedIp(OF_I0_V6, 6, "blue", "i0"),
        FixedIp(OF_I0_RED, 4, "red", "i0"),
        FixedIp(OF_I1, 4, "blue", "i1"),
        FixedIp(OF_I2, 4, "blue", "i2"),
        FixedIp(OF_I3_FLAT, 4, "plain", "i3"),
        FixedIp(GIVEN_BACK, 4, "blue", released_at=1.0),
        FixedIp(OF_HOST, 4, "blue", host="h1"),
        FloatingIp("198.51.100.1", "ext", "eth9", origin="command"),
        FloatingIp("2001:db8::1", "ext", "eth9", origin="command"),
        *more,
    )


def floating(address: str, project: str | None = "acme", to: str | None = None, **more: t.Any) -> FloatingIp:
    by = {"allocated_by": "command" if project else None, "associated_by": "command" if to else None}
    return FloatingIp(address, "nova", None, project, to, **{"origin": "command", **by, **more})


def ledger(*more: t.Any) -> MemoryLedger:
    return MemoryLedger(site(*more))


@contextlib.contextmanager
def refused(held: MemoryLedger, message: str) -> t.Iterator[None]:
    """In just these words, and nothing is changed."""
    before = held.state()
    with pytest.raises(InputError) as caught:
        yield
    assert str(caught.value) == message
    assert held.state() == before


def row_of(held: Ledger, address: str) -> FloatingIp:
    row = held.get(FloatingIp, address)
    assert row is not None
    return row
