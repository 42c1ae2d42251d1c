"""Predictions in doubt are compared within pairs, and their answers are read before they count as right."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from load_tests.contestants import Measurement
from load_tests.doubted_predictions import WITH, fastest, findings
from load_tests.paired_predictions import EIGHT, OPEN, SINGLE, WITHOUT, Case, Load
from load_tests.payloads import Doubted, WrongAnswerError, check_answer
from load_tests.stats import Summary


def run(form: str, rate: float, p50: float = 0.1, failed: int = 0) -> Measurement:
    summary = Summary(1000, {"status 503": failed} if failed else {}, rate, {"p50": p50, "p99": 9.0})
    return Measurement(form, summary, 50.0, 0.0)


def case(load: Load, without: Measurement, with_it: Measurement) -> Case:
    return Case(1, load, {}, WITH, [{WITHOUT: without, WITH: with_it}])


def verdicts(*cases: Case) -> list[str]:
    return [finding.verdict for finding in findings(cases)]


def test_it_may_cost_a_tenth_of_the_requests_per_second() -> None:
    assert verdicts(case(EIGHT, run(WITHOUT, 100), run(WITH, 90.1))) == ["met", "met"]
    assert verdicts(case(EIGHT, run(WITHOUT, 100), run(WITH, 89.9))) == ["not met", "met"]


def test_other_loads_are_reported_only() -> None:
    assert verdicts(case(SINGLE, run(WITHOUT, 100), run(WITH, 10))) == ["", "met"]
    (p50, _) = findings([case(OPEN, run(WITHOUT, 100, 0.1), run(WITH, 100, 0.13))])
    assert (p50.verdict, p50.value) == ("", pytest.approx(1.3))


def test_a_failed_answer_is_told() -> None:
    assert verdicts(case(EIGHT, run(WITHOUT, 100), run(WITH, 100, failed=1))) == ["met", "not met"]


def answered(**changes: Any) -> bytes:
    sure = {"set": ["good"], "calibrated": {"bad": 0.25, "good": 0.75}, "in_domain": True} | changes
    row = {"label": "good", "probabilities": {"bad": 0.2, "good": 0.8}, "uncertainty": sure}
    return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"predictions": [row]}).encode()


def test_an_answer_counts_only_with_a_label_set_and_probabilities() -> None:
    codec, expected = Doubted("good"), [np.array([0.8])]
    check_answer(codec, answered(), expected)
    for wrong in ({"set": ["fine"]}, {"calibrated": {"bad": 0.5, "good": 0.6}}):
        with pytest.raises(WrongAnswerError):
            check_answer(codec, answered(**wrong), expected)
    plain = json.loads(answered().partition(b"\r\n\r\n")[2])
    del plain["predictions"][0]["uncertainty"]
    with pytest.raises(WrongAnswerError):
        check_answer(codec, b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(plain).encode(), expected)
    assert b'"uncertainty":true' in codec.request([{"a": 1}]).data


def test_the_quickest_repetition_counts() -> None:
    calls: list[int] = []
    assert fastest(lambda: calls.append(1), 10, repetitions=3) > 0
    assert len(calls) == 30
