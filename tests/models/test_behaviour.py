"""A behavioural suite finds what was planted, at its rate and its worst row, and asks nothing illegal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.asking import ROWS_PER_RUN
from models.behaviour import MOST_EXAMPLES, describe, run_suite
from models.bundle import Bundle
from service.errors import BundleError, InferenceError
from tests.models.graphs import Tiny
from tests.models.rules import AGE, HOME, INCOME, OWNER, PARENTS, RENT, Rule, chance, made, only, suite

Make = Callable[[str], Tiny]


def test_a_model_that_ignores_a_column_passes_its_invariance_exactly(bundle: Bundle) -> None:
    model = chance(lambda rows: 0.1 * rows[:, AGE])
    asked = suite(kind="invariance", change={"home": {"others": True}}, within=0.0)
    outcome = only(run_suite(asked, bundle, model))
    assert (outcome.passed, outcome.rows, outcome.right) == (True, len(bundle.background()), outcome.rows)
    assert outcome.examples == ()


def test_a_planted_flip_is_caught_at_its_rate_and_its_worst_row(bundle: Bundle) -> None:
    rows = bundle.background()
    moved = chance(lambda rows: 0.2 + np.where(rows[:, HOME] == PARENTS, 0.1 * rows[:, AGE], 0.0))
    outcome = only(run_suite(suite(kind="invariance", change={"home": {"others": True}}), bundle, moved))
    broken = rows[:, AGE] >= 3  # at 3 the chance rises to a half, at 4 to 0.6
    assert outcome.rows == len(rows)
    assert outcome.right == (~broken).sum()
    assert not outcome.passed
    worst = outcome.examples[0]
    assert rows[worst["row"], AGE] == 4
    assert worst["excess"] == pytest.approx(0.4)
    assert "parents" in worst["changed"]["home"].values()
    assert {worst["before"]["label"], worst["after"]["label"]} == {"bad", "good"}
    assert worst["inputs"]["age"] == 4
    assert len(outcome.examples) == MOST_EXAMPLES


def test_a_movement_beyond_the_tolerance_is_caught_without_a_flip(bundle: Bundle) -> None:
    drifts = chance(lambda rows: 0.7 + np.where(rows[:, HOME] == RENT, 0.05 * rows[:, AGE], 0.0))
    asked = suite(kind="invariance", change={"home": {"to": "rent"}}, within=0.12, at_least=0.5)
    outcome = only(run_suite(asked, bundle, drifts))
    others = bundle.background()[bundle.background()[:, HOME] != RENT]  # renters rent already
    assert outcome.rows == len(others)
    assert outcome.rows - outcome.right == (others[:, AGE] >= 3).sum()


def test_a_flip_may_be_allowed_where_the_score_barely_moves(bundle: Bundle) -> None:
    edge = chance(lambda rows: np.where(rows[:, HOME] == OWNER, 0.5, 0.499))
    change = {"home": {"others": True}}
    strict = only(run_suite(suite(kind="invariance", change=change, within=0.01), bundle, edge))
    lenient = suite(kind="invariance", change=change, within=0.01, same_label=False)
    assert strict.right == 0
    assert only(run_suite(lenient, bundle, edge)).passed


def test_a_planted_wrong_direction_is_caught(bundle: Bundle) -> None:
    rows = bundle.background()
    sloped = chance(lambda rows: 0.5 + np.where(rows[:, INCOME] > 0, 0.05, -0.05) * rows[:, AGE])
    asked = suite(kind="directional", change={"age": {"add": 1}}, must_not="fall", within=0.01)
    outcome = only(run_suite(asked, bundle, sloped))
    young = rows[rows[:, AGE] < 4]  # 4 is the greatest age of training
    assert outcome.rows == len(young)
    assert outcome.right == (young[:, INCOME] > 0).sum()
    assert outcome.examples[0]["excess"] == pytest.approx(0.04)
    age = outcome.examples[0]["changed"]["age"]
    assert age["to"] == age["from"] + 1
    other = suite(kind="directional", change={"age": {"add": 1}}, must_not="rise", within=0.01, output="bad")
    assert only(run_suite(other, bundle, sloped)).right == outcome.right


def test_a_planted_wrong_answer_is_caught_among_the_rows_of_a_condition(bundle: Bundle) -> None:
    rows = bundle.background()
    model = chance(lambda rows: np.where(rows[:, AGE] > 1, 0.9, 0.1 * rows[:, AGE]))
    asked = suite(
        kind="minimum_functionality", on={"where": "home == 'rent'"}, expect={"label": "good"}, at_least=0.9
    )
    outcome = only(run_suite(asked, bundle, model))
    renters = rows[rows[:, HOME] == RENT]
    assert (outcome.rows, outcome.right) == (len(renters), (renters[:, AGE] > 1).sum())
    worst = outcome.examples[0]
    assert worst["inputs"]["age"] == 0
    assert worst["before"] is None
    assert worst["changed"] == {}
    assert worst["excess"] == pytest.approx(0.5)
    assert "'a promise' holds for" in describe(outcome.as_document())
    assert f"worst row {worst['row']}: bad 1.000" in describe(outcome.as_document())


def test_instances_are_asked_as_a_caller_would_post_them(bundle: Bundle) -> None:
    model = chance(lambda rows: np.where(np.isnan(rows[:, HOME]), 0.3, 0.8))
    instances = [{"age": 3, "home": "rent", "income": 1.5}, {"age": 2, "home": None, "income": 0}, {"age": 1}]
    asked = suite(
        kind="minimum_functionality",
        on={"instances": instances},
        expect={"probability": {"good": [0.75, None], "bad": [None, 0.5]}},
    )
    outcome = only(run_suite(asked, bundle, model))
    assert (outcome.rows, outcome.right) == (3, 1)
    assert [example["row"] for example in outcome.examples] == [1, 2]
    assert outcome.examples[1]["inputs"] == {"age": 1.0, "home": None, "income": None}


def test_a_value_is_held_against_its_range(make: Make, tmp_path: Path) -> None:
    bundle = made(make, "regression", tmp_path)
    model = Rule(lambda rows: 10.0 * rows[:, AGE])
    asked = suite(kind="minimum_functionality", expect={"value": [5, 35]})
    outcome = only(run_suite(asked, bundle, model))
    ages = bundle.background()[:, AGE]
    assert outcome.right == ((ages >= 1) & (ages <= 3)).sum()
    assert outcome.examples[0]["after"] == {"value": pytest.approx(outcome.examples[0]["inputs"]["age"] * 10)}
    assert outcome.examples[0]["excess"] == pytest.approx(5)
    still = suite(kind="invariance", change={"age": {"add": -1}}, within=9.0)
    assert only(run_suite(still, bundle, model)).right == 0


def test_a_row_passes_only_if_every_change_of_it_does(bundle: Bundle) -> None:
    renters = chance(lambda rows: np.where(rows[:, HOME] == RENT, 0.9, 0.1))
    asked = suite(kind="invariance", change={"home": {"others": True}})
    assert only(run_suite(asked, bundle, renters)).right == 0
    between = suite(kind="invariance", change={"home": {"to": ["owner", "parents"]}})
    rows = bundle.background()
    assert only(run_suite(between, bundle, renters)).right == (rows[:, HOME] != RENT).sum()


def test_only_what_a_caller_may_send_is_asked(make: Make, tmp_path: Path) -> None:
    reference = make("columns").material.reference.copy()
    reference[0, HOME] = reference[1, INCOME] = np.nan
    bundle = made(make, "columns", tmp_path, reference=reference)
    model = chance(lambda rows: np.full(len(rows), 0.6))
    check = suite(
        kind="invariance",
        change={"age": {"times": 1.3}, "home": {"others": True}, "income": {"add": 0.25}},
    )
    outcome = only(run_suite(check, bundle, model))
    ages = reference[:, AGE]
    income = reference[:, INCOME]
    legal = np.round(ages * 1.3) <= ages.max()
    legal &= income + 0.25 <= np.nanmax(income)  # a missing income is no number that could grow
    assert outcome.rows == legal.sum()
    (together,) = model.asked
    assert together.dtype == bundle.spec.schema.dtype
    assert set(together[:, AGE]) <= set(range(6))
    assert set(together[len(reference) :, HOME]) == {OWNER, RENT, PARENTS}


def test_a_whole_number_stays_whole_and_one_that_cannot_is_a_mistake(make: Make, tmp_path: Path) -> None:
    bundle = made(make, "columns", tmp_path)
    asked = suite(kind="invariance", change={"age": {"add": 0.5}})
    with pytest.raises(BundleError, match=r"'a promise': change\.age\.add: 0\.5 is no whole number"):
        run_suite(asked, bundle, chance(lambda rows: 0.5))


def test_all_changes_of_a_check_are_asked_in_one_run(bundle: Bundle, make: Make, tmp_path: Path) -> None:
    model = chance(lambda rows: 0.6)
    asked = suite(kind="invariance", change={"home": {"others": True}, "age": {"to": [0, 1, 2]}})
    run_suite(asked, bundle, model)
    assert [len(batch) for batch in model.asked] == [(1 + 9) * len(bundle.background())]
    many = np.tile(make("tensor").material.reference, (25, 1))
    model = chance(lambda rows: 0.6)
    everyone = suite(
        kind="invariance", on={"sample": 1000}, change={"home": {"others": True}, "age": {"to": [0, 1, 2]}}
    )
    assert only(run_suite(everyone, made(make, "tensor", tmp_path / "many", reference=many), model)).passed
    assert [len(batch) for batch in model.asked] == [ROWS_PER_RUN, 10_000 - ROWS_PER_RUN]


def test_a_sample_is_drawn_by_its_seed_and_names_rows_of_the_reference_data(bundle: Bundle) -> None:
    model = chance(lambda rows: 0.1)

    def rows(seed: int) -> list[int]:
        asked = suite(kind="minimum_functionality", on={"sample": 10, "seed": seed}, expect={"label": "good"})
        outcome = only(run_suite(asked, bundle, model))
        assert outcome.rows == 10
        background = bundle.background()
        for example in outcome.examples:
            assert background[example["row"], AGE] == example["inputs"]["age"]
        return [example["row"] for example in outcome.examples]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_an_answer_that_is_no_number_is_wrong_and_still_fits_into_json(bundle: Bundle) -> None:
    broken = chance(lambda rows: np.where(rows[:, AGE] == 2, np.nan, 0.7))
    asked = suite(kind="minimum_functionality", expect={"probability": {"good": [0, 1]}})
    outcome = only(run_suite(asked, bundle, broken))
    assert outcome.rows - outcome.right == (bundle.background()[:, AGE] == 2).sum()
    text = json.dumps(outcome.as_document(), allow_nan=False)
    assert json.loads(text)["examples"][0]["excess"] is None
    assert "no number" in describe(json.loads(text))


def test_a_model_that_cannot_be_asked_is_told_with_the_check(bundle: Bundle) -> None:
    def refuse(rows: np.ndarray) -> np.ndarray:
        raise InferenceError("tiny:tensor failed: no such row")

    with pytest.raises(BundleError, match=r"check 'a promise': tiny:tensor failed: no such row"):
        run_suite(suite(kind="minimum_functionality", expect={"label": "good"}), bundle, Rule(refuse))


def test_the_share_that_is_asked_for_is_enough(bundle: Bundle) -> None:
    model = chance(lambda rows: np.where(rows[:, INCOME] == 0, 0.1, 0.9))
    instances = [{"age": 1, "home": "rent", "income": float(number)} for number in range(20)]
    for at_least, passed in ((0.95, True), (0.951, False)):
        asked = suite(
            kind="minimum_functionality",
            on={"instances": instances},
            expect={"label": "good"},
            at_least=at_least,
        )
        outcome = only(run_suite(asked, bundle, model))
        assert (outcome.right, outcome.passed) == (19, passed)


def test_a_warning_is_told_and_forbids_nothing(bundle: Bundle) -> None:
    asked = suite(kind="minimum_functionality", expect={"label": "good"}, severity="warn")
    found = run_suite(asked, bundle, chance(lambda rows: 0.1))
    assert found.passed
    assert not only(found).passed


def test_pixels_are_shifted_and_flipped_in_place(make: Make, tmp_path: Path) -> None:
    bundle = made(make, "image", tmp_path)  # [1, 2, 2]: top left, top right, bottom left, bottom right
    model = Rule(lambda rows: np.tile([0.2, 0.3, 0.5], (len(rows), 1)))
    taken = {
        "shift": ([0, 1], [0, 0, 2, 2]),  # what moves in repeats the edge
        "flip": ("horizontal", [1, 0, 3, 2]),
    }
    for way, (how, order) in taken.items():
        model.asked.clear()
        asked = suite(kind="invariance", change={"pixels": {way: how}})
        assert only(run_suite(asked, bundle, model)).passed
        (together,) = model.asked
        before, after = np.split(together, 2)
        np.testing.assert_array_equal(after, before[:, order])
    model.asked.clear()
    run_suite(suite(kind="invariance", change={"pixels": {"shift": [-1, 0]}}), bundle, model)
    before, after = np.split(model.asked[0], 2)
    np.testing.assert_array_equal(after, before[:, [2, 3, 2, 3]])


def test_noise_on_pixels_is_seeded_and_stays_within_their_range(make: Make, tmp_path: Path) -> None:
    bundle = made(make, "image", tmp_path)
    asked = suite(kind="invariance", change={"pixels": {"noise": 0.5}})
    drawn = []
    for _ in range(2):
        model = Rule(lambda rows: np.tile([0.2, 0.3, 0.5], (len(rows), 1)))
        assert only(run_suite(asked, bundle, model)).passed
        drawn.append(model.asked[0])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    before, after = np.split(drawn[0], 2)
    assert bundle.manifest.input.range is not None
    low, high = bundle.manifest.input.range
    assert after.min() == np.float32(low)
    assert after.max() == np.float32(high)
    assert 0.2 < np.abs(after - before).mean() < 0.6


def test_a_planted_dependence_on_a_corner_is_caught_in_images(make: Make, tmp_path: Path) -> None:
    bundle = made(make, "image", tmp_path)
    corner = Rule(lambda rows: np.where(rows[:, :1] > 0.5, [[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]]))
    outcome = only(run_suite(suite(kind="invariance", change={"pixels": {"shift": [0, 1]}}), bundle, corner))
    assert outcome.passed  # the left edge is repeated, so the corner stays
    outcome = only(
        run_suite(suite(kind="invariance", change={"pixels": {"flip": "vertical"}}), bundle, corner)
    )
    rows = bundle.background()
    assert outcome.rows - outcome.right == ((rows[:, 0] > 0.5) != (rows[:, 2] > 0.5)).sum() > 0
    assert outcome.examples[0]["inputs"] is None
    assert "pixels: " in describe(outcome.as_document())
