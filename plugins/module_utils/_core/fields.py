# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading untyped input: each reader returns a plain value or raises InputError naming path, value and rule.

Private to the collection; may change at any time.
"""

from __future__ import annotations

import re
import typing as t

from . import addressing, naming
from .errors import InputError

_NUMBER = re.compile(r"-?[0-9]+\Z")
_TRUE = ("true", "yes", "on", "1", "t", "y")
_FALSE = ("false", "no", "off", "0", "f", "n")


class Fields:
    """One mapping of the input, read key by key; `done()` refuses keys that nobody read.

    A key whose value is null counts as absent.
    """

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{path}: {value!r} is not a mapping of names to values")
        self._values: dict[t.Any, t.Any] = value
        self._known: set[str] = set()
        self.path = path

    def where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def raw(self, key: str, default: t.Any = None) -> t.Any:
        """The value as it is, null too; `default` where there is no such key."""
        self._known.add(key)
        return self._values.get(key, default)

    def required(self, key: str) -> t.Any:
        """The value as it is, which must be there."""
        self._known.add(key)
        value = self._values.get(key)
        return self._required(key, value) if value is None else value

    def done(self) -> None:
        if not self._values.keys() <= self._known:
            unknown = [repr(key) for key in self._values if key not in self._known]
            raise InputError(
                f"{self.path}: unknown {'key' if len(unknown) == 1 else 'keys'} {', '.join(unknown)}; "
                f"known are {', '.join(sorted(self._known))}"
            )

    def _required(self, key: str, value: t.Any) -> t.Any:
        if value is None:
            raise InputError(f"{self.where(key)} is required")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.optional_text(key)
        return t.cast(str, self._required(key, default if value is None else value))

    def optional_text(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else text(value, self.where(key))

    def boolean(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        return default if value is None else boolean(value, self.where(key))

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false themselves, as a plan has them; a null is neither."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.where(key)}: {value!r} is neither true nor false")
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.optional_integer(key, low, high)
        return default if value is None else value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        value = self.raw(key)
        return None if value is None else integer(value, self.where(key), low, high)

    def address(self, key: str) -> str:
        return addressing.address(self.required(key), self.where(key))

    def any_address(self, key: str) -> str:
        return addressing.any_address(self.required(key), self.where(key))

    def optional_address(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else addressing.address(value, self.where(key))

    def optional_address_v6(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else addressing.address_v6(value, self.where(key))

    def optional_any_address(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else addressing.any_address(value, self.where(key))

    def optional_network(self, key: str) -> addressing.Range | None:
        value = self.raw(key)
        return None if value is None else addressing.network(value, self.where(key))

    def optional_network_v6(self, key: str) -> addressing.Range | None:
        value = self.raw(key)
        return None if value is None else addressing.network_v6(value, self.where(key))

    def network(self, key: str) -> addressing.Range:
        return addressing.network(self.required(key), self.where(key))

    def optional_interface(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else naming.interface_name(value, self.where(key))

    def optional_mac(self, key: str) -> str | None:
        value = self.raw(key)
        return None if value is None else addressing.mac(value, self.where(key))

    def items(self, key: str) -> list[tuple[str, t.Any]]:
        """The list under key as pairs of path and value; an absent one is empty."""
        value = self.raw(key)
        return [] if value is None else items(value, self.where(key))

    def addresses(self, key: str) -> tuple[str, ...]:
        return tuple(addressing.address(value, path) for path, value in self.items(key))

    def networks(self, key: str) -> tuple[str, ...]:
        return tuple(addressing.network(value, path).cidr for path, value in self.items(key))


def items(value: object, path: str) -> list[tuple[str, t.Any]]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{path}: {value!r} is not a list")
    return [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]


def text(value: object, path: str, longest: int = 255) -> str:
    """A line of text: printable, not empty, without blanks at its ends."""
    if not isinstance(value, str):
        raise InputError(f"{path}: {value!r} is not a text; put it in quotes")
    if not value or value != value.strip() or not value.isprintable():
        raise InputError(f"{path}: {value!r} is not a name; use printable characters without blanks at the ends")
    if len(value) > longest:
        raise InputError(f"{path}: {value[:20]!r}... has {len(value)} characters; at most {longest} are allowed")
    return value


def boolean(value: object, path: str) -> bool:
    """A truth value in any of Ansible's spellings."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InputError(f"{path}: {value!r} is neither true nor false")


def integer(value: object, path: str, low: int, high: int) -> int:
    if isinstance(value, str) and _NUMBER.match(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{path}: {value!r} is not a whole number from {low} to {high}")
    if not low <= value <= high:
        raise InputError(f"{path}: {value} is not from {low} to {high}")
    return value
