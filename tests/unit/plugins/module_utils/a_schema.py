"""What docs/host_plan.schema.json says of host plans: help for the tests beside."""

from __future__ import annotations

import json
import pathlib
import typing as t

import jsonschema

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "host_plan.schema.json").read_text())


def valid(made: dict[str, t.Any]) -> dict[str, t.Any]:
    """These plans, by their hosts, if each is what the schema describes."""
    for plan in made.values():
        jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(plan)
    return made
