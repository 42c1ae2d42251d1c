"""Kinds of operators against their structural schemas, as an API server takes them that validates strictly.

Such a schema says nothing against fields that it does not name; the server refuses them all the same, unless
``x-kubernetes-preserve-unknown-fields`` keeps them. Keys of lists that are maps, and items of lists that are
sets, are there once. Before rules are evaluated the server puts defaults in.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it brings no types

from tests.deploy.manifests import Documents, called
from tests.deploy.strict import CUSTOM, group, told

SCHEMAS = Path(__file__).parents[3] / "shared" / "crd-schemas"
"""Of this layout: GROUP/KIND_VERSION.json, as the public CRDs-catalog has it."""
WIDTHS = {"int32": 2**31, "int64": 2**63}


def schema_of(api_version: str, kind: str) -> Mapping[str, Any]:
    """Raises ``FileNotFoundError`` where there is none."""
    where, _, version = api_version.partition("/")
    return _read(SCHEMAS / where / f"{kind.lower()}_{version}.json")


def custom_problems(documents: Documents) -> list[str]:
    """Of objects of the operators' kinds."""
    problems = []
    for each in documents:
        if group(each) not in CUSTOM:
            continue
        try:
            schema = schema_of(each["apiVersion"], each["kind"])
        except FileNotFoundError:
            problems.append(f"{called(each)}: no schema for {each['apiVersion']} {each['kind']}")
            continue
        problems += [f"{called(each)} {problem}" for problem in misfits(each, schema)]
    return problems


def misfits(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object."""
    values = [told(value, error) for error in jsonschema.Draft7Validator(schema).iter_errors(value)]
    return list(dict.fromkeys([*values, *_structure(value, schema, "")]))


def defaulted(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy with the schema's defaults where nothing is given."""
    if isinstance(value, dict):
        named = schema.get("properties", {})
        given = {
            key: copy.deepcopy(inside["default"])
            for key, inside in named.items()
            if "default" in inside and key not in value
        }
        return {key: defaulted(each, inner(schema, key)) for key, each in {**value, **given}.items()}
    if isinstance(value, list):
        return [defaulted(each, schema.get("items", {})) for each in value]
    return value


def inner(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The schema of a key's value; empty where anything goes."""
    found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


@cache
def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _structure(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """What JSON Schema does not ask for and the server does."""
    if isinstance(value, dict):
        named = schema.get("properties")
        kept = schema.get("x-kubernetes-preserve-unknown-fields") or isinstance(
            schema.get("additionalProperties"), dict
        )
        for key, each in value.items():
            if named is not None and key not in named and not kept:
                yield f"{path}.{key}: unknown field".lstrip(".")
            yield from _structure(each, inner(schema, key), f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        yield from _repeated(value, schema, path)
        for place, each in enumerate(value):
            yield from _structure(each, schema.get("items", {}), f"{path}[{place}]")
    else:
        yield from _formatted(value, schema, path)


def _repeated(items: list[Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") == "map" and keys:
        named = schema.get("items", {})
        told_by = [
            tuple(defaulted(each, named).get(key) for key in keys) for each in items if isinstance(each, dict)
        ]
    elif schema.get("x-kubernetes-list-type") == "set":
        told_by = [(json.dumps(each, sort_keys=True),) for each in items]
    else:
        return
    for repeated in sorted({str(each) for each in told_by if told_by.count(each) > 1}):
        yield f"{path}: {repeated} is there twice"


def _formatted(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    form = schema.get("format")
    if form in WIDTHS and isinstance(value, int) and not -WIDTHS[form] <= value < WIDTHS[form]:
        yield f"{path}: {value} is no {form}"
    if form == "date-time" and isinstance(value, str):
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError:
            yield f"{path}: {value!r} is no date-time"
