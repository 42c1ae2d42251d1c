"""The bands are where coverage falls, and a region that covers too little or is too large is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tests import bundles, conformal_coverage, conformal_pools, uncertainty
from load_tests.conformal_coverage import OURS, expectation, findings, measure
from models.bundle import Bundle
from models.demo import credit
from service.domain.uncertainty import conformal
from service.domain.uncertainty.measure import Material
from service.domain.uncertainty.registry import of_kind
from tests.domain.uncertainty.shams import EVERY_GRAPH, classes, values


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_divisions_of_one_finite_pool_cover_as_is_expected_of_them(confidence: float) -> None:
    """60 scores and nothing else: the band of 4,000 divisions is as narrow as their scatter."""
    pool, rng = np.random.default_rng(0).lognormal(size=60), np.random.default_rng(1)
    covered = []
    for _ in range(4000):
        drawn = rng.permutation(60)
        threshold = conformal.pool(pool[drawn[:40]]).threshold(confidence)
        covered.append(int((pool[drawn[40:]] <= threshold).sum()))
    mean, variance = expectation([(40, 20)], confidence)
    assert np.mean(covered) == pytest.approx(mean, abs=3 * np.sqrt(variance / 4000))
    assert np.var(covered) == pytest.approx(variance, rel=0.1)


def test_expectations_of_several_thresholds_add_up_and_too_few_rows_cover_everything() -> None:
    both = expectation([(99, 10), (49, 5)], 0.9)
    assert both == pytest.approx(np.add(expectation([(99, 10)], 0.9), expectation([(49, 5)], 0.9)))
    assert expectation([(99, 10)], 0.9)[0] == 9
    assert expectation([(3, 10)], 0.9) == (10, 0)


@pytest.mark.parametrize(
    ("pool", "libraries"),
    [
        (classes(240, 3), {"lac": {"MAPIE", "crepes"}, "aps": {"MAPIE", "crepes"}}),
        (values(240, 3, graphs=EVERY_GRAPH), {"absolute": {"MAPIE", "crepes"}, "quantile": {"MAPIE"}}),
    ],
    ids=["classes", "values"],
)
def test_every_measure_is_compared_with_the_libraries_that_have_it(
    pool: Material, libraries: dict[str, set[str]]
) -> None:
    found = list(measure("toy", without_gaps(pool), 3))
    assert {case.confidence for case in found} == {0.8, 0.9, 0.95}
    for name, own in libraries.items():
        for case in (case for case in found if case.measure == name):
            assert case.by.keys() == own | {OURS}
            if name != "aps":  # MAPIE's includes one label more
                assert case.by["MAPIE"].size == pytest.approx(case.by[OURS].size)
                assert case.by["MAPIE"].coverage == pytest.approx(case.by[OURS].coverage)


def without_gaps(pool: Material) -> Material:
    """No other library's neighbours know of missing cells."""
    pool.rows[np.isnan(pool.rows)] = 0
    return pool


def test_good_regions_meet_what_is_promised_and_careless_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = classes(400, 3)
    assert verdicts(pool) == {"met"}

    def careless(self: conformal.Pool, confidence: float) -> float:
        """Not the rank of n + 1 rows, but of a few less."""
        return float(self.ascending[int(len(self.ascending) * (confidence - 0.05))])

    monkeypatch.setattr(conformal.Pool, "threshold", careless)
    assert "not met" in verdicts(pool)


def test_regions_that_are_larger_than_need_be_are_not_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    original = conformal.Pool.threshold
    monkeypatch.setattr(
        conformal.Pool, "threshold", lambda self, asked: original(self, min(0.99, asked + 0.03))
    )
    found = list(findings(list(measure("toy", classes(400, 3), 10))))
    missed = [finding.what for finding in found if finding.verdict == "not met"]
    assert "toy, lac: size beside that of MAPIE" in missed
    assert "toy, lac: coverage beside what is expected" in missed


def verdicts(pool: Material) -> set[str]:
    return {finding.verdict for finding in findings(list(measure("toy", pool, 10)))}


@pytest.mark.parametrize(
    ("make", "rows"), [(conformal_pools.digits_pool, 899), (conformal_pools.diabetes_pool, 221)]
)
def test_a_pool_holds_rows_that_its_model_has_not_seen(make: Callable[[], Material], rows: int) -> None:
    pool = make()
    assert len(pool.rows) == rows
    assert_unseen(pool)


def test_the_credit_pool_is_what_the_demo_keeps_from_its_models(demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle(bundles.CREDIT)
    pool = conformal_pools.credit_pool(bundle.path.parents[2])
    assert len(pool.rows) == len(bundle.calibration()[0]) + len(credit.held_out())
    assert_unseen(pool)


def assert_unseen(pool: Material) -> None:
    assert len(pool.scores) == len(pool.labels) == len(pool.rows)
    trained = {row.tobytes() for row in pool.reference}
    assert sum(row.tobytes() in trained for row in pool.rows) <= 0.01 * len(pool.rows)  # digits may be alike


def test_the_members_of_a_pool_are_what_its_scores_are_the_mean_of() -> None:
    pool = conformal_pools.diabetes_pool()
    members = pool.run("members", pool.rows[::-1])
    assert members.mean(axis=1)[::-1] == pytest.approx(pool.scores, rel=1e-5)


def test_the_outcome_is_written_and_decides_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def few(home: Path) -> dict[str, Material]:
        return {"toy": classes(400, 3)}

    built: list[Any] = []
    monkeypatch.setattr(bundles, "build", built.append)
    monkeypatch.setattr(conformal_coverage, "pools", few)
    monkeypatch.setattr(conformal_coverage, "QUICK", 10)
    arguments = [
        "--only",
        "coverage",
        "--quick",
        "--home",
        str(tmp_path / "home"),
        "--results",
        str(tmp_path / "results"),
    ]
    assert uncertainty.main(arguments) == 0
    assert built == [tmp_path / "home"]
    (written,) = (tmp_path / "results").glob("*.json")
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document["command"] == "python -m load_tests.uncertainty --quick --only coverage"
    served = [name for name in ("lac", "aps", "lac-by-class", "aps-by-class") for _ in range(3)]
    assert [case["measure"] for case in document["sections"]["coverage"]["measured"]] == served
    assert {measure.name for measure in of_kind("region")} >= set(served)
    assert "10 random divisions" in capsys.readouterr().out
