# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and folders as every driver makes them: a file beside, then renamed.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from .._core.errors import HostError

#: Of a file that is being written.
_PREFIX = ".new-"


def read(path: str) -> str | None:
    """The file's text, or None where there is none. HostError when it cannot be read."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot read {path}: {error}") from error


def names_in(folder: str) -> list[str]:
    """What is in the folder, without hidden files; nothing where there is no folder."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HostError(f"cannot list {folder}: {error}") from error


def write(path: str, content: str | bytes, mode: int = 0o644) -> None:
    """Replace the file in one step: a reader sees the old text or the new one, a killed writer leaves the old."""
    folder = os.path.dirname(path)
    temporary = None
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content.encode("utf-8") if isinstance(content, str) else content)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise HostError(f"cannot write {path}: {error}; the file is as it was") from error


def remove(path: str) -> None:
    """Remove the file, or the folder with all that is in it, if it is there."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HostError(f"cannot remove {path}: {error}") from error


def make_folder(path: str) -> None:
    """Make the folder and those above it, for everyone to enter: some programs read in them without privileges."""
    if os.path.isdir(path):
        return
    make_folder(os.path.dirname(path))
    try:
        os.mkdir(path)
        os.chmod(path, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"cannot make the folder {path}: {error}") from error


def sweep(folder: str) -> None:
    """Remove what a killed writer left beside the files."""
    for name in os.listdir(folder):
        if name.startswith(_PREFIX):
            remove(f"{folder}/{name}")
