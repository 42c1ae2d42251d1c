"""Occlusion of columns, patches and superpixels."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from service.domain.explainers.game import Ask, Subject, Unsuitable, value_function
from service.domain.explainers.occlusion import OCCLUSION, OCCLUSION_SUPERPIXELS
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError
from tests.domain.explainers import games
from tests.domain.explainers.networks import NEVER, merged, picture, table


def lost(subject: Subject, row: FeatureBatch) -> list[float]:
    """f(x) minus the mean of f over the whole background lending one player, in the method's own output."""
    values = value_function(subject, subject.own_output(), 1 if subject.spec.classes else None)
    found = []
    for own in subject.players.columns:
        mixed = np.tile(row, (len(subject.background), 1))
        mixed[:, own] = subject.background[:, own]
        found.append(float(values(row[None])[0] - values(mixed).mean()))
    return found


@pytest.mark.parametrize(
    "subject", [table(rows=30), table(classes=2, rows=30), merged(table(rows=20), [0, 3], [1, 2, 4, 5])]
)
def test_with_the_whole_background_a_value_is_what_is_lost_without_the_player(subject: Subject) -> None:
    rows = subject.background[:3] + np.float32(0.2)
    for one, row in zip(OCCLUSION.build(subject)(rows, Ask(), NEVER), rows, strict=True):
        np.testing.assert_allclose(one.values, lost(subject, row), atol=2e-5)
        assert one.standard_errors is not None
        assert one.standard_errors.max() < 1e-6
        assert one.rows_evaluated == 1 + len(subject.background) * len(subject.players)
        assert not one.exact
        assert one.additivity_gap is None


def test_with_part_of_the_background_errors_cover_what_is_lost() -> None:
    subject = table(width=5, rows=150, scale=1.5)
    explainer = OCCLUSION.build(subject)
    inside = []
    for row in subject.background[:5] + np.float32(0.1):
        truth = lost(subject, row)
        for seed in range(30):
            (one,) = explainer(row[None], Ask(seed=seed, max_evals=1 + 5 * 30), NEVER)
            assert one.standard_errors is not None
            assert one.rows_evaluated == 151
            inside.append(np.abs(one.values - truth)[:-1] < 1.96 * one.standard_errors[:-1])
    assert 0.91 < np.mean(inside) < 0.99


def test_columns_that_stand_in_for_each_other_get_nothing() -> None:
    subject = games.subject_of(lambda x: np.maximum(x[:, 0], x[:, 1]), np.zeros((10, 3)))
    (one,) = OCCLUSION.build(subject)(np.ones((1, 3), np.float32), Ask(), NEVER)
    np.testing.assert_allclose(one.values, 0, atol=1e-7)


def test_a_probability_is_explained_where_it_is_asked_for() -> None:
    subject = table(classes=2, rows=25)
    row = subject.background[:1] + np.float32(0.3)
    (one,) = OCCLUSION.build(subject)(row, Ask(output="probability"), NEVER)
    mixed = np.tile(row, (25, 1))
    mixed[:, 0] = subject.background[:, 0]
    expected = subject.predict(row)[0, 1] - subject.predict(mixed)[:, 1].mean(dtype=np.float64)
    assert one.output == "probability"
    assert one.values[0] == pytest.approx(expected, abs=1e-6)


def test_the_budget_is_kept_and_too_small_a_one_refused() -> None:
    subject, counter = games.counted(table(rows=80))
    explainer = OCCLUSION.build(subject)
    for most in (13, 40, 200, 4000):
        counter.rows = 0
        (one,) = explainer(subject.background[:1], Ask(max_evals=most), NEVER)
        assert counter.rows == one.rows_evaluated <= most
    with pytest.raises(Unsuitable, match="max_evals 12 is too few for 6 players"):
        explainer(subject.background[:1], Ask(max_evals=12), NEVER)


def test_a_deadline_is_kept_and_told() -> None:
    plain = table(rows=300)
    seconds = [0.0]

    def predict(rows: FeatureBatch) -> Scores:
        done = time.monotonic() + seconds[0] * len(rows)
        while time.monotonic() < done:
            pass
        return plain.predict(rows)

    explainer = OCCLUSION.build(replace(plain, predict=predict))
    (whole,) = explainer(plain.background[:1], Ask(), NEVER)
    seconds[0] = 0.001
    (cut,) = explainer(plain.background[:1], Ask(), time.monotonic() + 0.2)
    assert whole.degraded is None
    assert cut.degraded is not None
    assert cut.rows_evaluated < whole.rows_evaluated
    with pytest.raises(DeadlineError):
        explainer(plain.background[:1], Ask(), time.monotonic() - 1)


def test_superpixels_say_which_segment_a_pixel_is_in_and_what_each_is_worth() -> None:
    subject = picture((1, 12, 12), classes=3, rows=40)
    row = subject.background[:1]
    (one,) = OCCLUSION_SUPERPIXELS.build(subject)(row, Ask(), NEVER)
    segments = np.array(one.detail["segments"])
    worth = np.array(one.detail["segment_values"])
    assert segments.shape == (12, 12)
    assert len(worth) == segments.max() + 1
    values = value_function(subject, "margin", one.label)
    for number in (0, len(worth) - 1):
        mixed = np.tile(row, (len(subject.background), 1))
        own = np.flatnonzero(segments.ravel() == number)
        mixed[:, own] = subject.background[:, own]
        assert worth[number] == pytest.approx(values(row)[0] - values(mixed).mean(), abs=2e-5)
    assert one.values.sum() == pytest.approx(worth.sum())
    assert sum(one.detail["pixels"]) == pytest.approx(worth.sum(), abs=1e-3)
    assert one.method == "occlusion-superpixels"
    json.dumps(dict(one.detail), allow_nan=False)


def test_only_a_picture_has_superpixels() -> None:
    with pytest.raises(Unsuitable, match="picture"):
        OCCLUSION_SUPERPIXELS.build(table())


def test_made_up_rows_that_break_the_datas_pattern_are_reported() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(300, 1)), 4, axis=1) + 0.01 * rng.normal(size=(300, 4))
    tied = games.subject_of(lambda x: x.sum(axis=1), same)
    free = games.subject_of(lambda x: x.sum(axis=1), rng.normal(size=(300, 4)))
    (far,) = OCCLUSION.build(tied)(tied.background[:1], Ask(), NEVER)
    (near,) = OCCLUSION.build(free)(free.background[:1], Ask(), NEVER)
    assert far.off_manifold_share is not None
    assert near.off_manifold_share is not None
    assert far.off_manifold_share > 0.5 > near.off_manifold_share
    assert "warning" in far.detail
    assert "warning" not in near.detail
