# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module's main() shares: one try, one message, one shape of the answer.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import missing_required_lib

from ._core.errors import NovaError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def require(module: AnsibleModule, library: str, error: ImportError | None) -> None:
    """End the module with Ansible's own words where a library could not be imported."""
    if error is not None:
        module.fail_json(msg=missing_required_lib(library), exception=str(error))


def run(module: AnsibleModule, work: t.Callable[[], dict[str, t.Any]], large: t.Container[str] = ()) -> None:
    """Call `work` and exit with what it returns; a NovaError becomes the module's one message.

    The answer repeats the options, as Ansible's answers do, but for those that may be `large`.
    """
    try:
        result = work()
    except NovaError as error:
        module.fail_json(msg=str(error))
    else:
        said = {name: value for name, value in module.params.items() if name not in large}
        module.exit_json(invocation={"module_args": said}, **result)
