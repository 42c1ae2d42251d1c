from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from load_tests.conformal_oracles import crepes_intervals
from service.domain.distance import learn_distance
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.absolute import ABSOLUTE
from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.intervals import Intervals
from service.domain.uncertainty.measure import Asked, Graph, Material
from service.domain.uncertainty.normalised import MIXED_IN, NORMALISED
from tests.domain import models
from tests.domain.uncertainty.shams import EVERY_GRAPH, noise, rows_of, run, values


def asked(material: Material, confidence: float = 0.9) -> Asked:
    return Asked(material.rows, material.scores, confidence, run=material.run)


def region_of(material: Material) -> Intervals:
    return NORMALISED.restore(material.spec, NORMALISED.fit(material).arrays)


@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_intervals_are_those_of_crepes_with_the_same_difficulties(confidence: float) -> None:
    known, new = values(304, 0), values(400, 5)
    fitted = NORMALISED.fit(known)
    region = NORMALISED.restore(known.spec, fitted.arrays)
    own = region.nonconformity(region.evidence(asked(known)), known.labels)
    scored = part(known, np.flatnonzero(np.isin(own, region.scores)))
    assert len(scored.rows) == len(region.scores) == 203
    evidence = region.evidence(asked(scored)), region.evidence(asked(new))
    residuals = scored.labels - evidence[0][:, 0]
    theirs = crepes_intervals(residuals, evidence[1][:, 0], confidence, evidence[0][:, 1], evidence[1][:, 1])
    np.testing.assert_allclose(region.columns(asked(new, confidence))["interval"], theirs, rtol=1e-12)


def test_a_difficulty_is_the_mean_residual_of_the_nearest_teaching_rows() -> None:
    known, new = values(600, 0), values(50, 5)
    fitted = NORMALISED.fit(known)
    assert fitted.report["difficulty"] == "residuals of neighbours"
    count = fitted.report["neighbours"]
    assert fitted.report["teaching_rows"] == 200
    distance = learn_distance(known.spec.schema, known.reference)
    points, residuals = fitted.arrays["points"], fitted.arrays["residuals"]
    found = region_of(known).evidence(asked(new))[:, 1]
    for row, difficulty in zip(new.rows, found, strict=True):
        apart = distance.between(points, distance.scaled(row))
        near = residuals[np.argsort(apart)[:count]].mean()
        assert difficulty == pytest.approx((1 - MIXED_IN) * near + MIXED_IN * residuals.mean())


def test_rows_that_teach_are_not_scored() -> None:
    """All residuals are different, so each tells which row it is from."""
    known = values(300, 0)
    fitted = NORMALISED.fit(known)
    region = region_of(known)
    own = region.nonconformity(region.evidence(asked(known)), known.labels)
    residuals = np.abs(known.labels - known.scores[:, 0].astype(np.float64))
    teaching = np.isin(residuals, fitted.arrays["residuals"])
    assert teaching.sum() == 100
    assert region.scores.tolist() == sorted(own[~teaching].tolist())


def test_a_row_is_judged_the_same_whatever_its_own_true_value_is() -> None:
    known = values(300, 0)
    fitted = NORMALISED.fit(known)
    residuals = np.abs(known.labels - known.scores[:, 0].astype(np.float64))
    scored = np.flatnonzero(~np.isin(residuals, fitted.arrays["residuals"]))
    labels = known.labels.copy()
    labels[scored[0]] += 1e6
    changed = NORMALISED.fit(replace(known, labels=labels))
    before, after = (NORMALISED.restore(known.spec, each.arrays) for each in (fitted, changed))
    np.testing.assert_array_equal(before.evidence(asked(known)), after.evidence(asked(known)))


def test_difficult_rows_get_wide_intervals_and_cover_more_evenly_than_one_width() -> None:
    known, new = values(2000, 0), values(10_000, 5)
    easy, difficult = new.rows[:, 0] < 0.3, new.rows[:, 0] > 0.7
    gaps = {}
    for measure in (ABSOLUTE, NORMALISED):
        region = measure.restore(known.spec, measure.fit(known).arrays)
        low, high = region.columns(asked(new))["interval"].T
        covered = (low <= new.labels) & (new.labels <= high)
        gaps[measure.name] = covered[easy].mean() - covered[difficult].mean()
    assert (high - low)[difficult].mean() > 2 * (high - low)[easy].mean()
    assert gaps["absolute"] > 0.2
    assert abs(gaps["normalised"]) < gaps["absolute"] / 2


def test_members_that_disagree_where_the_model_errs_are_listened_to() -> None:
    known, new = values(300, 0, graphs=EVERY_GRAPH), values(200, 5, graphs=EVERY_GRAPH)
    fitted = NORMALISED.fit(known)
    assert fitted.report["difficulty"] == "spread of members"
    difficulty = region_of(known).evidence(asked(new))[:, 1]
    assert np.corrcoef(difficulty, noise(new.rows))[0, 1] > 0.999


def test_members_that_disagree_about_nothing_or_about_something_else_are_not() -> None:
    def elsewhere(_: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
        return (np.sin(1e4 * rows[:, :1]) * np.array([-1.0, 1.0]))[:, :, None]

    def together(_: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
        return np.zeros((len(rows), 4, 1))

    for members in (elsewhere, together):
        known = replace(values(600, 0), graphs=EVERY_GRAPH, run=members)
        assert NORMALISED.fit(known).report["difficulty"] == "residuals of neighbours"


def test_where_all_rows_are_as_difficult_intervals_have_one_width() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng, 120)
    scores = np.zeros((120, 1), dtype=np.float32)
    labels = rng.choice([-1.0, 1.0], 120)
    known = Material(models.spec(task="regression"), rows, scores, labels, rows[:40])
    assert NORMALISED.fit(known).report["difficulty"] == "same for all rows"
    assert region_of(known).columns(asked(known))["interval"].tolist() == [[-1, 1]] * 120


def test_a_model_that_is_never_wrong_gets_intervals_without_width() -> None:
    known = values(120, 0, graphs=EVERY_GRAPH)
    right = replace(known, labels=known.scores[:, 0].astype(np.float64), run=run)
    found = region_of(right).columns(asked(right))["interval"]
    assert found.tolist() == np.repeat(right.labels[:, None], 2, axis=1).tolist()


def test_neighbours_that_were_never_wrong_still_leave_a_difficulty() -> None:
    known = values(600, 0)
    young = known.rows[:, 0] < 0.5
    labels = np.where(young, known.scores[:, 0], known.labels).astype(np.float64)
    found = region_of(replace(known, labels=labels)).evidence(asked(known))[:, 1]
    assert (found > 0).all()
    assert found[young].mean() < found[~young].mean()


def test_pictures_are_not_searched_for_neighbours() -> None:
    spec = models.spec(task="regression", layout="image", shape=(1, 20, 20))
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(90, 400)).astype(np.float32)
    scores = rows[:, :1] * 3
    known = Material(spec, rows, scores, scores[:, 0] + rng.normal(size=90), rows[:20])
    fitted = NORMALISED.fit(known)
    assert fitted.report["difficulty"] == "same for all rows"
    assert fitted.arrays.keys() == {"scores"}
