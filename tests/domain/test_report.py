"""The report: a pure function of samples, worked out by hand here."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.observation import OUTCOMES
from service.domain.report import CandidateState, report

TAG = "m:new"
READY = CandidateState(TAG, None, breaker_open=False, in_flight=0)


def sample(name: str, value: float, candidate: str = TAG, **labels: str) -> dict[Any, float]:
    named = {"candidate": candidate, **{key.rstrip("_"): text for key, text in labels.items()}}
    return {(f"understudy_shadow_{name}", tuple(sorted(named.items()))): value}


def outcomes(**rows: int) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for outcome in OUTCOMES:
        found |= sample("rows_total", float(rows.get(outcome, 0)), outcome=outcome)
    return found


def histogram(family: str, below: dict[str, int], total: float) -> dict[Any, float]:
    found = sample(f"{family}_sum", total)
    for bound, rows in below.items():
        found |= sample(f"{family}_bucket", rows, le=bound)
    return found


def one(samples: dict[Any, float], state: CandidateState = READY) -> dict[str, Any]:
    (found,) = report(samples, "m:prod", (state,))["candidates"]
    assert isinstance(found, dict)
    return found


def test_names_production_and_every_candidate_in_order() -> None:
    states = (READY, CandidateState("m:other", None, False, 0))
    found = report({}, "m:prod", states)
    assert found["production"] == "m:prod"
    assert [entry["candidate"] for entry in found["candidates"]] == [TAG, "m:other"]


def test_nothing_seen_yet_gives_no_rates() -> None:
    found = one({})
    assert found["rows"] == {"offered": 0, "in_flight": 0, **dict.fromkeys(OUTCOMES, 0)}
    assert found["coverage"] is None
    assert found["flips"] == {"compared": 0, "flipped": 0, "rate": None, "matrix": []}
    assert found["slices"] == {}
    assert found["gap"] == found["seconds_per_row"] == {"count": 0, "mean": None}


def test_offered_rows_are_the_outcomes_and_what_is_on_its_way() -> None:
    found = one(outcomes(compared=60, queue_full=30, deadline=10), CandidateState(TAG, None, False, 7))
    assert found["rows"] == {
        **dict.fromkeys(OUTCOMES, 0),
        "offered": 107,
        "in_flight": 7,
        "compared": 60,
        "queue_full": 30,
        "deadline": 10,
    }


def test_coverage_is_the_compared_share_of_the_decided_rows() -> None:
    assert (
        one(outcomes(compared=60, sampled_out=40), CandidateState(TAG, None, False, 900))["coverage"] == 0.6
    )
    assert one(outcomes(shadow_down=5))["coverage"] == 0.0


def test_flips_by_slice_with_the_most_frequent_first() -> None:
    samples = (
        sample("compared_rows_total", 200, slice="all")
        | sample("compared_rows_total", 50, slice="renters")
        | sample("compared_rows_total", 0, slice="nobody")
        | sample("flips_total", 4, slice="all", from_="bad", to="good")
        | sample("flips_total", 6, slice="all", from_="good", to="bad")
        | sample("flips_total", 0, slice="all", from_="good", to="ugly")
        | sample("flips_total", 5, slice="renters", from_="good", to="bad")
    )
    found = one(samples)
    assert found["flips"] == {
        "compared": 200,
        "flipped": 10,
        "rate": 0.05,
        "matrix": [{"from": "good", "to": "bad", "rows": 6}, {"from": "bad", "to": "good", "rows": 4}],
    }
    assert found["slices"] == {
        "nobody": {"compared": 0, "flipped": 0, "rate": None, "matrix": []},
        "renters": {
            "compared": 50,
            "flipped": 5,
            "rate": 0.1,
            "matrix": [{"from": "good", "to": "bad", "rows": 5}],
        },
    }


def test_a_quantile_is_the_upper_bound_of_its_bucket() -> None:
    below = {"0.0": 49, "0.1": 50, "0.2": 89, "0.5": 99, "1.0": 99, "+Inf": 100}
    found = one(histogram("gap", below, 12.5))["gap"]
    assert found == {"count": 100, "mean": 0.125, "p50_at_most": 0.1, "p90_at_most": 0.5, "p99_at_most": 0.5}


def test_a_quantile_beyond_the_last_bound_is_unknown() -> None:
    found = one(histogram("seconds", {"0.001": 1, "5.0": 2, "+Inf": 10}, 100.0))["seconds_per_row"]
    assert (found["p50_at_most"], found["p99_at_most"], found["mean"]) == (None, None, 10.0)


@pytest.mark.parametrize("count", [1, 2, 10, 1_000, 12_345])
def test_all_rows_in_one_bucket_have_that_bound_as_every_quantile(count: int) -> None:
    found = one(histogram("gap", {"0.0": 0, "0.3": count, "+Inf": count}, 0.0))["gap"]
    assert {found[f"p{share}_at_most"] for share in (50, 90, 99)} == {0.3}


def test_nothing_explained_yet_gives_no_means() -> None:
    found = one({}, CandidateState(TAG, None, False, 0, None, "the trees are too many"))["explanations"]
    assert found == {
        "method": None,
        "reason": "the trees are too many",
        "explained": 0,
        "unexplained": {},
        "distance": {"count": 0, "mean": None},
        "top_overlap": None,
        "moved": [],
    }


def test_reasons_are_told_as_means_over_the_explained_rows() -> None:
    samples = (
        sample("explained_rows_total", 20)
        | sample("unexplained_rows_total", 3, reason="deadline")
        | sample("unexplained_rows_total", 2, reason="busy")
        | sample("explanation_overlaps_total", 15)
        | histogram("explanation_distance", {"0.0": 0, "0.1": 10, "0.5": 19, "+Inf": 20}, 4.0)
    )
    for feature, much in {"a": 1, "b": 6, "c": 0, "d": 2, "e": 5, "f": 4, "other": 3, "g": 2}.items():
        samples |= sample("influence_moved_total", much, feature=feature)
    found = one(samples, CandidateState(TAG, None, False, 0, "tree-exact"))["explanations"]
    assert (found["method"], found["reason"]) == ("tree-exact", None)
    assert (found["explained"], found["unexplained"]) == (20, {"busy": 2, "deadline": 3})
    assert (found["distance"]["mean"], found["distance"]["p50_at_most"]) == (0.2, 0.1)
    assert found["top_overlap"] == 0.75
    assert found["moved"] == [
        {"feature": "b", "mean": 0.3},
        {"feature": "e", "mean": 0.25},
        {"feature": "f", "mean": 0.2},
        {"feature": "other", "mean": 0.15},
        {"feature": "d", "mean": 0.1},
    ]


@pytest.mark.parametrize(
    ("refused", "paused", "state"),
    [
        (None, False, "shadowing"),
        (None, True, "paused"),
        ("fails parity", False, "refused"),
        ("fails parity", True, "refused"),
    ],
)
def test_says_whether_a_candidate_is_shadowed(refused: str | None, paused: bool, state: str) -> None:
    found = one({}, CandidateState(TAG, refused, paused, 0))
    assert (found["state"], found["reason"]) == (state, refused)


def test_each_candidate_sees_its_own_samples_only() -> None:
    samples = outcomes(compared=5) | sample("rows_total", 9, "m:other", outcome="compared")
    samples |= sample("compared_rows_total", 9, "m:other", slice="all")
    states = (READY, CandidateState("m:other", None, False, 0))
    mine, other = report(samples, "m:prod", states)["candidates"]
    assert (mine["rows"]["compared"], mine["flips"]["compared"]) == (5, 0)
    assert (other["rows"]["compared"], other["flips"]["compared"]) == (9, 9)


def test_is_a_function_of_its_arguments_alone() -> None:
    samples = outcomes(compared=5) | histogram("gap", {"+Inf": 5}, 1.0)
    before = dict(samples)
    assert report(samples, "m:prod", (READY,)) == report(samples, "m:prod", (READY,))
    assert samples == before
