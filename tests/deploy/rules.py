"""Rules that operators' schemas carry in CEL (``x-kubernetes-validations``), evaluated as an API server does.

``self`` is the value that a rule is at, with the schemas' defaults in it. Fields whose names CEL cannot write
are escaped as Kubernetes escapes them. Rules about a change (``oldSelf``) hold for a new object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import cel

from tests.deploy.custom import defaulted, inner, schema_of
from tests.deploy.manifests import Documents, called
from tests.deploy.strict import CUSTOM, group

RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let",
    "loop", "namespace", "null", "package", "return", "true", "var", "void", "while",
})  # fmt: skip
"""Words of CEL that no field may be called."""
ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
BUILTINS = frozenset({"contains", "duration", "endsWith", "matches", "size", "startsWith"})
"""Functions that rules may call, besides macros: none of Kubernetes' own libraries is asked for so far."""


class Rule(NamedTuple):
    """One of a schema's rules."""

    path: str
    """Of the value that is ``self``; items of lists and values of maps are ``[]``."""
    rule: str
    message: str | None = None
    expression: str | None = None
    """In CEL: what to say instead."""

    @property
    def of_a_change(self) -> bool:
        return "oldSelf" in cel.compile(self.rule).variables()


def rule_problems(documents: Documents) -> list[str]:
    """Rules that objects break, and rules that cannot be evaluated on them."""
    problems = []
    for each in documents:
        if group(each) not in CUSTOM:
            continue
        try:
            schema = schema_of(each["apiVersion"], each["kind"])
        except FileNotFoundError:
            continue  # custom_problems says so
        problems += [f"{called(each)} {problem}" for problem in broken(each, schema)]
    return problems


def broken(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What rules say against an object."""
    return list(_broken(defaulted(value, schema), schema, ""))


def rules(schema: Mapping[str, Any], path: str = "") -> Iterator[Rule]:
    """All rules of a schema."""
    yield from _here(schema, path)
    for key, inside in schema.get("properties", {}).items():
        yield from rules(inside, f"{path}.{key}".lstrip("."))
    for inside in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inside, dict):
            yield from rules(inside, f"{path}[]")


def unknown_functions(rule: str) -> set[str]:
    """Functions that the evaluator may lack, also where an evaluation would not come by."""
    used = cel.compile(rule).functions()
    return {name for name in used if re.fullmatch(r"\w+", name) and not name.startswith("_")} - BUILTINS


def _here(schema: Mapping[str, Any], path: str) -> Iterator[Rule]:
    for each in schema.get("x-kubernetes-validations", ()):
        yield Rule(path, each["rule"].strip(), each.get("message"), each.get("messageExpression"))


def _broken(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for rule in _here(schema, path):
        if not rule.of_a_change:
            yield from _said(rule, _escaped(value, schema))
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _broken(each, inner(schema, key), f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _broken(each, schema.get("items", {}), f"{path}[{place}]")


def _said(rule: Rule, value: Any) -> Iterator[str]:
    try:
        held = _compiled(rule.rule).execute({"self": value})
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        yield f"{rule.path}: cannot be evaluated ({error}): {rule.rule}"
        return
    if held is True:
        return
    if held is not False:
        yield f"{rule.path}: is {held!r} instead of a bool: {rule.rule}"
        return
    words = _compiled(rule.expression).execute({"self": value}) if rule.expression else rule.message
    yield f"{rule.path}: {words or 'failed rule: ' + rule.rule}"


@cache
def _compiled(rule: str) -> cel.Program:
    return cel.compile(rule)


def _escaped(value: Any, schema: Mapping[str, Any]) -> Any:
    """With the names of fields as CEL has them; keys of maps stay."""
    if isinstance(value, dict):
        fields = schema.get("properties")
        return {
            (_escape(key) if fields is not None else key): _escaped(each, inner(schema, key))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_escaped(each, schema.get("items", {})) for each in value]
    return value


def _escape(name: str) -> str:
    if name in RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda found: ESCAPES[found[0]], name)
