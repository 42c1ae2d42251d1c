"""A method under test, and how its answers and the model's are read in the same units."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.integrity.reduced import lean, merge
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    OutputKind,
    Subject,
    Unsuitable,
    Values,
    explained,
    label_of,
)
from service.domain.schema import FeatureBatch, Scores, label_indices

Table = NDArray[np.float64]  # [rows, players]

Claim: TypeAlias = Literal["shapley", "contribution", "sensitivity"]
"""What a method says its values are.

``shapley``: Shapley values of the interventional game.
``contribution``: which way and how far each player pushed the output, by another rule.
``sensitivity``: how strongly the output reacts to each player, whichever way.
"""

_TINY = float(np.finfo(np.float32).tiny)
_EPSILON = float(np.finfo(np.float32).eps)
_CERTAIN, _MOST_CERTAIN = 1e-6, 0.01
_PATIENCE = 120.0
"""Seconds until a method at work is stopped: far beyond what any of the calls takes."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many rows a check takes: fewer for methods that are slow."""

    served: int
    """Rows explained by the explainer as it will serve."""
    known: int
    """Rows explained once, for all checks that look at what was said."""
    probed: int = 3
    """Rows of checks that explain anew."""
    scrambles: int = 3
    """Scrambled models."""
    background: int = 24
    """Background rows of the games that are rebuilt for a check."""
    max_evals: int = 1500


QUICK, SLOW = Effort(served=4, known=40, probed=4), Effort(served=1, known=32)


@dataclass(frozen=True, slots=True)
class Goal:
    """The number that is explained for one row.

    ``against`` is set where a method reads raw scores of several classes from the graph: those are known only
    up to a number common to all classes, so two classes' explanations are subtracted, which explains the log
    of the ratio of their probabilities.
    """

    label: int | None
    against: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Explanations of several rows in arrays."""

    values: Table
    bases: Values
    """Average outputs over the background, [rows]."""
    errors: Table | None
    """Standard errors of ``values``; None where none were given."""
    exact: bool
    told: list[Explanation]
    """What was read; without those subtracted (see ``Goal``)."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One method at work on one model, with what the checks need to know about it."""

    subject: Subject
    method: Method
    explainer: Explainer
    """As it will serve."""
    worker: Explainer
    """The same, or on a small background where the method is slow."""
    rows: FeatureBatch
    """Calibration rows in random order."""
    effort: Effort
    seed: int
    wanted: OutputKind | None
    """What it is asked for: a probability where certain answers leave log-odds without a meaning."""
    output: OutputKind
    """What it explains."""
    claim: Claim
    divides: bool
    """Whether it gives players values at all."""
    agnostic: bool
    """Whether the served model alone, without its graph or gradient, is enough for it."""
    reads_graph: bool
    """Whether it needs the graph's own trees or weights."""

    @property
    def shapley(self) -> bool:
        return self.claim == "shapley"

    @property
    def raw(self) -> bool:
        """Whether it explains one of several raw scores; see ``Goal``."""
        return self.subject.spec.task == "multiclass" and self.output == "margin" and self.reads_graph

    @cached_property
    def known(self) -> Reading:
        """What ``worker`` says about the first ``effort.known`` rows."""
        rows = self.rows[: self.effort.known]
        return self.read(self.worker, rows, self.goals(rows))

    @cached_property
    def small(self) -> tuple[Subject, Explainer]:
        """The model reduced to few players where the method takes players of several columns."""
        subject = lean(self.subject, self.effort.background, self.seed)
        merged = merge(subject, self.rows)
        try:
            return merged, self.method.build(merged)
        except Unsuitable:
            if merged is subject:
                raise
        return subject, self.method.build(subject)

    def goals(self, rows: FeatureBatch) -> list[Goal]:
        """What is to be explained of each row."""
        spec, scores = self.subject.spec, self.subject.predict(rows)
        labels = [label_of(spec, Ask(), answered) for answered in label_indices(spec, scores)]
        if not self.raw:
            return [Goal(label) for label in labels]
        second = np.argsort(-scores, axis=1, kind="stable")[:, :2]
        return [
            Goal(label, int(pair[1] if pair[0] == label else pair[0]))
            for label, pair in zip(labels, second, strict=True)
        ]

    def read(self, explainer: Explainer, rows: FeatureBatch, goals: Sequence[Goal]) -> Reading:
        """What ``explainer`` says about ``rows``."""
        told = self._tell(explainer, rows, [goal.label for goal in goals])
        reading = _gather(told)
        if not self.raw:
            return reading
        other = _gather(self._tell(explainer, rows, [goal.against for goal in goals]))
        errors = None
        if reading.errors is not None and other.errors is not None:
            errors = np.hypot(reading.errors, other.errors)
        return replace(
            reading, values=reading.values - other.values, bases=reading.bases - other.bases, errors=errors
        )

    def outputs(self, scores: Scores, goal: Goal) -> Values:
        """The number that ``goal`` names, of each row of served scores."""
        if goal.against is None:
            return explained(scores, self.output, goal.label or 0)
        first, second = _odds(scores, goal)
        return np.asarray(np.log(first) - np.log(second))

    def noise(self, scores: Scores, goal: Goal) -> Values:
        """How far float32 scores may move ``outputs``: log-odds of a certain answer are known badly."""
        if self.output != "margin":
            return _EPSILON * (1 + np.abs(self.outputs(scores, goal)))
        return _EPSILON * (4 + 1 / np.minimum(*_odds(scores, goal)))

    def scale(self, goal: Goal) -> float:
        """A typical size of an output's deviation: its standard deviation over the background."""
        return max(float(self.outputs(self._reference, goal).std()), 1e-9)

    @cached_property
    def _reference(self) -> Scores:
        return self.subject.predict(self.subject.background)

    def _tell(self, explainer: Explainer, rows: FeatureBatch, labels: list[int | None]) -> list[Explanation]:
        found: dict[int, Explanation] = {}
        for label in dict.fromkeys(labels):
            own = [index for index, wanted in enumerate(labels) if wanted == label]
            ask = Ask(self.method.name, self.wanted, label, self.effort.max_evals, self.seed)
            told = explainer(rows[own], ask, time.monotonic() + _PATIENCE)
            found.update(zip(own, told, strict=True))
        return [found[index] for index in range(len(rows))]


