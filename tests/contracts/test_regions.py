"""What every conformal region promises, whatever it judges by."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.measure import Asked, Material, Measure, Region, Unfitting
from service.domain.uncertainty.registry import of_kind
from tests.contracts.watching import is_a_sentence
from tests.domain.uncertainty.shams import CLASSES, VALUES

MAKERS = {**CLASSES, **VALUES}
SERVES = {
    "lac": CLASSES,
    "lac-by-class": CLASSES,
    "aps": CLASSES,
    "aps-by-class": CLASSES,
    "absolute": VALUES,
    "normalised": VALUES,
    "quantile": ("values and graphs",),
}
"""Which models each measure serves; it declines all others."""
NAMED: dict[str, Measure] = {measure.name: measure for measure in of_kind("region")}
CASES = [pytest.param(name, model, id=f"{name}, {model}") for name in SERVES for model in SERVES[name]]
each_case = pytest.mark.parametrize(("name", "model"), CASES)

BY_CLASS = ("lac-by-class", "aps-by-class")
TIED = ("aps", "aps-by-class")
"""Whatever the scores, many nonconformities are 0, so sets cover more often than they say."""
LEARNS = ("normalised",)
"""A part of the calibration rows is not scored."""
LEAST = {"normalised": 60}
"""Calibration rows that a measure needs."""
CONFIDENCES = (0.5, 0.55, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
ROWS, SEED = 99, 7


def region_of(name: str, material: Material) -> Region:
    """As a service has it: what was learnt goes through a file."""
    fitted, file = NAMED[name].fit(material), io.BytesIO()
    np.savez(file, **fitted.arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        restored: Any = NAMED[name].restore(material.spec, {key: arrays[key] for key in arrays.files})
    region: Region = restored
    return region


def asked(material: Material, confidence: float = 0.9, *extra: str) -> Asked:
    return Asked(material.rows, material.scores, confidence, frozenset(extra), material.run)


def holds(columns: dict[str, NDArray[Any]], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row's region holds a label, [rows]."""
    if "set" in columns:
        found: NDArray[np.bool_] = columns["set"][np.arange(len(labels)), labels]
        return found
    low, high = columns["interval"].T
    return (low <= labels) & (labels <= high)


def test_every_region_is_held_to_these_laws() -> None:
    assert SERVES.keys() == NAMED.keys()


@pytest.mark.parametrize("name", SERVES)
def test_a_model_that_a_region_cannot_serve_is_declined_in_a_sentence(name: str) -> None:
    for model in MAKERS.keys() - set(SERVES[name]):
        with pytest.raises(Unfitting) as declined:
            NAMED[name].fit(MAKERS[model](ROWS, SEED))
        assert is_a_sentence(declined.value), model


@each_case
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_a_region_covers_the_true_label_as_often_as_it_says(name: str, model: str, confidence: float) -> None:
    """Of m new rows a threshold of rank k among n covers beta-binomially many, Beta(k, n + 1 - k)."""
    covered, expected, variance = 0.0, 0.0, 0.0
    for split in range(60):
        known, new = MAKERS[model](ROWS, 1000 + split), MAKERS[model](50, 9000 + split)
        region = region_of(name, known)
        covered += float(holds(region.columns(asked(new, confidence)), new.labels).sum())
        for n, m in judged(name, region, known, new):
            k = min(n + 1, int(np.ceil((n + 1) * confidence - 1e-9)))
            share = k / (n + 1)
            expected += m * share
            variance += m * share * (1 - share) * (n + 1 + m) / (n + 2)
    deviations = (covered - expected) / sqrt(variance)
    assert deviations > -3.5
    if name not in TIED and "few different" not in model:
        assert deviations < 3.5


def judged(name: str, region: Region, known: Material, new: Material) -> list[tuple[int, int]]:
    """Calibration rows and new rows that share a threshold, for each threshold."""
    if name not in BY_CLASS:
        return [(len(region.scores), len(new.rows))]
    counts = (np.bincount(each.labels, minlength=len(known.spec.classes)) for each in (known, new))
    return list(zip(*(count.tolist() for count in counts), strict=True))


@pytest.mark.parametrize(
    ("name", "model"), [case for case in CASES if case.values[0] not in (*BY_CLASS, *LEARNS)]
)
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_of_n_and_one_rows_each_of_which_is_new_once_as_many_are_covered_as_the_rank_says(
    name: str, model: str, confidence: float
) -> None:
    """Exactly k of n + 1 where no two scores are equal, whatever the model: the law behind all coverage."""
    material = MAKERS[model](100, SEED)
    region = region_of(name, material)
    evidence = region.evidence(asked(material))
    own = region.nonconformity(evidence, material.labels)
    covered = 0
    for row in range(100):
        others = region.with_scores(np.delete(own, row))
        judged = others.regions(evidence[row : row + 1], others.thresholds(confidence))
        covered += int(holds(judged, material.labels[row : row + 1])[0])
    k = int(np.ceil(100 * confidence - 1e-9))
    assert covered >= k
    if name not in TIED and "few different" not in model:
        assert covered == k


