"""Ratios are taken within a pair, and disturbed pairs do not count where there are others."""

from __future__ import annotations

from load_tests.contestants import Measurement
from load_tests.explained_predictions import ALONE, WITH, findings
from load_tests.paired_predictions import BATCH, OPEN, SINGLE, WITHOUT, Case
from load_tests.stats import Summary


def run(form: str, p50: float, rate: float = 100.0, foreign: float = 0.0, failed: int = 0) -> Measurement:
    summary = Summary(1000, {"status 503": failed} if failed else {}, rate, {"p50": p50, "p99": 9.0})
    return Measurement(form, summary, 50.0, foreign)


def case(*pairs: tuple[Measurement, Measurement]) -> Case:
    return Case(1, OPEN, {}, WITH, [{WITHOUT: without, WITH: with_it} for without, with_it in pairs])


def verdicts(*cases: Case) -> list[str]:
    return [finding.verdict for finding in findings(cases)]


def test_an_explanation_may_add_half_to_the_median_of_an_open_loop() -> None:
    assert verdicts(case((run(WITHOUT, 0.10), run(WITH, 0.149)))) == ["met", "met"]
    assert verdicts(case((run(WITHOUT, 0.10), run(WITH, 0.151)))) == ["not met", "met"]


def test_other_loads_are_reported_only() -> None:
    single = Case(1, SINGLE, {}, WITH, [{WITHOUT: run(WITHOUT, 0.1), WITH: run(WITH, 0.9)}])
    assert verdicts(single) == ["", "met"]


def test_a_disturbed_pair_counts_only_where_there_is_no_other() -> None:
    quiet, disturbed = (run(WITHOUT, 0.1), run(WITH, 0.1)), (run(WITHOUT, 0.1, foreign=0.4), run(WITH, 9.0))
    assert case(disturbed, quiet, disturbed).ratio() == 1.0
    assert case(disturbed).ratio() == 90.0


def test_a_failed_answer_of_any_run_is_told() -> None:
    assert verdicts(case((run(WITHOUT, 0.1), run(WITH, 0.1, failed=1)))) == ["met", "not met"]


def test_a_thousand_rows_in_one_request_are_told_in_rows_per_second() -> None:
    runs = {form: run(form, 30.0, rate=25.0) for form in (WITHOUT, WITH, ALONE)}
    told = [f for f in findings([Case(BATCH, SINGLE, {}, WITH, [runs])]) if f.unit == "rows/s"]
    assert [finding.value for finding in told] == [25_000, 25_000]
