"""Promote, hold or roll back."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from service.domain.evidence.verdict import Rules, Verdict, verdict
from service.sections import VerdictSettings
from tests.domain.evidence.judged import CLASSES, VALUES, agreement, facts, labelled

RULES = Rules()


def states(found: Verdict) -> dict[str, str]:
    return {f"{each.name} {each.slice}": each.state for each in found.criteria}


def codes(found: Verdict) -> list[str]:
    return [reason.code for reason in found.reasons]


def test_a_candidate_that_agrees_is_promoted_as_no_worse_without_labels() -> None:
    found = verdict(RULES, facts())
    assert (found.state, found.because, codes(found)) == ("promote", "no_worse", [])
    assert states(found) == {
        "flip_rate all": "pass",
        "gap all": "pass",
        "failures all": "pass",
        "accuracy all": "waived",
        "loss all": "waived",
    }


def test_thin_data_means_hold_and_says_so() -> None:
    found = verdict(RULES, facts(agreement(rows=999)))
    assert (found.state, found.because) == ("hold", None)
    assert codes(found) == ["thin_data"]
    assert "999" in found.reasons[0].detail
    assert found.more_rows == 1


def test_no_rows_at_all_mean_hold_and_nobody_knows_for_how_long() -> None:
    found = verdict(RULES, facts(agreement(rows=0)))
    assert found.state == "hold"
    assert codes(found) == ["thin_data", "flip_rate", "gap", "failures"]
    assert found.more_rows is None
    assert [each.value for each in found.criteria] == [None] * 5


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"refused": "parity: 3 golden rows differ"}, "refused"),
        ({"behaviour": ("older is not riskier",)}, "behaviour"),
        ({"outcomes": {"queue_full": 11_000}}, "coverage"),
        ({"outcomes": {"too_large": 200}}, "too_large"),
        (
            {"representative": {"representative": False, "variables": [{"variable": "feature:Age"}]}},
            "not_representative",
        ),
    ],
)
def test_a_gate_that_is_shut_means_hold_however_good_the_criteria(other: dict[str, Any], code: str) -> None:
    found = verdict(RULES, facts(labels=labelled(gained=500), **other))
    assert found.state == "hold"
    assert codes(found) == [code]
    assert found.more_rows is None, "rows do not open it"
    assert found.reasons[0].detail


def test_rows_that_sampling_left_out_do_not_count_against_coverage() -> None:
    assert verdict(RULES, facts(outcomes={"sampled_out": 1_000_000})).state == "promote"


@pytest.mark.parametrize(
    ("pair", "sums", "name"),
    [
        (CLASSES, agreement(flips=2_000), "flip_rate"),
        (CLASSES, agreement(gap=0.2), "gap"),
        (VALUES, agreement(VALUES, within=8_000), "beyond_tolerance"),
        (VALUES, agreement(VALUES, gap=0.4), "gap"),
    ],
)
def test_too_much_change_is_a_reason_to_roll_back(pair: Any, sums: Any, name: str) -> None:
    found = verdict(RULES, facts(sums, pair=pair))
    assert (found.state, found.because, codes(found)) == ("rollback", None, [name])


def test_failures_are_a_reason_to_roll_back_even_where_nothing_could_be_compared() -> None:
    found = verdict(RULES, facts(agreement(rows=0), outcomes={"compared": 0, "candidate_error": 2_000}))
    assert (found.state, codes(found)) == ("rollback", ["failures"])


@pytest.mark.parametrize("shut", [{"behaviour": ("x",)}, {"outcomes": {"queue_full": 90_000}}])
def test_sure_harm_is_rolled_back_though_a_gate_is_shut(shut: dict[str, Any]) -> None:
    assert verdict(RULES, facts(labels=labelled(lost=900), **shut)).state == "rollback"


@pytest.mark.parametrize("other", [{"refused": "parity"}, {"compared": agreement(rows=900, flips=900)}])
def test_a_refused_candidate_and_thin_data_are_never_rolled_back(other: dict[str, Any]) -> None:
    found = verdict(RULES, facts(**{"compared": agreement(flips=9_000), **other}))
    assert found.state == "hold"
    assert "flip_rate" in codes(found)


def test_a_surely_better_candidate_is_promoted_for_it_and_may_differ() -> None:
    seen = agreement(flips=2_000, gap=0.2)
    found = verdict(RULES, facts(seen, labelled(gained=700, lost=300)))
    assert (found.state, found.because) == ("promote", "better")
    assert states(found)["flip_rate all"] == states(found)["gap all"] == "waived"


def test_a_smaller_loss_alone_makes_it_better_too() -> None:
    found = verdict(RULES, facts(labels=labelled(loss=-0.05)))
    assert (found.state, found.because) == ("promote", "better")
    of_values = verdict(RULES, facts(labels=labelled(VALUES, loss=-0.05), pair=VALUES))
    assert (of_values.state, of_values.because) == ("promote", "better")


def test_better_in_one_thing_does_not_make_up_for_harm_in_another() -> None:
    found = verdict(RULES, facts(agreement(flips=2_000), labelled(gained=700, lost=300, loss=0.1)))
    assert (found.state, codes(found)) == ("rollback", ["flip_rate", "loss"])


def test_what_is_surely_less_accurate_is_not_better_for_its_smaller_loss() -> None:
    rules = Rules(accuracy=0.2, slice_accuracy=0.2)
    labels = labelled(lost=200, loss=-0.05)
    found = verdict(rules, facts(labels=labels))
    assert (found.state, found.because) == ("promote", "no_worse")
    assert "flip_rate" in codes(verdict(rules, facts(agreement(flips=2_000), labels)))


def test_failures_are_never_waived() -> None:
    found = verdict(RULES, facts(labels=labelled(gained=900), outcomes={"candidate_error": 1_000}))
    assert (found.state, codes(found)) == ("rollback", ["failures"])


@pytest.mark.parametrize(("labels", "state"), [("when_present", "promote"), ("ignored", "promote")])
def test_few_labels_do_not_count(labels: Any, state: str) -> None:
    found = verdict(Rules(labels=labels), facts(labels=labelled(rows=99, lost=99)))
    assert (found.state, found.because) == (state, "no_worse")


def test_required_labels_are_waited_for() -> None:
    found = verdict(Rules(labels="required"), facts(labels=labelled(rows=50)))
    assert found.state == "hold"
    assert codes(found) == ["thin_labels", "accuracy", "loss"]
    assert found.more_rows is not None
    assert found.more_rows >= 50 * 10_000 / 50
    assert verdict(Rules(labels="required"), facts(labels=labelled())).state == "promote"


def test_ignored_labels_are_not_criteria() -> None:
    found = verdict(Rules(labels="ignored"), facts(labels=labelled(lost=5_000)))
    assert found.state == "promote"
    assert list(states(found)) == ["flip_rate all", "gap all", "failures all"]


def test_harm_in_one_slice_is_a_reason_to_roll_back() -> None:
    slices = {"renters": labelled(rows=400, lost=120), "owners": labelled(rows=4_000)}
    found = verdict(RULES, facts(labels=labelled(gained=200, lost=120), slices=slices))
    assert (found.state, codes(found)) == ("rollback", ["accuracy"])
    assert "renters" in found.reasons[0].detail


def test_a_regression_that_is_worse_in_one_slice_is_rolled_back_as_well() -> None:
    slices = {"renters": labelled(VALUES, rows=2_000, loss=0.2), "owners": labelled(VALUES, rows=4_000)}
    found = verdict(RULES, facts(labels=labelled(VALUES, loss=-0.01), pair=VALUES, slices=slices))
    assert (found.state, codes(found)) == ("rollback", ["loss"])
    assert states(found)["loss renters"] == "fail"
    assert states(found)["loss owners"] == "pass"


def test_a_slice_without_enough_labels_counts_only_where_labels_are_required() -> None:
    seen = facts(labels=labelled(), slices={"renters": labelled(rows=20, lost=1), "nobody": None})
    assert verdict(RULES, seen).state == "promote"
    held = verdict(Rules(labels="required"), seen)
    assert held.state == "hold"
    assert [reason.code for reason in held.reasons] == ["accuracy", "accuracy"]


def test_production_that_differs_from_itself_as_much_makes_no_candidate_fail() -> None:
    sums = agreement(flips=1_500, gap=0.1)
    assert verdict(RULES, facts(sums)).state == "rollback"
    noise = {"alone": agreement(rows=2_000, flips=300, gap=0.1), "threads": agreement(rows=2_000)}
    found = verdict(RULES, facts(sums, noise=noise))
    assert (found.state, codes(found)) == ("hold", ["flip_rate", "gap"])
    assert found.more_rows is None, "the difference lies between the margin and the noise"
    quiet = {"alone": agreement(rows=2_000), "threads": agreement(rows=0)}
    assert verdict(RULES, facts(sums, noise=quiet)).state == "rollback"


def test_few_rows_of_one_way_to_run_production_again_excuse_nothing() -> None:
    noise = {"alone": agreement(rows=4), "threads": agreement(rows=1_000)}
    found = verdict(RULES, facts(agreement(flips=1_500, gap=0.1), noise=noise))
    assert found.state == "rollback"
    assert 0 < found.criteria[0].question.noise < 0.02


def test_alpha_is_divided_by_what_is_declared_whatever_came() -> None:
    many = {f"slice-{i}": None for i in range(18)}
    few, all_seen = facts(agreement(rows=0), slices=many), facts(labels=labelled(), slices=many)
    for seen in (few, all_seen):
        found = verdict(RULES, seen)
        assert [each.alpha for each in found.criteria] == pytest.approx([0.05 / 24] * 23)
        assert sum(each.alpha for each in found.criteria) < 0.05
    assert {each.alpha for each in verdict(RULES, facts(pair=VALUES)).criteria} == {0.01}


def test_the_answer_does_not_depend_on_how_rows_are_parted_over_replicas() -> None:
    parts = [agreement(rows=3_000, flips=20, gap=0.01), agreement(rows=7_000, flips=90, gap=0.02)]
    whole = verdict(RULES, facts(parts[0] + parts[1])).to_document()
    assert verdict(RULES, facts(parts[1] + parts[0])).to_document() == whole


def test_what_is_still_open_says_how_many_more_rows_it_takes_and_keeps_its_word() -> None:
    found = verdict(RULES, facts(agreement(rows=1_200, flips=50)))
    assert (found.state, codes(found)) == ("hold", ["flip_rate"])
    more = found.more_rows
    assert more is not None
    scale = (1_200 + more) / 1_200
    assert verdict(RULES, facts(agreement(rows=1_200 * scale, flips=50 * scale))).state == "promote"
    scale = (1_200 + 0.97 * more) / 1_200
    assert verdict(RULES, facts(agreement(rows=1_200 * scale, flips=50 * scale))).state == "hold"


def test_a_candidate_that_is_headed_for_rollback_needs_rows_for_its_worst_criterion_only() -> None:
    found = verdict(RULES, facts(agreement(rows=1_200, flips=75, gap=0.0499)))
    more = {each.name: each.more_rows for each in found.criteria if each.state == "open"}
    assert found.state == "hold"
    assert more["gap"] is None or more["gap"] > (more["flip_rate"] or math.inf)
    assert found.more_rows == more["flip_rate"]


def test_labelled_rows_are_counted_by_the_traffic_that_brings_them() -> None:
    found = verdict(RULES, facts(agreement(rows=10_000), labelled(rows=500, gained=5, lost=5)))
    accuracy = next(each for each in found.criteria if each.name == "accuracy")
    assert accuracy.state == "open"
    assert accuracy.more_rows is not None
    assert found.more_rows is not None
    assert found.more_rows >= 20 * accuracy.more_rows


@pytest.mark.parametrize(
    "seen", [facts(), facts(agreement(rows=0)), facts(agreement(flips=700), labelled(lost=60))]
)
def test_the_document_is_json_with_every_criterion(seen: Any) -> None:
    document = json.loads(json.dumps(verdict(RULES, seen).to_document(), allow_nan=False))
    assert set(document) == {"state", "because", "reasons", "alpha", "criteria", "more_rows"}
    assert document["alpha"] == 0.05
    for criterion in document["criteria"]:
        assert {*criterion} == {
            *("name", "slice", "value", "low", "high", "margin", "noise"),
            *("direction", "rows", "state", "more_rows"),
        }
        assert criterion["low"] < criterion["high"]


def test_a_criterion_passes_or_fails_exactly_where_its_bounds_leave_the_margin() -> None:
    for flips in range(0, 1_000, 10):
        criterion = verdict(RULES, facts(agreement(flips=flips))).criteria[0]
        if criterion.state == "pass":
            assert criterion.high <= 0.05 * 1.001
        elif criterion.state == "fail":
            assert criterion.low >= 0.05 * 0.999
        else:
            assert criterion.low <= 0.05 <= criterion.high


def test_rules_are_the_settings() -> None:
    settings = VerdictSettings()
    assert {field.name for field in fields(Rules)} == set(VerdictSettings.model_fields)
    assert Rules(**settings.model_dump()) == Rules()


def test_sums_are_left_as_they_are() -> None:
    sums, labels = agreement(flips=3), labelled(gained=2)
    before = np.copy(sums), np.copy(labels)
    verdict(RULES, facts(sums, labels)).to_document()
    assert (sums == before[0]).all()
    assert (labels == before[1]).all()
