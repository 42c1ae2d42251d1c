"""What is measured of the shadow is told truly, and a row that got lost on the way fails the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from load_tests.shadow_throughput import (
    ALONE,
    DRIFT,
    EVERYTHING,
    EVIDENCE,
    FRAME,
    LEAST,
    STAGES,
    Run,
    Stage,
    alone_in_a_process,
    findings,
    lines,
)


def run(stage: str = EVIDENCE.name, per_request: int = 1, seconds: float = 4.0) -> Run:
    (does,) = [each for each in STAGES if each.name == stage]
    stored, counted = 1_000 * does.evidence, 1_000 * does.drift
    return Run(stage, per_request, 1_000, 1_000.0, seconds, 0.5, 1_000, stored, counted, 0)


def runs(changed: Stage = EVIDENCE, **changes: object) -> list[Run]:
    whole = [run(stage.name, per_request) for stage in STAGES for per_request in LEAST]
    return [replace(each, **changes) if each.stage == changed.name else each for each in whole]  # type: ignore[arg-type]  # fields of a Run


def verdicts(found: list[Run]) -> list[str]:
    return [finding.verdict for finding in findings(found)]


def test_a_shadow_that_keeps_everything_and_is_fast_enough_is_well() -> None:
    assert verdicts(runs()) == ["met"] * 4


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"seconds": 21.0}, [0, 1]),
        ({"seconds": 10.0}, [1]),
        ({"compared": 999}, [2]),
        ({"stored": 999}, [2]),
        ({"lost": 1}, [3]),
    ],
)
def test_a_slow_or_a_forgetful_shadow_is_told(changes: dict[str, object], missed: list[int]) -> None:
    found = verdicts(runs(**changes))
    assert [place for place, verdict in enumerate(found) if verdict == "not met"] == missed


@pytest.mark.parametrize("stage", [DRIFT, EVERYTHING])
def test_rows_that_are_not_counted_by_bin_are_told(stage: Stage) -> None:
    assert verdicts(runs(stage, counted=999)) == ["met", "met", "not met", "met"]


def test_the_table_holds_the_median_of_each_stage_beside_comparing_alone() -> None:
    many = [
        run(stage.name, per_request, seconds)
        for stage, times in (
            (ALONE, (2, 2, 9)),
            (DRIFT, (2, 2.5, 3)),
            (EVIDENCE, (1, 4, 9)),
            (EVERYTHING, (8, 8, 8)),
        )
        for seconds in times
        for per_request in LEAST
    ]
    assert list(lines(many))[:4] == [
        ("comparing alone", "1", "500", "0.50", "1.00", "500.0"),
        ("with rows by bin", "1", "400", "0.40", "0.80", "500.0"),
        ("with evidence", "1", "250", "0.25", "0.50", "500.0"),
        ("with everything", "1", "125", "0.12", "0.25", "500.0"),
    ]


def test_every_row_of_a_real_run_is_compared_and_stored(demo_home: Path) -> None:
    found = alone_in_a_process(demo_home, EVERYTHING, 100, 8 * FRAME)
    assert found.rows == found.compared == found.stored == found.counted == 8 * FRAME
    assert found.lost == 0
    assert min(found.rate, found.raw, found.cpu) > 0
