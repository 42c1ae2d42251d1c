"""The spread of members against entropies and variances written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, Task
from service.domain.uncertainty.measure import Asked, Columns, Graph, Material, Unfitting
from service.domain.uncertainty.spread import SPREAD
from tests.domain import models

WANTED = frozenset({"spread"})
Members = NDArray[np.floating[Any]]


def answering(members: Members) -> Callable[[Graph, FeatureBatch], Members]:
    """Runs the graph of members, whatever the rows."""

    def run(graph: Graph, rows: FeatureBatch) -> Members:
        assert graph == "members"
        assert len(rows) == len(members)
        return members

    return run


def material(members: Members, task: Task, labels: NDArray[Any], scores: Any = None) -> Material:
    rows = np.zeros((len(members), 3), np.float32)
    served = members.mean(axis=1).astype(np.float32) if scores is None else scores
    return Material(
        models.spec(task=task), rows, served, labels, rows, frozenset({"members"}), answering(members)
    )


def columns(given: Material, noise: float = np.nan, extra: frozenset[str] = WANTED) -> Columns:
    quantity = SPREAD.restore(given.spec, {"noise": np.array(noise)})
    return quantity.columns(Asked(given.rows, given.scores, extra=extra, run=given.run))


def probabilities(rows: int, members: int, classes: int, seed: int, concentration: float = 0.5) -> Members:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, concentration), size=(rows, members)).astype(np.float32)


def entropies(shares: Members) -> NDArray[np.float64]:
    wide = np.maximum(shares.astype(np.float64), 1e-300)
    return np.asarray(-(wide * np.log2(wide)).sum(axis=-1))


def test_two_members_sure_of_different_labels_disagree_by_one_bit() -> None:
    members = np.array([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[0.5, 0.5], [0.5, 0.5]]], np.float32)
    found = columns(material(members, "binary", np.zeros(3, np.intp)))
    np.testing.assert_allclose(found["total"], [1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found["aleatoric"], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found["epistemic"], [1, 0, 0], atol=1e-12)


def test_the_epistemic_part_is_the_mutual_information_of_label_and_member() -> None:
    members = probabilities(50, 7, 3, seed=1).astype(np.float64)
    found = columns(material(members, "multiclass", np.zeros(50, np.intp)))
    mean = members.mean(axis=1, keepdims=True)
    divergences = (members * np.log2(members / mean)).sum(axis=2)  # of each member from the mean
    np.testing.assert_allclose(found["epistemic"], divergences.mean(axis=1), atol=1e-12)


@given(
    rows=st.integers(1, 5),
    members=st.integers(2, 8),
    seed=st.integers(0, 10_000),
    concentration=st.sampled_from([0.01, 0.5, 50.0]),
)
def test_the_parts_add_up_and_none_is_negative(
    rows: int, members: int, seed: int, concentration: float
) -> None:
    given = probabilities(rows, members, 3, seed, concentration)
    found = columns(material(given, "multiclass", np.zeros(rows, np.intp)))
    np.testing.assert_allclose(found["total"], found["aleatoric"] + found["epistemic"], atol=1e-12, rtol=0)
    assert min(found[name].min() for name in found) >= 0
    assert found["total"].max() <= np.log2(3) + 1e-6


def test_a_regression_s_epistemic_part_is_the_variance_of_its_members() -> None:
    values = np.array([[1, 2, 3], [5, 5, 5]], np.float32)[:, :, None]
    found = columns(material(values, "regression", np.zeros(2)), noise=4.0)
    np.testing.assert_allclose(found["epistemic"], [2 / 3, 0])
    np.testing.assert_allclose(found["aleatoric"], [4, 4])
    np.testing.assert_allclose(found["total"], [4 + 2 / 3, 4])


def test_a_regression_s_noise_is_found_beneath_the_error_of_its_members() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=20_000)
    values = (truth[:, None] + rng.normal(scale=0.5, size=(20_000, 40)))[:, :, None]
    served = values[:, 0].astype(np.float32)  # as far from the truth as any member
    labels = truth + rng.normal(scale=2.0, size=20_000)
    fitted = SPREAD.fit(material(values, "regression", labels, served))
    assert fitted.report["aleatoric"] == pytest.approx(4.0, rel=0.05)
    assert fitted.arrays["noise"] == fitted.report["aleatoric"]


def test_residuals_smaller_than_the_members_variance_leave_no_noise() -> None:
    values = np.tile([[[-1.0], [1.0]]], (30, 1, 1))
    assert SPREAD.fit(material(values, "regression", np.zeros(30))).report["aleatoric"] == 0


def test_members_that_disagree_where_answers_are_wrong_are_told_to_be_worth_something() -> None:
    rng = np.random.default_rng(3)
    doubt = rng.uniform(0.1, 2.0, 400)
    values = (rng.normal(size=(400, 30)) * doubt[:, None])[:, :, None]
    labels = rng.normal(size=400) * doubt
    useful = SPREAD.fit(material(values, "regression", labels)).report["rank_correlation"]
    useless = SPREAD.fit(material(values, "regression", rng.permutation(labels))).report["rank_correlation"]
    assert useful > 0.3
    assert abs(useless) < 0.15


def test_the_report_describes_the_calibration_rows() -> None:
    members = probabilities(200, 5, 2, seed=4)
    scores = members[:, -1]
    labels = np.random.default_rng(4).integers(0, 2, 200)
    given = material(members, "binary", labels, scores)
    report = SPREAD.fit(given).report
    epistemic = columns(given)["epistemic"]
    assert report["members"] == 5
    assert report["mean"] == pytest.approx(epistemic.mean())
    assert report["percentiles"]["95"] == pytest.approx(np.percentile(epistemic, 95))
    assert report["apart"] == pytest.approx(np.sqrt(np.mean((members.mean(axis=1) - scores) ** 2)), rel=1e-5)
    assert "aleatoric" not in report


def test_it_is_computed_only_for_whoever_asks() -> None:
    def refuse(graph: Graph, rows: FeatureBatch) -> Members:
        raise AssertionError("the members were run")

    quantity = SPREAD.restore(models.spec(), {"noise": np.array(np.nan)})
    rows, scores = np.zeros((2, 3), np.float32), np.full((2, 2), 0.5, np.float32)
    assert quantity.columns(Asked(rows, scores, extra=frozenset({"entropy"}), run=refuse)) == {}


def test_many_rows_are_answered_in_their_order() -> None:
    members = probabilities(600, 4, 2, seed=7)
    given = material(members, "binary", np.zeros(600, np.intp))

    def run(graph: Graph, rows: FeatureBatch) -> Members:
        assert len(rows) < 600
        found: Members = members[rows[:, 0].astype(int)]
        return found

    numbered = np.tile(np.arange(600, dtype=np.float32)[:, None], (1, 3))
    quantity = SPREAD.restore(given.spec, {"noise": np.array(np.nan)})
    found = quantity.columns(Asked(numbered, given.scores, extra=WANTED, run=run))
    np.testing.assert_allclose(found["aleatoric"], entropies(members).mean(axis=1), atol=1e-9)


def test_a_bundle_without_members_has_no_spread() -> None:
    members = probabilities(30, 3, 2, seed=5)
    given = material(members, "binary", np.zeros(30, np.intp))
    without = Material(given.spec, given.rows, given.scores, given.labels, given.rows)
    with pytest.raises(Unfitting, match="no graph of members"):
        SPREAD.fit(without)


@pytest.mark.parametrize(
    ("count", "reason"), [(1, "nobody to disagree with"), (5, "its dropout is not live")]
)
def test_members_that_cannot_differ_are_refused(count: int, reason: str) -> None:
    members = np.repeat(probabilities(30, 1, 2, seed=6), count, axis=1)
    with pytest.raises(Unfitting, match=reason):
        SPREAD.fit(material(members, "binary", np.zeros(30, np.intp)))


def test_members_that_answer_no_probabilities_are_refused_by_row() -> None:
    members = probabilities(30, 3, 2, seed=6)
    labels = np.zeros(30, np.intp)
    members[4, 1] = (2.5, -1.5)  # as margins are
    with pytest.raises(Unfitting, match=r"no probabilities: .* of calibration row 4"):
        SPREAD.fit(material(members, "binary", labels))
    members[4, 1] = (0.3, 0.3)
    with pytest.raises(Unfitting, match="no probabilities"):
        SPREAD.fit(material(members, "binary", labels))


def test_one_models_two_probabilities_are_not_taken_for_two_members() -> None:
    """A network whose passes were forgotten answers [rows, 2], as two members of two classes may."""
    own = probabilities(30, 1, 2, seed=6)[:, 0]
    taken = np.stack([1 - own, own], axis=2)
    with pytest.raises(Unfitting, match="always add up to 1, so they are one model's"):
        SPREAD.fit(material(taken, "binary", np.zeros(30, np.intp)))
    assert SPREAD.fit(material(probabilities(30, 2, 2, seed=6), "binary", np.zeros(30, np.intp))).report
