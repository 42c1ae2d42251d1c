"""The document: every measure of every variable over every window, in JSON, furthest first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.binning import Binning, labels, numbers, words
from service.domain.drift.alerting import deviations
from service.domain.drift.document import Watched, drift_document
from service.domain.drift.measure import Sample
from service.domain.drift.measures import MEASURES
from service.domain.drift.slots import WINDOWS, Window

BINNING = Binning.of(
    [
        numbers("score", (500, 500), 0, (0.5,), 0.1, 0.9),
        labels(("bad", "good"), (400, 600)),
        words("feature:home", (100, 800, 0), 100, ("own", "rent", "boat")),
    ]
)
NOW = 1_800_000_000.0
START = NOW - 100_000


def vector(score: list[float], label: list[float], home: list[float], told: list[float]) -> NDArray:
    return np.array([*score, *label, *home, *told], float)


CHANGED = vector([0, 100, 900, 0, 0], [395, 605, 0, 0], [110, 790, 90, 10], [700, 300])
NOTHING = np.zeros(BINNING.size + 2)


def watched(*counts: NDArray, tells: bool = True, since: float | None = START) -> Watched:
    windows = {name: Window(NOW - 3_600, each) for name, each in zip(WINDOWS, counts, strict=False)}
    return Watched("m:prod", "production", BINNING.variables, since, windows, tells)


def window(counts: NDArray, tells: bool = True) -> dict[str, Any]:
    document = drift_document([watched(counts, tells=tells)], NOW)
    found: dict[str, Any] = document["models"][0]["windows"]["1h"]
    return found


def test_it_says_when_it_was_made_of_what_and_in_which_units() -> None:
    document = drift_document([watched(*[CHANGED] * 4)], NOW, "sqlite: full")
    assert document["as_of"] == "2027-01-15T08:00:00+00:00"
    assert (document["store"], document["reason"]) == ("sqlite: full", None)
    assert document["measures"] == [{"name": each.name, "unit": each.unit} for each in MEASURES]
    (model,) = document["models"]
    assert (model["model"], model["role"]) == ("m:prod", "production")
    assert model["since"] == "2027-01-14T04:13:20+00:00"
    assert list(model["windows"]) == ["1h", "6h", "24h", "start"]
    assert model["windows"]["1h"]["from"] == "2027-01-15T07:00:00+00:00"


def test_where_there_is_nothing_it_says_why() -> None:
    document = drift_document([], NOW, reason="drift.enabled is false")
    assert document["models"] == []
    assert document["reason"] == "drift.enabled is false"
    assert document["outcomes"] == {}


def test_rows_that_nobody_counted_are_told() -> None:
    outcomes = {"counted": 90, "shadow_down": 10}
    assert drift_document([watched(*[CHANGED] * 4)], NOW, outcomes=outcomes)["outcomes"] == outcomes


def test_a_variable_s_measures_are_those_of_its_own_bins() -> None:
    found = {each["variable"]: each for each in window(CHANGED)["variables"]}
    counts = BINNING.split(CHANGED[:-2])
    for variable, live in zip(BINNING.variables, counts, strict=True):
        sample = Sample.of(variable, live)
        shown = found[variable.name]
        assert shown["measures"] == {each.name: each.value(sample) for each in MEASURES}
        assert shown["rows"] == live.sum() == 1_000
        assert [each["bin"] for each in shown["bins"]] == list(variable.names)
        assert [each["reference"] for each in shown["bins"]] == list(variable.reference)
        assert [each["live"] for each in shown["bins"]] == live.tolist()
    home = found["feature:home"]
    assert (home["reference_missing_share"], home["reference_unseen_share"]) == (0.1, 0.0)
    assert home["measures"]["unseen_share"] == 0.01


def test_what_changed_most_comes_first_and_what_drifted_is_named() -> None:
    found = window(CHANGED)
    excesses = [each["measures"]["psi_excess"] for each in found["variables"]]
    assert excesses == sorted(excesses, reverse=True)
    assert found["drifted"] == ["score"]
    assert [each["variable"] for each in found["variables"] if each["drifted"]] == ["score"]
    assert found["rows"] == 1_000


def test_a_window_without_a_row_has_no_measures() -> None:
    found = window(NOTHING)
    assert (found["rows"], found["drifted"]) == (0, [])
    for each in found["variables"]:
        assert set(each["measures"].values()) == {None}
        assert not each["drifted"]
        assert sum(one["live"] for one in each["bins"]) == 0
        assert sum(one["reference"] for one in each["bins"]) == 1_000
    assert found["two_sample"] == {"rows": 0, "accuracy": None, "z": None, "differs": False}


def test_a_variable_that_nobody_counted_comes_last_and_has_no_measures() -> None:
    only = vector([0, 500, 500, 0, 0], [400, 600, 0, 0], [0, 0, 0, 0], [0, 0])
    last = window(only)["variables"][-1]
    assert (last["variable"], last["rows"], last["measures"]["psi"]) == ("feature:home", 0, None)


def test_a_window_has_the_rows_of_the_variable_that_most_rows_have() -> None:
    found = window(vector([0, 0, 90, 0, 0], [40, 60, 0, 0], [10, 80, 10, 0], [0, 0]))
    assert found["variables"][0]["variable"] == "score"  # it was answered in fewer rows, and changed most
    assert found["rows"] == 100


def test_the_two_sample_test_is_shown_where_there_is_one() -> None:
    found = window(CHANGED)["two_sample"]
    assert found == {"rows": 1_000, "accuracy": 0.7, "z": deviations(0.7, 1_000), "differs": True}
    assert window(CHANGED, tells=False)["two_sample"] is None


def test_windows_are_measured_each_for_itself() -> None:
    twice = CHANGED * 2
    document = drift_document([watched(CHANGED, twice, twice, NOTHING)], NOW)
    windows = document["models"][0]["windows"]
    assert [each["rows"] for each in windows.values()] == [1_000, 2_000, 2_000, 0]
    assert windows["6h"]["variables"] == windows["24h"]["variables"]


def test_it_is_finite_json_whatever_was_counted() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        counts = [rng.poisson(rng.choice([0, 1, 1e6], len(NOTHING))).astype(float) for _ in WINDOWS]
        document = drift_document([watched(*counts), watched(since=None)], NOW)
        assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["models"][1]["since"] is None


def test_a_variable_without_reference_rows_is_shown_without_measures() -> None:
    empty = Binning.of([words("feature:x", (0, 0), 0, ("a", "b"))])
    model = Watched(
        "m:a", "candidate", empty.variables, START, {"1h": Window(NOW, np.array([3.0, 2, 0, 0]))}, True
    )
    (shown,) = drift_document([model], NOW)["models"][0]["windows"]["1h"]["variables"]
    assert shown["rows"] == 5
    assert set(shown["measures"].values()) == {None}
    assert shown["reference_missing_share"] is None


def test_a_model_of_which_nothing_is_watched_is_no_trouble() -> None:
    model = Watched("m:a", "production", (), START, {"1h": Window(NOW, np.zeros(2))}, False)
    found = drift_document([model], NOW)["models"][0]["windows"]["1h"]
    assert (found["rows"], found["variables"]) == (0, [])


@pytest.mark.parametrize("cells", [1, 3])
def test_vectors_of_another_length_are_refused(cells: int) -> None:
    with pytest.raises(ValueError, match="cells"):
        drift_document([watched(np.zeros(BINNING.size + cells))], NOW)
