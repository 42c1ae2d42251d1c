"""What may be asked of an explanation, and how it may be written."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.explainers.document import Form
from service.domain.explainers.game import Ask
from service.http.problem import Problem
from service.http.wishes import form_of
from tests.http.fakes import CREDIT, HOUSES, wishes


def test_true_asks_for_the_defaults_and_false_for_nothing() -> None:
    assert wishes(CREDIT).read(False) is wishes(CREDIT).read(None) is None
    wish = wishes(CREDIT).read(True)
    assert wish is not None
    assert wish.ask == Ask(max_evals=1_000)
    assert wishes(CREDIT).read({}) == wish


def test_options_reach_the_method() -> None:
    wish = wishes(CREDIT).read(
        {
            "method": "permutation",
            "output": "probability",
            "label": "bad",
            "top": 3,
            "max_evals": 500,
            "deadline_ms": 250,
            "neighbours": 2,
            "seed": 7,
        },
        "svg",
    )
    assert wish is not None
    assert wish.ask == Ask("permutation", "probability", 0, 500, 7)
    assert (wish.top, wish.neighbours, wish.deadline, wish.form) == (3, 2, 0.25, "svg")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("methods", "lime", "unknown option; there are method"),
        ("method", 5, "expected a method's name"),
        ("method", "x" * 61, "expected a method's name"),
        ("output", "score", "expected one of margin, probability, value"),
        ("label", "excellent", "expected one of bad, good"),
        ("top", 0, "expected a whole number from 1"),
        ("top", True, "expected a whole number from 1"),
        ("max_evals", 10_001, "expected a whole number from 10 to 10000"),
        ("deadline_ms", 5001, "expected a number from 1 to 5000"),
        ("deadline_ms", float("nan"), "expected a number from 1 to 5000"),
        ("neighbours", -1, "expected a whole number from 0 to 50"),
        ("seed", 2**32, "expected a whole number from 0"),
    ],
)
def test_an_impossible_option_is_refused_by_name(option: str, value: Any, message: str) -> None:
    with pytest.raises(Problem) as caught:
        wishes(CREDIT).read({option: value, "top": 0} if option != "top" else {option: value})
    (error, *_) = caught.value.errors
    assert caught.value.status == 422
    assert error["loc"] == ["explain", option]
    assert error["msg"].startswith(message)


def test_a_regression_has_no_label_to_ask_for() -> None:
    with pytest.raises(Problem, match="this model has no classes"):
        wishes(HOUSES).read({"label": "good"})


@pytest.mark.parametrize("value", ["yes", 1, ["lime"]])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(Problem, match="expected true, false or an object"):
        wishes(CREDIT).read(value)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/svg+xml", "svg"),
        ("image/png;q=0.9, image/svg+xml;q=0.5", "png"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("IMAGE/*", "svg"),
        ("image/png;q=0, application/json", "json"),
        ("text/csv, application/json;q=0.1", "json"),
    ],
)
def test_accept_chooses_how_it_is_written(accept: str | None, form: Form) -> None:
    assert form_of({} if accept is None else {b"accept": accept.encode()}) == form


@pytest.mark.parametrize("accept", ["text/csv", "image/svg+xml;q=0", "application/json;q=many"])
def test_what_cannot_be_written_is_refused(accept: str) -> None:
    with pytest.raises(Problem) as caught:
        form_of({b"accept": accept.encode()})
    assert caught.value.status == 406
