"""Strangers are what they are said to be, and a score that does not find them fails the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from load_tests import domain_scores
from load_tests.domain_scores import PEER, Measured, auroc, compare
from load_tests.strangers import Case, mapped, moved, strangers
from tests.domain.uncertainty.tables import images, material, mixed, mixed_rows


def case() -> Case:
    rng = np.random.default_rng(0)
    given = material(mixed(), mixed_rows(rng, 300), mixed_rows(rng, 200))
    elsewhere = np.concatenate([np.zeros((60, 1)), rng.exponential(5.0, (60, 3))], axis=1)
    return Case("toy:1", given, mixed_rows(rng, 150), elsewhere)


def verdicts(*found: Measured) -> list[str]:
    return [finding.verdict for finding in domain_scores._claims(found)]


def measured(score: str, auroc: float, out: float | None = None, us: float | None = None) -> Measured:
    return Measured("toy:1", score, {"shuffled": auroc}, out, None if out is None else 0.02, us)


def test_a_blind_a_suspicious_or_a_slow_score_is_told() -> None:
    peer = measured(PEER, 0.8)
    assert verdicts(measured("mahalanobis", 0.9, 0.01, 10.0), peer) == ["met", "met", "met"]
    assert verdicts(measured("mahalanobis", 0.7, 0.01, 10.0), peer) == ["not met", "met", "met"]
    assert verdicts(measured("mahalanobis", 0.9, 0.03, 10.0), peer) == ["met", "not met", "met"]
    assert verdicts(measured("mahalanobis", 0.9, 0.01, 30.0), peer) == ["met", "met", "not met"]
    assert verdicts(measured("knn", 0.9, 0.01, 30.0), peer) == ["met", "met"]


def test_every_measure_that_fits_and_the_peer_judge_the_same_strangers() -> None:
    section = compare([case()], draws=2)
    assert section.header == ("", "", "mahalanobis", "knn", PEER)
    assert [line[1] for line in section.lines] == [
        "another data set",
        "columns shuffled",
        "a slice moved",
        "held-out rows out of domain",
        "us for one row",
    ]
    for line in section.lines[:3]:
        assert all(0 <= float(cell) <= 1 for cell in line[2:])
    assert len(section.measured) == 3


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(3.5 / 4)


def test_shuffled_rows_hold_the_same_values_in_every_column() -> None:
    given = case()
    shuffled = strangers(given, np.random.default_rng(0))["columns shuffled"]
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(given.held_out, axis=0))
    assert (shuffled[:, 0] != given.held_out[:, 0]).mean() > 0.9


def test_rows_of_another_data_set_look_like_the_models_column_by_column() -> None:
    given = case()
    rows, reference = mapped(given, np.random.default_rng(0)), given.material.reference
    assert rows.shape == given.held_out.shape
    assert set(rows[:, 2]) <= {0.0, 1.0, 2.0}
    known = reference[~np.isnan(reference[:, 2]), 2]
    for code in range(3):
        assert (rows[:, 2] == code).mean() == pytest.approx((known == code).mean(), abs=0.02)
    assert (rows[:, 3] == 3).all()
    assert abs(rows[:, 0].mean() - reference[:, 0].mean()) < 0.3 * reference[:, 0].std()
    assert (rows[:, 0] >= reference[:, 0].min()).all()


def test_a_moved_slice_is_one_deviation_up_in_its_numbers_and_keeps_its_categories() -> None:
    given = case()
    rows = given.held_out[given.held_out[:, 0] > np.median(given.held_out[:, 0])]
    found = moved(given)
    gaps = found - rows
    assert gaps[:, 0] == pytest.approx(np.nanstd(given.material.reference[:, 0]))
    np.testing.assert_array_equal(found[:, 2], rows[:, 2])


def test_moved_images_keep_their_pixels() -> None:
    given = material(images(1, 2, 3), np.zeros((30, 6), np.float32), np.zeros((30, 6), np.float32))
    picture = np.arange(6, dtype=np.float32)[None]
    found = moved(replace(case(), material=given, held_out=picture))
    assert found.tolist() == [[2, 0, 1, 5, 3, 4]]


def test_a_column_without_spread_elsewhere_is_left_out() -> None:
    given = replace(case(), elsewhere=np.tile([[1.0, 2.0], [1.0, 4.0]], (30, 1)))
    assert np.isfinite(mapped(given, np.random.default_rng(0))).all()