@each_case
def test_more_confidence_never_rules_out_more(name: str, model: str) -> None:
    material = MAKERS[model](ROWS, SEED)
    region, new = region_of(name, material), MAKERS[model](200, 1)
    found = [region.columns(asked(new, confidence)) for confidence in CONFIDENCES]
    for less, more in pairwise(found):
        if "set" in less:
            assert (less["set"] <= more["set"]).all()
        else:
            assert (more["interval"][:, 0] <= less["interval"][:, 0]).all()
            assert (less["interval"][:, 1] <= more["interval"][:, 1]).all()


@pytest.mark.parametrize(("name", "model"), [case for case in CASES if case.values[1] in CLASSES])
@pytest.mark.parametrize("rows", [8, 9, 99, 200])
def test_a_label_is_in_the_set_exactly_where_its_p_value_is_above_one_minus_confidence(
    name: str, model: str, rows: int
) -> None:
    region, new = region_of(name, MAKERS[model](rows, SEED)), MAKERS[model](200, 1)
    for confidence in CONFIDENCES:
        found = region.columns(asked(new, confidence, "p_values"))
        assert found["p_values"].shape == found["set"].shape
        assert (found["p_values"] > 0).all()
        assert (found["p_values"] <= 1).all()
        np.testing.assert_array_equal(found["set"], found["p_values"] > 1 - confidence + 1e-9)


@each_case
def test_a_label_is_possible_exactly_where_its_nonconformity_is_up_to_the_threshold(
    name: str, model: str
) -> None:
    region, new = region_of(name, MAKERS[model](ROWS, SEED)), MAKERS[model](200, 1)
    evidence, thresholds = region.evidence(asked(new)), region.thresholds(0.9)
    assert evidence.dtype == thresholds.dtype == np.float64
    found = region.regions(evidence, thresholds)
    for column, answered in region.columns(asked(new)).items():
        np.testing.assert_array_equal(found[column], answered)
    if new.spec.classes:
        assert evidence.shape == (200, len(new.spec.classes))
        assert thresholds.shape == (len(new.spec.classes),)
        for label in range(len(new.spec.classes)):
            labels = np.full(200, label)
            possible = region.nonconformity(evidence, labels) <= thresholds[label]
            np.testing.assert_array_equal(found["set"][:, label], possible)
        return
    assert thresholds.shape == (1,)
    for values in (new.labels, found["interval"][:, 0] - 1e-6, found["interval"].mean(axis=1)):
        possible = region.nonconformity(evidence, values) <= thresholds[0]
        np.testing.assert_array_equal(holds(found, values), possible)


@each_case
def test_too_few_rows_rule_nothing_out(name: str, model: str) -> None:
    material = MAKERS[model](ROWS, SEED)
    region, new = region_of(name, material), MAKERS[model](20, 1)
    for few, confidence in ((0, 0.5), (3, 0.9), (8, 0.9), (18, 0.95), (998, 0.9995)):
        small = region.with_scores(np.linspace(-1, 1, few))
        assert np.isinf(small.thresholds(confidence)).all()
        assert rules_nothing_out(small, new, confidence)
    for enough, confidence in ((1, 0.5), (9, 0.9), (19, 0.95), (999, 0.999)):
        assert np.isfinite(region.with_scores(np.linspace(-1, 1, enough)).thresholds(confidence)).all()
    assert rules_nothing_out(region, new, 0.999)  # as fitted to 99 rows


def rules_nothing_out(region: Region, new: Material, confidence: float) -> bool:
    columns = region.columns(asked(new, confidence))
    if "set" in columns:
        return bool(columns["set"].all())
    return columns["interval"].tolist() == [[-np.inf, np.inf]] * len(new.rows)


@each_case
def test_a_row_gets_the_same_answer_alone_as_among_others(name: str, model: str) -> None:
    region, new = region_of(name, MAKERS[model](ROWS, SEED)), MAKERS[model](40, 1)
    together = region.columns(asked(new, 0.9, "p_values"))
    for row in range(40):
        alone = region.columns(asked(part(new, np.array([row])), 0.9, "p_values"))
        assert alone.keys() == together.keys()
        for column, answered in alone.items():
            assert answered.tolist() == together[column][row : row + 1].tolist()
            assert answered.dtype == together[column].dtype