def trial(
    method: Method, explainer: Explainer, subject: Subject, rows: FeatureBatch, *, claim: Claim, seed: int
) -> Trial:
    """A trial of ``method``; looks at one explanation to learn what it explains."""
    effort = QUICK if method.quick else SLOW
    small = lean(subject, effort.background, seed)
    wanted, first = _first(explainer, subject, rows, Ask(method.name, max_evals=effort.max_evals, seed=seed))
    return Trial(
        subject=subject,
        method=method,
        explainer=explainer,
        worker=explainer if method.quick else method.build(small),
        rows=rows,
        effort=effort,
        seed=seed,
        wanted=wanted,
        output=first.output,
        claim=claim,
        divides=len(first.values) > 0,
        agnostic=_builds(method, replace(small, structure=None, gradient=None)),
        reads_graph=not _builds(method, replace(small, structure=None)),
    )


def _first(
    explainer: Explainer, subject: Subject, rows: FeatureBatch, ask: Ask
) -> tuple[OutputKind | None, Explanation]:
    """The output to ask for, and one row's explanation."""
    due = time.monotonic() + _PATIENCE
    (first,) = explainer(rows[:1], ask, due)
    certain = np.mean(subject.predict(subject.background).max(axis=1) > 1 - _CERTAIN)
    if first.output == "margin" and certain > _MOST_CERTAIN:
        try:
            return "probability", explainer(rows[:1], replace(ask, output="probability"), due)[0]
        except Unsuitable:  # it knows the raw score itself
            return None, first
    return None, first


def _builds(method: Method, subject: Subject) -> bool:
    try:
        method.build(subject)
    except Unsuitable:
        return False
    return True


def _gather(told: list[Explanation]) -> Reading:
    errors: Any = [one.standard_errors for one in told]
    return Reading(
        values=np.array([one.values for one in told], dtype=np.float64),
        bases=np.array([one.base_value for one in told]),
        errors=None if any(error is None for error in errors) else np.array(errors),
        exact=all(one.exact for one in told),
        told=told,
    )


def _odds(scores: Scores, goal: Goal) -> tuple[Values, Values]:
    """The two probabilities that a log-odds compares, each at least float32's smallest."""
    exact, label = scores.astype(np.float64), goal.label or 0
    second = exact.sum(axis=1) - exact[:, label] if goal.against is None else exact[:, goal.against]
    return np.maximum(exact[:, label], _TINY), np.maximum(second, _TINY)
