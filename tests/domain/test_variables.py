"""What is watched: every score, the label of classes, every input."""

from __future__ import annotations

import numpy as np

from service.domain.variables import answer_columns
from tests.domain.models import spec


def test_the_label_is_the_class_that_is_answered() -> None:
    scores = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
    found = dict(answer_columns(spec(), scores))
    assert list(found) == ["score", "label"]
    assert found["label"].tolist() == [0.0, 1.0]
    assert dict(answer_columns(spec(threshold=0.8), scores))["label"].tolist() == [0.0, 0.0]
    three = np.array([[0.1, 0.2, 0.7]], np.float32)
    found = dict(answer_columns(spec(task="multiclass"), three))
    assert list(found) == ["score:a", "score:b", "score:c", "label"]
    assert found["label"].tolist() == [2.0]


def test_a_regression_answers_no_label() -> None:
    assert list(dict(answer_columns(spec(task="regression"), np.ones((2, 1), np.float32)))) == ["score"]
