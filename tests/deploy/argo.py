"""What Argo Rollouts makes of a measurement: the parts of its languages that our AnalysisTemplates use.

Conditions are of expr-lang, here `&& || !`, comparisons, fields of objects, `nil`, `len` and an index;
anything else is refused, so that a template cannot use what nobody here has tried. A path is of Kubernetes'
JSONPath: fields, and one filter by a text. Fields that an object lacks are nil; a field of nil is an error,
as there.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Phase: TypeAlias = Literal["Successful", "Failed", "Inconclusive", "Error"]
COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class MeasurementError(Exception):
    """Argo counts it as an error, not as a failure."""


def filled(text: str, args: Mapping[str, str]) -> str:
    """With ``{{args.NAME}}`` replaced; raises ``KeyError`` where an argument lacks."""
    return re.sub(r"{{args\.([\w-]+)}}", lambda found: args[found[1]], text)


def chosen(document: Any, path: str) -> Any:
    """The first value that a JSONPath finds; raises ``MeasurementError`` where it finds none."""
    inside = re.fullmatch(r"{\$(.+)}", path)
    steps = re.findall(r'\.(\w+)|\[\?\(@\.(\w+)=="([^"]*)"\)\]', inside[1]) if inside else []
    if inside is None or not steps:
        raise MeasurementError(f"unknown path {path}")
    for field, key, text in steps:
        if key:
            document = next((each for each in document if each.get(key) == text), None)
        elif isinstance(document, dict) and field in document:
            document = document[field]
        else:
            raise MeasurementError(f"{field} is not found")
        if document is None:
            raise MeasurementError("the path produced no value")
    return document


def holds(condition: str, result: Any) -> bool:
    """Whether a condition holds; raises ``MeasurementError`` where it cannot be told."""
    python = condition.replace("&&", " and ").replace("||", " or ")
    python = re.sub(r"!(?!=)", " not ", python)
    try:
        found = _value(ast.parse(python.strip(), mode="eval").body, result)
    except (TypeError, LookupError, SyntaxError) as error:
        raise MeasurementError(f"{condition}: {error}") from error
    if not isinstance(found, bool):
        raise MeasurementError(f"{condition} is {found!r}")
    return found


def _value(node: ast.expr, result: Any) -> Any:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_value(each, result) for each in node.values)
        case ast.BoolOp():
            return any(_value(each, result) for each in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, result)
        case ast.Compare(ops=[op], comparators=[right]):
            return COMPARED[type(op)](_value(node.left, result), _value(right, result))
        case ast.Attribute():
            of = _value(node.value, result)
            if not isinstance(of, dict):
                raise TypeError(f"{node.attr} of {of!r}")
            return of.get(node.attr)
        case ast.Subscript(slice=ast.Constant(value=int(place))):
            return _value(node.value, result)[place]
        case ast.Call(func=ast.Name(id="len"), args=[of]):
            return len(_value(of, result))
        case ast.Constant():
            return node.value
        case ast.Name(id="nil"):
            return None
        case ast.Name(id="result"):
            return result
    raise SyntaxError(f"{ast.dump(node)} is none of the parts that are known")


def phase(metric: Mapping[str, Any], result: Any) -> Phase:
    """Of one measurement of a metric with both conditions: a failure is looked for first."""
    try:
        failed, right = holds(metric["failureCondition"], result), holds(metric["successCondition"], result)
    except MeasurementError:
        return "Error"
    return "Failed" if failed else "Successful" if right else "Inconclusive"


def measured(metric: Mapping[str, Any], document: Any, args: Mapping[str, str]) -> Phase:
    """Of one measurement of a web metric that was answered with ``document``."""
    try:
        result = chosen(document, filled(metric["provider"]["web"]["jsonPath"], args))
    except MeasurementError:
        return "Error"
    return phase(metric, result)


def outcome(metric: Mapping[str, Any], phases: Sequence[Phase]) -> Phase | None:
    """Of a metric measured so, one after the other; None while it goes on.

    A metric whose count is reached within its limits is successful, even if nothing was.
    """
    errors, seen = 0, dict.fromkeys(("Successful", "Failed", "Inconclusive"), 0)
    for each in phases:
        if each == "Error":
            errors += 1
        else:
            errors, seen[each] = 0, seen[each] + 1
        if seen["Failed"] > metric.get("failureLimit", 0):
            return "Failed"
        if seen["Inconclusive"] > metric.get("inconclusiveLimit", 0):
            return "Inconclusive"
        if errors > metric.get("consecutiveErrorLimit", 4):
            return "Error"
        if sum(seen.values()) >= metric["count"]:
            return "Successful"
    return None
