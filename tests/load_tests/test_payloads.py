"""An explained answer is right only where the explanation says what the model does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tests.payloads import Explained, Native, WrongAnswerError, check_answer
from load_tests.questions import credit_questions
from load_tests.wire import body_of
from models.bundle import Bundle


def answer(document: object) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def explanation(margin: float, **changes: Any) -> dict[str, Any]:
    values = {"Age": 0.25, "Income": margin - 0.75}
    found = {"exact": True, "output": "margin", "label": "good", "base_value": 0.5, "values": values}
    return found | changes


def predicted(probability: float, margin: float, **changes: Any) -> bytes:
    prediction = {"probabilities": {"good": probability}, "explanation": explanation(margin, **changes)}
    return answer({"predictions": [prediction]})


P = 1 / (1 + math.exp(-1.5))
RIGHT = (np.array([P]),)


def test_the_log_odds_that_contributions_add_up_to_are_the_answer() -> None:
    check_answer(Explained("good"), predicted(P, 1.5), RIGHT)
    check_answer(Explained("good", "/explain"), answer({"explanations": [explanation(1.5)]}), RIGHT)
    with pytest.raises(WrongAnswerError, match="expected"):
        check_answer(Explained("good", "/explain"), answer({"explanations": [explanation(1.51)]}), RIGHT)


@pytest.mark.parametrize(
    "wrong",
    [
        predicted(P, 1.51),
        predicted(P, 1.5, exact=False),
        predicted(P, 1.5, output="probability"),
        predicted(P, 1.5, label="bad"),
        answer({"predictions": [{"probabilities": {"good": P}}]}),
    ],
)
def test_an_explanation_that_is_missing_sampled_or_does_not_add_up_is_wrong(wrong: bytes) -> None:
    with pytest.raises(WrongAnswerError, match="unreadable"):
        check_answer(Explained("good"), wrong, RIGHT)


def test_questions_go_round_the_held_out_applications_with_what_the_model_answers(
    demo_home: Path, demo_bundle: Callable[[str], Bundle]
) -> None:
    assert demo_bundle("credit:gbm-1").spec.classes[1] == "good"
    questions = credit_questions(demo_home, Native("good"), rows=1000, count=1)
    body = json.loads(body_of(questions[0].request.data))
    (expected,) = questions[0].accepted
    assert len(body["instances"]) == len(expected) == 1000
    again = next(n for n in range(1, 1000) if body["instances"][n] == body["instances"][0])
    assert expected[again] == pytest.approx(expected[0])
    assert 0 < expected.min() < expected.max() < 1
