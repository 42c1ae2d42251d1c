"""Models written as rules, so that a test knows which rows break a promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.behaviour import Behaviour, Outcome
from models.behaviour_suite import Suite
from models.bundle import Bundle
from models.packaging import package
from tests.models.graphs import Tiny

AGE, HOME, INCOME = 0, 1, 2
"""Columns of the tiny tabular models."""
OWNER, RENT, PARENTS = 0, 1, 2


class Rule:
    """Answers by a rule, and keeps what it was asked."""

    def __init__(self, rule: Callable[[NDArray[Any]], Any]) -> None:
        self.rule = rule
        self.asked: list[NDArray[Any]] = []

    def predict(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self.asked.append(batch)
        scores = np.asarray(self.rule(batch), dtype=np.float32)
        return scores if scores.ndim == 2 else np.broadcast_to(scores, len(batch))[:, None]


def chance(rule: Callable[[NDArray[Any]], Any]) -> Rule:
    """A binary model whose chance of the second class follows the rule."""

    def scores(batch: NDArray[Any]) -> NDArray[Any]:
        good = np.broadcast_to(np.asarray(rule(batch), dtype=np.float64), len(batch))
        return np.stack([1 - good, good], axis=1)

    return Rule(scores)


def suite(**check: Any) -> Suite:
    """A suite of one check."""
    return Suite.model_validate({"checks": [{"name": "a promise", **check}]})


def only(found: Behaviour) -> Outcome:
    """What the one check of a suite found."""
    (outcome,) = found.outcomes
    return outcome


def made(make: Callable[[str], Tiny], kind: str, tmp_path: Path, **material: Any) -> Bundle:
    """A packaged tiny model whose reference rows are at hand."""
    small = make(kind)
    return package(
        small.graph,
        small.manifest,
        replace(small.material, **material),
        tmp_path / kind,
        explain=False,
        quantify=False,
    )
