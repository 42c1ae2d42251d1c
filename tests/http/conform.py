"""Does a JSON value have the form that the documented API gives it? The keywords that it uses, no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
SAYS_NOTHING = {"description", "title", "example", "format"}
KNOWN = {
    "$ref", "type", "enum", "oneOf", "properties", "required", "additionalProperties", "items", "prefixItems",
    "minItems", "maxItems", "minimum", "maximum", "minLength", "maxLength", *SAYS_NOTHING,
}  # fmt: skip


def resolve(document: dict[str, Any], reference: str) -> Any:
    """What a ``$ref`` points to; raises ``KeyError``."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def faults(document: dict[str, Any], schema: Any, value: Any, where: str = "$") -> Iterator[str]:
    """Each place where ``value`` is not as ``schema`` says."""
    unknown = set(schema) - KNOWN
    assert not unknown, f"conform does not know {unknown}"
    if "$ref" in schema:
        yield from faults(document, resolve(document, schema["$ref"]), value, where)
    if "oneOf" in schema:
        fitting = [part for part in schema["oneOf"] if not list(faults(document, part, value))]
        if len(fitting) != 1:
            yield f"{where}: fits {len(fitting)} alternatives"
    allowed = schema.get("type", list(TYPES))
    names = [allowed] if isinstance(allowed, str) else allowed
    if not any(isinstance(value, TYPES[name]) and (name == "boolean" or value is not True) for name in names):
        yield f"{where}: {value!r} is not {names}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    for low, high, size in (
        ("minimum", "maximum", value),
        ("minLength", "maxLength", value),
        ("minItems", "maxItems", value),
    ):
        amount = size if low == "minimum" else len(size) if isinstance(size, str | list) else None
        if isinstance(amount, int | float) and not schema.get(low, amount) <= amount <= schema.get(
            high, amount
        ):
            yield f"{where}: {amount} is out of bounds"
    if isinstance(value, dict):
        yield from _object_faults(document, schema, value, where)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            part = first[index] if index < len(first) else schema.get("items", {})
            if part is False:
                yield f"{where}[{index}]: one too many"
            else:
                yield from faults(document, part, item, f"{where}[{index}]")


def _object_faults(document: dict[str, Any], schema: Any, value: dict[str, Any], where: str) -> Iterator[str]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    yield from (f"{where}: {name!r} is absent" for name in schema.get("required", []) if name not in value)
    for name, item in value.items():
        if name in properties:
            yield from faults(document, properties[name], item, f"{where}.{name}")
        elif more is False:
            yield f"{where}: {name!r} is not documented"
        elif more is not True:
            yield from faults(document, more, item, f"{where}.{name}")
