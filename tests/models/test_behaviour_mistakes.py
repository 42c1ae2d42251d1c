"""A suite that does not fit its model is refused with the check and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.asking import on_cpu
from models.behaviour import run_suite
from models.behaviour_suite import Suite
from models.bundle import Bundle
from service.errors import BundleError
from tests.models.graphs import Tiny
from tests.models.rules import chance, made, suite

Make = Callable[[str], Tiny]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"change": {"ages": {"add": 1}}}, r"change\.ages: the model has no such feature"),
        ({"change": {"age": {"others": True}}}, r"change\.age\.others: not for numbers"),
        ({"change": {"home": {"add": 1}}}, r"change\.home\.add: not for words"),
        ({"change": {"age": {"shift": [1, 0]}}}, r"change\.age\.shift: not for numbers"),
        ({"change": {"home": {"to": "castle"}}}, r"change\.home\.to: value 0, home: 'castle' is not one of"),
        ({"change": {"age": {"to": [1, None]}}}, r"change\.age\.to: value 1, age: the value is missing"),
        ({"change": {"age": {"to": "many"}}}, r"change\.age\.to: value 0, age: 'many' is not a number"),
        ({"change": {"age": {"to": 1e39}}}, r"change\.age\.to: value 0, age: 1e\+39 is too large"),
        ({"change": {"age": {"add": 1000}}}, r"change: none of 40 rows could be changed so"),
        (
            {"change": {"age": {"to": list(range(30))}, "home": {"others": True}}},
            r"change: 90 combinations of values, 64 at most",
        ),
        ({"change": {"pixels": {"noise": 1}}}, r"change\.pixels: the model has no such feature"),
        ({"on": {"where": "ages > 1"}}, r"on\.where: unknown column 'ages'; there is 'age'"),
        ({"on": {"where": "age > 100"}}, r"on\.where: holds of none of 40 reference rows"),
        ({"on": {"instances": [{"ages": 1}]}}, r"on\.instances\.0\.ages: the model has no such feature"),
        ({"on": {"instances": [{"home": "rent"}]}}, r"on\.instances: row 0, age: the value is missing"),
        (
            {"kind": "directional", "must_not": "fall", "output": "best"},
            r"output: 'best' is none of .* bad, good",
        ),
        ({"kind": "minimum_functionality", "expect": {"label": "best"}}, r"expect\.label: 'best' is none of"),
        (
            {"kind": "minimum_functionality", "expect": {"probability": {"best": [0, 1]}}},
            r"expect\.probability\.best: 'best' is none of",
        ),
        (
            {"kind": "minimum_functionality", "expect": {"value": [0, 1]}},
            "expect: value is not what a binary",
        ),
    ],
)
def test_a_suite_that_does_not_fit_the_model_is_refused_with_the_key(
    check: dict[str, Any], message: str, bundle: Bundle
) -> None:
    document: dict[str, Any] = {"kind": "invariance", **check}
    if document["kind"] != "minimum_functionality":
        document.setdefault("change", {"age": {"add": 1}})
    with pytest.raises(BundleError, match=f"check 'a promise': {message}"):
        run_suite(suite(**document), bundle, chance(lambda rows: 0.5))


def test_what_only_other_tasks_answer_is_refused(make: Make, tmp_path: Path) -> None:
    regression, image = (made(make, kind, tmp_path) for kind in ("regression", "image"))
    cases: list[tuple[Bundle, Suite, str]] = [
        (
            regression,
            suite(kind="invariance", change={"age": {"add": 1}}),
            "within: required of a regression",
        ),
        (
            regression,
            suite(kind="directional", change={"age": {"add": 1}}, must_not="fall", output="good"),
            "output: a regression has no class 'good'",
        ),
        (
            regression,
            suite(kind="minimum_functionality", expect={"label": "good"}),
            "expect: label or probability is not what a regression",
        ),
        (
            image,
            suite(kind="directional", change={"pixels": {"add": 0.1}}, must_not="fall"),
            "output: required, one of a, b, c",
        ),
        (
            image,
            suite(kind="invariance", change={"age": {"add": 1}}),
            r"change\.age: the model takes an image; change its pixels",
        ),
        (
            image,
            suite(kind="invariance", change={"pixels": {"to": 0}}),
            r"change\.pixels\.to: not for an image",
        ),
        (
            image,
            suite(kind="invariance", change={"pixels": {"noise": 0.1}}, on={"instances": [{"pixel:0": 1}]}),
            r"on\.instances: not for an image",
        ),
    ]
    for bundle, asked, message in cases:
        with pytest.raises(BundleError, match=f"check 'a promise': {message}"):
            run_suite(asked, bundle, on_cpu(bundle))
