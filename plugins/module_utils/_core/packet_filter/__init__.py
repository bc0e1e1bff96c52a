# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan's section `packet_filter` asks of a host, in words that fit every back end.

Two steps: `parse` (section, with `ways` for what leads to guests) checks the section and names the path of what is
wrong in it; `intent` (meaning) turns the checked section into the facts a back end renders (what is translated, what
is kept from translation, which bridges forward, which bridges offer DHCP and DNS, which addresses of this host lead to
guests). `since` tells where a section differs from the one applied before in a few floating IPs alone.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .meaning import Forwarding, Intent, Translation, Untranslated, intent, needs_own_address
from .metadata import METADATA_ADDRESS, METADATA_PORT, NO_FLAT_METADATA, Flat, FlatMetadata, Metadata, flat_metadata
from .section import Section, parse
from .since import Few, Kept, Step, few, is_plain, keep, step
from .ways import FloatingIp, Hairpin, PortForward

__all__ = [
    "METADATA_ADDRESS",
    "METADATA_PORT",
    "NO_FLAT_METADATA",
    "Few",
    "Flat",
    "FlatMetadata",
    "FloatingIp",
    "Forwarding",
    "Hairpin",
    "Intent",
    "Kept",
    "Metadata",
    "PortForward",
    "Section",
    "Step",
    "Translation",
    "Untranslated",
    "few",
    "flat_metadata",
    "intent",
    "is_plain",
    "keep",
    "needs_own_address",
    "parse",
    "step",
]
