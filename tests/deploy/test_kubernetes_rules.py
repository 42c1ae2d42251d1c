"""The checks of operators' kinds judge as an API server does: structure, defaults, and rules in CEL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cel
import pytest

from tests.deploy import custom
from tests.deploy.custom import SCHEMAS, defaulted, misfits, schema_of
from tests.deploy.manifests import DROP, changed, composed
from tests.deploy.rules import broken, rules, unknown_functions

FILES = sorted(SCHEMAS.glob("*/*.json"))
needs_schemas = pytest.mark.skipif(not FILES, reason=f"needs the schemas of custom resources in {SCHEMAS}")
NAMED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}


def ruled(rule: str, schema: dict[str, Any], **more: str) -> dict[str, Any]:
    return schema | {"x-kubernetes-validations": [{"rule": rule, **more}]}


def test_a_field_that_a_schema_does_not_name_is_refused() -> None:
    assert misfits({"a": 1, "b": 2}, NAMED) == ["b: unknown field"]
    assert misfits({"list": [{"a": 1}, {"c": 1}]}, {"properties": {"list": {"items": NAMED}}}) == [
        "list[1].c: unknown field"
    ]


def test_unknown_fields_are_kept_where_the_schema_says_so() -> None:
    kept = NAMED | {"x-kubernetes-preserve-unknown-fields": True}
    assert misfits({"a": 1, "b": {"anything": True}}, kept) == []
    assert misfits({"any": "1"}, {"type": "object", "additionalProperties": {"type": "string"}}) == []


def test_a_number_or_a_text_may_be_either() -> None:
    either = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
    schema = {"type": "object", "properties": {"port": either}}
    assert misfits({"port": 80}, schema) == misfits({"port": "http"}, schema) == []
    assert misfits({"port": 1.5}, schema) != []


def test_keys_of_a_list_that_is_a_map_are_there_once_defaults_included() -> None:
    item = {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}
    schema = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    assert misfits([{"name": "x"}, {"name": "y"}], schema) == []
    assert "twice" in misfits([{"name": "x"}, {}], schema)[0]


def test_items_of_a_set_are_there_once() -> None:
    schema = {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    assert misfits(["a", "b"], schema) == []
    assert "twice" in misfits(["a", "a"], schema)[0]


def test_numbers_fit_their_width_and_dates_are_dates() -> None:
    assert misfits(2**31 - 1, {"type": "integer", "format": "int32"}) == []
    assert "int32" in misfits(2**31, {"type": "integer", "format": "int32"})[0]
    assert misfits("2026-11-23T08:00:00Z", {"type": "string", "format": "date-time"}) == []
    assert "date-time" in misfits("soon", {"type": "string", "format": "date-time"})[0]


def test_defaults_are_put_in_at_every_depth_and_leave_the_object_as_it_was() -> None:
    schema = {"properties": {"all": {"items": {"properties": {"kind": {"default": "Service"}}}}}}
    given = {"all": [{}, {"kind": "Other"}]}
    assert defaulted(given, schema) == {"all": [{"kind": "Service"}, {"kind": "Other"}]}
    assert given == {"all": [{}, {"kind": "Other"}]}


def test_a_rule_is_evaluated_where_it_stands_and_says_its_message() -> None:
    schema = {
        "properties": {"list": {"type": "array", "items": ruled("self.a < 2", NAMED, message="too much")}}
    }
    assert broken({"list": [{"a": 1}, {"a": 2}]}, schema) == ["list[1]: too much"]


def test_a_rule_in_a_map_is_evaluated_for_each_value() -> None:
    schema = {"type": "object", "additionalProperties": ruled("self.a < 2", NAMED)}
    assert broken({"x": {"a": 1}, "y": {"a": 2}}, schema) == ["y: failed rule: self.a < 2"]


def test_a_message_may_be_an_expression() -> None:
    schema = ruled("self.a < 2", NAMED, message="no", messageExpression='"at most 1, not " + string(self.a)')
    assert broken({"a": 7}, schema) == [": at most 1, not 7"]


def test_a_rule_about_a_change_says_nothing_of_a_new_object() -> None:
    assert broken({"a": 1}, ruled("self == oldSelf", NAMED)) == []


def test_a_rule_that_cannot_be_evaluated_is_a_problem() -> None:
    assert "cannot be evaluated" in broken({}, ruled("self.a < 2", NAMED))[0]
    assert "cannot be evaluated" in broken({"a": 1}, ruled("nobody(self)", NAMED))[0]
    assert "instead of a bool" in broken({"a": 1}, ruled("self.a", NAMED))[0]


def test_rules_see_defaults() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "default": 3}}}
    assert broken({}, ruled("self.a < 2", schema)) == [": failed rule: self.a < 2"]


@pytest.mark.parametrize(
    ("name", "written"),
    [("namespace", "__namespace__"), ("a-b", "a__dash__b"), ("x.y/z", "x__dot__y__slash__z")],
)
def test_names_that_cel_cannot_write_are_escaped(name: str, written: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "integer"}}}
    assert broken({name: 1}, ruled(f"self.{written} == 1", schema)) == []


@needs_schemas
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_evaluator_knows_every_function_that_a_real_rule_calls(path: Path) -> None:
    for rule in rules(json.loads(path.read_text(encoding="utf-8"))):
        assert not unknown_functions(rule.rule), f"{rule.path}: {rule.rule}"


def test_a_function_of_kubernetes_libraries_would_not_pass_unseen() -> None:
    assert unknown_functions("true || isURL(self)") == {"isURL"}
    assert unknown_functions("self.find('[0-9]+') != '' || quantity(self).isLessThan(quantity('1Gi'))") == {
        "find", "isLessThan", "quantity"
    }  # fmt: skip


@needs_schemas
def test_there_are_rules_to_evaluate() -> None:
    found = [rule for path in FILES for rule in rules(json.loads(path.read_text(encoding="utf-8")))]
    assert len(found) > 100
    assert sum(rule.of_a_change for rule in found) == 1


def filtered(kind: str, **settings: Any) -> list[dict[str, Any]]:
    """One filter with its settings, as the Gateway API names them."""
    field = {"CORS": "cors", "URLRewrite": "urlRewrite"}.get(kind, kind[0].lower() + kind[1:])
    return [{"type": kind, field: settings}]


PREFIX = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}
OTHER = {"name": "a", "port": 1}
FOR_EVER = {"sessionName": "a", "cookieConfig": {"lifetimeType": "Permanent"}}
BROKEN: tuple[tuple[str, Any, str], ...] = (
    ("matches[0].path.value", "predict", "must be an absolute path and start with '/'"),
    ("matches[0].path.value", "/a//b", "must not contain '//'"),
    ("matches[0].path.value", "/a/../b", "must not contain '/../'"),
    ("matches[0].path.value", "/a/./b", "must not contain '/./'"),
    ("matches[0].path.value", "/a/..", "must not end with '/..'"),
    ("matches[0].path.value", "/a#b", "must not contain '#'"),
    ("matches[0].path.value", "/a%2Fb", "must not contain '%2F'"),
    ("matches[0].path.value", "/a b", "must only contain valid characters"),
    ("timeouts.backendRequest", "60s", "backendRequest timeout cannot be longer"),
    ("backendRefs[0].port", DROP, "Must have port for Service reference"),
    ("filters", [{"type": "URLRewrite"}], "filter.urlRewrite must be specified"),
    ("filters", filtered("CORS") * 2, "CORS filter cannot be repeated"),
    ("filters", filtered("RequestRedirect", scheme="https"), "must not be used together with backendRefs"),
    ("filters", filtered("URLRewrite", path=PREFIX), "When using URLRewrite filter with path"),
    (
        "filters",
        filtered("RequestMirror", backendRef=OTHER, percent=5, fraction={"numerator": 1}),
        "Only one of percent or fraction may be specified",
    ),
    (
        "filters",
        filtered("RequestMirror", backendRef=OTHER, fraction={"numerator": 5, "denominator": 2}),
        "numerator must be less than or equal to denominator",
    ),
    ("sessionPersistence", FOR_EVER, "AbsoluteTimeout must be specified"),
)
"""Where in the first rule of the HTTPRoute, what is put there, and what the Gateway API says to it."""


@needs_schemas
@pytest.mark.parametrize(("path", "new", "message"), BROKEN, ids=[each[2] for each in BROKEN])
def test_real_rules_bite(path: str, new: Any, message: str) -> None:
    documents = changed(
        composed("production with gateway"), f"HTTPRoute/understudy spec.rules[0].{path}", new
    )
    (route,) = (each for each in documents if each["kind"] == "HTTPRoute")
    assert any(message in problem for problem in broken(route, schema_of(route["apiVersion"], route["kind"])))


@needs_schemas
@pytest.mark.parametrize(
    ("new", "message"),
    [
        ([{"name": "gateway"}, {"name": "gateway"}], "sectionName or port must be unique"),
        ([{"name": "gateway"}, {"name": "gateway", "port": 80}], "sectionName or port must be specified"),
    ],
)
def test_rules_about_defaults_bite(new: Any, message: str) -> None:
    documents = changed(composed("production with gateway"), "HTTPRoute/understudy spec.parentRefs", new)
    (route,) = (each for each in documents if each["kind"] == "HTTPRoute")
    problems = broken(route, schema_of(route["apiVersion"], route["kind"]))
    assert any(message in problem for problem in problems), problems


def test_a_kind_without_a_schema_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(custom, "SCHEMAS", tmp_path)
    route = {"apiVersion": "gateway.networking.k8s.io/v9", "kind": "HTTPRoute", "metadata": {"name": "a"}}
    assert custom.custom_problems([route]) == [
        "HTTPRoute/a: no schema for gateway.networking.k8s.io/v9 HTTPRoute"
    ]


def test_the_evaluator_has_the_types_of_cel() -> None:
    assert cel.evaluate("duration(a) > duration('5s')", {"a": "1m"}) is True
    assert cel.evaluate("a == b", {"a": "1", "b": 1}) is False
