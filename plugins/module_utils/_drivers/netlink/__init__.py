# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading links, addresses and routes from the kernel, and executing the operations of `_core.links`.

What is measured and decided here (1,000 bridges with a port each):

- Reading goes over a plain socket and takes just the attributes that are needed off the raw answers, as they come
  (`layout`). pyroute2's parsed dump costs 3 s, `ip -json` 0.18 s, this 0.04 s, half of which is the kernel's own work.
  So a run with nothing to do does not even import pyroute2, which costs a quarter of a second.
- Writing has pyroute2 encode the messages (it knows the attributes and how they nest), many of them in one datagram.
  The kernel handles all messages of a datagram within the one system call, which makes a datagram atomic against a
  kill of this process; operations that must not be seen half done are therefore never split over two.
- Sending is left to a plain socket too: the sockets of pyroute2 0.7 and 0.9 differ, those of Python do not.

Private to the collection; may change at any time.
"""

from __future__ import annotations

from .applying import PutBack, apply, take_back
from .duties import read_duties
from .encoding import Library, LibraryMissing, load
from .reading import read
from .ways import read_ways

__all__ = ["Library", "LibraryMissing", "PutBack", "apply", "load", "read", "read_duties", "read_ways", "take_back"]
