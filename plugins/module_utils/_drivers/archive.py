# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The code that runs here as a program of its own: one file that any later boot can run.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import io
import sys
import typing as t
import zipfile

from .._core.errors import HostError

_HOME = __name__.rpartition(".")[0].rpartition(".")[0]
_ROOMS = (f"{_HOME}._core", f"{_HOME}._drivers")
#: What the program calls its own package.
_PACKAGE = "tenantnet_nova"
#: The earliest time that a zip file can tell: the same code is the same bytes, whenever it is packed.
_TIME = (1980, 1, 1, 0, 0, 0)


def build(python: str, entry: t.Callable[[], int]) -> bytes:
    """The program, for that interpreter: all that this process has loaded of the core and the drivers.

    It calls `entry`, a function of one of these files, and ends with the status that this returns.
    """
    room = entry.__module__[len(_HOME) :]
    main = f"from {_PACKAGE}{room} import {entry.__name__}\n\nraise SystemExit({entry.__name__}())\n"
    content = {"__main__.py": main, f"{_PACKAGE}/__init__.py": ""}
    for name, module in list(sys.modules.items()):
        if any(name == room or name.startswith(f"{room}.") for room in _ROOMS):
            path = name[len(_HOME) + 1 :].replace(".", "/")
            path += "/__init__.py" if hasattr(module, "__path__") else ".py"
            content[f"{_PACKAGE}/{path}"] = _source(name, module)
    packed = io.BytesIO(f"#!{python} -I\n".encode())
    packed.seek(0, io.SEEK_END)
    # Stored as it is: what compresses differs from one version of zlib to the next.
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        for path in sorted(content):
            archive.writestr(zipfile.ZipInfo(path, _TIME), content[path])
    return packed.getvalue()


def _source(name: str, module: t.Any) -> str:
    try:
        source = module.__spec__.loader.get_source(name)
    except (AttributeError, ImportError, OSError) as error:
        raise HostError(f"cannot read the source of {name}, which the program for the boot needs: {error}") from error
    return t.cast(str, source or "")
