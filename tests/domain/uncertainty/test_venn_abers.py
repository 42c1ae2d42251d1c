"""Venn-Abers bounds beside refits with the row among the others, and whether they keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from service.domain.schema import Scores
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.reliability import log_losses
from service.domain.uncertainty.venn_abers import VENN_ABERS, learn_bounds
from tests.domain.uncertainty.stated import answers, asked, drawn, spec, two

Floats = NDArray[np.float64]


def bounds(scores: Scores, labels: NDArray[np.intp], fresh: Scores) -> Floats:
    """[rows, 2]"""
    learnt = VENN_ABERS.restore(spec(2), learn_bounds(scores, labels))
    found: Floats = learnt.columns(asked(fresh, "venn_abers"))["venn_abers"]
    return found


def refitted(scores: Scores, labels: NDArray[np.intp], score: float) -> list[float]:
    """The definition: isotonic regression with the row among the others, once with each label."""
    everyone, place = np.unique([*scores[:, 1].tolist(), score], return_inverse=True)
    counts = np.bincount(place)
    found = []
    for label in (0.0, 1.0):
        shares = np.bincount(place, np.append(labels, label)) / counts
        fit = isotonic_regression(shares, weights=counts).x
        found.append(float(fit[everyone.searchsorted(score)]))
    return found


@pytest.mark.parametrize("decimals", [None, 1, 2])
@pytest.mark.parametrize("rows", [1, 2, 7, 40, 150])
def test_bounds_are_those_of_refitting_with_either_label(rows: int, decimals: int | None) -> None:
    for seed in range(4):
        known = drawn(rows, seed=seed, decimals=decimals)
        own = known.scores[:, 1]
        near = np.concatenate([np.nextafter(own, np.float32(edge)) for edge in (-1, 2)])
        some = np.concatenate([own, near])[:: 1 + rows // 20]
        fresh = two(np.array([0.0, 1.0, *np.random.default_rng(seed).random(5)]))
        fresh = np.concatenate([fresh, np.stack([1 - some, some], axis=1)])
        wanted = [refitted(known.scores, known.labels, float(score)) for score in fresh[:, 1]]
        np.testing.assert_allclose(bounds(known.scores, known.labels, fresh), wanted, rtol=0, atol=1e-12)


def test_the_bound_of_the_true_label_comes_true_as_often_as_it_says_for_any_model_and_few_rows() -> None:
    """Scores tell nothing and claim much; 12 calibration rows; 40,000 tries, within four standard errors."""
    rng = np.random.default_rng(0)
    stated, happened = [], []
    for _ in range(2000):
        scores, labels = rng.random(12 + 20) ** 4, rng.integers(0, 2, 12 + 20)
        found = bounds(two(scores[:12]), labels[:12], two(scores[12:]))
        stated.append(found[np.arange(20), labels[12:]])
        happened.append(labels[12:])
    gaps = (np.array(happened) - np.array(stated)).mean(axis=1)  # tries share calibration rows
    assert abs(gaps.mean()) < 4 * gaps.std() / np.sqrt(len(gaps))
    for low, high in ((0, 0.35), (0.35, 0.5), (0.5, 0.65), (0.65, 1)):
        inside = (np.array(stated) >= low) & (np.array(stated) < high)
        off = np.where(inside, np.array(happened) - np.array(stated), 0).mean(axis=1)
        assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off)), (low, high)


def test_the_bounds_hold_the_probability_and_draw_together_with_more_rows() -> None:
    widths = []
    for rows in (30, 300, 3000):
        fresh = drawn(200, seed=1).scores
        found = answers(VENN_ABERS, drawn(rows), fresh, "venn_abers")
        low, high = found["venn_abers"].T
        assert (low < high).all()
        assert ((low < found["calibrated"][:, 1]) & (found["calibrated"][:, 1] < high)).all()
        widths.append((high - low).mean())
    assert widths[0] > 3 * widths[1] > 9 * widths[2]


def test_the_one_number_regrets_the_same_whichever_label_comes() -> None:
    """Regret: its log-loss beside that of a perfect use of the bounds, as Vovk and Petej derive it."""
    found = answers(VENN_ABERS, drawn(60), drawn(50, seed=1).scores, "venn_abers")
    low, high = found["venn_abers"].T
    zeros, ones = np.zeros(50, np.intp), np.ones(50, np.intp)
    regret_of_zero = log_losses(found["calibrated"], zeros) + np.log(1 - low)
    regret_of_one = log_losses(found["calibrated"], ones) + np.log(high)
    np.testing.assert_allclose(regret_of_zero, regret_of_one, atol=1e-12)


def test_bounds_are_given_to_whoever_asks_for_them() -> None:
    rows = drawn(60)
    for fresh in (rows.scores, rows.scores[:1]):
        assert answers(VENN_ABERS, rows, fresh).keys() == {"calibrated"}
        assert answers(VENN_ABERS, rows, fresh, "venn_abers")["venn_abers"].shape == (len(fresh), 2)


def test_more_than_two_classes_are_declined() -> None:
    with pytest.raises(Unfitting, match="two classes only"):
        VENN_ABERS.fit(drawn(60, 3))


def test_the_report_says_how_far_the_bounds_lie_apart() -> None:
    rows = drawn(120)
    low, high = answers(VENN_ABERS, rows, rows.scores, "venn_abers")["venn_abers"].T
    assert VENN_ABERS.fit(rows).report["mean_width"] == pytest.approx((high - low).mean())