@each_case
def test_no_rows_get_no_answers(name: str, model: str) -> None:
    region, new = region_of(name, MAKERS[model](ROWS, SEED)), MAKERS[model](5, 1)
    none = region.columns(asked(part(new, np.arange(0)), 0.9, "p_values"))
    assert {len(column) for column in none.values()} == {0}


@each_case
def test_columns_are_what_they_are_said_to_be(name: str, model: str) -> None:
    region, new = region_of(name, MAKERS[model](ROWS, SEED)), MAKERS[model](50, 1)
    found = region.columns(asked(new, 0.9, "p_values"))
    if new.spec.classes:
        assert {key: column.dtype for key, column in found.items()} == {"set": bool, "p_values": np.float64}
        assert found["set"].shape == new.scores.shape
        assert region.columns(asked(new)).keys() == {"set"}
    else:
        assert found.keys() == {"interval"}
        assert (found["interval"].dtype, found["interval"].shape) == (np.float64, (50, 2))
        assert (found["interval"][:, 0] <= found["interval"][:, 1]).all()
        assert np.isfinite(found["interval"]).all()  # missing cells among them


@each_case
def test_nothing_that_is_given_or_learnt_ever_changes(name: str, model: str) -> None:
    material = MAKERS[model](ROWS, SEED)
    for array in (material.rows, material.scores, material.labels, material.reference):
        array.flags.writeable = False
    region, new = region_of(name, material), MAKERS[model](20, 1)
    new.rows.flags.writeable = new.scores.flags.writeable = False
    before = region.columns(asked(new, 0.9, "p_values"))
    with pytest.raises(ValueError, match="read-only"):
        region.scores[0] = 0
    others = np.array([3.0, 1.0, 2.0] * 10)
    changed = region.with_scores(others)
    others[:] = 0
    assert changed.scores.tolist() == sorted([3.0, 1.0, 2.0] * 10)
    after = region.columns(asked(new, 0.9, "p_values"))
    for column, answered in before.items():
        np.testing.assert_array_equal(answered, after[column])


@each_case
def test_scores_are_the_true_labels_nonconformity_and_can_be_put_back(name: str, model: str) -> None:
    material = MAKERS[model](ROWS, SEED)
    region, new = region_of(name, material), MAKERS[model](50, 1)
    own = region.nonconformity(region.evidence(asked(material)), material.labels)
    assert (np.diff(region.scores) >= 0).all()
    if name in LEARNS:
        assert len(region.scores) == ROWS - ROWS // 3
        assert np.isin(region.scores, own).all()
    else:
        assert region.scores.tolist() == sorted(own.tolist())
    shuffled = np.random.default_rng(0).permutation(region.scores)
    same = region.with_scores(shuffled)
    assert same.scores.tolist() == region.scores.tolist()
    assert len(set(same.thresholds(0.9).tolist())) == 1
    if name not in BY_CLASS:
        for column, answered in region.columns(asked(new, 0.9, "p_values")).items():
            np.testing.assert_array_equal(same.columns(asked(new, 0.9, "p_values"))[column], answered)


@each_case
def test_the_same_rows_teach_the_same(name: str, model: str) -> None:
    one, other = (NAMED[name].fit(MAKERS[model](ROWS, SEED)) for _ in range(2))
    assert one.report == other.report
    assert one.arrays.keys() == other.arrays.keys()
    for key, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[key])


@each_case
def test_the_report_can_be_written_down_whatever_the_number_of_rows(name: str, model: str) -> None:
    for rows in (5, 20, 60, 200):
        if rows < LEAST.get(name, 0):
            with pytest.raises(Unfitting, match="needs 60 calibration rows, there are"):
                NAMED[name].fit(MAKERS[model](rows, SEED))
            continue
        report = NAMED[name].fit(MAKERS[model](rows, SEED)).report
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        assert report["rows"] == rows
        assert [each["confidence"] for each in report["at"]] == [0.8, 0.9, 0.95]
        size = "size" if model in CLASSES else "width"
        assert all(0 <= each["coverage"] <= 1 and size in each for each in report["at"])


@each_case
def test_a_threshold_is_finite_up_to_the_confidence_that_is_reported(name: str, model: str) -> None:
    material = MAKERS[model](200, SEED)
    most = NAMED[name].fit(material).report["most_confidence"]
    region = region_of(name, material)
    assert np.isfinite(region.thresholds(most)).all()
    assert not np.isfinite(region.thresholds(most + 1e-6)).all()
