"""Large values as short texts: what is packed comes back, and what is none is refused in one message."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import packed
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES.filter(lambda value: not isinstance(value, str)))
def test_what_is_packed_comes_back(value: t.Any) -> None:
    text = packed.pack(value)
    assert isinstance(text, str)
    assert packed.unpack(text, "x") == value
    assert packed.pack(value) == text
    assert packed.unpack(json.dumps(value), "x") == value
    assert packed.unpack(value, "x") is value


def test_ten_thousand_addresses_are_a_short_text() -> None:
    value = [{"address": f"172.16.{n >> 8}.{n & 255}", "interface": "eth2"} for n in range(10_000)]
    text = packed.pack(value)
    assert len(text) < len(json.dumps(value)) / 5
    # Nothing that JSON or a Python literal has to escape.
    assert json.dumps(text) == f'"{text}"' and repr(text) == f"'{text}'"


def test_a_plan_keeps_what_is_short_and_all_it_has() -> None:
    plan = {"version": 1, "host": "h1", "backend": "nftables", "links": {"bridges": []}, "instances": []}
    text = packed.pack_plan(plan)
    assert {key for key in plan if text[key] == plan[key]} == {"version", "host", "backend"}
    assert packed.unpack_plan(text) == packed.unpack_plan(plan) == plan


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("packed:!", "plan.links: 'packed:!' is neither packed nor JSON"),
        (packed.pack({"bridges": []})[:-8], "plan.links: 'packed:.*' is neither packed nor JSON"),
        ("bridges", "plan.links: 'bridges' is neither packed nor JSON"),
        (["br100"], "plan.links: list is not a mapping"),
        (None, "plan.links: NoneType is not a mapping"),
        (packed.pack([1]), "plan.links: list is not a mapping"),
    ],
)
def test_what_is_no_section_is_refused(value: object, named: str) -> None:
    with pytest.raises(InputError, match=named) as refused:
        packed.section(value, "plan.links")
    assert "\n" not in str(refused.value)
