# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seed of cloud-init's data source NoCloud: a small disk image that says who the guest is and what it has.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import json
import re
import typing as t

from .. import naming
from ..errors import InputError
from ..fields import text
from . import iso9660
from .network import network_config

#: The label by which cloud-init finds the image.
LABEL = "cidata"

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def nocloud_seed(ports: object, hostname: object, instance_id: object = None, user_data: object = None) -> bytes:
    """The image, the same bytes for the same input. cloud-init takes a guest with another instance_id for a new one."""
    name = naming.host_label(naming.host_name(hostname, "hostname"))
    meta_data = {
        "instance-id": name if instance_id is None else text(instance_id, "instance_id"),
        "local-hostname": name,
    }
    files = {
        "meta-data": _yaml(meta_data),
        "network-config": _yaml(network_config(ports)),
        "user-data": _user_data({} if user_data is None else user_data),
    }
    return iso9660.image(LABEL, files)


def _user_data(value: object) -> bytes:
    """A text as it is, whatever cloud-init may make of it; a mapping as a cloud-config. Messages keep its secrets."""
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict):
            return b"#cloud-config\n" + _yaml(value)
    except UnicodeError:
        raise InputError("user_data: holds bytes that are no text; write them in base64") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"user_data: {error}; put such a value in quotes") from None
    raise InputError(f"user_data: is a {type(value).__name__}; give a text, or a mapping for a cloud-config")


def _yaml(value: t.Any) -> bytes:
    """YAML, in the form of JSON, in which YAML wants some more characters escaped."""
    document = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", document).encode()
