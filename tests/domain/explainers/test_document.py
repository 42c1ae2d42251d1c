"""Explanations are told in the words of the caller's columns, and nothing is left out silently."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.explainers.document import Narrator, Wish
from service.domain.explainers.game import Explanation, Players
from service.domain.schema import Feature, ModelSpec, Schema

FEATURES = (
    Feature("Age", "int64"),
    Feature("Income", "float", missing=True),
    Feature("Home", "string", ("rent", "own"), missing=True),
)
SPEC = ModelSpec("credit", "1", "binary", Schema(FEATURES, "tensor"), ("bad", "good"))
PLAYERS = Players(SPEC.schema.names(), tuple(np.array([index]) for index in range(3)))
ROW = np.array([30, 42.2, 1], np.float32)
NARRATOR = Narrator(SPEC, PLAYERS, 100, "sha256:b", "sha256:c", lambda row, k: [{"k": k}])


def explanation(values: list[float], **more: Any) -> Explanation:
    made: dict[str, Any] = {"exact": True, "output": "margin", "label": 1, "base_value": 0.5} | more
    return Explanation(method="some", values=np.array(values), **made)


def tell(found: Explanation, wish: Wish | None = None, row: Any = ROW) -> dict[str, Any]:
    document = NARRATOR.tell(row, found, wish or Wish(), 1.23456)
    told: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return told


def test_values_and_data_stand_under_the_caller_s_names() -> None:
    document = tell(explanation([0.25, -1.0, 0.5], additivity_gap=1e-7, rows_evaluated=7))
    assert document["values"] == {"Age": 0.25, "Income": -1.0, "Home": 0.5}
    assert document["data"] == {"Age": 30, "Income": 42.2, "Home": "own"}
    assert document["label"] == "good"
    assert document["background"] == {"rows": 100, "digest": "sha256:b"}
    assert (document["certificate"], document["elapsed_ms"], document["rows_evaluated"]) == (
        "sha256:c",
        1.235,
        7,
    )
    assert "others" not in document
    assert "neighbours" not in document


def test_a_missing_value_is_null() -> None:
    document = tell(explanation([0, 0, 0]), row=np.array([30, np.nan, np.nan], np.float32))
    assert document["data"] == {"Age": 30, "Income": None, "Home": None}


def test_the_top_features_are_named_greatest_first_and_the_others_summed_up() -> None:
    found = explanation([0.25, -1.0, 0.5], standard_errors=np.array([0.1, 0.2, 0.3]), exact=False)
    document = tell(found, Wish(top=1))
    assert document["values"] == {"Income": -1.0}
    assert document["data"] == {"Income": pytest.approx(42.2)}
    assert document["standard_errors"] == {"Income": 0.2}
    assert document["others"] == {"features": 2, "value": 0.75}
    assert list(tell(found, Wish(top=2))["values"]) == ["Income", "Home"]
    assert list(tell(found, Wish(top=9))["values"]) == ["Age", "Income", "Home"]


def test_an_exact_explanation_orders_all_features_and_an_unknown_error_none() -> None:
    assert tell(explanation([3, 2, 1]))["rank_certain_k"] == 3
    assert tell(explanation([3, 2, 1], exact=False))["rank_certain_k"] is None
    noisy = explanation([3, 0.2, 0.1], exact=False, standard_errors=np.full(3, 0.2))
    assert tell(noisy)["rank_certain_k"] == 1


def test_a_method_that_divides_nothing_shows_the_whole_row_and_its_own_detail() -> None:
    document = tell(explanation([], exact=False, detail={"rule": ["Home = own"]}))
    assert document["values"] == {}
    assert document["data"] == {"Age": 30, "Income": 42.2, "Home": "own"}
    assert document["detail"] == {"rule": ["Home = own"]}
    assert document["rank_certain_k"] is None


def test_neighbours_are_shown_where_they_are_asked_for() -> None:
    assert tell(explanation([1, 2, 3]), Wish(neighbours=4))["neighbours"] == [{"k": 4}]


def test_a_patch_of_pixels_is_told_by_its_mean() -> None:
    spec = ModelSpec("digits", "1", "binary", Schema((), "image", (1, 4)), ("no", "yes"))
    players = Players(("left", "right"), (np.array([0, 1]), np.array([2, 3])))
    narrator = Narrator(spec, players, 10, "sha256:b", None)
    document = narrator.tell(np.array([1, 3, 5, 7], np.float32), explanation([0.5, 0.25]), Wish(), 0.0)
    assert document["data"] == {"left": 2.0, "right": 6.0}


@pytest.mark.parametrize(
    ("gap", "degraded", "told"),
    [
        (None, None, None),
        (1e-3, None, None),
        (float(2), None, "the contributions miss the served score by 2"),
        (0.01, "cut short", "cut short; the contributions miss the served score by 0.01"),
        (None, "cut short", "cut short"),
    ],
)
def test_contributions_that_do_not_add_up_are_told_as_a_fault(
    gap: float | None, degraded: str | None, told: str | None
) -> None:
    assert tell(explanation([0.1, 0.2, 0.1], additivity_gap=gap, degraded=degraded))["degraded"] == told


def test_the_gap_of_a_large_value_is_measured_by_its_size() -> None:
    large = explanation([1e4, 0, 0], output="value", label=None, additivity_gap=0.5)
    assert tell(large)["degraded"] is None
