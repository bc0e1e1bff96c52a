"""The filters as templates call them, and their documented examples."""

from __future__ import annotations

import pathlib
import typing as t

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.tenantnet.nova.plugins.filter import networks, plans

FOLDER = pathlib.Path(networks.__file__).parent
FILTERS = networks.FilterModule().filters() | plans.FilterModule().filters()


def documentation(name: str) -> dict[str, t.Any]:
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text())


@pytest.mark.parametrize("name", list(FILTERS))
def test_the_documented_example_gives_the_documented_value(name: str) -> None:
    example = documentation(name)["EXAMPLES"]
    expected = yaml.safe_load(example.splitlines()[0].lstrip("# "))
    (task,) = yaml.safe_load(example)
    expression = task["ansible.builtin.debug"]["msg"].strip("{} ").replace(f"tenantnet.nova.{name}", "called")
    environment = jinja2.Environment(autoescape=False)
    environment.filters["called"] = FILTERS[name]
    assert environment.compile_expression(expression)(**task.get("vars", {})) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("carve", ("10.0.0.0/24", 2, 200), "power of two"),
        ("carve", ("10.0.0.0/24", "many"), "num_networks: 'many'"),
        ("carve", ("10.0.0.0", 1), "'10.0.0.0' is not a range such as"),
        ("carve", ("10.0.0.0/24", 1, None, "10.0.0.0/25"), "used: '10.0.0.0/25' is not a list"),
        ("reserved_addresses", ("10.0.0.0/24", "x"), "gateway: 'x'"),
        ("free_address", ("10.0.0.0/30", 2), "10.0.0.0/30 has fewer than 2 free addresses"),
        ("free_address", ("10.0.0.0/24", 1, ["x"]), r"used\[0\]: 'x'"),
        ("vlan_name", (4095,), "vlan: 4095 is not from 1 to 4094"),
        ("vlan_bridge_name", ("blue",), "vlan: 'blue'"),
        ("unpacked", ("blue",), "value: 'blue' is neither packed nor JSON"),
        ("unpacked", ({"links": "packed:blue"},), "plan.links: 'packed:blue'"),
    ],
)
def test_what_is_wrong_with_the_input_is_the_templates_error(name: str, arguments: tuple, named: str) -> None:
    with pytest.raises(AnsibleError, match=f"{name}: .*{named}"):
        FILTERS[name](*arguments)


def test_thousands_at_once_are_no_matter() -> None:
    assert len(FILTERS["carve"]("10.0.0.0/8", 4094, 256)) == 4094
    assert FILTERS["free_address"]("10.0.0.0/16", 60000) == "10.0.234.97"
