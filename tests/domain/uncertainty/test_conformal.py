from __future__ import annotations

from fractions import Fraction
from math import ceil, inf

import numpy as np
import pytest

from service.domain.uncertainty.conformal import FOLDS, Trial, part, pool, trials
from service.domain.uncertainty.lac import LAC
from service.domain.uncertainty.measure import Material
from tests.domain.uncertainty.shams import classes


@pytest.mark.parametrize(
    ("rows", "confidence", "rank"),
    [
        (9, 0.9, 9),
        (8, 0.9, None),
        (19, 0.95, 19),
        (99, 0.55, 55),
        (99, 0.57, 57),
        (99, 0.9, 90),
        (100, 0.9, 91),
    ],
)
def test_the_threshold_is_the_score_of_the_rank_that_the_confidence_asks_for(
    rows: int, confidence: float, rank: int | None
) -> None:
    """100 * 0.55 and 100 * 0.57 are a little above 55 and 57 in floats, and must not cost a rank."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, rows + 1))
    assert pool(scores).threshold(confidence) == (inf if rank is None else rank)


@pytest.mark.parametrize("rows", [1, 9, 10, 99, 100, 883, 4999, 99_999])
def test_ranks_are_those_of_exact_arithmetic(rows: int) -> None:
    ranked = pool(np.arange(1.0, rows + 1))
    for thousandths in range(500, 1000):
        exact = ceil((rows + 1) * Fraction(thousandths, 1000))
        assert ranked.threshold(thousandths / 1000) == (exact if exact <= rows else inf)


def test_a_p_value_counts_the_rows_that_are_at_least_as_strange_and_the_new_one() -> None:
    ranked = pool(np.array([3.0, 1.0, 2.0, 2.0]))
    asked = np.array([[0.0, 1.0, 1.5], [2.0, 3.0, 4.0]])
    assert (ranked.p_values(asked) * 5).tolist() == [[5, 5, 4], [4, 2, 1]]
    assert pool(np.array([])).p_values(asked).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_pool_keeps_a_copy_that_nobody_can_change() -> None:
    scores = np.array([2.0, 1.0])
    ranked = pool(scores)
    scores[:] = 9
    assert ranked.ascending.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        ranked.ascending[0] = 0


@pytest.mark.parametrize("rows", [3, 5, 23])
def test_every_row_is_unseen_once_by_a_region_that_has_learnt_from_all_others(rows: int) -> None:
    material = classes(rows, 3)
    learnt: list[Material] = []

    def learn(some: Material) -> object:
        learnt.append(some)
        return LAC.restore(some.spec, LAC.fit(some).arrays)

    tried: list[Trial] = list(trials(material, learn))  # type: ignore[arg-type]  # a Region by its methods
    assert len(tried) == min(rows, FOLDS)
    unseen = np.concatenate([trial.unseen.rows[:, 0] for trial in tried])
    assert sorted(unseen.tolist()) == sorted(material.rows[:, 0].tolist())
    for trial, seen in zip(tried, learnt, strict=True):
        together = np.concatenate([trial.unseen.scores, seen.scores])
        assert sorted(together.tolist()) == sorted(material.scores.tolist())
        assert trial.columns(0.9)["set"].shape == trial.unseen.scores.shape


def test_a_part_keeps_rows_scores_and_labels_together() -> None:
    material = classes(6, 3)
    some = part(material, np.array([4, 1]))
    np.testing.assert_array_equal(some.rows, material.rows[[4, 1]])
    assert some.scores.tolist() == material.scores[[4, 1]].tolist()
    assert some.labels.tolist() == material.labels[[4, 1]].tolist()
    assert some.spec is material.spec
