# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module's main() shares: one try, one message, one shape of the answer.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ._core.errors import NovaError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run(module: AnsibleModule, work: t.Callable[[], dict[str, t.Any]]) -> None:
    """Call `work` and exit with what it returns; a NovaError becomes the module's one message."""
    try:
        result = work()
    except NovaError as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)
